//! What the signer may know of the ledger: one durable hold, by its payment id.

use async_trait::async_trait;
use tokio::sync::OwnedRwLockReadGuard;

use crate::domain::asset::Asset;
use crate::domain::channel::{Ceiling, ChannelId, Incoming};
use crate::domain::commitment::Commitment;
use crate::domain::fault::{Class, Fault};
use crate::domain::id::{PaymentId, WalletId};
use crate::domain::ledger::channel::Opened;

/// Why a payment may not be signed.
#[derive(Copy, Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotSignable {
    /// No durable hold has this id.
    #[error("no hold is durable for {0}")]
    NoHold(PaymentId),
    /// The hold has ended.
    #[error("the hold of {0} has ended")]
    Ended(PaymentId),
    /// Its agent, role or group, or everything, is paused.
    #[error("signing is paused for {0}")]
    Paused(PaymentId),
    /// The treasury does not go on: a write failed.
    #[error("the treasury has stopped")]
    Stopped,
    /// The channel's role, or everything, is paused.
    #[error("signing is paused for the channel {0}")]
    ChannelPaused(ChannelId),
    /// No such channel of ours has anything left.
    #[error("no channel {0} to sign for")]
    NoChannel(ChannelId),
    /// No deposit is held for this channel.
    #[error("no deposit is held for the channel {0}")]
    NoDeposit(ChannelId),
}

impl Fault for NotSignable {
    fn code(&self) -> &'static str {
        match self {
            Self::NoHold(_) => "signer.no_hold",
            Self::Ended(_) => "signer.hold_ended",
            Self::Paused(_) => "signer.paused",
            Self::Stopped => "signer.treasury_stopped",
            Self::NoDeposit(_) => "signer.no_deposit",
            Self::NoChannel(_) => "signer.no_channel",
            Self::ChannelPaused(_) => "signer.channel_paused",
        }
    }

    fn class(&self) -> Class {
        match self {
            Self::NoHold(_) | Self::Ended(_) | Self::NoDeposit(_) | Self::NoChannel(_) => {
                Class::Final
            }
            Self::Paused(_) | Self::ChannelPaused(_) | Self::Stopped => Class::Later,
        }
    }
}

/// Lets the signer sign one payment, once, now. A pause is acknowledged only after every permit given
/// before it is dropped: so no signature leaves after the acknowledgement.
#[derive(Debug, Default)]
pub struct Permit(
    #[expect(dead_code, reason = "its drop is its use")] Option<OwnedRwLockReadGuard<()>>,
);

impl Permit {
    /// A permit that keeps `gate` open until it is dropped.
    pub const fn new(gate: OwnedRwLockReadGuard<()>) -> Self {
        Self(Some(gate))
    }
}

/// What the signer is told of a hold.
#[derive(Debug)]
pub struct Released {
    /// Whose key signs.
    pub wallet: WalletId,
    /// What is signed.
    pub commitment: Commitment,
    /// Dropped once the signature is made, and not kept over any wait.
    pub permit: Permit,
}

/// What the signer is told of a voucher.
#[derive(Debug)]
pub struct ReleasedVoucher {
    /// What is signed.
    pub ceiling: Ceiling,
    /// In which asset.
    pub asset: Asset,
    /// Dropped once the signature is made, and not kept over any wait.
    pub permit: Permit,
}

/// What the signer is told of a deposit.
#[derive(Debug)]
pub struct ReleasedDeposit {
    /// Into which channel, and whose money.
    pub opened: Opened,
    /// How much, by which nonce and which word.
    pub incoming: Incoming,
    /// Dropped once the signature is made, and not kept over any wait.
    pub permit: Permit,
}

/// Gives the signer what a durable hold commits to, and remembers that it did: from then on the hold
/// cannot be voided as "nothing was signed".
#[async_trait]
pub trait Holds: Send + Sync {
    /// The wallet and the fields to sign for `payment`.
    ///
    /// # Errors
    /// [`NotSignable`], and then nothing may be signed.
    async fn release(&self, payment: PaymentId) -> Result<Released, NotSignable>;

    /// The sum to sign for `payment`, which is drawn on a channel.
    ///
    /// # Errors
    /// [`NotSignable`], and then nothing may be signed.
    async fn release_voucher(&self, payment: PaymentId) -> Result<ReleasedVoucher, NotSignable>;

    /// What was charged of `channel` in all: a voucher of that sum lets nobody draw more.
    ///
    /// # Errors
    /// [`NotSignable`], and then nothing may be signed.
    async fn release_charged(&self, channel: ChannelId) -> Result<ReleasedVoucher, NotSignable>;

    /// The deposit to sign for `channel`.
    ///
    /// # Errors
    /// [`NotSignable`], and then nothing may be signed.
    async fn release_deposit(&self, channel: ChannelId) -> Result<ReleasedDeposit, NotSignable>;
}
