//! Sends: signs, numbers and hands in, and reads what the node says to it.

use alloy::consensus::{SignableTransaction, TxEip1559, TxEnvelope};
use alloy::eips::Encodable2718;
use alloy::eips::eip2930::AccessList;
use alloy::primitives::{B256, Bytes, TxKind, U64, U256};

use crate::ports::rail::RailError;

use super::{
    Answer, FEES_FRESH, Letter, PRICES_MAX, PUSH_EVERY, Pending, Postman, STUCK_AFTER, TRIES_MAX,
};
use crate::edge::evm::fees::Fees;
use crate::edge::evm::node::Trouble;
use crate::edge::evm::sender::Call;

/// What a transaction of nothing uses, in gas.
const NOTHING_GAS: u64 = 21_000;

/// How a node took a transaction.
enum Taken {
    /// It has it, or may have it.
    Perhaps,
    /// It has not: another took the nonce.
    NonceUsed,
    /// It has not, and takes none before those that come before it.
    Early,
    /// It has not, and takes a dearer one.
    Cheap,
    /// It has not, and the account cannot pay.
    Empty,
    /// It has not, and trying again would not help.
    Never,
}

/// A letter with what was signed for it.
struct Signed {
    letter: Letter,
    nonce: u64,
    fees: Fees,
    raw: Bytes,
    hash: B256,
}

impl Postman {
    /// Sends `letters`, and returns when the node has each or may have it, or when who asked was told.
    pub(super) async fn send(&mut self, letters: Vec<Letter>) {
        // What was not used for a while may be told otherwise now: by others, or by a reorganisation.
        let now = self.clock.now();
        if self.pending.is_empty() && now.since(self.looked_at) >= PUSH_EVERY {
            self.next_nonce = None;
            self.free.clear();
        }
        let mut left = letters;
        for _ in 0..TRIES_MAX {
            left = self.join_those_under_way(left);
            if left.is_empty() {
                break;
            }
            left = self.send_once(left).await;
        }
        for letter in left {
            let problem = "it takes no transaction of the gas account".to_owned();
            let refused = RailError::Unreachable { network: self.node.network(), problem };
            drop(letter.answer.send(Err(refused)));
        }
        self.look_soon();
    }

    /// Lets those wait whose call is under way already, and gives the others.
    fn join_those_under_way(&mut self, letters: Vec<Letter>) -> Vec<Letter> {
        let mut left: Vec<Letter> = Vec::with_capacity(letters.len());
        for letter in letters {
            let name = letter.call.name;
            let is_it =
                |pending: &Pending| pending.call.as_ref().is_some_and(|call| call.name == name);
            match self.pending.iter().position(is_it) {
                Some(place) => {
                    let waiter = self.waiter(Answer::ToLetter(letter.answer));
                    if let Some(pending) = self.pending.get_mut(place) {
                        pending.waiters.push(waiter);
                    }
                }
                None => left.push(letter),
            }
        }
        left
    }

    /// Sends each once, in one message, and gives those that have to be sent otherwise.
    async fn send_once(&mut self, letters: Vec<Letter>) -> Vec<Letter> {
        let mut signed = Vec::with_capacity(letters.len());
        for letter in letters {
            match self.prepare(&letter).await {
                Ok((nonce, fees, raw, hash)) => {
                    signed.push(Signed { letter, nonce, fees, raw, hash });
                }
                Err(refused) => drop(letter.answer.send(Err(refused))),
            }
        }
        let raws: Vec<(Bytes,)> = signed.iter().map(|signed| (signed.raw.clone(),)).collect();
        if raws.is_empty() {
            return Vec::new();
        }
        let asked = self.node.ask_each::<_, B256>("eth_sendRawTransaction", &raws).await;
        // No answer is no refusal: from here on the outcome is unknown until it is seen.
        let answers = asked.unwrap_or_else(|_| raws.iter().map(|_| Ok(B256::ZERO)).collect());
        let mut again = Vec::new();
        for (signed, answer) in signed.into_iter().zip(answers) {
            again.extend(self.sort(signed, answer).await);
        }
        again
    }

