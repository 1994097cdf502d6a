//! Channels: the payer's side, and the payments that are drawn on them.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::str::FromStr;

use rusqlite::types::Type;
use rusqlite::{OptionalExtension, Transaction, params};

use super::payments::{self, asset_columns, less};
use super::sheet::Sheet;
use super::values::{SqlAmount, lower};
use super::{Place, run};
use crate::domain::asset::Asset;
use crate::domain::channel::ChannelId;
use crate::domain::id::WalletId;
use crate::domain::ledger::channel::{ChannelEvent, Drawn, Opened, Seen};
use crate::domain::money::Amount;

pub(super) fn apply(
    sheet: &mut Sheet<'_>,
    place: Place<'_>,
    event: &ChannelEvent,
) -> rusqlite::Result<()> {
    for turn in event.turns() {
        payments::turn(sheet, place, turn)?;
    }
    match event {
        ChannelEvent::Opened(opened) => open(sheet.tx, place, opened),
        ChannelEvent::DepositHeld { channel, money, .. } => {
            change(sheet, *channel, |row| row.set_aside(money.amount))
        }
        ChannelEvent::Funded(funded) => {
            change(sheet, funded.drawn.channel, |row| row.set_aside(funded.money.amount))?;
            draw(sheet, place, &funded.drawn)
        }
        ChannelEvent::Deposited { channel, money, .. } => change(sheet, *channel, |row| {
            row.pending = Amount::ZERO;
            row.deposited = plus(row.deposited, money.amount);
        }),
        ChannelEvent::DepositExpired { channel, money, unclaimed, .. } => {
            change(sheet, *channel, |row| {
                row.pending = Amount::ZERO;
                row.charged = less(row.charged, unclaimed.amount);
                row.paid_back = unclaimed.amount;
                row.locked = less(row.locked, less(money.amount, unclaimed.amount));
                if !unclaimed.amount.is_zero() {
                    "closing".clone_into(&mut row.state);
                }
            })
        }
        ChannelEvent::Drawn(drawn) => draw(sheet, place, drawn),
        ChannelEvent::Resynced { channel, ceiling, taken, .. } => change(sheet, *channel, |row| {
            row.charge(taken.amount);
            row.ceiling = row.ceiling.max(*ceiling);
        }),
        ChannelEvent::Charged { channel, taken, .. } => {
            change(sheet, *channel, |row| row.charge(taken.amount))
        }
        ChannelEvent::DrawVoided { channel, turn, .. } => change(sheet, *channel, |row| {
            // What former vouchers say stays; the ledger keeps it exactly.
            row.ceiling = less(row.ceiling, turn.freed);
            row.calls = row.calls.saturating_sub(1);
        }),
        ChannelEvent::Seen(seen) => change(sheet, seen.channel, |row| see(row, seen)),
        ChannelEvent::Frozen { channel, why } => {
            change(sheet, *channel, |row| why.as_str().clone_into(&mut row.state))
        }
        ChannelEvent::Extended(extended) => {
            change(sheet, extended.channel, |row| row.ceiling = row.ceiling.max(extended.ceiling))?;
            payments::extend(sheet, place, &extended.held, extended.before)
        }
    }
}

fn draw(sheet: &mut Sheet<'_>, place: Place<'_>, drawn: &Drawn) -> rusqlite::Result<()> {
    change(sheet, drawn.channel, |row| {
        row.charge(drawn.taken);
        row.ceiling = row.ceiling.max(drawn.ceiling);
        row.calls = row.calls.saturating_add(1);
    })?;
    payments::draw(sheet, place, &drawn.held)
}

fn see(row: &mut Channel, seen: &Seen) {
    row.charge(seen.taken.amount);
    row.charged = less(row.charged, seen.unclaimed.amount);
    row.paid_back = seen.unclaimed.amount;
    row.claimed = seen.claimed;
    row.returned = plus(row.returned, seen.returned.amount);
    row.locked = less(row.locked, less(seen.returned.amount, seen.unclaimed.amount));
    seen.state.as_str().clone_into(&mut row.state);
}

fn open(tx: &Transaction<'_>, place: Place<'_>, opened: &Opened) -> rusqlite::Result<()> {
    let Opened { id, terms, wallet, role, provider } = opened;
    let [network, contract] = asset_columns(terms.asset);
    run(
        tx,
        "INSERT INTO channels (channel, wallet_id, role, provider, network, asset, payer, receiver,
            payer_authorizer, receiver_authorizer, withdraw_delay_s, salt, opened_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)",
        params![
            id.to_string(),
            wallet.to_string(),
            role.as_str(),
            provider.as_str(),
            network,
            contract,
            lower(&terms.payer),
            lower(&terms.receiver),
            lower(&terms.payer_authorizer),
            lower(&terms.receiver_authorizer),
            i64::try_from(terms.withdraw_delay_s).unwrap_or(i64::MAX),
            terms.salt.to_string(),
            place.now,
        ],
    )
    .map(drop)
}

