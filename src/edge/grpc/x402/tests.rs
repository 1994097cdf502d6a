//! Offers, payments and settlements in metadata, and the steps where their sizes turn.
#![allow(clippy::unwrap_used, clippy::arithmetic_side_effects, reason = "tests fail by panicking")]

use super::*;
use alloy::primitives::{Signature, U256};

use crate::domain::x402::batch::word::read_response;
use crate::domain::x402::wire::{PaymentRequirements, Resource};

fn requirements() -> PaymentRequirements {
    PaymentRequirements {
        scheme: "exact".into(),
        network: "eip155:31337".into(),
        amount: "1000".into(),
        asset: "0xabababababababababababababababababababab".into(),
        pay_to: "0x1111111111111111111111111111111111111111".into(),
        max_timeout_seconds: 60,
        extra: None,
    }
}

/// An offer whose JSON is `len` bytes long, or as short as it gets.
pub(in crate::edge::grpc) fn offer(len: usize) -> PaymentRequired {
    let mut offer = PaymentRequired {
        x402_version: 2,
        error: None,
        resource: Resource {
            url: "grpc://127.0.0.1:1/bursar.v1.InferenceService/Infer".into(),
            description: Some(String::new()),
            mime_type: Some("application/grpc".into()),
            ..Resource::default()
        },
        accepts: vec![requirements()],
        extensions: None,
    };
    let missing = len.saturating_sub(to_json(&offer).len());
    offer.resource.description = Some("d".repeat(missing));
    offer
}

pub(in crate::edge::grpc) fn payment() -> PaymentPayload {
    PaymentPayload {
        x402_version: 2,
        resource: None,
        accepted: requirements(),
        payload: serde_json::Map::new(),
        extensions: None,
    }
}

pub(in crate::edge::grpc) fn settlement(success: bool) -> SettlementResponse {
    SettlementResponse {
        success,
        error_reason: (!success).then(|| "insufficient_funds".to_owned()),
        payer: Some("0x3333333333333333333333333333333333333333".into()),
        transaction: if success { format!("0x{}", "4".repeat(64)) } else { String::new() },
        network: "eip155:31337".into(),
        amount: Some("1000".into()),
        extra: None,
        extensions: None,
    }
}

#[test]
fn a_payment_comes_back_as_it_went() {
    let mut metadata = MetadataMap::new();
    assert_eq!(find_payment(&metadata).unwrap(), None);
    put_payment(&mut metadata, &payment()).unwrap();
    assert_eq!(find_payment(&metadata).unwrap(), Some(payment()));
}

#[test]
fn the_earlier_name_is_read_too() {
    let mut metadata = MetadataMap::new();
    put(&mut metadata, X402_PAYMENT, &payment(), PAYMENT_TEXT_MAX).unwrap();
    assert_eq!(find_payment(&metadata).unwrap(), Some(payment()));
}

#[test]
fn d16_more_than_one_payment_is_none_at_all() {
    let text = ascii(&STANDARD.encode(to_json(&payment())));
    let pairs = [(PAYMENT_SIGNATURE, PAYMENT_SIGNATURE), (PAYMENT_SIGNATURE, X402_PAYMENT)];
    for (first, second) in pairs {
        let mut metadata = MetadataMap::new();
        metadata.append(first, text.clone());
        metadata.append(second, text.clone());
        assert_eq!(find_payment(&metadata).unwrap_err().field, PAYMENT_SIGNATURE);
    }
}

#[test]
fn an_illegible_payment_is_refused_and_never_taken_for_none() {
    let unpadded = STANDARD.encode(b"{}a").trim_end_matches('=').to_owned();
    let other = PaymentPayload { x402_version: 1, ..payment() };
    let texts = [
        String::new(),
        "~".to_owned(),
        unpadded + "a",
        STANDARD.encode("{}"),
        STANDARD.encode(to_json(&other)),
        STANDARD.encode(vec![b' '; PAYMENT_TEXT_MAX]),
    ];
    for text in texts {
        let mut metadata = MetadataMap::new();
        metadata.insert(PAYMENT_SIGNATURE, text.parse().unwrap());
        assert_eq!(find_payment(&metadata).unwrap_err().field, PAYMENT_SIGNATURE, "{text}");
    }
}

