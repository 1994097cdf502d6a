//! The writer: one thread that appends events and answers once they are synced. After its first
//! error it appends nothing more, because nobody knows any longer what is on the disk.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, TransactionBehavior, params};
use tokio::sync::{mpsc, oneshot};

use super::chain::{Link, to_sql};
use super::store::Shared;
use crate::ports::journal::{Entry, JournalError};

/// Batches that may wait for the writer.
pub(super) const WAITING_MAX: usize = 1024;
/// Entries after which no further batch joins a transaction.
const ENTRIES_MAX: usize = 4096;

/// What a commit writes besides its rows, about: the page that it fills up.
const PAGE_BYTES: u64 = 4096;

/// One batch to append, and who waits for it.
pub(super) struct Append {
    pub(super) entries: Arc<[Entry]>,
    pub(super) done: oneshot::Sender<Result<(), JournalError>>,
}

/// Owns the connection that appends.
pub(super) struct Writer {
    pub(super) conn: Connection,
    pub(super) end: Link,
    pub(super) shared: Arc<Shared>,
}

impl Writer {
    /// Appends what comes until nobody can send any more.
    pub(super) fn run(mut self, mut appends: mpsc::Receiver<Append>) {
        let mut bytes = Vec::new();
        let mut batch = Vec::new();
        let mut commits: u64 = 0;
        while let Some(first) = appends.blocking_recv() {
            let shared = Arc::clone(&self.shared);
            let turn = shared.turn.take();
            let mut entries = first.entries.len();
            batch.push(first);
            while entries < ENTRIES_MAX {
                let Ok(next) = appends.try_recv() else { break };
                entries = entries.saturating_add(next.entries.len());
                batch.push(next);
            }
            let result = match shared.poison.get() {
                Some(problem) => Err(JournalError::WriteFailed(problem.clone())),
                None => self.append(&batch, &mut bytes, commits),
            };
            drop(turn);
            match &result {
                Ok(()) => {
                    commits = commits.saturating_add(1);
                    shared.end.store(self.end.seq, Ordering::Release);
                }
                Err(problem) => {
                    shared.poison(problem);
                    // The files stay as the failure left them until a restart reads them.
                    let _ =
                        self.conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true);
                }
            }
            for append in batch.drain(..) {
                // Who no longer waits for the answer finds it in the journal.
                let _ = append.done.send(result.clone());
            }
        }
    }

    /// One transaction, one sync.
    fn append(
        &mut self,
        batch: &[Append],
        bytes: &mut Vec<u8>,
        commits: u64,
    ) -> Result<(), JournalError> {
        let failed = |e: &dyn std::fmt::Display| JournalError::WriteFailed(e.to_string());
        let mut end = self.end;
        let mut written = PAGE_BYTES;
        let tx = self
            .conn
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .map_err(|e| failed(&e))?;
        let mut insert = tx
            .prepare_cached(
                "INSERT INTO events (seq, at_ns, kind, body, hash) VALUES (?1, ?2, ?3, ?4, ?5)",
            )
            .map_err(|e| failed(&e))?;
        for entry in batch.iter().flat_map(|append| append.entries.iter()) {
            bytes.clear();
            *bytes =
                postcard::to_extend(&entry.event, std::mem::take(bytes)).map_err(|e| failed(&e))?;
            let next = end.next(entry.at, bytes);
            if entry.seq != next.seq || entry.at <= end.at {
                return Err(failed(&format_args!(
                    "entry {} at {} does not follow entry {} at {}",
                    entry.seq, entry.at, end.seq, end.at
                )));
            }
            let at = i64::try_from(entry.at.as_nanos()).map_err(|e| failed(&e))?;
            insert
                .execute(params![to_sql(next.seq), at, entry.event.kind(), &**bytes, &next.hash])
                .map_err(|e| failed(&e))?;
            written = written.saturating_add(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
            end = next;
        }
        drop(insert);
        if let Some(delay) = self.shared.options.sync_delay {
            thread::sleep(delay);
        }
        if self.shared.options.fail_after.is_some_and(|after| commits >= after) {
            return Err(failed(&"the sync was made to fail"));
        }
        tx.commit().map_err(|e| failed(&e))?;
        self.end = end;
        self.shared.logged.fetch_add(written, Ordering::Relaxed);
        Ok(())
    }
}
