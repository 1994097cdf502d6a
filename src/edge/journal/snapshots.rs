//! Snapshots: where a restart begins. Written in parts, so that no append waits for a whole one; the
//! row that makes the parts a snapshot comes last.

use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params};
use sha2::{Digest, Sha256};

use super::chain::{Hash, Link, damaged, find_link, from_sql, to_sql};
use super::turn::Turn;
use crate::domain::time::Timestamp;
use crate::ports::journal::{JournalError, Snapshot};

/// Snapshots that are kept: the newest, and one to fall back to.
const KEPT: u32 = 2;
/// Bytes of a part: what one turn writes.
const PART_LEN: usize = 256 * 1024;

/// Writes `snapshot` and drops all but the newest [`KEPT`].
///
/// # Errors
/// [`JournalError::WriteFailed`], also where the journal does not have the snapshot's last entry.
pub(super) fn keep(
    conn: &mut Connection,
    turn: &Turn,
    snapshot: &Snapshot,
) -> Result<(), JournalError> {
    let failed = |e: &dyn std::fmt::Display| JournalError::WriteFailed(e.to_string());
    let head = find_link(conn, snapshot.seq)?
        .filter(|head| head.at == snapshot.at)
        .ok_or_else(|| failed(&"the snapshot's last entry is not in the journal"))?;
    drop_parts(conn, turn, snapshot.seq).map_err(|e| failed(&e))?;
    let mut parts: u32 = 0;
    for body in snapshot.body.chunks(PART_LEN) {
        let _turn = turn.take();
        conn.prepare_cached("INSERT INTO snapshot_parts (seq, part, body) VALUES (?1, ?2, ?3)")
            .and_then(|mut insert| insert.execute(params![to_sql(snapshot.seq), parts, body]))
            .map_err(|e| failed(&e))?;
        parts = parts.saturating_add(1);
    }
    let checksum = checksum(&head, &snapshot.body);
    {
        let _turn = turn.take();
        let tx = conn
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .map_err(|e| failed(&e))?;
        tx.execute(
            "INSERT OR REPLACE INTO snapshots (seq, at_ns, head, parts, checksum)
             VALUES (?1, ?2, ?3, ?4, ?5)",
            params![to_sql(head.seq), to_sql(head.at.as_nanos()), head.hash, parts, checksum],
        )
        .map_err(|e| failed(&e))?;
        tx.execute(
            "DELETE FROM snapshots WHERE seq NOT IN
             (SELECT seq FROM snapshots ORDER BY seq DESC LIMIT ?1)",
            [KEPT],
        )
        .map_err(|e| failed(&e))?;
        tx.commit().map_err(|e| failed(&e))?;
    }
    drop_orphans(conn, turn).map_err(|e| failed(&e))
}

/// The newest snapshot whose head is the chain's and whose bytes are those that were written; `None`
/// where there is none such, and then a restart begins at the first entry.
///
/// # Errors
/// [`JournalError::Damaged`] where the file cannot be read.
pub(super) fn load(conn: &Connection) -> Result<Option<Snapshot>, JournalError> {
    let rows: Vec<(Link, u32, Hash)> = conn
        .prepare("SELECT seq, at_ns, head, parts, checksum FROM snapshots ORDER BY seq DESC")
        .and_then(|mut select| {
            select
                .query_map([], |row| {
                    let at = Timestamp::from_nanos(from_sql(row.get(1)?));
                    let link = Link { seq: from_sql(row.get(0)?), at, hash: row.get(2)? };
                    Ok((link, row.get(3)?, row.get(4)?))
                })?
                .collect()
        })
        .map_err(|e| damaged(0, &e))?;
    for (head, parts, written) in rows {
        if find_link(conn, head.seq)? != Some(head) {
            continue;
        }
        let Some(body) = read_parts(conn, head.seq, parts).map_err(|e| damaged(head.seq, &e))?
        else {
            continue;
        };
        if checksum(&head, &body) == written {
            return Ok(Some(Snapshot { seq: head.seq, at: head.at, body }));
        }
    }
    Ok(None)
}

fn read_parts(conn: &Connection, seq: u64, parts: u32) -> rusqlite::Result<Option<Vec<u8>>> {
    let mut body = Vec::new();
    let mut select =
        conn.prepare("SELECT body FROM snapshot_parts WHERE seq = ?1 AND part = ?2")?;
    for part in 0..parts {
        let read = select.query_row(params![to_sql(seq), part], |row| {
            body.extend_from_slice(row.get_ref(0)?.as_blob()?);
            Ok(())
        });
        if read.optional()?.is_none() {
            return Ok(None);
        }
    }
    Ok(Some(body))
}

/// Drops what no row makes a snapshot: parts of dropped ones, and of one that a crash cut short.
fn drop_orphans(conn: &Connection, turn: &Turn) -> rusqlite::Result<()> {
    let mut select = conn.prepare(
        "SELECT DISTINCT seq FROM snapshot_parts WHERE seq NOT IN (SELECT seq FROM snapshots)",
    )?;
    let orphans: Vec<i64> = select.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
    orphans.into_iter().try_for_each(|seq| drop_parts(conn, turn, from_sql(seq)))
}

fn drop_parts(conn: &Connection, turn: &Turn, seq: u64) -> rusqlite::Result<()> {
    // One part a turn, for the same reason that they are written so.
    let mut delete = conn.prepare(
        "DELETE FROM snapshot_parts WHERE rowid IN
         (SELECT rowid FROM snapshot_parts WHERE seq = ?1 LIMIT 1)",
    )?;
    loop {
        let _turn = turn.take();
        if delete.execute([to_sql(seq)])? == 0 {
            return Ok(());
        }
    }
}

fn checksum(head: &Link, body: &[u8]) -> Hash {
    let mut hash = Sha256::new();
    hash.update(head.seq.to_be_bytes());
    hash.update(head.at.as_nanos().to_be_bytes());
    hash.update(head.hash);
    hash.update(body);
    hash.finalize().into()
}
