//! x402 in gRPC metadata: where offers, payments and settlements ride, and how long they may be.
//!
//! JSON of version 2 as base64 with padding; one value a key, one payment a call. It is read as
//! strictly as the domain reads it; nothing here checks what an object promises.
//! Source: docs/x402-grpc.md.

use alloy::primitives::B256;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use prost::Message as _;
use serde::Serialize;
use tonic::metadata::{MetadataMap, MetadataValue};

use crate::domain::channel::{Ceiling, ChannelId};
use crate::domain::money::Amount;
use crate::domain::x402::batch::read::{CreditWord, VoucherWord};
use crate::domain::x402::batch::word::{SaidCharge, brief, find_charge, find_credit, with_credit};
use crate::domain::x402::error::Message;
use crate::domain::x402::read::{
    decode_text, encode_text, parse_payment_payload, parse_payment_required, parse_settlement,
    to_json,
};
use crate::domain::x402::wire::{PaymentPayload, PaymentRequired, SettlementResponse};
use crate::edge::grpc::convert::{Malformed, signature};
use crate::edge::grpc::limits::{
    OFFER_IN_MESSAGE_MAX, OFFER_LEN_MAX, OFFER_TEXT_MAX, PAYMENT_TEXT_MAX, SETTLEMENT_TEXT_MAX,
};
use crate::edge::grpc::pb;

/// Request metadata: a voucher without its channel's terms, as `bursar.v1.Voucher`, between peers of ours.
pub const PAYMENT_SIGNATURE_BIN: &str = "payment-signature-bin";

/// Trailer: what such a voucher was charged, as `bursar.v1.VoucherCharge`.
pub const PAYMENT_RESPONSE_BIN: &str = "payment-response-bin";

/// Request metadata: the payment, as base64 of `PaymentPayload` JSON.
pub const PAYMENT_SIGNATURE: &str = "payment-signature";

/// The same under the name that an earlier proposal gave it; read, never written.
pub const X402_PAYMENT: &str = "x402-payment";

/// Trailer: the offer, as base64 of `PaymentRequired` JSON.
pub const PAYMENT_REQUIRED: &str = "payment-required";

/// Trailer: the offer as raw JSON, where it is long.
pub const PAYMENT_REQUIRED_BIN: &str = "payment-required-bin";

/// Trailer, and the head of a stream that settled first: base64 of `SettlementResponse` JSON.
pub const PAYMENT_RESPONSE: &str = "payment-response";

/// The payment in a call's metadata, if there is one.
///
/// # Errors
/// [`Malformed`] for more than one payment under whatever names, for one that is too long, and for
/// what is not a version 2 payload: a call that meant to pay is never served as one that did not.
pub fn find_payment(metadata: &MetadataMap) -> Result<Option<PaymentPayload>, Malformed> {
    let mut found = metadata
        .get_all(PAYMENT_SIGNATURE)
        .iter()
        .map(|value| (PAYMENT_SIGNATURE, value))
        .chain(metadata.get_all(X402_PAYMENT).iter().map(|value| (X402_PAYMENT, value)));
    let Some((key, value)) = found.next() else {
        return Ok(None);
    };
    if found.next().is_some() {
        return Err(Malformed::new(key, "expected one payment a call"));
    }
    let text = value.as_bytes();
    if text.len() > PAYMENT_TEXT_MAX {
        return Err(too_long(key, PAYMENT_TEXT_MAX));
    }
    decode_text(text, Message::Payload)
        .and_then(|json| parse_payment_payload(&json))
        .map(Some)
        .map_err(|problem| Malformed::new(key, problem))
}

/// Puts a payment into a call's metadata.
///
/// # Errors
/// [`Malformed`] where it is longer than a payee reads.
pub fn put_payment(metadata: &mut MetadataMap, payment: &PaymentPayload) -> Result<(), Malformed> {
    put(metadata, PAYMENT_SIGNATURE, payment, PAYMENT_TEXT_MAX)
}

/// A payment as peers of ours say it, without its channel's terms.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) enum Word {
    /// By this voucher.
    Voucher(VoucherWord),
    /// On credit.
    OnCredit(CreditWord),
}

