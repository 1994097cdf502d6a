//! The payload of a payment: its JSON and the typed authorization. That of EIP-3009 is read here.

use alloy::primitives::{Address, B256, hex};
use serde_json::{Map, Value, json};

use crate::domain::commitment::{Authorization, Commitment, Scheme, TransferMethod};
use crate::domain::id::PaymentId;
use crate::domain::money::{Amount, AmountError};
use crate::domain::quote::PayBy;
use crate::domain::x402::error::{Message, PaymentError};
use crate::domain::x402::identifier;
use crate::domain::x402::permitted;
use crate::domain::x402::requirements::{GRPC_MIME_TYPE, read_address, read_requirements};
use crate::domain::x402::signature;
use crate::domain::x402::sponsoring;
use crate::domain::x402::wire::{PaymentPayload, PaymentRequirements, Resource, X402_VERSION};

/// The authorization in a payment, for the network and the asset that it says it accepted.
///
/// # Errors
/// [`PaymentError`] for `accepted` as [`read_requirements`], [`PaymentError::Field`] for a field that
/// is missing, not in its one spelling, or unknown, [`PaymentError::ValueTooLarge`].
pub fn read_authorization(payload: &PaymentPayload) -> Result<Authorization, PaymentError> {
    let (way, _) = read_requirements(&payload.accepted, Message::Payload)?;
    read_paid(payload, &way)
}

/// The same, where `accepted` was already found to be `way`.
pub(super) fn read_paid(
    payload: &PaymentPayload,
    way: &PayBy,
) -> Result<Authorization, PaymentError> {
    let (commitment, text) = read_signed(payload, way)?;
    // A signature that is none is a wrong one: the specification has a code for that.
    let signature = signature::from_text(text)
        .ok_or(PaymentError::Signature { from: commitment.payer, recovered: None })?;
    Ok(Authorization { commitment, signature })
}

/// What is said to be signed, and the text of the signature.
pub(super) fn read_signed<'p>(
    payload: &'p PaymentPayload,
    way: &PayBy,
) -> Result<(Commitment, &'p str), PaymentError> {
    match (way.scheme, way.method.is_permit2()) {
        (Scheme::Exact | Scheme::Upto { .. }, true) => permitted::read_permit2(payload, way),
        (Scheme::Exact, false) => read_exact(&payload.payload, way),
        // Only Permit2 moves less than was signed, and channels have payloads of their own.
        (Scheme::Upto { .. }, false) | (Scheme::BatchSettlement(_), _) => Err(PaymentError::Scheme),
    }
}

/// By EIP-3009.
fn read_exact<'p>(
    payload: &'p Map<String, Value>,
    way: &PayBy,
) -> Result<(Commitment, &'p str), PaymentError> {
    let wrong = |field| PaymentError::Field { message: Message::Payload, field };
    let fields = match payload.get("authorization") {
        // What nobody here reads could mean something to another reader of the same payment.
        Some(Value::Object(fields)) if fields.len() == 6 && payload.len() == 2 => fields,
        _ => return Err(wrong("payload.authorization")),
    };
    let text = |key: &str, field| fields.get(key).and_then(Value::as_str).ok_or(wrong(field));
    let address = |key: &str, field| read_address(text(key, field)?).ok_or(wrong(field));
    let time = |key: &str, field| read_time(text(key, field)?).ok_or(wrong(field));

    let payer = address("from", "payload.authorization.from")?;
    let pay_to = address("to", "payload.authorization.to")?;
    let amount_max: Amount = match text("value", "payload.authorization.value")?.parse() {
        Ok(amount) => amount,
        Err(AmountError::TooLarge) => return Err(PaymentError::ValueTooLarge),
        Err(AmountError::NotCanonical) => return Err(wrong("payload.authorization.value")),
    };
    let nonce = read_hash(text("nonce", "payload.authorization.nonce")?)
        .ok_or(wrong("payload.authorization.nonce"))?;
    let commitment = Commitment {
        scheme: way.scheme,
        method: way.method,
        asset: way.asset,
        payer,
        pay_to,
        amount_max,
        valid_after_s: time("validAfter", "payload.authorization.validAfter")?,
        valid_before_s: time("validBefore", "payload.authorization.validBefore")?,
        nonce,
    };
    let signed =
        payload.get("signature").and_then(Value::as_str).ok_or(wrong("payload.signature"))?;
    Ok((commitment, signed))
}

