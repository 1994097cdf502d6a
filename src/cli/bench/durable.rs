//! Durable authorizations: the whole check, the hold, and the answer after its sync; beside raw appends
//! of the same size to the same disk, grouped in the same way.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use async_trait::async_trait;
use bursar::domain::ledger::budget::BudgetDef;
use bursar::domain::ledger::{Bounds, Command};
use bursar::edge::clock::SystemClock;
use bursar::edge::journal::{Options, Store};
use bursar::ports::clock::Clock;
use bursar::ports::journal::{Entry, Journal, JournalError, Snapshot};
use bursar::runtime::treasury::{Settings, Treasury};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use super::holds::{agent_id, arrival, ask, policy, stride};
use super::measure::{Round, drive};

/// Bytes of one record: what one hold in four budgets is in the journal. 409 of event, 32 of hash, and
/// the row's place, time, kind and header.
pub const RECORD_LEN: usize = 464;

/// Records in one write at most, and those that may wait.
const GROUP_MAX: usize = 1024;

/// Entries between two snapshots: as a node has it.
const SNAPSHOT_EVERY: u64 = 1_000_000;

/// Commands under way at once while wallets are made.
const MAKERS: u64 = 512;

/// A treasury over a file, with so many agents, each with a wallet.
pub struct Desk {
    treasury: Treasury,
    store: Store,
    wallets: u64,
    syncs: Arc<AtomicU64>,
    nth: Arc<AtomicU64>,
    writer: JoinHandle<()>,
}

impl Desk {
    /// Opens one in `folder` under `budgets`; each sync takes `sync_delay` longer than the disk's.
    ///
    /// # Errors
    /// As the journal says.
    pub async fn open(
        folder: &Path,
        wallets: u64,
        budgets: Vec<BudgetDef>,
        sync_delay: Option<Duration>,
    ) -> Result<Self, JournalError> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let options = Options { sync_delay, ..Options::default() };
        let syncs = Arc::new(AtomicU64::new(0));
        let store = Store::open(&folder.join("ledger.db"), options)?;
        let journal = Arc::new(Counted { store: store.clone(), syncs: Arc::clone(&syncs) });
        let settings =
            Settings { bounds: Bounds::default(), boot: 1, snapshot_every: SNAPSHOT_EVERY };
        let (treasury, task) = Treasury::open(journal, clock, settings).await?;
        let writer = tokio::spawn(task.run());
        let put = treasury.execute(policy(budgets)).await;
        put.expect("an empty ledger takes a policy");
        let next = Arc::new(AtomicU64::new(0));
        let mut makers = tokio::task::JoinSet::new();
        for _ in 0..MAKERS.min(wallets) {
            let (treasury, next) = (treasury.clone(), Arc::clone(&next));
            makers.spawn(async move {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= wallets {
                        return;
                    }
                    for command in arrival(number) {
                        treasury.execute(command).await.expect("a new wallet is taken");
                    }
                }
            });
        }
        makers.join_all().await;
        let desk = Self { treasury, store, wallets, syncs, nth: Arc::default(), writer };
        desk.catch_up().await?;
        Ok(desk)
    }

    /// Waits until the readable tables know every event, so that the next turn, of whatever else is
    /// measured, has the disk to itself; says for how long.
    ///
    /// # Errors
    /// As the journal says.
    pub async fn catch_up(&self) -> Result<Duration, JournalError> {
        let asked = SystemClock.now();
        self.store.catch_up().await?;
        Ok(SystemClock.now().since(asked))
    }

    /// Lets `callers` hold for `span`.
    pub async fn hold(&self, callers: u64, span: Duration) -> Round {
        let (treasury, wallets, nth) = (self.treasury.clone(), self.wallets, Arc::clone(&self.nth));
        drive(callers, span, move |_| {
            let (treasury, nth) = (treasury.clone(), Arc::clone(&nth));
            async move {
                let nth = nth.fetch_add(1, Ordering::Relaxed);
                let number = stride(nth, wallets);
                let ask = ask(agent_id(number), number, nth, SystemClock.now().as_millis());
                let held = treasury.execute(Command::Hold(Box::new(ask))).await;
                held.expect("a hold under a cap that never fills is placed");
            }
        })
        .await
    }

    /// Syncs so far.
    pub fn syncs(&self) -> u64 {
        self.syncs.load(Ordering::Relaxed)
    }

    /// Closes the file.
    pub async fn close(self) {
        drop((self.treasury, self.store));
        let _ = self.writer.await;
    }
}

/// A store that counts its syncs: one for each batch.
struct Counted {
    store: Store,
    syncs: Arc<AtomicU64>,
}

#[async_trait]
impl Journal for Counted {
    async fn append(&self, entries: Arc<[Entry]>) -> Result<(), JournalError> {
        self.syncs.fetch_add(1, Ordering::Relaxed);
        self.store.append(entries).await
    }

    fn end(&self) -> u64 {
        self.store.end()
    }

    async fn load_snapshot(&self) -> Result<Option<Snapshot>, JournalError> {
        self.store.load_snapshot().await
    }

    async fn read(&self, after: u64, limit: u32) -> Result<Vec<Entry>, JournalError> {
        Journal::read(&self.store, after, limit).await
    }

    async fn keep_snapshot(&self, snapshot: Snapshot) -> Result<(), JournalError> {
        self.store.keep_snapshot(snapshot).await
    }
}

/// A record that somebody waits for: made by the caller, as a hold is.
type Record = (Box<[u8; RECORD_LEN]>, oneshot::Sender<()>);

/// A file that grows by records: whoever waits shares one write and one sync.
pub struct RawLog {
    records: mpsc::Sender<Record>,
}

impl RawLog {
    /// Makes one in `folder`.
    ///
    /// # Errors
    /// As the disk says.
    pub fn create(folder: &Path) -> std::io::Result<Self> {
        let mut file = File::create(folder.join("raw.log"))?;
        let (records, mut waiting) = mpsc::channel::<Record>(8 * GROUP_MAX);
        let append = move || {
            let mut group = Vec::with_capacity(GROUP_MAX);
            let mut bytes = Vec::new();
            while waiting.blocking_recv_many(&mut group, GROUP_MAX) > 0 {
                bytes.clear();
                for (record, _) in &group {
                    bytes.extend_from_slice(record.as_slice());
                }
                // Whoever waits sees the sender go, and stops.
                if file.write_all(&bytes).and_then(|()| file.sync_data()).is_err() {
                    return;
                }
                for (_, answer) in group.drain(..) {
                    let _ = answer.send(());
                }
            }
        };
        thread::Builder::new().name("raw log".to_owned()).spawn(append)?;
        Ok(Self { records })
    }

    /// Lets `callers` append for `span`.
    pub async fn append(&self, callers: u64, span: Duration) -> Round {
        let records = self.records.clone();
        drive(callers, span, move |nth| {
            let records = records.clone();
            async move {
                let (answer, answered) = oneshot::channel();
                let mut record = Box::new([7; RECORD_LEN]);
                record.split_at_mut(8).0.copy_from_slice(&nth.to_be_bytes());
                records.send((record, answer)).await.expect("the log's thread lives");
                answered.await.expect("the disk writes");
            }
        })
        .await
    }
}