/// Puts a payment into a call's metadata, as peers of ours say it.
pub(super) fn put_word(metadata: &mut MetadataMap, word: &Word) {
    let (voucher, charged) = match word {
        Word::Voucher(voucher) => (voucher, None),
        Word::OnCredit(CreditWord { voucher, charged }) => (voucher, Some(charged)),
    };
    let message = pb::Voucher {
        channel: Bytes::copy_from_slice(voucher.ceiling.channel.0.as_slice()),
        ceiling: Bytes::copy_from_slice(&voucher.ceiling.amount.get().to_be_bytes()),
        signature: Bytes::copy_from_slice(&voucher.signature.as_bytes()),
        charged: charged.map_or_else(Bytes::new, |charged| {
            Bytes::copy_from_slice(&charged.get().to_be_bytes())
        }),
    };
    let value = MetadataValue::from_bytes(&message.encode_to_vec());
    metadata.insert_bin(PAYMENT_SIGNATURE_BIN, value);
}

/// The payment in a call's metadata, where it goes without its channel's terms.
///
/// # Errors
/// [`Malformed`] for more than one, for one beside another payment, and for what is no voucher.
pub(super) fn find_word(metadata: &MetadataMap) -> Result<Option<Word>, Malformed> {
    let wrong = |problem: &str| Malformed::new(PAYMENT_SIGNATURE_BIN, problem);
    let mut found = metadata.get_all_bin(PAYMENT_SIGNATURE_BIN).iter();
    let Some(value) = found.next() else { return Ok(None) };
    let others = [PAYMENT_SIGNATURE, X402_PAYMENT].iter().any(|key| metadata.contains_key(*key));
    if found.next().is_some() || others {
        return Err(wrong("expected one payment a call"));
    }
    let bytes = value.to_bytes().map_err(|_| wrong("is not base64"))?;
    let read = pb::Voucher::decode(bytes).map_err(|_| wrong("is not a bursar.v1.Voucher"))?;
    let channel = word_of(&read.channel).ok_or_else(|| wrong("`channel`: expected 32 bytes"))?;
    let amount = amount_of(&read.ceiling).ok_or_else(|| wrong("`ceiling`: expected 16 bytes"))?;
    let signature = signature(&read.signature, PAYMENT_SIGNATURE_BIN)?;
    let ceiling = Ceiling { channel: ChannelId(channel), amount };
    let voucher = VoucherWord { ceiling, signature };
    if read.charged.is_empty() {
        return Ok(Some(Word::Voucher(voucher)));
    }
    let charged = amount_of(&read.charged).ok_or_else(|| wrong("`charged`: expected 16 bytes"))?;
    Ok(Some(Word::OnCredit(CreditWord { voucher, charged })))
}

/// Says what a voucher was charged, to a peer of ours, where `settlement` says it.
pub(super) fn put_charge(metadata: &mut MetadataMap, settlement: &SettlementResponse) {
    let Some((channel, said)) = find_charge(settlement) else { return };
    let message = pb::VoucherCharge {
        channel: Bytes::copy_from_slice(channel.0.as_slice()),
        amount: Bytes::copy_from_slice(&said.amount.get().to_be_bytes()),
        cumulative: Bytes::copy_from_slice(&said.cumulative.get().to_be_bytes()),
        credit: find_credit(settlement)
            .map_or_else(Bytes::new, |credit| Bytes::copy_from_slice(&credit.get().to_be_bytes())),
    };
    let value = MetadataValue::from_bytes(&message.encode_to_vec());
    metadata.insert_bin(PAYMENT_RESPONSE_BIN, value);
}

/// What a peer of ours says that a voucher was charged, once and legibly.
pub(super) fn find_charge_of(metadata: &MetadataMap) -> Option<SettlementResponse> {
    let mut found = metadata.get_all_bin(PAYMENT_RESPONSE_BIN).iter();
    let bytes = found.next()?.to_bytes().ok()?;
    let said = pb::VoucherCharge::decode(bytes).ok().filter(|_| found.next().is_none())?;
    let (channel, amount) = (word_of(&said.channel)?, amount_of(&said.amount)?);
    let cumulative = amount_of(&said.cumulative)?;
    let response = brief(ChannelId(channel), SaidCharge { amount, cumulative });
    Some(match amount_of(&said.credit) {
        Some(credit) => with_credit(response, credit),
        None => response,
    })
}

