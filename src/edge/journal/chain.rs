//! The hash chain: each entry's hash covers the one before, so nothing in between can be changed,
//! left out or swapped without every later hash showing it.

use rusqlite::{Connection, OptionalExtension, Row, params};
use sha2::{Digest, Sha256};

use crate::domain::ledger::Event;
use crate::domain::time::Timestamp;
use crate::ports::journal::{Entry, JournalError};

/// A SHA-256.
pub(super) type Hash = [u8; 32];

/// The end of a chain, or a point in it.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) struct Link {
    /// The entry; 0 before the first.
    pub(super) seq: u64,
    /// Its time.
    pub(super) at: Timestamp,
    /// Its hash; zeros before the first.
    pub(super) hash: Hash,
}

impl Link {
    /// Before the first entry.
    pub(super) const ORIGIN: Self = Self { seq: 0, at: Timestamp::ZERO, hash: [0; 32] };

    /// The link after this one, for an entry at `at` whose encoded event is `body`.
    pub(super) fn next(&self, at: Timestamp, body: &[u8]) -> Self {
        let seq = self.seq.saturating_add(1);
        let mut hash = Sha256::new();
        if !planted!("links_not_chained") {
            hash.update(self.hash);
        }
        hash.update(seq.to_be_bytes());
        hash.update(at.as_nanos().to_be_bytes());
        hash.update(body);
        Self { seq, at, hash: hash.finalize().into() }
    }
}

/// The last link of the chain, as it stands in the file.
///
/// # Errors
/// [`JournalError::Damaged`].
pub(super) fn find_end(conn: &Connection) -> Result<Link, JournalError> {
    conn.prepare_cached("SELECT seq, at_ns, hash FROM events ORDER BY seq DESC LIMIT 1")
        .and_then(|mut select| select.query_row([], read_link).optional())
        .map(|end| end.unwrap_or(Link::ORIGIN))
        .map_err(|e| damaged(0, &e))
}

/// The link of entry `seq`, as it stands in the file; `None` where there is no such entry.
///
/// # Errors
/// [`JournalError::Damaged`].
pub(super) fn find_link(conn: &Connection, seq: u64) -> Result<Option<Link>, JournalError> {
    if seq == 0 {
        return Ok(Some(Link::ORIGIN));
    }
    conn.prepare_cached("SELECT seq, at_ns, hash FROM events WHERE seq = ?1")
        .and_then(|mut select| select.query_row([to_sql(seq)], read_link).optional())
        .map_err(|e| damaged(seq, &e))
}

/// Reads at most `limit` entries after `from`, checks each against the one before, and gives it to
/// `take`. Returns the last link that was read.
///
/// # Errors
/// [`JournalError::Damaged`] at the first entry that is not what was written; what came before was.
pub(super) fn walk(
    conn: &Connection,
    from: Link,
    limit: u32,
    mut take: impl FnMut(Entry),
) -> Result<Link, JournalError> {
    let mut end = from;
    let wrap = |end: Link, e: &rusqlite::Error| damaged(end.seq.saturating_add(1), e);
    let mut select = conn
        .prepare_cached(
            "SELECT seq, at_ns, hash, kind, body FROM events WHERE seq > ?1 ORDER BY seq LIMIT ?2",
        )
        .map_err(|e| wrap(end, &e))?;
    let mut rows = select.query(params![to_sql(from.seq), limit]).map_err(|e| wrap(end, &e))?;
    while let Some(row) = rows.next().map_err(|e| wrap(end, &e))? {
        let (link, entry) = check_row(&end, row)?;
        end = link;
        take(entry);
    }
    Ok(end)
}

fn check_row(before: &Link, row: &Row<'_>) -> Result<(Link, Entry), JournalError> {
    let seq = before.seq.saturating_add(1);
    let wrong = |problem: &str| JournalError::Damaged { seq, problem: problem.to_owned() };
    let found = read_link(row).map_err(|e| damaged(seq, &e))?;
    if found.seq != seq {
        return Err(wrong("it is missing"));
    }
    let body =
        row.get_ref(4).and_then(|value| Ok(value.as_blob()?)).map_err(|e| damaged(seq, &e))?;
    if before.next(found.at, body) != found {
        return Err(wrong("its hash is not the one that its bytes give"));
    }
    if found.at <= before.at {
        return Err(wrong("its time is not after the entry before"));
    }
    let event = decode(body).ok_or_else(|| wrong("its event cannot be read"))?;
    // The kind is for people; it stands outside the hash, so it is held against the event itself.
    let kind = row.get_ref(3).and_then(|value| Ok(value.as_str()? == event.kind()));
    if !kind.map_err(|e| damaged(seq, &e))? {
        return Err(wrong("its kind is not its event's"));
    }
    Ok((found, Entry { seq, at: found.at, event }))
}

/// The event in `body`, all of it.
pub(super) fn decode(body: &[u8]) -> Option<Event> {
    match postcard::take_from_bytes(body) {
        Ok((event, [])) => Some(event),
        _ => None,
    }
}

fn read_link(row: &Row<'_>) -> rusqlite::Result<Link> {
    Ok(Link {
        seq: from_sql(row.get(0)?),
        at: Timestamp::from_nanos(from_sql(row.get(1)?)),
        hash: row.get(2)?,
    })
}

/// A sequence number or time as SQLite keeps it. Both stay far below 2^63: nanoseconds until 2262.
pub(super) fn to_sql(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// A number that [`to_sql`] wrote. One below zero was not written by us; zero fails every check.
pub(super) fn from_sql(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

/// What could not be read at entry `seq`.
pub(super) fn damaged(seq: u64, problem: &dyn std::fmt::Display) -> JournalError {
    JournalError::Damaged { seq, problem: problem.to_string() }
}
