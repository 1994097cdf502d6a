//! The postings, pair by pair.

use rusqlite::{Transaction, params};

use super::values::{SqlAmount, lower};
use super::{Place, run};
use crate::domain::ledger::Event;
use crate::domain::ledger::books::{BookAccount, Commodity, postings};
use crate::edge::journal::chain::to_sql;

pub(super) fn post(tx: &Transaction<'_>, place: Place<'_>, event: &Event) -> rusqlite::Result<()> {
    for (pair, posting) in (0_u32..).zip(postings(event)) {
        run(
            tx,
            "INSERT INTO postings (seq, pair, at, credit, debit, commodity, amount)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            params![
                to_sql(place.seq),
                pair,
                place.now,
                account(posting.credit),
                account(posting.debit),
                commodity(posting.commodity),
                SqlAmount(posting.amount),
            ],
        )?;
    }
    Ok(())
}

/// The account's name.
pub(in crate::edge::journal) const fn account(account: BookAccount) -> &'static str {
    match account {
        BookAccount::External => "external",
        BookAccount::Wallet => "wallet",
        BookAccount::Escrow => "escrow",
        BookAccount::Due => "due",
        BookAccount::Earned => "earned",
        BookAccount::Loss => "loss",
        BookAccount::Fees => "fees",
        BookAccount::Channel => "channel",
        BookAccount::Claimable => "claimable",
        BookAccount::Owed => "owed",
    }
}

/// A token's CAIP-19 name; a network's native unit by the network.
pub(in crate::edge::journal) fn commodity(commodity: Commodity) -> String {
    match commodity {
        Commodity::Asset(asset) => format!("{}/erc20:{}", asset.network, lower(&asset.contract)),
        Commodity::Native(network) => format!("{network}/native"),
    }
}
