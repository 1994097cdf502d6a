//! Channels of x402's scheme `batch-settlement`, in the contract that has the same address on every chain.
//!
//! - `look`: what one block shows of them.
//! - `claim`: vouchers of many in one transaction, but for those that would spoil it.
//! - `pay`: what was claimed goes to the receiver, and what was not back to the payer.
//! - `relay`: claims and refunds by the word of an authorizer that is somebody else.
//! - `asked`: payers that are contracts, and asked for their vouchers as these are claimed.
//! - `withdraw`: the payer's own way out.
//!
//! Deposits are moved as payments are: by the payer's word, once. Nothing is signed here: whoever sends
//! is the authorizer, or has its word.

use alloy::primitives::{Address, B256, Bytes, Signature, TxKind, keccak256};
use alloy::rpc::types::TransactionReceipt;
use alloy::sol_types::{SolCall, SolEvent, SolValue};
use async_trait::async_trait;

use crate::domain::asset::{Asset, Network};
use crate::domain::channel::ChannelTerms;
use crate::domain::commitment::{ContractAuthorization, PayerWord};
use crate::domain::money::Amount;
use crate::domain::x402::batch::permitted::movement;
use crate::domain::x402::batch::typed::{BATCH_SETTLEMENT, id_of};
use crate::ports::channel_rail::{
    ChannelSettler, ClaimRow, ClaimSettlement, ContractDeposit, SignedDeposit, SignedRefund,
    Withdrawals,
};
use crate::ports::rail::{RailError, RefusedBy, Settlement};

use super::moves::Move;
use super::read::decode;
use super::sender::Call;
use super::settler::EvmSettler;

mod asked;
mod claim;
mod look;
mod pay;
mod relay;
mod withdraw;

/// How often something is tried anew that another transaction came in between of.
const TRIES_MAX: u32 = 3;

/// A call of the contract; `purpose` and `about` are what it is known by.
fn call(purpose: &str, about: impl SolValue, content: &impl SolCall) -> Call {
    let name = keccak256([purpose.as_bytes(), &about.abi_encode()].concat());
    Call { name, to: TxKind::Call(BATCH_SETTLEMENT), input: Bytes::from(content.abi_encode()) }
}

/// The contract's events of one kind in a receipt.
fn events<E: SolEvent>(receipt: &TransactionReceipt) -> impl Iterator<Item = E> {
    let logs = receipt.logs().iter().map(|log| &log.inner);
    logs.filter(|log| log.address == BATCH_SETTLEMENT).filter_map(decode::<E>)
}

/// Claims, sweeps and what goes back are done one after the other: each reads what the one before it did.
fn lane() -> B256 {
    keccak256("channels")
}

/// A transaction of which nothing is known but, perhaps, its hash.
const fn unknown(transaction: Option<B256>) -> Settlement {
    Settlement::Unknown { transaction }
}

impl EvmSettler {
    async fn fill(&self, wanted: Move) -> Result<Settlement, RailError> {
        let lane = wanted.call.name;
        self.in_line(lane, unknown(None), move |sender| {
            Box::pin(async move { sender.settle(&wanted).await })
        })
        .await
    }
}

/// A deposit as what its payer is asked about: a wallet that fills a channel is there.
fn authorized(deposit: &ContractDeposit) -> ContractAuthorization {
    let incoming = deposit.word().incoming(id_of(&deposit.terms));
    let commitment = movement(&deposit.terms, &incoming);
    let signature = deposit.signature.clone();
    ContractAuthorization { commitment, signature, making: None }
}

#[async_trait]
impl ChannelSettler for EvmSettler {
    fn authorizer(&self) -> Address {
        self.account()
    }

    fn network(&self) -> Network {
        self.node.network()
    }

    async fn deposit(&self, deposit: &SignedDeposit) -> Result<Settlement, RailError> {
        self.check_network(deposit.terms.asset)?;
        self.fill(Move::from(deposit)).await
    }

