//! Tabs: the payee's side of channels. Each charged call stands among the claims.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use rusqlite::{OptionalExtension, Transaction, params};

use super::payments::{asset_columns, describe};
use super::sheet::Sheet;
use super::values::{AssetWords, Pace, SqlAmount, lower};
use super::{Place, run};
use crate::domain::channel::ChannelId;
use crate::domain::ledger::tab::{Charged, TabCounted, TabEvent, TabLooked, Voucher};
use crate::domain::money::Amount;
use crate::edge::journal::chain::to_sql;

/// What a run of events charges: each tab is read once and written once, and so is each call, however
/// many steps it took.
#[derive(Default)]
pub(super) struct Tabs {
    rows: BTreeMap<ChannelId, Tab>,
    calls: BTreeMap<(ChannelId, Amount), Call>,
}

/// The columns that calls change, and whom they name.
struct Tab {
    payer: String,
    receiver: String,
    charged: Amount,
    ceiling: Amount,
    calls: i64,
}

/// A call as its last step left it.
struct Call {
    seq: i64,
    at: String,
    state: &'static str,
    charged: Charged,
}

pub(super) fn apply(
    sheet: &mut Sheet<'_>,
    place: Place<'_>,
    event: &TabEvent,
) -> rusqlite::Result<()> {
    let tx = sheet.tx;
    match event {
        TabEvent::Opened { channel, terms } => {
            let [network, contract] = asset_columns(terms.asset);
            run(
                tx,
                "INSERT INTO tabs (channel, network, asset, payer, receiver, opened_at)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
                params![
                    channel.to_string(),
                    network,
                    contract,
                    lower(&terms.payer),
                    lower(&terms.receiver),
                    place.now,
                ],
            )
            .map(drop)
        }
        TabEvent::Charged(charged) => sheet.tabs.charge(tx, place, charged, ("charged", true)),
        TabEvent::ChargedOnCredit(charged) => {
            sheet.tabs.charge(tx, place, charged, ("credited", true))
        }
        TabEvent::Covered { channel, voucher } => sheet.tabs.cover(tx, *channel, voucher),
        TabEvent::Stepped(stepped) => {
            let state = if stepped.ended { "charged" } else { "streaming" };
            sheet.tabs.charge(tx, place, &stepped.call, (state, stepped.first))
        }
        TabEvent::Seen(_) | TabEvent::Looked(_) | TabEvent::Counted(_) => see(tx, event),
        // The balance says it, once it is gone.
        TabEvent::GivingBack { .. } | TabEvent::GivenBack { .. } => Ok(()),
    }
}

fn see(tx: &Transaction<'_>, event: &TabEvent) -> rusqlite::Result<()> {
    if let Some(TabLooked { channel, newest, .. }) = event.looked() {
        run(
            tx,
            "UPDATE tabs SET balance = ?2, claimed = ?3 WHERE channel = ?1",
            params![channel.to_string(), SqlAmount(newest.balance), SqlAmount(newest.claimed)],
        )?;
    }
    if let Some(TabCounted { channel, stray, lost, .. }) = event.counted() {
        run(
            tx,
            "UPDATE tabs SET stray = stray + ?2, lost = lost + ?3 WHERE channel = ?1",
            params![channel.to_string(), SqlAmount(stray.amount), SqlAmount(lost.amount)],
        )?;
    }
    Ok(())
}

