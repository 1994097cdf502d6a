//! Payments that Permit2 moves: how they are handed in, and what a transaction shows of them.
//!
//! Permit2 tells of no nonce that was used. So what a nonce moved is read from the transaction itself: the
//! calls of x402's spenders in what was sent, one after the other, belong to the events by which the
//! spenders say that they settled; and so do the deposits into channels in what was sent, and the events by
//! which the contract that holds channels says that they came in. Where the two do not fit, nothing is
//! concluded.

use alloy::primitives::{Address, B256, Bytes, U256};
use alloy::rpc::types::{Filter, Log, TransactionReceipt};
use alloy::sol_types::{SolCall, SolEvent};
use serde::Deserialize;

use crate::domain::asset::{Asset, Network};
use crate::domain::commitment::{AuthorizationKey, Commitment, Scheme, TransferMethod};
use crate::domain::money::Amount;
use crate::domain::x402::permit::{deadline_s, spender};
use crate::domain::x402::permit2::{EXACT_PROXY, PERMIT2};
use crate::domain::x402::upto::UPTO_PROXY;
use crate::ports::rail::Allowance;

use super::abi;
use super::contracts::{
    EIP2612Permit, ExactProxy, ExactWitness, Permit2, PermitTransferFrom, TokenPermissions,
    UptoProxy, UptoWitness,
};
use super::node::{Head, Node, Trouble};
use super::read::{Sought, Trace, amount, decode};
use super::search::{self, Backwards};

mod deposits;

use deposits::deposited;

/// The most transfers that a search looks into.
const TRANSFERS_MAX: u32 = 1_000;

/// What was sent, as far as it tells of Permit2.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Sent {
    hash: B256,
    input: Bytes,
}

/// One payment that a spender settled in a transaction.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) struct Spent {
    owner: Address,
    token: Address,
    nonce: B256,
    to: Address,
    /// Where among the receipt's logs its transfer is, and how much that moved.
    moved: Option<(usize, U256)>,
}

/// The call that settles `charged` of `commitment` by this signature, and whom it calls.
pub(super) fn settle_call(
    commitment: &Commitment,
    signature: &Bytes,
    charged: Amount,
) -> (Address, Bytes) {
    let permit = PermitTransferFrom {
        permitted: TokenPermissions {
            token: commitment.asset.contract,
            amount: U256::from(commitment.amount_max.get()),
        },
        nonce: commitment.nonce.into(),
        deadline: U256::from(deadline_s(commitment)),
    };
    let (owner, signature) = (commitment.payer, signature.clone());
    let (to, valid_after) = (commitment.pay_to, U256::from(commitment.valid_after_s));
    let amount = U256::from(charged.get());
    let input = match (commitment.scheme, sponsored(commitment)) {
        (Scheme::Upto { facilitator }, None) => {
            let witness = UptoWitness { to, facilitator, validAfter: valid_after };
            UptoProxy::settleCall { permit, amount, owner, witness, signature }.abi_encode()
        }
        (Scheme::Upto { facilitator }, Some(permit2612)) => {
            let witness = UptoWitness { to, facilitator, validAfter: valid_after };
            UptoProxy::settleWithPermitCall {
                permit2612,
                permit,
                amount,
                owner,
                witness,
                signature,
            }
            .abi_encode()
        }
        (Scheme::Exact | Scheme::BatchSettlement(_), None) => {
            let witness = ExactWitness { to, validAfter: valid_after };
            ExactProxy::settleCall { permit, owner, witness, signature }.abi_encode()
        }
        (Scheme::Exact | Scheme::BatchSettlement(_), Some(permit2612)) => {
            let witness = ExactWitness { to, validAfter: valid_after };
            ExactProxy::settleWithPermitCall { permit2612, permit, owner, witness, signature }
                .abi_encode()
        }
    };
    (spender(commitment.scheme), input.into())
}

/// The payer's own permit at the token, where one came with the commitment.
pub(super) fn sponsored(commitment: &Commitment) -> Option<EIP2612Permit> {
    let TransferMethod::Permit2By(permit) = commitment.method else { return None };
    let signature = permit.signature?;
    Some(EIP2612Permit {
        value: U256::from(commitment.amount_max.get()),
        deadline: U256::from(permit.deadline_s),
        r: signature.r().into(),
        s: signature.s().into(),
        v: if signature.v() { 28 } else { 27 },
    })
}

impl Node {
    /// Whether Permit2 says that the nonce was used or invalidated.
    pub(super) async fn is_spent_at_permit2(
        &self,
        key: &AuthorizationKey,
        block: B256,
    ) -> Result<bool, Trouble> {
        let (word, bit) = place(key.nonce);
        let call = Permit2::nonceBitmapCall { owner: key.payer, word };
        Ok(self.view(PERMIT2, call, block).await?.bit(bit))
    }

