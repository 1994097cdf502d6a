//! What a receiver's authorizer signs, so that anybody may send it: claims and refunds.
//!
//! Source: x402 scheme `batch-settlement` on EVM, authorizer roles.

use alloy::primitives::{B256, U256};
use alloy::sol_types::SolStruct;

use crate::domain::asset::Network;
use crate::domain::channel::{ChannelTerms, ClaimRow};
use crate::domain::money::Amount;
use crate::domain::x402::batch::typed::{ClaimBatch, ClaimEntry, Refund, batch_domain, id_of};

/// What is signed for a claim of just these rows, in this order, on `network`.
pub fn claim_digest(rows: &[ClaimRow], network: Network) -> B256 {
    let entry = |row: &ClaimRow| ClaimEntry {
        channelId: id_of(&row.terms).0,
        maxClaimableAmount: row.ceiling.get(),
        totalClaimed: row.total.get(),
    };
    let batch = ClaimBatch { claims: rows.iter().map(entry).collect() };
    batch.eip712_signing_hash(&batch_domain(network))
}

/// What is signed for giving `amount` back; `nonce` is the channel's next.
pub fn refund_digest(terms: &ChannelTerms, nonce: u64, amount: Amount) -> B256 {
    let refund =
        Refund { channelId: id_of(terms).0, nonce: U256::from(nonce), amount: amount.get() };
    refund.eip712_signing_hash(&batch_domain(terms.asset.network))
}
