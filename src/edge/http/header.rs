//! x402 in HTTP headers: where offers, payments and settlements ride, and how long they may be.
//!
//! Base64 with padding, one value a header, one payment a request. It is read as strictly as the domain
//! reads it; nothing here checks what an object promises. Source: x402 transports HTTP, versions 1 and 2.

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use serde::Serialize;

use super::first::{self, FirstPayment};
use super::limits::{OFFER_TEXT_MAX, PAYMENT_TEXT_MAX, SETTLEMENT_TEXT_MAX};
use crate::domain::commitment::Scheme;
use crate::domain::fault::{Class, Fault};
use crate::domain::x402::PaymentError;
use crate::domain::x402::error::Message;
use crate::domain::x402::read::{
    decode_text, encode_text, parse_payment_payload, parse_payment_required, parse_settlement,
};
use crate::domain::x402::wire::{PaymentPayload, PaymentRequired, SettlementResponse};

/// Response header: the offer.
pub const PAYMENT_REQUIRED: HeaderName = HeaderName::from_static("payment-required");

/// Request header: the payment.
pub const PAYMENT_SIGNATURE: HeaderName = HeaderName::from_static("payment-signature");

/// Response header: what came of the settlement.
pub const PAYMENT_RESPONSE: HeaderName = HeaderName::from_static("payment-response");

/// Request header of version 1: the payment.
pub const X_PAYMENT: HeaderName = HeaderName::from_static("x-payment");

/// Response header of version 1: what came of the settlement.
pub const X_PAYMENT_RESPONSE: HeaderName = HeaderName::from_static("x-payment-response");

/// Why a header is refused. None of its words is repeated: it may be a payment.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// More than one payment came, under whatever names.
    #[error("expected one payment a request")]
    TwoPayments,
    /// Longer than anything that is read.
    #[error("`{name}` has {len} bytes, at most {max} are read")]
    TooLong {
        /// Which header.
        name: HeaderName,
        /// How long.
        len: usize,
        /// How long it may be.
        max: usize,
    },
    /// Not what it should be.
    #[error("`{name}`: {error}")]
    Unreadable {
        /// Which header.
        name: HeaderName,
        /// What was wrong.
        error: PaymentError,
    },
}

impl Fault for HeaderError {
    fn code(&self) -> &'static str {
        match self {
            Self::TwoPayments => "http.two_payments",
            Self::TooLong { .. } => "http.header_too_long",
            Self::Unreadable { .. } => "http.header_unreadable",
        }
    }

    fn class(&self) -> Class {
        Class::Final
    }
}

/// A payment as it came, in its version of the protocol.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Payment {
    /// Version 2: it repeats what it accepted.
    Second(Box<PaymentPayload>),
    /// Version 1: it says its scheme and network, and no more.
    First(Box<FirstPayment>),
}

impl Payment {
    /// Whether it says that it pays by `exact`.
    pub fn is_exact(&self) -> bool {
        let scheme = match self {
            Self::Second(payment) => &payment.accepted.scheme,
            Self::First(payment) => &payment.scheme,
        };
        scheme == Scheme::Exact.as_str()
    }
}

/// The payment in a request's headers, if there is one.
///
/// # Errors
/// [`HeaderError`] for more than one payment under whatever names, for one that is too long, and for
/// what is none: a request that meant to pay is never served as one that did not. Source: threats.md D16.
pub fn find_payment(headers: &HeaderMap) -> Result<Option<Payment>, HeaderError> {
    let values = |name: HeaderName| headers.get_all(name).iter().map(HeaderValue::as_bytes);
    let mut second = values(PAYMENT_SIGNATURE);
    let mut first = values(X_PAYMENT);
    let found = match (second.next(), first.next()) {
        (None, None) => return Ok(None),
        (Some(_), Some(_)) => return Err(HeaderError::TwoPayments),
        (Some(text), None) => (PAYMENT_SIGNATURE, text),
        (None, Some(text)) => (X_PAYMENT, text),
    };
    if second.next().is_some() || first.next().is_some() {
        return Err(HeaderError::TwoPayments);
    }
    let (name, text) = found;
    let json = decode(&name, text, PAYMENT_TEXT_MAX, Message::Payload)?;
    let read = match name == PAYMENT_SIGNATURE {
        true => parse_payment_payload(&json).map(Box::new).map(Payment::Second),
        false => first::parse_payment(&json).map(Box::new).map(Payment::First),
    };
    read.map(Some).map_err(|error| HeaderError::Unreadable { name, error })
}

/// The offer in a response's headers, if there is a legible one, and only one.
///
/// # Errors
/// [`HeaderError`].
pub fn find_offer(headers: &HeaderMap) -> Result<Option<PaymentRequired>, HeaderError> {
    let Some(text) = find_one(headers, &PAYMENT_REQUIRED)? else { return Ok(None) };
    // What others send may be longer than what is sent here.
    let json = decode(&PAYMENT_REQUIRED, text, 4 * OFFER_TEXT_MAX, Message::Required)?;
    let name = PAYMENT_REQUIRED;
    let read = parse_payment_required(&json);
    read.map(Some).map_err(|error| HeaderError::Unreadable { name, error })
}

/// What came of the settlement, where the payee said so legibly and once.
pub fn find_settlement(headers: &HeaderMap) -> Option<SettlementResponse> {
    let text = find_one(headers, &PAYMENT_RESPONSE).ok()??;
    let json = decode(&PAYMENT_RESPONSE, text, SETTLEMENT_TEXT_MAX, Message::Settlement).ok()?;
    parse_settlement(&json).ok()
}

/// Puts an object into a header, where it is short enough to be read.
///
/// # Errors
/// [`HeaderError::TooLong`].
pub fn put<T: Serialize>(
    headers: &mut HeaderMap,
    name: HeaderName,
    object: &T,
    max: usize,
) -> Result<(), HeaderError> {
    let text = encode_text(object);
    if text.len() > max {
        return Err(HeaderError::TooLong { name, len: text.len(), max });
    }
    headers.insert(name, HeaderValue::try_from(text).expect("base64 is printable ASCII"));
    Ok(())
}

/// The only value of a header.
///
/// # Errors
/// [`HeaderError::TwoPayments`] where there are more.
pub(super) fn find_one<'h>(
    headers: &'h HeaderMap,
    name: &HeaderName,
) -> Result<Option<&'h [u8]>, HeaderError> {
    let mut values = headers.get_all(name).iter();
    let first = values.next().map(HeaderValue::as_bytes);
    if values.next().is_some() { Err(HeaderError::TwoPayments) } else { Ok(first) }
}

pub(super) fn decode(
    name: &HeaderName,
    text: &[u8],
    max: usize,
    message: Message,
) -> Result<Vec<u8>, HeaderError> {
    if text.len() > max {
        return Err(HeaderError::TooLong { name: name.clone(), len: text.len(), max });
    }
    decode_text(text, message)
        .map_err(|error| HeaderError::Unreadable { name: name.clone(), error })
}
