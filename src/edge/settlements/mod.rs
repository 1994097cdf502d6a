//! A facilitator's journal: one SQLite file with a row for each authorization that was handed in, which anyone
//! can open. It is a file of its own and no ledger: nothing is held in it, and its rows are forgotten.
//!
//! One thread writes it. What many ask for at once is written with one sync, and each is answered after it.

use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use async_trait::async_trait;
use rusqlite::{Connection, OpenFlags, OptionalExtension, Row, params};
use tokio::sync::{mpsc, oneshot};

use crate::domain::commitment::AuthorizationKey;
use crate::domain::money::Amount;
use crate::domain::time::Timestamp;
use crate::ports::clock::Clock;
use crate::ports::rail::Settlement;
use crate::ports::settlements::{Recorded, Settlements, SettlementsError};

/// How many may wait to be written; whoever comes next waits for a place.
const WAITING_MAX: usize = 1024;

/// How many are written with one sync.
const BATCH_MAX: usize = 256;

/// How long a row is kept after its authorization has ended, in seconds: who asks again so late is told
/// that it has expired.
const KEPT_S: u64 = 7 * 24 * 3600;

/// How often rows are looked for that may be forgotten, while others are written.
const FORGET_EVERY: Duration = Duration::from_secs(3600);

/// Longest wait for a lock that another process holds, as the sqlite3 shell may for a moment.
const BUSY_MAX: Duration = Duration::from_secs(5);

/// What tells the file from other SQLite files: `BRSF`.
const APPLICATION_ID: i64 = 0x4252_5346;

const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS settlements (
        network TEXT NOT NULL, token BLOB NOT NULL, payer BLOB NOT NULL, nonce BLOB NOT NULL,
        charge TEXT NOT NULL, ends_s INTEGER NOT NULL,
        hash BLOB, moved TEXT, moved_at_s INTEGER,
        PRIMARY KEY (network, token, payer, nonce)
    ) WITHOUT ROWID, STRICT;
    CREATE INDEX IF NOT EXISTS settlements_by_end ON settlements (ends_s);";

const FIND: &str = "SELECT charge, hash, moved, moved_at_s FROM settlements
    WHERE network = ?1 AND token = ?2 AND payer = ?3 AND nonce = ?4";

const BEGIN: &str = "INSERT INTO settlements (network, token, payer, nonce, charge, ends_s)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6)";

const END: &str = "UPDATE settlements SET hash = ?5, moved = ?6, moved_at_s = ?7
    WHERE network = ?1 AND token = ?2 AND payer = ?3 AND nonce = ?4";

const FORGET: &str = "DELETE FROM settlements
    WHERE network = ?1 AND token = ?2 AND payer = ?3 AND nonce = ?4 AND hash IS NULL";

const FORGET_OLD: &str = "DELETE FROM settlements WHERE ends_s < ?1";

type Answer<T> = oneshot::Sender<Result<T, SettlementsError>>;

enum Job {
    Begin { key: AuthorizationKey, charge: Amount, ends_s: u64, answer: Answer<Option<Recorded>> },
    End { key: AuthorizationKey, outcome: Settlement, answer: Answer<()> },
    Forget { key: AuthorizationKey, answer: Answer<()> },
    Find { key: AuthorizationKey, answer: Answer<Option<Recorded>> },
}

/// What a job is answered, once the batch that it is in is on the disk.
enum Done {
    Found(Answer<Option<Recorded>>, Option<Recorded>),
    Ended(Answer<()>),
}

/// The file, taken for this process. It is closed when the last user is gone.
pub struct SettlementsFile {
    jobs: mpsc::Sender<Job>,
    #[expect(dead_code, reason = "the writer ends by itself when nobody can ask it any more")]
    writer: JoinHandle<()>,
}

impl SettlementsFile {
    /// Opens the file, making it first where there is none; rows that ended long ago are forgotten, now and
    /// every hour in which others are written.
    ///
    /// # Errors
    /// [`SettlementsError`] where it is another kind of file, or another process has it.
    pub fn open(path: &Path, clock: Arc<dyn Clock>) -> Result<Self, SettlementsError> {
        let mut conn = connect(path).map_err(unfit)?;
        let mut forgot_at = clock.now();
        forget_old(&conn, forgot_at).map_err(unfit)?;
        let (jobs, mut waiting) = mpsc::channel(WAITING_MAX);
        let writer = std::thread::Builder::new().name("settlements".to_owned()).spawn(move || {
            let mut some = Vec::new();
            while waiting.blocking_recv_many(&mut some, BATCH_MAX) > 0 {
                write(&mut conn, std::mem::take(&mut some));
                let now = clock.now();
                if now.since(forgot_at) >= FORGET_EVERY {
                    forgot_at = now;
                    if let Err(problem) = forget_old(&conn, now) {
                        tracing::warn!(%problem, "old settlements are not forgotten");
                    }
                }
            }
        });
        let writer = writer.map_err(|problem| SettlementsError(problem.to_string()))?;
        Ok(Self { jobs, writer })
    }

    async fn ask<T>(&self, job: impl FnOnce(Answer<T>) -> Job) -> Result<T, SettlementsError> {
        let (answer, answered) = oneshot::channel();
        let stopped = || SettlementsError("its writer has stopped".to_owned());
        self.jobs.send(job(answer)).await.map_err(|_| stopped())?;
        answered.await.unwrap_or_else(|_| Err(stopped()))
    }
}

#[async_trait]
impl Settlements for SettlementsFile {
    async fn begin(
        &self,
        key: AuthorizationKey,
        charge: Amount,
        ends_s: u64,
    ) -> Result<Option<Recorded>, SettlementsError> {
        self.ask(|answer| Job::Begin { key, charge, ends_s, answer }).await
    }

