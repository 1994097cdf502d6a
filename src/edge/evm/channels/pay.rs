//! Pays out: what was claimed to the receiver, and what was not back to the payer.

use alloy::primitives::Address;
use alloy::rpc::types::TransactionReceipt;
use alloy::sol_types::{SolCall, SolEvent};

use crate::domain::channel::{ChannelId, ChannelTerms};
use crate::domain::money::Amount;
use crate::domain::x402::batch::typed::{BATCH_SETTLEMENT, config_of, id_of};
use crate::edge::evm::contracts::{BatchSettlement, VoucherClaim};
use crate::edge::evm::node::{Head, Trouble};
use crate::edge::evm::read::decode;
use crate::edge::evm::search;
use crate::edge::evm::sender::{Acted, Call, Outcome, Sender};
use crate::ports::channel_rail::ClaimRow;
use crate::ports::rail::{RailError, RefusedBy, Settlement};

use super::asked::refund_gas_max;
use super::claim::{Row, rows_of};
use super::look::{look_now, newest_event};
use super::{call, events, unknown};

impl Sender {
    /// Pays out what was claimed for `receiver`; nothing where nothing is left to.
    pub(in crate::edge::evm) async fn sweep(
        &self,
        receiver: Address,
        token: Address,
    ) -> Result<Option<Settlement>, RailError> {
        let content = BatchSettlement::settleCall { receiver, token };
        let sweep = call("sweep", (receiver, token), &content);
        if let Some(outcome) = self.resume(sweep.name).await {
            match outcome {
                Outcome::Unseen(transaction) => return Ok(Some(unknown(transaction))),
                Outcome::Mined(receipt) => {
                    if let Some(amount) = swept(&receipt, receiver, token) {
                        return Ok(Some(self.settled(&receipt, amount).await));
                    }
                }
            }
        }
        let network = self.node.network();
        let left = self.left_to_sweep(receiver, token).await.map_err(|it| it.on(network))?;
        if left.is_zero() {
            return Ok(None);
        }
        Ok(match self.act(sweep).await? {
            Acted::Reverts => Some(Settlement::Refused(RefusedBy::Reverted)),
            Acted::Sent(Outcome::Unseen(transaction)) => Some(unknown(transaction)),
            Acted::Sent(Outcome::Mined(receipt)) => match swept(&receipt, receiver, token) {
                Some(amount) => Some(self.settled(&receipt, amount).await),
                // Somebody else paid it out a moment before.
                None if receipt.status() => None,
                None => Some(Settlement::Refused(RefusedBy::Reverted)),
            },
        })
    }

    async fn left_to_sweep(&self, receiver: Address, token: Address) -> Result<Amount, Trouble> {
        let head = self.node.latest().await?;
        let ask = BatchSettlement::receiversCall { receiver, token };
        let sums = self.node.view(BATCH_SETTLEMENT, ask, head.hash).await?;
        let left = sums.totalClaimed.checked_sub(sums.totalSettled);
        left.map(Amount::new).ok_or_else(|| Trouble::nonsense("more paid out than claimed"))
    }

    /// Claims `row`, and gives what is left then back to the payer, up to `amount`.
    pub(in crate::edge::evm) async fn give_back(
        &self,
        terms: &ChannelTerms,
        row: Option<&ClaimRow>,
        amount: Amount,
    ) -> Result<Settlement, RailError> {
        let channel = id_of(terms);
        let wanted = give_back_call(terms, row, amount);
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
        let (sight, head) = look_now(&self.node, channel).await.map_err(|it| it.on(network))?;
        let is_claimed = row.is_none_or(|row| row.total <= sight.claimed);
        if is_claimed && sight.balance <= sight.claimed {
            let last = self.last_given_back(channel, &head).await;
            return last.map_err(|it| it.on(network));
        }
        let rows = rows_of(row.map_or(&[], std::slice::from_ref));
        self.send_back(channel, wanted, &rows).await
    }

    /// Sends what claims `rows` and gives back what is left of their channel.
    pub(super) async fn send_back(
        &self,
        channel: ChannelId,
        wanted: Call,
        rows: &[Row<'_>],
    ) -> Result<Settlement, RailError> {
        if !self.doubted(rows).is_empty() {
            return Ok(Settlement::Refused(RefusedBy::Reverted));
        }
        Ok(match self.act_within(wanted, refund_gas_max(rows)).await? {
            Acted::Reverts => Settlement::Refused(RefusedBy::Reverted),
            Acted::Sent(Outcome::Unseen(transaction)) => unknown(transaction),
            Acted::Sent(Outcome::Mined(receipt)) if receipt.status() => {
                self.settled(&receipt, given_back(&receipt, channel)).await
            }
            Acted::Sent(Outcome::Mined(_)) => {
                self.blame(rows).await;
                Settlement::Refused(RefusedBy::Reverted)
            }
        })
    }

    /// What was given back last, where nothing came in or went out since.
    async fn last_given_back(
        &self,
        channel: ChannelId,
        head: &Head,
    ) -> Result<Settlement, Trouble> {
        let kinds = [
            BatchSettlement::Deposited::SIGNATURE_HASH,
            BatchSettlement::Refunded::SIGNATURE_HASH,
            BatchSettlement::WithdrawFinalized::SIGNATURE_HASH,
        ];
        let newest = newest_event(&self.node, channel, &kinds, head.number()).await?;
        let none = Settlement::Refused(RefusedBy::InsufficientFunds);
        let Some(log) = newest else { return Ok(none) };
        let Some(event) = decode::<BatchSettlement::Refunded>(&log.inner) else { return Ok(none) };
        let transaction = search::transaction(&log)?;
        Ok(match self.node.receipt(transaction).await? {
            Some(receipt) => self.settled(&receipt, Amount::new(event.amount)).await,
            None => unknown(Some(transaction)),
        })
    }
}

fn give_back_call(terms: &ChannelTerms, row: Option<&ClaimRow>, amount: Amount) -> Call {
    let channel = id_of(terms);
    let config = (&config_of(terms)).into();
    let refund = BatchSettlement::refundCall { config, amount: amount.get() };
    let Some(row) = row else { return call("give back", channel.0, &refund) };
    let claim = BatchSettlement::claimCall { voucherClaims: vec![VoucherClaim::from(row)] };
    let data = vec![claim.abi_encode().into(), refund.abi_encode().into()];
    call("give back", channel.0, &BatchSettlement::multicallCall { data })
}

fn swept(receipt: &TransactionReceipt, receiver: Address, token: Address) -> Option<Amount> {
    let mut settled = events::<BatchSettlement::Settled>(receipt);
    let ours = settled.find(|event| (event.receiver, event.token) == (receiver, token))?;
    Some(Amount::new(ours.amount))
}

/// Nothing, where nothing was left of the channel.
pub(super) fn given_back(receipt: &TransactionReceipt, channel: ChannelId) -> Amount {
    let mut refunded = events::<BatchSettlement::Refunded>(receipt);
    let ours = refunded.find(|event| event.channelId == channel.0);
    ours.map_or(Amount::ZERO, |event| Amount::new(event.amount))
}
