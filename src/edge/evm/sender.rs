//! The one who sends: one gas account, one transaction at a time, each awaited.
//!
//! What it sends is safe to send twice: a payer's word moves money once by its own nonce, and a claim
//! says a sum in all. What is remembered here only saves gas.

use std::sync::Arc;
use std::time::Duration;

use alloy::consensus::{SignableTransaction, TxEip1559, TxEnvelope};
use alloy::eips::Encodable2718;
use alloy::eips::eip2930::AccessList;
use alloy::primitives::{Address, B256, Bytes, TxKind, U64, U256};
use alloy::rpc::types::{TransactionReceipt, TransactionRequest};

use crate::domain::time::Timestamp;
use crate::ports::clock::Clock;
use crate::ports::rail::RailError;

use super::config::SettlerConfig;
use super::fees::{Fees, FeesPaid};
use super::node::{Node, Trouble};
use super::settler::GasSigner;

/// How often one transaction is sent anew for a reason that a new nonce or a new price cures.
const TRIES_MAX: u32 = 3;

/// How many transactions may be sent and unseen. A node that mines none is given no more.
const PENDING_MAX: usize = 16;

/// How often one of them is made dearer.
const PRICES_MAX: usize = 8;

/// How long a price of gas is taken to hold.
const FEES_FRESH: Duration = Duration::from_secs(5);

/// The shortest and the longest pause between two looks for a receipt.
const LOOK_EVERY: (Duration, Duration) = (Duration::from_millis(2), Duration::from_secs(1));

/// A call of a contract.
#[derive(Clone, Debug)]
pub(super) struct Call {
    /// What it is known by while it is under way: no second one of the same name is sent meanwhile.
    pub(super) name: B256,
    pub(super) to: Address,
    pub(super) input: Bytes,
}

/// What came of a call that was sent.
#[derive(Debug)]
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

/// A transaction that was sent and not yet seen in a block.
#[derive(Clone, Debug)]
struct Pending {
    call: Call,
    nonce: u64,
    gas_limit: u64,
    fees: Fees,
    raw: Bytes,
    /// One for each price it was sent at; at most one of them is ever mined.
    hashes: Vec<B256>,
}

/// How a node took a transaction.
enum Taken {
    /// It has it, or may have it.
    Perhaps,
    /// It has not, and a new nonce or price may help.
    Again,
}

pub(super) struct Sender {
    pub(super) node: Arc<Node>,
    pub(super) signer: GasSigner,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) config: SettlerConfig,
    next_nonce: Option<u64>,
    fees: Option<(Timestamp, Fees)>,
    pending: Vec<Pending>,
    /// How long receipts have taken lately: the chain's own pace.
    pace: Duration,
    fees_paid: FeesPaid,
}

impl Sender {
    pub(super) fn new(
        node: Arc<Node>,
        signer: GasSigner,
        clock: Arc<dyn Clock>,
        config: SettlerConfig,
        fees_paid: FeesPaid,
    ) -> Self {
        let pace = Duration::from_millis(500);
        Self {
            node,
            signer,
            clock,
            config,
            next_nonce: None,
            fees: None,
            pending: vec![],
            pace,
            fees_paid,
        }
    }

    /// The account that it sends from.
    pub(super) fn account(&self) -> Address {
        self.signer.address()
    }

    /// What came of the call with this name that is under way, after one more look; nothing where there
    /// is none.
    pub(super) async fn resume(&mut self, name: B256) -> Option<Outcome> {
        let place = self.pending.iter().position(|one| one.call.name == name)?;
        let pending = self.pending.remove(place);
        let pending = self.send_again(pending).await;
        Some(self.follow(pending).await)
    }

    /// What `call` would use, in gas: the estimate runs it, so one that would revert is not sent.
    pub(super) async fn estimate(&self, call: &Call) -> Result<u64, Trouble> {
        self.estimate_of(call, self.account()).await
    }

    async fn estimate_of(&self, call: &Call, from: Address) -> Result<u64, Trouble> {
        let request = self.request(call).from(from);
        Ok(self.node.ask::<_, U64>("eth_estimateGas", (request,)).await?.to())
    }

    /// Whether `call` would revert now, made by `from`. Asked as the estimate is, so that both speak of the
    /// same state.
    pub(super) async fn reverts(&self, call: &Call, from: Address) -> Result<bool, RailError> {
        match self.estimate_of(call, from).await {
            Ok(_) => Ok(false),
            Err(Trouble::Refused(error)) if is_revert(&error) => Ok(true),
            Err(other) => Err(other.on(self.node.network())),
        }
    }

