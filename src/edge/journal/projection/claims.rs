//! Claims: the payee's side.

use rusqlite::{Transaction, params};

use super::payments::describe;
use super::values::{SqlAmount, lower};
use super::{Place, run};
use crate::domain::commitment::AuthorizationKey;
use crate::domain::ledger::Event;
use crate::domain::ledger::claim::Accepted;
use crate::edge::journal::chain::to_sql;

pub(super) fn apply(tx: &Transaction<'_>, place: Place<'_>, event: &Event) -> rusqlite::Result<()> {
    match event {
        Event::Accepted(accepted) => accept(tx, place, accepted),
        Event::ClaimDoubted { claim, transaction } => set(
            tx,
            claim,
            "state = 'unknown', transaction_hash = coalesce(?5, transaction_hash)",
            &[&transaction.map(|hash| hash.to_string())],
        ),
        Event::ClaimSettled { claim, transaction, .. } => set(
            tx,
            claim,
            "state = 'due', transaction_hash = ?5, settled_at = ?6",
            &[&transaction.to_string(), &place.now],
        ),
        Event::Served { claim, delivery, .. } => set(
            tx,
            claim,
            "state = 'served', ended_at = ?5, input_units = ?6, output_units = ?7,
             answer_bytes = ?8, compute_ms = ?9",
            &[
                &place.now,
                &to_sql(delivery.usage.input.0),
                &to_sql(delivery.usage.output.0),
                &to_sql(delivery.usage.bytes),
                &to_sql(delivery.usage.compute_ms),
            ],
        ),
        Event::ClaimReleased { claim } => {
            set(tx, claim, "state = 'released', ended_at = ?5", &[&place.now])
        }
        Event::ClaimDied { claim, loss } => set(
            tx,
            claim,
            "state = 'dead', ended_at = ?5, lost = ?6",
            &[&place.now, &SqlAmount(*loss)],
        ),
        Event::RefundBegun { claim } => set(tx, claim, "state = 'refunding'", &[]),
        Event::Refunded { claim, transaction, .. } => set(
            tx,
            claim,
            "state = 'refunded', ended_at = ?5, refund_hash = ?6",
            &[&place.now, &transaction.to_string()],
        ),
        _ => unreachable!("the projection passes claims' events only"),
    }
}

fn accept(tx: &Transaction<'_>, place: Place<'_>, accepted: &Accepted) -> rusqlite::Result<()> {
    let commitment = &accepted.commitment;
    // A released claim may be bound again: its row begins anew.
    run(
        tx,
        "INSERT OR REPLACE INTO claims (seq, nonce, network, asset, from_address, to_address,
            amount, payment, provider, capability, model, description, state, accepted_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, 'accepted', ?13)",
        params![
            to_sql(place.seq),
            commitment.nonce.to_string(),
            commitment.asset.network.to_string(),
            lower(&commitment.asset.contract),
            lower(&commitment.payer),
            lower(&commitment.pay_to),
            SqlAmount(accepted.amount),
            accepted.payment.map(|payment| payment.to_string()),
            accepted.provider.as_str(),
            accepted.capability.as_str(),
            accepted.model.as_str(),
            describe(&accepted.capability, &accepted.model, &accepted.provider),
            place.now,
        ],
    )?;
    Ok(())
}

fn set(
    tx: &Transaction<'_>,
    claim: &AuthorizationKey,
    set: &str,
    values: &[&dyn rusqlite::ToSql],
) -> rusqlite::Result<()> {
    let sql = format!(
        "UPDATE claims SET {set}
         WHERE nonce = ?1 AND from_address = ?2 AND asset = ?3 AND network = ?4"
    );
    let key = [
        claim.nonce.to_string(),
        lower(&claim.payer),
        lower(&claim.asset.contract),
        claim.asset.network.to_string(),
    ];
    let mut all: Vec<&dyn rusqlite::ToSql> = Vec::with_capacity(9);
    key.iter().for_each(|part| all.push(part));
    all.extend_from_slice(values);
    run(tx, &sql, all.as_slice()).map(drop)
}
