//! The file itself: who may have it, which format it has, how a connection to it is set up. Nothing
//! here knows what the tables mean.

use std::ffi::OsString;
use std::fs::{File, OpenOptions, TryLockError};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, TransactionBehavior};

use crate::ports::journal::JournalError;

/// The format this version writes, and the newest that it reads. Format 1 had the readable tables in
/// the journal's own file, format 2 answers under their names in words.
const FORMAT: i64 = 3;
/// What tells our files from other SQLite files: `BRSR`.
const APPLICATION_ID: i64 = 0x4252_5352;
/// What tells the readable tables' files: `BRST`.
const TABLES_ID: i64 = 0x4252_5354;
/// Pages in the tables' log after which they are moved into the file, by whoever writes it.
const TABLES_LOG_PAGES: i64 = 8 * 1024;
/// Longest wait for a lock that another process holds, as the sqlite3 shell may for a moment.
const BUSY_MAX: Duration = Duration::from_secs(5);
/// The writer's page cache, negative for KiB. Nobody else writes, so it stays true.
const CACHE_KIB: i64 = -64 * 1024;
/// Prepared statements that a connection keeps.
const STATEMENTS_MAX: usize = 128;

const SCHEMA: &str = concat!(include_str!("schema.sql"), include_str!("answers.sql"));
const ANSWERS: &str = include_str!("answers.sql");
const DECISIONS: &str = include_str!("decisions.sql");

/// What formats 1 and 2 had besides, all of which is made again, or may be forgotten.
const LEFT_BEHIND: &str = "
    DROP TABLE IF EXISTS answers;
    DROP VIEW IF EXISTS budgets; DROP VIEW IF EXISTS books; DROP VIEW IF EXISTS refusals;
    DROP TABLE IF EXISTS projection; DROP TABLE IF EXISTS rails; DROP TABLE IF EXISTS policies;
    DROP TABLE IF EXISTS agents; DROP TABLE IF EXISTS delegations; DROP TABLE IF EXISTS wallets;
    DROP TABLE IF EXISTS positions; DROP TABLE IF EXISTS pauses; DROP TABLE IF EXISTS payments;
    DROP TABLE IF EXISTS holds; DROP TABLE IF EXISTS budget_defs;
    DROP TABLE IF EXISTS budget_windows; DROP TABLE IF EXISTS claims; DROP TABLE IF EXISTS gas;
    DROP TABLE IF EXISTS postings; DROP TABLE IF EXISTS channels; DROP TABLE IF EXISTS tabs;
    DROP TABLE IF EXISTS usage; DROP TABLE IF EXISTS grants; DROP TABLE IF EXISTS decisions;";

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
    let mut conn = open_or_touch(path)?;
    if is_blank(&conn).map_err(|e| unfit(path, &e))? {
        create(&mut conn, SCHEMA, APPLICATION_ID).map_err(|e| unfit(path, &e))?;
    }
    if check_format(&conn, path, APPLICATION_ID)? < FORMAT {
        leave_behind(&mut conn).map_err(|e| unfit(path, &e))?;
    }
    // The writer raises the sync level before each append.
    conn.pragma_update(None, "synchronous", "NORMAL")
        .and_then(|()| conn.pragma_update(None, "cache_size", CACHE_KIB))
        .map_err(|e| unfit(path, &e))?;
    Ok(conn)
}

/// Opens the readable tables' file beside `path`, making it first where there is none. It may go at
/// any time that nobody has it open: all but decisions is made again.
///
/// # Errors
/// [`JournalError::Unfit`] where it is not of readable tables, or of a later version.
pub(super) fn open_or_create_tables(path: &Path) -> Result<Connection, JournalError> {
    let path = &tables_of(path);
    let mut conn = open_or_touch(path)?;
    if is_blank(&conn).map_err(|e| unfit(path, &e))? {
        create(&mut conn, DECISIONS, TABLES_ID).map_err(|e| unfit(path, &e))?;
    }
    check_format(&conn, path, TABLES_ID)?;
    // Synced only when the log is moved: a crash of the machine costs the newest rows, which are
    // made again.
    conn.pragma_update(None, "synchronous", "NORMAL")
        .and_then(|()| conn.pragma_update(None, "cache_size", CACHE_KIB))
        .and_then(|()| conn.pragma_update(None, "wal_autocheckpoint", TABLES_LOG_PAGES))
        .map_err(|e| unfit(path, &e))?;
    Ok(conn)
}

/// Opens the journal's file to read, and the readable tables with it.
///
/// # Errors
/// [`JournalError::Unfit`] where one of them is missing, not what it should be, or of a later version.
pub(super) fn open_to_read_all(path: &Path) -> Result<Connection, JournalError> {
    let tables = tables_of(path);
    let alone = open_with(&tables, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    check_format(&alone, &tables, TABLES_ID)?;
    drop(alone);
    let conn = open_to_read(path)?;
    conn.execute("ATTACH ?1 AS tables", [tables.to_string_lossy()])
        .map_err(|e| unfit(&tables, &e))?;
    Ok(conn)
}

/// Where the readable tables of the journal at `path` are.
pub(super) fn tables_of(path: &Path) -> PathBuf {
    sibling(path, "-tables")
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
    check_format(&conn, path, APPLICATION_ID)?;
    Ok(conn)
}

fn open_or_touch(path: &Path) -> Result<Connection, JournalError> {
    // Made here and not by SQLite, for the mode; the files beside it then get the same.
    OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(path)
        .map_err(|e| unfit(path, &e))?;
    open_with(path, OpenFlags::SQLITE_OPEN_READ_WRITE)
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

fn create(conn: &mut Connection, schema: &str, application: i64) -> rusqlite::Result<()> {
    // Twice the default: events come one after the other, and each page costs two writes. The tables'
    // rows come in any order, and of those a page has few that changed.
    let page = if application == APPLICATION_ID { 8192 } else { 4096 };
    conn.pragma_update(None, "page_size", page)?;
    conn.pragma_update(None, "journal_mode", "WAL")?;
    // All or nothing: a crash in here leaves a blank file, which is made again.
    let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
    tx.execute_batch(schema)?;
    tx.pragma_update(None, "application_id", application)?;
    tx.pragma_update(None, "user_version", FORMAT)?;
    tx.commit()
}

fn leave_behind(conn: &mut Connection) -> rusqlite::Result<()> {
    let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
    tx.execute_batch(LEFT_BEHIND)?;
    tx.execute_batch(ANSWERS)?;
    tx.pragma_update(None, "user_version", FORMAT)?;
    tx.commit()
}

/// The file's format, which is one that this version reads.
fn check_format(conn: &Connection, path: &Path, ours: i64) -> Result<i64, JournalError> {
    let pragma =
        |name| conn.pragma_query_value(None, name, |row| row.get(0)).map_err(|e| unfit(path, &e));
    let application: i64 = pragma("application_id")?;
    if application != ours {
        let kind = if ours == TABLES_ID { "a file of readable tables" } else { "a journal" };
        return Err(JournalError::Unfit(format!("{} is not {kind}", path.display())));
    }
    let format: i64 = pragma("user_version")?;
    if !(1..=FORMAT).contains(&format) {
        let path = path.display();
        return Err(JournalError::Unfit(format!(
            "{path} has format {format}, this version reads up to format {FORMAT}"
        )));
    }
    Ok(format)
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
