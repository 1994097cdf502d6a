//! A disk with two images: what was written, and what is durable. A crash leaves the durable one, and
//! of a batch that was being synced all or nothing, by draw.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;

use crate::domain::ledger::{Bounds, Ledger};
use crate::ports::clock::Clock;
use crate::ports::journal::{Entry, Journal, JournalError, Snapshot};
use crate::runtime::treasury::{Settings, Treasury};
use crate::sim::clock::SimClock;
use crate::sim::fate::{Fate, Fault};
use crate::sim::oracle::{Oracle, Side};

/// A sync takes up to this long, in milliseconds.
const SYNC_MS_MAX: u64 = 4;

/// Where a process dies: during which sync, counted from the first, and whether its batch survives.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct CrashAt {
    /// Which sync, 1 first.
    pub sync: u64,
    /// Whether the batch turns out to be durable.
    pub kept: bool,
}

#[derive(Clone, Default)]
struct Image {
    durable: Vec<Entry>,
    snapshot: Option<Snapshot>,
    written: Vec<Entry>,
    syncs: u64,
    images: u64,
    crash_at: Option<CrashAt>,
    crashed: bool,
    poisoned: bool,
}

/// The disk of one process. Clones are the same one; it survives the process.
#[derive(Clone)]
pub struct Disk {
    side: Side,
    image: Arc<Mutex<Image>>,
}

impl Disk {
    /// A disk whose process dies there.
    pub fn new(side: Side, crash_at: Option<CrashAt>) -> Self {
        let image = Image { crash_at, ..Image::default() };
        Self { side, image: Arc::new(Mutex::new(image)) }
    }

    /// Whose it is.
    pub const fn side(&self) -> Side {
        self.side
    }

    /// Syncs that began.
    pub fn syncs(&self) -> u64 {
        self.with(|image| image.syncs)
    }

    /// Images of a crash that a start was tried on.
    pub fn images(&self) -> u64 {
        self.with(|image| image.images)
    }

    /// Whether the process died, or stopped because a write failed.
    pub fn is_down(&self) -> bool {
        self.with(|image| image.crashed || image.poisoned)
    }

    /// What a restart finds: of what was written and not synced all or nothing.
    pub fn reopen(&self, fate: &Fate, oracle: &Oracle) {
        let drawn = fate.below(2) == 0;
        let from = self.with(|image| {
            let planned = image.crash_at.filter(|at| at.sync == image.syncs && image.crashed);
            let kept = planned.map_or(drawn, |at| at.kept);
            let written = std::mem::take(&mut image.written);
            let from = image.durable.len();
            if kept {
                image.durable.extend(written);
            }
            (image.crashed, image.poisoned) = (false, false);
            from
        });
        self.tell(oracle, from);
    }

    /// Tells the oracle of what is durable since.
    fn tell(&self, oracle: &Oracle, from: usize) {
        let fresh = self.with(|image| image.durable.get(from..).unwrap_or_default().to_vec());
        for entry in &fresh {
            oracle.read(self.side, entry);
        }
    }

    /// I16: what a start would find if the process died now, with the batch that is being written and
    /// without it; and that a start changes nothing of what the next one finds.
    async fn check_images(&self, clock: &SimClock, oracle: &Oracle) {
        let now = self.with(|image| image.clone());
        let written = now.written.clone();
        for more in [&[][..], &written] {
            self.with(|image| image.images = image.images.saturating_add(1));
            let mut image = Image { written: Vec::new(), ..now.clone() };
            image.durable.extend(more.iter().cloned());
            let copy = Self { side: self.side, image: Arc::new(Mutex::new(image)) };
            for _start in 0..2 {
                match copy.recover(clock).await {
                    Some(found) => oracle.check_recovered(self.side, &found, more),
                    None => oracle.check_recovered(self.side, &Ledger::default(), more),
                }
            }
        }
    }

    /// The ledger that a start would find.
    async fn recover(&self, clock: &SimClock) -> Option<Ledger> {
        let journal = Arc::new(SimRecord(self.clone()));
        let settings =
            Settings { bounds: Bounds::default(), boot: u64::MAX, snapshot_every: u64::MAX };
        let opened = Treasury::open(journal, Arc::new(clock.clone()), settings).await;
        let (treasury, task) = opened.ok()?;
        tokio::select! {
            biased;
            found = treasury.read(Ledger::clone) => found.ok(),
            () = task.run() => None,
        }
    }

