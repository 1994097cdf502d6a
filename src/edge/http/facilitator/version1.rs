//! Version 1 of x402, read as if it were version 2: its networks have names, its terms are in other fields, and
//! what was accepted is said by the payment's scheme and network alone.
//!
//! Source: x402 v1, sections 5 and 7.

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::domain::x402::error::{Message, PaymentError};
use crate::domain::x402::wire::{
    AskedPayment, PaymentPayload, PaymentRequirements, SupportedKind, X402_VERSION,
};
use crate::edge::http::first::{find_network, name_of_network};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Asked {
    payment_payload: Payload,
    payment_requirements: Requirements,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Payload {
    x402_version: u32,
    scheme: String,
    network: String,
    payload: Map<String, Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Requirements {
    scheme: String,
    network: String,
    max_amount_required: String,
    pay_to: String,
    max_timeout_seconds: u64,
    asset: String,
    #[serde(default)]
    extra: Option<Map<String, Value>>,
}

/// A request of version 1 as one of version 2, and the name that it calls its network by.
///
/// # Errors
/// [`PaymentError::Malformed`]; [`PaymentError::Network`] for a name that nobody knows,
/// [`PaymentError::Scheme`] for another than `exact`.
pub(super) fn read(object: &Value) -> Result<(AskedPayment, String), PaymentError> {
    let Asked { payment_payload: payload, payment_requirements: asked } = typed(object.clone())?;
    if payload.x402_version != 1 {
        return Err(PaymentError::Version { found: Some(payload.x402_version.into()) });
    }
    if asked.scheme != "exact" || payload.scheme != asked.scheme {
        return Err(PaymentError::Scheme);
    }
    if payload.network != asked.network {
        return Err(PaymentError::Network);
    }
    let network = find_network(&asked.network).ok_or(PaymentError::Network)?;
    let payment_requirements = PaymentRequirements {
        scheme: asked.scheme,
        network: network.to_string(),
        amount: asked.max_amount_required,
        asset: asked.asset,
        pay_to: asked.pay_to,
        max_timeout_seconds: asked.max_timeout_seconds,
        extra: asked.extra,
    };
    let payment_payload = PaymentPayload {
        x402_version: X402_VERSION,
        resource: None,
        accepted: payment_requirements.clone(),
        payload: payload.payload,
        extensions: None,
    };
    let asked_now =
        AskedPayment { x402_version: X402_VERSION, payment_payload, payment_requirements };
    Ok((asked_now, asked.network))
}

/// What of `kinds` is there in version 1 too.
pub(super) fn kinds(kinds: &[SupportedKind]) -> Vec<SupportedKind> {
    let exact = kinds.iter().filter(|kind| kind.scheme == "exact");
    exact
        .filter_map(|kind| {
            let name = name_of_network(&kind.network)?;
            Some(SupportedKind { x402_version: 1, network: name.to_owned(), ..kind.clone() })
        })
        .collect()
}

/// `value` as an object of this shape.
pub(super) fn typed<T: DeserializeOwned>(value: Value) -> Result<T, PaymentError> {
    serde_json::from_value(value).map_err(|error| PaymentError::Malformed {
        message: Message::Asked,
        column: error.column(),
    })
}