    /// What Permit2 may move of `owner`'s on the block with this hash.
    pub(super) async fn permit2_allowance(
        &self,
        asset: Asset,
        owner: Address,
        block: B256,
    ) -> Result<Allowance, Trouble> {
        let token = asset.contract;
        let allowance = abi::allowanceCall { owner, spender: PERMIT2 };
        let (allowed, nonce) = tokio::join!(
            self.view(token, allowance, block),
            self.view(token, abi::noncesCall { owner }, block),
        );
        let most = U256::from(Amount::MAX.get());
        let amount = Amount::new(allowed?.min(most).saturating_to());
        let permit_nonce = match nonce {
            Ok(nonce) => u64::try_from(nonce).ok(),
            // A token that takes no permits has no such view.
            Err(Trouble::Refused(_) | Trouble::Nonsense(_)) => None,
            Err(silent @ Trouble::Silent(_)) => return Err(silent),
        };
        Ok(Allowance { amount, permit_nonce })
    }

    /// What was sent as the transaction of this receipt, where a spender settled anything in it, or a
    /// deposit came in.
    pub(super) async fn sent(&self, receipt: &TransactionReceipt) -> Result<Option<Sent>, Trouble> {
        if settled(receipt).next().is_none() && deposited(receipt).next().is_none() {
            return Ok(None);
        }
        let hash = receipt.transaction_hash;
        let sent: Option<Sent> = self.ask("eth_getTransactionByHash", (hash,)).await?;
        match sent {
            Some(sent) if sent.hash != hash => Err(Trouble::nonsense("another transaction")),
            other => Ok(other),
        }
    }
}

impl Node {
    /// What a receipt's transaction says of a nonce at Permit2.
    pub(super) async fn trace_at_permit2(
        &self,
        receipt: &TransactionReceipt,
        sought: &Sought,
    ) -> Result<Trace, Trouble> {
        let sent = self.sent(receipt).await?;
        Ok(sent.map_or(Trace::None, |sent| trace(receipt, &sent, sought)))
    }
}

/// A nonce's word, and its bit in there. Source: Uniswap Permit2, unordered nonces.
fn place(nonce: B256) -> (U256, usize) {
    let nonce: U256 = nonce.into();
    (nonce.wrapping_shr(8), usize::from(nonce.byte(0)))
}

/// Where among a receipt's logs spenders say that they settled.
fn settled(receipt: &TransactionReceipt) -> impl Iterator<Item = usize> {
    let kinds =
        [ExactProxy::Settled::SIGNATURE_HASH, ExactProxy::SettledWithPermit::SIGNATURE_HASH];
    let logs = receipt.logs().iter().enumerate();
    let ours = logs.filter(move |(_, log)| {
        let spender = [EXACT_PROXY, UPTO_PROXY].contains(&log.address());
        spender && log.topic0().is_some_and(|kind| kinds.contains(kind))
    });
    ours.map(|(place, _)| place)
}

/// What spenders settled in a transaction, and what came into channels; nothing where what was sent does
/// not fit what came of it.
pub(super) fn spent(receipt: &TransactionReceipt, sent: &Sent, network: Network) -> Vec<Spent> {
    let mut all = paid(receipt, sent);
    all.extend(deposits::filled(receipt, &sent.input, network));
    all
}

fn paid(receipt: &TransactionReceipt, sent: &Sent) -> Vec<Spent> {
    let mut asked = asked_in(&sent.input);
    let told: Vec<usize> = settled(receipt).collect();
    if !receipt.status() || asked.len() != told.len() {
        return Vec::new();
    }
    let mut from = 0;
    for (one, end) in asked.iter_mut().zip(told) {
        let logs = receipt.logs().iter().enumerate().take(end).skip(from);
        one.moved = logs.filter(|(_, log)| log.address() == one.token).find_map(|(place, log)| {
            let moved = decode::<abi::Transfer>(&log.inner)?;
            ((moved.from, moved.to) == (one.owner, one.to)).then_some((place, moved.value))
        });
        from = end;
    }
    asked
}

/// The calls of spenders in `input`, in their order: the whole of it is one, or another contract passes
/// them on.
fn asked_in(input: &Bytes) -> Vec<Spent> {
    let mut asked = Vec::new();
    for start in 0..input.len() {
        let rest = input.get(start..).unwrap_or_default();
        asked.extend(asked_at(rest));
    }
    asked
}

fn asked_at(input: &[u8]) -> Option<Spent> {
    let selector: [u8; 4] = input.get(..4)?.try_into().ok()?;
    let of = |permit: PermitTransferFrom, owner, to| Spent {
        owner,
        token: permit.permitted.token,
        nonce: permit.nonce.into(),
        to,
        moved: None,
    };
    match selector {
        ExactProxy::settleCall::SELECTOR => {
            let call = ExactProxy::settleCall::abi_decode(input).ok()?;
            Some(of(call.permit, call.owner, call.witness.to))
        }
        ExactProxy::settleWithPermitCall::SELECTOR => {
            let call = ExactProxy::settleWithPermitCall::abi_decode(input).ok()?;
            Some(of(call.permit, call.owner, call.witness.to))
        }
        UptoProxy::settleCall::SELECTOR => {
            let call = UptoProxy::settleCall::abi_decode(input).ok()?;
            Some(of(call.permit, call.owner, call.witness.to))
        }
        UptoProxy::settleWithPermitCall::SELECTOR => {
            let call = UptoProxy::settleWithPermitCall::abi_decode(input).ok()?;
            Some(of(call.permit, call.owner, call.witness.to))
        }
        _ => None,
    }
}

