//! Where channels are: who puts deposits in, claims vouchers and sweeps what was claimed, and who
//! bears witness to what lies in a channel.

use alloy::primitives::{Address, B256, Bytes, Signature};
use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::domain::asset::{Asset, Network};
use crate::domain::channel::{ChannelId, ChannelTerms};
use crate::domain::commitment::{PayerWord, TransferMethod};
use crate::domain::money::Amount;
use crate::domain::x402::batch::read::DepositWord;
use crate::domain::x402::signature::is_signed_by;
use crate::ports::rail::{RailError, RefusedBy, Settlement};

pub use crate::domain::channel::{ClaimRow, SignedRefund};

/// A payer's word that so much of its money goes into a channel. Source: x402 scheme
/// `batch-settlement` on EVM, deposit by EIP-3009 and by Permit2.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SignedDeposit<S = Signature> {
    /// Into which channel.
    pub terms: ChannelTerms,
    /// How much.
    pub amount: Amount,
    /// By the token's own EIP-3009, or by Permit2, with the payer's permit at the token where one came.
    pub method: TransferMethod,
    /// Strictly before, in seconds since the epoch by the chain's clock; valid from the epoch on.
    pub valid_before_s: u64,
    /// What its nonce is made of, with the channel's name; at Permit2 the nonce itself.
    pub salt: B256,
    /// By the payer, for the method's collector.
    pub signature: S,
}

/// The same of a payer that is a contract: whether it signed is the contract's own word, and these bytes are what
/// it is shown. Source: EIP-1271.
pub type ContractDeposit = SignedDeposit<Bytes>;

impl<S: Clone> SignedDeposit<S> {
    /// The deposit that `word` signs, into the channel of `terms`.
    pub fn of(terms: ChannelTerms, word: &DepositWord<S>) -> Self {
        let DepositWord { amount, method, valid_before_s, salt, signature } = word.clone();
        Self { terms, amount, method, valid_before_s, salt, signature }
    }

    /// What was signed, without the channel's terms.
    pub fn word(&self) -> DepositWord<S> {
        let Self { amount, method, valid_before_s, salt, signature, .. } = self.clone();
        DepositWord { amount, method, valid_before_s, salt, signature }
    }
}

/// The most rows that one claim takes. Source: x402 scheme `batch-settlement`, 100 a batch by default.
pub const CLAIM_ROWS_MAX: usize = 100;

/// What became of a claim of many channels in one transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimSettlement {
    /// The transaction, where one was sent: none where there was nothing left to claim.
    pub transaction: Option<B256>,
    /// The rows that are claimed now, by it or before, by their place; after an unknown outcome those
    /// that were claimed before.
    pub claimed: Vec<usize>,
    /// The rows that would have made it revert, and were left out.
    pub poisoned: Vec<usize>,
}

/// Acts on channels for a payee. Everything here may be asked twice: a deposit moves once, a claim says
/// a sum in all, a sweep of nothing does nothing, and what is given back is never more than what was not
/// claimed.
#[async_trait]
pub trait ChannelSettler: Send + Sync {
    /// Who signs its claims and refunds: every channel that it acts on names it.
    fn authorizer(&self) -> Address;

    /// The network it acts on.
    fn network(&self) -> Network;

    /// Puts a deposit in, and waits until it is in.
    ///
    /// # Errors
    /// [`RailError`] only where nothing was sent.
    async fn deposit(&self, deposit: &SignedDeposit) -> Result<Settlement, RailError>;

    /// Whether a deposit of a payer that is a contract, which is asked whether it signed, would come in now. Who is
    /// none signed nothing here.
    ///
    /// # Errors
    /// [`RailError`] where nothing is known.
    async fn verify_contract_deposit(
        &self,
        _deposit: &ContractDeposit,
    ) -> Result<Result<(), RefusedBy>, RailError> {
        Ok(Err(RefusedBy::BadSignature))
    }

    /// The same as [`Self::deposit`] of a payer that is a contract.
    ///
    /// # Errors
    /// [`RailError`] only where nothing was sent.
    async fn deposit_of_contract(
        &self,
        _deposit: &ContractDeposit,
    ) -> Result<Settlement, RailError> {
        Ok(Settlement::Refused(RefusedBy::BadSignature))
    }

    /// Whether `account` says now that it signed `digest`, as whoever checks a voucher without an authorizer asks
    /// it: the contract that it is, and its key where it is none.
    ///
    /// # Errors
    /// [`RailError`] where nothing is known.
    async fn vouches(
        &self,
        account: Address,
        digest: B256,
        word: &PayerWord,
    ) -> Result<Result<(), RefusedBy>, RailError> {
        Ok(match word {
            PayerWord::Key(signature) if is_signed_by(account, digest, signature) => Ok(()),
            PayerWord::Key(_) | PayerWord::Contract(_) => Err(RefusedBy::BadSignature),
        })
    }

