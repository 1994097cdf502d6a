//! Restart: the newest snapshot and the tail.

use crate::domain::ledger::Ledger;
use crate::ports::journal::{Journal, JournalError, Kept};
use crate::runtime::treasury::Settings;
use crate::runtime::treasury::snapshots::Snapshots;

/// Entries read at once.
const PAGE: u32 = 4096;

/// A ledger as the journal has it.
pub(super) struct Recovered {
    /// The ledger.
    pub ledger: Ledger,
    /// The last entry.
    pub head: u64,
    /// What was kept of it.
    pub snapshots: Snapshots,
}

/// Reads the journal: what a crash left is exactly what was made durable.
pub(super) async fn recover(
    journal: &dyn Journal,
    settings: &Settings,
) -> Result<Recovered, JournalError> {
    // A snapshot that does not read is one of another version: the events are all there, and give the
    // same ledger. Its bytes are those that were written, the journal has checked that.
    let kept = journal.load_snapshot().await?.and_then(|snapshot| match snapshot.read() {
        Kept::Ledger(ledger) => {
            Some((ledger.restored(settings.bounds), snapshot.seq, snapshot.body.len()))
        }
        Kept::OtherVersion | Kept::Unreadable => {
            tracing::warn!(seq = snapshot.seq, "snapshot of another version");
            None
        }
    });
    let kept = kept.unwrap_or_else(|| (Ledger::new(settings.bounds), 0, 0));
    let (mut ledger, mut head, len) = kept;
    let snapshots = Snapshots::after(head, len, settings.snapshot_every);
    loop {
        let page = journal.read(head, PAGE).await?;
        if page.is_empty() {
            return Ok(Recovered { ledger, head, snapshots });
        }
        for entry in page {
            if entry.seq != head.saturating_add(1) {
                let problem = format!("expected entry {}", head.saturating_add(1));
                return Err(JournalError::Damaged { seq: entry.seq, problem });
            }
            ledger.evolve(entry.at, &entry.event);
            head = entry.seq;
        }
    }
}
