//! Where value moves: who settles, and who bears witness. A remote facilitator settles but is no
//! evidence.

use std::sync::Arc;

use alloy::primitives::{Address, B256};
use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::domain::asset::{Asset, Network};
use crate::domain::channel::ChannelId;
pub use crate::domain::commitment::Authorization;
use crate::domain::commitment::{AuthorizationKey, Commitment, ContractAuthorization};
use crate::domain::fault::{Class, Fault};
use crate::domain::money::Amount;
use crate::domain::x402::code::PaymentCode;
use crate::ports::channel_rail::{ChannelEvidence, ChannelSettler};

/// What the rail says of an authorization that was asked to settle.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Settlement {
    /// Value moved: the transfer is in this transaction, whoever sent it.
    Settled {
        /// The transaction.
        transaction: B256,
        /// What moved.
        amount: Amount,
        /// The time of the transaction's block, in seconds since the epoch: a payee that forgets must
        /// know how long ago it was paid.
        moved_at_s: u64,
    },
    /// It was sent, and nobody knows yet.
    Unknown {
        /// The transaction, where one was sent.
        transaction: Option<B256>,
    },
    /// It cannot settle any more, or was refused before anything was sent.
    Refused(RefusedBy),
}

/// Why an authorization did not settle, by the rail's own word.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum RefusedBy {
    /// The payer has less than the amount.
    InsufficientFunds,
    /// The payer cancelled the nonce.
    Canceled,
    /// The nonce was used by a transfer that is not this payment.
    NonceUsed,
    /// Its time limit has passed.
    Expired,
    /// Its time has not come.
    NotYetValid,
    /// The signature is not the payer's.
    BadSignature,
    /// The contract reverted for another reason (paused, blacklisted).
    Reverted,
    /// Permit2 may not move so much of the payer's, and no permit that came with it changes that.
    AllowanceRequired,
    /// More than was authorized is asked of it.
    ExceedsAuthorized,
    /// The payer's wallet is not there, and what would make it is called by nobody here.
    FactoryNotAllowed,
    /// The payer's wallet is not there, and what is said to make it does not.
    WalletNotMade,
}

impl RefusedBy {
    /// What the payer is told, by the specification's code.
    pub const fn wire(self) -> PaymentCode {
        match self {
            Self::InsufficientFunds => PaymentCode::InsufficientFunds,
            // The contract makes no difference between the two.
            Self::Canceled | Self::NonceUsed => PaymentCode::NonceUsed,
            Self::Expired => PaymentCode::ValidBefore,
            Self::NotYetValid => PaymentCode::ValidAfter,
            Self::BadSignature => PaymentCode::Signature,
            Self::Reverted => PaymentCode::TransactionState,
            Self::AllowanceRequired => PaymentCode::AllowanceRequired,
            Self::ExceedsAuthorized => PaymentCode::ExceedsAuthorized,
            Self::FactoryNotAllowed => PaymentCode::FactoryNotAllowed,
            Self::WalletNotMade => PaymentCode::WalletNotMade,
        }
    }
}

/// What a transaction cost whoever sent it, whether it did what it was sent for or not.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
pub struct Fee {
    /// The transaction.
    pub transaction: B256,
    /// In the native unit's atoms.
    pub amount: Amount,
}

/// What one final block shows of a nonce. All reads behind one answer are pinned to that block.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Sighting {
    /// What was seen.
    pub nonce: NonceState,
    /// The final block's hash.
    pub block: B256,
    /// The final block's time, in seconds since the epoch.
    pub block_time_s: u64,
}

/// The state of an authorization's nonce.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum NonceState {
    /// The contract says that it was not used.
    Unused,
    /// A transfer of ours used it.
    Used {
        /// The transaction.
        transaction: B256,
        /// What moved from payer to payTo.
        amount: Amount,
        /// The transaction's block number, at most that of the final block.
        block: u64,
        /// That block's time, in seconds since the epoch.
        moved_at_s: u64,
    },
    /// It was cancelled.
    Canceled {
        /// The transaction.
        transaction: B256,
    },
    /// The contract says used, and no event was found: absence of logs is not evidence.
    UsedWithoutTrace,
}

