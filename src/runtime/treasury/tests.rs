//! The only writer: durable before acknowledged, poisoned after a failed write, exact at a restart.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "tests fail by panicking"
)]

use std::sync::atomic::{AtomicBool, Ordering};

use super::*;
use crate::domain::id::Name;
use crate::domain::ledger::agent::{Principal, Scope};
use crate::ports::clock::ManualClock;
use crate::ports::journal::{Entry, MemoryJournal, Snapshot};

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

fn settings(boot: u64) -> Settings {
    Settings { bounds: Bounds::default(), boot, snapshot_every: 2 }
}

fn open_wallet(byte: u8) -> Command {
    let address = alloy::primitives::Address::repeat_byte(byte);
    Command::OpenWallet { wallet: name(&format!("w{byte}")), address }
}

async fn start(journal: Arc<dyn Journal>) -> Treasury {
    let clock = ManualClock::at(Timestamp::from_secs(1_800_000_000));
    let (treasury, task) = Treasury::open(journal, Arc::new(clock), settings(1)).await.unwrap();
    tokio::spawn(task.run());
    treasury
}

#[tokio::test]
async fn a_restart_gives_the_same_ledger_from_snapshot_and_tail() {
    let journal = MemoryJournal::default();
    let treasury = start(Arc::new(journal.clone())).await;
    for byte in 1..=5 {
        treasury.execute(open_wallet(byte)).await.unwrap();
    }
    let before = treasury.read(Ledger::clone).await.unwrap();
    drop(treasury);
    assert!(journal.load_snapshot().await.unwrap().is_some(), "a snapshot was kept on the way");
    let again = start(Arc::new(journal)).await;
    assert!(again.read(move |ledger| *ledger == before).await.unwrap());
}

/// A journal whose writes fail once it is told so.
#[derive(Default)]
struct FailingJournal {
    inner: MemoryJournal,
    failing: AtomicBool,
}

#[async_trait]
impl Journal for FailingJournal {
    async fn append(&self, entries: Arc<[Entry]>) -> Result<(), JournalError> {
        if self.failing.load(Ordering::SeqCst) {
            return Err(JournalError::WriteFailed("no space left on device".to_owned()));
        }
        self.inner.append(entries).await
    }

    fn end(&self) -> u64 {
        self.inner.end()
    }

    async fn load_snapshot(&self) -> Result<Option<Snapshot>, JournalError> {
        self.inner.load_snapshot().await
    }

    async fn read(&self, after: u64, limit: u32) -> Result<Vec<Entry>, JournalError> {
        self.inner.read(after, limit).await
    }

    async fn keep_snapshot(&self, snapshot: Snapshot) -> Result<(), JournalError> {
        self.inner.keep_snapshot(snapshot).await
    }
}

#[tokio::test]
async fn a_failed_write_poisons_the_treasury_for_good() {
    let journal = Arc::new(FailingJournal::default());
    let treasury = start(journal.clone()).await;
    treasury.execute(open_wallet(1)).await.unwrap();
    journal.failing.store(true, Ordering::SeqCst);
    let refused = treasury.execute(open_wallet(2)).await.unwrap_err();
    assert_eq!(refused.code(), "treasury.stopped");
    journal.failing.store(false, Ordering::SeqCst);
    let refused = treasury.execute(open_wallet(3)).await.unwrap_err();
    assert_eq!(refused.code(), "treasury.stopped", "not even when the disk is well again");
    assert!(treasury.read(|_| ()).await.is_err(), "nor may anybody look at what is not durable");
    assert_eq!(journal.inner.entries().len(), 1);
}

#[tokio::test]
async fn ledger_time_strictly_increases_while_the_wall_clock_stands_still() {
    let journal = MemoryJournal::default();
    let treasury = start(Arc::new(journal.clone())).await;
    for byte in 1..=20 {
        treasury.execute(open_wallet(byte)).await.unwrap();
    }
    let entries = journal.entries();
    assert!(
        entries.windows(2).all(|pair| pair[0].at < pair[1].at && pair[0].seq + 1 == pair[1].seq)
    );
}

#[tokio::test]
async fn a_refused_command_writes_nothing() {
    let journal = MemoryJournal::default();
    let treasury = start(Arc::new(journal.clone())).await;
    let resume = Command::Resume { scope: Scope::All, by: Principal::Operator };
    let refused = treasury.execute(resume).await.unwrap_err();
    assert_eq!(refused.rejection(), Some(&Rejection::Unchanged));
    assert!(journal.entries().is_empty());
}

#[tokio::test]
async fn a_pause_is_acknowledged_only_when_every_earlier_signature_is_made() {
    let treasury = start(Arc::new(MemoryJournal::default())).await;
    let signing = Arc::clone(&treasury.signing).read_owned().await;
    let reason = "loop".to_owned();
    let pause = Command::Pause { scope: Scope::All, reason, by: Principal::Operator };
    let mut paused = Box::pin(treasury.execute(pause));
    tokio::select! {
        biased;
        _ = &mut paused => panic!("acknowledged while a signature was being made"),
        () = async { while treasury.read(|ledger| ledger.pauses().count()).await.unwrap() == 0 {} } => {}
    }
    drop(signing);
    paused.await.unwrap();
}
