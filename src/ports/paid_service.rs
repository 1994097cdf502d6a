//! A paid service: the same trait is what a payer calls and what a payee answers.

use std::net::IpAddr;
use std::sync::Arc;

use alloy::primitives::Address;
use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::BoxStream;

use crate::domain::fault::{Class, Fault};
use crate::domain::negotiation::{CounterOffer, Verdict};
use crate::domain::order::{Order, Usage};
use crate::domain::quote::SignedQuote;
use crate::domain::x402::batch::read::{CreditWord, VoucherWord};
use crate::domain::x402::order::SignedOrder;
use crate::domain::x402::receipt::SignedReceipt;
use crate::domain::x402::wire::{PaymentPayload, PaymentRequired, SettlementResponse};
use crate::ports::engine::EngineError;

/// A request for a quote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ask {
    /// What is wanted.
    pub order: Order,
    /// What the payer would give, where it does not take the list price.
    pub counter: Option<CounterOffer>,
    /// Who would pay, where that matters to the price. It is believed, because the price then holds for
    /// that payer only.
    pub payer: Option<Address>,
}

/// A quote, and what became of the counter-offer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quoted {
    /// The payee's signed offer.
    pub quote: SignedQuote,
    /// How it came about.
    pub verdict: Verdict,
}

/// A request to serve, paid or not yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PaidCall {
    /// What is wanted.
    pub order: Order,
    /// The quote it goes by; `None` goes by the list price.
    pub quote: Option<SignedQuote>,
    /// The body's content type.
    pub content_type: String,
    /// The body: opaque to everybody but the engine.
    pub body: Bytes,
    /// The payment; without one the answer is what would have to be paid.
    pub payment: Option<PaymentPayload>,
    /// The order under the payer's key, for a call that is free by the quote.
    pub signed_order: Option<SignedOrder>,
    /// Where the call came from, for rate limits; set by the door, never by the caller.
    pub peer: Option<IpAddr>,
    /// Whether the caller wants the answer as it is made. A streamed answer is settled first.
    pub streamed: bool,
}

/// An answer as it comes.
pub struct Answer {
    /// The answer's content type.
    pub content_type: String,
    /// Model name and weights' hash.
    pub model: String,
    /// What came of the settlement, where it came before the first piece: a streamed answer says so
    /// at its head, so that a stream that breaks leaves no doubt about the money.
    pub settled: Option<SettlementResponse>,
    /// Chunks, then one [`Piece::Done`] or [`Piece::Cut`].
    pub pieces: Pieces,
}

/// An answer's pieces, as they come.
pub type Pieces = BoxStream<'static, Result<Piece, ServiceError>>;

/// A piece of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// Some of the answer.
    Chunk(Bytes),
    /// The end: what was used, and what was charged.
    Done(Box<Closing>),
    /// The end of what was paid for: the answer is not whole, and what was delivered was charged.
    Cut(Box<Closing>),
    /// What was used with everything that came so far and the next chunk; while an answer is paid as it
    /// flows.
    Used(Usage),
}

/// What a payer says while an answer flows.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Said {
    /// Pays for more.
    Voucher(VoucherWord),
    /// Wants no more: what was delivered is charged.
    Stop,
}

/// What a payer says while an answer flows; its end says that no more is paid for.
pub type Saying = BoxStream<'static, Said>;

/// How an answer ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Closing {
    /// What was used.
    pub usage: Usage,
    /// What came of the settlement. `success: false` with `settlement_pending` is an open outcome.
    pub response: SettlementResponse,
    /// The payee's signed word.
    pub receipt: Option<SignedReceipt>,
}

/// Why a service gave no answer. Every variant says whether a payment may have been taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ServiceError {
    /// Nothing was paid, or what was paid did not do; nothing was taken.
    #[error("payment required{}", .0.error.as_deref().map(|e| format!(": {e}")).unwrap_or_default())]
    PaymentRequired(Box<PaymentRequired>),
    /// The settlement failed for good, nothing was taken, and the answer was withheld.
    #[error("settlement failed: {}", .response.error_reason.as_deref().unwrap_or("no reason given"))]
    SettlementFailed {
        /// What to pay instead.
        offer: Box<PaymentRequired>,
        /// The failed settlement.
        response: Box<SettlementResponse>,
    },
    /// The request is not one; nothing was taken.
    #[error("`{field}`: {problem}")]
    Malformed {
        /// Which field.
        field: String,
        /// What was wrong and what would be right.
        problem: String,
    },
    /// The same authorization came with another request; nothing more was taken.
    #[error("the authorization is bound to another request")]
    Bound,
    /// Too many calls; nothing was taken.
    #[error("rate limited, try again in {retry_after_ms} ms")]
    RateLimited {
        /// When to try again.
        retry_after_ms: u64,
    },
    /// It does not answer now, and nothing was taken.
    #[error("unavailable: {0}")]
    Unavailable(String),
    /// The engine failed before anything was settled: the authorization was given up by the payee.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The payment was settled and the answer failed: asking again with it serves it, free of charge.
    #[error("paid and not served yet: ask again with the same payment")]
    Due,
    /// Nobody knows whether the payment was taken.
    #[error("the outcome is unknown: {0}")]
    Unknown(String),
}

