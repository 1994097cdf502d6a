//! The readable tables, made from the events. Nothing decides by them: they show, a moment late, what
//! happened, and can be dropped and made again at any time.

pub(super) mod books;
mod budgets;
mod channels;
mod claims;
mod dictionary;
mod fleet;
mod payments;
mod sheet;
mod tabs;
mod usage;
pub(super) mod values;

use rusqlite::{Connection, OptionalExtension, Params, Transaction, TransactionBehavior, params};

use self::sheet::{Memory, Sheet};
use self::values::Words;
use super::chain::{self, Hash, Link, to_sql};
use crate::domain::ledger::Event;
use crate::domain::time::Timestamp;
use crate::ports::journal::{Entry, JournalError};

/// Of the tables' layout: another one in the file is dropped and made again.
const FORMAT: i64 = 9;
/// The only projection there is; its row names its last event.
const NAME: &str = "views";

const TABLES: &str = concat!(
    include_str!("../views.sql"),
    "CREATE VIEW payments AS ",
    include_str!("../payments.sql"),
    "; CREATE VIEW holds AS
        SELECT payment, agent, provider, state, wallet_id, network, asset, amount_held,
               open_nano AS held_nano, held_at, valid_before, seats
        FROM payments WHERE seats IS NOT NULL;"
);

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
    memory: Memory,
}

impl Projection {
    /// Makes the tables where there are none, or those of another version or another history.
    ///
    /// # Errors
    /// [`JournalError::Unfit`] where they cannot be made.
    pub(super) fn open(
        tables: &mut Connection,
        journal: &Connection,
    ) -> Result<Self, JournalError> {
        let unfit = |e: rusqlite::Error| JournalError::Unfit(format!("readable tables: {e}"));
        let exists = tables
            .query_row("SELECT 1 FROM sqlite_schema WHERE name = 'projection'", [], |_| Ok(()))
            .optional()
            .map_err(unfit)?;
        let known = match exists {
            Some(()) => find_progress(tables).map_err(unfit)?,
            None => None,
        };
        let found = known.as_ref().map(|(seq, _)| chain::find_link(journal, *seq)).transpose()?;
        // A point that the chain does not have: the events are another history's.
        let end = found.flatten().filter(|link| known == Some((link.seq, link.hash)));
        if end.is_none() {
            make(tables).map_err(unfit)?;
        }
        Ok(Self { end: end.unwrap_or(Link::ORIGIN), memory: Memory::default() })
    }

    /// The last event that the tables know.
    pub(super) const fn end(&self) -> &Link {
        &self.end
    }

    /// Drops the tables, to be made again from the first event on.
    ///
    /// # Errors
    /// [`JournalError::WriteFailed`], and then they are as they were.
    pub(super) fn restart(&mut self, tables: &mut Connection) -> Result<(), JournalError> {
        make(tables).map_err(failed)?;
        *self = Self { end: Link::ORIGIN, memory: Memory::default() };
        Ok(())
    }

    /// Projects `entries`, which follow each other and the last one known, up to `end`.
    ///
    /// # Errors
    /// [`JournalError::WriteFailed`], and then the tables are as they were.
    pub(super) fn go_on<'a>(
        &mut self,
        tables: &mut Connection,
        entries: impl IntoIterator<Item = &'a Entry>,
        end: Link,
    ) -> Result<(), JournalError> {
        let written = self.write(tables, entries, &end).map_err(failed);
        match written {
            Ok(()) => self.end = end,
            Err(_) => self.memory.forget(),
        }
        written
    }

    fn write<'a>(
        &mut self,
        tables: &mut Connection,
        entries: impl IntoIterator<Item = &'a Entry>,
        end: &Link,
    ) -> rusqlite::Result<()> {
        let tx = tables.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let mut sheet = Sheet::new(&tx, &mut self.memory);
        let mut words = Words::default();
        for entry in entries {
            let now = words.of(entry.at);
            apply(&mut sheet, Place { seq: entry.seq, at: entry.at, now }, &entry.event)?;
        }
        sheet.write()?;
        run(
            &tx,
            "UPDATE projection SET seq = ?2, at_ns = ?3, at = ?4, hash = ?5 WHERE name = ?1",
            params![NAME, to_sql(end.seq), to_sql(end.at.as_nanos()), end.at.to_string(), end.hash],
        )?;
        tx.commit()
    }
}

/// Makes the tables anew, in the place of whatever layout is there.
fn make(conn: &mut Connection) -> rusqlite::Result<()> {
    let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let there: Vec<(String, String)> = tx
        .prepare(
            "SELECT type, name FROM sqlite_schema WHERE type IN ('table', 'view')
             AND name NOT IN ('decisions', 'refusals') ORDER BY type DESC",
        )?
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<Result<_, _>>()?;
    for (kind, name) in there {
        tx.execute_batch(&format!("DROP {kind} {name}"))?;
    }
    tx.execute_batch(TABLES)?;
    tx.execute(
        "INSERT INTO projection (name, format, seq, at_ns, at, hash) VALUES (?1, ?2, 0, 0, ?3, ?4)",
        params![NAME, FORMAT, Timestamp::ZERO.to_string(), Link::ORIGIN.hash],
    )?;
    tx.commit()
}

/// The last event that the tables know, and its hash; `None` where they are of another layout.
///
/// # Errors
/// Where the file cannot be read.
pub(super) fn find_progress(tables: &Connection) -> rusqlite::Result<Option<(u64, Hash)>> {
    let format: Option<i64> = tables
        .prepare_cached("SELECT format FROM projection WHERE name = ?1")?
        .query_row([NAME], |row| row.get(0))
        .optional()?;
    if format != Some(FORMAT) {
        return Ok(None);
    }
    tables
        .prepare_cached("SELECT seq, hash FROM projection WHERE name = ?1")?
        .query_row([NAME], |row| Ok((chain::from_sql(row.get(0)?), row.get(1)?)))
        .optional()
}

fn apply(sheet: &mut Sheet<'_>, place: Place<'_>, event: &Event) -> rusqlite::Result<()> {
    sheet.postings.post(place, event);
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
        | Event::GasSpent { .. } => fleet::apply(sheet, place, event),
        Event::Held(_)
        | Event::Doubted { .. }
        | Event::Captured { .. }
        | Event::PaymentVerified { .. }
        | Event::Voided { .. }
        | Event::Expired { .. }
        | Event::CaptureReversed { .. }
        | Event::PaymentClosed(_) => payments::apply(sheet, place, event),
        Event::Accepted(_)
        | Event::ClaimDoubted { .. }
        | Event::ClaimCharged { .. }
        | Event::ClaimSettled { .. }
        | Event::Served { .. }
        | Event::ClaimReleased { .. }
        | Event::ClaimDied { .. }
        | Event::RefundBegun { .. }
        | Event::Refunded { .. }
        | Event::ServedOnCredit { .. }
        | Event::CreditPaid { .. } => claims::apply(sheet.tx, place, event),
        Event::UsageMetered(metered) => usage::apply(sheet, place, metered),
        Event::Granted(grant) => claims::grant(sheet.tx, place, grant),
        Event::Channel(event) => channels::apply(sheet, place, event),
        Event::Tab(event) => tabs::apply(sheet, place, event),
    }
}

/// Runs one statement, kept prepared for the next time.
fn run(tx: &Transaction<'_>, sql: &str, params: impl Params) -> rusqlite::Result<usize> {
    tx.prepare_cached(sql)?.execute(params)
}

fn failed(problem: impl std::fmt::Display) -> JournalError {
    JournalError::WriteFailed(problem.to_string())
}
