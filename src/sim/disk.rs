//! A disk with two images: what was written, and what is durable. A crash leaves the durable one, and
//! of a batch that was being synced all or nothing, by draw.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;

use crate::ports::clock::Clock;
use crate::ports::journal::{Entry, Journal, JournalError, Snapshot};
use crate::sim::clock::SimClock;
use crate::sim::fate::{Fate, Fault};

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

#[derive(Default)]
struct Image {
    durable: Vec<Entry>,
    snapshot: Option<Snapshot>,
    written: Vec<Entry>,
    syncs: u64,
    crash_at: Option<CrashAt>,
    crashed: bool,
    poisoned: bool,
}

/// The disk of one process. Clones are the same one; it survives the process.
#[derive(Clone, Default)]
pub struct Disk(Arc<Mutex<Image>>);

impl Disk {
    /// A disk whose process dies there.
    pub fn crashing(crash_at: Option<CrashAt>) -> Self {
        let disk = Self::default();
        disk.with(|image| image.crash_at = crash_at);
        disk
    }

    /// Everything durable.
    pub fn entries(&self) -> Vec<Entry> {
        self.with(|image| image.durable.clone())
    }

    /// What is durable after the first `seen` entries.
    pub fn entries_after(&self, seen: usize) -> Vec<Entry> {
        self.with(|image| image.durable.get(seen..).unwrap_or_default().to_vec())
    }

    /// Syncs that began.
    pub fn syncs(&self) -> u64 {
        self.with(|image| image.syncs)
    }

    /// Whether the process died, or stopped because a write failed.
    pub fn is_down(&self) -> bool {
        self.with(|image| image.crashed || image.poisoned)
    }

    /// What a restart finds: of what was written and not synced all or nothing.
    pub fn reopen(&self, fate: &Fate) {
        let drawn = fate.below(2) == 0;
        self.with(|image| {
            let planned = image.crash_at.filter(|at| at.sync == image.syncs && image.crashed);
            let kept = planned.map_or(drawn, |at| at.kept);
            let written = std::mem::take(&mut image.written);
            if kept {
                image.durable.extend(written);
            }
            (image.crashed, image.poisoned) = (false, false);
        });
    }

    fn with<R>(&self, look: impl FnOnce(&mut Image) -> R) -> R {
        look(&mut self.0.lock().expect("no holder of the disk panics"))
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
}

#[async_trait]
impl Journal for SimJournal {
    async fn append(&self, entries: Arc<[Entry]>) -> Result<(), JournalError> {
        let (planned, poisoned) = self.disk.with(|image| {
            image.written.extend(entries.iter().cloned());
            image.syncs = image.syncs.saturating_add(1);
            (image.crash_at.is_some_and(|at| at.sync == image.syncs), image.poisoned)
        });
        self.fate.check(!poisoned, || "I17: an append after a failed sync".to_owned());
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
        self.disk.with(|image| {
            let written = std::mem::take(&mut image.written);
            image.durable.extend(written);
        });
        Ok(())
    }

    fn end(&self) -> u64 {
        self.disk.with(|image| image.durable.last().map_or(0, |entry| entry.seq))
    }

    async fn load_snapshot(&self) -> Result<Option<Snapshot>, JournalError> {
        Ok(self.disk.with(|image| image.snapshot.clone()))
    }

    async fn read(&self, after: u64, limit: u32) -> Result<Vec<Entry>, JournalError> {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        Ok(self.disk.with(|image| {
            let later = image.durable.iter().filter(|entry| entry.seq > after);
            later.take(limit).cloned().collect()
        }))
    }

    async fn keep_snapshot(&self, snapshot: Snapshot) -> Result<(), JournalError> {
        self.disk.with(|image| image.snapshot = Some(snapshot));
        Ok(())
    }
}
