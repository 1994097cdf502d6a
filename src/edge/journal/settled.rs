//! Looking at settlements: how long they took and what they cost, as this ledger has seen it.

use rusqlite::{Connection, Row};
use serde::Serialize;

use super::chain;
use super::views::Views;
use crate::ports::journal::JournalError;

/// What was measured of settling on one network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SettledRow {
    /// By CAIP-2.
    pub network: String,
    /// From which side: `sold`, from binding to the transfer; `paid`, from the hold to its final block.
    pub side: String,
    /// How many.
    pub settlements: u64,
    /// How long on average, in milliseconds.
    pub mean_ms: u64,
    /// How long at worst, in milliseconds.
    pub worst_ms: u64,
    /// What a transaction cost on average, in the native unit's atoms; nothing where none was paid for.
    pub gas_mean: Option<u64>,
}

const SELECT: &str = "
    WITH seen AS (
        SELECT network, 'sold' AS side,
               (julianday(settled_at) - julianday(accepted_at)) * 86400000 AS took
        FROM claims WHERE settled_at IS NOT NULL
        UNION ALL
        SELECT word, 'paid', verified_ms - held_ms
        FROM payment_rows JOIN words ON no = network WHERE verified_ms IS NOT NULL)
    SELECT network, side, count(*) AS settlements,
           CAST(max(0, round(avg(took))) AS INTEGER) AS mean_ms,
           CAST(max(0, round(max(took))) AS INTEGER) AS worst_ms,
           (SELECT CAST(round(avg(amount)) AS INTEGER) FROM gas WHERE gas.network = seen.network)
               AS gas_mean
    FROM seen GROUP BY network, side ORDER BY network, side";

impl Views {
    /// What was measured of each network, on each side.
    ///
    /// # Errors
    /// [`JournalError::Damaged`] where the file cannot be read.
    pub fn settled(&self) -> Result<Vec<SettledRow>, JournalError> {
        read(&self.conn()).map_err(|e| chain::damaged(0, &e))
    }
}

fn read(conn: &Connection) -> rusqlite::Result<Vec<SettledRow>> {
    let row = |row: &Row<'_>| {
        Ok(SettledRow {
            network: row.get("network")?,
            side: row.get("side")?,
            settlements: row.get("settlements").map(chain::from_sql)?,
            mean_ms: row.get("mean_ms").map(chain::from_sql)?,
            worst_ms: row.get("worst_ms").map(chain::from_sql)?,
            gas_mean: row.get::<_, Option<i64>>("gas_mean")?.map(chain::from_sql),
        })
    };
    conn.prepare_cached(SELECT)?.query_map([], row)?.collect()
}
