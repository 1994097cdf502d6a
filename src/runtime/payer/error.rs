//! Why a payment did not end in an answer.

use alloy::primitives::Address;

use crate::domain::asset::Asset;
use crate::domain::fault::{Class, Fault};
use crate::domain::id::{Name, PaymentId};
use crate::domain::money::Amount;
use crate::domain::policy::Denied;
use crate::domain::x402::PaymentError;
use crate::domain::x402::quote::QuoteError;
use crate::ports::paid_service::ServiceError;
use crate::ports::signer::SignerError;
use crate::runtime::limits::Limited;
use crate::runtime::treasury::Refused;

/// Why a payment did not end in an answer. Each variant with a payment says what became of its money.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PayError {
    /// The agent's role is not in the policy: nothing is allowed by default.
    #[error("role {role} is not in the policy in force")]
    UnknownRole {
        /// Which.
        role: Name,
    },
    /// The role says no; nothing was held.
    #[error("{denied}")]
    Denied {
        /// The refusal's id, for asking why.
        payment: PaymentId,
        /// Why.
        denied: Box<Denied>,
    },
    /// The ledger says no; nothing was held.
    #[error("{refused}")]
    Refused {
        /// The refusal's id, for asking why.
        payment: PaymentId,
        /// Why.
        refused: Box<Refused>,
    },
    /// Too fast; nothing was held.
    #[error(transparent)]
    Limited(#[from] Limited),
    /// Nobody sells what is wanted.
    #[error("nobody sells {capability}{} within what was asked", .model.as_ref().map(|m| format!(" with {m}")).unwrap_or_default())]
    NoProvider {
        /// What was wanted.
        capability: Name,
        /// With which model.
        model: Option<Name>,
    },
    /// The body is larger than a request may be.
    #[error("the body has {len} bytes, at most {max} are taken")]
    BodyTooLarge {
        /// Its size.
        len: usize,
        /// The bound.
        max: usize,
    },
    /// The directory does not answer.
    #[error("the directory does not answer: {0}")]
    NoDirectory(String),
    /// No provider gave a quote that could be paid; nothing was held.
    #[error("no usable quote from {provider}: {problem}")]
    NoQuote {
        /// The best of those asked.
        provider: Name,
        /// What was wrong with its answer.
        problem: QuoteProblem,
    },
    /// Every quote is above what the caller would pay; nothing was held.
    #[error("the best price is {price}, above the {price_max} asked")]
    TooDear {
        /// The best price, in the unit of account.
        price: crate::domain::money::Nano,
        /// The caller's bound.
        price_max: crate::domain::money::Nano,
    },
    /// Nothing was signed, and what was held is given back.
    #[error("{payment} was not signed: {error}")]
    NotSigned {
        /// The payment.
        payment: PaymentId,
        /// Why.
        error: SignerError,
    },
    /// The provider refused what was signed. The money stays held until the chain shows that the
    /// authorization can no longer settle.
    #[error("{provider} refused {payment}: {error}")]
    Provider {
        /// The payment.
        payment: PaymentId,
        /// Who refused.
        provider: Name,
        /// Why.
        error: Box<ServiceError>,
    },
    /// Nobody knows whether it was paid. Asking again with the same request id never pays twice.
    #[error("the outcome of {payment} is unknown: {problem}")]
    InDoubt {
        /// The payment.
        payment: PaymentId,
        /// What happened.
        problem: String,
    },
    /// The request's payment is done, and its answer is no longer kept.
    #[error("{payment} is paid, and its answer is no longer kept")]
    AnswerGone {
        /// The payment.
        payment: PaymentId,
    },
    /// Every channel to the provider is busy; nothing was held.
    #[error("every channel to {provider} is busy")]
    ChannelsBusy {
        /// Which provider.
        provider: Name,
    },
    /// The payee wants to be paid for more at a time than may be paid and not have come; nothing was held.
    #[error("{provider} streams {stride} at a time, and at most {limit} may be ahead of it")]
    StrideTooLong {
        /// Which provider.
        provider: Name,
        /// What one stride of it costs, in atomic units.
        stride: Amount,
        /// What may be paid ahead, in atomic units.
        limit: Amount,
    },
    /// The answer was cut before it was whole; what was delivered is paid.
    #[error("{provider} cut the answer of {payment}: {charged} was charged for what came")]
    Cut {
        /// The payment.
        payment: PaymentId,
        /// Who cut it.
        provider: Name,
        /// What was charged, in atomic units.
        charged: Amount,
    },
    /// Permit2 may not move what the payment needs; nothing was held.
    #[error("{payer} lets Permit2 move {allowed} of {asset}, and {needed} is needed: approve it")]
    Allowance {
        /// Of what.
        asset: Asset,
        /// Whose.
        payer: Address,
        /// What it may move.
        allowed: Amount,
        /// What is needed, with what is under way.
        needed: Amount,
    },
    /// The process ends.
    #[error("the node is draining")]
    Draining,
}

