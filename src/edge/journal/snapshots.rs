//! Snapshots: where a restart begins. Written in parts, so that no append waits for a whole one; the
//! row that makes the parts a snapshot comes last.

use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params};
use sha2::{Digest, Sha256};

use super::chain::{Hash, Link, damaged, find_link, from_sql, to_sql};
use crate::domain::time::Timestamp;
use crate::ports::journal::{JournalError, Snapshot};

/// Snapshots that are kept: the newest, and one to fall back to.
const KEPT: u32 = 2;
/// Bytes of a part: what one step writes.
const PART_LEN: usize = 128 * 1024;

/// A snapshot that is being written.
pub(super) struct Keeping {
    snapshot: Snapshot,
    head: Link,
    checksum: Hash,
    stage: Stage,
}

/// What the next step does.
enum Stage {
    /// Clears what an earlier attempt at the same entry left.
    Clear,
    /// Writes this part.
    Part(usize),
    /// Drops a part that no row makes a snapshot.
    Tidy,
}

impl Keeping {
    /// Begins to keep `snapshot`.
    ///
    /// # Errors
    /// [`JournalError::WriteFailed`] where the journal does not have the snapshot's last entry.
    pub(super) fn begin(conn: &Connection, snapshot: Snapshot) -> Result<Self, JournalError> {
        let head = find_link(conn, snapshot.seq)?
            .filter(|head| head.at == snapshot.at)
            .ok_or_else(|| failed("the snapshot's last entry is not in the journal"))?;
        let checksum = checksum(&head, &snapshot.body);
        Ok(Self { snapshot, head, checksum, stage: Stage::Clear })
    }

    /// Does a little of it; returns whether there is more.
    ///
    /// # Errors
    /// [`JournalError::WriteFailed`], and then it is not kept.
    pub(super) fn step(&mut self, conn: &mut Connection) -> Result<bool, JournalError> {
        match self.stage {
            Stage::Clear => {
                if drop_part(conn, self.snapshot.seq).map_err(failed)? == 0 {
                    self.stage = Stage::Part(0);
                }
                Ok(true)
            }
            Stage::Part(part) => {
                match self.snapshot.body.chunks(PART_LEN).nth(part) {
                    Some(body) => {
                        write_part(conn, self.snapshot.seq, part, body).map_err(failed)?;
                        self.stage = Stage::Part(part.saturating_add(1));
                    }
                    None => {
                        self.finish(conn, part).map_err(failed)?;
                        self.stage = Stage::Tidy;
                    }
                }
                Ok(true)
            }
            Stage::Tidy => match find_orphan(conn).map_err(failed)? {
                Some(orphan) => drop_part(conn, orphan).map(|_| true).map_err(failed),
                None => Ok(false),
            },
        }
    }

    /// Writes the row that makes the parts a snapshot, and forgets all but the newest [`KEPT`].
    fn finish(&self, conn: &mut Connection, parts: usize) -> rusqlite::Result<()> {
        let (head, at) = (&self.head, to_sql(self.head.at.as_nanos()));
        let parts = u32::try_from(parts).unwrap_or(u32::MAX);
        let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
        tx.execute(
            "INSERT OR REPLACE INTO snapshots (seq, at_ns, head, parts, checksum)
             VALUES (?1, ?2, ?3, ?4, ?5)",
            params![to_sql(head.seq), at, head.hash, parts, self.checksum],
        )?;
        tx.execute(
            "DELETE FROM snapshots WHERE seq NOT IN
             (SELECT seq FROM snapshots ORDER BY seq DESC LIMIT ?1)",
            [KEPT],
        )?;
        tx.commit()
    }
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

fn write_part(conn: &Connection, seq: u64, part: usize, body: &[u8]) -> rusqlite::Result<usize> {
    let part = u32::try_from(part).unwrap_or(u32::MAX);
    conn.prepare_cached("INSERT INTO snapshot_parts (seq, part, body) VALUES (?1, ?2, ?3)")?
        .execute(params![to_sql(seq), part, body])
}

/// A snapshot that has parts and no row: a dropped one, or one that a crash cut short.
fn find_orphan(conn: &Connection) -> rusqlite::Result<Option<u64>> {
    conn.prepare_cached(
        "SELECT seq FROM snapshot_parts WHERE seq NOT IN (SELECT seq FROM snapshots) LIMIT 1",
    )?
    .query_row([], |row| row.get(0).map(from_sql))
    .optional()
}

/// Drops one part of a snapshot, for the same reason that they are written one by one. Returns how
/// many: none where there is none left.
fn drop_part(conn: &Connection, seq: u64) -> rusqlite::Result<usize> {
    conn.prepare_cached(
        "DELETE FROM snapshot_parts WHERE rowid IN
         (SELECT rowid FROM snapshot_parts WHERE seq = ?1 LIMIT 1)",
    )?
    .execute([to_sql(seq)])
}

fn failed(problem: impl std::fmt::Display) -> JournalError {
    JournalError::WriteFailed(problem.to_string())
}

fn checksum(head: &Link, body: &[u8]) -> Hash {
    let mut hash = Sha256::new();
    hash.update(head.seq.to_be_bytes());
    hash.update(head.at.as_nanos().to_be_bytes());
    hash.update(head.hash);
    hash.update(body);
    hash.finalize().into()
}