#[test]
fn a_short_offer_is_in_the_message_a_longer_one_in_text_a_long_one_in_binary_alone() {
    let text_len = |json: usize| json.div_ceil(3) * 4;
    let cases = [
        (600, true, true),
        (OFFER_IN_MESSAGE_MAX / 4 * 3, true, true),
        (OFFER_IN_MESSAGE_MAX / 4 * 3 + 1, false, true),
        (OFFER_TEXT_MAX / 4 * 3, false, true),
        (OFFER_TEXT_MAX / 4 * 3 + 1, false, false),
        (OFFER_LEN_MAX, false, false),
    ];
    for (len, in_message, as_text) in cases {
        let mut trailers = MetadataMap::new();
        let message = put_offer(&mut trailers, &offer(len)).unwrap();
        assert_eq!(message.is_some(), in_message, "{len}");
        assert_eq!(trailers.contains_key(PAYMENT_REQUIRED), as_text, "{len}");
        assert_eq!(trailers.contains_key(PAYMENT_REQUIRED_BIN), !as_text, "{len}");
        assert_eq!(find_offer(&trailers, "payment required"), Some(offer(len)), "{len}");
        if let Some(message) = message {
            assert_eq!(message.len(), text_len(len));
            assert_eq!(find_offer(&MetadataMap::new(), &message), Some(offer(len)));
        }
    }
    assert!(put_offer(&mut MetadataMap::new(), &offer(OFFER_LEN_MAX + 1)).is_err());
}

#[test]
fn two_different_words_on_a_settlement_are_none() {
    let mut metadata = MetadataMap::new();
    put_settlement(&mut metadata, &settlement(true)).unwrap();
    assert_eq!(find_settlement(&metadata), Some(settlement(true)));
    let same = metadata.get(PAYMENT_RESPONSE).unwrap().clone();
    metadata.append(PAYMENT_RESPONSE, same);
    assert_eq!(find_settlement(&metadata), Some(settlement(true)));
    metadata.append(PAYMENT_RESPONSE, ascii(&STANDARD.encode(to_json(&settlement(false)))));
    assert_eq!(find_settlement(&metadata), None);
}

#[test]
fn a_voucher_alone_is_read_as_it_was_written_and_is_the_only_payment() {
    let ceiling = Ceiling { channel: ChannelId(B256::repeat_byte(3)), amount: Amount::new(70_000) };
    let signature = Signature::new(U256::from(5), U256::from(6), true);
    let word = VoucherWord { ceiling, signature };
    let mut metadata = MetadataMap::new();
    assert_eq!(find_word(&metadata).unwrap(), None);
    put_word(&mut metadata, &Word::Voucher(word));
    assert_eq!(find_word(&metadata).unwrap(), Some(Word::Voucher(word)));
    let length = metadata.get_bin(PAYMENT_SIGNATURE_BIN).unwrap().to_bytes().unwrap().len();
    assert_eq!(length, 119);
    put_payment(&mut metadata, &payment()).unwrap();
    assert_eq!(find_word(&metadata).unwrap_err().field, PAYMENT_SIGNATURE_BIN, "two payments");
    let lent = Word::OnCredit(CreditWord { voucher: word, charged: Amount::new(69_000) });
    let mut metadata = MetadataMap::new();
    put_word(&mut metadata, &lent);
    assert_eq!(find_word(&metadata).unwrap(), Some(lent));
    let mut metadata = MetadataMap::new();
    for wrong in [&b"\xff"[..], &b""[..], &b"\x0a\x01a"[..]] {
        metadata.insert_bin(PAYMENT_SIGNATURE_BIN, MetadataValue::from_bytes(wrong));
        assert_eq!(find_word(&metadata).unwrap_err().field, PAYMENT_SIGNATURE_BIN);
    }
}

#[test]
fn what_a_voucher_was_charged_is_read_as_it_was_written() {
    let channel = ChannelId(B256::repeat_byte(3));
    let said = SaidCharge { amount: Amount::new(5), cumulative: Amount::new(90) };
    let mut trailers = MetadataMap::new();
    put_charge(&mut trailers, &brief(channel, said));
    let read = find_charge_of(&trailers).unwrap();
    assert_eq!(read, brief(channel, said));
    let ceiling = Ceiling { channel, amount: Amount::new(90) };
    assert_eq!(read_response(&read, &ceiling), Some(said));
    assert_eq!(find_credit(&read), None);
    let lends = with_credit(brief(channel, said), Amount::new(40));
    let mut trailers = MetadataMap::new();
    put_charge(&mut trailers, &lends);
    assert_eq!(find_charge_of(&trailers), Some(lends));
    let other = Ceiling { channel: ChannelId(B256::ZERO), ..ceiling };
    assert_eq!(read_response(&read, &other), None, "it speaks of another channel");
    let mut nothing = MetadataMap::new();
    put_charge(&mut nothing, &settlement(true));
    assert!(nothing.is_empty());
}