    fn read(&self, after: u64, limit: u32) -> Vec<Entry> {
        let from = usize::try_from(after).unwrap_or(usize::MAX);
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        self.with(|image| {
            let later = image.durable.get(from..).unwrap_or_default();
            later.iter().take(limit).cloned().collect()
        })
    }

    fn end(&self) -> u64 {
        self.with(|image| image.durable.last().map_or(0, |entry| entry.seq))
    }

    fn with<R>(&self, look: impl FnOnce(&mut Image) -> R) -> R {
        look(&mut self.image.lock().expect("no holder of the disk panics"))
    }
}

/// One process's journal on a disk.
pub struct SimJournal {
    /// Where.
    pub disk: Disk,
    /// The time.
    pub clock: SimClock,
    /// What goes wrong.
    pub fate: Fate,
    /// Who reads along.
    pub oracle: Oracle,
    /// At one sync in so many a start is tried on what a crash would leave; 0 for none.
    pub images_every: u64,
}

#[async_trait]
impl Journal for SimJournal {
    async fn append(&self, entries: Arc<[Entry]>) -> Result<(), JournalError> {
        let (sync, planned, poisoned) = self.disk.with(|image| {
            image.written.extend(entries.iter().cloned());
            image.syncs = image.syncs.saturating_add(1);
            let planned = image.crash_at.is_some_and(|at| at.sync == image.syncs);
            (image.syncs, planned, image.poisoned)
        });
        self.fate.check(!poisoned, || "I17: an append after a failed sync".to_owned());
        if sync.checked_rem(self.images_every) == Some(0) {
            self.disk.check_images(&self.clock, &self.oracle).await;
        }
        if planned {
            self.fate.count(Fault::Crash);
        }
        if planned || self.fate.strikes(Fault::Crash) {
            self.disk.with(|image| image.crashed = true);
            return std::future::pending().await;
        }
        if self.fate.strikes(Fault::SyncFailed) {
            self.disk.with(|image| image.poisoned = true);
            return Err(JournalError::WriteFailed("the sync failed, by fate".to_owned()));
        }
        let synced = self.clock.now().after(self.fate.millis(SYNC_MS_MAX));
        self.clock.sleep_until(synced).await;
        let from = self.disk.with(|image| {
            let (from, written) = (image.durable.len(), std::mem::take(&mut image.written));
            image.durable.extend(written);
            from
        });
        self.disk.tell(&self.oracle, from);
        Ok(())
    }

    fn end(&self) -> u64 {
        self.disk.end()
    }

    async fn load_snapshot(&self) -> Result<Option<Snapshot>, JournalError> {
        Ok(self.disk.with(|image| image.snapshot.clone()))
    }

    async fn read(&self, after: u64, limit: u32) -> Result<Vec<Entry>, JournalError> {
        Ok(self.disk.read(after, limit))
    }

    async fn keep_snapshot(&self, snapshot: Snapshot) -> Result<(), JournalError> {
        self.disk.with(|image| image.snapshot = Some(snapshot));
        Ok(())
    }
}

/// A copy of a disk that is only read.
struct SimRecord(Disk);

#[async_trait]
impl Journal for SimRecord {
    async fn append(&self, _entries: Arc<[Entry]>) -> Result<(), JournalError> {
        Err(JournalError::WriteFailed("a copy is only read".to_owned()))
    }

    fn end(&self) -> u64 {
        self.0.end()
    }

    async fn load_snapshot(&self) -> Result<Option<Snapshot>, JournalError> {
        Ok(self.0.with(|image| image.snapshot.clone()))
    }

    async fn read(&self, after: u64, limit: u32) -> Result<Vec<Entry>, JournalError> {
        Ok(self.0.read(after, limit))
    }

    async fn keep_snapshot(&self, snapshot: Snapshot) -> Result<(), JournalError> {
        self.0.with(|image| image.snapshot = Some(snapshot));
        Ok(())
    }
}
