//! Checkpoints: moving the write-ahead log into the file, beside the appends and not inside one.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use rusqlite::Connection;
use rusqlite::config::DbConfig;

use super::inbox::Inbox;
use super::store::Shared;

/// Rest between two looks.
const REST: Duration = Duration::from_millis(50);
/// Looks after which a checkpoint is due if anything was written: a second.
const RESTS_MAX: u32 = 20;
/// Bytes written, by estimate, after which a checkpoint is due.
const BYTES_MAX: u64 = 32 * 1024 * 1024;
/// Pages of 8 KiB in the log above which it is begun anew. It keeps its length on the disk, so that
/// later syncs need not make it longer: that is most of what a sync costs.
const LOG_PAGES_MAX: i64 = 8 * 1024;

/// Owns a connection that checkpoints.
pub(super) struct Checkpointer {
    pub(super) conn: Connection,
    pub(super) shared: Arc<Shared>,
    pub(super) inbox: Arc<Inbox>,
}

impl Checkpointer {
    /// Checkpoints when it is due, until the other end of `open` is dropped.
    pub(super) fn run(self, open: &Receiver<()>) {
        let mut rests: u32 = 0;
        while open.recv_timeout(REST) == Err(RecvTimeoutError::Timeout) {
            if self.shared.poison.get().is_some() {
                // After a failed sync the files stay as they are until a restart reads them.
                let _ = self.conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true);
                return;
            }
            rests = rests.saturating_add(1);
            let logged = self.shared.logged.load(Ordering::Relaxed);
            if logged < BYTES_MAX && (logged == 0 || rests < RESTS_MAX) {
                continue;
            }
            rests = 0;
            self.shared.logged.store(0, Ordering::Relaxed);
            match checkpoint(&self.conn) {
                // The log begins anew only once all of it is in the file, which under load never
                // happens by itself; between two commits there is but a little left to move.
                Ok(pages) if pages > LOG_PAGES_MAX => self.inbox.finish_checkpoint(),
                Ok(_) => {}
                Err(problem) => tracing::warn!(error = %problem, "checkpoint failed"),
            }
        }
    }
}

/// One checkpoint that waits for nobody; returns the pages in the log.
///
/// # Errors
/// Where the file cannot be written.
pub(super) fn checkpoint(conn: &Connection) -> rusqlite::Result<i64> {
    conn.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |row| row.get(1))
}
