//! The journal: what makes an answer true. Events append-only, in one order, durable in batches.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::domain::fault::{Class, Fault};
use crate::domain::ledger::{Event, Ledger};
use crate::domain::time::Timestamp;

/// One event at its place in the one order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Its place: 1 first, without gaps.
    pub seq: u64,
    /// Ledger time: strictly increasing.
    pub at: Timestamp,
    /// What happened.
    pub event: Event,
}

/// A ledger as of an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// The last entry it holds.
    pub seq: u64,
    /// That entry's time.
    pub at: Timestamp,
    /// The ledger, encoded.
    pub body: Vec<u8>,
}

/// What a snapshot's body begins with: the shape of the ledger that it holds, which another ledger's bytes
/// could be read as by chance. It changes whenever a field does.
const SHAPE: &[u8] = b"ledger/5";

/// What a snapshot's body is.
#[derive(Clone, Debug)]
pub enum Kept {
    /// A ledger, without what a snapshot does not carry.
    Ledger(Box<Ledger>),
    /// A ledger of another version: the events tell.
    OtherVersion,
    /// None.
    Unreadable,
}

impl Snapshot {
    /// The ledger as of its entry `seq`.
    ///
    /// # Errors
    /// Where it does not encode.
    pub fn of(seq: u64, ledger: &Ledger) -> postcard::Result<Self> {
        let body = postcard::to_extend(ledger, SHAPE.to_vec())?;
        Ok(Self { seq, at: ledger.now(), body })
    }

    /// What it holds.
    pub fn read(&self) -> Kept {
        let Some(body) = self.body.strip_prefix(SHAPE) else { return Kept::OtherVersion };
        match postcard::take_from_bytes(body) {
            Ok((ledger, [])) => Kept::Ledger(Box::new(ledger)),
            Ok(_) | Err(_) => Kept::Unreadable,
        }
    }
}

/// Why the journal does not serve. After any error from `append` nobody may append again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JournalError {
    /// A write or sync failed: what is on the disk is unknown until a restart reads it.
    #[error("a journal write failed: {0}")]
    WriteFailed(String),
    /// What was read is not what was written.
    #[error("the journal is damaged at entry {seq}: {problem}")]
    Damaged {
        /// Where.
        seq: u64,
        /// What was wrong.
        problem: String,
    },
    /// Another process has it.
    #[error("the journal is in use by another process: {0}")]
    InUse(String),
    /// It was written by a later version, for another node, or for another chain.
    #[error("the journal does not fit: {0}")]
    Unfit(String),
}

impl Fault for JournalError {
    fn code(&self) -> &'static str {
        match self {
            Self::WriteFailed(_) => "journal.write_failed",
            Self::Damaged { .. } => "journal.damaged",
            Self::InUse(_) => "journal.in_use",
            Self::Unfit(_) => "journal.unfit",
        }
    }

    fn class(&self) -> Class {
        Class::Final
    }
}

/// Keeps entries and snapshots. One writer.
#[async_trait]
pub trait Journal: Send + Sync {
    /// Appends `entries` as one durable batch: all of them or none are there after a crash, and they
    /// are there once this returns.
    ///
    /// # Errors
    /// [`JournalError::WriteFailed`]; then the batch may or may not be there, and the caller stops.
    async fn append(&self, entries: Arc<[Entry]>) -> Result<(), JournalError>;

    /// The last durable entry's place; 0 before the first.
    fn end(&self) -> u64;

    /// The newest snapshot whose chain checks out, if there is one.
    ///
    /// # Errors
    /// [`JournalError::Damaged`].
    async fn load_snapshot(&self) -> Result<Option<Snapshot>, JournalError>;

    /// At most `limit` entries after `seq`, in order, their hash chain checked.
    ///
    /// # Errors
    /// [`JournalError::Damaged`].
    async fn read(&self, after: u64, limit: u32) -> Result<Vec<Entry>, JournalError>;

    /// Keeps a snapshot. Losing it loses nothing but the time of a replay.
    ///
    /// # Errors
    /// [`JournalError::WriteFailed`].
    async fn keep_snapshot(&self, snapshot: Snapshot) -> Result<(), JournalError>;
}

/// Entries in memory: the in-memory twin. What was appended survives a dropped runtime that shares it.
#[derive(Clone, Default)]
pub struct MemoryJournal {
    kept: Arc<Mutex<(Vec<Entry>, Option<Snapshot>)>>,
}

impl MemoryJournal {
    /// Everything appended so far.
    pub fn entries(&self) -> Vec<Entry> {
        self.kept.lock().expect("no holder of the journal panics").0.clone()
    }
}

#[async_trait]
impl Journal for MemoryJournal {
    async fn append(&self, entries: Arc<[Entry]>) -> Result<(), JournalError> {
        self.kept
            .lock()
            .expect("no holder of the journal panics")
            .0
            .extend(entries.iter().cloned());
        Ok(())
    }

    fn end(&self) -> u64 {
        let kept = self.kept.lock().expect("no holder of the journal panics");
        kept.0.last().map_or(0, |entry| entry.seq)
    }

    async fn load_snapshot(&self) -> Result<Option<Snapshot>, JournalError> {
        Ok(self.kept.lock().expect("no holder of the journal panics").1.clone())
    }

    async fn read(&self, after: u64, limit: u32) -> Result<Vec<Entry>, JournalError> {
        let kept = self.kept.lock().expect("no holder of the journal panics");
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        Ok(kept.0.iter().filter(|entry| entry.seq > after).take(limit).cloned().collect())
    }

    async fn keep_snapshot(&self, snapshot: Snapshot) -> Result<(), JournalError> {
        self.kept.lock().expect("no holder of the journal panics").1 = Some(snapshot);
        Ok(())
    }
}