/// Why a rail gave no answer. Nothing is known then, and nothing may be concluded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RailError {
    /// The node did not answer, or not in time.
    #[error("the rail {network} did not answer: {problem}")]
    Unreachable {
        /// Which rail.
        network: Network,
        /// What happened.
        problem: String,
    },
    /// The node answered nonsense.
    #[error("the rail {network} answered nonsense: {problem}")]
    Malformed {
        /// Which rail.
        network: Network,
        /// What was wrong.
        problem: String,
    },
    /// The node is on another chain than configured.
    #[error("the node of {expected} is on chain {found}")]
    WrongChain {
        /// As configured.
        expected: Network,
        /// As answered.
        found: u64,
    },
    /// The node's chain began otherwise: another chain with the same number.
    #[error("the chain behind {network} began with {found}, not with {expected}")]
    WrongGenesis {
        /// Which rail.
        network: Network,
        /// Block 0, as configured or as first seen.
        expected: B256,
        /// As answered.
        found: B256,
    },
    /// The contract is not the token that is pinned: another EIP-712 domain, other decimals, or
    /// none at all.
    #[error("the contract of {asset} is not the token that is pinned")]
    WrongAsset {
        /// As configured.
        asset: Asset,
    },
    /// Gas costs more than the configuration allows.
    #[error("gas on {network} costs {fee_wei} wei, and at most {fee_wei_max} may be paid")]
    FeesTooHigh {
        /// Which rail.
        network: Network,
        /// What a unit costs now.
        fee_wei: u128,
        /// What it may cost.
        fee_wei_max: u128,
    },
    /// The gas account cannot pay for a transaction.
    #[error("the gas account {account} has {balance} of the {needed} that a settlement may need")]
    GasEmpty {
        /// The account.
        account: Address,
        /// What it has, in the native unit's atoms.
        balance: u128,
        /// What is needed.
        needed: u128,
    },
}

impl Fault for RailError {
    fn code(&self) -> &'static str {
        match self {
            Self::Unreachable { .. } => "rail.unreachable",
            Self::Malformed { .. } => "rail.malformed",
            Self::WrongChain { .. } => "rail.wrong_chain",
            Self::WrongGenesis { .. } => "rail.wrong_genesis",
            Self::WrongAsset { .. } => "rail.wrong_asset",
            Self::FeesTooHigh { .. } => "rail.fees_too_high",
            Self::GasEmpty { .. } => "rail.gas_empty",
        }
    }

    fn class(&self) -> Class {
        match self {
            Self::Unreachable { .. }
            | Self::Malformed { .. }
            | Self::FeesTooHigh { .. }
            | Self::GasEmpty { .. } => Class::Later,
            Self::WrongChain { .. } | Self::WrongGenesis { .. } | Self::WrongAsset { .. } => {
                Class::Final
            }
        }
    }
}

/// Verifies and settles for a payee.
#[async_trait]
pub trait Settler: Send + Sync {
    /// Whether the rail would settle `authorization` now: balance, nonce and time by the chain. The
    /// signature and the terms were checked before, without the chain.
    ///
    /// # Errors
    /// [`RailError`] where nothing is known.
    async fn verify(
        &self,
        authorization: &Authorization,
    ) -> Result<Result<(), RefusedBy>, RailError>;

    /// The same for whoever serves only what nobody was paid for yet: an authorization that was settled
    /// already, by whomever, is refused with [`RefusedBy::NonceUsed`].
    ///
    /// # Errors
    /// [`RailError`] where nothing is known.
    async fn verify_unpaid(
        &self,
        authorization: &Authorization,
    ) -> Result<Result<(), RefusedBy>, RailError> {
        self.verify(authorization).await
    }

    /// The same as [`Self::verify_unpaid`] of a payer that is a contract, which is asked whether it signed. Who
    /// is none signed nothing here, but for a wallet whose making comes along, by what this settler lets be
    /// called: that is tried out with the rest.
    ///
    /// # Errors
    /// [`RailError`] where nothing is known.
    async fn verify_contract(
        &self,
        _authorization: &ContractAuthorization,
    ) -> Result<Result<(), RefusedBy>, RailError> {
        Ok(Err(RefusedBy::BadSignature))
    }

    /// The same as [`Self::settle_for`] of a payer that is a contract; one that is not there yet is made and pays
    /// in one transaction, or neither.
    ///
    /// # Errors
    /// [`RailError`] only where nothing was sent.
    async fn settle_contract(
        &self,
        _authorization: &ContractAuthorization,
        _amount: Amount,
    ) -> Result<Settlement, RailError> {
        Ok(Settlement::Refused(RefusedBy::BadSignature))
    }

    /// Moves `amount` of what was authorized: all of it, but for schemes with a maximum. Nothing is never
    /// handed in. Settling the same authorization again gives the first outcome and never a second
    /// transfer. After something may have been sent the answer is never an error but
    /// [`Settlement::Unknown`].
    ///
    /// # Errors
    /// [`RailError`] only where nothing was sent.
    async fn settle_for(
        &self,
        authorization: &Authorization,
        amount: Amount,
    ) -> Result<Settlement, RailError>;

