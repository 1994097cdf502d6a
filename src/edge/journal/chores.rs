//! The writer's chores: all that may be written a little later, or lost and made again. Each step is
//! short, so that an append waits for little; none is synced.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use rusqlite::Connection;
use tokio::sync::OwnedSemaphorePermit;

use super::archive;
use super::chain::Link;
use super::checkpoints;
use super::inbox::{Answered, Done, Job, Taken};
use super::projection::Projection;
use super::snapshots::Keeping;
use super::store::Shared;
use crate::domain::time::Timestamp;
use crate::ports::journal::{JournalError, Snapshot};

/// Events that one step projects while appends wait: less than half a millisecond of work.
const EVENTS_A_SLOW_STEP: u32 = 8;
/// Events that one step projects at most.
const EVENTS_A_STEP_MAX: u32 = 32;
/// The tables are behind when their last event is this much older than the newest, and so many events
/// are between: the promise is a second.
const BEHIND: (Duration, u64) = (Duration::from_millis(500), 64);
/// Answers that one step writes.
const ANSWERS_A_STEP: usize = 8;
/// Decisions that one step writes.
const NOTES_A_STEP: usize = 16;
/// Time of the ledger between two clearings of answers.
const CLEAR_EVERY: Duration = Duration::from_mins(1);
/// What one row writes, by estimate: its page, and an index's.
const ROW_BYTES: u64 = 8 * 1024;
/// Rows that one event writes, by estimate.
const ROWS_AN_EVENT: u64 = 2;

/// What the chores remember between steps.
pub(super) struct Chores {
    shared: Arc<Shared>,
    projection: Projection,
    /// The snapshot that is being written.
    keeping: Option<(Keeping, Done<()>)>,
    /// Who waits until the tables know an entry, and so many decisions in all.
    catching_up: Vec<(u64, u64, Done<u64>)>,
    /// Decisions written so far.
    noted: u64,
    /// Whether the readable tables stand still, and that has been said.
    stuck: bool,
    /// The newest answer's time: the only clock here.
    newest: Timestamp,
    /// The time that answers were last cleared by.
    cleared: Timestamp,
}

/// How much one step may do.
#[derive(Copy, Clone)]
pub(super) enum Pace {
    /// Nobody waits.
    Calm,
    /// The tables are behind: twice as many events as the commit before had.
    After(usize),
    /// Appends wait.
    Slow,
}

impl Pace {
    fn events(self) -> u32 {
        match self {
            Self::Calm => EVENTS_A_STEP_MAX,
            Self::After(entries) => {
                let twice = u32::try_from(entries.saturating_mul(2)).unwrap_or(u32::MAX);
                twice.clamp(EVENTS_A_SLOW_STEP, EVENTS_A_STEP_MAX)
            }
            Self::Slow => EVENTS_A_SLOW_STEP,
        }
    }
}

impl Chores {
    pub(super) const fn new(shared: Arc<Shared>, projection: Projection) -> Self {
        Self {
            shared,
            projection,
            keeping: None,
            catching_up: Vec::new(),
            noted: 0,
            stuck: false,
            newest: Timestamp::ZERO,
            cleared: Timestamp::ZERO,
        }
    }

    /// Whether the readable tables are late, or somebody waits for them.
    pub(super) fn behind(&self, end: &Link) -> bool {
        let known = self.projection.end();
        let (late, many) = BEHIND;
        !self.catching_up.is_empty()
            || end.at.since(known.at) > late && end.seq.saturating_sub(known.seq) > many
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
            Job::CatchUp { done } => self.catch_up(taken, done),
            Job::RebuildViews { done } => match self.projection.restart(conn) {
                Ok(()) => self.catch_up(taken, done),
                Err(problem) => drop(done.send(Err(problem))),
            },
            Job::FinishCheckpoint => {
                if let Err(problem) = checkpoints::checkpoint(conn) {
                    tracing::warn!(error = %problem, "checkpoint failed");
                }
            }
        }
    }

    /// Does a little of what nobody waits for. Returns whether there may be more.
    pub(super) fn do_chore(
        &mut self,
        conn: &mut Connection,
        taken: &mut Taken,
        pace: Pace,
    ) -> bool {
        let noted = self.keep_decisions(conn, taken);
        let projected = self.project(conn, pace);
        let cleared = matches!(pace, Pace::Calm) && self.clear_answers(conn);
        noted || projected || cleared
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

    fn keep_decisions(&mut self, conn: &mut Connection, taken: &mut Taken) -> bool {
        let some = taken.notes.len().min(NOTES_A_STEP);
        if some == 0 {
            return false;
        }
        let notes = taken.notes.drain(..some);
        if let Err(problem) = archive::keep_decisions(conn, notes, &self.shared.options) {
            tracing::warn!(error = %problem, "decisions were not kept");
        }
        let some = u64::try_from(some).unwrap_or(u64::MAX);
        self.noted = self.noted.saturating_add(some);
        self.log_rows(some);
        true
    }

    fn project(&mut self, conn: &mut Connection, pace: Pace) -> bool {
        let projected = match self.projection.go_on(conn, pace.events()) {
            Ok(projected) => projected,
            Err(problem) => {
                if !std::mem::replace(&mut self.stuck, true) {
                    tracing::error!(error = %problem, "readable tables stand still");
                }
                for (_, _, done) in self.catching_up.drain(..) {
                    let _ = done.send(Err(problem.clone()));
                }
                return false;
            }
        };
        self.stuck = false;
        self.log_rows(projected.saturating_mul(ROWS_AN_EVENT));
        let known = self.projection.end().seq;
        let noted = self.noted;
        let ready = |(seq, notes, _): &mut (u64, u64, _)| *seq <= known && *notes <= noted;
        for (_, _, done) in self.catching_up.extract_if(.., ready) {
            let _ = done.send(Ok(known));
        }
        projected > 0
    }

    fn catch_up(&mut self, taken: &Taken, done: Done<u64>) {
        let notes = self.noted.saturating_add(u64::try_from(taken.notes.len()).unwrap_or(u64::MAX));
        self.catching_up.push((self.shared.end.load(Ordering::Acquire), notes, done));
    }

    /// Once for each minute of ledger time, and on while there is more to clear.
    fn clear_answers(&mut self, conn: &mut Connection) -> bool {
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
