//! Payments: the payer's side, from the hold to its end.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use alloy::primitives::B256;
use foldhash::fast::RandomState;
use rusqlite::types::Type;
use rusqlite::{OptionalExtension, Row, Statement, Transaction, params};

use super::Place;
use super::dictionary::Dictionary;
use super::sheet::{Sheet, Spender};
use super::values::{Pace, SqlAmount, lower};
use crate::domain::asset::Asset;
use crate::domain::id::{Name, PaymentId, WalletId};
use crate::domain::ledger::Event;
use crate::domain::ledger::budget::Seat;
use crate::domain::ledger::channel::Turn;
use crate::domain::ledger::hold::{CaptureProof, Closed, Held};
use crate::domain::money::{Amount, Money, Nano};
use crate::domain::time::Timestamp;
use crate::edge::journal::chain::{from_sql, to_sql};

/// The payments that a run of events is about.
#[derive(Default)]
pub(super) struct Payments {
    /// Where each is among the rows.
    places: HashMap<PaymentId, i64, RandomState>,
    rows: BTreeMap<i64, Payment>,
}

struct Payment {
    /// What the row is made of, while it is not yet in the table.
    new: Option<New>,
    /// What an open one is remembered by.
    open: Option<Open>,
    outcome: Outcome,
    /// What is held of it anew, where that has changed.
    extended: Option<Arc<Held>>,
}

struct New {
    held: Arc<Held>,
    spender: Arc<Spender>,
    at: Timestamp,
}

#[derive(Clone)]
struct Open {
    wallet: WalletId,
    nano: Nano,
    seats: Vec<Seat>,
}

/// The columns that change after the hold.
struct Outcome {
    state: Cow<'static, str>,
    amount: Option<SqlAmount>,
    spent: Option<i64>,
    transaction: Option<B256>,
    ended_at: Option<Timestamp>,
    verified_at: Option<Timestamp>,
}

pub(super) fn apply(
    sheet: &mut Sheet<'_>,
    place: Place<'_>,
    event: &Event,
) -> rusqlite::Result<()> {
    match event {
        Event::Held(held) => hold(sheet, place, held),
        Event::Doubted { payment } => set_state(sheet, *payment, "unknown"),
        Event::Captured { payment, amount, nano, transaction, proof, held } => {
            let Some(open) = find_open(sheet, *payment)? else { return Ok(()) };
            // By a receipt for less than a maximum the rest stays held.
            let in_part = matches!(proof, CaptureProof::Receipt) && held.amount == *amount;
            let freed = if in_part { *nano } else { open.nano };
            sheet.windows.capture(sheet.tx, &open.seats, freed, *nano)?;
            let paid = Money { amount: *amount, asset: held.asset };
            sheet.positions.capture(sheet.tx, open.wallet, *held, paid)?;
            let Some(row) = sheet.payments.find(sheet.tx, *payment)? else { return Ok(()) };
            row.outcome = Outcome {
                state: "captured".into(),
                amount: Some(SqlAmount(*amount)),
                spent: Some(to_sql(nano.get())),
                transaction: Some(*transaction),
                ended_at: Some(place.at),
                verified_at: None,
            };
            if matches!(proof, CaptureProof::Chain(_)) {
                row.outcome.state = "settled".into();
                row.outcome.verified_at = Some(place.at);
                row.open = None;
            }
            Ok(())
        }
        Event::PaymentVerified { payment, transaction, .. } => {
            let Some(row) = sheet.payments.find(sheet.tx, *payment)? else { return Ok(()) };
            row.outcome.state = "settled".into();
            row.outcome.transaction = Some(*transaction);
            row.outcome.verified_at = Some(place.at);
            row.open = None;
            Ok(())
        }
        Event::Voided { payment, held, .. } => give_back(sheet, place, *payment, *held, "void"),
        Event::Expired { payment, held, .. } => give_back(sheet, place, *payment, *held, "expired"),
        Event::CaptureReversed { payment, captured, nano, .. } => {
            let Some(open) = find_open(sheet, *payment)? else { return Ok(()) };
            sheet.windows.reverse(sheet.tx, &open.seats, *nano)?;
            sheet.positions.reverse(sheet.tx, open.wallet, *captured)?;
            end(sheet, place, *payment, "reversed")
        }
        Event::PaymentClosed(closed) => close(sheet, place, closed),
        _ => unreachable!("the projection passes payments' events only"),
    }
}

