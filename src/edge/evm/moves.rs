//! A payer's word that its money moves, once: an authorization that pays, or one that fills a channel.
//! Its own nonce is the evidence, so that it may be handed in as often as one likes.

use alloy::primitives::{Address, B256, Bytes, Signature, TxKind, U256, keccak256};
use alloy::rpc::types::TransactionReceipt;
use alloy::sol_types::{SolCall, SolStruct, SolValue};

use crate::domain::channel::{ChannelId, Incoming};
use crate::domain::commitment::{AuthorizationKey, Commitment, TransferMethod};
use crate::domain::money::Amount;
use crate::domain::x402::batch::funding::{by_permit2, by_token, deposit_deadline_s};
use crate::domain::x402::batch::permitted::movement;
use crate::domain::x402::batch::typed::{
    BATCH_SETTLEMENT, ERC3009_COLLECTOR, PERMIT2_COLLECTOR, config_of, id_of,
};
use crate::domain::x402::permit::permit2_digest;
use crate::domain::x402::permit2::permit2_domain;
use crate::ports::channel_rail::{ContractDeposit, SignedDeposit};
use crate::ports::rail::{Authorization, RailError, RefusedBy, Settlement};

use super::abi;
use super::contracts::{BatchSettlement, erc3009_collector_data, permit2_collector_data};
use super::judge::{Verdict, judge};
use super::node::{Node, Trouble};
use super::permit2;
use super::read::{self, Sought, Trace};
use super::sender::{Call, Outcome, SETTLEMENT_GAS, Sender, is_revert};
use super::trials::Trial;
use super::wallets::{CONTRACT_GAS_MAX, ContractWord, first_payment};

/// One move of money.
#[derive(Clone, Debug)]
pub(super) struct Move {
    /// Its nonce, and where its money has to go.
    pub(super) sought: Sought,
    pub(super) amount: Amount,
    /// Exclusive, as all times of EIP-3009.
    pub(super) valid_after_s: u64,
    /// Exclusive.
    pub(super) valid_before_s: u64,
    /// Hands it in.
    pub(super) call: Call,
    /// The payer's nonce at the token of the permit that is handed in with it.
    permit_nonce: Option<u64>,
    /// What was signed.
    signed: Signed,
    word: Word,
}

/// By whose word.
#[derive(Clone, Debug)]
enum Word {
    Key(Signature),
    Contract(ContractWord),
}

impl Word {
    fn to_bytes(&self) -> Bytes {
        match self {
            Self::Key(signature) => Bytes::from(signature.as_bytes()),
            Self::Contract(word) => word.signature.clone(),
        }
    }
}

/// What a payer signed.
#[derive(Copy, Clone, Debug)]
enum Signed {
    /// This, in the token's domain.
    AtToken(B256),
    /// This, with its domain.
    AtPermit2(B256),
}

impl Move {
    /// Whether its payer signed it, by what the token says of its domain on `block`.
    pub(super) async fn check_word(
        &self,
        node: &Node,
        block: B256,
    ) -> Result<Result<(), RefusedBy>, Trouble> {
        let digest = match self.signed {
            Signed::AtPermit2(digest) => digest,
            Signed::AtToken(content) => {
                let token = self.sought.key.asset.contract;
                let domain = node.view(token, abi::DOMAIN_SEPARATORCall {}, block).await?;
                keccak256(("\x19\x01", domain, content).abi_encode_packed())
            }
        };
        let payer = self.sought.key.payer;
        match &self.word {
            Word::Key(signature) => {
                let signer = signature.recover_address_from_prehash(&digest).ok();
                Ok(if signer == Some(payer) { Ok(()) } else { Err(RefusedBy::BadSignature) })
            }
            Word::Contract(word) => word.check(node, payer, digest, block).await,
        }
    }

