//! What is signed where a price has more than a call and its tokens in it, or is one payer's own.
//!
//! A quote and a listing that say nothing of the kind are signed by the types of [`super::digest`], and
//! their bytes never change. The others have types of more fields under the same names, and so another
//! type hash: no signature can pass for one of the other form. The types are written in
//! docs/x402-grpc.md. Source: EIP-712.

use std::sync::LazyLock;

use alloy::primitives::{Address, B256, keccak256};

use crate::domain::listing::{Listing, Ware};
use crate::domain::pricing::Step;
use crate::domain::quote::{PriceTerms, Quote, Stride};
use crate::domain::x402::digest::{Fields, PAY_BY, pay_by};

const PRICE_TERMS: &str = "PriceTerms(uint256 flat,uint256 per1kInput,uint256 per1kOutput,\
    uint256 perGigabyte,uint256 perGigabyteStored,uint256 perSecond)";
const QUOTE: &str = "Quote(string provider,string resource,string capability,string model,\
    PriceTerms terms,PayBy[] payBy,uint256 outputMax,uint256 validUntilNanos,uint256 rounds,\
    address payer,uint256 freeLeft)";
const STREAMED_QUOTE: &str = "Quote(string provider,string resource,string capability,string model,\
    PriceTerms terms,PayBy[] payBy,uint256 outputMax,uint256 validUntilNanos,uint256 rounds,\
    address payer,uint256 freeLeft,uint256 strideOutput,uint256 strideBytes,uint256 strideMs)";
const STEP: &str = "Step(uint256 afterCalls,uint256 flat)";
const WARE: &str =
    "Ware(string capability,string model,PriceTerms terms,uint256 freeCalls,Step[] steps)";
const LISTING: &str = "Listing(string provider,string endpoint,Ware[] wares,PayBy[] payBy,\
    uint256 issuedAtNanos,uint256 validUntilNanos)";

/// A type's hash: of its own text, then those it refers to in alphabetical order.
macro_rules! types {
    ($($name:ident = $($part:expr),+;)+) => {
        $(static $name: LazyLock<B256> = LazyLock::new(|| keccak256([$($part),+].concat()));)+
    };
}

types! {
    PRICE_TERMS_T = PRICE_TERMS;
    QUOTE_T = QUOTE, PAY_BY, PRICE_TERMS;
    STREAMED_QUOTE_T = STREAMED_QUOTE, PAY_BY, PRICE_TERMS;
    STEP_T = STEP;
    WARE_T = WARE, PRICE_TERMS, STEP;
    LISTING_T = LISTING, PAY_BY, PRICE_TERMS, STEP, WARE;
}

/// Whether `quote` says more than the plain type has fields for.
pub(super) fn has_more(quote: &Quote) -> bool {
    !quote.terms.is_by_tokens() || quote.standing.is_some() || quote.stride.is_some()
}

/// Whether any ware of `listing` does. An array has one type, so that one is enough for all.
pub(super) fn lists_more(listing: &Listing) -> bool {
    listing.wares.iter().any(|ware| !ware.terms.is_by_tokens() || !ware.tiers.is_none())
}

/// The struct's hash of a quote with everything that it may say; without a standing, the payer is the
/// zero address, which nobody has the key of.
pub(super) fn quote(quote: &Quote) -> B256 {
    let (payer, free_left) =
        quote.standing.map_or((Address::ZERO, 0), |standing| (standing.payer, standing.free_left));
    let type_hash = if quote.stride.is_some() { *STREAMED_QUOTE_T } else { *QUOTE_T };
    let fields = Fields::new(type_hash)
        .text(quote.provider.as_str())
        .text(&quote.resource)
        .text(quote.capability.as_str())
        .text(quote.model.as_str())
        .word(price_terms(&quote.terms))
        .array(quote.pay_by.iter().map(pay_by))
        .number(quote.output_max)
        .number(quote.valid_until.as_nanos())
        .number(quote.rounds)
        .address(payer)
        .number(free_left);
    match quote.stride {
        None => fields.hash(),
        Some(Stride { output, bytes, compute_ms }) => {
            fields.number(output.0).number(bytes).number(compute_ms).hash()
        }
    }
}

/// The struct's hash of a listing with everything that it may say.
pub(super) fn listing(listing: &Listing) -> B256 {
    Fields::new(*LISTING_T)
        .text(listing.provider.as_str())
        .text(&listing.endpoint)
        .array(listing.wares.iter().map(ware))
        .array(listing.pay_by.iter().map(pay_by))
        .number(listing.issued_at.as_nanos())
        .number(listing.valid_until.as_nanos())
        .hash()
}

fn price_terms(terms: &PriceTerms) -> B256 {
    terms
        .parts()
        .into_iter()
        .fold(Fields::new(*PRICE_TERMS_T), |fields, part| fields.number(part.get()))
        .hash()
}

fn ware(ware: &Ware) -> B256 {
    Fields::new(*WARE_T)
        .text(ware.capability.as_str())
        .text(ware.model.as_str())
        .word(price_terms(&ware.terms))
        .number(ware.tiers.free_calls)
        .array(ware.tiers.steps.iter().map(step))
        .hash()
}

fn step(step: &Step) -> B256 {
    Fields::new(*STEP_T).number(step.after_calls).number(step.flat.get()).hash()
}
