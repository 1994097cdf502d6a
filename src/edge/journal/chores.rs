//! The writer's chores: all that may be written a little later, or lost and made again. Each step is
//! short, so that an append waits for little; none is synced.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use rusqlite::Connection;
use tokio::sync::OwnedSemaphorePermit;

use super::archive;
use super::checkpoints;
use super::inbox::{Answered, Done, Job, Taken};
use super::snapshots::Keeping;
use super::store::Shared;
use crate::domain::time::Timestamp;
use crate::ports::journal::{JournalError, Snapshot};

/// Answers that one step writes.
const ANSWERS_A_STEP: usize = 64;
/// Time of the ledger between two clearings of answers.
const CLEAR_EVERY: Duration = Duration::from_mins(1);
/// What one row writes, by estimate: its page, and an index's.
const ROW_BYTES: u64 = 8 * 1024;

/// What the chores remember between steps.
pub(super) struct Chores {
    shared: Arc<Shared>,
    /// The snapshot that is being written.
    keeping: Option<(Keeping, Done<()>)>,
    /// The newest answer's time: the only clock here.
    newest: Timestamp,
    /// The time that answers were last cleared by.
    cleared: Timestamp,
}

impl Chores {
    pub(super) const fn new(shared: Arc<Shared>) -> Self {
        Self { shared, keeping: None, newest: Timestamp::ZERO, cleared: Timestamp::ZERO }
    }

    /// Whether somebody waits for something to be written.
    pub(super) fn has_job(&self, taken: &Taken) -> bool {
        self.keeping.is_some() || !taken.jobs.is_empty()
    }

    /// Does the next job, or a part of it.
    pub(super) fn do_job(&mut self, conn: &mut Connection, taken: &mut Taken) {
        if let Some((mut keeping, done)) = self.keeping.take() {
            match keeping.step(conn) {
                Ok(true) => self.keeping = Some((keeping, done)),
                // Here and below: who no longer waits for the answer finds it in the file.
                Ok(false) => drop(done.send(Ok(()))),
                Err(problem) => drop(done.send(Err(problem))),
            }
            return;
        }
        let Some((job, room)) = taken.jobs.pop_front() else { return };
        match job {
            Job::KeepSnapshot { snapshot, done } => self.begin_snapshot(conn, snapshot, done),
            Job::KeepAnswer(first) => self.keep_answers(conn, taken, (first, room)),
            Job::FinishCheckpoint => {
                if let Err(problem) = checkpoints::checkpoint(conn) {
                    tracing::warn!(error = %problem, "checkpoint failed");
                }
            }
        }
    }

    /// Writes the answers that come first in the line, in one transaction.
    fn keep_answers(
        &mut self,
        conn: &mut Connection,
        taken: &mut Taken,
        first: (Box<Answered>, Option<OwnedSemaphorePermit>),
    ) {
        let mut answers = vec![first];
        while answers.len() < ANSWERS_A_STEP
            && let Some((job, room)) = taken.jobs.pop_front()
        {
            match job {
                Job::KeepAnswer(next) => answers.push((next, room)),
                other => {
                    taken.jobs.push_front((other, room));
                    break;
                }
            }
        }
        for (answered, _) in &answers {
            self.log_bytes(answered.answer.body.as_ref().map_or(0, Bytes::len));
            self.log_rows(1);
            self.newest = self.newest.max(answered.at);
        }
        let kept = archive::keep_answers(conn, answers.iter().map(|(answered, _)| &**answered))
            .map_err(|e| JournalError::WriteFailed(e.to_string()));
        self.clear_answers(conn);
        for (answered, _room) in answers {
            let _ = answered.done.send(kept.clone());
        }
    }

    fn begin_snapshot(&mut self, conn: &Connection, snapshot: Snapshot, done: Done<()>) {
        self.log_bytes(snapshot.body.len());
        match Keeping::begin(conn, snapshot) {
            Ok(keeping) => self.keeping = Some((keeping, done)),
            Err(problem) => drop(done.send(Err(problem))),
        }
    }

    /// Once for each minute of ledger time, and on while there is more to clear: returns whether there
    /// is.
    pub(super) fn clear_answers(&mut self, conn: &mut Connection) -> bool {
        if self.newest.since(self.cleared) < CLEAR_EVERY {
            return false;
        }
        match archive::clear_answers(conn, self.newest, &self.shared.options) {
            Ok(true) => return true,
            Ok(false) => {}
            Err(problem) => tracing::warn!(error = %problem, "answers were not cleared"),
        }
        self.cleared = self.newest;
        false
    }

    fn log_rows(&self, rows: u64) {
        self.shared.logged.fetch_add(rows.saturating_mul(ROW_BYTES), Ordering::Relaxed);
    }

    fn log_bytes(&self, bytes: usize) {
        self.shared.logged.fetch_add(u64::try_from(bytes).unwrap_or(u64::MAX), Ordering::Relaxed);
    }
}