    /// Whether Permit2 may move it, by its allowance or by a permit that is still good.
    pub(super) async fn is_allowed(&self, node: &Node, block: B256) -> Result<bool, Trouble> {
        if !self.sought.by_permit2 {
            return Ok(true);
        }
        let AuthorizationKey { asset, payer, .. } = self.sought.key;
        let allowance = node.permit2_allowance(asset, payer, block).await?;
        let by_permit = self.permit_nonce.is_some() && allowance.permit_nonce == self.permit_nonce;
        Ok(by_permit || allowance.amount >= self.amount)
    }

    /// `amount` of what was authorized.
    pub(super) fn of(authorization: &Authorization, amount: Amount) -> Self {
        Self::by(&authorization.commitment, Word::Key(authorization.signature), amount)
    }

    /// The same by the word of a contract.
    pub(super) fn of_contract(commitment: &Commitment, word: ContractWord, amount: Amount) -> Self {
        Self::by(commitment, Word::Contract(word), amount)
    }

    /// What it may use, in gas: a contract that is asked for its word costs what it likes, and a key's own
    /// account may run the code of one. Source: EIP-7702.
    pub(super) const fn gas_max(&self) -> u64 {
        match &self.word {
            Word::Key(_) => CONTRACT_GAS_MAX,
            Word::Contract(word) => word.gas_max(),
        }
    }

    /// How it is tried out with so much gas. A token moves by a key's word whoever calls it.
    pub(super) fn trial(&self, gas_max: u64) -> Trial {
        let by_anybody = self.is_plain() && !self.sought.by_permit2;
        Trial { call: self.call.clone(), gas_max, by_anybody }
    }

    /// Whether it is known what it uses at most, so that nobody has to be asked for an estimate: a node runs
    /// a call several times for that.
    const fn is_plain(&self) -> bool {
        matches!(self.word, Word::Key(_)) && self.sought.channel.is_none()
    }

    fn by(commitment: &Commitment, word: Word, amount: Amount) -> Self {
        let sought = Sought::from(commitment);
        let name = name_of(&sought.key);
        let (to, input, valid_after_s, signed) = if sought.by_permit2 {
            let (to, input) = permit2::settle_call(commitment, &word.to_bytes(), amount);
            // The spender's is inclusive.
            let valid_after_s = commitment.valid_after_s.saturating_sub(1);
            let signed = Signed::AtPermit2(permit2_digest(commitment));
            (TxKind::Call(to), input, valid_after_s, signed)
        } else {
            let signed = Signed::AtToken(abi::content(commitment));
            let (to, input) = at_token(commitment, &word);
            (to, input, commitment.valid_after_s, signed)
        };
        Self {
            sought,
            amount,
            valid_after_s,
            valid_before_s: commitment.valid_before_s,
            call: Call { name, to, input },
            permit_nonce: permit_nonce(commitment.method),
            signed,
            word,
        }
    }
}

/// What moves it by the token's own EIP-3009, with the making of its wallet where that comes first.
fn at_token(commitment: &Commitment, word: &Word) -> (TxKind, Bytes) {
    let token = commitment.asset.contract;
    let word = match word {
        Word::Key(signature) => {
            return (TxKind::Call(token), abi::settle_call(commitment, signature));
        }
        Word::Contract(word) => word,
    };
    let payment = abi::settle_contract_call(commitment, &word.signature);
    match &word.making {
        None => (TxKind::Call(token), payment),
        Some(making) => (TxKind::Create, first_payment(commitment.payer, making, token, payment)),
    }
}

impl From<&Authorization> for Move {
    fn from(authorization: &Authorization) -> Self {
        Self::of(authorization, authorization.commitment.amount_max)
    }
}

impl From<&SignedDeposit> for Move {
    fn from(deposit: &SignedDeposit) -> Self {
        Self::of_deposit(deposit, Word::Key(deposit.signature))
    }
}

impl Move {
    /// A deposit by the word of a contract.
    pub(super) fn of_contract_deposit(deposit: &ContractDeposit, word: ContractWord) -> Self {
        Self::of_deposit(deposit, Word::Contract(word))
    }

