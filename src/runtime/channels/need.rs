//! What a call needs a channel for, and why it is lent none.

use crate::domain::commitment::TransferMethod;
use crate::domain::fault::{Class, Fault};
use crate::domain::id::PaymentId;
use crate::domain::money::{Amount, Nano};
use crate::runtime::treasury::Refused;

/// Why no channel was lent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotLent {
    /// Every channel of the pool was busy for as long as a call waits.
    #[error("all channels to the provider are busy")]
    Busy,
    /// The ledger says no: to a channel, or to the deposit that it needs.
    #[error("{0}")]
    Refused(Box<Refused>),
    /// Permit2 may not move the deposit that it needs, and no permit can be sent.
    #[error("Permit2 may move {allowed}, the deposit needs {needed}")]
    NotAllowed {
        /// What it may move.
        allowed: Amount,
        /// The least that does, with what is spoken for.
        needed: Amount,
    },
}

impl Fault for NotLent {
    fn code(&self) -> &'static str {
        match self {
            Self::Busy => "channels.busy",
            Self::Refused(refused) => refused.code(),
            Self::NotAllowed { .. } => "channels.not_allowed",
        }
    }

    fn class(&self) -> Class {
        match self {
            Self::Busy => Class::Later,
            Self::Refused(refused) => refused.class(),
            Self::NotAllowed { .. } => Class::Final,
        }
    }
}

impl From<Refused> for NotLent {
    fn from(refused: Refused) -> Self {
        Self::Refused(Box::new(refused))
    }
}

/// What a call needs a channel for.
#[derive(Copy, Clone, Debug)]
pub struct Need {
    /// The call.
    pub payment: PaymentId,
    /// Its worst case.
    pub amount: Amount,
    /// The same in the unit of account.
    pub nano: Nano,
    /// How long an authorization may live by the offer, in seconds.
    pub timeout_s: u64,
    /// The least that a deposit may be by the offer.
    pub deposit_min: Amount,
    /// What moves a deposit, by the offer.
    pub method: TransferMethod,
    /// What is done with a channel of which it is not known how it stands.
    pub doubtful: Doubtful,
}

/// What is done with a channel of which it is not known how it stands.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Doubtful {
    /// It is lent to ask its payee.
    Ask,
    /// Nobody can ask: one is lent as it stands here whose last charge the ledger knows. Were the ledger
    /// an old copy, the payee would refuse the voucher, which says no more than one that it has already.
    Trust,
    /// It is left alone.
    Skip,
}
