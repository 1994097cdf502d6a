//! Looking at usage: what was used, summed by whoever is asked about, between two instants.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use rusqlite::types::Value;
use rusqlite::{Connection, Row, params_from_iter};
use serde::Serialize;

use super::chain;
use super::projection::values::SqlAmount;
use super::views::{PAGE_MAX, Views};
use crate::domain::id::Name;
use crate::domain::money::Amount;
use crate::domain::time::Timestamp;
use crate::ports::journal::JournalError;
use crate::ports::usage::{UsageBy, UsageFilter, UsageRow};

/// One call as it was metered, with the seed of every sum.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MeteredRow {
    /// The entry: the page's number.
    pub seq: u64,
    /// When.
    pub at: String,
    /// On which side: `bought`, `sold`, `granted`.
    pub side: String,
    /// Who bought, on the side that bought.
    pub agent: Option<String>,
    /// In which group.
    pub group: Option<String>,
    /// For which request.
    pub request: Option<String>,
    /// The payment's name.
    pub payment: Option<String>,
    /// Who sold.
    pub provider: String,
    /// What, in words.
    pub description: String,
    /// Input tokens.
    pub input_units: u64,
    /// Output tokens.
    pub output_units: u64,
    /// Bytes of the answer.
    pub bytes: u64,
    /// Milliseconds that the engine worked.
    pub compute_ms: u64,
    /// Bytes that are kept.
    pub stored_bytes: u64,
    /// Where the money is, by CAIP-2.
    pub network: String,
    /// The token.
    pub asset: String,
    /// What was charged, in atomic units.
    pub amount: Amount,
    /// The transfer, as far as it is known by now.
    pub transaction: Option<String>,
}

impl Views {
    /// Usage summed by `by`, most calls first, at most [`PAGE_MAX`] rows.
    ///
    /// # Errors
    /// [`JournalError::Damaged`] where the file cannot be read.
    pub fn usage(&self, by: UsageBy, filter: &UsageFilter) -> Result<Vec<UsageRow>, JournalError> {
        sum(&self.conn(), by, filter)
    }

    /// Metered calls, newest first, before entry `before`.
    ///
    /// # Errors
    /// [`JournalError::Damaged`] where the file cannot be read.
    pub fn metered(
        &self,
        filter: &UsageFilter,
        before: Option<u64>,
        limit: u32,
    ) -> Result<Vec<MeteredRow>, JournalError> {
        list(&self.conn(), filter, before, limit)
    }
}

/// The column that usage is summed by.
const fn column(by: UsageBy) -> &'static str {
    match by {
        UsageBy::Group => "group_name",
        other => other.as_str(),
    }
}

/// The condition of `filter` over the table, with its values from the first parameter on.
fn condition(filter: &UsageFilter) -> (String, Vec<Value>) {
    let time = |at: Option<Timestamp>| at.map(|at| Value::from(chain::to_sql(at.as_nanos())));
    let name =
        |name: &Option<Name>| name.as_ref().map(|name| Value::from(name.as_str().to_owned()));
    let mut values = Vec::new();
    let mut sql = "1".to_owned();
    for (test, value) in [
        ("usage.at_ns >=", time(filter.since)),
        ("usage.at_ns <", time(filter.until)),
        ("usage.agent =", name(&filter.agent)),
        ("usage.group_name =", name(&filter.group)),
        ("usage.provider =", name(&filter.provider)),
    ] {
        if let Some(value) = value {
            values.push(value);
            sql.push_str(&format!(" AND {test} ?{}", values.len()));
        }
    }
    (sql, values)
}

