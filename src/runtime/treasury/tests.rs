//! The only writer: durable before acknowledged, poisoned after a failed write, exact at a restart.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "tests fail by panicking"
)]

mod released;

use std::sync::atomic::{AtomicBool, Ordering};

use super::*;
use crate::domain::id::Name;
use crate::domain::ledger::agent::{Principal, Scope};
use crate::domain::ledger::tests::fixture::{Desk, pool};
use crate::ports::clock::ManualClock;
use crate::ports::journal::{Entry, MemoryJournal, Snapshot};
use crate::runtime::treasury::snapshots::Snapshots;

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

#[tokio::test]
async fn a_snapshot_of_another_version_is_passed_over_and_the_events_tell() {
    let journal = MemoryJournal::default();
    let treasury = start(Arc::new(journal.clone())).await;
    treasury.execute(open_wallet(1)).await.unwrap();
    let before = treasury.read(Ledger::clone).await.unwrap();
    drop(treasury);
    // The bytes of a ledger, as they were kept without their shape.
    let body = postcard::to_stdvec(&Ledger::new(Bounds::default())).unwrap();
    journal.keep_snapshot(Snapshot { seq: 1, at: before.now(), body }).await.unwrap();
    let again = start(Arc::new(journal)).await;
    assert!(again.read(move |ledger| *ledger == before).await.unwrap());
}

/// A journal whose writes fail once it is told so.
struct FailingJournal {
    inner: MemoryJournal,
    failing: AtomicBool,
    /// A write takes a permit, as long as it needs; and so does a snapshot.
    writes: tokio::sync::Semaphore,
    snapshots: tokio::sync::Semaphore,
}

impl Default for FailingJournal {
    fn default() -> Self {
        let [writes, snapshots] = [1_000; 2].map(tokio::sync::Semaphore::new);
        Self { inner: MemoryJournal::default(), failing: AtomicBool::default(), writes, snapshots }
    }
}

#[async_trait]
impl Journal for FailingJournal {
    async fn append(&self, entries: Arc<[Entry]>) -> Result<(), JournalError> {
        self.writes.acquire().await.unwrap().forget();
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
        self.snapshots.acquire().await.unwrap().forget();
        self.inner.keep_snapshot(snapshot).await
    }
}

/// A long one takes seconds: nobody paid, and no pause was taken, until it was written.
#[tokio::test]
async fn what_is_asked_while_a_snapshot_is_written_is_decided() {
    let journal = Arc::new(FailingJournal::default());
    journal.snapshots.forget_permits(1_000);
    let treasury = start(journal.clone()).await;
    for byte in 1..=9 {
        treasury.execute(open_wallet(byte)).await.unwrap();
    }
    assert_eq!(treasury.read(|ledger| ledger.wallets().len()).await.unwrap(), 9);
    assert!(journal.load_snapshot().await.unwrap().is_none());
    journal.snapshots.add_permits(1);
    while journal.load_snapshot().await.unwrap().is_none() {
        tokio::task::yield_now().await;
    }
    let kept = journal.load_snapshot().await.unwrap().unwrap();
    assert_eq!(kept.seq, 2, "the one that was begun");
    treasury.execute(open_wallet(10)).await.unwrap();
    journal.snapshots.add_permits(1);
    while journal.load_snapshot().await.unwrap().unwrap().seq == 2 {
        tokio::task::yield_now().await;
    }
}

/// The next start reads it, and not all entries again.
#[tokio::test]
async fn a_snapshot_that_was_begun_is_kept_before_the_treasury_ends() {
    let journal = Arc::new(FailingJournal::default());
    journal.snapshots.forget_permits(1_000);
    let clock = Arc::new(ManualClock::at(Timestamp::from_secs(1_800_000_000)));
    let (treasury, task) = Treasury::open(journal.clone(), clock, settings(1)).await.unwrap();
    let running = tokio::spawn(task.run());
    for byte in 1..=2 {
        treasury.execute(open_wallet(byte)).await.unwrap();
    }
    drop(treasury);
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
    assert!(!running.is_finished(), "it waits for its snapshot");
    journal.snapshots.add_permits(1);
    running.await.unwrap();
    assert_eq!(journal.load_snapshot().await.unwrap().unwrap().seq, 2);
}

