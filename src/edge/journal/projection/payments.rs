//! Payments: the payer's side, from the hold to its end.

use rusqlite::types::Type;
use rusqlite::{OptionalExtension, Row, Transaction, params};

use super::values::{SqlAmount, lower};
use super::{Place, budgets, fleet, run};
use crate::domain::asset::Asset;
use crate::domain::id::{AgentId, Name, PaymentId};
use crate::domain::ledger::Event;
use crate::domain::ledger::budget::Seat;
use crate::domain::ledger::channel::Turn;
use crate::domain::ledger::hold::{CaptureProof, Held};
use crate::domain::money::{Amount, Money, Nano};
use crate::domain::time::Timestamp;
use crate::edge::journal::chain::{from_sql, to_sql};

/// Who spends, by name.
pub(super) struct Spender {
    pub(super) agent: String,
    pub(super) role: Option<Name>,
    pub(super) group: Option<Name>,
}

/// What an open payment is remembered by.
struct Open {
    wallet_id: String,
    nano: Nano,
    seats: Vec<Seat>,
}

pub(super) fn apply(tx: &Transaction<'_>, place: Place<'_>, event: &Event) -> rusqlite::Result<()> {
    match event {
        Event::Held(held) => hold(tx, place, held),
        Event::Doubted { payment } => set_state(tx, *payment, "unknown", None),
        Event::Captured { payment, amount, nano, transaction, proof, held } => {
            let Some(open) = find_open(tx, *payment)? else { return Ok(()) };
            budgets::capture(tx, &open.seats, open.nano, *nano)?;
            let paid = Money { amount: *amount, asset: held.asset };
            fleet::capture(tx, &open.wallet_id, *held, paid)?;
            let (state, verified_at) = match proof {
                CaptureProof::Receipt => ("captured", None),
                CaptureProof::Chain(_) => ("settled", Some(place.now)),
            };
            run(
                tx,
                "UPDATE payments SET state = ?2, amount = ?3, spent_nano = ?4,
                 transaction_hash = ?5, ended_at = ?6, verified_at = ?7 WHERE payment = ?1",
                params![
                    payment.to_string(),
                    state,
                    SqlAmount(*amount),
                    to_sql(nano.get()),
                    transaction.to_string(),
                    place.now,
                    verified_at,
                ],
            )?;
            match proof {
                CaptureProof::Receipt => set_hold_state(tx, *payment, state),
                CaptureProof::Chain(_) => close(tx, *payment),
            }
        }
        Event::PaymentVerified { payment, transaction, .. } => {
            run(
                tx,
                "UPDATE payments SET state = 'settled', transaction_hash = ?2, verified_at = ?3
                 WHERE payment = ?1",
                params![payment.to_string(), transaction.to_string(), place.now],
            )?;
            close(tx, *payment)
        }
        Event::Voided { payment, held, .. } => give_back(tx, place, *payment, *held, "void"),
        Event::Expired { payment, held, .. } => give_back(tx, place, *payment, *held, "expired"),
        Event::CaptureReversed { payment, captured, nano, .. } => {
            let Some(open) = find_open(tx, *payment)? else { return Ok(()) };
            budgets::reverse(tx, &open.seats, *nano)?;
            fleet::reverse(tx, &open.wallet_id, *captured)?;
            set_state(tx, *payment, "reversed", Some(place.now))?;
            close(tx, *payment)
        }
        _ => unreachable!("the projection passes payments' events only"),
    }
}

fn hold(tx: &Transaction<'_>, place: Place<'_>, held: &Held) -> rusqlite::Result<()> {
    draw(tx, place, held)?;
    let commitment = &held.commitment;
    fleet::hold(tx, &held.wallet.to_string(), commitment.asset, commitment.amount_max)
}

/// A payment whose money lies in a channel: it counts in budgets only.
pub(super) fn draw(tx: &Transaction<'_>, place: Place<'_>, held: &Held) -> rusqlite::Result<()> {
    let spender = find_spender(tx, held.agent)?;
    let commitment = &held.commitment;
    let asset = commitment.asset;
    run(
        tx,
        "INSERT INTO payments (seq, payment, agent, role, group_name, session, request, attempt,
            provider, capability, model, description, state, scheme, network, asset,
            from_address, to_address, amount_held, held_nano, nonce, policy_version, held_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, 'signable', ?13, ?14, ?15,
            ?16, ?17, ?18, ?19, ?20, ?21, ?22)",
        params![
            to_sql(place.seq),
            held.payment.to_string(),
            spender.agent,
            spender.role.as_ref().map(Name::as_str),
            spender.group.as_ref().map(Name::as_str),
            held.session.as_ref().map(Name::as_str),
            held.request.to_string(),
            held.attempt,
            held.provider.as_str(),
            held.capability.as_str(),
            held.model.as_str(),
            describe(&held.capability, &held.model, &held.provider),
            commitment.scheme.as_str(),
            asset.network.to_string(),
            lower(&asset.contract),
            lower(&commitment.payer),
            lower(&commitment.pay_to),
            SqlAmount(commitment.amount_max),
            to_sql(held.nano.get()),
            commitment.nonce.to_string(),
            held.policy_version,
            place.now,
        ],
    )?;
    open(tx, place, held, &spender.agent)?;
    budgets::hold(tx, place.at, held, &spender)
}

