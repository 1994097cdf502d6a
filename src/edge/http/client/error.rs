//! Why a call has no answer.

use super::super::header::HeaderError;
use super::{Origin, OriginError, SENT_LEN_MAX};
use crate::domain::fault::{Class, Fault};
use crate::domain::id::PaymentId;
use crate::domain::policy::Denial;
use crate::runtime::payer::PayError;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The URL is none, or leads where it must not.
    #[error(transparent)]
    Origin(#[from] OriginError),
    /// The caller brings a payment of its own.
    #[error("`{0}` is set here, and not by the caller")]
    OwnPayment(&'static str),
    /// The body is longer than what is sent.
    #[error("the body has {len} bytes, at most {SENT_LEN_MAX} are sent")]
    BodyTooLong {
        /// How long.
        len: usize,
    },
    /// The agent's role lets no such request be made, and none was.
    #[error(transparent)]
    Denied(Denial),
    /// Nobody answered, and nothing was paid.
    #[error("no answer from {origin}: {problem}")]
    Unreachable {
        /// Who was called.
        origin: Origin,
        /// What happened.
        problem: String,
    },
    /// The offer does not read, and nothing was paid.
    #[error("the offer of {origin} does not read: {error}")]
    Offer {
        /// Whose.
        origin: Origin,
        /// What was wrong.
        error: HeaderError,
    },
    /// It is not paid.
    #[error(transparent)]
    Pay(#[from] PayError),
    /// A payment was shown, and no answer came.
    #[error("{payment} was shown to {origin}, and no answer came: {problem}")]
    InDoubt {
        /// Which.
        payment: PaymentId,
        /// To whom.
        origin: Origin,
        /// What happened.
        problem: String,
    },
}

impl Fault for FetchError {
    fn code(&self) -> &'static str {
        match self {
            Self::Origin(inner) => inner.code(),
            Self::Denied(inner) => inner.code(),
            Self::OwnPayment(_) => "fetch.own_payment",
            Self::BodyTooLong { .. } => "fetch.body_too_long",
            Self::Unreachable { .. } => "fetch.unreachable",
            Self::Offer { .. } => "fetch.offer",
            Self::Pay(inner) => inner.code(),
            Self::InDoubt { .. } => "fetch.in_doubt",
        }
    }

    fn class(&self) -> Class {
        match self {
            Self::Origin(_)
            | Self::Denied(_)
            | Self::OwnPayment(_)
            | Self::BodyTooLong { .. }
            | Self::Offer { .. } => Class::Final,
            Self::Unreachable { .. } => Class::Later,
            Self::Pay(inner) => inner.class(),
            Self::InDoubt { .. } => Class::InDoubt,
        }
    }
}
