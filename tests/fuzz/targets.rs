//! What is fuzzed: bytes in, and a panic where something is so that must not be. The fuzzer's programs run
//! these, and so do the tests, on what is in `kept`.

use std::path::Path;
use std::str::FromStr;
use std::sync::{Arc, OnceLock};

use bursar::domain::asset::Network;
use bursar::domain::ledger::agent::{Principal, Scope};
use bursar::domain::ledger::{Bounds, Event};
use bursar::domain::money::Amount;
use bursar::domain::policy::PolicyDocument;
use bursar::domain::time::Timestamp;
use bursar::domain::x402::error::Message;
use bursar::domain::x402::read::{
    decode_text, parse_asked, parse_payment_payload, parse_payment_required, parse_settlement,
    to_json,
};
use bursar::domain::x402::wire::AskedPayment;
use bursar::edge::config::Config;
use bursar::edge::journal::{Options, Store, verify};
use bursar::ports::journal::{Entry, Journal};
use bursar::sim::plan::Plan;
use bursar::sim::world::World;

/// A script of the whole world: payers' node, payee and chain, each with a store or a journal of its own.
/// Each byte is one thing that is drawn: what people do, what goes wrong and when. Whatever it says, no
/// invariant breaks and everything ends. threats.md FZ7, FZ8.
pub fn consistency(script: &[u8]) {
    let plan = Plan::scripted(script);
    let report = World::new(plan.clone()).run();
    assert!(report.broken.is_empty(), "{plan:?}\n{report:#?}");
    assert_eq!(report.ends.values().sum::<u64>(), u64::try_from(plan.wishes).unwrap());
}

/// What a stranger sends: whatever is taken is written back the same. threats.md FZ1, FZ2, FZ10.
pub fn wire(bytes: &[u8]) {
    let decoded = decode_text(bytes, Message::Payload);
    for json in [Some(bytes), decoded.as_deref().ok()].into_iter().flatten() {
        if let Ok(read) = parse_payment_payload(json) {
            assert_eq!(parse_payment_payload(&to_json(&read)), Ok(read));
        }
        if let Ok(read) = parse_payment_required(json) {
            assert_eq!(parse_payment_required(&to_json(&read)), Ok(read));
        }
        if let Ok(read) = parse_settlement(json) {
            assert_eq!(parse_settlement(&to_json(&read)), Ok(read));
        }
        let _ = parse_asked::<AskedPayment>(json);
    }
    if let Ok(text) = std::str::from_utf8(bytes) {
        if let Ok(amount) = Amount::from_str(text) {
            assert_eq!(amount.to_string(), text, "an amount has one spelling");
        }
        if let Ok(network) = Network::from_str(text) {
            assert_eq!(network.to_string(), text, "a network has one name");
        }
    }
}

/// A node's file: whatever it says, it is taken, and its policy reads back as itself; or each problem has its line,
/// and says what would be right. threats.md FZ12.
pub fn settings(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    match Config::load(Path::new("bursar.toml"), &text) {
        Ok(config) => {
            let policy = config.policy;
            assert_eq!(PolicyDocument::from_json(&policy.to_json()), Ok(policy));
        }
        Err(problems) => {
            assert!(!problems.is_empty(), "a refusal has a reason");
            let lines = text.split('\n').count();
            for problem in problems {
                assert!((1..=lines).contains(&problem.line), "{problem:?} of {lines} lines");
                assert!(!problem.what.is_empty() && !problem.right.is_empty(), "{problem:?}");
                assert!(problem.to_string().contains("bursar.toml:"), "{problem}");
            }
        }
    }
}

/// Entries of the journal that [`journal`] damages.
const ENTRIES: u64 = 24;

/// A good journal: its file, and the head after each entry, none first.
struct Good {
    file: Vec<u8>,
    heads: Vec<String>,
}

impl Good {
    fn entry(seq: u64) -> Entry {
        let at = Timestamp::from_millis(1_800_000_000_000 + seq);
        let (scope, reason, by) = (Scope::All, format!("drill {seq}"), Principal::Node);
        let event = if seq % 2 == 1 {
            Event::Paused { scope, reason, by }
        } else {
            Event::Resumed { scope, by }
        };
        Entry { seq, at, event }
    }

    fn write() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal.db");
        let store = Store::open(&path, Options::default()).unwrap();
        let head = || verify(&path, Bounds::default()).unwrap().head;
        let mut heads = vec![head()];
        for seq in 1..=ENTRIES {
            block_on(store.append(Arc::new([Self::entry(seq)]))).unwrap();
            heads.push(head());
        }
        // The last one closes it, and all of it is in the one file.
        drop(store);
        Self { file: std::fs::read(&path).unwrap(), heads }
    }
}

fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}

/// A journal's file, of these bytes or a good one that they damage: what is taken for good of it was written, in
/// its place, and nothing else was. threats.md FZ9.
pub fn journal(bytes: &[u8]) {
    static GOOD: OnceLock<Good> = OnceLock::new();
    let good = GOOD.get_or_init(Good::write);
    let Some((kind, rest)) = bytes.split_first() else { return };
    let file = if kind % 4 == 0 { rest.to_vec() } else { damaged(&good.file, *kind, rest) };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal.db");
    std::fs::write(&path, file).unwrap();
    if let Ok(report) = verify(&path, Bounds::default()) {
        let head = good.heads.get(usize::try_from(report.entries).unwrap());
        assert_eq!(Some(&report.head), head, "{report:?}");
    }
    let Ok(store) = Store::open(&path, Options::default()) else { return };
    if let Ok(entries) = block_on(store.read(0, 1_000)) {
        let written = (1..=ENTRIES).map(Good::entry);
        assert!(entries.iter().cloned().eq(written.take(entries.len())), "{entries:?}");
    }
}

/// `file` with a byte changed for each five of `rest`: four say which, one what is put there. Of an odd `kind` what
/// is behind the last of them is cut off.
fn damaged(file: &[u8], kind: u8, rest: &[u8]) -> Vec<u8> {
    let mut file = file.to_vec();
    let mut last = file.len();
    for five in rest.chunks_exact(5) {
        let [a, b, c, d, byte] = *five else { continue };
        let place = u32::from_be_bytes([a, b, c, d]);
        last = usize::try_from(place).unwrap() % file.len();
        file[last] = byte;
    }
    if kind % 2 == 1 {
        file.truncate(last);
    }
    file
}
