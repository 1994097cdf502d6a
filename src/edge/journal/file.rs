//! The file itself: who may have it, which format it has, how a connection to it is set up. Nothing
//! here knows what the tables mean.

use std::ffi::OsString;
use std::fs::{File, OpenOptions, TryLockError};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, TransactionBehavior};

use crate::ports::journal::JournalError;

/// The format this version writes, and the newest that it reads.
const FORMAT: i64 = 1;
/// What tells our files from other SQLite files: `BRSR`.
const APPLICATION_ID: i64 = 0x4252_5352;
/// Longest wait for a lock that another process holds, as the sqlite3 shell may for a moment.
const BUSY_MAX: Duration = Duration::from_secs(5);
/// The writer's page cache, negative for KiB. Nobody else writes, so it stays true.
const CACHE_KIB: i64 = -64 * 1024;
/// Prepared statements that a connection keeps.
const STATEMENTS_MAX: usize = 128;

const SCHEMA: &str = include_str!("schema.sql");

/// Takes the file for this process alone, by a lock on `<name>-lock` beside it, so that SQLite's own
/// locks stay free for readers. Held until dropped.
///
/// # Errors
/// [`JournalError::InUse`] while another process has it, [`JournalError::Unfit`] where the folder
/// does not let us.
pub(super) fn lock(path: &Path) -> Result<File, JournalError> {
    let beside = sibling(&resolved(path), "-lock");
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(&beside)
        .map_err(|e| unfit(&beside, &e))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(JournalError::InUse(path.display().to_string())),
        Err(TryLockError::Error(e)) => Err(unfit(&beside, &e)),
    }
}

/// Opens the file to write, making it first where there is none, and checks its format.
///
/// # Errors
/// [`JournalError::Unfit`] where it is not a journal, or one of a later version.
pub(super) fn open_or_create(path: &Path) -> Result<Connection, JournalError> {
    // Made here and not by SQLite, for the mode; the files beside it then get the same.
    OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(path)
        .map_err(|e| unfit(path, &e))?;
    let mut conn = open_with(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    if is_blank(&conn).map_err(|e| unfit(path, &e))? {
        create(&mut conn).map_err(|e| unfit(path, &e))?;
    }
    check_format(&conn, path)?;
    // The writer raises the sync level before each append.
    conn.pragma_update(None, "synchronous", "NORMAL")
        .and_then(|()| conn.pragma_update(None, "cache_size", CACHE_KIB))
        .map_err(|e| unfit(path, &e))?;
    Ok(conn)
}

/// Opens the file to checkpoint it.
///
/// # Errors
/// [`JournalError::Unfit`].
pub(super) fn open_to_checkpoint(path: &Path) -> Result<Connection, JournalError> {
    let conn = open_with(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    // The level at which a checkpoint syncs the log before it, and the file after it.
    conn.pragma_update(None, "synchronous", "FULL").map_err(|e| unfit(path, &e))?;
    Ok(conn)
}

/// Opens the file to read, beside whoever writes it.
///
/// # Errors
/// [`JournalError::Unfit`] where there is none, it is not a journal, or one of a later version.
pub(super) fn open_to_read(path: &Path) -> Result<Connection, JournalError> {
    let conn = open_with(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    check_format(&conn, path)?;
    Ok(conn)
}

fn open_with(path: &Path, access: OpenFlags) -> Result<Connection, JournalError> {
    let flags = access | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = Connection::open_with_flags(path, flags).map_err(|e| unfit(path, &e))?;
    conn.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
    conn.busy_timeout(BUSY_MAX)
        // Checkpoints have their own thread: SQLite would do them inside somebody's commit.
        .and_then(|()| conn.pragma_update(None, "wal_autocheckpoint", 0))
        .map_err(|e| unfit(path, &e))?;
    Ok(conn)
}

fn is_blank(conn: &Connection) -> rusqlite::Result<bool> {
    conn.query_row("SELECT count(*) = 0 FROM sqlite_schema", [], |row| row.get(0))
}

fn create(conn: &mut Connection) -> rusqlite::Result<()> {
    conn.pragma_update(None, "journal_mode", "WAL")?;
    // All or nothing: a crash in here leaves a blank file, which is made again.
    let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
    tx.execute_batch(SCHEMA)?;
    tx.pragma_update(None, "application_id", APPLICATION_ID)?;
    tx.pragma_update(None, "user_version", FORMAT)?;
    tx.commit()
}

fn check_format(conn: &Connection, path: &Path) -> Result<(), JournalError> {
    let pragma =
        |name| conn.pragma_query_value(None, name, |row| row.get(0)).map_err(|e| unfit(path, &e));
    let application: i64 = pragma("application_id")?;
    if application != APPLICATION_ID {
        return Err(JournalError::Unfit(format!("{} is not a journal", path.display())));
    }
    let format: i64 = pragma("user_version")?;
    if format != FORMAT {
        let path = path.display();
        return Err(JournalError::Unfit(format!(
            "{path} has format {format}, this version reads format {FORMAT}"
        )));
    }
    Ok(())
}

/// `path` with its folder's links followed, so that two spellings of one file meet at one lock.
fn resolved(path: &Path) -> PathBuf {
    if let Ok(whole) = path.canonicalize() {
        return whole;
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    match (folder.unwrap_or(Path::new(".")).canonicalize(), path.file_name()) {
        (Ok(folder), Some(name)) => folder.join(name),
        _ => path.to_owned(),
    }
}

/// The file beside `path` whose name goes on with `suffix`.
pub(super) fn sibling(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    name.into()
}

fn unfit(path: &Path, problem: &dyn std::fmt::Display) -> JournalError {
    JournalError::Unfit(format!("{}: {problem}", path.display()))
}
