//! The payments of the readable tables, for who asks over a door. Reads only.

use async_trait::async_trait;
use rusqlite::types::Type;
use rusqlite::{OptionalExtension, Row, params_from_iter};

use super::chain::{damaged, from_sql};
use super::projection::values::SqlAmount;
use super::store::Store;
use super::usage;
use super::views::PAYMENTS;
use crate::domain::asset::Asset;
use crate::domain::id::PaymentId;
use crate::domain::money::{Amount, Nano};
use crate::domain::time::Timestamp;
use crate::ports::history::{History, Look, PastPayment, PaymentState};
use crate::ports::journal::JournalError;
use crate::ports::usage::{UsageBy, UsageFilter, UsageRow};

#[async_trait]
impl History for Store {
    async fn find_payment(&self, payment: PaymentId) -> Result<Option<PastPayment>, JournalError> {
        self.catch_up().await?;
        self.reading(move |conn| {
            conn.prepare_cached(&format!("{PAYMENTS} WHERE r.payment = ?1"))
                .and_then(|mut found| found.query_row([payment.as_bytes()], read).optional())
                .map_err(|error| damaged(0, &error))
        })
        .await
    }

    async fn list_payments(&self, look: Look) -> Result<Vec<PastPayment>, JournalError> {
        self.catch_up().await?;
        self.reading(move |conn| {
            let (sql, values) = statement(&look);
            conn.prepare(&sql)
                .and_then(|mut found| {
                    found.query_map(params_from_iter(values), read)?.collect::<Result<_, _>>()
                })
                .map_err(|error| damaged(0, &error))
        })
        .await
    }

    async fn usage(&self, by: UsageBy, filter: UsageFilter) -> Result<Vec<UsageRow>, JournalError> {
        self.catch_up().await?;
        self.reading(move |conn| usage::sum(conn, by, &filter)).await
    }
}

/// The statement and its values: nothing of the caller's is ever part of the text.
fn statement(look: &Look) -> (String, Vec<String>) {
    let mut values = Vec::new();
    let mut wanted = Vec::new();
    if let Some(agents) = &look.agents {
        let marks = vec!["?"; agents.len()].join(", ");
        wanted.push(format!("r.agent IN (SELECT no FROM words WHERE word IN ({marks}))"));
        values.extend(agents.iter().map(ToString::to_string));
    }
    if let Some(state) = look.state {
        wanted.push("r.state = ?".to_owned());
        values.push(word(state).to_owned());
    }
    if let Some(before) = look.before {
        wanted.push("seq < CAST(? AS INTEGER)".to_owned());
        values.push(before.to_string());
    }
    let filter =
        if wanted.is_empty() { String::new() } else { format!(" WHERE {}", wanted.join(" AND ")) };
    (format!("{PAYMENTS}{filter} ORDER BY seq DESC LIMIT {}", look.limit), values)
}

const fn word(state: PaymentState) -> &'static str {
    match state {
        PaymentState::Signable => "signable",
        PaymentState::Unknown => "unknown",
        PaymentState::Captured => "captured",
        PaymentState::Settled => "settled",
        PaymentState::Void => "void",
        PaymentState::Expired => "expired",
        PaymentState::Reversed => "reversed",
        PaymentState::Charged => "charged",
    }
}

fn state(text: &str) -> Option<PaymentState> {
    let all = [
        PaymentState::Signable,
        PaymentState::Unknown,
        PaymentState::Captured,
        PaymentState::Settled,
        PaymentState::Void,
        PaymentState::Expired,
        PaymentState::Reversed,
        PaymentState::Charged,
    ];
    all.into_iter().find(|state| word(*state) == text)
}

fn read(row: &Row<'_>) -> rusqlite::Result<PastPayment> {
    let nano = |column: &str| {
        Ok::<_, rusqlite::Error>(row.get::<_, Option<i64>>(column)?.map(from_sql).map(Nano::new))
    };
    let amount = |column: &str| {
        Ok::<_, rusqlite::Error>(row.get::<_, Option<SqlAmount>>(column)?.map(|amount| amount.0))
    };
    let network = text(row, "network", |text| text.parse().ok())?;
    Ok(PastPayment {
        seq: from_sql(row.get("seq")?),
        payment: text(row, "payment", |text| text.parse().ok())?,
        state: text(row, "state", state)?,
        agent: text(row, "agent", |text| text.parse().ok())?,
        request: text(row, "request", |text| text.parse().ok())?,
        attempt: row.get("attempt")?,
        session: some_text(row, "session", |text| text.parse().ok())?,
        provider: text(row, "provider", |text| text.parse().ok())?,
        capability: text(row, "capability", |text| text.parse().ok())?,
        model: text(row, "model", |text| text.parse().ok())?,
        asset: Asset { network, contract: text(row, "asset", |text| text.parse().ok())? },
        amount_held: amount("amount_held")?.unwrap_or(Amount::ZERO),
        amount_captured: amount("amount")?,
        nano_held: nano("held_nano")?.unwrap_or(Nano::ZERO),
        nano_captured: nano("spent_nano")?,
        transaction: some_text(row, "transaction_hash", |text| text.parse().ok())?,
        held_at: text(row, "held_at", time)?,
        ended_at: some_text(row, "ended_at", time)?,
    })
}

fn time(text: &str) -> Option<Timestamp> {
    let millis = text.parse::<jiff::Timestamp>().ok()?.as_millisecond();
    u64::try_from(millis).ok().map(Timestamp::from_millis)
}

fn text<T>(row: &Row<'_>, column: &str, parse: impl Fn(&str) -> Option<T>) -> rusqlite::Result<T> {
    some_text(row, column, parse)?.ok_or_else(|| wrong(column))
}

fn some_text<T>(
    row: &Row<'_>,
    column: &str,
    parse: impl Fn(&str) -> Option<T>,
) -> rusqlite::Result<Option<T>> {
    let found: Option<String> = row.get(column)?;
    found.map(|text| parse(&text).ok_or_else(|| wrong(column))).transpose()
}

fn wrong(column: &str) -> rusqlite::Error {
    let problem = format!("{column} does not read");
    rusqlite::Error::FromSqlConversionFailure(0, Type::Text, problem.into())
}