/// What is wrong with a quote.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QuoteProblem {
    /// None came.
    #[error(transparent)]
    Service(ServiceError),
    /// None came in time.
    #[error("no answer in time")]
    TimedOut,
    /// One came that does not do.
    #[error(transparent)]
    Quote(#[from] QuoteError),
    /// The offer of a call does not do.
    #[error(transparent)]
    Offer(PaymentError),
    /// It cannot be paid in an asset that is pinned here.
    #[error("it cannot be paid in an asset that is in the registry")]
    UnknownAsset,
    /// Its price cannot be counted.
    #[error("its price does not fit what is counted in")]
    PriceOutOfRange,
    /// The two sides did not agree within the rounds there are.
    #[error("no price was agreed on")]
    NotAgreed,
}

impl Fault for PayError {
    fn code(&self) -> &'static str {
        match self {
            Self::UnknownRole { .. } => "payer.unknown_role",
            Self::Denied { denied, .. } => denied.code(),
            Self::Refused { refused, .. } => refused.code(),
            Self::Limited(limited) => limited.code(),
            Self::NoProvider { .. } => "payer.no_provider",
            Self::BodyTooLarge { .. } => "payer.body_too_large",
            Self::NoDirectory(_) => "payer.no_directory",
            Self::NoQuote { .. } => "payer.no_quote",
            Self::TooDear { .. } => "payer.too_dear",
            Self::NotSigned { error, .. } => error.code(),
            Self::Provider { .. } => "payer.provider_refused",
            Self::InDoubt { .. } => "payer.in_doubt",
            Self::AnswerGone { .. } => "payer.answer_gone",
            Self::ChannelsBusy { .. } => "payer.channels_busy",
            Self::StrideTooLong { .. } => "payer.stride_too_long",
            Self::Cut { .. } => "payer.stream_cut",
            Self::Allowance { .. } => "payer.allowance_required",
            Self::Draining => "payer.draining",
        }
    }

    fn class(&self) -> Class {
        match self {
            Self::UnknownRole { .. }
            | Self::Denied { .. }
            | Self::BodyTooLarge { .. }
            | Self::TooDear { .. }
            | Self::Allowance { .. }
            | Self::StrideTooLong { .. }
            | Self::Cut { .. }
            | Self::AnswerGone { .. } => Class::Final,
            Self::Refused { refused, .. } => refused.class(),
            Self::Limited(limited) => limited.class(),
            Self::NotSigned { error, .. } => error.class(),
            Self::NoProvider { .. }
            | Self::NoDirectory(_)
            | Self::NoQuote { .. }
            | Self::ChannelsBusy { .. }
            | Self::Draining => Class::Later,
            Self::Provider { .. } | Self::InDoubt { .. } => Class::InDoubt,
        }
    }
}

impl PayError {
    /// The payment it is about, where there is one.
    pub const fn payment(&self) -> Option<PaymentId> {
        match self {
            Self::Denied { payment, .. }
            | Self::Refused { payment, .. }
            | Self::NotSigned { payment, .. }
            | Self::Provider { payment, .. }
            | Self::InDoubt { payment, .. }
            | Self::Cut { payment, .. }
            | Self::AnswerGone { payment } => Some(*payment),
            Self::UnknownRole { .. }
            | Self::StrideTooLong { .. }
            | Self::Allowance { .. }
            | Self::Limited(_)
            | Self::NoProvider { .. }
            | Self::BodyTooLarge { .. }
            | Self::NoDirectory(_)
            | Self::NoQuote { .. }
            | Self::TooDear { .. }
            | Self::ChannelsBusy { .. }
            | Self::Draining => None,
        }
    }
}
