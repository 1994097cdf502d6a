//! Every check of a payment, in order.

use alloy::primitives::Address;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::domain::fault::{Class, Fault};
use crate::domain::x402::batch::code::BatchCode;
use crate::domain::x402::check::{CLOCK_SKEW_MAX_S, Demand, SETTLE_MARGIN_S, check_payment};
use crate::domain::x402::code::PaymentCode;
use crate::domain::x402::error::PaymentError;
use crate::domain::x402::identifier::{declared, find_name, find_payment};
use crate::domain::x402::payload::{find_payer, read_authorization};

fn check_at(payload: &PaymentPayload, now_s: u64) -> Result<Authorization, PaymentError> {
    let offered = [requirement()];
    check_payment(payload, &Demand { resource: RESOURCE, offered: &offered, now_s })
}

fn check(payload: &PaymentPayload) -> Result<Authorization, PaymentError> {
    check_at(payload, NOW_S)
}

fn refused(payload: &PaymentPayload) -> PaymentCode {
    check(payload).unwrap_err().wire()
}

/// The fixture's payment with another value under `path` in its payload.
fn with(path: &[&str], value: Value) -> PaymentPayload {
    let mut changed = payload();
    let (first, rest) = path.split_first().unwrap();
    let mut at = changed.payload.get_mut(*first).unwrap();
    for key in rest {
        at = &mut at[*key];
    }
    *at = value;
    changed
}

#[test]
fn a_good_payment_passes_and_gives_what_was_signed() {
    assert_eq!(check(&payload()).unwrap(), authorize(commitment()));
    assert_eq!(read_authorization(&payload()).unwrap(), authorize(commitment()));
    assert_eq!(find_payer(&payload()), Some(PAYER));
    let silent = PaymentPayload { resource: None, extensions: None, ..payload() };
    assert!(check(&silent).is_ok());
}

#[test]
fn a10_an_edited_acceptance_is_refused() {
    type Edit = fn(&mut crate::domain::x402::wire::PaymentRequirements);
    let edits: [(Edit, PaymentCode); 14] = [
        (|a| a.scheme = "upto".to_owned(), PaymentCode::Scheme),
        (|a| a.network = "eip155:8453".to_owned(), PaymentCode::Network),
        (|a| a.network = "eip155:084532".to_owned(), PaymentCode::Network),
        (|a| a.network = "EIP155:84532".to_owned(), PaymentCode::Network),
        (|a| a.amount = "999".to_owned(), PaymentCode::Requirements),
        (|a| a.amount = "01000".to_owned(), PaymentCode::Requirements),
        (|a| a.asset = PAY_TO.to_string(), PaymentCode::Requirements),
        (|a| a.pay_to = PAYER.to_string(), PaymentCode::Requirements),
        (|a| a.max_timeout_seconds = 61, PaymentCode::Requirements),
        (|a| a.extra = None, PaymentCode::Requirements),
        (|a| a.extra.as_mut().unwrap()["name"] = json!("USD Coin"), PaymentCode::Requirements),
        (|a| a.extra.as_mut().unwrap()["version"] = json!(2), PaymentCode::Requirements),
        (
            |a| {
                drop(
                    a.extra
                        .as_mut()
                        .unwrap()
                        .insert("assetTransferMethod".into(), json!("permit2")),
                )
            },
            PaymentCode::Requirements,
        ),
        (
            |a| drop(a.extra.as_mut().unwrap().insert("assetTransferMethod".into(), json!(null))),
            PaymentCode::Requirements,
        ),
    ];
    for (at, (edit, code)) in edits.into_iter().enumerate() {
        let mut changed = payload();
        edit(&mut changed.accepted);
        assert_eq!(refused(&changed), code, "edit {at}");
    }
    // More in `extra`, or an address in lower case, is still what was offered.
    let mut same = payload();
    let extra = same.accepted.extra.as_mut().unwrap();
    extra.insert("assetTransferMethod".to_owned(), json!("eip3009"));
    extra.insert("note".to_owned(), json!("mine"));
    same.accepted.pay_to = same.accepted.pay_to.to_lowercase();
    assert!(check(&same).is_ok());
}