#[tokio::test]
async fn a_treasury_knows_its_processes_number_and_counts_what_happened() {
    let clock = Arc::new(ManualClock::at(Timestamp::from_secs(1_800_000_000)));
    let journal = Arc::new(MemoryJournal::default());
    let (treasury, task) = Treasury::open(journal, clock, settings(7)).await.unwrap();
    tokio::spawn(task.run());
    assert_eq!(treasury.boot(), 7);
    for byte in 1..=3 {
        treasury.execute(open_wallet(byte)).await.unwrap();
    }
    treasury.execute(open_wallet(1)).await.unwrap_err();
    let counts = treasury.clone().meters().counts();
    assert_eq!(counts.events.into_iter().collect::<Vec<_>>(), [("wallet_opened", 3)]);
}

#[test]
fn the_next_snapshot_waits_for_as_many_entries_as_the_last_ones_bytes_come_to() {
    let short = Snapshots::after(100, 640, 1_000);
    assert_eq!([1_099, 1_100].map(|head| short.is_due(head)), [false, true]);
    let long = Snapshots::after(100, 128_000, 1_000);
    assert_eq!([2_099, 2_100].map(|head| long.is_due(head)), [false, true]);
    // A restart reads them all.
    let longest = Snapshots::after(100, usize::MAX, 1_000);
    assert_eq!([500_099, 500_100].map(|head| longest.is_due(head)), [false, true]);
}

#[tokio::test]
async fn s14_what_is_decided_during_a_write_waits_for_it_and_falls_with_it() {
    for fails in [false, true] {
        let journal = Arc::new(FailingJournal::default());
        let treasury = start(journal.clone()).await;
        journal.writes.forget_permits(1_000);
        let first = treasury.execute(open_wallet(1));
        let then = async {
            // The first is being written by now; the second rests on it.
            tokio::task::yield_now().await;
            treasury.execute(open_wallet(1)).await
        };
        let look = async {
            tokio::task::yield_now().await;
            treasury.read(|ledger| ledger.wallets().len()).await
        };
        let let_go = async {
            for _ in 0..10 {
                tokio::task::yield_now().await;
                assert!(journal.inner.entries().is_empty());
            }
            journal.failing.store(fails, Ordering::SeqCst);
            journal.writes.add_permits(10);
        };
        let (first, second, looked, ()) = tokio::join!(first, then, look, let_go);
        if fails {
            for refused in [first.unwrap_err(), second.unwrap_err(), looked.unwrap_err()] {
                assert_eq!(refused.code(), "treasury.stopped");
            }
            assert_eq!(journal.inner.entries(), []);
        } else {
            first.unwrap();
            assert!(second.unwrap_err().rejection().is_some(), "the wallet is there already");
            assert_eq!(looked.unwrap(), 1);
        }
    }
}

