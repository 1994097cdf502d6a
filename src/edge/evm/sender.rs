//! What acts from one gas account: tries a call, has it sent, and awaits it. Many act at once; what each of
//! them sends goes through the one [`Post`].
//!
//! What is sent is safe to send twice: a payer's word moves money once by its own nonce, and a claim says
//! a sum in all. What is remembered only saves gas.

use std::sync::Arc;
use std::time::Duration;

use alloy::primitives::{Address, B256, Bytes, TxKind, U64};
use alloy::rpc::types::{TransactionReceipt, TransactionRequest};

use crate::ports::clock::Clock;
use crate::ports::rail::RailError;

use super::config::SettlerConfig;
use super::node::{Node, Trouble};
use super::post::Post;
use super::trials::Trials;
use super::wallets::Denials;

/// The shortest pause between two looks for a receipt.
pub(super) const LOOK_FIRST: Duration = Duration::from_millis(2);

/// What one settlement may use, in gas: more than any was seen to, by Permit2 with a permit as well.
pub(super) const SETTLEMENT_GAS: u64 = 180_000;

/// What is set as the most for a transaction that would use `gas`: a quarter more, because another payment
/// may change what slots cost in between.
pub(super) const fn gas_limit(gas: u64) -> u64 {
    gas.saturating_add(gas.div_ceil(4))
}

/// A call of a contract, or the making of one that does all in its constructor.
#[derive(Clone, Debug)]
pub(super) struct Call {
    /// What it is known by while it is under way: no second one of the same name is sent meanwhile.
    pub(super) name: B256,
    pub(super) to: TxKind,
    pub(super) input: Bytes,
}

impl Call {
    pub(super) fn request(&self) -> TransactionRequest {
        let to = Some(self.to);
        TransactionRequest { to, ..Default::default() }.input(self.input.clone().into())
    }
}

/// What came of a call that was sent.
#[derive(Clone, Debug)]
pub(super) enum Outcome {
    /// It is in a block, whether it did what it was sent for or not.
    Mined(Box<TransactionReceipt>),
    /// It was not seen yet.
    Unseen(Option<B256>),
}

/// What came of a call that was tried first.
#[derive(Debug)]
pub(super) enum Acted {
    /// It was sent.
    Sent(Outcome),
    /// It would have reverted, and was not sent.
    Reverts,
}

pub(super) struct Sender {
    pub(super) node: Arc<Node>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) config: SettlerConfig,
    pub(super) account: Address,
    pub(super) post: Post,
    pub(super) trials: Arc<Trials>,
    pub(super) denials: Arc<Denials>,
    /// Payers of whom several were asked in one claim, and one denied its word.
    pub(super) suspects: Denials,
}

impl Sender {
    /// What came of the call with this name that is under way, after one more look; nothing where there
    /// is none.
    pub(super) async fn resume(&self, name: B256) -> Option<Outcome> {
        self.post.follow(name).await
    }

    /// What `call` would use, in gas: the estimate runs it, so one that would revert is not sent.
    pub(super) async fn estimate(&self, call: &Call) -> Result<u64, Trouble> {
        self.estimate_of(call, self.account).await
    }

    async fn estimate_of(&self, call: &Call, from: Address) -> Result<u64, Trouble> {
        let request = self.request(call).from(from);
        Ok(self.node.ask::<_, U64>("eth_estimateGas", (request,)).await?.to())
    }

    /// Whether `call` would revert now, made by `from`, or use more gas than `most`. Asked as the estimate is, so
    /// that both speak of the same state.
    pub(super) async fn reverts(
        &self,
        call: &Call,
        from: Address,
        most: Option<u64>,
    ) -> Result<bool, RailError> {
        match self.estimate_of(call, from).await {
            Ok(gas) => Ok(most.is_some_and(|most| gas > most)),
            Err(Trouble::Refused(error)) if is_revert(&error) => Ok(true),
            Err(other) => Err(other.on(self.node.network())),
        }
    }

    /// Sends `call` and awaits it; `gas` is what it was estimated to use.
    pub(super) async fn execute(&self, call: Call, gas: u64) -> Result<Outcome, RailError> {
        self.post.send(call, gas_limit(gas)).await
    }

    /// Does `call`: tries it, sends it and awaits it; where it is under way already, awaits that.
    pub(super) async fn act(&self, call: Call) -> Result<Acted, RailError> {
        self.act_within(call, None).await
    }

    /// The same of one that is not sent either where it would use more gas than `most`.
    pub(super) async fn act_within(
        &self,
        call: Call,
        most: Option<u64>,
    ) -> Result<Acted, RailError> {
        if let Some(outcome) = self.resume(call.name).await {
            return Ok(Acted::Sent(outcome));
        }
        match self.estimate(&call).await {
            Ok(gas) if most.is_some_and(|most| gas > most) => Ok(Acted::Reverts),
            Ok(gas) => Ok(Acted::Sent(self.execute(call, gas).await?)),
            Err(Trouble::Refused(error)) if is_revert(&error) => Ok(Acted::Reverts),
            Err(other) => Err(other.on(self.node.network())),
        }
    }

    fn request(&self, call: &Call) -> TransactionRequest {
        call.request().from(self.account)
    }

    /// The receipt of a transaction of somebody else, once enough blocks stand on it; nothing when the
    /// patience ends first.
    pub(super) async fn wait(&self, hash: B256) -> Option<TransactionReceipt> {
        let until = self.clock.now().after(self.config.wait_max);
        let mut pause = LOOK_FIRST;
        loop {
            // A look that fails is made again: the receipt is not less there.
            if let Ok(Some(receipt)) = self.node.receipt(hash).await
                && self.is_deep(&receipt).await
            {
                return Some(receipt);
            }
            let now = self.clock.now();
            if now >= until {
                return None;
            }
            self.clock.sleep_until(now.after(pause).min(until)).await;
            pause = self.config.longer(pause);
        }
    }

    /// Whether enough blocks stand on the receipt's.
    async fn is_deep(&self, receipt: &TransactionReceipt) -> bool {
        let newest = match self.config.confirmations {
            0 => None,
            _ => self.node.latest().await.map(|head| head.number()).ok(),
        };
        self.config.is_deep(receipt, newest)
    }
}

impl SettlerConfig {
    /// The pause between two looks for a receipt after one of so long: half as long again, so that a block is
    /// seen soon after it is there.
    pub(super) fn longer(&self, pause: Duration) -> Duration {
        let half = pause.checked_div(2).unwrap_or_default();
        pause.saturating_add(half).min(self.look_max)
    }

    /// Whether enough blocks stand on the receipt's, where the newest block is known to be `newest`.
    pub(super) fn is_deep(&self, receipt: &TransactionReceipt, newest: Option<u64>) -> bool {
        let Some(block) = receipt.block_number else { return false };
        self.confirmations == 0
            || newest.is_some_and(|newest| newest.saturating_sub(block) >= self.confirmations)
    }
}

/// Whether the node's error is a revert. Source: geth answers code 3; others say so in words.
pub(super) fn is_revert(error: &alloy::rpc::json_rpc::ErrorPayload) -> bool {
    error.code == 3 || error.message.to_lowercase().contains("revert")
}
