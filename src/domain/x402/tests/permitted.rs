//! Payments by Permit2: what the official clients sent, checked as a payee checks it, and every way in
//! which it may be wrong.

use alloy::primitives::{Address, B256, Signature};
use serde_json::{Map, Value, json};

use super::{PAY_TO, PAYER, RESOURCE, sign};
use crate::domain::asset::{Asset, AssetInfo, AssetRegistry, Network};
use crate::domain::commitment::{Authorization, Commitment, Scheme, TokenPermit, TransferMethod};
use crate::domain::money::{Amount, Rate};
use crate::domain::quote::PayBy;
use crate::domain::x402::check::{Demand, check_payment};
use crate::domain::x402::payload::{payment_payload, read_authorization};
use crate::domain::x402::permit::permit2_digest;
use crate::domain::x402::requirements::Requirement;
use crate::domain::x402::settlement::{Settled, read_settlement, settled};
use crate::domain::x402::wire::{PaymentPayload, PaymentRequirements};
use crate::domain::x402::{PaymentError, TokenDomains};

pub(super) const WRITTEN: &str = include_str!("../../../../tests/vectors/x402-schemes.json");
pub(super) const TOKEN: Asset = Asset {
    network: Network::SANDBOX,
    contract: alloy::primitives::address!("38A8007C027aC0B8f49bE7CDa4A1c29F4594a168"),
};
const FACILITATOR: Address = Address::repeat_byte(0x77);
/// Some time before the vectors end.
pub(super) const THEN_S: u64 = 2_741_507_652 - 100;

/// The token domain of an asset that is a coin like [`TOKEN`].
pub(super) fn tokens_of(asset: Asset) -> TokenDomains {
    TokenDomains::new(&AssetRegistry::new([AssetInfo {
        asset,
        symbol: "USDC".to_owned(),
        decimals: 6,
        eip712_name: "USDC".to_owned(),
        eip712_version: "2".to_owned(),
        rate: Rate { nano: 1_000, per: 1 },
    }]))
}

pub(super) fn tokens() -> TokenDomains {
    tokens_of(TOKEN)
}

pub(super) fn parse<T: std::str::FromStr<Err: std::fmt::Debug>>(value: &Value) -> T {
    value.as_str().unwrap().parse().unwrap()
}

/// What a client sent for this case, and the way that it accepted.
fn vector(case: &str, method: TransferMethod) -> (PaymentPayload, PayBy, B256) {
    let all: Value = serde_json::from_str(WRITTEN).unwrap();
    let case = &all[case];
    let witness = &case["payload"]["permit2Authorization"]["witness"];
    let scheme = match witness.get("facilitator") {
        Some(facilitator) => Scheme::Upto { facilitator: parse(facilitator) },
        None => Scheme::Exact,
    };
    let way = PayBy { scheme, method, asset: TOKEN, pay_to: parse(&witness["to"]), timeout_s: 300 };
    let tokens = tokens();
    let token = tokens.find(TOKEN).unwrap();
    let accepted = Requirement { pay_by: way, amount: Amount::new(1_000), token }.to_wire();
    let payload = PaymentPayload {
        x402_version: 2,
        resource: None,
        accepted,
        payload: case["payload"].as_object().unwrap().clone(),
        extensions: Some(case["extensions"].as_object().unwrap().clone()),
    };
    (payload, way, parse(&case["signed"][0]["digest"]))
}

fn check(payload: &PaymentPayload, way: PayBy, now_s: u64) -> Result<Authorization, PaymentError> {
    let tokens = tokens();
    let token = tokens.find(TOKEN).unwrap();
    let offered = [Requirement { pay_by: way, amount: Amount::new(1_000), token }];
    check_payment(payload, &Demand { resource: RESOURCE, offered: &offered, now_s })
}

#[test]
fn what_the_official_clients_send_is_taken_and_hashed_as_they_do() {
    for case in ["exact", "upto"] {
        let (payload, way, digest) = vector(case, TransferMethod::Permit2Sponsored);
        let authorization = check(&payload, way, THEN_S).unwrap();
        let tokens = tokens();
        let token = tokens.find(TOKEN).unwrap();
        assert_eq!(token.authorization_digest(&authorization.commitment), digest, "{case}");
        assert_eq!(permit2_digest(&authorization.commitment), digest, "{case}");
        assert!(matches!(authorization.commitment.method, TransferMethod::Permit2By(_)));
        assert_eq!(read_authorization(&payload).unwrap(), authorization);

        // Written again it is the same, but for what a payment of ours is called.
        let again = payment_payload(
            None,
            payload.accepted.clone(),
            &authorization,
            payload.extensions.clone(),
            None,
        );
        assert_eq!(again, payload, "{case}");
    }
}