impl Spent {
    /// The log of its transfer, and the authorization's name, where it is of this token.
    pub(super) fn cause(&self, token: Address) -> Option<(usize, Address, B256)> {
        let (place, _) = self.moved.filter(|_| self.token == token)?;
        Some((place, self.owner, self.nonce))
    }

    fn is_of(&self, key: &AuthorizationKey) -> bool {
        (self.owner, self.token, self.nonce) == (key.payer, key.asset.contract, key.nonce)
    }
}

/// What a transaction says of a nonce.
pub(super) fn trace(receipt: &TransactionReceipt, sent: &Sent, sought: &Sought) -> Trace {
    let network = sought.key.asset.network;
    let found = spent(receipt, sent, network).into_iter().find(|one| one.is_of(&sought.key));
    match found {
        None => Trace::None,
        Some(one) => {
            let moved = one.moved.filter(|_| one.to == sought.to);
            let moved = moved.and_then(|(_, value)| amount(value).ok());
            Trace::Used(moved.unwrap_or_default())
        }
    }
}

/// What ended a nonce that Permit2 says is spent.
pub(super) struct End {
    pub(super) trace: Trace,
    pub(super) transaction: B256,
    pub(super) block: u64,
    /// Of the transaction that moved the money.
    pub(super) receipt: Option<TransactionReceipt>,
}

/// Searches the payer's transfers and invalidations backwards from `head`. A nonce may be invalidated
/// after it was used, so that an invalidation ends the search only where the nonce was unused before it.
pub(super) async fn find_end(
    node: &Node,
    sought: &Sought,
    head: &Head,
) -> Result<Option<End>, Trouble> {
    let key = &sought.key;
    let kinds =
        vec![abi::Transfer::SIGNATURE_HASH, Permit2::UnorderedNonceInvalidation::SIGNATURE_HASH];
    let filter = Filter::new()
        .address(vec![key.asset.contract, PERMIT2])
        .event_signature(kinds)
        .topic1(key.payer.into_word());
    let mut invalidated: Option<End> = None;
    let mut looked = 0_u32;
    let mut back = Backwards::from(head.number());
    while let Some(logs) = back.next(node, &filter).await? {
        for log in logs.iter().rev() {
            // Everything of the block that invalidated it was looked at: was it unused before?
            if let Some(end) = invalidated.take_if(|end| search::block(log).ok() < Some(end.block))
            {
                match unused_before(node, key, end.block).await {
                    Some(true) => return Ok(Some(end)),
                    Some(false) => {}
                    None => invalidated = Some(end),
                }
            }
            if is_invalidation(log, key) {
                let (transaction, block) = (search::transaction(log)?, search::block(log)?);
                let trace = Trace::Canceled;
                invalidated = Some(End { trace, transaction, block, receipt: None });
            } else if is_candidate(log, sought) {
                looked = looked.saturating_add(1);
                if looked > TRANSFERS_MAX {
                    return Ok(None);
                }
                if let Some(end) = look_into(node, log, sought).await? {
                    return Ok(Some(end));
                }
            }
        }
    }
    let Some(end) = invalidated else { return Ok(None) };
    let sure = back.is_done() || unused_before(node, key, end.block).await == Some(true);
    Ok(sure.then_some(end))
}

/// Whether the nonce was unused in the block before `block`; nothing where the node does not know any
/// more.
async fn unused_before(node: &Node, key: &AuthorizationKey, block: u64) -> Option<bool> {
    let before = block.checked_sub(1)?;
    let before = node.block(&format!("{before:#x}")).await.ok()?;
    node.is_spent_at_permit2(key, before.hash).await.ok().map(|spent| !spent)
}

fn is_invalidation(log: &Log, key: &AuthorizationKey) -> bool {
    let (word, bit) = place(key.nonce);
    log.address() == PERMIT2
        && decode::<Permit2::UnorderedNonceInvalidation>(&log.inner)
            .is_some_and(|it| it.owner == key.payer && it.word == word && it.mask.bit(bit))
}

fn is_candidate(log: &Log, sought: &Sought) -> bool {
    log.address() == sought.key.asset.contract
        && decode::<abi::Transfer>(&log.inner).is_some_and(|moved| moved.to == sought.to)
}

async fn look_into(node: &Node, log: &Log, sought: &Sought) -> Result<Option<End>, Trouble> {
    let transaction = search::transaction(log)?;
    let Some(receipt) = node.receipt(transaction).await? else { return Ok(None) };
    if receipt.block_hash != log.block_hash {
        return Ok(None);
    }
    let Some(sent) = node.sent(&receipt).await? else { return Ok(None) };
    let block = search::block(log)?;
    Ok(match trace(&receipt, &sent, sought) {
        Trace::None => None,
        trace => Some(End { trace, transaction, block, receipt: Some(receipt) }),
    })
}
