//! The postings, pair by pair.

use rusqlite::{Transaction, params};

use super::Place;
use super::dictionary::Dictionary;
use super::values::{Pace, SqlAmount, lower};
use crate::domain::ledger::Event;
use crate::domain::ledger::books::{BookAccount, Commodity, Posting, postings};
use crate::domain::time::Timestamp;
use crate::edge::journal::chain::to_sql;

/// What a run of events posts.
#[derive(Default)]
pub(super) struct Postings(Vec<Row>);

struct Row {
    seq: i64,
    pair: u32,
    at: Timestamp,
    posting: Posting,
}

impl Postings {
    pub(super) fn post(&mut self, place: Place<'_>, event: &Event) {
        let (seq, at) = (to_sql(place.seq), place.at);
        let rows = (0_u32..).zip(postings(event));
        self.0.extend(rows.map(|(pair, posting)| Row { seq, pair, at, posting }));
    }

    pub(super) fn write(
        self,
        tx: &Transaction<'_>,
        words: &mut Dictionary,
    ) -> rusqlite::Result<()> {
        let mut insert = tx.prepare_cached(
            "INSERT INTO posting_rows (seq, pair, ms, credit, debit, commodity, amount)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        )?;
        let mut last: Option<(Commodity, i64)> = None;
        let mut pace = Pace::default();
        for Row { seq, pair, at, posting } in self.0 {
            pace.step();
            let number = match last {
                Some((of, number)) if of == posting.commodity => number,
                _ => words.number(tx, &commodity(posting.commodity))?,
            };
            last = Some((posting.commodity, number));
            insert.execute(params![
                seq,
                pair,
                to_sql(at.as_millis()),
                account(posting.credit),
                account(posting.debit),
                number,
                SqlAmount(posting.amount),
            ])?;
        }
        Ok(())
    }
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