/// A permit is only for those who hand it in.
#[test]
fn a_permit_is_no_payment_where_none_is_asked_for() {
    let (payload, way, _) = vector("exact", TransferMethod::Permit2);
    assert_eq!(check(&payload, way, THEN_S), Err(PaymentError::NotOffered));
    let bare = PaymentPayload { extensions: None, ..payload };
    let taken = check(&bare, way, THEN_S).unwrap();
    assert_eq!(taken.commitment.method, TransferMethod::Permit2);
}

fn change(payload: &PaymentPayload, path: &[&str], value: Value) -> PaymentPayload {
    let mut changed = payload.clone();
    let (first, rest) = path.split_first().unwrap();
    let mut found = changed.payload.get_mut(*first).unwrap();
    for key in rest {
        found = &mut found[*key];
    }
    *found = value;
    changed
}

/// threats.md A01, A09, A11, A21, B01, B02: one field at a time, and the code that says so.
#[test]
fn a01_each_field_that_is_changed_is_refused_by_its_own_code() {
    const SIGNED: &str = "permit2Authorization";
    let other = json!("0x00000000000000000000000000000000000000aa");
    let signature = "invalid_exact_evm_payload_signature";
    let nonce = json!("0xf3746613c2d920b5fdabc0856f2aeb2d4f88ee6037b8cc5d04a71a4462f13480");
    let cases: [(&[&str], Value, &str); 13] = [
        (&[SIGNED, "from"], other.clone(), signature),
        (&[SIGNED, "nonce"], json!("5"), signature),
        (&[SIGNED, "nonce"], json!("05"), "invalid_payload"),
        (&[SIGNED, "nonce"], json!("5_0"), "invalid_payload"),
        (&[SIGNED, "nonce"], nonce, "invalid_payload"),
        (&[SIGNED, "spender"], other.clone(), "invalid_permit2_spender"),
        (&[SIGNED, "permitted", "token"], other.clone(), "invalid_payment_requirements"),
        (
            &[SIGNED, "permitted", "amount"],
            json!("1001"),
            "invalid_exact_evm_payload_authorization_value_mismatch",
        ),
        (
            &[SIGNED, "permitted", "amount"],
            json!("0"),
            "invalid_exact_evm_payload_authorization_value_mismatch",
        ),
        (&[SIGNED, "witness", "to"], other.clone(), "invalid_exact_evm_payload_recipient_mismatch"),
        (&[SIGNED, "witness", "facilitator"], other, "upto_facilitator_mismatch"),
        (
            &[SIGNED, "witness", "validAfter"],
            json!(THEN_S.saturating_add(1).to_string()),
            "invalid_exact_evm_payload_authorization_valid_after",
        ),
        (
            &[SIGNED, "deadline"],
            json!(THEN_S.to_string()),
            "invalid_exact_evm_payload_authorization_valid_before",
        ),
    ];
    let (payload, way, _) = vector("upto", TransferMethod::Permit2);
    let payload = PaymentPayload { extensions: None, ..payload };
    check(&payload, way, THEN_S).unwrap();
    for (path, value, code) in cases {
        let error = check(&change(&payload, path, value), way, THEN_S).unwrap_err();
        assert_eq!(error.wire().as_str(), code, "{path:?}");
    }
}

/// What nobody here reads could mean something to another reader of the same payment.
#[test]
fn a_field_too_many_is_refused_wherever_it_is() {
    for scheme in ["exact", "upto"] {
        let (payload, way, _) = vector(scheme, TransferMethod::Permit2Sponsored);
        for part in ["", "/permitted", "/witness"] {
            let mut more = payload.clone();
            let signed = more.payload["permit2Authorization"].pointer_mut(part).unwrap();
            signed["tip"] = json!("1");
            let error = check(&more, way, THEN_S).unwrap_err();
            assert!(matches!(error, PaymentError::Field { .. }), "{scheme} {part} {error:?}");
        }
    }
}

