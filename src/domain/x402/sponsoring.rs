//! The `eip2612GasSponsoring` extension: whoever settles hands in the payer's own permit at the token
//! first, so that a payer without gas, whom Permit2 may move nothing of, pays all the same.
//!
//! The permit is for just the maximum that is authorized: the deployed spenders take no other. Source:
//! x402 extension eip2612GasSponsoring; EIP-2612.

use serde_json::{Map, Value, json};

use crate::domain::commitment::{Commitment, TokenPermit};
use crate::domain::money::{Amount, AmountError};
use crate::domain::x402::error::{Message, PaymentError};
use crate::domain::x402::payload::read_time;
use crate::domain::x402::permit2::{Eip2612Sponsoring, PERMIT2};
use crate::domain::x402::requirements::read_address;
use crate::domain::x402::signature;
use crate::domain::x402::wire::PaymentPayload;

/// The extension's key.
pub const KEY: &str = "eip2612GasSponsoring";

/// The extension's version.
const VERSION: &str = "1";

/// What a payee puts into an offer: that it hands permits in.
pub fn declared() -> Value {
    let description = "The facilitator hands in a permit (EIP-2612) for Permit2.";
    json!({ "info": { "description": description, "version": VERSION }, "schema": schema() })
}

fn schema() -> Value {
    let address = json!({ "type": "string", "pattern": "^0x[a-fA-F0-9]{40}$" });
    let number = json!({ "type": "string", "pattern": "^[0-9]+$" });
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "properties": {
            "from": address,
            "asset": address,
            "spender": address,
            "amount": number,
            "nonce": number,
            "deadline": number,
            "signature": { "type": "string", "pattern": "^0x[a-fA-F0-9]+$" },
            "version": { "type": "string", "pattern": "^[0-9]+(\\.[0-9]+)*$" }
        },
        "required": [
            "from", "asset", "spender", "amount", "nonce", "deadline", "signature", "version"
        ]
    })
}

/// A payment's extensions with the payer's permit in them; nothing is added of one that is not signed.
/// What the payee declared stays beside it, as it was. Source: x402 version 2, section 5.1.2.
pub(super) fn with_permit(
    mut extensions: Map<String, Value>,
    commitment: &Commitment,
    permit: &TokenPermit,
) -> Map<String, Value> {
    let Some(signed) = &permit.signature else { return extensions };
    let info = Eip2612Sponsoring {
        from: commitment.payer.to_string(),
        asset: commitment.asset.contract.to_string(),
        spender: PERMIT2.to_string(),
        amount: commitment.amount_max.to_string(),
        nonce: permit.nonce.to_string(),
        deadline: permit.deadline_s.to_string(),
        signature: signature::to_text(signed),
        version: VERSION.to_owned(),
    };
    let info = serde_json::to_value(info).expect("texts under text keys are JSON");
    let declared = extensions.entry(KEY).or_insert_with(|| json!({}));
    let Some(declared) = declared.as_object_mut() else { return extensions };
    match (declared.get_mut("info"), info) {
        (Some(Value::Object(declared)), Value::Object(info)) => declared.extend(info),
        (_, info) => drop(declared.insert("info".to_owned(), info)),
    }
    extensions
}

/// The permit that came with a payment of `commitment`, if one did. Whose it is, is checked with the rest.
///
/// # Errors
/// [`PaymentError::Field`] for one that is not in its form or not for Permit2 and this token,
/// [`PaymentError::Value`] for another amount than was authorized.
pub(super) fn find_permit(
    payload: &PaymentPayload,
    commitment: &Commitment,
) -> Result<Option<TokenPermit>, PaymentError> {
    let found = payload.extensions.as_ref().and_then(|all| all.get(KEY)?.get("info"));
    // What the offer declared and the payer only repeats has no signature in it.
    let Some(info) = found.filter(|info| info.get("signature").is_some()) else { return Ok(None) };
    let wrong = |field| PaymentError::Field { message: Message::Payload, field };
    let said: Eip2612Sponsoring = serde_json::from_value(info.clone())
        .map_err(|_| wrong("extensions.eip2612GasSponsoring.info"))?;
    let is = |text: &str, address| read_address(text) == Some(address);
    if !is(&said.from, commitment.payer) {
        return Err(wrong("extensions.eip2612GasSponsoring.info.from"));
    }
    if !is(&said.asset, commitment.asset.contract) {
        return Err(wrong("extensions.eip2612GasSponsoring.info.asset"));
    }
    if !is(&said.spender, PERMIT2) {
        return Err(wrong("extensions.eip2612GasSponsoring.info.spender"));
    }
    let amount: Amount = match said.amount.parse() {
        Ok(amount) => amount,
        Err(AmountError::TooLarge) => return Err(PaymentError::ValueTooLarge),
        Err(AmountError::NotCanonical) => {
            return Err(wrong("extensions.eip2612GasSponsoring.info.amount"));
        }
    };
    if amount != commitment.amount_max {
        return Err(PaymentError::Value { expected: commitment.amount_max, found: amount });
    }
    let number = |text: &str, field| read_time(text).ok_or(wrong(field));
    let signed = signature::from_text(&said.signature);
    let signed =
        signed.ok_or(PaymentError::Signature { from: commitment.payer, recovered: None })?;
    Ok(Some(TokenPermit {
        nonce: number(&said.nonce, "extensions.eip2612GasSponsoring.info.nonce")?,
        deadline_s: number(&said.deadline, "extensions.eip2612GasSponsoring.info.deadline")?,
        signature: Some(signed),
    }))
}