/// What changes in a channel's row.
struct Channel {
    state: String,
    pending: Amount,
    deposited: Amount,
    returned: Amount,
    claimed: Amount,
    charged: Amount,
    ceiling: Amount,
    calls: i64,
    /// What was charged since it was read, what left the locked money so far, and what was paid back.
    taken: Amount,
    locked: Amount,
    paid_back: Amount,
}

impl Channel {
    fn set_aside(&mut self, amount: Amount) {
        self.pending = amount;
        self.locked = plus(self.locked, amount);
    }

    fn charge(&mut self, taken: Amount) {
        self.charged = plus(self.charged, taken);
        self.taken = taken;
        self.locked = less(self.locked, taken);
    }
}

/// The channels that a run of events is about: each is read once and written once.
#[derive(Default)]
pub(super) struct Channels(BTreeMap<ChannelId, Known>);

/// A channel's row, and whose money it is.
struct Known {
    wallet: WalletId,
    asset: Asset,
    row: Channel,
}

/// Read, changed and written in Rust: SQLite would add beyond 64 bits in floating point.
fn change(
    sheet: &mut Sheet<'_>,
    channel: ChannelId,
    change: impl FnOnce(&mut Channel),
) -> rusqlite::Result<()> {
    let known = match sheet.channels.0.entry(channel) {
        Entry::Occupied(known) => known.into_mut(),
        Entry::Vacant(place) => match find(sheet.tx, channel)? {
            Some(found) => place.insert(found),
            None => return Ok(()),
        },
    };
    let row = &mut known.row;
    let before = row.locked;
    (row.taken, row.paid_back) = (Amount::ZERO, Amount::ZERO);
    change(row);
    sheet.positions.change(sheet.tx, known.wallet, known.asset, |position| {
        position.locked = less(plus(position.locked, row.locked), before);
        position.paid = less(plus(position.paid, row.taken), row.paid_back);
    })
}

fn find(tx: &Transaction<'_>, channel: ChannelId) -> rusqlite::Result<Option<Known>> {
    let found = tx
        .prepare_cached(
            "SELECT wallet_id, network, asset, state, pending, deposited, returned, claimed, charged,
                ceiling, calls FROM channels WHERE channel = ?1",
        )?
        .query_row([channel.to_string()], |row| {
            let amount = |column| row.get(column).map(|SqlAmount(amount)| amount);
            let place: [String; 3] = [row.get(0)?, row.get(1)?, row.get(2)?];
            let (pending, deposited, returned) = (amount(4)?, amount(5)?, amount(6)?);
            let charged = amount(8)?;
            let channel = Channel {
                state: row.get(3)?,
                pending,
                deposited,
                returned,
                claimed: amount(7)?,
                charged,
                ceiling: amount(9)?,
                calls: row.get(10)?,
                taken: Amount::ZERO,
                locked: less(less(plus(deposited, pending), returned), charged),
                paid_back: Amount::ZERO,
            };
            Ok((place, channel))
        })
        .optional()?;
    let Some(([wallet, network, contract], row)) = found else { return Ok(None) };
    let asset = Asset { network: parsed(1, &network)?, contract: parsed(2, &contract)? };
    Ok(Some(Known { wallet: parsed(0, &wallet)?, asset, row }))
}

impl Channels {
    /// Writes what was gathered.
    pub(super) fn write(self, tx: &Transaction<'_>) -> rusqlite::Result<()> {
        let mut update = tx.prepare_cached(
            "UPDATE channels SET state = ?2, pending = ?3, deposited = ?4, returned = ?5,
                claimed = ?6, charged = ?7, ceiling = ?8, calls = ?9 WHERE channel = ?1",
        )?;
        for (channel, Known { row, .. }) in self.0 {
            update.execute(params![
                channel.to_string(),
                row.state,
                SqlAmount(row.pending),
                SqlAmount(row.deposited),
                SqlAmount(row.returned),
                SqlAmount(row.claimed),
                SqlAmount(row.charged),
                SqlAmount(row.ceiling),
                row.calls,
            ])?;
        }
        Ok(())
    }
}

fn plus(amount: Amount, more: Amount) -> Amount {
    amount.checked_add(more).expect("amounts are bounded when they enter the ledger")
}

/// What the tables wrote into this column themselves.
fn parsed<T: FromStr<Err: std::error::Error + Send + Sync + 'static>>(
    column: usize,
    text: &str,
) -> rusqlite::Result<T> {
    text.parse().map_err(|e: T::Err| {
        rusqlite::Error::FromSqlConversionFailure(column, Type::Text, e.into())
    })
}