#[test]
fn the_form_of_the_payload_is_strict() {
    let authorization = |key| ["authorization", key];
    for (path, value, code) in [
        (authorization("from"), json!("0xabc"), PaymentCode::Payload),
        (authorization("from"), json!(1), PaymentCode::Payload),
        (
            authorization("to"),
            json!("0X70997970C51812dc3A010C7d01b50e0d17dc79C8"),
            PaymentCode::Payload,
        ),
        (authorization("value"), json!(1000), PaymentCode::Payload),
        (authorization("value"), json!("1e3"), PaymentCode::Payload),
        (authorization("value"), json!("0x3e8"), PaymentCode::Payload),
        (authorization("value"), json!("+1000"), PaymentCode::Payload),
        (authorization("value"), json!(" 1000"), PaymentCode::Payload),
        (authorization("value"), json!("01000"), PaymentCode::Payload),
        (authorization("value"), json!("1000.0"), PaymentCode::Payload),
        (authorization("value"), json!("-1000"), PaymentCode::Payload),
        (authorization("value"), json!(""), PaymentCode::Payload),
        (authorization("value"), json!("٣"), PaymentCode::Payload),
        (authorization("value"), json!("9".repeat(78)), PaymentCode::Value),
        (authorization("value"), json!("9".repeat(10_000)), PaymentCode::Value),
        (authorization("validAfter"), json!("-1"), PaymentCode::Payload),
        (authorization("validAfter"), json!("00"), PaymentCode::Payload),
        (authorization("validBefore"), json!("9".repeat(30)), PaymentCode::Payload),
        (authorization("validBefore"), json!(null), PaymentCode::Payload),
        (authorization("nonce"), json!("0x00"), PaymentCode::Payload),
        (authorization("nonce"), json!("f".repeat(66)), PaymentCode::Payload),
    ] {
        assert_eq!(refused(&with(&path, value.clone())), code, "{path:?} {value}");
    }
    for (value, code) in [
        (json!(7), PaymentCode::Payload),
        (json!("0x"), PaymentCode::Signature),
        (json!("garbage"), PaymentCode::Signature),
        // A contract wallet's word about a signature. Source: threats.md A12.
        (json!(format!("0x{}", "00".repeat(128))), PaymentCode::Signature),
    ] {
        assert_eq!(refused(&with(&["signature"], value)), code);
    }
    let mut more = payload();
    more.payload.insert("permit2Authorization".to_owned(), json!({}));
    assert_eq!(refused(&more), PaymentCode::Payload);
    let mut more = payload();
    more.payload["authorization"].as_object_mut().unwrap().insert("tip".to_owned(), json!("1"));
    assert_eq!(refused(&more), PaymentCode::Payload);
    assert_eq!(refused(&with(&["authorization"], json!([]))), PaymentCode::Payload);
}

#[test]
fn a11_b01_b02_c01_c02_what_was_signed_has_to_be_what_was_asked() {
    let other = Address::repeat_byte(3);
    let now = NOW_S;
    let latest = now + 60 + CLOCK_SKEW_MAX_S;
    let base = commitment();
    for (signed, code) in [
        (Commitment { pay_to: other, ..base }, PaymentCode::Recipient),
        (Commitment { amount_max: Amount::new(999), ..base }, PaymentCode::Value),
        (Commitment { amount_max: Amount::new(1001), ..base }, PaymentCode::Value),
        (Commitment { amount_max: Amount::ZERO, ..base }, PaymentCode::Value),
        (Commitment { valid_before_s: now, ..base }, PaymentCode::ValidBefore),
        (
            Commitment { valid_before_s: now + SETTLE_MARGIN_S - 1, ..base },
            PaymentCode::ValidBefore,
        ),
        (Commitment { valid_before_s: latest + 1, ..base }, PaymentCode::ValidBefore),
        (Commitment { valid_before_s: u64::MAX, ..base }, PaymentCode::ValidBefore),
        (Commitment { valid_after_s: now, ..base }, PaymentCode::ValidAfter),
        (Commitment { valid_after_s: now + 1, ..base }, PaymentCode::ValidAfter),
        (Commitment { payer: other, ..base }, PaymentCode::Signature),
    ] {
        assert_eq!(refused(&pay(&authorize(signed))), code, "{signed:?}");
    }
    for signed in [
        Commitment { valid_before_s: now + SETTLE_MARGIN_S, ..base },
        Commitment { valid_before_s: latest, ..base },
        Commitment { valid_after_s: now - 1, ..base },
        Commitment { valid_after_s: 0, ..base },
    ] {
        assert!(check(&pay(&authorize(signed))).is_ok(), "{signed:?}");
    }
    assert!(check_at(&payload(), u64::MAX).is_err());
}

#[test]
fn a27_a_price_of_nothing_is_no_price() {
    let free = Requirement { amount: Amount::ZERO, ..requirement() };
    let mut payload = pay(&authorize(Commitment { amount_max: Amount::ZERO, ..commitment() }));
    payload.accepted = free.to_wire();
    let demand = Demand { resource: RESOURCE, offered: &[free], now_s: NOW_S };
    assert_eq!(check_payment(&payload, &demand), Err(PaymentError::Zero));
}

#[test]
fn another_resource_or_version_is_refused() {
    let mut other = payload();
    other.resource.as_mut().unwrap().url = format!("{RESOURCE}Stream");
    assert_eq!(check(&other), Err(PaymentError::Resource));
    let old = PaymentPayload { x402_version: 1, ..payload() };
    assert_eq!(check(&old), Err(PaymentError::Version { found: Some(1) }));
    let nothing = Demand { resource: RESOURCE, offered: &[], now_s: NOW_S };
    assert_eq!(check_payment(&payload(), &nothing), Err(PaymentError::Scheme));
}