    fn of_deposit<S: Clone>(deposit: &SignedDeposit<S>, word: Word) -> Self {
        let SignedDeposit { terms, amount, method, valid_before_s, .. } = deposit;
        let channel = id_of(terms);
        let incoming = deposit.word().incoming(channel);
        let moved = movement(terms, &incoming);
        let sought = Sought { channel: Some(channel), ..Sought::from(&moved) };
        let (collector, data) = collected(&incoming, &moved, &word.to_bytes());
        let input = BatchSettlement::depositCall {
            config: (&config_of(terms)).into(),
            amount: amount.get(),
            collector,
            collectorData: data,
        };
        let signed = match method.is_permit2() {
            true => {
                let content = by_permit2(terms.asset.contract, channel, &incoming.deposit);
                let domain = permit2_domain(terms.asset.network);
                Signed::AtPermit2(content.eip712_signing_hash(&domain))
            }
            false => {
                let content = by_token(terms.payer, channel, &incoming.deposit);
                Signed::AtToken(content.eip712_hash_struct())
            }
        };
        let (name, input) = (name_of(&sought.key), input.abi_encode().into());
        Self {
            sought,
            amount: *amount,
            valid_after_s: 0,
            valid_before_s: *valid_before_s,
            call: Call { name, to: TxKind::Call(BATCH_SETTLEMENT), input },
            permit_nonce: permit_nonce(*method),
            signed,
            word,
        }
    }
}

/// Who brings a deposit, and what it reads.
fn collected(incoming: &Incoming, moved: &Commitment, signed: &Bytes) -> (Address, Bytes) {
    let deposit = &incoming.deposit;
    if incoming.method.is_permit2() {
        let deadline = U256::from(deposit_deadline_s(deposit.valid_before_s));
        let sponsored = permit2::sponsored(moved);
        let (nonce, sponsored) = (moved.nonce.into(), sponsored.as_ref());
        return (PERMIT2_COLLECTOR, permit2_collector_data(nonce, deadline, signed, sponsored));
    }
    let salt = U256::from_be_bytes(deposit.salt.0);
    let valid_before = U256::from(deposit.valid_before_s);
    (ERC3009_COLLECTOR, erc3009_collector_data(U256::ZERO, valid_before, salt, signed))
}

const fn permit_nonce(method: TransferMethod) -> Option<u64> {
    match method {
        TransferMethod::Permit2By(permit) => Some(permit.nonce),
        TransferMethod::Eip3009 | TransferMethod::Permit2 | TransferMethod::Permit2Sponsored => {
            None
        }
    }
}

fn name_of(key: &AuthorizationKey) -> B256 {
    keccak256((key.asset.contract, key.payer, key.nonce).abi_encode())
}

impl Sender {
    /// Moves the money, or says why it does not move. An error means that nothing was sent.
    pub(super) async fn settle(&self, wanted: &Move) -> Result<Settlement, RailError> {
        if let Some(outcome) = self.resume(wanted.call.name).await {
            return Ok(self.conclude(wanted, outcome).await);
        }
        let gas = match self.gas_of(wanted).await {
            // A contract that burns gas pays for none of it.
            Ok(gas) if gas > wanted.gas_max() || self.is_denied(wanted) => {
                return Ok(Settlement::Refused(RefusedBy::Reverted));
            }
            Ok(gas) => gas,
            Err(refused @ Trouble::Refused(_)) => return self.explain(wanted, refused).await,
            Err(other) => return Err(other.on(self.node.network())),
        };
        let outcome = self.execute(wanted.call.clone(), gas).await?;
        Ok(self.conclude(wanted, outcome).await)
    }

    /// What it would use at most, in gas.
    async fn gas_of(&self, wanted: &Move) -> Result<u64, Trouble> {
        if wanted.is_plain() {
            match self.trials.run(wanted.trial(SETTLEMENT_GAS)).await {
                Ok(()) => return Ok(SETTLEMENT_GAS),
                // It reverts, or needs more: the estimate tells which.
                Err(Trouble::Refused(_)) => {}
                Err(other) => return Err(other),
            }
        }
        self.estimate(&wanted.call).await
    }

