//! The open file: the journal's and the archive's face to the runtime.

use std::fs::File;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, mpsc};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use async_trait::async_trait;
use rusqlite::Connection;
use tokio::sync::{Semaphore, oneshot};

use super::checkpoints::Checkpointer;
use super::chores::Chores;
use super::feed::{Ask, Feed};
use super::inbox::{Append, Done, Inbox, Job, permit};
use super::projection::Projection;
use super::tables::Tables;
use super::views::Views;
use super::writer::Writer;
use super::{chain, file, snapshots};
use crate::ports::journal::{Entry, Journal, JournalError, Snapshot};

/// How a store behaves; the default is what a node runs with.
#[derive(Clone, Debug)]
pub struct Options {
    /// Waits this long before each sync, as a slow disk would: for measuring.
    pub sync_delay: Option<Duration>,
    /// Makes the sync after this many commits fail: for tests and the sandbox only.
    pub fail_after: Option<u64>,
    /// How many decisions are remembered.
    pub decisions_max: u32,
    /// How long an answer's bytes are kept.
    pub answers_kept: Duration,
    /// How long an answer's receipt is kept: as long as requests are remembered.
    pub receipts_kept: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            sync_delay: None,
            fail_after: None,
            decisions_max: 100_000,
            answers_kept: Duration::from_hours(24),
            receipts_kept: Duration::from_hours(30 * 24),
        }
    }
}

/// What the store's threads share.
pub(super) struct Shared {
    pub(super) options: Options,
    /// The last entry that is durable.
    pub(super) end: AtomicU64,
    /// Bytes written since the last checkpoint, by estimate.
    pub(super) logged: AtomicU64,
    /// Why nothing is written any more.
    pub(super) poison: OnceLock<String>,
}

impl Shared {
    pub(super) const fn new(options: Options, end: u64) -> Self {
        let (end, logged) = (AtomicU64::new(end), AtomicU64::new(0));
        Self { options, end, logged, poison: OnceLock::new() }
    }

    /// Stops every write from here on.
    pub(super) fn poison(&self, problem: &JournalError) {
        let problem = match problem {
            JournalError::WriteFailed(problem) => problem.clone(),
            other => other.to_string(),
        };
        if self.poison.set(problem.clone()).is_ok() {
            tracing::error!(error = problem, "journal write failed");
        }
    }

    fn check_alive(&self) -> Result<(), JournalError> {
        if self.poison.get().is_some() { Err(self.stopped()) } else { Ok(()) }
    }

    /// What who asks is told once nothing is written any more.
    fn stopped(&self) -> JournalError {
        let problem = self.poison.get().map_or("the journal has stopped", String::as_str);
        JournalError::WriteFailed(problem.to_owned())
    }
}

/// The file, open and ours alone. Clones share it; the last one dropped closes it.
#[derive(Clone)]
pub struct Store {
    pub(super) inner: Arc<Inner>,
}

pub(super) struct Inner {
    pub(super) shared: Arc<Shared>,
    pub(super) inbox: Arc<Inbox>,
    pub(super) feed: Arc<Feed>,
    reader: Option<Arc<Mutex<Connection>>>,
    /// Whose turn it is to read.
    reads: Arc<Semaphore>,
    /// While it is there the checkpointer goes on.
    open: Option<mpsc::Sender<()>>,
    checkpointer: Option<JoinHandle<()>>,
    writer: Option<JoinHandle<()>>,
    tables: Option<JoinHandle<()>>,
    /// Let go after the threads, so that the next process finds their work done.
    _lock: File,
}

