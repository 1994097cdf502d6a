//! One meaning for each word, integers for money, and nothing of anybody's machine.

use super::source::{beneath, settle, tracked, without_strings};

/// Words that the house does not use, because another one has their meaning.
const NOT_OURS: [&str; 4] = ["buyer", "seller", "customer", "merchant"];

#[test]
fn nobody_buys_from_a_seller() {
    let mut wrong = Vec::new();
    for (folder, ending) in [("src/", ".rs"), ("proto/", ".proto"), ("agents/", ".rs")] {
        for source in beneath(folder, ending) {
            for (line, code) in source.code() {
                let code = without_strings(code).to_lowercase();
                for word in NOT_OURS.iter().filter(|word| code.contains(**word)) {
                    wrong.push(format!("{}: {word}", source.at(line)));
                }
            }
        }
    }
    settle("payer and payee, not these", &wrong);
}

#[test]
fn no_message_carries_a_float() {
    let mut wrong = Vec::new();
    for source in beneath("proto/", ".proto") {
        for (line, code) in source.code() {
            let mut words = code.split(|c: char| !c.is_alphanumeric());
            if words.any(|word| word == "double" || word == "float") {
                wrong.push(source.at(line));
            }
        }
    }
    settle("proto knows neither double nor float", &wrong);
}

/// Spelled in two halves, so that this file does not hold what it looks for.
const OF_A_MACHINE: [(&str, &str); 5] =
    [("/ho", "me/"), ("/Us", "ers/"), ("/ro", "ot/"), ("/wo", "rk/"), ("C:\\Us", "ers")];

#[test]
fn no_tracked_file_names_a_folder_of_a_machine() {
    let mut wrong = Vec::new();
    for source in tracked() {
        for (at, line) in source.text.lines().enumerate() {
            for (head, tail) in OF_A_MACHINE {
                let whole = format!("{head}{tail}");
                // Only where a path begins: `a/work/b` is a path of ours.
                let begins = |at: usize| {
                    let before = line[..at].chars().next_back();
                    !before
                        .is_some_and(|c| c.is_alphanumeric() || matches!(c, '.' | '_' | '-' | '}'))
                };
                if line.match_indices(&whole).any(|(at, _)| begins(at)) {
                    wrong.push(format!("{}: {whole}", source.at(at + 1)));
                }
            }
        }
    }
    settle("tracked files hold no absolute path of a machine", &wrong);
}

#[test]
fn dependencies_come_from_the_public_registries() {
    let mut wrong = Vec::new();
    for source in tracked() {
        let (key, public) = match source.path.rsplit('/').next() {
            Some("Cargo.lock") => {
                ("source = ", "\"registry+https://github.com/rust-lang/crates.io-index\"")
            }
            Some("package-lock.json") => ("\"resolved\": ", "\"https://registry.npmjs.org/"),
            _ => continue,
        };
        for (at, line) in source.text.lines().enumerate() {
            let elsewhere = line.trim_start().strip_prefix(key);
            if elsewhere.is_some_and(|value| !value.starts_with(public)) {
                wrong.push(source.at(at + 1));
            }
        }
    }
    settle("lock files name crates.io and npm, and no other host", &wrong);
}
