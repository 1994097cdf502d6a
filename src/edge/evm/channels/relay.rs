//! Sends what a receiver's authorizer signed: claims and refunds of somebody else's channels.

use alloy::primitives::{Address, Signature};
use alloy::sol_types::SolCall;

use crate::domain::channel::{ChannelId, ClaimRow, SignedRefund};
use crate::domain::x402::batch::typed::{config_of, id_of};
use crate::edge::evm::contracts::{BatchSettlement, VoucherClaim};
use crate::edge::evm::sender::{Acted, Call, Outcome, Sender};
use crate::ports::channel_rail::{CLAIM_ROWS_MAX, ClaimSettlement};
use crate::ports::rail::{RailError, RefusedBy, Settlement};

use super::asked::gas_max;
use super::claim::{Row, Sorted, claimed_by, rows_of};
use super::look::look_now;
use super::pay::given_back;
use super::{call, unknown};

impl Sender {
    /// Claims just these rows, by their authorizer's word over them.
    pub(in crate::edge::evm) async fn claim_signed(
        &self,
        rows: &[ClaimRow],
        signature: &Signature,
    ) -> Result<ClaimSettlement, RailError> {
        let mut claim = ClaimSettlement { transaction: None, claimed: vec![], poisoned: vec![] };
        if rows.len() > CLAIM_ROWS_MAX {
            claim.poisoned = (0..rows.len()).collect();
            return Ok(claim);
        }
        let rows = rows_of(rows);
        let wanted = signed_claim(&rows, signature);
        match self.resume(wanted.name).await {
            Some(Outcome::Unseen(transaction)) => {
                claim.transaction = transaction;
                claim.claimed = self.sort(&rows).await.map(|it| it.done).unwrap_or_default();
                return Ok(claim);
            }
            Some(Outcome::Mined(receipt)) => claim.transaction = Some(receipt.transaction_hash),
            None => {}
        }
        let Sorted { done, open } = self.sort(&rows).await?;
        claim.claimed = done;
        if open.is_empty() {
            return Ok(claim);
        }
        // The signature covers all of them, so that none is left out.
        claim.poisoned = self.doubted(&open);
        if !claim.poisoned.is_empty() {
            return Ok(claim);
        }
        match self.act_within(wanted, gas_max(&rows)).await? {
            Acted::Reverts => claim.poisoned = self.find_spoilers(open).await?,
            Acted::Sent(Outcome::Unseen(transaction)) => claim.transaction = transaction,
            Acted::Sent(Outcome::Mined(receipt)) => {
                claim.transaction = Some(receipt.transaction_hash);
                if !receipt.status() {
                    self.blame(&open).await;
                    claim.poisoned = self.doubted(&open);
                }
                let sums = claimed_by(&receipt);
                let covered = |row: &&Row<'_>| {
                    sums.get(&row.channel.0).is_some_and(|sum| *sum >= row.row.total.get())
                };
                claim.claimed.extend(open.iter().filter(covered).map(|row| row.place));
                claim.claimed.sort_unstable();
            }
        }
        Ok(claim)
    }

    /// The rows for which a claim reverts: those that the contract would not take of the authorizer
    /// itself either; all of them, where it would take each, and so the signature is wrong.
    async fn find_spoilers(&self, open: Vec<Row<'_>>) -> Result<Vec<usize>, RailError> {
        let Some(first) = open.first() else { return Ok(vec![]) };
        let authorizer: Address = first.row.terms.receiver_authorizer;
        let all: Vec<usize> = open.iter().map(|row| row.place).collect();
        let (_, poisoned) = self.sift(open, authorizer).await?;
        Ok(if poisoned.is_empty() { all } else { poisoned })
    }

    /// Gives back by the authorizer's word, after claiming a row by its word.
    pub(in crate::edge::evm) async fn give_back_signed(
        &self,
        refund: &SignedRefund,
        claim: Option<(&ClaimRow, &Signature)>,
    ) -> Result<Settlement, RailError> {
        let channel = id_of(&refund.terms);
        let wanted = signed_refund(channel, refund, claim);
        if let Some(outcome) = self.resume(wanted.name).await {
            match outcome {
                Outcome::Unseen(transaction) => return Ok(unknown(transaction)),
                Outcome::Mined(receipt) if receipt.status() => {
                    return Ok(self.settled(&receipt, given_back(&receipt, channel)).await);
                }
                Outcome::Mined(_) => {}
            }
        }
        let network = self.node.network();
        let (sight, _) = look_now(&self.node, channel).await.map_err(|it| it.on(network))?;
        if sight.refund_nonce != refund.nonce {
            return Ok(Settlement::Refused(RefusedBy::NonceUsed));
        }
        let is_claimed = claim.is_none_or(|(row, _)| row.total <= sight.claimed);
        if is_claimed && sight.balance <= sight.claimed {
            return Ok(Settlement::Refused(RefusedBy::InsufficientFunds));
        }
        let rows = rows_of(claim.map_or(&[], |(row, _)| std::slice::from_ref(row)));
        self.send_back(channel, wanted, &rows).await
    }
}

/// Known by its signature, which covers all of it.
fn signed_claim(rows: &[Row<'_>], signature: &Signature) -> Call {
    let content = BatchSettlement::claimWithSignatureCall {
        voucherClaims: rows.iter().map(|row| VoucherClaim::from(row.row)).collect(),
        authorizerSignature: signature.as_bytes().into(),
    };
    call("claim signed", signature.as_bytes().to_vec(), &content)
}

/// Known by its channel and nonce: no two of them can succeed.
fn signed_refund(
    channel: ChannelId,
    refund: &SignedRefund,
    claim: Option<(&ClaimRow, &Signature)>,
) -> Call {
    let content = BatchSettlement::refundWithSignatureCall {
        config: (&config_of(&refund.terms)).into(),
        amount: refund.amount.get(),
        nonce: alloy::primitives::U256::from(refund.nonce),
        receiverAuthorizerSignature: refund.signature.as_bytes().into(),
    };
    let about = (channel.0, refund.nonce);
    let Some((row, signature)) = claim else { return call("give back signed", about, &content) };
    let claim = BatchSettlement::claimWithSignatureCall {
        voucherClaims: vec![VoucherClaim::from(row)],
        authorizerSignature: signature.as_bytes().into(),
    };
    let data = vec![claim.abi_encode().into(), content.abi_encode().into()];
    call("give back signed", about, &BatchSettlement::multicallCall { data })
}