impl Store {
    /// Opens the file at `path`, making it where there is none. Its folder must exist.
    ///
    /// # Errors
    /// [`JournalError::InUse`] while another process has it; [`JournalError::Unfit`] where it is not
    /// a journal, is one of a later version, or may not be written; [`JournalError::Damaged`].
    pub fn open(path: &Path, options: Options) -> Result<Self, JournalError> {
        let lock = file::lock(path)?;
        let conn = file::open_or_create(path)?;
        let mut tables = file::open_or_create_tables(path)?;
        let end = chain::find_end(&conn)?;
        let shared = Arc::new(Shared::new(options, end.seq));
        let inbox = Arc::new(Inbox::new());
        let feed = Arc::new(Feed::new());
        let projection = Projection::open(&mut tables, &conn)?;
        let (journal, fed) = (path.to_owned(), Arc::clone(&feed));
        let tables = Tables::new(tables, journal, projection, Arc::clone(&shared), fed);
        let chores = Chores::new(Arc::clone(&shared));
        let checkpointer = Checkpointer {
            conn: file::open_to_checkpoint(path)?,
            shared: Arc::clone(&shared),
            inbox: Arc::clone(&inbox),
        };
        let reader = Arc::new(Mutex::new(file::open_to_read_all(path)?));
        let (told, fed) = (Arc::clone(&inbox), Arc::clone(&feed));
        let writer = Writer::new(conn, end, chores, Arc::clone(&shared), told, fed);
        let (open, closed) = mpsc::channel();
        let inner = Inner {
            shared,
            inbox,
            feed,
            reader: Some(reader),
            reads: Arc::new(Semaphore::new(1)),
            open: Some(open),
            checkpointer: Some(spawn("journal-checkpoints", move || checkpointer.run(&closed))?),
            writer: Some(spawn("journal-writer", move || writer.run())?),
            tables: Some(spawn("journal-tables", move || tables.run())?),
            _lock: lock,
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// The last durable entry; 0 before the first.
    pub fn end(&self) -> u64 {
        self.inner.shared.end.load(Ordering::Acquire)
    }

    /// How many decisions were dropped because too many waited to be remembered.
    pub fn decisions_dropped(&self) -> u64 {
        self.inner.feed.dropped()
    }

    /// The readable tables.
    pub fn views(&self) -> Views {
        Views::over(self.inner.reader())
    }

    /// Waits until the readable tables know all that is durable and all that was noted by now; returns
    /// the last entry they know.
    ///
    /// # Errors
    /// [`JournalError::WriteFailed`] or [`JournalError::Damaged`] where they stand still.
    pub async fn catch_up(&self) -> Result<u64, JournalError> {
        self.ask(false).await
    }

    /// Drops the readable tables and waits until they are made again from the events.
    ///
    /// # Errors
    /// [`JournalError::WriteFailed`] or [`JournalError::Damaged`] where that cannot be.
    pub async fn rebuild_views(&self) -> Result<u64, JournalError> {
        self.ask(true).await
    }

    async fn ask(&self, again: bool) -> Result<u64, JournalError> {
        self.inner.shared.check_alive()?;
        let (done, answer) = oneshot::channel();
        self.inner.feed.ask(Ask { seq: self.end(), again, done }).await;
        answer.await.unwrap_or_else(|_| Err(self.inner.shared.stopped()))
    }

    /// Runs `work` on the reading connection, off the async threads.
    pub(super) async fn reading<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, JournalError> + Send + 'static,
    ) -> Result<T, JournalError> {
        // Whoever waits for the connection waits here: a thread for each of them would be one for each call.
        let turn = permit(&self.inner.reads).await;
        let reader = self.inner.reader();
        tokio::task::spawn_blocking(move || {
            let _turn = turn;
            work(&reader.lock().expect("no holder of the reader panics"))
        })
        .await
        .unwrap_or_else(|e| Err(chain::damaged(0, &e)))
    }

    /// Gives the writer a job and waits for its answer.
    pub(super) async fn keeping<T>(
        &self,
        job: impl FnOnce(Done<T>) -> Job,
    ) -> Result<T, JournalError> {
        self.inner.shared.check_alive()?;
        let (done, answer) = oneshot::channel();
        self.inner.inbox.job(job(done)).await;
        answer.await.unwrap_or_else(|_| Err(self.inner.shared.stopped()))
    }
}

impl Inner {
    fn reader(&self) -> Arc<Mutex<Connection>> {
        self.reader.clone().expect("the reader is there until the drop")
    }
}

#[async_trait]
impl Journal for Store {
    async fn append(&self, entries: Arc<[Entry]>) -> Result<(), JournalError> {
        self.inner.shared.check_alive()?;
        let (done, answer) = oneshot::channel();
        self.inner.inbox.append(Append { entries, done }).await;
        answer.await.unwrap_or_else(|_| Err(self.inner.shared.stopped()))
    }

    fn end(&self) -> u64 {
        Self::end(self)
    }

    async fn load_snapshot(&self) -> Result<Option<Snapshot>, JournalError> {
        self.reading(snapshots::load).await
    }

    async fn read(&self, after: u64, limit: u32) -> Result<Vec<Entry>, JournalError> {
        self.reading(move |conn| {
            let from = chain::find_link(conn, after)?
                .ok_or_else(|| chain::damaged(after, &"there is no such entry"))?;
            let mut entries = Vec::new();
            chain::walk(conn, from, limit, |entry| entries.push(entry))?;
            Ok(entries)
        })
        .await
    }

    async fn keep_snapshot(&self, snapshot: Snapshot) -> Result<(), JournalError> {
        self.keeping(|done| Job::KeepSnapshot { snapshot, done }).await
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // One after the other: two connections that close at once each leave it to the other to move
        // the log into the file. The writer goes last, as the one that may.
        self.reader = None;
        self.open = None;
        join(self.checkpointer.take());
        self.inbox.close();
        join(self.writer.take());
        self.feed.close();
        join(self.tables.take());
    }
}

fn join(thread: Option<JoinHandle<()>>) {
    if thread.is_some_and(|thread| thread.join().is_err()) {
        tracing::error!("journal thread panicked");
    }
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, JournalError> {
    thread::Builder::new()
        .name(name.to_owned())
        .spawn(work)
        .map_err(|e| JournalError::Unfit(format!("no thread for {name}: {e}")))
}