/// An authorization by Permit2 holds in its last second, and from its first one on.
#[test]
fn the_times_of_permit2_are_inclusive() {
    let (commitment, way) = ours(Scheme::Upto { facilitator: FACILITATOR });
    let commitment = Commitment { valid_after_s: 1_000, valid_before_s: 1_061, ..commitment };
    let written = write(commitment, way);
    let signed = &written.payload["permit2Authorization"];
    assert_eq!(
        (&signed["deadline"], &signed["witness"]["validAfter"]),
        (&json!("1060"), &json!("1000"))
    );
    assert!(check(&written, way, 1_000).is_ok());
    let early = check(&written, way, 999).unwrap_err();
    assert_eq!(early, PaymentError::Early { valid_after_s: 1_000, now_s: 999 });
    assert!(check(&written, way, 1_055).is_ok());
    assert!(matches!(check(&written, way, 1_056), Err(PaymentError::Expired { .. })));
}

/// x402-rs 2.0.2 puts its token's own method into every offer, and by `upto` none but Permit2 can be meant.
#[test]
fn upto_goes_by_permit2_whatever_method_its_offer_names() {
    let (commitment, way) = ours(Scheme::Upto { facilitator: FACILITATOR });
    let written = write(commitment, way);
    let named = |method: &str| {
        let mut payload = written.clone();
        let extra = payload.accepted.extra.get_or_insert_default();
        extra.insert("assetTransferMethod".to_owned(), json!(method));
        payload
    };
    assert!(check(&named("eip3009"), way, 1_000).is_ok());
    assert!(check(&named("permit2"), way, 1_000).is_ok());
    assert!(check(&named("erc7710"), way, 1_000).is_err());
}

pub(super) fn ours(scheme: Scheme) -> (Commitment, PayBy) {
    let method = TransferMethod::Permit2;
    let way = PayBy { scheme, method, asset: TOKEN, pay_to: PAY_TO, timeout_s: 60 };
    let commitment = Commitment {
        scheme,
        method,
        asset: TOKEN,
        payer: PAYER,
        pay_to: PAY_TO,
        amount_max: Amount::new(1_000),
        valid_after_s: 0,
        valid_before_s: 1_061,
        nonce: B256::repeat_byte(0xfe),
    };
    (commitment, way)
}

pub(super) fn write(commitment: Commitment, way: PayBy) -> PaymentPayload {
    write_after(commitment, way, None)
}

/// The same where an offer declared `extensions`.
fn write_after(
    commitment: Commitment,
    way: PayBy,
    extensions: Option<Map<String, Value>>,
) -> PaymentPayload {
    let tokens = tokens();
    let token = tokens.find(TOKEN).unwrap();
    let signature = sign(super::PAYER_KEY, token.authorization_digest(&commitment));
    let accepted = Requirement { pay_by: way, amount: Amount::new(1_000), token }.to_wire();
    let authorization = Authorization { commitment, signature };
    payment_payload(None, accepted, &authorization, extensions, None)
}

/// threats.md A09: every payload under every way but its own is refused.
#[test]
fn a09_no_payload_pays_another_scheme_or_method() {
    let upto = Scheme::Upto { facilitator: FACILITATOR };
    let ways = [
        (Scheme::Exact, TransferMethod::Eip3009),
        (Scheme::Exact, TransferMethod::Permit2),
        (upto, TransferMethod::Permit2),
    ];
    for (scheme, method) in ways {
        let (commitment, way) = ours(scheme);
        let written = write(Commitment { method, ..commitment }, PayBy { method, ..way });
        for (asked, by) in ways {
            let asked_way = PayBy { scheme: asked, method: by, ..way };
            let tokens = tokens();
            let token = tokens.find(TOKEN).unwrap();
            let requirement = Requirement { pay_by: asked_way, amount: Amount::new(1_000), token };
            // As it was labelled, and relabelled as what is asked.
            let relabelled = PaymentPayload { accepted: requirement.to_wire(), ..written.clone() };
            for payload in [&written, &relabelled] {
                let own = (scheme, method) == (asked, by);
                assert_eq!(check(payload, asked_way, 1_000).is_ok(), own, "{method:?} as {by:?}");
            }
        }
    }
}