impl Tabs {
    fn charge(
        &mut self,
        tx: &Transaction<'_>,
        place: Place<'_>,
        charged: &Charged,
        (state, counts): (&'static str, bool),
    ) -> rusqlite::Result<()> {
        let Some(tab) = self.row(tx, charged.channel)? else { return Ok(()) };
        tab.charged = charged.base.checked_add(charged.amount).unwrap_or(charged.base);
        tab.ceiling = charged.ceiling;
        tab.calls = tab.calls.saturating_add(i64::from(counts));
        // A call's name here: the channel, and what had been charged before it.
        let call = Call {
            seq: to_sql(place.seq),
            at: place.now.to_owned(),
            state,
            charged: charged.clone(),
        };
        self.calls.insert((charged.channel, charged.base), call);
        Ok(())
    }

    fn cover(
        &mut self,
        tx: &Transaction<'_>,
        channel: ChannelId,
        voucher: &Voucher,
    ) -> rusqlite::Result<()> {
        if let Some(tab) = self.row(tx, channel)? {
            tab.ceiling = voucher.ceiling;
        }
        Ok(())
    }

    /// A tab's row, read once.
    fn row(
        &mut self,
        tx: &Transaction<'_>,
        channel: ChannelId,
    ) -> rusqlite::Result<Option<&mut Tab>> {
        Ok(match self.rows.entry(channel) {
            Entry::Occupied(known) => Some(known.into_mut()),
            Entry::Vacant(row) => find(tx, channel)?.map(|found| row.insert(found)),
        })
    }

    /// Writes what was gathered: calls in the order of their entries.
    pub(super) fn write(self, tx: &Transaction<'_>) -> rusqlite::Result<()> {
        let mut calls: Vec<Call> = self.calls.into_values().collect();
        calls.sort_unstable_by_key(|call| call.seq);
        let mut words = AssetWords::default();
        let mut pace = Pace::default();
        for call in calls {
            pace.step();
            if let Some(tab) = self.rows.get(&call.charged.channel) {
                write_call(tx, &call, tab, &mut words)?;
            }
        }
        let mut update = tx.prepare_cached(
            "UPDATE tabs SET charged = ?2, ceiling = ?3, calls = ?4 WHERE channel = ?1",
        )?;
        for (channel, tab) in self.rows {
            update.execute(params![
                channel.to_string(),
                SqlAmount(tab.charged),
                SqlAmount(tab.ceiling),
                tab.calls,
            ])?;
        }
        Ok(())
    }
}

fn find(tx: &Transaction<'_>, channel: ChannelId) -> rusqlite::Result<Option<Tab>> {
    tx.prepare_cached(
        "SELECT payer, receiver, charged, ceiling, calls FROM tabs WHERE channel = ?1",
    )?
    .query_row([channel.to_string()], |row| {
        let amount = |column| row.get(column).map(|SqlAmount(amount)| amount);
        Ok(Tab {
            payer: row.get(0)?,
            receiver: row.get(1)?,
            charged: amount(2)?,
            ceiling: amount(3)?,
            calls: row.get(4)?,
        })
    })
    .optional()
}

fn write_call(
    tx: &Transaction<'_>,
    call: &Call,
    tab: &Tab,
    words: &mut AssetWords,
) -> rusqlite::Result<()> {
    let Call { seq, at, state, charged } = call;
    let nonce = format!("{}/{}", charged.channel, charged.base);
    // The row of its steps before, where there were any.
    run(tx, "DELETE FROM claims WHERE nonce = ?1 AND state = 'streaming'", [&nonce])?;
    let [network, contract] = words.of(charged.asset);
    let usage = charged.delivery.usage;
    run(
        tx,
        "INSERT INTO claims (seq, nonce, network, asset, from_address, to_address, amount, payment,
            provider, capability, model, description, state, accepted_at, ended_at, input_units,
            output_units, answer_bytes, compute_ms)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?14, ?15, ?16, ?17,
            ?18)",
        params![
            seq,
            nonce,
            network,
            contract,
            tab.payer,
            tab.receiver,
            SqlAmount(charged.amount),
            charged.payment.map(|payment| payment.to_string()),
            charged.provider.as_str(),
            charged.capability.as_str(),
            charged.model.as_str(),
            describe(&charged.capability, &charged.model, &charged.provider),
            state,
            at,
            to_sql(usage.input.0),
            to_sql(usage.output.0),
            to_sql(usage.bytes),
            to_sql(usage.compute_ms),
        ],
    )
    .map(drop)
}