#[tokio::test]
async fn a_peek_waits_for_no_write_and_sees_what_was_decided() {
    let journal = Arc::new(FailingJournal::default());
    let treasury = start(journal.clone()).await;
    let wallets = || treasury.peek(|ledger| ledger.wallets().len());
    assert_eq!(wallets().await.unwrap(), 0);
    journal.writes.forget_permits(1_000);
    let first = treasury.execute(open_wallet(1));
    let peeks = async {
        while wallets().await.unwrap() == 0 {
            tokio::task::yield_now().await;
        }
        // A look that has to be of what is durable keeps everything behind it, but no peek.
        let looking = treasury.clone();
        let look = tokio::spawn(async move { looking.read(|ledger| ledger.wallets().len()).await });
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
        assert_eq!(wallets().await.unwrap(), 1);
        assert!(!look.is_finished() && journal.inner.entries().is_empty());
        journal.writes.add_permits(10);
        assert_eq!(look.await.unwrap().unwrap(), 1);
    };
    let (first, ()) = tokio::join!(first, peeks);
    first.unwrap();
    journal.failing.store(true, Ordering::SeqCst);
    treasury.execute(open_wallet(2)).await.unwrap_err();
    assert_eq!(wallets().await.unwrap_err().code(), "treasury.stopped");
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
async fn b07_ledger_time_strictly_increases_while_the_wall_clock_stands_still() {
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

#[tokio::test]
async fn whoever_looks_sees_what_is_durable_and_nothing_more() {
    let journal = Arc::new(FailingJournal::default());
    let clock = Arc::new(ManualClock::at(Timestamp::from_secs(1_800_000_000)));
    let settings = Settings { snapshot_every: 1_000, ..settings(1) };
    let (treasury, task) = Treasury::open(journal.clone(), clock, settings).await.unwrap();
    tokio::spawn(task.run());
    journal.writes.forget_permits(1_000);
    let settle = async || {
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
    };
    let open = |byte| {
        let treasury = treasury.clone();
        tokio::spawn(async move { treasury.execute(open_wallet(byte)).await.unwrap() })
    };
    let first = open(1);
    settle().await;
    // Both wait for the first write, and become one batch.
    let reader = treasury.clone();
    let looked = tokio::spawn(async move { reader.read(|ledger| ledger.wallets().len()).await });
    let second = open(2);
    settle().await;
    journal.writes.add_permits(1);
    settle().await;
    // The second is being written, and the third may not be in what is looked at after that.
    let third = open(3);
    settle().await;
    journal.writes.add_permits(1);
    assert_eq!(looked.await.unwrap().unwrap(), 2);
    assert_eq!(journal.inner.entries().len(), 2);
    journal.writes.add_permits(1_000);
    for opened in [first, second, third] {
        opened.await.unwrap();
    }
}

#[tokio::test]
async fn a_signature_waits_for_its_own_hold_to_be_durable_and_for_no_other_write() {
    let mut desk = Desk::new(vec![pool(1_000)]);
    let journal = Arc::new(FailingJournal::default());
    let entry = |(seq, (at, event))| Entry { seq, at, event };
    journal.append((1..).zip(desk.log.clone()).map(entry).collect()).await.unwrap();
    let settings = Settings { snapshot_every: 1_000, ..settings(1) };
    let clock = Arc::new(ManualClock::at(desk.now));
    let (treasury, task) = Treasury::open(journal.clone(), clock, settings).await.unwrap();
    tokio::spawn(task.run());
    let settle = async || {
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
    };
    let execute = |command| {
        let treasury = treasury.clone();
        tokio::spawn(async move { treasury.execute(command).await.unwrap() })
    };
    let asks = [desk.ask("ann", 10), desk.ask("ann", 10)];
    let [first, second] = [asks[0].payment, asks[1].payment];
    let [known, new] = asks.map(|ask| Command::Hold(Box::new(ask)));
    treasury.execute(known).await.unwrap();
    journal.writes.forget_permits(1_000);
    let held = execute(new);
    settle().await;
    let signing = treasury.clone();
    let early = tokio::spawn(async move { signing.release(second).await.map(|_| ()) });
    settle().await;
    assert_eq!(treasury.release(first).await.unwrap().commitment.amount_max.get(), 10);
    assert!(!early.is_finished(), "nothing of the second hold is durable");
    // A pause counts before it is durable.
    let (scope, reason, by) = (Scope::All, "loop".to_owned(), Principal::Operator);
    let paused = execute(Command::Pause { scope, reason, by });
    settle().await;
    let refused = treasury.release(first).await.map(|_| ());
    assert_eq!(refused, Err(NotSignable::Paused(first)));
    journal.writes.add_permits(1_000);
    assert_eq!(early.await.unwrap(), Err(NotSignable::Paused(second)));
    held.await.unwrap();
    paused.await.unwrap();
}