/// Whoever lets its permit be signed by another key, or for another sum, is refused before any gas.
#[test]
fn a_permit_at_the_token_is_checked_with_the_rest() {
    let (payload, way, _) = vector("exact", TransferMethod::Permit2Sponsored);
    let info = |key: &str, value: Value| {
        let mut changed = payload.clone();
        changed.extensions.as_mut().unwrap()["eip2612GasSponsoring"]["info"][key] = value;
        check(&changed, way, THEN_S).map(|_| ()).unwrap_err()
    };
    let other = json!("0x00000000000000000000000000000000000000aa");
    for key in ["from", "asset", "spender"] {
        assert!(matches!(info(key, other.clone()), PaymentError::Field { .. }), "{key}");
    }
    assert!(matches!(info("amount", json!("1001")), PaymentError::Value { .. }));
    assert!(matches!(info("nonce", json!("1")), PaymentError::Signature { .. }));
    assert!(matches!(info("deadline", json!("5")), PaymentError::Expired { .. }));
    // The official clients give back what was declared together with what they signed.
    let mut merged = payload.clone();
    let declared = json!("The facilitator hands in a permit (EIP-2612) for Permit2.");
    merged.extensions.as_mut().unwrap()["eip2612GasSponsoring"]["info"]["description"] = declared;
    assert!(check(&merged, way, THEN_S).is_ok());
}

#[test]
fn a_permit_that_is_not_signed_is_never_written() {
    let (commitment, way) = ours(Scheme::Exact);
    let permit = TokenPermit { nonce: 3, deadline_s: 1_060, signature: None };
    let method = TransferMethod::Permit2By(permit);
    let unsigned = write(Commitment { method, ..commitment }, way);
    assert_eq!(unsigned.extensions, Some(serde_json::Map::new()));
    let signature = Some(Signature::test_signature());
    let method = TransferMethod::Permit2By(TokenPermit { signature, ..permit });
    let signed = write(Commitment { method, ..commitment }, way);
    let info = &signed.extensions.unwrap()["eip2612GasSponsoring"]["info"];
    assert_eq!((&info["amount"], &info["nonce"]), (&json!("1000"), &json!("3")));
}

/// The official server refuses as `extension_echo_mismatch` what leaves out a word that it declared.
#[test]
fn a_permit_stands_beside_what_was_declared() {
    let (commitment, way) = ours(Scheme::Exact);
    let signature = Some(Signature::test_signature());
    let permit = TokenPermit { nonce: 3, deadline_s: 1_060, signature };
    let commitment = Commitment { method: TransferMethod::Permit2By(permit), ..commitment };
    let declared = json!({ "info": { "description": "as it was", "version": "1" }, "schema": {} });
    let offered = Map::from_iter([("eip2612GasSponsoring".to_owned(), declared)]);
    let written = write_after(commitment, way, Some(offered)).extensions.unwrap();
    let info = &written["eip2612GasSponsoring"]["info"];
    assert_eq!(info["description"], "as it was");
    assert_eq!((&info["amount"], &info["nonce"]), (&json!("1000"), &json!("3")));
}

/// Source: x402 scheme `upto` on EVM, section 1 (402 response) and zero settlement.
#[test]
fn upto_says_who_settles_and_what_was_charged() {
    let (commitment, way) = ours(Scheme::Upto { facilitator: FACILITATOR });
    let tokens = tokens();
    let token = tokens.find(TOKEN).unwrap();
    let wire: PaymentRequirements =
        Requirement { pay_by: way, amount: Amount::new(1_000), token }.to_wire();
    let extra = wire.extra.as_ref().unwrap();
    assert_eq!(extra["facilitatorAddress"], json!(FACILITATOR.to_string()));
    assert_eq!((&extra["name"], &extra["version"]), (&json!("USDC"), &json!("2")));

    for (charged, fits) in [(0, true), (1, true), (1_000, true), (1_001, false)] {
        let told = Settled {
            transaction: if charged == 0 { B256::ZERO } else { B256::repeat_byte(5) },
            amount: Amount::new(charged),
        };
        let response = settled(&commitment, &told);
        assert_eq!(response.transaction.is_empty(), charged == 0);
        assert_eq!(response.amount.as_deref(), Some(charged.to_string().as_str()));
        assert_eq!(read_settlement(&response, &commitment).is_ok(), fits, "{charged}");
    }
}