    /// Sends `call` and awaits it; `gas` is what it was estimated to use.
    pub(super) async fn execute(&mut self, call: Call, gas: u64) -> Result<Outcome, RailError> {
        // A quarter more: another payment may change what slots cost in between.
        let gas_limit = gas.saturating_add(gas.div_ceil(4));
        let pending = self.send(call, gas_limit).await?;
        Ok(self.follow(pending).await)
    }

    /// Does `call`: tries it, sends it and awaits it; where it is under way already, awaits that.
    pub(super) async fn act(&mut self, call: Call) -> Result<Acted, RailError> {
        if let Some(outcome) = self.resume(call.name).await {
            return Ok(Acted::Sent(outcome));
        }
        self.push_on().await?;
        match self.estimate(&call).await {
            Ok(gas) => Ok(Acted::Sent(self.execute(call, gas).await?)),
            Err(Trouble::Refused(error)) if is_revert(&error) => Ok(Acted::Reverts),
            Err(other) => Err(other.on(self.node.network())),
        }
    }

    fn request(&self, call: &Call) -> TransactionRequest {
        TransactionRequest::default()
            .from(self.account())
            .to(call.to)
            .input(call.input.clone().into())
    }

    /// Sends a new transaction, and returns when the node has it or may have it.
    async fn send(&mut self, call: Call, gas_limit: u64) -> Result<Pending, RailError> {
        let network = self.node.network();
        for _ in 0..TRIES_MAX {
            let (nonce, fees) = (self.nonce().await?, self.fees().await?);
            let (raw, hash) = self.sign(&call, nonce, gas_limit, fees).await?;
            match self.node.ask::<_, B256>("eth_sendRawTransaction", (raw.clone(),)).await {
                Ok(_) => {}
                Err(Trouble::Refused(error)) => match taken(&error.message) {
                    Some(Taken::Perhaps) => {}
                    Some(Taken::Again) => {
                        (self.next_nonce, self.fees) = (None, None);
                        // Too low may be our own success, told late.
                        let known = self.node.ask::<_, Option<serde_json::Value>>(
                            "eth_getTransactionByHash",
                            (hash,),
                        );
                        let known = known.await.ok().flatten();
                        if known.is_none() {
                            continue;
                        }
                    }
                    None if error.message.contains("insufficient funds") => {
                        return Err(self.gas_empty(gas_limit, fees).await?);
                    }
                    None => return Err(Trouble::Refused(error).on(network)),
                },
                // No answer is no refusal: from here on the outcome is unknown until it is seen.
                Err(Trouble::Silent(_) | Trouble::Nonsense(_)) => {}
            }
            self.next_nonce = Some(nonce.saturating_add(1));
            return Ok(Pending { call, nonce, gas_limit, fees, raw, hashes: vec![hash] });
        }
        let problem = "it takes no transaction of the gas account".to_owned();
        Err(RailError::Unreachable { network, problem })
    }

    /// Awaits a transaction that may have been sent.
    async fn follow(&mut self, pending: Pending) -> Outcome {
        let sent = self.clock.now();
        let last = pending.hashes.last().copied();
        let Some(receipt) = self.wait(&pending.hashes).await else {
            self.pending.push(pending);
            return Outcome::Unseen(last);
        };
        let took = self.clock.now().since(sent);
        self.pace =
            self.pace.saturating_mul(3).saturating_add(took).checked_div(4).unwrap_or_default();
        self.fees_paid.add(&receipt);
        Outcome::Mined(Box::new(receipt))
    }

    /// The receipt of whichever of `hashes` was mined, once enough blocks stand on it; nothing when
    /// the patience ends first.
    pub(super) async fn wait(&self, hashes: &[B256]) -> Option<TransactionReceipt> {
        let until = self.clock.now().after(self.config.wait_max);
        let longest =
            self.pace.checked_div(4).unwrap_or_default().clamp(LOOK_EVERY.0, LOOK_EVERY.1);
        let mut pause = LOOK_EVERY.0;
        loop {
            for hash in hashes {
                // A look that fails is made again: the receipt is not less there.
                if let Ok(Some(receipt)) = self.node.receipt(*hash).await
                    && self.is_deep(&receipt).await
                {
                    return Some(receipt);
                }
            }
            let now = self.clock.now();
            if now >= until {
                return None;
            }
            self.clock.sleep_until(now.after(pause).min(until)).await;
            pause = pause.saturating_mul(2).min(longest);
        }
    }

    /// Whether enough blocks stand on the receipt's.
    async fn is_deep(&self, receipt: &TransactionReceipt) -> bool {
        let Some(block) = receipt.block_number else { return false };
        if self.config.confirmations == 0 {
            return true;
        }
        let newest = self.node.latest().await.map(|head| head.number());
        newest.is_ok_and(|newest| newest.saturating_sub(block) >= self.config.confirmations)
    }

