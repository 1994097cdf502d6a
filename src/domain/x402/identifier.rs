//! The `payment-identifier` extension: the payer's own name for a payment, so that a payee can tell a
//! repeated request from a new one.
//!
//! Ours is the [`PaymentId`]: `pay_` and 32 hexadecimal digits. Source: x402 extension
//! payment-identifier; threats.md A25.

use serde_json::{Map, Value, json};

use crate::domain::id::PaymentId;
use crate::domain::x402::error::{Message, PaymentError};
use crate::domain::x402::wire::PaymentPayload;

/// The extension's key.
pub const KEY: &str = "payment-identifier";

/// Shortest name, in characters.
pub const LEN_MIN: usize = 16;
/// Longest name, in characters.
pub const LEN_MAX: usize = 128;

/// What a payee puts into an offer: that it understands names, and whether it wants one.
pub fn declared(required: bool) -> Value {
    json!({ "info": { "required": required }, "schema": schema() })
}

fn schema() -> Value {
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "properties": {
            "required": { "type": "boolean" },
            "id": { "type": "string", "minLength": LEN_MIN, "maxLength": LEN_MAX }
        },
        "required": ["required"]
    })
}

/// A payment's extensions with its name in them: what the offer declared is kept and added to.
pub(super) fn with_payment(
    mut extensions: Map<String, Value>,
    payment: PaymentId,
) -> Map<String, Value> {
    let declared = extensions.entry(KEY).or_insert_with(|| declared(false));
    if let Some(info) = declared.get_mut("info").and_then(Value::as_object_mut) {
        info.insert("id".to_owned(), Value::from(payment.to_string()));
    }
    extensions
}

/// The payer's name for the payment as it gave it, if it gave one.
///
/// # Errors
/// [`PaymentError::Field`] for a name that is none: 16 to 128 letters, digits, `-` and `_`.
pub fn find_name(payload: &PaymentPayload) -> Result<Option<&str>, PaymentError> {
    let said = payload.extensions.as_ref().and_then(|all| all.get(KEY)?.get("info")?.get("id"));
    let Some(said) = said else {
        return Ok(None);
    };
    let is_name = |text: &&str| {
        (LEN_MIN..=LEN_MAX).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
    };
    let wrong = PaymentError::Field {
        message: Message::Payload,
        field: "extensions.payment-identifier.info.id",
    };
    said.as_str().filter(is_name).map(Some).ok_or(wrong)
}

/// The payment's id, where the payer gave one of ours. A stranger's name in another form is no
/// [`PaymentId`]: [`find_name`] has it.
///
/// # Errors
/// As [`find_name`].
pub fn find_payment(payload: &PaymentPayload) -> Result<Option<PaymentId>, PaymentError> {
    Ok(find_name(payload)?.and_then(|name| name.parse().ok()))
}
