//! Imports go down, and each floor keeps its hands off what is not its business.

use super::source::{Source, beneath, settle};

/// The floors of the library: what each may import, and what it never names.
const FLOORS: [(&str, &[&str], &[&str]); 6] = [
    ("domain", &["domain"], PURE),
    ("ports", &["ports", "domain"], WORLD),
    ("runtime", &["runtime", "ports", "domain"], WORLD),
    ("sim", &["sim", "runtime", "ports", "domain"], WORLD),
    ("edge", &["edge", "runtime", "ports", "domain"], &[]),
    ("node", &["node", "edge", "runtime", "ports", "domain"], &[]),
];

/// What only the edge, and what stands above it, touches.
const WORLD: &[&str] = &[
    "std::fs",
    "std::env",
    "std::process",
    "std::time::SystemTime",
    "std::time::Instant",
    "SystemTime::",
    "Instant::now",
    "std::net::Tcp",
    "std::net::Udp",
    "std::net::ToSocketAddrs",
    "tokio::fs",
    "tokio::net",
    "tokio::time",
    "tokio::process",
    "getrandom",
    "rusqlite",
    "tonic::",
];

/// What the domain does not even know by name.
const PURE: &[&str] = &[
    "async fn",
    "async move",
    ".await",
    "async_trait",
    "tokio",
    "futures",
    "std::fs",
    "std::net",
    "std::env",
    "std::process",
    "std::thread",
    "std::sync::Mutex",
    "std::sync::RwLock",
    "SystemTime",
    "Instant",
    "rand::",
    "getrandom",
    "Timestamp::now",
    "Zoned::now",
    "RandomState",
    "tracing::",
];

fn floor_sources(floor: &str) -> Vec<Source> {
    if !super::source::root().join("src").join(floor).exists() {
        return Vec::new();
    }
    let mut sources = beneath(&format!("src/{floor}/"), ".rs");
    sources.retain(|source| !source.is_test());
    sources
}

#[test]
fn imports_go_down() {
    let mut wrong = Vec::new();
    for (floor, below, _) in FLOORS {
        for source in floor_sources(floor) {
            for (line, code) in source.code() {
                for (at, _) in code.match_indices("crate::") {
                    let rest = &code[at + "crate::".len()..];
                    let named: String = rest.chars().take_while(|c| c.is_alphanumeric()).collect();
                    // `crate::{a, b}` would hide what it names.
                    if !below.contains(&named.as_str()) {
                        wrong.push(format!("{}: {floor} imports `{named}`", source.at(line)));
                    }
                }
            }
        }
    }
    settle("imports go down: edge -> runtime -> ports -> domain", &wrong);
}

#[test]
fn only_the_edge_touches_the_world() {
    let mut wrong = Vec::new();
    for (floor, _, never) in FLOORS {
        for source in floor_sources(floor) {
            for (line, code) in source.code() {
                for named in never.iter().filter(|named| code.contains(**named)) {
                    wrong.push(format!("{}: {floor} names `{named}`", source.at(line)));
                }
            }
        }
    }
    settle("files, sockets, clocks, chance and the environment are the edge's", &wrong);
}

#[test]
fn rooms_of_the_edge_do_not_import_each_other() {
    let mut wrong = Vec::new();
    for source in floor_sources("edge") {
        let inner = source.path.trim_start_matches("src/edge/");
        let room = inner.split(['/', '.']).next().unwrap();
        for (line, code) in source.code() {
            for (at, found) in code.match_indices("edge::") {
                let rest = &code[at + found.len()..];
                let other: String = rest.chars().take_while(|c| c.is_alphanumeric()).collect();
                if other != room && room != "mod" {
                    wrong.push(format!("{}: {room} imports {other}", source.at(line)));
                }
            }
        }
    }
    settle("rooms of the edge do not import each other", &wrong);
}

/// An unbiased select draws which arm goes first: in the runtime nothing may be drawn but by entropy.
#[test]
fn every_select_of_the_runtime_is_in_order() {
    let mut wrong = Vec::new();
    for floor in ["ports", "runtime", "sim"] {
        for source in floor_sources(floor) {
            let lines: Vec<&str> = source.text.lines().collect();
            for (line, code) in source.code() {
                let biased = lines.get(line).is_some_and(|next| next.trim() == "biased;");
                if code.contains("select!") && !biased {
                    wrong.push(format!("{}: a select! that is not biased", source.at(line)));
                }
            }
        }
    }
    settle("every select! begins with `biased;`", &wrong);
}

/// A `watch` draws who of many waiters is woken first, by a random number of its own.
#[test]
fn who_waits_in_the_runtime_is_woken_in_order() {
    let mut wrong = Vec::new();
    for floor in ["ports", "runtime", "sim"] {
        for source in floor_sources(floor) {
            for (line, code) in source.code() {
                if code.contains("watch::") || code.contains("watch}") || code.contains("watch,") {
                    wrong.push(format!("{}: a watch", source.at(line)));
                }
            }
        }
    }
    settle("what many wait for is a runtime::landing", &wrong);
}
