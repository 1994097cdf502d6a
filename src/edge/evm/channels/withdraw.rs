//! The payer's way out, that needs nobody's consent: it says that it wants its money back, waits, and takes
//! what was not claimed meanwhile.

use alloy::primitives::B256;
use alloy::rpc::types::Log;
use alloy::sol_types::SolEvent;

use crate::domain::channel::{ChannelId, ChannelTerms};
use crate::domain::money::Amount;
use crate::domain::x402::batch::typed::{config_of, id_of};
use crate::edge::evm::contracts::BatchSettlement::{
    Deposited, Refunded, WithdrawFinalized, WithdrawInitiated, finalizeWithdrawCall,
    initiateWithdrawCall,
};
use crate::edge::evm::node::{Head, Trouble};
use crate::edge::evm::read::decode;
use crate::edge::evm::search;
use crate::edge::evm::sender::{Acted, Outcome, Sender};
use crate::ports::rail::{RailError, RefusedBy, Settlement};

use super::look::{look_now, newest_event};
use super::{TRIES_MAX, call, events, unknown};

impl Sender {
    /// Begins the wait for all that is not claimed; where it has begun, says when.
    pub(in crate::edge::evm) async fn begin_withdrawal(
        &self,
        terms: &ChannelTerms,
    ) -> Result<Settlement, RailError> {
        if !self.is_payer_side(terms) {
            return Ok(Settlement::Refused(RefusedBy::BadSignature));
        }
        let (channel, network) = (id_of(terms), self.node.network());
        let begun = |event: WithdrawInitiated| (event.channelId, event.amount);
        for _ in 0..TRIES_MAX {
            let (sight, head) = look_now(&self.node, channel).await.map_err(|it| it.on(network))?;
            if sight.withdrawal.is_some() {
                let kinds = [WithdrawInitiated::SIGNATURE_HASH];
                let told = self.told(channel, &kinds, &head).await;
                return told.map_err(|it| it.on(network));
            }
            let left = sight.balance.checked_sub(sight.claimed).unwrap_or(Amount::ZERO);
            if left.is_zero() {
                return Ok(Settlement::Refused(RefusedBy::InsufficientFunds));
            }
            let config = (&config_of(terms)).into();
            let content = initiateWithdrawCall { config, amount: left.get() };
            let acted = self.act(call("begin", channel.0, &content)).await?;
            // Where it reverts, a claim came in between, and less is left.
            if let Some(done) = self.withdrawn(channel, acted, begun).await {
                return Ok(done);
            }
        }
        Ok(Settlement::Refused(RefusedBy::Reverted))
    }

    /// Takes it out; where that is done, says when.
    pub(in crate::edge::evm) async fn finish_withdrawal(
        &self,
        terms: &ChannelTerms,
    ) -> Result<Settlement, RailError> {
        if !self.is_payer_side(terms) {
            return Ok(Settlement::Refused(RefusedBy::BadSignature));
        }
        let (channel, network) = (id_of(terms), self.node.network());
        let (sight, head) = look_now(&self.node, channel).await.map_err(|it| it.on(network))?;
        let Some(ready_at_s) = sight.withdrawable_at_s(terms.withdraw_delay_s) else {
            let kinds = [
                Deposited::SIGNATURE_HASH,
                WithdrawFinalized::SIGNATURE_HASH,
                Refunded::SIGNATURE_HASH,
            ];
            return self.told(channel, &kinds, &head).await.map_err(|it| it.on(network));
        };
        let early = Settlement::Refused(RefusedBy::NotYetValid);
        let is_early = head.time_s() < ready_at_s;
        // A chain on which nothing happens stands still, and its next block may be late enough.
        if is_early && self.clock.now().as_secs() < ready_at_s {
            return Ok(early);
        }
        let content = finalizeWithdrawCall { config: (&config_of(terms)).into() };
        let acted = self.act(call("finish", channel.0, &content)).await?;
        let done = |event: WithdrawFinalized| (event.channelId, event.amount);
        let done = self.withdrawn(channel, acted, done).await;
        let failed = if is_early { early } else { Settlement::Refused(RefusedBy::Reverted) };
        Ok(done.unwrap_or(failed))
    }

    /// Whether the contract hears this account for the payer.
    fn is_payer_side(&self, terms: &ChannelTerms) -> bool {
        [terms.payer, terms.payer_authorizer].contains(&self.account)
    }

    /// What came of a step, told by its event; nothing where it failed.
    async fn withdrawn<E: SolEvent>(
        &self,
        channel: ChannelId,
        acted: Acted,
        read: impl Fn(E) -> (B256, u128),
    ) -> Option<Settlement> {
        match acted {
            Acted::Reverts => None,
            Acted::Sent(Outcome::Unseen(transaction)) => Some(unknown(transaction)),
            Acted::Sent(Outcome::Mined(receipt)) => {
                let mut told = events::<E>(&receipt).map(read);
                let (_, amount) = told.find(|(id, _)| *id == channel.0)?;
                Some(self.settled(&receipt, Amount::new(amount)).await)
            }
        }
    }

    /// What the newest of these events says was done before.
    async fn told(
        &self,
        channel: ChannelId,
        kinds: &[B256],
        head: &Head,
    ) -> Result<Settlement, Trouble> {
        let newest = newest_event(&self.node, channel, kinds, head.number()).await?;
        let Some(log) = newest else {
            // Nothing ever came in; or the node does not remember, and then nothing is known.
            return Ok(unknown(None));
        };
        let amount = match said(&log) {
            Ok(amount) => amount,
            Err(reason) => return Ok(Settlement::Refused(reason)),
        };
        let transaction = search::transaction(&log)?;
        Ok(match self.node.receipt(transaction).await? {
            Some(receipt) => self.settled(&receipt, amount).await,
            None => unknown(Some(transaction)),
        })
    }
}

/// What a withdrawal's event speaks of, or why there is none.
fn said(log: &Log) -> Result<Amount, RefusedBy> {
    let begun = decode::<WithdrawInitiated>(&log.inner).map(|event| event.amount);
    let done = || decode::<WithdrawFinalized>(&log.inner).map(|event| event.amount);
    match begun.or_else(done) {
        Some(amount) => Ok(Amount::new(amount)),
        // The money went back by another way.
        None if decode::<Refunded>(&log.inner).is_some() => Err(RefusedBy::Canceled),
        None => Err(RefusedBy::NotYetValid),
    }
}