/// What a voucher, a charge or a claim took and gave back of a payment's part of a channel.
pub(super) fn turn(tx: &Transaction<'_>, place: Place<'_>, turn: &Turn) -> rusqlite::Result<()> {
    let Some(open) = find_open(tx, turn.payment)? else { return Ok(()) };
    let given = turn.taken_nano.checked_add(turn.freed_nano).unwrap_or(open.nano);
    budgets::capture(tx, &open.seats, given, turn.taken_nano)?;
    let payment = turn.payment.to_string();
    let (amount, spent): (Option<SqlAmount>, Option<i64>) = tx
        .prepare_cached("SELECT amount, spent_nano FROM payments WHERE payment = ?1")?
        .query_row([&payment], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let before = amount.map_or(Amount::ZERO, |SqlAmount(amount)| amount);
    let amount = before.checked_add(turn.taken).unwrap_or(before);
    let spent = spent.unwrap_or(0).saturating_add(to_sql(turn.taken_nano.get()));
    let state = if amount.is_zero() && turn.ended { "void" } else { "charged" };
    run(
        tx,
        "UPDATE payments SET state = ?2, amount = ?3, spent_nano = ?4, ended_at = ?5
         WHERE payment = ?1",
        params![payment, state, SqlAmount(amount), spent, place.now],
    )?;
    if turn.ended {
        return close(tx, turn.payment);
    }
    run(
        tx,
        "UPDATE holds SET state = ?2, held_nano = held_nano - ?3 WHERE payment = ?1",
        params![payment, state, to_sql(given.get())],
    )
    .map(drop)
}

fn open(tx: &Transaction<'_>, place: Place<'_>, held: &Held, agent: &str) -> rusqlite::Result<()> {
    let commitment = &held.commitment;
    let seats = postcard::to_stdvec(&held.seats)
        .map_err(|e| rusqlite::Error::ToSqlConversionFailure(e.into()))?;
    run(
        tx,
        "INSERT INTO holds (payment, agent, provider, state, wallet_id, network, asset,
            amount_held, held_nano, held_at, valid_before, seats)
         VALUES (?1, ?2, ?3, 'signable', ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
        params![
            held.payment.to_string(),
            agent,
            held.provider.as_str(),
            held.wallet.to_string(),
            commitment.asset.network.to_string(),
            lower(&commitment.asset.contract),
            SqlAmount(commitment.amount_max),
            to_sql(held.nano.get()),
            place.now,
            Timestamp::from_secs(commitment.valid_before_s).to_string(),
            seats,
        ],
    )?;
    Ok(())
}

fn give_back(
    tx: &Transaction<'_>,
    place: Place<'_>,
    payment: PaymentId,
    held: Money,
    state: &str,
) -> rusqlite::Result<()> {
    let Some(open) = find_open(tx, payment)? else { return Ok(()) };
    budgets::release(tx, &open.seats, open.nano)?;
    fleet::release(tx, &open.wallet_id, held)?;
    set_state(tx, payment, state, Some(place.now))?;
    close(tx, payment)
}

fn set_state(
    tx: &Transaction<'_>,
    payment: PaymentId,
    state: &str,
    ended: Option<&str>,
) -> rusqlite::Result<()> {
    run(
        tx,
        "UPDATE payments SET state = ?2, ended_at = coalesce(?3, ended_at) WHERE payment = ?1",
        params![payment.to_string(), state, ended],
    )?;
    set_hold_state(tx, payment, state)
}

fn set_hold_state(tx: &Transaction<'_>, payment: PaymentId, state: &str) -> rusqlite::Result<()> {
    let sql = "UPDATE holds SET state = ?2 WHERE payment = ?1";
    run(tx, sql, params![payment.to_string(), state]).map(drop)
}

fn close(tx: &Transaction<'_>, payment: PaymentId) -> rusqlite::Result<()> {
    run(tx, "DELETE FROM holds WHERE payment = ?1", [payment.to_string()]).map(drop)
}

fn find_open(tx: &Transaction<'_>, payment: PaymentId) -> rusqlite::Result<Option<Open>> {
    let read = |row: &Row<'_>| {
        let seats = postcard::from_bytes(row.get_ref(2)?.as_blob()?)
            .map_err(|e| rusqlite::Error::FromSqlConversionFailure(2, Type::Blob, e.into()))?;
        let nano = Nano::new(from_sql(row.get(1)?));
        Ok(Open { wallet_id: row.get(0)?, nano, seats })
    };
    tx.prepare_cached("SELECT wallet_id, held_nano, seats FROM holds WHERE payment = ?1")?
        .query_row([payment.to_string()], read)
        .optional()
}

pub(super) fn find_spender(tx: &Transaction<'_>, agent: AgentId) -> rusqlite::Result<Spender> {
    let name = |text: String| text.parse().ok();
    let read = |row: &Row<'_>| {
        Ok(Spender { agent: row.get(0)?, role: name(row.get(1)?), group: name(row.get(2)?) })
    };
    let found = tx
        .prepare_cached("SELECT agent, role, group_name FROM agents WHERE agent_id = ?1")?
        .query_row([agent.to_string()], read)
        .optional()?;
    Ok(found.unwrap_or_else(|| Spender { agent: agent.to_string(), role: None, group: None }))
}

/// What was bought, in words.
pub(super) fn describe(capability: &Name, model: &Name, provider: &Name) -> String {
    format!("{capability} with {model} from {provider}")
}

/// An asset's two columns.
pub(super) fn asset_columns(asset: Asset) -> [String; 2] {
    [asset.network.to_string(), lower(&asset.contract)]
}

/// An amount less another; the ledger never lets it fall below nothing.
pub(super) fn less(amount: Amount, taken: Amount) -> Amount {
    amount.checked_sub(taken).unwrap_or(Amount::ZERO)
}