fn word_of(bytes: &[u8]) -> Option<B256> {
    B256::try_from(bytes).ok()
}

fn amount_of(bytes: &[u8]) -> Option<Amount> {
    <[u8; 16]>::try_from(bytes).ok().map(|bytes| Amount::new(u128::from_be_bytes(bytes)))
}

/// Puts an offer into trailers; the text is what the status message repeats while it is short.
///
/// # Errors
/// [`Malformed`] where it is longer than a payer reads: [`OFFER_LEN_MAX`] bytes of JSON.
pub(super) fn put_offer(
    trailers: &mut MetadataMap,
    offer: &PaymentRequired,
) -> Result<Option<String>, Malformed> {
    let json = to_json(offer);
    if json.len() > OFFER_LEN_MAX {
        return Err(too_long(PAYMENT_REQUIRED, OFFER_LEN_MAX));
    }
    let text = STANDARD.encode(&json);
    if text.len() > OFFER_TEXT_MAX {
        trailers.insert_bin(PAYMENT_REQUIRED_BIN, MetadataValue::from_bytes(&json));
        return Ok(None);
    }
    trailers.insert(PAYMENT_REQUIRED, ascii(&text));
    Ok((text.len() <= OFFER_IN_MESSAGE_MAX).then_some(text))
}

/// The offer in a refused call's trailers, or else in its status message, where payees that know no
/// trailers put it.
pub fn find_offer(trailers: &MetadataMap, message: &str) -> Option<PaymentRequired> {
    let from_bytes = |json: &[u8]| {
        (json.len() <= OFFER_LEN_MAX).then(|| parse_payment_required(json).ok()).flatten()
    };
    let from_text = |text: &[u8]| {
        let short = text.len() <= OFFER_LEN_MAX.saturating_mul(2);
        short
            .then(|| decode_text(text, Message::Required).ok())
            .flatten()
            .and_then(|json| from_bytes(&json))
    };
    trailers
        .get(PAYMENT_REQUIRED)
        .and_then(|value| from_text(value.as_bytes()))
        .or_else(|| {
            let json = trailers.get_bin(PAYMENT_REQUIRED_BIN)?.to_bytes().ok()?;
            from_bytes(&json)
        })
        .or_else(|| from_text(message.as_bytes()))
}

/// Puts what came of a settlement into metadata or trailers.
///
/// # Errors
/// [`Malformed`] where it is longer than a payer reads.
pub fn put_settlement(
    metadata: &mut MetadataMap,
    settlement: &SettlementResponse,
) -> Result<(), Malformed> {
    put(metadata, PAYMENT_RESPONSE, settlement, SETTLEMENT_TEXT_MAX)
}

/// What came of the settlement, where the payee said so legibly and once. A head that repeats its
/// word in the trailers may repeat it exactly; two different words are none.
pub fn find_settlement(metadata: &MetadataMap) -> Option<SettlementResponse> {
    let mut words = metadata.get_all(PAYMENT_RESPONSE).iter();
    let first = words.next()?;
    if words.any(|word| word != first) {
        return None;
    }
    let text = Some(first.as_bytes()).filter(|text| text.len() <= SETTLEMENT_TEXT_MAX)?;
    parse_settlement(&decode_text(text, Message::Settlement).ok()?).ok()
}

fn put<T: Serialize>(
    metadata: &mut MetadataMap,
    key: &'static str,
    object: &T,
    most: usize,
) -> Result<(), Malformed> {
    let text = encode_text(object);
    if text.len() > most {
        return Err(too_long(key, most));
    }
    metadata.insert(key, ascii(&text));
    Ok(())
}

fn too_long(key: &str, most: usize) -> Malformed {
    Malformed::new(key, format_args!("expected at most {most} bytes"))
}

fn ascii(base64: &str) -> MetadataValue<tonic::metadata::Ascii> {
    base64.parse().expect("base64 is printable ASCII")
}

#[cfg(test)]
pub(super) mod tests;