    /// Claims vouchers, all in one transaction. Rows that would make it revert are found and left out, and
    /// those of payers whose word is not taken for now. Rows behind the first [`CLAIM_ROWS_MAX`] are not looked
    /// at.
    ///
    /// # Errors
    /// [`RailError`] only where nothing was sent.
    async fn claim(&self, rows: &[ClaimRow]) -> Result<ClaimSettlement, RailError>;

    /// Pays out to `receiver` what was claimed; `None` where nothing was left to pay out.
    ///
    /// # Errors
    /// [`RailError`] only where nothing was sent.
    async fn sweep(&self, receiver: Address, asset: Asset)
    -> Result<Option<Settlement>, RailError>;

    /// Gives what was not claimed back to the payer, up to `amount`, after claiming `row` where there
    /// is one, in one transaction. Where nothing is left, it tells what was given back last, or that
    /// there are no funds. Asked twice for a part, it may give it twice.
    ///
    /// # Errors
    /// [`RailError`] only where nothing was sent.
    async fn give_back(
        &self,
        terms: &ChannelTerms,
        row: Option<&ClaimRow>,
        amount: Amount,
    ) -> Result<Settlement, RailError>;

    /// Claims just these rows by the word of their common authorizer, which covers all of them and no
    /// others: where the contract would not take one, nothing is sent, and those that it would not take
    /// are told, so that the authorizer can sign for the rest. More than [`CLAIM_ROWS_MAX`] rows are
    /// all told so.
    ///
    /// # Errors
    /// [`RailError`] only where nothing was sent.
    async fn claim_signed(
        &self,
        rows: &[ClaimRow],
        signature: &Signature,
    ) -> Result<ClaimSettlement, RailError>;

    /// Gives what was not claimed back by its authorizer's word, after claiming `claim` by the same
    /// authorizer's where there is one, in one transaction. A nonce that was used up refuses it.
    ///
    /// # Errors
    /// [`RailError`] only where nothing was sent.
    async fn give_back_signed(
        &self,
        refund: &SignedRefund,
        claim: Option<(&ClaimRow, &Signature)>,
    ) -> Result<Settlement, RailError>;
}

/// Acts on channels for a payer that wants its money back against its payee's will.
#[async_trait]
pub trait Withdrawals: Send + Sync {
    /// Begins the wait for all that is not claimed.
    ///
    /// # Errors
    /// [`RailError`] only where nothing was sent.
    async fn begin(&self, terms: &ChannelTerms) -> Result<Settlement, RailError>;

    /// Takes it out, once the wait is over.
    ///
    /// # Errors
    /// [`RailError`] only where nothing was sent.
    async fn finish(&self, terms: &ChannelTerms) -> Result<Settlement, RailError>;
}

/// What one block shows of a channel.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ChannelSight {
    /// What came in less what went back.
    pub balance: Amount,
    /// What was claimed in all.
    pub claimed: Amount,
    /// What the payer asked to have back and did not take out yet.
    pub withdrawal: Option<PendingWithdrawal>,
    /// The next refund's nonce.
    pub refund_nonce: u64,
}

impl ChannelSight {
    /// When what the payer asked to have back may be taken out, in seconds since the epoch, in a channel
    /// with this delay.
    pub fn withdrawable_at_s(&self, withdraw_delay_s: u64) -> Option<u64> {
        Some(self.withdrawal?.requested_at_s.saturating_add(withdraw_delay_s))
    }
}

/// What a payer asked to have back.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PendingWithdrawal {
    /// How much, if nothing is claimed of it meanwhile.
    pub amount: Amount,
    /// When it asked, in seconds since the epoch.
    pub requested_at_s: u64,
}

/// What one block shows of some channels, in the order that they were asked in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChannelSights {
    /// Each channel.
    pub seen: Vec<ChannelSight>,
    /// The block's hash.
    pub block: B256,
    /// Its number.
    pub height: u64,
    /// Its time, in seconds since the epoch.
    pub block_time_s: u64,
}

/// How sure a sight has to be.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Depth {
    /// The newest block: for a payee that reads what its own deposit transaction did.
    Newest,
    /// The last final block: for whatever is written down as evidence.
    Final,
}

/// Bears witness to channels.
#[async_trait]
pub trait ChannelEvidence: Send + Sync {
    /// What one block shows of `channels`; all reads behind one answer are pinned to it.
    ///
    /// # Errors
    /// [`RailError`] where nothing is known.
    async fn look(&self, channels: &[ChannelId], depth: Depth) -> Result<ChannelSights, RailError>;

    /// The network it watches.
    fn network(&self) -> Network;
}
