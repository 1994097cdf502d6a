//! The table of fault codes. They are a promise to programs: a change of `tests/codes.txt` is a change
//! for everybody who reads codes. `UPDATE_GOLDEN=1 cargo test --test tidy` writes it anew.

use std::collections::BTreeMap;

use super::source::{beneath, root, settle};

#[test]
fn every_code_is_in_the_table_once() {
    let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for source in beneath("src/", ".rs") {
        let mut closing = None;
        for (line, code) in source.code() {
            if code.contains("fn code(&self) -> &'static str {") {
                let indent = code.len() - code.trim_start().len();
                closing = Some(format!("{}}}", " ".repeat(indent)));
            } else if closing.as_deref() == Some(code) {
                closing = None;
            } else if closing.is_some() {
                for literal in code.split('"').skip(1).step_by(2) {
                    found.entry(literal.to_owned()).or_default().push(source.at(line));
                }
            }
        }
    }
    let shaped = |code: &str| {
        let word = |part: &str| {
            let lower = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
            part.starts_with(|c: char| c.is_ascii_lowercase()) && part.chars().all(lower)
        };
        code.split_once('.').is_some_and(|(module, what)| word(module) && word(what))
    };
    let mut wrong: Vec<String> = Vec::new();
    for (code, places) in &found {
        if !shaped(code) {
            wrong.push(format!("{code} is not <module>.<what>: {}", places.join(", ")));
        }
        if places.len() > 1 {
            wrong.push(format!("{code} is said more than once: {}", places.join(", ")));
        }
    }
    settle("a code is <module>.<what> and means one thing", &wrong);
    assert!(found.len() > 50, "the scan finds the codes");
    let table: String = found.keys().map(|code| format!("{code}\n")).collect();
    let path = root().join("tests/codes.txt");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, &table).unwrap();
    }
    let golden = std::fs::read_to_string(&path).unwrap_or_default();
    let lines = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
    let (ours, theirs) = (lines(&table), lines(&golden));
    let fresh: Vec<&String> = ours.iter().filter(|code| !theirs.contains(code)).collect();
    let gone: Vec<&String> = theirs.iter().filter(|code| !ours.contains(code)).collect();
    assert!(
        table == golden,
        "tests/codes.txt: new {fresh:?}, gone {gone:?}; UPDATE_GOLDEN=1 writes it anew"
    );
}
