//! What is remembered beside the ledger: decisions, the newest of them, and answers for a day. Best
//! effort: nothing here is synced, and nothing a payment needs to be right.

use async_trait::async_trait;
use bytes::Bytes;
use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension, Row, TransactionBehavior, params};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::chain::{damaged, to_sql};
use super::inbox::{Answered, Job};
use super::store::{Options, Store};
use crate::domain::id::PaymentId;
use crate::domain::order::Usage;
use crate::domain::time::Timestamp;
use crate::ports::archive::{ANSWER_LEN_MAX, AnswerKey, Archive, Decision, KeptAnswer, KeptCharge};

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

/// What is kept of an answer beside its text and its receipt.
#[derive(Serialize, Deserialize)]
struct Rest {
    usage: Usage,
    charge: Option<KeptCharge>,
}

/// Writes answers in one transaction, without their bytes where they are too many.
pub(super) fn keep_answers<'a>(
    conn: &mut Connection,
    answers: impl IntoIterator<Item = &'a Answered>,
) -> rusqlite::Result<()> {
    let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
    {
        let mut insert = tx.prepare_cached(
            "INSERT INTO answers (answer, at_ns, content_type, model, rest, receipt)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)
             ON CONFLICT (answer) DO UPDATE SET at_ns = excluded.at_ns,
                content_type = excluded.content_type, model = excluded.model,
                rest = excluded.rest, receipt = excluded.receipt
             RETURNING no",
        )?;
        let mut insert_body =
            tx.prepare_cached("INSERT OR REPLACE INTO answer_bodies (no, body) VALUES (?1, ?2)")?;
        for Answered { key, answer, at, .. } in answers {
            let rest = Rest { usage: answer.usage, charge: answer.charge.clone() };
            let no: i64 = insert.query_row(
                params![
                    digest(*key)?,
                    to_sql(at.as_nanos()),
                    answer.content_type,
                    answer.model,
                    to_postcard(&rest)?,
                    answer.receipt.as_ref().map(to_json).transpose()?,
                ],
                |row| row.get(0),
            )?;
            match answer.body.as_deref().filter(|body| body.len() <= ANSWER_LEN_MAX) {
                Some(body) => insert_body.execute(params![no, body])?,
                None => {
                    tx.prepare_cached("DELETE FROM answer_bodies WHERE no = ?1")?.execute([no])?
                }
            };
        }
    }
    tx.commit()
}

/// Drops the bytes of answers older than a day, and answers whose requests are no longer remembered:
/// those that came first. Returns whether there may be more of them.
pub(super) fn clear_answers(
    conn: &mut Connection,
    now: Timestamp,
    options: &Options,
) -> rusqlite::Result<bool> {
    let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let bodies = tx
        .prepare_cached(
            "DELETE FROM answer_bodies WHERE no IN
             (SELECT no FROM (SELECT no FROM answer_bodies ORDER BY no LIMIT ?2)
              LEFT JOIN answers USING (no) WHERE at_ns IS NULL OR at_ns < ?1)",
        )?
        .execute(params![to_sql(now.before(options.answers_kept).as_nanos()), CLEARED_MAX])?;
    let rows = tx
        .prepare_cached(
            "DELETE FROM answers WHERE no IN
             (SELECT no FROM (SELECT no, at_ns FROM answers ORDER BY no LIMIT ?2)
              WHERE at_ns < ?1)",
        )?
        .execute(params![to_sql(now.before(options.receipts_kept).as_nanos()), CLEARED_MAX])?;
    tx.commit()?;
    Ok(bodies > 0 || rows > 0)
}

fn find_answer(conn: &Connection, key: AnswerKey) -> rusqlite::Result<Option<KeptAnswer>> {
    conn.prepare_cached(
        "SELECT content_type, model, rest, receipt, body
         FROM answers LEFT JOIN answer_bodies USING (no) WHERE answer = ?1",
    )?
    .query_row([digest(key)?], |row| {
        let rest: Vec<u8> = row.get(2)?;
        let Rest { usage, charge } = from_postcard(&rest, 2)?;
        let receipt: Option<String> = row.get(3)?;
        let body: Option<Vec<u8>> = row.get(4)?;
        Ok(KeptAnswer {
            content_type: row.get(0)?,
            model: row.get(1)?,
            usage,
            receipt: receipt.map(|json| from_json(&json, 3)).transpose()?,
            body: body.map(Bytes::from),
            charge,
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

/// Whose an answer is, in few bytes: it is looked for by nothing else.
fn digest(key: AnswerKey) -> rusqlite::Result<[u8; 32]> {
    Ok(Sha256::digest(to_postcard(&key)?).into())
}

fn to_postcard<T: Serialize>(value: &T) -> rusqlite::Result<Vec<u8>> {
    postcard::to_stdvec(value).map_err(|e| rusqlite::Error::ToSqlConversionFailure(e.into()))
}

fn from_postcard<T: DeserializeOwned>(bytes: &[u8], column: usize) -> rusqlite::Result<T> {
    postcard::from_bytes(bytes)
        .map_err(|e| rusqlite::Error::FromSqlConversionFailure(column, Type::Blob, e.into()))
}

fn to_json<T: Serialize>(value: &T) -> rusqlite::Result<String> {
    serde_json::to_string(value).map_err(|e| rusqlite::Error::ToSqlConversionFailure(e.into()))
}

fn from_json<T: DeserializeOwned>(json: &str, column: usize) -> rusqlite::Result<T> {
    serde_json::from_str(json)
        .map_err(|e| rusqlite::Error::FromSqlConversionFailure(column, Type::Text, e.into()))
}