    async fn verify_contract_deposit(
        &self,
        deposit: &ContractDeposit,
    ) -> Result<Result<(), RefusedBy>, RailError> {
        match self.word_of(&authorized(deposit)).await? {
            Ok(word) => self.try_unpaid(&Move::of_contract_deposit(deposit, word)).await,
            Err(reason) => Ok(Err(reason)),
        }
    }

    async fn deposit_of_contract(
        &self,
        deposit: &ContractDeposit,
    ) -> Result<Settlement, RailError> {
        self.check_network(deposit.terms.asset)?;
        match self.word_of(&authorized(deposit)).await? {
            Ok(word) => self.fill(Move::of_contract_deposit(deposit, word)).await,
            Err(reason) => Ok(Settlement::Refused(reason)),
        }
    }

    async fn vouches(
        &self,
        account: Address,
        digest: B256,
        word: &PayerWord,
    ) -> Result<Result<(), RefusedBy>, RailError> {
        self.asks(account, digest, word).await
    }

    async fn claim(&self, rows: &[ClaimRow]) -> Result<ClaimSettlement, RailError> {
        for row in rows {
            self.check_network(row.terms.asset)?;
        }
        let rows = rows.to_vec();
        let lost = ClaimSettlement { transaction: None, claimed: vec![], poisoned: vec![] };
        self.in_line(lane(), lost, move |sender| Box::pin(async move { sender.claim(&rows).await }))
            .await
    }

    async fn sweep(
        &self,
        receiver: Address,
        asset: Asset,
    ) -> Result<Option<Settlement>, RailError> {
        self.check_network(asset)?;
        self.in_line(lane(), Some(unknown(None)), move |sender| {
            Box::pin(async move { sender.sweep(receiver, asset.contract).await })
        })
        .await
    }

    async fn give_back(
        &self,
        terms: &ChannelTerms,
        row: Option<&ClaimRow>,
        amount: Amount,
    ) -> Result<Settlement, RailError> {
        self.check_network(terms.asset)?;
        let (terms, row) = (*terms, row.cloned());
        self.in_line(lane(), unknown(None), move |sender| {
            Box::pin(async move { sender.give_back(&terms, row.as_ref(), amount).await })
        })
        .await
    }

    async fn claim_signed(
        &self,
        rows: &[ClaimRow],
        signature: &Signature,
    ) -> Result<ClaimSettlement, RailError> {
        for row in rows {
            self.check_network(row.terms.asset)?;
        }
        let (rows, signature) = (rows.to_vec(), *signature);
        let lost = ClaimSettlement { transaction: None, claimed: vec![], poisoned: vec![] };
        self.in_line(lane(), lost, move |sender| {
            Box::pin(async move { sender.claim_signed(&rows, &signature).await })
        })
        .await
    }

    async fn give_back_signed(
        &self,
        refund: &SignedRefund,
        claim: Option<(&ClaimRow, &Signature)>,
    ) -> Result<Settlement, RailError> {
        self.check_network(refund.terms.asset)?;
        let (refund, claim) = (*refund, claim.map(|(row, signature)| (row.clone(), *signature)));
        self.in_line(lane(), unknown(None), move |sender| {
            Box::pin(async move {
                let claim = claim.as_ref().map(|(row, signature)| (row, signature));
                sender.give_back_signed(&refund, claim).await
            })
        })
        .await
    }
}

#[async_trait]
impl Withdrawals for EvmSettler {
    async fn begin(&self, terms: &ChannelTerms) -> Result<Settlement, RailError> {
        self.check_network(terms.asset)?;
        let terms = *terms;
        self.in_line(lane(), unknown(None), move |sender| {
            Box::pin(async move { sender.begin_withdrawal(&terms).await })
        })
        .await
    }

    async fn finish(&self, terms: &ChannelTerms) -> Result<Settlement, RailError> {
        self.check_network(terms.asset)?;
        let terms = *terms;
        self.in_line(lane(), unknown(None), move |sender| {
            Box::pin(async move { sender.finish_withdrawal(&terms).await })
        })
        .await
    }
}