/// What moved, in the place of what a receipt said.
fn close(sheet: &mut Sheet<'_>, place: Place<'_>, closed: &Closed) -> rusqlite::Result<()> {
    let Some(open) = find_open(sheet, closed.payment)? else { return Ok(()) };
    let asset = closed.captured.asset;
    let money = |amount| Money { amount, asset };
    sheet.windows.reverse(sheet.tx, &open.seats, closed.captured_nano)?;
    sheet.windows.capture(sheet.tx, &open.seats, closed.rest_nano, closed.moved_nano)?;
    sheet.positions.reverse(sheet.tx, open.wallet, closed.captured)?;
    let (rest, moved) = (money(closed.rest), money(closed.moved));
    sheet.positions.capture(sheet.tx, open.wallet, rest, moved)?;
    let Some(row) = sheet.payments.find(sheet.tx, closed.payment)? else { return Ok(()) };
    row.outcome.state = if closed.is_unpaid() { "reversed" } else { "settled" }.into();
    row.outcome.amount = Some(SqlAmount(closed.moved));
    row.outcome.spent = Some(to_sql(closed.moved_nano.get()));
    if let Some(transaction) = closed.transaction {
        row.outcome.transaction = Some(transaction);
    }
    row.outcome.verified_at = Some(place.at);
    row.open = None;
    Ok(())
}

fn hold(sheet: &mut Sheet<'_>, place: Place<'_>, held: &Arc<Held>) -> rusqlite::Result<()> {
    draw(sheet, place, held)?;
    let commitment = &held.commitment;
    sheet.positions.hold(sheet.tx, held.wallet, commitment.asset, commitment.amount_max)
}

/// A payment whose money lies in a channel: it counts in budgets only.
pub(super) fn draw(
    sheet: &mut Sheet<'_>,
    place: Place<'_>,
    held: &Arc<Held>,
) -> rusqlite::Result<()> {
    let spender = sheet.spenders.find(sheet.tx, held.agent)?;
    sheet.windows.hold(sheet.tx, place.at, held, &spender)?;
    sheet.payments.insert(to_sql(place.seq), New { held: Arc::clone(held), spender, at: place.at });
    Ok(())
}

/// A payment on a channel that is held anew for more, where it counts as of now.
pub(super) fn extend(
    sheet: &mut Sheet<'_>,
    place: Place<'_>,
    held: &Arc<Held>,
    before: Nano,
) -> rusqlite::Result<()> {
    let former = find_open(sheet, held.payment)?;
    if let Some(former) = &former {
        sheet.windows.release(sheet.tx, &former.seats, before)?;
    }
    let spender = sheet.spenders.find(sheet.tx, held.agent)?;
    sheet.windows.hold(sheet.tx, place.at, held, &spender)?;
    let Some(row) = sheet.payments.find(sheet.tx, held.payment)? else { return Ok(()) };
    row.open = Some(Open { wallet: held.wallet, nano: held.nano, seats: held.seats.clone() });
    row.extended = Some(Arc::clone(held));
    Ok(())
}

/// What a voucher, a charge or a claim took and gave back of a payment's part of a channel.
pub(super) fn turn(sheet: &mut Sheet<'_>, place: Place<'_>, turn: &Turn) -> rusqlite::Result<()> {
    let Some(open) = find_open(sheet, turn.payment)? else { return Ok(()) };
    let given = turn.taken_nano.checked_add(turn.freed_nano).unwrap_or(open.nano);
    sheet.windows.capture(sheet.tx, &open.seats, given, turn.taken_nano)?;
    let Some(row) = sheet.payments.find(sheet.tx, turn.payment)? else { return Ok(()) };
    let outcome = &mut row.outcome;
    let before = outcome.amount.map_or(Amount::ZERO, |SqlAmount(amount)| amount);
    let amount = before.checked_add(turn.taken).unwrap_or(before);
    let spent = outcome.spent.unwrap_or(0).saturating_add(to_sql(turn.taken_nano.get()));
    let state = if amount.is_zero() && turn.ended { "void" } else { "charged" };
    outcome.state = state.into();
    outcome.amount = Some(SqlAmount(amount));
    outcome.spent = Some(spent);
    outcome.ended_at = Some(place.at);
    if turn.ended {
        row.open = None;
    } else if let Some(open) = &mut row.open {
        open.nano = open.nano.checked_sub(given).unwrap_or(Nano::ZERO);
    }
    Ok(())
}

fn give_back(
    sheet: &mut Sheet<'_>,
    place: Place<'_>,
    payment: PaymentId,
    held: Money,
    state: &'static str,
) -> rusqlite::Result<()> {
    let Some(open) = find_open(sheet, payment)? else { return Ok(()) };
    sheet.windows.release(sheet.tx, &open.seats, open.nano)?;
    sheet.positions.release(sheet.tx, open.wallet, held)?;
    end(sheet, place, payment, state)
}