    /// A nonce, a price and a signature for a letter.
    async fn prepare(&mut self, letter: &Letter) -> Result<(u64, Fees, Bytes, B256), RailError> {
        let nonce = self.take_nonce().await?;
        let prepared = async {
            let fees = self.fees().await?;
            let (raw, hash) = self.sign(Some(&letter.call), nonce, letter.gas_limit, fees).await?;
            Ok((nonce, fees, raw, hash))
        };
        let prepared = prepared.await;
        if prepared.is_err() {
            self.give_back(nonce);
        }
        prepared
    }

    /// Puts what was sent among those under way; gives back what has to be sent otherwise.
    async fn sort(&mut self, signed: Signed, answer: Result<B256, Trouble>) -> Option<Letter> {
        let nonce = signed.nonce;
        let (error, taken) = match answer {
            Ok(_) | Err(Trouble::Silent(_) | Trouble::Nonsense(_)) => {
                self.put(signed);
                return None;
            }
            Err(Trouble::Refused(error)) => {
                let taken = taken(&error.message);
                (error, taken)
            }
        };
        match taken {
            Taken::Perhaps => self.put(signed),
            Taken::NonceUsed => {
                self.next_nonce = None;
                // Too low may be our own success, told late.
                if !self.is_known(signed.hash).await {
                    return Some(signed.letter);
                }
                self.put(signed);
            }
            Taken::Early => {
                self.give_back(nonce);
                // Nothing of ours is before it: the chain has forgotten what was.
                if self.pending.is_empty() && !planted!("forgotten_nonces_waited_for") {
                    self.next_nonce = None;
                    self.free.clear();
                }
                self.push().await;
                return Some(signed.letter);
            }
            Taken::Cheap => {
                self.give_back(nonce);
                self.fees = None;
                return Some(signed.letter);
            }
            Taken::Empty => {
                self.give_back(nonce);
                let refused = self.gas_empty(signed.letter.gas_limit, signed.fees).await;
                let refused = refused.unwrap_or_else(|refused| refused);
                drop(signed.letter.answer.send(Err(refused)));
            }
            Taken::Never => {
                self.give_back(nonce);
                let refused = Trouble::Refused(error).on(self.node.network());
                drop(signed.letter.answer.send(Err(refused)));
            }
        }
        None
    }

    fn put(&mut self, signed: Signed) {
        let Signed { letter: Letter { call, gas_limit, answer }, nonce, fees, raw, hash } = signed;
        let waiters = vec![self.waiter(Answer::ToLetter(answer))];
        let sent_at = self.clock.now();
        let (call, hashes) = (Some(call), vec![hash]);
        let pending =
            Pending { call, nonce, gas_limit, fees, raw, hashes, sent_at, gone: 0, waiters };
        self.insert(pending);
    }

    fn insert(&mut self, pending: Pending) {
        let place = self.pending.partition_point(|other| other.nonce < pending.nonce);
        self.pending.insert(place, pending);
    }

    async fn is_known(&self, hash: B256) -> bool {
        let asked =
            self.node.ask::<_, Option<serde_json::Value>>("eth_getTransactionByHash", (hash,));
        asked.await.ok().flatten().is_some()
    }

    /// Sends a transaction again, dearer where the price of gas has risen above its own, or where it is the
    /// next to be mined and was not for long. Whatever the node says to that, the first sending still
    /// stands.
    pub(super) async fn send_again(&mut self, place: usize) {
        self.fees = None;
        let fees = self.fees().await.ok();
        self.make_dearer(place, fees).await;
        if let Some(pending) = self.pending.get(place) {
            let raw = pending.raw.clone();
            drop(self.node.ask::<_, B256>("eth_sendRawTransaction", (raw,)).await);
        }
    }

