//! The commands that need no node, as a script sees them: words in; JSON, exit code and files out.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::Arc;

use bursar::domain::ledger::Event;
use bursar::domain::ledger::agent::{Principal, Scope};
use bursar::domain::time::Timestamp;
use bursar::edge::config::{SANDBOX_USDC, default_sandbox_file};
use bursar::edge::journal::{Options, Store};
use bursar::edge::sandbox;
use bursar::ports::journal::{Entry, Journal};
use serde_json::Value;

/// The first development key of anvil and hardhat: known to everybody, and so no secret.
const KNOWN_KEY: &str = "ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80";
const KNOWN_ADDRESS: &str = "0xf39fd6e51aad88f6f4ce6ab8827279cfffb92266";

fn bursar(folder: &Path, words: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bursar"));
    command.current_dir(folder).args(words).stdin(Stdio::null()).output().unwrap()
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap()
}

fn answer(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap()
}

fn error(output: &Output) -> Value {
    let shown: Value = serde_json::from_slice(&output.stderr).unwrap();
    shown["error"].clone()
}

fn private(path: &Path, content: &str) {
    fs::write(path, content).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}

#[test]
fn a_wallet_is_made_once_and_its_address_needs_no_passphrase() {
    let folder = tempfile::tempdir().unwrap();
    private(&folder.path().join("phrase"), "correct horse\n");
    let words = ["wallet", "new", "main", "--passphrase-file", "phrase"];
    let made = bursar(folder.path(), &words);
    assert_eq!(code(&made), 0);
    let made = answer(&made);
    let file = folder.path().join(made["file"].as_str().unwrap());
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    // geth's standard cost, whatever tests use elsewhere.
    let stored: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    assert_eq!(stored["crypto"]["kdfparams"]["n"], 1 << 18);

    let shown = answer(&bursar(folder.path(), &["wallet", "address"]));
    assert_eq!(shown[0]["address"], made["address"]);
    let again = bursar(folder.path(), &words);
    assert_eq!((code(&again), error(&again)["code"].as_str()), (1, Some("keys.exists")));
    let missing = bursar(folder.path(), &["wallet", "address", "other"]);
    assert_eq!((code(&missing), error(&missing)["code"].as_str()), (1, Some("keys.missing")));
    let nobody = bursar(folder.path(), &["wallet", "new", "second"]);
    assert_eq!((code(&nobody), error(&nobody)["code"].as_str()), (1, Some("keys.no_passphrase")));
}

#[test]
fn an_imported_key_keeps_its_address_and_a_mistyped_one_is_not_printed() {
    let folder = tempfile::tempdir().unwrap();
    private(&folder.path().join("phrase"), "correct horse");
    private(&folder.path().join("good"), KNOWN_KEY);
    private(&folder.path().join("bad"), &format!("{KNOWN_KEY}77"));
    let import = |file: &str| {
        let words =
            ["wallet", "import", "known", "--passphrase-file", "phrase", "--key-file", file];
        bursar(folder.path(), &words)
    };
    let refused = import("bad");
    assert_eq!((code(&refused), error(&refused)["code"].as_str()), (1, Some("keys.not_a_key")));
    let said = [refused.stdout, refused.stderr].concat();
    assert!(!String::from_utf8(said).unwrap().contains("ac0974be"));
    assert_eq!(answer(&import("good"))["address"], KNOWN_ADDRESS);

    fs::set_permissions(folder.path().join("good"), fs::Permissions::from_mode(0o644)).unwrap();
    assert_eq!(error(&import("good"))["code"], "keys.open_to_others");
}

#[test]
fn check_reports_every_problem_of_a_file_with_its_line() {
    let folder = tempfile::tempdir().unwrap();
    let absent = bursar(folder.path(), &["check"]);
    assert_eq!((code(&absent), error(&absent)["code"].as_str()), (3, Some("config.unreadable")));

    let text = "version = 1\n[server]\nlisten = \"0.0.0.0:1\"\n[budget.b]\nlimt = \"5 USD\"\n";
    fs::write(folder.path().join("bursar.toml"), text).unwrap();
    let bad = bursar(folder.path(), &["check"]);
    assert_eq!(code(&bad), 3);
    let problems = error(&bad)["problems"].clone();
    let found: Vec<_> = problems
        .as_array()
        .unwrap()
        .iter()
        .map(|problem| (problem["line"].as_u64().unwrap(), problem["code"].as_str().unwrap()))
        .collect();
    assert_eq!(
        found,
        [
            (3, "config.not_loopback"),
            (4, "config.missing_key"),
            (4, "config.missing_key"),
            (4, "config.missing_key"),
            (5, "config.unknown_key"),
        ]
    );
    // For people: the line, a mark beneath it, and what would be right.
    let shown = bursar(folder.path(), &["check", "--format", "table"]);
    let shown = String::from_utf8(shown.stderr).unwrap();
    assert!(shown.contains("bursar.toml:5:1: ") && shown.contains("did you mean `limit`?"));
}

#[test]
fn check_shows_the_limits_that_the_sandbox_file_sets() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("bursar.toml"), default_sandbox_file()).unwrap();
    let good = bursar(folder.path(), &["check"]);
    assert_eq!(code(&good), 0);
    let report = answer(&good);
    assert_eq!(report["budgets"][0]["name"], "fleet-day");
    assert_eq!(report["budgets"][0]["limit"], 5_000_000_000_u64);
    assert_eq!(report["warnings"], Value::Array(vec![]));
    assert_eq!(SANDBOX_USDC, sandbox::TOKEN, "the file's USDC is the sandbox's");
}

#[tokio::test]
async fn ledger_verify_tells_a_good_journal_from_one_that_was_changed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.db");
    let absent = bursar(folder.path(), &["ledger", "verify", "ledger.db"]);
    assert_eq!((code(&absent), error(&absent)["code"].as_str()), (1, Some("journal.unfit")));

    let paused = |reason: &str| Event::Paused {
        scope: Scope::All,
        reason: reason.to_owned(),
        by: Principal::Operator,
    };
    let entries: Arc<[Entry]> = (1..)
        .zip(["night", "leak"])
        .map(|(seq, reason)| Entry {
            seq,
            at: Timestamp::from_secs(1_700_000_000 + seq),
            event: paused(reason),
        })
        .collect();
    let store = Store::open(&path, Options::default()).unwrap();
    store.append(entries).await.unwrap();
    drop(store);

    let good = bursar(folder.path(), &["ledger", "verify", "ledger.db"]);
    assert_eq!((code(&good), answer(&good)["entries"].as_u64()), (0, Some(2)));

    let file = rusqlite::Connection::open(&path).unwrap();
    file.execute_batch(
        "DROP TRIGGER events_are_never_changed; UPDATE events SET at_ns = at_ns + 1 WHERE seq = 2;",
    )
    .unwrap();
    drop(file);
    let changed = bursar(folder.path(), &["ledger", "verify", "ledger.db"]);
    assert_eq!(code(&changed), 9);
    assert_eq!(answer(&changed)["damage"]["seq"], 2);
}

#[test]
fn wrong_words_end_with_two() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(code(&bursar(folder.path(), &["pay", "everybody"])), 2);
    assert_eq!(code(&bursar(folder.path(), &["--help"])), 0);
}