/// The payment that carries `authorization`. `accepted` is what was offered, verbatim; `extensions`
/// are the offer's, echoed, and the payment's name is put into them.
pub fn payment_payload(
    resource: Option<Resource>,
    accepted: PaymentRequirements,
    authorization: &Authorization,
    extensions: Option<Map<String, Value>>,
    payment: Option<PaymentId>,
) -> PaymentPayload {
    let commitment = &authorization.commitment;
    let (key, signed) = match commitment.method.is_permit2() {
        true => (permitted::KEY, permitted::write_permit2(commitment)),
        false => ("authorization", write_exact(commitment)),
    };
    let payload = Map::from_iter([
        ("signature".to_owned(), Value::from(signature::to_text(&authorization.signature))),
        (key.to_owned(), signed),
    ]);
    let extensions = match commitment.method {
        TransferMethod::Permit2By(permit) => {
            Some(sponsoring::with_permit(extensions.unwrap_or_default(), commitment, &permit))
        }
        _ => extensions,
    };
    let extensions = named(extensions, payment);
    PaymentPayload { x402_version: X402_VERSION, resource, accepted, payload, extensions }
}

/// The payment that carries a channel's word. `accepted` is what was offered, verbatim; `extensions` are
/// the offer's, echoed.
pub fn voucher_payload(
    resource: Resource,
    accepted: PaymentRequirements,
    payload: Map<String, Value>,
    extensions: Option<Map<String, Value>>,
    payment: Option<PaymentId>,
) -> PaymentPayload {
    let extensions = named(extensions, payment);
    let resource = Some(resource);
    PaymentPayload { x402_version: X402_VERSION, resource, accepted, payload, extensions }
}

/// The extensions with the payment's name, where it has one.
fn named(
    extensions: Option<Map<String, Value>>,
    payment: Option<PaymentId>,
) -> Option<Map<String, Value>> {
    match payment {
        Some(payment) => Some(identifier::with_payment(extensions.unwrap_or_default(), payment)),
        None => extensions,
    }
}

fn write_exact(commitment: &Commitment) -> Value {
    let Commitment { payer, pay_to, amount_max, valid_after_s, valid_before_s, nonce, .. } =
        commitment;
    json!({
        "from": payer.to_string(),
        "to": pay_to.to_string(),
        "value": amount_max.to_string(),
        "validAfter": valid_after_s.to_string(),
        "validBefore": valid_before_s.to_string(),
        "nonce": nonce.to_string(),
    })
}

/// A gRPC method as a resource.
pub fn grpc_resource(url: &str) -> Resource {
    Resource {
        url: url.to_owned(),
        mime_type: Some(GRPC_MIME_TYPE.to_owned()),
        ..Resource::default()
    }
}

/// Who pays, by a payment that may not have been checked: for rate limits, never for money.
pub fn find_payer(payload: &PaymentPayload) -> Option<Address> {
    let signed = payload.payload.get("authorization");
    let signed = signed.or_else(|| payload.payload.get(permitted::KEY));
    read_address(signed?.get("from")?.as_str()?)
}

/// Seconds since the epoch in their one spelling.
pub(super) fn read_time(text: &str) -> Option<u64> {
    let canonical = text == "0" || !text.starts_with('0');
    (canonical && text.bytes().all(|b| b.is_ascii_digit())).then(|| text.parse().ok())?
}

/// A hash by its text: `0x` and 64 hexadecimal digits.
pub(super) fn read_hash(text: &str) -> Option<B256> {
    let digits = text.strip_prefix("0x").filter(|digits| digits.len() == 64)?;
    let mut bytes = [0; 32];
    hex::decode_to_slice(digits, &mut bytes).ok()?;
    Some(B256::from(bytes))
}
