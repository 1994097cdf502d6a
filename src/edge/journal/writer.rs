//! The writer: one thread with the one connection that writes the journal's file. It appends events
//! and answers once they are synced; answers and snapshots it writes in small chores in between,
//! without a sync of their own; the readable tables are told what is durable. After its first failed append it writes nothing more, because nobody knows any longer
//! what is on the disk.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, Statement, TransactionBehavior, params};

use super::chain::{Link, to_sql};
use super::chores::Chores;
use super::feed::{Batch, Feed};
use super::inbox::{Append, Inbox, Taken};
use super::store::Shared;
use crate::ports::journal::{Entry, JournalError};

/// Longest rest while there is nothing to do.
const REST: Duration = Duration::from_millis(200);
/// What a commit writes besides its rows, about: the page that it fills up.
const PAGE_BYTES: u64 = 8192;

/// Owns the connection that writes.
pub(super) struct Writer {
    conn: Connection,
    end: Link,
    /// Whether a commit of the connection is synced before it returns.
    syncs: bool,
    commits: u64,
    chores: Chores,
    /// The event that is being encoded.
    bytes: Vec<u8>,
    shared: Arc<Shared>,
    inbox: Arc<Inbox>,
    feed: Arc<Feed>,
}

impl Writer {
    pub(super) const fn new(
        conn: Connection,
        end: Link,
        chores: Chores,
        shared: Arc<Shared>,
        inbox: Arc<Inbox>,
        feed: Arc<Feed>,
    ) -> Self {
        Self { conn, end, syncs: false, commits: 0, chores, bytes: Vec::new(), shared, inbox, feed }
    }

    /// Writes what comes until the inbox is closed, or an append fails.
    pub(super) fn run(mut self) {
        let mut taken = Taken::default();
        let mut rest = Duration::ZERO;
        loop {
            self.inbox.take(&mut taken, rest);
            let calm = taken.appends.is_empty();
            if !calm && self.append(&mut taken.appends).is_err() {
                return;
            }
            let jobs = self.do_job(&mut taken);
            let more = calm && self.unsynced() && self.chores.clear_answers(&mut self.conn);
            rest = if jobs || more { Duration::ZERO } else { REST };
            if taken.closed && taken.jobs.is_empty() {
                return;
            }
        }
    }

    /// Commits `appends`, all of them or none, and answers.
    fn append(&mut self, appends: &mut Vec<Append>) -> Result<(), ()> {
        let result = self.sync_commits(true).and_then(|()| self.commit(appends));
        if let Err(problem) = &result {
            self.shared.poison(problem);
            // The files stay as the failure left them until a restart reads them.
            let _ = self.conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true);
        }
        for append in appends.drain(..) {
            // Who no longer waits for the answer finds it in the journal.
            let _ = append.done.send(result.clone());
        }
        result.map_err(drop)
    }

    /// One transaction, one sync.
    fn commit(&mut self, appends: &[Append]) -> Result<(), JournalError> {
        let mut end = self.end;
        let mut written = PAGE_BYTES;
        let tx =
            self.conn.transaction_with_behavior(TransactionBehavior::Immediate).map_err(failed)?;
        let mut insert = tx
            .prepare_cached(
                "INSERT INTO events (seq, at_ns, kind, body, hash) VALUES (?1, ?2, ?3, ?4, ?5)",
            )
            .map_err(failed)?;
        let mut durable = Vec::with_capacity(appends.len());
        for append in appends {
            for entry in append.entries.iter() {
                end = insert_entry(&mut insert, &mut self.bytes, &end, entry)?;
                let bytes = u64::try_from(self.bytes.len()).unwrap_or(u64::MAX);
                written = written.saturating_add(bytes);
            }
            durable.push(Batch { entries: Arc::clone(&append.entries), end });
        }
        drop(insert);
        if let Some(delay) = self.shared.options.sync_delay {
            thread::sleep(delay);
        }
        if self.shared.options.fail_after.is_some_and(|after| self.commits >= after) {
            return Err(failed("the sync was made to fail"));
        }
        tx.commit().map_err(failed)?;
        self.commits = self.commits.saturating_add(1);
        self.end = end;
        self.shared.end.store(end.seq, Ordering::Release);
        self.shared.logged.fetch_add(written, Ordering::Relaxed);
        self.feed.bring(durable);
        Ok(())
    }

    /// Does one job, for somebody waits for it. Returns whether there are more.
    fn do_job(&mut self, taken: &mut Taken) -> bool {
        if !self.chores.has_job(taken) || !self.unsynced() {
            return false;
        }
        self.chores.do_job(&mut self.conn, taken);
        self.chores.has_job(taken)
    }

    /// Lets commits go unsynced; whether that is so.
    fn unsynced(&mut self) -> bool {
        let set = self.sync_commits(false);
        if let Err(problem) = &set {
            tracing::error!(error = %problem, "answers and snapshots are not kept");
        }
        set.is_ok()
    }

    /// Whether commits are synced from here on. An unsynced one is made durable by the next synced
    /// one: the log is one file, and it is synced whole.
    fn sync_commits(&mut self, syncs: bool) -> Result<(), JournalError> {
        if self.syncs != syncs {
            let level = if syncs && !planted!("sync_skipped") { "FULL" } else { "NORMAL" };
            self.conn.pragma_update(None, "synchronous", level).map_err(failed)?;
            self.syncs = syncs;
        }
        Ok(())
    }
}

/// Writes the row of `entry`, which follows `end`; returns its link, and leaves its event's bytes.
fn insert_entry(
    insert: &mut Statement<'_>,
    bytes: &mut Vec<u8>,
    end: &Link,
    entry: &Entry,
) -> Result<Link, JournalError> {
    bytes.clear();
    *bytes = postcard::to_extend(&entry.event, std::mem::take(bytes)).map_err(failed)?;
    let next = end.next(entry.at, bytes);
    if entry.seq != next.seq || entry.at <= end.at {
        return Err(failed(format_args!(
            "entry {} at {} does not follow entry {} at {}",
            entry.seq, entry.at, end.seq, end.at
        )));
    }
    let at = i64::try_from(entry.at.as_nanos()).map_err(failed)?;
    let (kind, body) = (entry.event.kind(), bytes.as_slice());
    insert.execute(params![to_sql(next.seq), at, kind, body, &next.hash]).map_err(failed)?;
    Ok(next)
}

impl Drop for Writer {
    fn drop(&mut self) {
        // Also when it ends by a panic: nobody may wait for an answer that never comes.
        self.inbox.stop();
    }
}

fn failed(problem: impl std::fmt::Display) -> JournalError {
    JournalError::WriteFailed(problem.to_string())
}
