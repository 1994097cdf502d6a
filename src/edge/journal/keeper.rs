//! The keeper: one thread that writes all that may be lost and made again. It takes short turns, so
//! that an append waits for little; it checkpoints, so that no append has to.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use rusqlite::Connection;
use rusqlite::config::DbConfig;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use super::projection::Projection;
use super::store::Shared;
use super::{archive, file, snapshots};
use crate::domain::time::Timestamp;
use crate::ports::archive::{AnswerKey, Decision, KeptAnswer};
use crate::ports::journal::{JournalError, Snapshot};

/// Decisions that may wait; more are dropped and counted.
const NOTES_WAITING_MAX: usize = 4096;
/// Decisions that one turn writes.
const NOTES_A_TURN: usize = 32;
/// Jobs that may wait; who brings more waits to bring it.
const JOBS_WAITING_MAX: usize = 256;
/// Longest rest while there is nothing to do: how late a readable table can see an event.
const REST: Duration = Duration::from_millis(200);
/// Rest between two turns of projecting while others append.
const PACE: Duration = Duration::from_millis(3);
/// Rows that one event writes, by estimate.
const ROWS_AN_EVENT: usize = 2;
/// Bytes written, by estimate, after which a checkpoint is due: small ones disturb the syncs less.
const CHECKPOINT_BYTES: u64 = 4 * 1024 * 1024;
/// Time of the ledger between two clearings of answers.
const CLEAR_EVERY: Duration = Duration::from_mins(1);
/// Rests after which a checkpoint is due if anything was written.
const CHECKPOINT_RESTS: u32 = 5;
/// Pages of 4 KiB in the write-ahead log above which it is begun anew.
const LOG_PAGES_MAX: i64 = 16 * 1024;
/// What one row of ours writes, by estimate: its page, and an index's.
const ROW_BYTES: u64 = 8 * 1024;

/// What waits for the keeper.
pub(super) struct Inbox {
    waiting: Mutex<Waiting>,
    came: Condvar,
    room: Arc<Semaphore>,
    dropped: AtomicU64,
}

#[derive(Default)]
struct Waiting {
    notes: VecDeque<Decision>,
    jobs: VecDeque<(Job, OwnedSemaphorePermit)>,
    closed: bool,
}

/// Whom a job answers.
pub(super) type Done<T> = oneshot::Sender<Result<T, JournalError>>;

/// One thing to do.
pub(super) enum Job {
    /// Keep a snapshot.
    KeepSnapshot { snapshot: Snapshot, done: Done<()> },
    /// Keep an answer.
    KeepAnswer { key: AnswerKey, answer: Box<KeptAnswer>, at: Timestamp, done: Done<()> },
    /// Answer once the readable tables know what is durable now.
    CatchUp { done: Done<u64> },
    /// Drop the readable tables, and answer once they are made again.
    RebuildViews { done: Done<u64> },
}

impl Inbox {
    pub(super) fn new() -> Self {
        Self {
            waiting: Mutex::default(),
            came: Condvar::new(),
            room: Arc::new(Semaphore::new(JOBS_WAITING_MAX)),
            dropped: AtomicU64::new(0),
        }
    }

    /// Brings a job, waiting for room.
    pub(super) async fn send(&self, job: Job) {
        let permit = Arc::clone(&self.room).acquire_owned().await;
        let permit = permit.expect("the semaphore is never closed");
        self.waiting().jobs.push_back((job, permit));
        self.came.notify_one();
    }

    /// Brings a decision, unless too many wait.
    pub(super) fn note(&self, decision: Decision) {
        let mut waiting = self.waiting();
        if waiting.notes.len() >= NOTES_WAITING_MAX {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        } else {
            waiting.notes.push_back(decision);
        }
        // Not woken for it: it is written with the next rest's end.
    }

    /// How many decisions were dropped.
    pub(super) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Lets the keeper end once it has done what waits.
    pub(super) fn close(&self) {
        self.waiting().closed = true;
        self.came.notify_one();
    }

    fn take(&self, rest: Duration) -> Waiting {
        let waiting = self.waiting();
        let (mut waiting, _) = self
            .came
            .wait_timeout_while(waiting, rest, |w| w.jobs.is_empty() && !w.closed)
            .expect("no holder of the inbox panics");
        let closed = waiting.closed;
        std::mem::replace(&mut *waiting, Waiting { closed, ..Waiting::default() })
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().expect("no holder of the inbox panics")
    }
}

/// Owns the connection that does not sync.
pub(super) struct Keeper {
    conn: Connection,
    shared: Arc<Shared>,
    inbox: Arc<Inbox>,
    /// Rests since the last checkpoint.
    rests: u32,
    /// The newest answer's time: the only clock here.
    newest: Timestamp,
    projection: Projection,
    /// Who waits until the readable tables know an entry.
    catching_up: Vec<(u64, Done<u64>)>,
    /// The time that answers were last cleared by.
    cleared: Timestamp,
}

impl Keeper {
    pub(super) fn open(
        path: &Path,
        shared: Arc<Shared>,
        inbox: Arc<Inbox>,
    ) -> Result<Self, JournalError> {
        let mut conn = file::open_unsynced(path)?;
        let projection = Projection::open(&mut conn)?;
        Ok(Self {
            conn,
            projection,
            catching_up: Vec::new(),
            shared,
            inbox,
            rests: 0,
            newest: Timestamp::ZERO,
            cleared: Timestamp::ZERO,
        })
    }

