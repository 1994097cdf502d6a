//! Claims many channels in one transaction. One row that the contract does not take spoils all of them, so
//! those are found before anything is sent. Source: threats.md E17.

use std::collections::BTreeMap;

use alloy::primitives::{Address, B256};
use alloy::rpc::types::TransactionReceipt;

use crate::domain::channel::ChannelId;
use crate::domain::x402::batch::typed::id_of;
use crate::edge::evm::contracts::{BatchSettlement, VoucherClaim};
use crate::edge::evm::sender::{Acted, Call, Outcome, Sender};
use crate::ports::channel_rail::{CLAIM_ROWS_MAX, ClaimRow, ClaimSettlement};
use crate::ports::rail::RailError;

use super::asked::gas_max;
use super::look::claimed_now;
use super::{TRIES_MAX, call, events};

/// One claim is under way at a time, whatever its rows are: what a later one adds waits for the next.
const PURPOSE: &str = "claim";

/// A row with its channel's name and its place in what was asked.
#[derive(Copy, Clone)]
pub(super) struct Row<'a> {
    pub(super) place: usize,
    pub(super) channel: ChannelId,
    pub(super) row: &'a ClaimRow,
}

/// Rows, by what the chain says of them.
#[derive(Default)]
pub(super) struct Sorted<'a> {
    /// Claimed already.
    pub(super) done: Vec<usize>,
    /// Not yet.
    pub(super) open: Vec<Row<'a>>,
}

impl Sender {
    /// Claims what `rows` say and was not claimed yet.
    pub(in crate::edge::evm) async fn claim(
        &self,
        rows: &[ClaimRow],
    ) -> Result<ClaimSettlement, RailError> {
        let rows = rows_of(rows);
        let mut claim = ClaimSettlement { transaction: None, claimed: vec![], poisoned: vec![] };
        if let Some(Outcome::Unseen(transaction)) = self.resume(call_of(&[]).name).await {
            claim.transaction = transaction;
            claim.claimed = self.sort(&rows).await.map(|it| it.done).unwrap_or_default();
            return Ok(claim);
        }
        for _ in 0..TRIES_MAX {
            match self.claim_once(&rows, &mut claim).await {
                Ok(true) => break,
                Ok(false) => {}
                Err(problem) if claim.transaction.is_none() => return Err(problem),
                Err(_) => break,
            }
        }
        Ok(claim)
    }

    /// Tries once, and whether that was the end of it.
    async fn claim_once(
        &self,
        rows: &[Row<'_>],
        claim: &mut ClaimSettlement,
    ) -> Result<bool, RailError> {
        let Sorted { done, mut open } = self.sort(rows).await?;
        let doubted = self.doubted(&open);
        open.retain(|row| !doubted.contains(&row.place));
        (claim.claimed, claim.poisoned) = (done, doubted);
        // All of them at first: as a rule nothing is wrong with any.
        let mut acted = self.act_on(&open).await?;
        if let Some(Acted::Reverts) = acted {
            let poisoned;
            (open, poisoned) = self.sift(open, self.account).await?;
            claim.poisoned.extend(poisoned);
            claim.poisoned.sort_unstable();
            acted = self.act_on(&open).await?;
        }
        match acted {
            None => Ok(true),
            // A row that was good a moment ago is not any more.
            Some(Acted::Reverts) => Ok(false),
            Some(Acted::Sent(Outcome::Unseen(transaction))) => {
                claim.transaction = transaction;
                Ok(true)
            }
            Some(Acted::Sent(Outcome::Mined(receipt))) => {
                claim.transaction = Some(receipt.transaction_hash);
                if !receipt.status() {
                    self.blame(&open).await;
                }
                let sums = claimed_by(&receipt);
                let covered = |row: &&Row<'_>| {
                    sums.get(&row.channel.0).is_some_and(|sum| *sum >= row.row.total.get())
                };
                claim.claimed.extend(open.iter().filter(covered).map(|row| row.place));
                claim.claimed.sort_unstable();
                // Where some are missing, somebody else claimed them, or all of it failed.
                Ok(open.iter().filter(covered).count() == open.len())
            }
        }
    }

    async fn act_on(&self, rows: &[Row<'_>]) -> Result<Option<Acted>, RailError> {
        if rows.is_empty() {
            return Ok(None);
        }
        self.act_within(call_of(rows), gas_max(rows)).await.map(Some)
    }

    /// Tells the rows that are claimed already from the others.
    pub(super) async fn sort<'a>(&self, rows: &[Row<'a>]) -> Result<Sorted<'a>, RailError> {
        let channels: Vec<ChannelId> = rows.iter().map(|row| row.channel).collect();
        let sums = claimed_now(&self.node, &channels).await;
        let sums = sums.map_err(|it| it.on(self.node.network()))?;
        let mut sorted = Sorted::default();
        for (row, claimed) in rows.iter().zip(sums) {
            if row.row.total <= claimed {
                sorted.done.push(row.place);
            } else {
                sorted.open.push(*row);
            }
        }
        Ok(sorted)
    }

    /// Finds the rows that the contract would not take of `from`, by halves: the good ones, and the places
    /// of the others.
    pub(super) async fn sift<'a>(
        &self,
        rows: Vec<Row<'a>>,
        from: Address,
    ) -> Result<(Vec<Row<'a>>, Vec<usize>), RailError> {
        let (mut good, mut poisoned) = (Vec::with_capacity(rows.len()), Vec::new());
        let mut parts = vec![rows];
        // Each part is smaller than the one it came from, so that this ends: after less than twice as
        // many looks as there are rows.
        while let Some(mut part) = parts.pop() {
            if part.is_empty() || !self.reverts(&call_of(&part), from, gas_max(&part)).await? {
                good.append(&mut part);
            } else if let [row] = part.as_slice() {
                poisoned.push(row.place);
            } else {
                let rest = part.split_off(part.len().div_euclid(2));
                parts.extend([rest, part]);
            }
        }
        poisoned.sort_unstable();
        Ok((good, poisoned))
    }
}

/// The first of them that one claim takes.
pub(super) fn rows_of(rows: &[ClaimRow]) -> Vec<Row<'_>> {
    let rows = rows.iter().take(CLAIM_ROWS_MAX).enumerate();
    rows.map(|(place, row)| Row { place, channel: id_of(&row.terms), row }).collect()
}

fn call_of(rows: &[Row<'_>]) -> Call {
    let claims = rows.iter().map(|row| VoucherClaim::from(row.row)).collect();
    call(PURPOSE, (), &BatchSettlement::claimCall { voucherClaims: claims })
}

/// What was claimed of each channel in all, by this receipt.
pub(super) fn claimed_by(receipt: &TransactionReceipt) -> BTreeMap<B256, u128> {
    let claimed = events::<BatchSettlement::Claimed>(receipt);
    claimed.map(|event| (event.channelId, event.newTotalClaimed)).collect()
}