#[test]
fn a02_another_tokens_domain_makes_another_signature() {
    let assets = AssetRegistry::new([AssetInfo {
        asset: USDC,
        symbol: "USDC".to_owned(),
        decimals: 6,
        eip712_name: "USD Coin".to_owned(),
        eip712_version: "2".to_owned(),
        rate: Rate { nano: 1, per: 1 },
    }]);
    let tokens = TokenDomains::new(&assets);
    let digest = tokens.find(USDC).unwrap().transfer_digest(&commitment());
    let signature = sign(PAYER_KEY, digest);
    let authorization = Authorization { commitment: commitment(), signature };
    assert_eq!(refused(&pay(&authorization)), PaymentCode::Signature);
}

#[test]
fn the_payers_name_for_a_payment_is_found_or_refused() {
    assert_eq!(find_payment(&payload()).unwrap(), Some(payment()));
    let named = |id: Value| {
        let mut changed = payload();
        changed.extensions.as_mut().unwrap()["payment-identifier"]["info"]["id"] = id;
        changed
    };
    let unnamed = PaymentPayload { extensions: None, ..payload() };
    assert_eq!(find_payment(&unnamed).unwrap(), None);
    let foreign = named(json!("a".repeat(16)));
    assert_eq!(find_payment(&foreign).unwrap(), None);
    assert_eq!(find_name(&foreign).unwrap(), Some("aaaaaaaaaaaaaaaa"));
    assert!(find_name(&named(json!("a".repeat(128)))).is_ok());
    for wrong in
        [json!("a".repeat(15)), json!("a".repeat(129)), json!("pay_7d5d747b e160e280"), json!(7)]
    {
        assert_eq!(find_payment(&named(wrong)).unwrap_err().wire(), PaymentCode::Payload);
    }
    // What the offer declared stays as it was, and the name is added.
    let info = &payload().extensions.unwrap()["payment-identifier"];
    assert_eq!(info["schema"], declared(false)["schema"]);
    assert_eq!(info["info"], json!({ "required": false, "id": payment().to_string() }));
}

#[test]
fn every_code_is_understood_in_all_three_vocabularies() {
    for code in PaymentCode::all() {
        assert_eq!(PaymentCode::from_any(code.as_str()), Some(code));
    }
    let all: Vec<_> = PaymentCode::all().collect();
    for code in [PaymentCode::Signature, PaymentCode::Batch(BatchCode::ChannelBusy)] {
        assert!(all.contains(&code), "{code:?}");
    }
    for (code, ours, sdk, rust) in [
        (
            PaymentCode::Signature,
            "invalid_exact_evm_payload_signature",
            "invalid_exact_evm_signature",
            "invalid_signature",
        ),
        (
            PaymentCode::Value,
            "invalid_exact_evm_payload_authorization_value_mismatch",
            "invalid_exact_evm_authorization_value",
            "invalid_payment_amount",
        ),
        (
            PaymentCode::Recipient,
            "invalid_exact_evm_payload_recipient_mismatch",
            "invalid_exact_evm_recipient_mismatch",
            "recipient_mismatch",
        ),
        (
            PaymentCode::Network,
            "invalid_network",
            "invalid_exact_evm_network_mismatch",
            "chain_id_mismatch",
        ),
        (
            PaymentCode::InsufficientFunds,
            "insufficient_funds",
            "invalid_exact_evm_insufficient_balance",
            "insufficient_funds",
        ),
        (
            PaymentCode::AllowanceRequired,
            "permit2_allowance_required",
            "PERMIT2_ALLOWANCE_REQUIRED",
            "permit2_allowance_required",
        ),
    ] {
        assert_eq!(code.as_str(), ours);
        for text in [ours, sdk, rust] {
            assert_eq!(PaymentError::from_code(text), Some(PaymentError::Refused(code)), "{text}");
        }
    }
    assert_eq!(PaymentError::from_code("no such code"), None);
    assert_eq!(PaymentError::Refused(PaymentCode::Pending).class(), Class::InDoubt);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    // threats.md A01: any one signed field changed after signing.
    #[test]
    fn a01_a_change_after_signing_is_refused(field in 0..7usize, bit in 0..256usize) {
        let mut authorization = authorize(commitment());
        let signed = &mut authorization.commitment;
        let time = 1u64 << (bit % 5);
        match field {
            0 => signed.payer.0[bit % 20] ^= 1,
            1 => signed.pay_to.0[bit % 20] ^= 1,
            2 => signed.amount_max = Amount::new(signed.amount_max.get() ^ (1 << (bit % 90))),
            3 => signed.valid_after_s ^= time,
            4 => signed.valid_before_s ^= time,
            5 => signed.nonce.0[bit % 32] ^= 1 << (bit % 8),
            _ => {
                let mut raw = authorization.signature.as_bytes();
                raw[bit % 64] ^= 1 << (bit % 8);
                authorization.signature = Signature::from_raw_array(&raw).unwrap();
            }
        }
        prop_assert!(check(&pay(&authorization)).is_err());
    }
}