    /// Does what comes until the inbox is closed.
    pub(super) fn run(mut self) {
        let mut rest = Duration::ZERO;
        loop {
            let waiting = self.inbox.take(rest);
            self.rests = self.rests.saturating_add(1);
            if self.shared.poison.get().is_some() {
                // Dropped jobs tell their askers so. And no checkpoint on closing: after a failed
                // sync the files stay as they are until a restart reads them.
                let _ = self.conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true);
                self.catching_up.clear();
                rest = REST;
            } else {
                rest = self.work(waiting.notes, waiting.jobs);
            }
            if waiting.closed {
                return;
            }
        }
    }

    /// Does what waits, one turn of projecting, and what is due. Returns how long to rest.
    fn work(
        &mut self,
        mut notes: VecDeque<Decision>,
        jobs: VecDeque<(Job, OwnedSemaphorePermit)>,
    ) -> Duration {
        if let Err(problem) = self.keep_decisions(&mut notes) {
            tracing::warn!(error = %problem, "decisions were not kept");
        }
        for (job, _room) in jobs {
            self.act(job);
        }
        let before = self.shared.end.load(Ordering::Acquire);
        let projected = self.project();
        if let Err(problem) = self.clear_answers() {
            tracing::warn!(error = %problem, "answers were not cleared");
        }
        if let Err(problem) = self.checkpoint() {
            tracing::warn!(error = %problem, "checkpoint failed");
        }
        let now = self.shared.end.load(Ordering::Acquire);
        match projected {
            Ok(()) if self.projection.seq() >= now => REST,
            // Whoever appends meanwhile comes first: the tables get what is left of the disk.
            Ok(()) if now > before => PACE,
            Ok(()) => Duration::ZERO,
            Err(problem) => {
                tracing::error!(error = %problem, "readable tables stand still");
                self.fail_catching_up(&problem);
                REST
            }
        }
    }

    fn project(&mut self) -> Result<(), JournalError> {
        let projected = self.projection.go_on(&mut self.conn, &self.shared.turn)?;
        self.log_rows(projected.saturating_mul(ROWS_AN_EVENT));
        let known = self.projection.seq();
        let caught_up = self.catching_up.extract_if(.., |(seq, _)| *seq <= known);
        for (_, done) in caught_up {
            let _ = done.send(Ok(known));
        }
        Ok(())
    }

    fn fail_catching_up(&mut self, problem: &JournalError) {
        for (_, done) in self.catching_up.drain(..) {
            let _ = done.send(Err(problem.clone()));
        }
    }

    fn keep_decisions(&mut self, notes: &mut VecDeque<Decision>) -> rusqlite::Result<()> {
        while !notes.is_empty() {
            let some = notes.len().min(NOTES_A_TURN);
            let _turn = self.shared.turn.take();
            archive::keep_decisions(&mut self.conn, notes.drain(..some), &self.shared.options)?;
            self.log_rows(some);
        }
        Ok(())
    }

    fn log_rows(&self, rows: usize) {
        let bytes = u64::try_from(rows).unwrap_or(u64::MAX).saturating_mul(ROW_BYTES);
        self.shared.logged.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Once for each minute of ledger time, and on while there is more to clear.
    fn clear_answers(&mut self) -> rusqlite::Result<()> {
        if self.newest.since(self.cleared) < CLEAR_EVERY {
            return Ok(());
        }
        let _turn = self.shared.turn.take();
        if !archive::clear_answers(&mut self.conn, self.newest, &self.shared.options)? {
            self.cleared = self.newest;
        }
        Ok(())
    }

    fn act(&mut self, job: Job) {
        match job {
            Job::KeepSnapshot { snapshot, done } => {
                let bytes = u64::try_from(snapshot.body.len()).unwrap_or(u64::MAX);
                self.shared.logged.fetch_add(bytes, Ordering::Relaxed);
                // Who no longer waits for the answer finds it in the file.
                let _ = done.send(snapshots::keep(&mut self.conn, &self.shared.turn, &snapshot));
            }
            Job::KeepAnswer { key, answer, at, done } => {
                let bytes = answer.body.as_ref().map_or(0, Bytes::len);
                let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
                self.shared.logged.fetch_add(bytes.saturating_add(ROW_BYTES), Ordering::Relaxed);
                self.newest = self.newest.max(at);
                let _turn = self.shared.turn.take();
                let kept = archive::keep_answer(&self.conn, key, &answer, at);
                let _ = done.send(kept.map_err(|e| JournalError::WriteFailed(e.to_string())));
            }
            Job::CatchUp { done } => {
                self.catching_up.push((self.shared.end.load(Ordering::Acquire), done));
            }
            Job::RebuildViews { done } => {
                match self.projection.restart(&mut self.conn, &self.shared.turn) {
                    Ok(()) => self.act(Job::CatchUp { done }),
                    Err(problem) => {
                        let _ = done.send(Err(problem));
                    }
                }
            }
        }
    }

    /// Moves what is in the write-ahead log into the file, beside the appends.
    fn checkpoint(&mut self) -> rusqlite::Result<()> {
        let logged = self.shared.logged.load(Ordering::Relaxed);
        let due = logged >= CHECKPOINT_BYTES || (logged > 0 && self.rests >= CHECKPOINT_RESTS);
        if !due {
            return Ok(());
        }
        self.shared.logged.store(0, Ordering::Relaxed);
        self.rests = 0;
        if checkpoint_beside(&self.conn)? > LOG_PAGES_MAX {
            // The log begins anew only once all of it is in the file, which under load never
            // happens by itself; with the turn in hand there is but a little left to move.
            let _turn = self.shared.turn.take();
            checkpoint_beside(&self.conn)?;
        }
        Ok(())
    }
}

/// One checkpoint that waits for nobody; returns the pages in the log.
fn checkpoint_beside(conn: &Connection) -> rusqlite::Result<i64> {
    conn.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |row| row.get(1))
}
