//! What is remembered beside the ledger: decisions, the newest of them, and answers for a day. Best
//! effort: nothing here is synced, and nothing a payment needs to be right.

use async_trait::async_trait;
use bytes::Bytes;
use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension, Row, TransactionBehavior, params};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::chain::{damaged, to_sql};
use super::inbox::{Answered, Job};
use super::store::{Options, Store};
use crate::domain::id::PaymentId;
use crate::domain::time::Timestamp;
use crate::ports::archive::{ANSWER_LEN_MAX, AnswerKey, Archive, Decision, KeptAnswer};

/// Rows that one clearing removes: what one step takes.
const CLEARED_MAX: u32 = 32;

#[async_trait]
impl Archive for Store {
    fn note(&self, decision: Decision) {
        self.inner.feed.note(decision);
    }

    async fn keep_answer(&self, key: AnswerKey, answer: KeptAnswer, at: Timestamp) {
        let job = |done| Job::KeepAnswer(Box::new(Answered { key, answer, at, done }));
        let kept = self.keeping(job).await;
        if let Err(problem) = kept {
            tracing::warn!(error = %problem, "answer was not kept");
        }
    }

    async fn find_answer(&self, key: AnswerKey) -> Option<KeptAnswer> {
        let found =
            self.reading(move |conn| find_answer(conn, key).map_err(|e| damaged(0, &e))).await;
        found.unwrap_or_else(|problem| {
            tracing::warn!(error = %problem, "answer was not read");
            None
        })
    }

    async fn find_decision(&self, payment: PaymentId) -> Option<Decision> {
        let look =
            || self.reading(move |conn| find_decision(conn, payment).map_err(|e| damaged(0, &e)));
        let found = match look().await {
            // What was noted a moment ago may still be on its way: whoever was refused may ask at once.
            Ok(None) => match self.catch_up().await {
                Ok(_) => look().await,
                Err(problem) => Err(problem),
            },
            found => found,
        };
        found.unwrap_or_else(|problem| {
            tracing::warn!(error = %problem, "decision was not read");
            None
        })
    }
}

/// Writes decisions in one transaction and drops all but the newest.
pub(super) fn keep_decisions(
    conn: &mut Connection,
    decisions: impl IntoIterator<Item = Decision>,
    options: &Options,
) -> rusqlite::Result<()> {
    let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
    {
        let mut insert = tx.prepare_cached(
            "INSERT OR REPLACE INTO decisions
             (no, payment, agent, request, at, policy_version, refused, reason, decision)
             VALUES ((SELECT coalesce(max(no), 0) + 1 FROM decisions), ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        )?;
        for decision in decisions {
            insert.execute(params![
                decision.payment.to_string(),
                decision.agent.to_string(),
                decision.request.to_string(),
                decision.at.to_string(),
                decision.policy_version,
                decision.refused,
                decision.reason,
                to_json(&decision)?,
            ])?;
        }
        tx.prepare_cached(
            "DELETE FROM decisions WHERE no <= (SELECT max(no) FROM decisions) - ?1",
        )?
        .execute([options.decisions_max])?;
    }
    tx.commit()
}

/// Writes answers in one transaction, without their bytes where they are too many.
pub(super) fn keep_answers<'a>(
    conn: &mut Connection,
    answers: impl IntoIterator<Item = &'a Answered>,
) -> rusqlite::Result<()> {
    let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
    for Answered { key, answer, at, .. } in answers {
        let body = answer.body.as_deref().filter(|body| body.len() <= ANSWER_LEN_MAX);
        tx.prepare_cached(
            "INSERT OR REPLACE INTO answers
             (answer, at_ns, at, content_type, model, usage, receipt, body, charge)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
        )?
        .execute(params![
            answer_name(*key),
            to_sql(at.as_nanos()),
            at.to_string(),
            answer.content_type,
            answer.model,
            to_json(&answer.usage)?,
            answer.receipt.as_ref().map(to_json).transpose()?,
            body,
            answer.charge.as_ref().map(to_json).transpose()?,
        ])?;
    }
    tx.commit()
}

/// Drops the bytes of answers older than a day, and answers whose requests are no longer remembered.
/// Returns whether there may be more of them.
pub(super) fn clear_answers(
    conn: &mut Connection,
    now: Timestamp,
    options: &Options,
) -> rusqlite::Result<bool> {
    let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let bodies = tx
        .prepare_cached(
            "UPDATE answers SET body = NULL WHERE answer IN
             (SELECT answer FROM answers WHERE body IS NOT NULL AND at_ns < ?1 LIMIT ?2)",
        )?
        .execute(params![to_sql(now.before(options.answers_kept).as_nanos()), CLEARED_MAX])?;
    let rows = tx
        .prepare_cached(
            "DELETE FROM answers WHERE answer IN
             (SELECT answer FROM answers WHERE at_ns < ?1 LIMIT ?2)",
        )?
        .execute(params![to_sql(now.before(options.receipts_kept).as_nanos()), CLEARED_MAX])?;
    tx.commit()?;
    Ok(bodies > 0 || rows > 0)
}

fn find_answer(conn: &Connection, key: AnswerKey) -> rusqlite::Result<Option<KeptAnswer>> {
    conn.prepare_cached(
        "SELECT content_type, model, usage, receipt, body, charge FROM answers WHERE answer = ?1",
    )?
    .query_row([answer_name(key)], |row| {
        let receipt: Option<String> = row.get(3)?;
        let body: Option<Vec<u8>> = row.get(4)?;
        let charge: Option<String> = row.get(5)?;
        Ok(KeptAnswer {
            content_type: row.get(0)?,
            model: row.get(1)?,
            usage: from_json(&row.get::<_, String>(2)?, 2)?,
            receipt: receipt.map(|json| from_json(&json, 3)).transpose()?,
            body: body.map(Bytes::from),
            charge: charge.map(|json| from_json(&json, 5)).transpose()?,
        })
    })
    .optional()
}

/// The decision about `payment`, while it is among the newest.
pub(super) fn find_decision(
    conn: &Connection,
    payment: PaymentId,
) -> rusqlite::Result<Option<Decision>> {
    conn.prepare_cached("SELECT decision FROM decisions WHERE payment = ?1")?
        .query_row([payment.to_string()], |row: &Row<'_>| from_json(&row.get::<_, String>(0)?, 0))
        .optional()
}

fn answer_name(key: AnswerKey) -> String {
    match key {
        AnswerKey::Bought(payment) => format!("bought/{payment}"),
        AnswerKey::Sold(paid) => format!("sold/{}/{}/{}", paid.asset, paid.payer, paid.nonce),
    }
}

fn to_json<T: Serialize>(value: &T) -> rusqlite::Result<String> {
    serde_json::to_string(value).map_err(|e| rusqlite::Error::ToSqlConversionFailure(e.into()))
}

fn from_json<T: DeserializeOwned>(json: &str, column: usize) -> rusqlite::Result<T> {
    serde_json::from_str(json)
        .map_err(|e| rusqlite::Error::FromSqlConversionFailure(column, Type::Text, e.into()))
}
