//! The payer's checks of a signed quote, and the payee's of its own when it comes back.

use alloy::primitives::Address;

use crate::domain::fault::{Class, Fault};
use crate::domain::id::Name;
use crate::domain::listing::SignedListing;
use crate::domain::order::Order;
use crate::domain::pricing::is_at_most;
use crate::domain::quote::{PriceTerms, SignedQuote};
use crate::domain::time::Timestamp;
use crate::domain::x402::digest::quote_hash;
use crate::domain::x402::signature::is_signed_by;

/// Why a quote does not do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QuoteError {
    /// Another provider's.
    #[error("the quote is that of {0}")]
    Provider(Name),
    /// Signed by another key than the listed service key.
    #[error("the quote is signed for {found}, not for {expected}")]
    ServiceKey {
        /// As listed.
        expected: Address,
        /// As quoted.
        found: Address,
    },
    /// Not a signature of the service key.
    #[error("the quote's signature is not that of {0}")]
    Signature(Address),
    /// Its time has passed.
    #[error("the quote was valid until {0}")]
    Expired(Timestamp),
    /// It sells something else than was ordered.
    #[error("the quote is for {capability} by {model}")]
    NotOrdered {
        /// What it sells.
        capability: Name,
        /// By which model.
        model: Name,
    },
    /// The order asks for more output than the quote allows.
    #[error("the order asks for {asked} units of output, the quote allows {output_max}")]
    OutputAboveQuote {
        /// As ordered.
        asked: u64,
        /// As quoted.
        output_max: u64,
    },
    /// It names no way to pay, or one to somebody who is not the listed payee.
    #[error("the quote's ways to pay are not to the listed payee")]
    PayBy,
    /// Its calls would go elsewhere than to the listed endpoint.
    #[error("the quote is for {found}, which is not at the listed endpoint {endpoint}")]
    Resource {
        /// As listed.
        endpoint: String,
        /// As quoted.
        found: String,
    },
    /// It is made for another payer.
    #[error("the quote is not made for {0}")]
    NotFor(Address),
    /// It asks more than the listing.
    #[error("the quote is above the listed price")]
    AboveList,
}

impl Fault for QuoteError {
    fn code(&self) -> &'static str {
        match self {
            Self::Provider(_) => "quote.provider",
            Self::ServiceKey { .. } => "quote.service_key",
            Self::Signature(_) => "quote.signature",
            Self::Expired(_) => "quote.expired",
            Self::NotOrdered { .. } => "quote.not_ordered",
            Self::OutputAboveQuote { .. } => "quote.output_above_quote",
            Self::PayBy => "quote.pay_by",
            Self::Resource { .. } => "quote.resource",
            Self::NotFor(_) => "quote.not_for",
            Self::AboveList => "quote.above_list",
        }
    }

    fn class(&self) -> Class {
        match self {
            Self::Expired(_) => Class::Later,
            Self::Provider(_)
            | Self::ServiceKey { .. }
            | Self::Signature(_)
            | Self::NotOrdered { .. }
            | Self::OutputAboveQuote { .. }
            | Self::PayBy
            | Self::Resource { .. }
            | Self::NotFor(_)
            | Self::AboveList => Class::Final,
        }
    }
}

/// Whether `signed` is a quote by `service_key` for `order`, now.
///
/// # Errors
/// [`QuoteError`], the signature last.
pub fn check_quote(
    signed: &SignedQuote,
    service_key: Address,
    order: &Order,
    now: Timestamp,
) -> Result<(), QuoteError> {
    check_quote_again(signed, service_key, order, now)?;
    check_signature(signed)
}

fn check_signature(signed: &SignedQuote) -> Result<(), QuoteError> {
    let SignedQuote { quote, service_key, signature } = signed;
    if is_signed_by(*service_key, quote_hash(quote), signature) {
        Ok(())
    } else {
        Err(QuoteError::Signature(*service_key))
    }
}

/// The same of a quote whose signature was found good before.
///
/// # Errors
/// [`QuoteError`], all but the signature's.
pub fn check_quote_again(
    signed: &SignedQuote,
    service_key: Address,
    order: &Order,
    now: Timestamp,
) -> Result<(), QuoteError> {
    let quote = &signed.quote;
    if signed.service_key != service_key {
        return Err(QuoteError::ServiceKey { expected: service_key, found: signed.service_key });
    }
    if now >= quote.valid_until {
        return Err(QuoteError::Expired(quote.valid_until));
    }
    let model = order.model.as_ref().is_none_or(|model| *model == quote.model);
    if order.capability != quote.capability || !model {
        let (capability, model) = (quote.capability.clone(), quote.model.clone());
        return Err(QuoteError::NotOrdered { capability, model });
    }
    if order.output_max.0 > quote.output_max {
        let (asked, output_max) = (order.output_max.0, quote.output_max);
        return Err(QuoteError::OutputAboveQuote { asked, output_max });
    }
    if quote.pay_by.is_empty() {
        return Err(QuoteError::PayBy);
    }
    Ok(())
}

/// Whether `signed` keeps what `listing` promises: the provider and its service key, the listed payee,
/// a resource at the listed endpoint (threats.md F30), and no part of the price above the listed one. The listing was checked before.
///
/// # Errors
/// [`QuoteError`], and those of [`check_quote`].
pub fn check_listed_quote(
    signed: &SignedQuote,
    listing: &SignedListing,
    order: &Order,
    now: Timestamp,
) -> Result<(), QuoteError> {
    check_listed_again(signed, listing, order, now)?;
    check_signature(signed)
}

/// The same of a quote whose signature was found good before.
///
/// # Errors
/// [`QuoteError`], all but the signature's.
pub fn check_listed_again(
    signed: &SignedQuote,
    listing: &SignedListing,
    order: &Order,
    now: Timestamp,
) -> Result<(), QuoteError> {
    let (quote, listed) = (&signed.quote, &listing.listing);
    if quote.provider != listed.provider {
        return Err(QuoteError::Provider(quote.provider.clone()));
    }
    let payee = listed.pay_by.first().map(|way| way.pay_to);
    if quote.pay_by.iter().any(|way| Some(way.pay_to) != payee) {
        return Err(QuoteError::PayBy);
    }
    let endpoint = &listed.endpoint;
    if !is_at(&quote.resource, endpoint) {
        let (endpoint, found) = (endpoint.clone(), quote.resource.clone());
        return Err(QuoteError::Resource { endpoint, found });
    }
    if !is_at_most(&quote.terms, &list_price(signed, listing)?) {
        return Err(QuoteError::AboveList);
    }
    check_quote_again(signed, listing.service_key, order, now)
}

/// Whether a gRPC resource is a method of the server at `endpoint`.
fn is_at(resource: &str, endpoint: &str) -> bool {
    let authority = endpoint.strip_prefix("http://").or_else(|| endpoint.strip_prefix("https://"));
    let authority = authority.unwrap_or(endpoint);
    let rest = resource.strip_prefix("grpc://").and_then(|rest| rest.strip_prefix(authority));
    rest.is_some_and(|path| path.starts_with('/'))
}

/// The listed price of what `signed` sells.
fn list_price(signed: &SignedQuote, listing: &SignedListing) -> Result<PriceTerms, QuoteError> {
    let quote = &signed.quote;
    let wares = &listing.listing.wares;
    wares
        .iter()
        .find(|ware| ware.capability == quote.capability && ware.model == quote.model)
        .map(|ware| ware.terms)
        .ok_or_else(|| QuoteError::NotOrdered {
            capability: quote.capability.clone(),
            model: quote.model.clone(),
        })
}