fn end(
    sheet: &mut Sheet<'_>,
    place: Place<'_>,
    payment: PaymentId,
    state: &'static str,
) -> rusqlite::Result<()> {
    if let Some(row) = sheet.payments.find(sheet.tx, payment)? {
        row.outcome.state = state.into();
        row.outcome.ended_at = Some(place.at);
        row.open = None;
    }
    Ok(())
}

fn set_state(
    sheet: &mut Sheet<'_>,
    payment: PaymentId,
    state: &'static str,
) -> rusqlite::Result<()> {
    if let Some(row) = sheet.payments.find(sheet.tx, payment)? {
        row.outcome.state = state.into();
    }
    Ok(())
}

fn find_open(sheet: &mut Sheet<'_>, payment: PaymentId) -> rusqlite::Result<Option<Open>> {
    Ok(sheet.payments.find(sheet.tx, payment)?.and_then(|row| row.open.clone()))
}

impl Payments {
    fn insert(&mut self, seq: i64, new: New) {
        let held = &new.held;
        let open = Open { wallet: held.wallet, nano: held.nano, seats: held.seats.clone() };
        let outcome = Outcome {
            state: "signable".into(),
            amount: None,
            spent: None,
            transaction: None,
            ended_at: None,
            verified_at: None,
        };
        self.places.insert(held.payment, seq);
        self.rows
            .insert(seq, Payment { new: Some(new), open: Some(open), outcome, extended: None });
    }

    /// The payment, from the table where no event of this run was about it yet.
    fn find(
        &mut self,
        tx: &Transaction<'_>,
        payment: PaymentId,
    ) -> rusqlite::Result<Option<&mut Payment>> {
        let seq = match self.places.get(&payment) {
            Some(seq) => *seq,
            None => {
                let found = tx
                    .prepare_cached(
                        "SELECT seq, state, amount, spent_nano, transaction_hash, ended_ms,
                         verified_ms, wallet_id, open_nano, seats FROM payment_rows
                         WHERE payment = ?1",
                    )?
                    .query_row([payment.as_bytes()], read)
                    .optional()?;
                let Some((seq, row)) = found else { return Ok(None) };
                self.places.insert(payment, seq);
                self.rows.insert(seq, row);
                seq
            }
        };
        Ok(self.rows.get_mut(&seq))
    }

    pub(super) fn write(
        self,
        tx: &Transaction<'_>,
        words: &mut Dictionary,
    ) -> rusqlite::Result<()> {
        let mut insert = tx.prepare_cached(INSERT)?;
        let mut update = tx.prepare_cached(UPDATE)?;
        let mut pace = Pace::default();
        for (seq, row) in self.rows {
            pace.step();
            let seats = row.open.as_ref().map(|open| postcard::to_stdvec(&open.seats));
            let seats =
                seats.transpose().map_err(|e| rusqlite::Error::ToSqlConversionFailure(e.into()))?;
            let nano = row.open.as_ref().map(|open| to_sql(open.nano.get()));
            match row.new {
                Some(new) => {
                    let numbers = Numbers::of(tx, words, &new)?;
                    insert_row(&mut insert, &numbers, seq, &new, &row.outcome, (nano, seats))?;
                }
                None => update_row(&mut update, seq, &row.outcome, (nano, seats))?,
            }
            if let Some(held) = &row.extended {
                let taken = row.outcome.amount.map_or(Amount::ZERO, |SqlAmount(amount)| amount);
                let all = held.commitment.amount_max.checked_add(taken).unwrap_or(taken);
                let spent = row.outcome.spent.unwrap_or(0);
                let nano = to_sql(held.nano.get()).saturating_add(spent);
                let sql = "UPDATE payment_rows SET amount_held = ?2, held_nano = ?3 WHERE seq = ?1";
                tx.prepare_cached(sql)?.execute(params![seq, SqlAmount(all), nano])?;
            }
        }
        Ok(())
    }
}

/// The numbers of a row's words.
struct Numbers {
    agent: i64,
    role: Option<i64>,
    group: Option<i64>,
    session: Option<i64>,
    provider: i64,
    capability: i64,
    model: i64,
    scheme: i64,
    network: i64,
}

