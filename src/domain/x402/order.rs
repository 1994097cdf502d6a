//! An order under its payer's key: what a free call shows in the place of a payment.
//!
//! It moves no money and can never be made to: its domain is of words, and no contract has it. It says
//! who asks, by whose quote, for just what, and when, so that it is worth one call and nothing else.

use alloy::primitives::{Address, B256, Signature, keccak256};
use serde::{Deserialize, Serialize};

use crate::domain::id::PaymentId;
use crate::domain::order::Order;
use crate::domain::quote::{Quote, QuoteHash};
use crate::domain::x402::digest::{Fields, ORDER_DOMAIN, ORDER_T, quote_hash};
use crate::domain::x402::signature::is_signed_by;

/// How old a signed order may be, and how far ahead of the payee's clock, in seconds.
pub const ORDER_AGE_MAX_S: u64 = 120;

/// A payer's word that it orders something. What it orders travels beside it.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SignedOrder {
    /// The payer's key on the rail, whose allowance is asked for.
    pub payer: Address,
    /// The payer's name for the call, as it would name a payment.
    pub payment: PaymentId,
    /// When it was signed, in seconds since the epoch.
    pub issued_at_s: u64,
    /// By `payer`, over [`order_digest`].
    pub signature: Signature,
}

/// What is ordered, and by which quote.
#[derive(Copy, Clone, Debug)]
pub struct Ordered<'a> {
    /// The quote it goes by.
    pub quote: &'a Quote,
    /// What is wanted.
    pub order: &'a Order,
    /// The body's content type.
    pub content_type: &'a str,
    /// The body.
    pub body: &'a [u8],
}

/// Why a signed order is worth nothing.
#[derive(Copy, Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OrderError {
    /// Signed too long ago, or in the future: it could be one that is forgotten.
    #[error("signed at {issued_at_s}, which is more than {ORDER_AGE_MAX_S} s from {now_s}")]
    Stale {
        /// When it says it was signed.
        issued_at_s: u64,
        /// The payee's time.
        now_s: u64,
    },
    /// The quote is another payer's.
    #[error("the quote was not made for {0}")]
    Payer(Address),
    /// Not a signature of the payer's.
    #[error("the order's signature is not that of {0}")]
    Signature(Address),
}

impl crate::domain::fault::Fault for OrderError {
    fn code(&self) -> &'static str {
        match self {
            Self::Stale { .. } => "order.stale",
            Self::Payer(_) => "order.payer",
            Self::Signature(_) => "order.signature",
        }
    }

    fn class(&self) -> crate::domain::fault::Class {
        crate::domain::fault::Class::Final
    }
}

/// What `payer` signs at `issued_at_s` for a call that it names `payment`. The same order again has the
/// same digest, which is its name; anything else about it gives another.
pub fn order_digest(
    ordered: &Ordered<'_>,
    payer: Address,
    payment: PaymentId,
    issued_at_s: u64,
) -> B256 {
    let hash: QuoteHash = quote_hash(ordered.quote);
    let payee = ordered.quote.pay_by.first().map(|way| way.pay_to).unwrap_or_default();
    let Order { capability, model, input_max, output_max, maxima } = ordered.order;
    let hash = Fields::new(*ORDER_T)
        .word(hash)
        .text(capability.as_str())
        .text(model.as_ref().map_or("", |model| model.as_str()))
        .number(input_max.0)
        .number(output_max.0)
        .number(maxima.bytes)
        .number(maxima.compute_ms)
        .number(maxima.stored)
        .text(ordered.content_type)
        .word(keccak256(ordered.body))
        .address(payer)
        .address(payee)
        .text(&payment.to_string())
        .number(issued_at_s)
        .hash();
    ORDER_DOMAIN.digest(hash)
}

/// Whether `signed` is its payer's word for `ordered`, now. Returns the order's digest.
///
/// # Errors
/// [`OrderError`], the signature last.
pub fn check_order(
    signed: &SignedOrder,
    ordered: &Ordered<'_>,
    now_s: u64,
) -> Result<B256, OrderError> {
    let SignedOrder { payer, payment, issued_at_s, signature } = *signed;
    if now_s.abs_diff(issued_at_s) > ORDER_AGE_MAX_S {
        return Err(OrderError::Stale { issued_at_s, now_s });
    }
    if !ordered.quote.is_for(payer) {
        return Err(OrderError::Payer(payer));
    }
    let digest = order_digest(ordered, payer, payment, issued_at_s);
    if is_signed_by(payer, digest, &signature) {
        Ok(digest)
    } else {
        Err(OrderError::Signature(payer))
    }
}
