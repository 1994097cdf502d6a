//! What the signer may know of the ledger: one durable hold, by its payment id.

use async_trait::async_trait;

use crate::domain::commitment::Commitment;
use crate::domain::fault::{Class, Fault};
use crate::domain::id::{PaymentId, WalletId};

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
}

impl Fault for NotSignable {
    fn code(&self) -> &'static str {
        match self {
            Self::NoHold(_) => "signer.no_hold",
            Self::Ended(_) => "signer.hold_ended",
            Self::Paused(_) => "signer.paused",
            Self::Stopped => "signer.treasury_stopped",
        }
    }

    fn class(&self) -> Class {
        match self {
            Self::NoHold(_) | Self::Ended(_) => Class::Final,
            Self::Paused(_) | Self::Stopped => Class::Later,
        }
    }
}

/// Gives the signer what a durable hold commits to, and remembers that it did: from then on the hold
/// cannot be voided as "nothing was signed".
#[async_trait]
pub trait Holds: Send + Sync {
    /// The wallet and the fields to sign for `payment`.
    ///
    /// # Errors
    /// [`NotSignable`], and then nothing may be signed.
    async fn release(&self, payment: PaymentId) -> Result<(WalletId, Commitment), NotSignable>;
}