    /// Gets earlier transactions out of the way: a later one is not mined before them.
    pub(super) async fn push_on(&mut self) -> Result<(), RailError> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let network = self.node.network();
        let mined = self.count("latest").await.map_err(|it| it.on(network))?;
        self.pending.retain(|one| one.nonce >= mined);
        if self.pending.len() >= PENDING_MAX {
            let problem = format!("{PENDING_MAX} transactions wait to be mined");
            return Err(RailError::Unreachable { network, problem });
        }
        for pending in std::mem::take(&mut self.pending) {
            let pending = self.send_again(pending).await;
            self.pending.push(pending);
        }
        Ok(())
    }

    /// Sends a transaction again, dearer where the price of gas has risen above its own. Whatever
    /// the node says to that, the first sending still stands.
    async fn send_again(&mut self, mut pending: Pending) -> Pending {
        self.fees = None;
        if let Ok(now) = self.fees().await
            && now.most > pending.fees.most
            && pending.hashes.len() < PRICES_MAX
        {
            let least = pending.fees.dearer();
            let fees = Fees { most: now.most.max(least.most), tip: now.tip.max(least.tip) };
            let Pending { ref call, nonce, gas_limit, .. } = pending;
            if fees.most <= self.config.fee_wei_max
                && let Ok((raw, hash)) = self.sign(call, nonce, gas_limit, fees).await
            {
                pending.hashes.push(hash);
                (pending.raw, pending.fees) = (raw, fees);
            }
        }
        let raw = pending.raw.clone();
        drop(self.node.ask::<_, B256>("eth_sendRawTransaction", (raw,)).await);
        pending
    }

    async fn sign(
        &self,
        call: &Call,
        nonce: u64,
        gas_limit: u64,
        fees: Fees,
    ) -> Result<(Bytes, B256), RailError> {
        let network = self.node.network();
        let mut transaction = TxEip1559 {
            chain_id: network.chain_id(),
            nonce,
            gas_limit,
            max_fee_per_gas: fees.most,
            max_priority_fee_per_gas: fees.tip,
            to: TxKind::Call(call.to),
            value: U256::ZERO,
            access_list: AccessList::default(),
            input: call.input.clone(),
        };
        let signature = self.signer.sign_transaction(&mut transaction).await.map_err(|_| {
            let problem = "the gas account's key did not sign".to_owned();
            RailError::Unreachable { network, problem }
        })?;
        let signed = TxEnvelope::from(transaction.into_signed(signature));
        Ok((signed.encoded_2718().into(), *signed.tx_hash()))
    }

    async fn nonce(&mut self) -> Result<u64, RailError> {
        if let Some(nonce) = self.next_nonce {
            return Ok(nonce);
        }
        self.count("pending").await.map_err(|it| it.on(self.node.network()))
    }

    /// How many transactions the gas account has made.
    async fn count(&self, tag: &'static str) -> Result<u64, Trouble> {
        let account = self.signer.address();
        let count: U64 = self.node.ask("eth_getTransactionCount", (account, tag)).await?;
        Ok(count.to())
    }

    async fn fees(&mut self) -> Result<Fees, RailError> {
        let now = self.clock.now();
        if let Some((asked, fees)) = self.fees
            && now.since(asked) < FEES_FRESH
        {
            return Ok(fees);
        }
        let fees = Fees::ask(&self.node, self.config.fee_wei_max).await?;
        self.fees = Some((now, fees));
        Ok(fees)
    }

    async fn gas_empty(&self, gas_limit: u64, fees: Fees) -> Result<RailError, RailError> {
        let account = self.signer.address();
        let balance: U256 = self
            .node
            .ask("eth_getBalance", (account, "latest"))
            .await
            .map_err(|it| it.on(self.node.network()))?;
        let needed = fees.most.saturating_mul(gas_limit.into());
        Ok(RailError::GasEmpty { account, balance: balance.saturating_to(), needed })
    }
}

/// How a node that answered a sending with this message took it; nothing where it did not, and
/// trying again would not help.
fn taken(message: &str) -> Option<Taken> {
    let message = message.to_lowercase();
    let says = |words: &[&str]| words.iter().any(|word| message.contains(word));
    if says(&["already known", "already imported", "replacement transaction underpriced"]) {
        Some(Taken::Perhaps)
    } else if says(&["nonce too low", "nonce too high", "underpriced", "less than block base fee"])
    {
        Some(Taken::Again)
    } else {
        None
    }
}

/// Whether the node's error is a revert. Source: geth answers code 3; others say so in words.
pub(super) fn is_revert(error: &alloy::rpc::json_rpc::ErrorPayload) -> bool {
    error.code == 3 || error.message.to_lowercase().contains("revert")
}