    async fn end(
        &self,
        key: AuthorizationKey,
        outcome: Settlement,
    ) -> Result<(), SettlementsError> {
        self.ask(|answer| Job::End { key, outcome, answer }).await
    }

    async fn forget(&self, key: AuthorizationKey) -> Result<(), SettlementsError> {
        self.ask(|answer| Job::Forget { key, answer }).await
    }

    async fn find(&self, key: AuthorizationKey) -> Result<Option<Recorded>, SettlementsError> {
        self.ask(|answer| Job::Find { key, answer }).await
    }
}

fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_CREATE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = Connection::open_with_flags(path, flags)?;
    conn.busy_timeout(BUSY_MAX)?;
    let id: i64 = conn.pragma_query_value(None, "application_id", |row| row.get(0))?;
    let tables: i64 = conn.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    if id != APPLICATION_ID && tables > 0 {
        return Err(rusqlite::Error::InvalidPath(path.to_owned()));
    }
    conn.pragma_update(None, "application_id", APPLICATION_ID)?;
    // Kept for as long as the file is open, so that no second facilitator settles by the same rows.
    conn.pragma_update(None, "locking_mode", "EXCLUSIVE")?;
    conn.pragma_update(None, "journal_mode", "WAL")?;
    conn.pragma_update(None, "synchronous", "FULL")?;
    conn.execute_batch(SCHEMA)?;
    Ok(conn)
}

/// Does all of `jobs` with one sync, and answers each after it.
fn write(conn: &mut Connection, jobs: Vec<Job>) {
    let mut done = Vec::with_capacity(jobs.len());
    let written = (|| {
        let transaction = conn.transaction()?;
        for job in jobs {
            done.push(act(&transaction, job)?);
        }
        transaction.commit()
    })();
    for one in done {
        // Whoever asked may have gone.
        match (one, &written) {
            (Done::Found(answer, found), Ok(())) => drop(answer.send(Ok(found))),
            (Done::Found(answer, _), Err(problem)) => drop(answer.send(Err(failed(problem)))),
            (Done::Ended(answer), Ok(())) => drop(answer.send(Ok(()))),
            (Done::Ended(answer), Err(problem)) => drop(answer.send(Err(failed(problem)))),
        }
    }
}

fn act(conn: &Connection, job: Job) -> rusqlite::Result<Done> {
    match job {
        Job::Begin { key, charge, ends_s, answer } => {
            let found = find(conn, &key)?;
            if found.is_none() {
                let (network, token, payer, nonce) = names(&key);
                let ends_s = i64::try_from(ends_s).unwrap_or(i64::MAX);
                let row = params![network, token, payer, nonce, charge.to_string(), ends_s];
                conn.prepare_cached(BEGIN)?.execute(row)?;
            }
            Ok(Done::Found(answer, found))
        }
        Job::End { key, outcome, answer } => {
            // What is not known or was refused is asked of the rail again.
            if let Settlement::Settled { transaction, amount, moved_at_s } = outcome {
                let (network, token, payer, nonce) = names(&key);
                let moved_at_s = i64::try_from(moved_at_s).unwrap_or(i64::MAX);
                let (hash, moved) = (transaction.as_slice(), amount.to_string());
                let row = params![network, token, payer, nonce, hash, moved, moved_at_s];
                conn.prepare_cached(END)?.execute(row)?;
            }
            Ok(Done::Ended(answer))
        }
        Job::Forget { key, answer } => {
            let (network, token, payer, nonce) = names(&key);
            conn.prepare_cached(FORGET)?.execute(params![network, token, payer, nonce])?;
            Ok(Done::Ended(answer))
        }
        Job::Find { key, answer } => Ok(Done::Found(answer, find(conn, &key)?)),
    }
}

fn forget_old(conn: &Connection, now: Timestamp) -> rusqlite::Result<()> {
    let before = i64::try_from(now.as_secs().saturating_sub(KEPT_S)).unwrap_or(i64::MAX);
    conn.execute(FORGET_OLD, params![before]).map(drop)
}

fn find(conn: &Connection, key: &AuthorizationKey) -> rusqlite::Result<Option<Recorded>> {
    let (network, token, payer, nonce) = names(key);
    let row = params![network, token, payer, nonce];
    conn.prepare_cached(FIND)?.query_row(row, read).optional()
}

fn read(row: &Row<'_>) -> rusqlite::Result<Recorded> {
    let amount = |text: String| text.parse::<Amount>().map_err(|_| rusqlite::Error::InvalidQuery);
    let hash: Option<[u8; 32]> = row.get(1)?;
    let outcome = match (hash, row.get::<_, Option<String>>(2)?) {
        (Some(hash), Some(moved)) => Some(Settlement::Settled {
            transaction: hash.into(),
            amount: amount(moved)?,
            moved_at_s: u64::try_from(row.get::<_, i64>(3)?).unwrap_or_default(),
        }),
        _ => None,
    };
    Ok(Recorded { charge: amount(row.get(0)?)?, outcome })
}

fn names(key: &AuthorizationKey) -> (String, &[u8], &[u8], &[u8]) {
    let network = key.asset.network.to_string();
    (network, key.asset.contract.as_slice(), key.payer.as_slice(), key.nonce.as_slice())
}

fn unfit(problem: rusqlite::Error) -> SettlementsError {
    SettlementsError(problem.to_string())
}

fn failed(problem: &rusqlite::Error) -> SettlementsError {
    SettlementsError(problem.to_string())
}

#[cfg(test)]
mod tests;