    /// Gives the transaction at `place` a higher price, where one is due and allowed.
    pub(super) async fn make_dearer(&mut self, place: usize, now: Option<Fees>) {
        let (Some(now), Some(pending)) = (now, self.pending.get(place)) else { return };
        let waited = self.clock.now().since(pending.sent_at);
        let is_stuck = place == 0 && waited >= STUCK_AFTER;
        if (now.most <= pending.fees.most && !is_stuck) || pending.hashes.len() >= PRICES_MAX {
            return;
        }
        let least = pending.fees.dearer();
        let fees = Fees { most: now.most.max(least.most), tip: now.tip.max(least.tip) };
        if fees.most > self.config.fee_wei_max {
            return;
        }
        let (nonce, gas_limit) = (pending.nonce, pending.gas_limit);
        let Ok((raw, hash)) = self.sign(pending.call.as_ref(), nonce, gas_limit, fees).await else {
            return;
        };
        let sent_at = self.clock.now();
        if let Some(pending) = self.pending.get_mut(place) {
            pending.hashes.push(hash);
            (pending.raw, pending.fees, pending.sent_at) = (raw, fees, sent_at);
        }
    }

    /// Fills the nonces below others that nothing is to be sent under any more.
    pub(super) async fn fill_gaps(&mut self) {
        let Some(highest) = self.pending.last().map(|pending| pending.nonce) else {
            return;
        };
        let gaps: Vec<u64> = self.free.range(..highest).copied().collect();
        for nonce in gaps {
            let Ok(fees) = self.fees().await else { return };
            let Ok((raw, hash)) = self.sign(None, nonce, NOTHING_GAS, fees).await else { return };
            drop(self.node.ask::<_, B256>("eth_sendRawTransaction", (raw.clone(),)).await);
            self.free.remove(&nonce);
            let (hashes, waiters) = (vec![hash], Vec::new());
            let (gas_limit, sent_at) = (NOTHING_GAS, self.clock.now());
            self.insert(Pending {
                call: None,
                nonce,
                gas_limit,
                fees,
                raw,
                hashes,
                sent_at,
                gone: 0,
                waiters,
            });
        }
    }

    async fn sign(
        &self,
        call: Option<&Call>,
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
            to: call.map_or_else(|| TxKind::Call(self.signer.address()), |call| call.to),
            value: U256::ZERO,
            access_list: AccessList::default(),
            input: call.map(|call| call.input.clone()).unwrap_or_default(),
        };
        let signature = self.signer.sign_transaction(&mut transaction).await.map_err(|_| {
            let problem = "the gas account's key did not sign".to_owned();
            RailError::Unreachable { network, problem }
        })?;
        let signed = TxEnvelope::from(transaction.into_signed(signature));
        Ok((signed.encoded_2718().into(), *signed.tx_hash()))
    }

    /// The lowest nonce that nothing was sent under.
    async fn take_nonce(&mut self) -> Result<u64, RailError> {
        if let Some(free) = self.free.pop_first() {
            return Ok(free);
        }
        let nonce = match self.next_nonce {
            Some(nonce) => nonce,
            None => {
                let count = self.count("pending").await;
                let count = count.map_err(|it| it.on(self.node.network()))?;
                let after = self.pending.last().map_or(0, |last| last.nonce.saturating_add(1));
                count.max(after)
            }
        };
        self.next_nonce = Some(nonce.saturating_add(1));
        Ok(nonce)
    }

    /// Nothing was sent under `nonce`.
    fn give_back(&mut self, nonce: u64) {
        if self.next_nonce == Some(nonce.saturating_add(1)) {
            self.next_nonce = Some(nonce);
        } else if self.next_nonce.is_some() {
            self.free.insert(nonce);
        }
    }

    /// How many transactions the gas account has made.
    pub(super) async fn count(&self, tag: &'static str) -> Result<u64, Trouble> {
        let account = self.signer.address();
        let count: U64 = self.node.ask("eth_getTransactionCount", (account, tag)).await?;
        Ok(count.to())
    }

    pub(super) async fn fees(&mut self) -> Result<Fees, RailError> {
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

/// How a node that answered a sending with this message took it.
fn taken(message: &str) -> Taken {
    let message = message.to_lowercase();
    let says = |words: &[&str]| words.iter().any(|word| message.contains(word));
    if says(&["already known", "already imported", "replacement transaction underpriced"]) {
        Taken::Perhaps
    } else if says(&["nonce too low"]) {
        Taken::NonceUsed
    } else if says(&["nonce too high"]) {
        Taken::Early
    } else if says(&["underpriced", "less than block base fee"]) {
        Taken::Cheap
    } else if says(&["insufficient funds"]) {
        Taken::Empty
    } else {
        Taken::Never
    }
}
