//! Tabs: the payee's side of channels. Each charged call stands among the claims.

use rusqlite::{Transaction, params};

use super::payments::{asset_columns, describe};
use super::values::{SqlAmount, lower};
use super::{Place, run};
use crate::domain::ledger::tab::{Charged, TabEvent};
use crate::edge::journal::chain::to_sql;

pub(super) fn apply(
    tx: &Transaction<'_>,
    place: Place<'_>,
    event: &TabEvent,
) -> rusqlite::Result<()> {
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
        TabEvent::Charged(charged) => charge(tx, place, charged, (1, "charged")),
        TabEvent::Stepped(stepped) => {
            let state = if stepped.ended { "charged" } else { "streaming" };
            charge(tx, place, &stepped.call, (i64::from(stepped.first), state))
        }
        TabEvent::Seen(seen) => run(
            tx,
            "UPDATE tabs SET balance = ?2, claimed = ?3, stray = stray + ?4, lost = lost + ?5,
                transaction_hash = coalesce(?6, transaction_hash) WHERE channel = ?1",
            params![
                seen.channel.to_string(),
                SqlAmount(seen.balance),
                SqlAmount(seen.claimed),
                SqlAmount(seen.stray.amount),
                SqlAmount(seen.lost.amount),
                seen.transaction.map(|hash| hash.to_string()),
            ],
        )
        .map(drop),
    }
}

fn charge(
    tx: &Transaction<'_>,
    place: Place<'_>,
    charged: &Charged,
    (calls, state): (i64, &str),
) -> rusqlite::Result<()> {
    let channel = charged.channel.to_string();
    let sum = charged.base.checked_add(charged.amount).unwrap_or(charged.base);
    run(
        tx,
        "UPDATE tabs SET charged = ?2, ceiling = ?3, calls = calls + ?4 WHERE channel = ?1",
        params![channel, SqlAmount(sum), SqlAmount(charged.ceiling), calls],
    )?;
    let [network, contract] = asset_columns(charged.asset);
    let usage = charged.delivery.usage;
    // A call's name here: the channel, and what had been charged before it.
    run(
        tx,
        "INSERT OR REPLACE INTO claims (seq, nonce, network, asset, from_address, to_address, amount, payment,
            provider, capability, model, description, state, accepted_at, ended_at, input_units,
            output_units, answer_bytes, compute_ms)
         SELECT ?1, channel || '/' || ?3, ?4, ?5, payer, receiver, ?6, ?7, ?8, ?9, ?10, ?11,
            ?17, ?12, ?12, ?13, ?14, ?15, ?16 FROM tabs WHERE channel = ?2",
        params![
            to_sql(place.seq),
            channel,
            SqlAmount(charged.base),
            network,
            contract,
            SqlAmount(charged.amount),
            charged.payment.map(|payment| payment.to_string()),
            charged.provider.as_str(),
            charged.capability.as_str(),
            charged.model.as_str(),
            describe(&charged.capability, &charged.model, &charged.provider),
            place.now,
            to_sql(usage.input.0),
            to_sql(usage.output.0),
            to_sql(usage.bytes),
            to_sql(usage.compute_ms),
            state,
        ],
    )
    .map(drop)
}