pub(super) fn sum(
    conn: &Connection,
    by: UsageBy,
    filter: &UsageFilter,
) -> Result<Vec<UsageRow>, JournalError> {
    let (wanted, values) = condition(filter);
    // Grouped by price as well and summed here: amounts may be wider than what SQLite adds up.
    let sql = format!(
        "SELECT coalesce({}, '') AS who, side, network, asset, amount, count(*) AS calls,
                sum(input_units) AS input_units, sum(output_units) AS output_units,
                sum(bytes) AS bytes, sum(compute_ms) AS compute_ms,
                sum(stored_bytes) AS stored_bytes
         FROM usage WHERE {wanted} GROUP BY 1, 2, 3, 4, 5",
        column(by)
    );
    let read = |row: &Row<'_>| {
        let calls = count(row, "calls")?;
        let SqlAmount(each) = row.get("amount")?;
        Ok(UsageRow {
            who: row.get("who")?,
            side: row.get("side")?,
            network: row.get("network")?,
            asset: row.get("asset")?,
            calls,
            input_units: count(row, "input_units")?,
            output_units: count(row, "output_units")?,
            bytes: count(row, "bytes")?,
            compute_ms: count(row, "compute_ms")?,
            stored_bytes: count(row, "stored_bytes")?,
            amount: each.checked_mul(u128::from(calls)).unwrap_or(Amount::MAX),
        })
    };
    let parts: Vec<UsageRow> = conn
        .prepare_cached(&sql)
        .and_then(|mut select| select.query_map(params_from_iter(values), read)?.collect())
        .map_err(|e| chain::damaged(0, &e))?;
    let mut sums: BTreeMap<[String; 4], UsageRow> = BTreeMap::new();
    for part in parts {
        let key = [&part.who, &part.side, &part.network, &part.asset].map(String::clone);
        match sums.entry(key) {
            Entry::Vacant(entry) => {
                entry.insert(part);
            }
            Entry::Occupied(mut entry) => add(entry.get_mut(), &part),
        }
    }
    let mut rows: Vec<UsageRow> = sums.into_values().collect();
    // Among equals the order of the names stays.
    rows.sort_by_key(|row| std::cmp::Reverse(row.calls));
    rows.truncate(usize::try_from(PAGE_MAX).unwrap_or(usize::MAX));
    Ok(rows)
}

fn add(sum: &mut UsageRow, part: &UsageRow) {
    let counts = [
        (&mut sum.calls, part.calls),
        (&mut sum.input_units, part.input_units),
        (&mut sum.output_units, part.output_units),
        (&mut sum.bytes, part.bytes),
        (&mut sum.compute_ms, part.compute_ms),
        (&mut sum.stored_bytes, part.stored_bytes),
    ];
    for (sum, part) in counts {
        *sum = sum.saturating_add(part);
    }
    sum.amount = sum.amount.checked_add(part.amount).unwrap_or(Amount::MAX);
}

fn list(
    conn: &Connection,
    filter: &UsageFilter,
    before: Option<u64>,
    limit: u32,
) -> Result<Vec<MeteredRow>, JournalError> {
    let (wanted, values) = condition(filter);
    let before = chain::to_sql(before.unwrap_or(u64::MAX));
    let limit = limit.min(PAGE_MAX);
    // What a call was paid by may be known only later, and is the payment's then.
    let sql = format!(
        "SELECT usage.seq, usage.at, side, usage.agent, usage.group_name, usage.request,
                usage.payment, usage.provider, usage.description, input_units, output_units, bytes,
                compute_ms, stored_bytes, usage.network, usage.asset, usage.amount,
                coalesce(usage.transaction_hash, '0x' || lower(hex(r.transaction_hash)))
                    AS transaction_hash
         FROM usage LEFT JOIN payment_rows AS r
             ON side = 'bought' AND r.payment = unhex(substr(usage.payment, 5))
                AND r.transaction_hash IS NOT NULL
         WHERE {wanted} AND usage.seq < {before} ORDER BY usage.seq DESC LIMIT {limit}"
    );
    let read = |row: &Row<'_>| {
        Ok(MeteredRow {
            seq: count(row, "seq")?,
            at: row.get("at")?,
            side: row.get("side")?,
            agent: row.get("agent")?,
            group: row.get("group_name")?,
            request: row.get("request")?,
            payment: row.get("payment")?,
            provider: row.get("provider")?,
            description: row.get("description")?,
            input_units: count(row, "input_units")?,
            output_units: count(row, "output_units")?,
            bytes: count(row, "bytes")?,
            compute_ms: count(row, "compute_ms")?,
            stored_bytes: count(row, "stored_bytes")?,
            network: row.get("network")?,
            asset: row.get("asset")?,
            amount: row.get("amount").map(|SqlAmount(amount)| amount)?,
            transaction: row.get("transaction_hash")?,
        })
    };
    conn.prepare_cached(&sql)
        .and_then(|mut select| select.query_map(params_from_iter(values), read)?.collect())
        .map_err(|e| chain::damaged(0, &e))
}

fn count(row: &Row<'_>, column: &str) -> rusqlite::Result<u64> {
    row.get(column).map(chain::from_sql)
}