    /// Whether it is a contract's word that denied one in a block a while ago.
    fn is_denied(&self, wanted: &Move) -> bool {
        self.denials.holds(wanted.sought.key.payer, self.clock.now())
    }

    /// Why the node would not run it; nothing was sent.
    async fn explain(&self, wanted: &Move, refused: Trouble) -> Result<Settlement, RailError> {
        let network = self.node.network();
        let reverted = matches!(&refused, Trouble::Refused(error) if is_revert(error));
        let verdict = self.judge(wanted).await.map_err(|it| it.on(network))?;
        match verdict {
            Verdict::Settled(settled @ Settlement::Settled { transaction, .. }) => {
                Ok(match self.wait(transaction).await {
                    Some(_) => settled,
                    None => Settlement::Unknown { transaction: Some(transaction) },
                })
            }
            Verdict::Settled(other) => Ok(other),
            Verdict::Untraced => Ok(Settlement::Unknown { transaction: None }),
            Verdict::Refused(RefusedBy::Reverted) if !reverted => Err(refused.on(network)),
            Verdict::Refused(reason) => Ok(Settlement::Refused(reason)),
        }
    }

    async fn judge(&self, wanted: &Move) -> Result<Verdict, Trouble> {
        let head = self.node.latest().await?;
        judge(&self.node, wanted, &head, self.clock.now().as_secs()).await
    }

    /// What came of it.
    async fn conclude(&self, wanted: &Move, outcome: Outcome) -> Settlement {
        let receipt = match outcome {
            Outcome::Mined(receipt) => receipt,
            Outcome::Unseen(transaction) => return Settlement::Unknown { transaction },
        };
        let trace = match wanted.sought.by_permit2 {
            false => Ok(read::trace(&receipt, &wanted.sought)),
            true => self.node.trace_at_permit2(&receipt, &wanted.sought).await,
        };
        if let Ok(Trace::Used(amount)) = trace
            && amount == wanted.amount
        {
            return self.settled(&receipt, amount).await;
        }
        // Ours failed. Somebody else's may have come first, and then it is paid all the same.
        match self.judge(wanted).await {
            Ok(Verdict::Settled(settled)) => settled,
            Ok(Verdict::Refused(reason)) => {
                // Money that left meanwhile is no denial: whoever moved it paid for that.
                let is_denial = matches!(reason, RefusedBy::Reverted | RefusedBy::BadSignature);
                let payer = wanted.sought.key.payer;
                if is_denial && !receipt.status() && self.node.has_code(payer).await {
                    self.denials.add(payer, self.clock.now());
                }
                Settlement::Refused(reason)
            }
            Ok(Verdict::Untraced) | Err(_) => {
                Settlement::Unknown { transaction: Some(receipt.transaction_hash) }
            }
        }
    }

    /// That `amount` moved in the transaction of `receipt`.
    pub(super) async fn settled(&self, receipt: &TransactionReceipt, amount: Amount) -> Settlement {
        let transaction = receipt.transaction_hash;
        match self.node.moved_at_s(receipt).await {
            Ok(moved_at_s) => Settlement::Settled { transaction, amount, moved_at_s },
            Err(_) => Settlement::Unknown { transaction: Some(transaction) },
        }
    }
}

/// The channel that a receipt's logs say that `amount` came into.
pub(super) fn arrived(receipt: &TransactionReceipt, channel: ChannelId, amount: Amount) -> bool {
    let logs = receipt.logs().iter().map(|log| &log.inner);
    logs.filter(|log| log.address == BATCH_SETTLEMENT).any(|log| {
        read::decode::<BatchSettlement::Deposited>(log)
            .is_some_and(|log| (log.channelId, log.amount) == (channel.0, amount.get()))
    })
}
