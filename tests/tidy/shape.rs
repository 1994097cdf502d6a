//! Files and functions that fit into a head, and files that say what they are for.

use super::source::{Source, beneath, settle, tracked};

const FILE_LINES_MAX: usize = 500;
const FUNCTION_LINES_MAX: usize = 70;

/// Functions that may be longer: up to how many lines, and why.
const LONGER: [(&str, &str, usize, &str); 5] = [
    ("src/domain/ledger/evolve/mod.rs", "evolve", 75, "one arm for each event"),
    ("src/domain/ledger/evolve/claims.rs", "evolve_claim", 75, "one arm for each event"),
    ("src/domain/ledger/tests/properties.rs", "take", 75, "one arm for each step"),
    ("src/node/payer.rs", "start", 95, "wires one part after another, in an order that matters"),
    ("src/node/provider.rs", "start", 95, "wires one part after another, in an order that matters"),
];

fn rust() -> Vec<Source> {
    let mut sources = tracked();
    sources.retain(|source| source.path.ends_with(".rs"));
    sources
}

#[test]
fn no_file_is_longer_than_500_lines() {
    let long = rust().into_iter().filter_map(|source| {
        let lines = source.text.lines().count();
        (lines > FILE_LINES_MAX).then(|| format!("{}: {lines} lines", source.path))
    });
    settle("a file has at most 500 lines", &long.collect::<Vec<_>>());
}

#[test]
fn no_function_is_longer_than_70_lines_without_a_reason() {
    let mut long = Vec::new();
    for source in rust() {
        let lines: Vec<&str> = source.text.lines().collect();
        for (at, line) in lines.iter().enumerate() {
            if !is_function(line) {
                continue;
            }
            // A declaration over two lines has no body either.
            let next = lines.get(at + 1).map_or("", |next| next.trim());
            if line.ends_with(')') && next.starts_with("->") && next.ends_with(';') {
                continue;
            }
            let indent = &line[..line.len() - line.trim_start().len()];
            let closing = format!("{indent}}}");
            let Some(length) = lines[at..].iter().position(|next| *next == closing) else {
                continue;
            };
            let allowed = LONGER.iter().find(|(path, name, ..)| {
                *path == source.path && line.contains(&format!("fn {name}("))
            });
            if length + 1 > allowed.map_or(FUNCTION_LINES_MAX, |(_, _, most, _)| *most) {
                long.push(format!("{}: {} lines", source.at(at + 1), length + 1));
            }
        }
    }
    settle("a function has at most 70 lines, or a reason in the table of this test", &long);
}

fn is_function(line: &str) -> bool {
    let mut words = line.trim_start();
    for before in ["pub ", "pub(crate) ", "pub(super) ", "const ", "async ", "unsafe "] {
        words = words.strip_prefix(before).unwrap_or(words);
    }
    if let Some(rest) = words.strip_prefix("pub(in ") {
        words = rest.split_once(") ").map_or("", |(_, rest)| rest);
        words = words.strip_prefix("async ").unwrap_or(words);
    }
    // One-line functions end where they begin.
    words.starts_with("fn ") && !line.trim_end().ends_with('}') && !line.trim_end().ends_with(';')
}

#[test]
fn every_source_says_what_it_is_for() {
    let silent = beneath("src/", ".rs").into_iter().filter(|source| {
        let first = source.text.lines().find(|line| !line.trim().is_empty());
        // In tests the allowances may come first.
        let allowed = source.is_test()
            && source.text.starts_with("#![")
            && source.text.lines().any(|line| line.starts_with("//!"));
        let says = first.is_some_and(|line| line.starts_with("//!"));
        !says && !allowed
    });
    let silent: Vec<String> = silent.map(|source| source.path).collect();
    settle("a source begins with `//!` and says what it is for", &silent);
}
