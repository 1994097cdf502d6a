//! Every bug that can be planted is in the table with the test that finds it, and no other.

use std::collections::BTreeSet;

use super::source::{beneath, root, settle};

/// So many are asked for.
const BUGS_MIN: usize = 40;

/// The targets that a test may be in.
const TARGETS: [&str; 4] = ["lib", "behaviour", "crash", "sim"];

#[test]
fn every_bug_that_can_be_planted_is_in_the_table_with_the_test_that_finds_it() {
    let mut wrong = Vec::new();
    let mut planted = BTreeSet::new();
    for source in beneath("src/", ".rs") {
        for (line, code) in source.code() {
            for (at, found) in code.match_indices("planted!(\"") {
                let rest = &code[at + found.len()..];
                let bug = rest.split('"').next().unwrap().to_owned();
                if !planted.insert(bug) {
                    wrong.push(format!("{}: a name is planted once", source.at(line)));
                }
            }
        }
    }
    let table = std::fs::read_to_string(root().join("tests/planted.tsv")).unwrap();
    let mut listed = BTreeSet::new();
    for row in table.lines().filter(|row| !row.is_empty() && !row.starts_with('#')) {
        let cells: Vec<&str> = row.split('\t').collect();
        let whole = cells.len() == 4 && cells.iter().all(|cell| !cell.is_empty());
        if !whole || !TARGETS.contains(&cells[1]) || !listed.insert(cells[0].to_owned()) {
            wrong.push(format!("tests/planted.tsv: `{row}`: bug, target, test, what it would do"));
        }
    }
    for bug in planted.symmetric_difference(&listed) {
        wrong.push(format!("{bug}: in one of the sources and tests/planted.tsv only"));
    }
    if planted.len() < BUGS_MIN {
        wrong.push(format!("{} bugs, at least {BUGS_MIN}", planted.len()));
    }
    settle("each planted bug has one place and one row", &wrong);
}