    /// Moves all that was authorized.
    ///
    /// # Errors
    /// [`RailError`] only where nothing was sent.
    async fn settle(&self, authorization: &Authorization) -> Result<Settlement, RailError> {
        self.settle_for(authorization, authorization.commitment.amount_max).await
    }

    /// Who sends its settlements, where an authorization may name who alone may settle it.
    fn facilitator(&self) -> Option<Address> {
        None
    }

    /// Whether settlements can be paid for: a payee stops quoting when this fails.
    ///
    /// # Errors
    /// [`RailError::GasEmpty`] or no answer.
    async fn check_ready(&self) -> Result<(), RailError>;

    /// What its transactions have cost since this was asked last: each is told once, and the oldest
    /// are forgotten where nobody asks. A settler that pays no gas of its own has none.
    fn take_fees(&self) -> Vec<Fee> {
        Vec::new()
    }

    /// The same settler of channels, where it acts on them.
    fn channels(self: Arc<Self>) -> Option<Arc<dyn ChannelSettler>> {
        None
    }

    /// The network it settles on.
    fn network(&self) -> Network;
}

/// Bears witness: what the chain itself shows, on final blocks.
#[async_trait]
pub trait Evidence: Send + Sync {
    /// What the last final block shows of `commitment`'s nonce.
    ///
    /// # Errors
    /// [`RailError`] where nothing is known.
    async fn find_nonce(&self, commitment: &Commitment) -> Result<Sighting, RailError>;

    /// What the newest block shows of `commitment`'s nonce. It may yet be undone: for whoever would take a
    /// settler's own word that is as young.
    ///
    /// # Errors
    /// [`RailError`] where nothing is known.
    async fn find_nonce_now(&self, commitment: &Commitment) -> Result<Sighting, RailError> {
        self.find_nonce(commitment).await
    }

    /// What `holder` owns of `asset` on the last final block.
    ///
    /// # Errors
    /// [`RailError`] where nothing is known.
    async fn balance(&self, asset: Asset, holder: Address) -> Result<Holding, RailError>;

    /// What `holder` owns of `asset` on the newest block. It may yet be undone: for whoever only asks whether
    /// something would settle now.
    ///
    /// # Errors
    /// [`RailError`] where nothing is known.
    async fn balance_now(&self, asset: Asset, holder: Address) -> Result<Holding, RailError> {
        self.balance(asset, holder).await
    }

    /// Transfers of `asset` from or to `holder` after block `after` up to the last final block.
    ///
    /// # Errors
    /// [`RailError`] where nothing is known.
    async fn transfers(
        &self,
        asset: Asset,
        holder: Address,
        after: u64,
    ) -> Result<Transfers, RailError>;

    /// The same witness of channels, where it watches them.
    fn channels(&self) -> Option<&dyn ChannelEvidence> {
        None
    }

    /// What Permit2 may move of `owner`'s `asset` on the newest block; `None` on a rail without Permit2.
    ///
    /// # Errors
    /// [`RailError`] where nothing is known.
    async fn allowance(
        &self,
        _asset: Asset,
        _owner: Address,
    ) -> Result<Option<Allowance>, RailError> {
        Ok(None)
    }

    /// The network it watches.
    fn network(&self) -> Network;
}

/// What Permit2 may move.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Allowance {
    /// How much; what is above any amount counts as the largest.
    pub amount: Amount,
    /// The owner's next nonce for a permit at the token itself; `None` where the token takes none.
    pub permit_nonce: Option<u64>,
}

/// What somebody owns as of one final block.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Holding {
    /// How much.
    pub amount: Amount,
    /// As of the end of this block.
    pub block: u64,
}

/// Transfers that a range of final blocks shows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Transfers {
    /// In order of block and log.
    pub moved: Vec<Transfer>,
    /// The last final block that was looked at.
    pub up_to: u64,
}

/// One Transfer log.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Transfer {
    /// From whom.
    pub from: Address,
    /// To whom.
    pub to: Address,
    /// How much.
    pub amount: Amount,
    /// In which transaction.
    pub transaction: B256,
    /// In which block.
    pub block: u64,
    /// The authorization that moved it, where one did.
    pub key: Option<AuthorizationKey>,
    /// The channel that it came back from, where it was given back or withdrawn: the holder's own money,
    /// and not somebody else's.
    pub channel: Option<ChannelId>,
}
