//! What waits for the writer: appends before all else, and what may be written a little later.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use crate::domain::time::Timestamp;
use crate::ports::archive::{AnswerKey, KeptAnswer};
use crate::ports::journal::{Entry, JournalError, Snapshot};

/// Appends that may wait; who brings more waits to bring it.
const APPENDS_WAITING_MAX: usize = 1024;
/// Jobs that may wait; who brings more waits to bring it.
const JOBS_WAITING_MAX: usize = 256;
/// Entries after which no further append joins a batch.
const ENTRIES_MAX: usize = 4096;

/// Whom an append or a job answers.
pub(super) type Done<T> = oneshot::Sender<Result<T, JournalError>>;

/// Entries to append, and who waits for it.
pub(super) struct Append {
    pub(super) entries: Arc<[Entry]>,
    pub(super) done: Done<()>,
}

/// An answer to keep, and who waits for it.
pub(super) struct Answered {
    pub(super) key: AnswerKey,
    pub(super) answer: KeptAnswer,
    pub(super) at: Timestamp,
    pub(super) done: Done<()>,
}

/// One thing to write that nobody's money waits for.
pub(super) enum Job {
    /// Keep a snapshot.
    KeepSnapshot { snapshot: Snapshot, done: Done<()> },
    /// Keep an answer.
    KeepAnswer(Box<Answered>),
    /// Move what little is left in the log into the file, so that the log begins anew.
    FinishCheckpoint,
}

/// What waits for the writer.
pub(super) struct Inbox {
    waiting: Mutex<Waiting>,
    came: Condvar,
    room_for_appends: Arc<Semaphore>,
    room_for_jobs: Arc<Semaphore>,
}

#[derive(Default)]
struct Waiting {
    appends: VecDeque<(Append, OwnedSemaphorePermit)>,
    jobs: VecDeque<(Job, OwnedSemaphorePermit)>,
    finish_checkpoint: bool,
    closed: bool,
}

/// What the writer took.
#[derive(Default)]
pub(super) struct Taken {
    pub(super) appends: Vec<Append>,
    /// Each keeps its place until it is done.
    pub(super) jobs: VecDeque<(Job, Option<OwnedSemaphorePermit>)>,
    pub(super) closed: bool,
}

impl Inbox {
    pub(super) fn new() -> Self {
        Self {
            waiting: Mutex::default(),
            came: Condvar::new(),
            room_for_appends: Arc::new(Semaphore::new(APPENDS_WAITING_MAX)),
            room_for_jobs: Arc::new(Semaphore::new(JOBS_WAITING_MAX)),
        }
    }

    /// Brings an append, waiting for room. After [`Inbox::close`] it is dropped, which its asker sees.
    pub(super) async fn append(&self, append: Append) {
        let permit = permit(&self.room_for_appends).await;
        let mut waiting = self.waiting();
        if !waiting.closed {
            waiting.appends.push_back((append, permit));
            drop(waiting);
            self.came.notify_one();
        }
    }

    /// Brings a job, waiting for room. After [`Inbox::close`] it is dropped, which its asker sees.
    pub(super) async fn job(&self, job: Job) {
        let permit = permit(&self.room_for_jobs).await;
        let mut waiting = self.waiting();
        if !waiting.closed {
            waiting.jobs.push_back((job, permit));
            drop(waiting);
            self.came.notify_one();
        }
    }

    /// Asks the writer to finish a checkpoint.
    pub(super) fn finish_checkpoint(&self) {
        self.waiting().finish_checkpoint = true;
        self.came.notify_one();
    }

    /// Takes nothing more; the writer does what waits and ends.
    pub(super) fn close(&self) {
        self.waiting().closed = true;
        self.came.notify_one();
    }

    /// Takes nothing more and drops what waits, which its askers see.
    pub(super) fn stop(&self) {
        *self.waiting() = Waiting { closed: true, ..Waiting::default() };
    }

    /// Waits for something, at most for `rest`, and moves it into `taken`: a batch of appends, and
    /// all the rest.
    pub(super) fn take(&self, taken: &mut Taken, rest: Duration) {
        let idle = |w: &mut Waiting| {
            w.appends.is_empty() && w.jobs.is_empty() && !w.closed && !w.finish_checkpoint
        };
        let waiting = self.waiting();
        let (mut waiting, _) = self
            .came
            .wait_timeout_while(waiting, rest, idle)
            .expect("no holder of the inbox panics");
        let mut entries: usize = 0;
        while entries < ENTRIES_MAX {
            let Some((append, _room)) = waiting.appends.pop_front() else { break };
            entries = entries.saturating_add(append.entries.len());
            taken.appends.push(append);
        }
        taken.jobs.extend(waiting.jobs.drain(..).map(|(job, room)| (job, Some(room))));
        if std::mem::take(&mut waiting.finish_checkpoint) {
            taken.jobs.push_front((Job::FinishCheckpoint, None));
        }
        taken.closed = waiting.closed && waiting.appends.is_empty();
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().expect("no holder of the inbox panics")
    }
}

pub(super) async fn permit(room: &Arc<Semaphore>) -> OwnedSemaphorePermit {
    Arc::clone(room).acquire_owned().await.expect("the semaphore is never closed")
}