impl Fault for ServiceError {
    fn code(&self) -> &'static str {
        match self {
            Self::PaymentRequired(_) => "service.payment_required",
            Self::SettlementFailed { .. } => "service.settlement_failed",
            Self::Malformed { .. } => "service.malformed",
            Self::Bound => "service.bound",
            Self::RateLimited { .. } => "service.rate_limited",
            Self::Unavailable(_) => "service.unavailable",
            Self::Engine(inner) => inner.code(),
            Self::Due => "service.due",
            Self::Unknown(_) => "service.unknown",
        }
    }

    fn class(&self) -> Class {
        match self {
            Self::PaymentRequired(_)
            | Self::SettlementFailed { .. }
            | Self::Malformed { .. }
            | Self::Bound => Class::Final,
            Self::RateLimited { .. } | Self::Unavailable(_) => Class::Later,
            Self::Engine(inner) => inner.class(),
            Self::Due | Self::Unknown(_) => Class::InDoubt,
        }
    }
}

/// Quotes, and serves what is paid.
#[async_trait]
pub trait PaidService: Send + Sync {
    /// The price of an order, signed.
    ///
    /// # Errors
    /// [`ServiceError::Malformed`] for what is not sold, [`ServiceError::RateLimited`],
    /// [`ServiceError::Unavailable`] also while settlements cannot be paid for.
    async fn quote(&self, ask: Ask) -> Result<Quoted, ServiceError>;

    /// Serves a paid call, or says what it costs.
    ///
    /// # Errors
    /// Any [`ServiceError`]; each says whether a payment may have been taken.
    async fn infer(&self, call: PaidCall) -> Result<Answer, ServiceError>;

    /// Whether a voucher may go without the terms of its channel, as peers of ours say it.
    fn takes_words(&self) -> bool {
        false
    }

    /// Serves a call that `word` pays, on a channel that has paid a call here before.
    ///
    /// # Errors
    /// Any [`ServiceError`]; [`ServiceError::PaymentRequired`] also where the channel is not known here,
    /// and then nothing was taken.
    async fn infer_by_word(
        &self,
        call: PaidCall,
        word: VoucherWord,
    ) -> Result<Answer, ServiceError> {
        let _ = (call, word);
        let (field, problem) = ("voucher".to_owned(), "is not taken without its terms".to_owned());
        Err(ServiceError::Malformed { field, problem })
    }

    /// Serves a call on credit, on a channel that has paid a call here before: no voucher covers it yet.
    ///
    /// # Errors
    /// Any [`ServiceError`]; [`ServiceError::PaymentRequired`] also where no credit is given, and then
    /// nothing was taken.
    async fn infer_on_credit(
        &self,
        call: PaidCall,
        word: CreditWord,
    ) -> Result<Answer, ServiceError> {
        let _ = (call, word);
        let (field, problem) = ("voucher".to_owned(), "no credit is given here".to_owned());
        Err(ServiceError::Malformed { field, problem })
    }

    /// The same of a streamed call that is paid while it flows: its payment covers the first portion,
    /// and `saying` pays for more. A service that knows no such calls serves what the payment covers.
    ///
    /// # Errors
    /// Any [`ServiceError`].
    async fn flow(&self, call: PaidCall, saying: Saying) -> Result<Answer, ServiceError> {
        drop(saying);
        self.infer(call).await
    }
}

/// Finds the service behind an endpoint of a listing.
#[async_trait]
pub trait Connector: Send + Sync {
    /// The service at `endpoint`.
    ///
    /// # Errors
    /// [`ServiceError::Malformed`] for an endpoint that the configuration does not allow,
    /// [`ServiceError::Unavailable`] where nobody answers.
    async fn connect(&self, endpoint: &str) -> Result<Arc<dyn PaidService>, ServiceError>;
}
