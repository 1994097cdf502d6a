//! Claims: the payee's side.

use rusqlite::{Transaction, params};

use super::payments::describe;
use super::values::{SqlAmount, lower};
use super::{Place, run};
use crate::domain::commitment::AuthorizationKey;
use crate::domain::ledger::Event;
use crate::domain::ledger::claim::{Accepted, Delivery};
use crate::domain::ledger::grants::Grant;
use crate::edge::journal::chain::to_sql;

pub(super) fn apply(tx: &Transaction<'_>, place: Place<'_>, event: &Event) -> rusqlite::Result<()> {
    match event {
        Event::Accepted(accepted) => accept(tx, place, accepted),
        Event::ClaimCharged { claim, amount } => {
            set(tx, claim, "state = 'charged', amount = ?5", &[&SqlAmount(*amount)])
        }
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
        Event::Served { claim, delivery, .. } => deliver(tx, place, claim, delivery, "served"),
        Event::ServedOnCredit { claim, delivery, .. } => {
            deliver(tx, place, claim, delivery, "credited")
        }
        Event::CreditPaid { claim, transaction, .. } => set(
            tx,
            claim,
            "state = 'served', transaction_hash = ?5, settled_at = ?6, lost = NULL",
            &[&transaction.to_string(), &place.now],
        ),
        Event::ClaimReleased { claim } => {
            set(tx, claim, "state = 'released', ended_at = ?5", &[&place.now])
        }
        Event::ClaimDied { claim, loss } => set(
            tx,
            claim,
            "state = iif(state = 'credited', 'lost', 'dead'), ended_at = ?5, lost = ?6",
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

fn deliver(
    tx: &Transaction<'_>,
    place: Place<'_>,
    claim: &AuthorizationKey,
    delivery: &Delivery,
    state: &str,
) -> rusqlite::Result<()> {
    set(
        tx,
        claim,
        "state = ?5, ended_at = ?6, input_units = ?7, output_units = ?8, answer_bytes = ?9,
         compute_ms = ?10",
        &[
            &state,
            &place.now,
            &to_sql(delivery.usage.input.0),
            &to_sql(delivery.usage.output.0),
            &to_sql(delivery.usage.bytes),
            &to_sql(delivery.usage.compute_ms),
        ],
    )
}

/// A call that is given away; that it was served is in the usage.
pub(super) fn grant(tx: &Transaction<'_>, place: Place<'_>, grant: &Grant) -> rusqlite::Result<()> {
    run(
        tx,
        "INSERT INTO grants (seq, granted_at, payer, payment, order_digest, peer, provider,
            capability, model)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
        params![
            to_sql(place.seq),
            place.now,
            lower(&grant.payer),
            grant.payment.to_string(),
            grant.order.to_string(),
            grant.peer.map(|peer| peer.to_string()),
            grant.provider.as_str(),
            grant.capability.as_str(),
            grant.model.as_str(),
        ],
    )
    .map(drop)
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
         WHERE nonce = ?1 AND from_address = ?2 AND asset = ?3 AND network = ?4
            AND instr(nonce, '/') = 0"
    );
    let key = [
        claim.nonce.to_string(),
        lower(&claim.payer),
        lower(&claim.asset.contract),
        claim.asset.network.to_string(),
    ];
    let mut all: Vec<&dyn rusqlite::ToSql> = Vec::with_capacity(10);
    key.iter().for_each(|part| all.push(part));
    all.extend_from_slice(values);
    run(tx, &sql, all.as_slice()).map(drop)
}