impl Numbers {
    fn of(tx: &Transaction<'_>, words: &mut Dictionary, new: &New) -> rusqlite::Result<Self> {
        let (held, spender) = (&new.held, &new.spender);
        let mut number = |word: &str| words.number(tx, word);
        Ok(Self {
            agent: number(&spender.agent)?,
            role: spender.role.as_ref().map(|role| number(role.as_str())).transpose()?,
            group: spender.group.as_ref().map(|group| number(group.as_str())).transpose()?,
            session: held.session.as_ref().map(|session| number(session.as_str())).transpose()?,
            provider: number(held.provider.as_str())?,
            capability: number(held.capability.as_str())?,
            model: number(held.model.as_str())?,
            scheme: number(held.commitment.scheme.as_str())?,
            network: number(&held.commitment.asset.network.to_string())?,
        })
    }
}

const INSERT: &str = "
    INSERT INTO payment_rows (seq, payment, agent, role, group_name, session, request, attempt,
        provider, capability, model, state, scheme, network, asset, from_address, to_address,
        amount_held, held_nano, nonce, policy_version, held_ms, wallet_id, valid_before_ms,
        amount, spent_nano, transaction_hash, ended_ms, verified_ms, open_nano, seats)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18,
        ?19, ?20, ?21, ?22, ?23, ?24, ?25, ?26, ?27, ?28, ?29, ?30, ?31)";

const UPDATE: &str = "
    UPDATE payment_rows SET state = ?2, amount = ?3, spent_nano = ?4, transaction_hash = ?5,
        ended_ms = ?6, verified_ms = ?7, open_nano = ?8, seats = ?9 WHERE seq = ?1";

fn read(row: &Row<'_>) -> rusqlite::Result<(i64, Payment)> {
    let outcome = Outcome {
        state: Cow::Owned(row.get(1)?),
        amount: row.get(2)?,
        spent: row.get(3)?,
        transaction: row.get::<_, Option<[u8; 32]>>(4)?.map(B256::from),
        ended_at: row.get::<_, Option<i64>>(5)?.map(time),
        verified_at: row.get::<_, Option<i64>>(6)?.map(time),
    };
    let seats: Option<Vec<u8>> = row.get(9)?;
    let open = match seats {
        None => None,
        Some(seats) => Some(Open {
            wallet: WalletId::from_bytes(row.get(7)?),
            nano: Nano::new(from_sql(row.get(8)?)),
            seats: postcard::from_bytes(&seats)
                .map_err(|e| rusqlite::Error::FromSqlConversionFailure(9, Type::Blob, e.into()))?,
        }),
    };
    Ok((row.get(0)?, Payment { new: None, open, outcome, extended: None }))
}

fn insert_row(
    insert: &mut Statement<'_>,
    numbers: &Numbers,
    seq: i64,
    new: &New,
    outcome: &Outcome,
    (nano, seats): (Option<i64>, Option<Vec<u8>>),
) -> rusqlite::Result<()> {
    let held = &new.held;
    let commitment = &held.commitment;
    insert
        .execute(params![
            seq,
            held.payment.as_bytes(),
            numbers.agent,
            numbers.role,
            numbers.group,
            numbers.session,
            held.request.as_bytes(),
            held.attempt,
            numbers.provider,
            numbers.capability,
            numbers.model,
            outcome.state,
            numbers.scheme,
            numbers.network,
            commitment.asset.contract.as_slice(),
            commitment.payer.as_slice(),
            commitment.pay_to.as_slice(),
            SqlAmount(commitment.amount_max),
            to_sql(held.nano.get()),
            commitment.nonce.as_slice(),
            held.policy_version,
            millis(new.at),
            held.wallet.as_bytes(),
            millis(Timestamp::from_secs(commitment.valid_before_s)),
            outcome.amount,
            outcome.spent,
            outcome.transaction.as_ref().map(B256::as_slice),
            outcome.ended_at.map(millis),
            outcome.verified_at.map(millis),
            nano,
            seats,
        ])
        .map(drop)
}

fn update_row(
    update: &mut Statement<'_>,
    seq: i64,
    outcome: &Outcome,
    (nano, seats): (Option<i64>, Option<Vec<u8>>),
) -> rusqlite::Result<()> {
    update
        .execute(params![
            seq,
            outcome.state,
            outcome.amount,
            outcome.spent,
            outcome.transaction.as_ref().map(B256::as_slice),
            outcome.ended_at.map(millis),
            outcome.verified_at.map(millis),
            nano,
            seats,
        ])
        .map(drop)
}

fn millis(at: Timestamp) -> i64 {
    to_sql(at.as_millis())
}

fn time(millis: i64) -> Timestamp {
    Timestamp::from_millis(from_sql(millis))
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
