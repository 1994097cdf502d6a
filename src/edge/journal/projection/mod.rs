//! The readable tables, made from the events. Nothing decides by them: they show, a moment late, what
//! happened, and can be dropped and made again at any time.

pub(super) mod books;
mod budgets;
mod channels;
mod claims;
mod fleet;
mod payments;
mod tabs;
mod usage;
pub(super) mod values;

use rusqlite::{Connection, OptionalExtension, Params, Transaction, TransactionBehavior, params};

use super::chain::{self, Link, to_sql};
use crate::domain::ledger::Event;
use crate::domain::time::Timestamp;
use crate::ports::journal::{Entry, JournalError};

/// Of the tables' layout: another one in the file is dropped and made again.
const FORMAT: i64 = 5;
/// The only projection there is; its row names its last event.
const NAME: &str = "views";

const TABLES: &str = include_str!("../views.sql");

/// Where an event stands, for the rows it makes.
#[derive(Copy, Clone)]
struct Place<'a> {
    seq: u64,
    at: Timestamp,
    /// `at` in words.
    now: &'a str,
}

/// The state of the readable tables.
pub(super) struct Projection {
    /// The last event that they know.
    end: Link,
}

impl Projection {
    /// Makes the tables where there are none, or those of another version.
    ///
    /// # Errors
    /// [`JournalError::Unfit`] where they cannot be made.
    pub(super) fn open(conn: &mut Connection) -> Result<Self, JournalError> {
        let unfit = |e: rusqlite::Error| JournalError::Unfit(format!("readable tables: {e}"));
        let exists = conn
            .query_row("SELECT 1 FROM sqlite_schema WHERE name = 'projection'", [], |_| Ok(()))
            .optional()
            .map_err(unfit)?;
        let known = match exists {
            Some(()) => find_progress(conn).map_err(unfit)?,
            None => None,
        };
        // A point that the chain does not have: the events are another history's.
        match known.map(|seq| chain::find_link(conn, seq)).transpose()?.flatten() {
            Some(end) => Ok(Self { end }),
            None => {
                make(conn).map_err(unfit)?;
                Ok(Self { end: Link::ORIGIN })
            }
        }
    }

    /// The last event that the tables know.
    pub(super) const fn end(&self) -> &Link {
        &self.end
    }

    /// Drops the tables, to be made again from the first event on.
    ///
    /// # Errors
    /// [`JournalError::WriteFailed`], and then they are as they were.
    pub(super) fn restart(&mut self, conn: &mut Connection) -> Result<(), JournalError> {
        make(conn).map_err(|e| JournalError::WriteFailed(e.to_string()))?;
        self.end = Link::ORIGIN;
        Ok(())
    }

    /// Projects the next events, at most `limit`. Returns how many.
    ///
    /// # Errors
    /// [`JournalError::Damaged`] where the next event is not what was written;
    /// [`JournalError::WriteFailed`], and then the tables are as they were.
    pub(super) fn go_on(&mut self, conn: &mut Connection, limit: u32) -> Result<u64, JournalError> {
        let mut entries = Vec::new();
        let end = chain::walk(conn, self.end, limit, |entry| entries.push(entry))?;
        if entries.is_empty() {
            return Ok(0);
        }
        write(conn, &entries, &end).map_err(|e| JournalError::WriteFailed(e.to_string()))?;
        let projected = end.seq.saturating_sub(self.end.seq);
        self.end = end;
        Ok(projected)
    }
}

fn write(conn: &mut Connection, entries: &[Entry], end: &Link) -> rusqlite::Result<()> {
    let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
    for entry in entries {
        let now = entry.at.to_string();
        apply(&tx, Place { seq: entry.seq, at: entry.at, now: &now }, &entry.event)?;
    }
    run(
        &tx,
        "UPDATE projection SET seq = ?2, at_ns = ?3, at = ?4 WHERE name = ?1",
        params![NAME, to_sql(end.seq), to_sql(end.at.as_nanos()), end.at.to_string()],
    )?;
    tx.commit()
}

fn make(conn: &mut Connection) -> rusqlite::Result<()> {
    let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
    tx.execute_batch(TABLES)?;
    tx.execute(
        "INSERT INTO projection (name, format, seq, at_ns, at) VALUES (?1, ?2, 0, 0, ?3)",
        params![NAME, FORMAT, Timestamp::ZERO.to_string()],
    )?;
    tx.commit()
}

/// The last event that the tables know; `None` where they are of another layout.
///
/// # Errors
/// Where the file cannot be read.
pub(super) fn find_progress(conn: &Connection) -> rusqlite::Result<Option<u64>> {
    conn.prepare_cached("SELECT seq FROM projection WHERE name = ?1 AND format = ?2")?
        .query_row(params![NAME, FORMAT], |row| row.get(0).map(chain::from_sql))
        .optional()
}

fn apply(tx: &Transaction<'_>, place: Place<'_>, event: &Event) -> rusqlite::Result<()> {
    books::post(tx, place, event)?;
    match event {
        Event::RailPinned { .. }
        | Event::PolicyApplied { .. }
        | Event::AgentAdded { .. }
        | Event::TokenReplaced { .. }
        | Event::WalletOpened { .. }
        | Event::FundsSeen { .. }
        | Event::Delegated { .. }
        | Event::Paused { .. }
        | Event::Resumed { .. }
        | Event::GasSpent { .. } => fleet::apply(tx, place, event),
        Event::Held(_)
        | Event::Doubted { .. }
        | Event::Captured { .. }
        | Event::PaymentVerified { .. }
        | Event::Voided { .. }
        | Event::Expired { .. }
        | Event::CaptureReversed { .. } => payments::apply(tx, place, event),
        Event::Accepted(_)
        | Event::ClaimDoubted { .. }
        | Event::ClaimSettled { .. }
        | Event::Served { .. }
        | Event::ClaimReleased { .. }
        | Event::ClaimDied { .. }
        | Event::RefundBegun { .. }
        | Event::Refunded { .. }
        | Event::ServedOnCredit { .. }
        | Event::CreditPaid { .. } => claims::apply(tx, place, event),
        Event::UsageMetered(metered) => usage::apply(tx, place, metered),
        Event::Granted(grant) => claims::grant(tx, place, grant),
        Event::Channel(event) => channels::apply(tx, place, event),
        Event::Tab(event) => tabs::apply(tx, place, event),
    }
}

/// Runs one statement, kept prepared for the next time.
fn run(tx: &Transaction<'_>, sql: &str, params: impl Params) -> rusqlite::Result<usize> {
    tx.prepare_cached(sql)?.execute(params)
}
