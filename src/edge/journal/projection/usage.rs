//! Usage: what every call used, on either side.

use rusqlite::params;

use super::payments::{asset_columns, describe};
use super::sheet::{Sheet, Spender};
use super::values::{SqlAmount, lower};
use super::{Place, run};
use crate::domain::id::Name;
use crate::domain::ledger::metered::{Metered, Whose};
use crate::edge::journal::chain::to_sql;

pub(super) fn apply(
    sheet: &mut Sheet<'_>,
    place: Place<'_>,
    metered: &Metered,
) -> rusqlite::Result<()> {
    let spender = match metered.whose {
        Whose::Bought { agent, .. } => Some(sheet.spenders.find(sheet.tx, agent)?),
        Whose::Sold { .. } | Whose::Granted { .. } => None,
    };
    let (side, payer, payment, request) = match metered.whose {
        Whose::Bought { payment, request, .. } => ("bought", None, Some(payment), Some(request)),
        Whose::Sold { payer, payment, .. } => ("sold", Some(payer), payment, None),
        Whose::Granted { payer, payment } => ("granted", Some(payer), Some(payment), None),
    };
    let Metered { provider, capability, model, usage, .. } = metered;
    let [network, asset] = asset_columns(metered.asset);
    let name =
        |pick: fn(&Spender) -> Option<&Name>| spender.as_deref().and_then(pick).map(Name::as_str);
    // An answer that is given again was used once.
    run(
        sheet.tx,
        "INSERT OR IGNORE INTO usage (seq, at_ns, at, side, agent, role, group_name, payer, payment,
            request, provider, capability, model, description, input_units, output_units, bytes,
            compute_ms, stored_bytes, network, asset, amount, transaction_hash)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18,
            ?19, ?20, ?21, ?22, ?23)",
        params![
            to_sql(place.seq),
            to_sql(place.at.as_nanos()),
            place.now,
            side,
            spender.as_ref().map(|spender| spender.agent.as_str()),
            name(|spender| spender.role.as_ref()),
            name(|spender| spender.group.as_ref()),
            payer.map(|payer| lower(&payer)),
            payment.map(|payment| payment.to_string()),
            request.map(|request| request.to_string()),
            provider.as_str(),
            capability.as_str(),
            model.as_str(),
            describe(capability, model, provider),
            to_sql(usage.input.0),
            to_sql(usage.output.0),
            to_sql(usage.bytes),
            to_sql(usage.compute_ms),
            to_sql(metered.stored),
            network,
            asset,
            SqlAmount(metered.amount),
            metered.transaction.map(|transaction| transaction.to_string()),
        ],
    )
    .map(drop)
}
