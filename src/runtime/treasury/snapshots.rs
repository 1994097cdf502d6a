//! Snapshots: begun between two batches, written while the treasury goes on deciding.

use std::sync::Arc;

use futures_util::future::BoxFuture;

use crate::domain::ledger::Ledger;
use crate::ports::journal::{Journal, JournalError, Snapshot};

/// Bytes of a snapshot that an entry stands for: the next one waits for as many entries as the last one's
/// bytes come to, so that a ledger that remembers much is not written again and again.
const BYTES_PER_ENTRY: u64 = 64;

/// Entries that it waits for at most, for a restart reads them all: about a second's.
const ENTRIES_MAX: u64 = 500_000;

/// When a snapshot is kept, and the one that is being written.
pub(super) struct Snapshots {
    every: u64,
    /// The last entry that the newest one holds.
    head: u64,
    /// How long that one is, in bytes.
    len: u64,
    writing: Option<BoxFuture<'static, Result<(), JournalError>>>,
}

impl Snapshots {
    /// After the newest one, which holds entries up to `head` in `len` bytes.
    pub(super) fn after(head: u64, len: usize, every: u64) -> Self {
        Self { every, head, len: u64::try_from(len).unwrap_or(u64::MAX), writing: None }
    }

    /// Whether the next one is due, where the ledger's last entry is `head`.
    pub(super) fn is_due(&self, head: u64) -> bool {
        let every = self.every.max((self.len / BYTES_PER_ENTRY).min(ENTRIES_MAX));
        self.writing.is_none() && head.saturating_sub(self.head) >= every
    }

    /// Begins to keep one where it is due. One that cannot be kept costs only time at the next start.
    pub(super) fn begin(&mut self, head: u64, ledger: &Ledger, journal: &Arc<dyn Journal>) {
        if !self.is_due(head) {
            return;
        }
        match Snapshot::of(head, ledger) {
            Ok(snapshot) => {
                let journal = Arc::clone(journal);
                *self = Self::after(head, snapshot.body.len(), self.every);
                let writing = async move { journal.keep_snapshot(snapshot).await };
                self.writing = Some(Box::pin(writing));
            }
            Err(problem) => {
                self.head = head;
                tracing::warn!(%problem, "snapshot not encoded");
            }
        }
    }

    /// Waits until the one that is being written is kept; for ever where none is. Cancel-safe.
    pub(super) async fn kept(&mut self) {
        let Some(writing) = &mut self.writing else { return std::future::pending().await };
        let kept = writing.await;
        self.writing = None;
        if let Err(problem) = kept {
            tracing::warn!(%problem, "snapshot not kept");
        }
    }

    /// The same; at once where none is.
    pub(super) async fn finish(&mut self) {
        if self.writing.is_some() {
            self.kept().await;
        }
    }
}
