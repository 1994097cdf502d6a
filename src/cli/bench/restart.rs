//! Restarts: how long a node needs until it answers again, over a journal of many entries.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bursar::domain::ledger::{Bounds, Command, Ledger};
use bursar::domain::time::Timestamp;
use bursar::edge::clock::SystemClock;
use bursar::edge::journal::{Options, Store};
use bursar::ports::clock::Clock;
use bursar::ports::journal::{Entry, Journal, JournalError, Snapshot};
use bursar::runtime::treasury::{Settings, Treasury};

use super::holds::{START_S, agent_id, arrival, ask, close, four_levels, policy, stride};

/// Entries between two snapshots: as a node has it.
const SNAPSHOT_EVERY: u64 = 1_000_000;

/// Entries that are written at once.
const WRITTEN_AT_ONCE: usize = 4096;

/// Holds in a millisecond: so that their requests are as old as they are many.
const HOLDS_A_MILLISECOND: u64 = 10;

/// A journal on disk, as a node leaves it: holds that were placed and settled, and every snapshot but
/// the one that its last entry is due for, so that the newest is as old as one may be.
pub struct History {
    path: PathBuf,
    entries: u64,
}

impl History {
    /// Writes one of so many `entries` in `folder`, of so many agents.
    ///
    /// # Errors
    /// As the journal says.
    pub async fn write(folder: &Path, entries: u64, agents: u64) -> Result<Self, JournalError> {
        let path = folder.join("ledger.db");
        let store = Store::open(&path, Options::default())?;
        let mut past = Past::new(store);
        past.execute(policy(four_levels())).await?;
        for number in 0..agents {
            for command in arrival(number) {
                past.execute(command).await?;
            }
        }
        let mut nth = 0;
        while past.seq < entries {
            let number = stride(nth, agents);
            let made_at_ms = past.now.as_millis();
            let ask = ask(agent_id(number), number, nth, made_at_ms);
            let end = close(&ask);
            past.execute(Command::Hold(Box::new(ask))).await?;
            past.execute(end).await?;
            nth = nth.saturating_add(1);
            if nth.is_multiple_of(HOLDS_A_MILLISECOND) {
                past.now = past.now.after(Duration::from_millis(1));
            }
            // Not at the last entry: the next snapshot would be due, and is not there yet.
            let due = past.seq.saturating_sub(past.kept) >= SNAPSHOT_EVERY;
            if due && past.seq < entries.saturating_sub(1) {
                past.keep_snapshot().await?;
            }
        }
        past.flush().await?;
        Ok(Self { path, entries: past.seq })
    }

    /// Entries.
    pub const fn len(&self) -> u64 {
        self.entries
    }

    /// Opens it as a node does, and says after how long the ledger answers.
    ///
    /// # Errors
    /// As the journal says.
    ///
    /// # Panics
    /// Where the ledger that answers is not at the last entry's time.
    pub async fn restart(&self) -> Result<Duration, JournalError> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let began = clock.now();
        let store = Store::open(&self.path, Options::default())?;
        let settings =
            Settings { bounds: Bounds::default(), boot: 2, snapshot_every: SNAPSHOT_EVERY };
        let journal = Arc::new(store.clone());
        let (treasury, task) = Treasury::open(journal, Arc::clone(&clock), settings).await?;
        let writer = tokio::spawn(task.run());
        let open = treasury.read(Ledger::holds_len).await;
        let took = clock.now().since(began);
        assert_eq!(open.ok(), Some(0), "everything that was held has settled");
        assert_eq!(store.end(), self.entries, "nothing was added or lost");
        drop((treasury, store));
        let _ = writer.await;
        Ok(took)
    }
}

/// The ledger that the entries make, and what is not written yet.
struct Past {
    store: Store,
    ledger: Ledger,
    now: Timestamp,
    seq: u64,
    /// The entry of the newest snapshot.
    kept: u64,
    waiting: Vec<Entry>,
}

impl Past {
    fn new(store: Store) -> Self {
        let (ledger, now) = (Ledger::new(Bounds::default()), Timestamp::from_secs(START_S));
        Self { store, ledger, now, seq: 0, kept: 0, waiting: Vec::new() }
    }

    async fn execute(&mut self, command: Command) -> Result<(), JournalError> {
        self.now = self.now.next();
        let decided = self.ledger.decide(self.now, command).expect("the benchmark asks what fits");
        self.ledger.evolve(self.now, &decided.event);
        self.seq = self.seq.saturating_add(1);
        self.waiting.push(Entry { seq: self.seq, at: self.now, event: decided.event });
        if self.waiting.len() >= WRITTEN_AT_ONCE { self.flush().await } else { Ok(()) }
    }

    async fn flush(&mut self) -> Result<(), JournalError> {
        self.store.append(std::mem::take(&mut self.waiting).into()).await
    }

    async fn keep_snapshot(&mut self) -> Result<(), JournalError> {
        self.flush().await?;
        self.kept = self.seq;
        let snapshot = Snapshot::of(self.seq, &self.ledger).expect("a ledger can be written");
        self.store.keep_snapshot(snapshot).await
    }
}
