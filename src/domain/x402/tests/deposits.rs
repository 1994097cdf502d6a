//! Deposits by Permit2: what the official client sent, checked as a payee checks it, and every way in which
//! it may be wrong.

use alloy::primitives::{Address, B256};
use serde_json::{Value, json};

use super::permitted::{THEN_S, TOKEN, WRITTEN, parse, tokens, tokens_of};
use crate::domain::asset::{Asset, Network};
use crate::domain::commitment::{ChannelOffer, Scheme, TransferMethod};
use crate::domain::money::Amount;
use crate::domain::quote::PayBy;
use crate::domain::x402::PaymentError;
use crate::domain::x402::batch::check::{check_batch, deposit_digest};
use crate::domain::x402::batch::permitted::{extensions, movement};
use crate::domain::x402::batch::read::{BatchWord, read_batch};
use crate::domain::x402::batch::word;
use crate::domain::x402::check::Demand;
use crate::domain::x402::requirements::Requirement;
use crate::domain::x402::wire::PaymentPayload;

const CODE: &str = "invalid_batch_settlement_evm_";

fn vector() -> Value {
    let mut all: Value = serde_json::from_str(WRITTEN).unwrap();
    all["depositPermit2"].take()
}

/// The way in which its payee is paid.
fn way(method: TransferMethod) -> PayBy {
    let config = &vector()["payload"]["channelConfig"];
    let scheme = Scheme::BatchSettlement(ChannelOffer {
        receiver_authorizer: parse(&config["receiverAuthorizer"]),
        withdraw_delay_s: 900,
        deposit_min: Amount::new(10_000),
    });
    PayBy { scheme, method, asset: TOKEN, pay_to: parse(&config["receiver"]), timeout_s: 300 }
}

/// What the client sent, changed in one place of its payload or of its permit.
fn sent(method: TransferMethod, change: Option<(&str, Value)>) -> PaymentPayload {
    let mut case = vector();
    if let Some((path, value)) = change {
        *case.pointer_mut(path).unwrap() = value;
    }
    let tokens = tokens();
    let token = tokens.find(TOKEN).unwrap();
    let offered = Requirement { pay_by: way(method), amount: Amount::new(1_000), token };
    PaymentPayload {
        x402_version: 2,
        resource: None,
        accepted: offered.to_wire(),
        payload: case["payload"].as_object().unwrap().clone(),
        extensions: Some(case["extensions"].as_object().unwrap().clone()),
    }
}

fn check(
    payload: &PaymentPayload,
    method: TransferMethod,
    now_s: u64,
) -> Result<BatchWord, PaymentError> {
    let tokens = tokens();
    let token = tokens.find(TOKEN).unwrap();
    let offered = [Requirement { pay_by: way(method), amount: Amount::new(1_000), token }];
    let demand = Demand { resource: "grpc://here", offered: &offered, now_s };
    check_batch(payload, &demand).map(|checked| checked.word)
}

const SPONSORED: TransferMethod = TransferMethod::Permit2Sponsored;

#[test]
fn a_deposit_of_the_official_client_is_taken_hashed_and_written_as_it_does() {
    let case = vector();
    let payload = sent(SPONSORED, None);
    let word = check(&payload, SPONSORED, THEN_S).unwrap();
    let deposit = word.deposit.unwrap();
    let TransferMethod::Permit2By(permit) = deposit.method else { panic!("{deposit:?}") };
    let incoming = deposit.incoming(word.channel);
    let (tokens, payer) = (tokens(), word.terms.payer);
    let token = tokens.find(TOKEN).unwrap();
    let digest = deposit_digest(token, word.channel, payer, &incoming);
    assert_eq!(digest, parse::<B256>(&case["signed"][0]["digest"]));
    let moved = movement(&word.terms, &incoming);
    assert_eq!(token.permit_digest(&moved, &permit), parse::<B256>(&case["signed"][2]["digest"]));

    let (ceiling, signature) = (word.voucher.ceiling, word.voucher.signature);
    let again = word::payload(&word.terms, &ceiling, &signature, Some(&deposit));
    let read: BatchWord = read_batch(&again, TOKEN.network).unwrap();
    assert_eq!(read.voucher, word.voucher);
    assert_eq!(again["deposit"], payload.payload["deposit"]);
    let again = extensions(&word.terms, word.channel, Some(&deposit), None);
    assert_eq!(again, payload.extensions);
}

/// threats.md A01, A09, A11, A21, B01, B02: one field at a time, and the code that says so.
#[test]
fn a01_each_field_of_a_deposit_by_permit2_is_refused_by_its_own_code() {
    let by = |field: &str| format!("/payload/deposit/authorization/permit2Authorization/{field}");
    let info = |field: &str| format!("/extensions/eip2612GasSponsoring/info/{field}");
    let other = json!("0x00000000000000000000000000000000000000aa");
    let (nobody, forged) =
        (json!(format!("0x{:064x}", 7)), json!(format!("0x{}", "11".repeat(65))));
    let cases = [
        (by("from"), other.clone(), "permit2_invalid_signature"),
        (by("nonce"), json!("5"), "permit2_invalid_signature"),
        (
            by("signature"),
            vector()["payload"]["voucher"]["signature"].clone(),
            "permit2_invalid_signature",
        ),
        (by("signature"), forged, "permit2_invalid_signature"),
        (by("spender"), other.clone(), "permit2_invalid_spender"),
        (by("permitted/amount"), json!("10001"), "permit2_amount_mismatch"),
        (by("permitted/token"), other.clone(), "token_mismatch"),
        (by("witness/channelId"), nobody, "channel_id_mismatch"),
        (by("deadline"), json!("2741507651"), "permit2_invalid_signature"),
        (by("deadline"), json!("9741507652"), "permit2_deadline_expired"),
        ("/payload/deposit/amount".to_owned(), json!("9999"), "permit2_amount_mismatch"),
        (info("from"), other.clone(), "eip2612_owner_mismatch"),
        (info("asset"), other.clone(), "eip2612_asset_mismatch"),
        (info("spender"), other, "eip2612_spender_mismatch"),
        (info("amount"), json!("9999"), "eip2612_amount_mismatch"),
        (info("amount"), json!("all"), "eip2612_invalid_format"),
        (info("nonce"), json!("1"), "eip2612_invalid_signature"),
        (info("nonce"), json!("one"), "eip2612_invalid_format"),
        (info("deadline"), json!("2741507553"), "eip2612_deadline_expired"),
        (info("signature"), json!("0x00"), "eip2612_invalid_signature"),
    ];
    for (path, value, code) in cases {
        let payload = sent(SPONSORED, Some((&path, value.clone())));
        let refused = check(&payload, SPONSORED, THEN_S).unwrap_err();
        assert_eq!(refused.wire().as_str(), format!("{CODE}{code}"), "{path} {value}");
    }
    // Not in its one spelling: nobody reads it two ways.
    for (path, value) in [(by("nonce"), json!("05")), (by("deadline"), json!("0x1"))] {
        let payload = sent(SPONSORED, Some((&path, value)));
        assert!(check(&payload, SPONSORED, THEN_S).unwrap_err().is_malformed(), "{path}");
    }
}

/// The step where valid turns invalid: the last second in which a settlement has time, and the first in
/// which it ends too late.
#[test]
fn b01_a_deposit_by_permit2_is_taken_while_there_is_time_and_not_for_longer_than_was_asked() {
    let method = TransferMethod::Permit2;
    let payload = PaymentPayload { extensions: None, ..sent(method, None) };
    let deadline = 2_741_507_652_u64;
    for (now_s, good) in [
        (deadline - 5, true),
        (deadline - 4, false),
        (deadline - 359, true),
        (deadline - 360, false),
    ] {
        let taken = check(&payload, method, now_s);
        assert_eq!(taken.is_ok(), good, "{now_s}: {taken:?}");
        if let Err(refused) = taken {
            assert_eq!(refused.wire().as_str(), format!("{CODE}permit2_deadline_expired"));
        }
    }
}

#[test]
fn a_deposit_comes_by_the_way_that_was_offered() {
    let payload = sent(TransferMethod::Eip3009, None);
    let refused = check(&payload, TransferMethod::Eip3009, THEN_S).unwrap_err();
    assert_eq!(refused.wire().as_str(), format!("{CODE}erc3009_authorization_required"));
    let mut all: Value = serde_json::from_str(WRITTEN).unwrap();
    let by_token = all["deposit"]["payload"].take();
    let mut payload = sent(SPONSORED, None);
    payload.payload["deposit"] = by_token["deposit"].clone();
    let refused = check(&payload, SPONSORED, THEN_S).unwrap_err();
    assert_eq!(refused.wire().as_str(), format!("{CODE}permit2_authorization_required"));
    // A permit is only for those who hand it in.
    let payload = sent(TransferMethod::Permit2, None);
    let refused = check(&payload, TransferMethod::Permit2, THEN_S).unwrap_err();
    assert_eq!(refused, PaymentError::NotOffered);
    let bare = PaymentPayload { extensions: None, ..payload };
    let taken = check(&bare, TransferMethod::Permit2, THEN_S).unwrap();
    assert_eq!(taken.deposit.unwrap().method, TransferMethod::Permit2);
}

#[test]
fn a08_a_deposit_by_permit2_is_another_chains_under_another_digest() {
    let word = check(&sent(SPONSORED, None), SPONSORED, THEN_S).unwrap();
    let incoming = word.deposit.unwrap().incoming(word.channel);
    let elsewhere = Asset { network: Network::Eip155(8453), ..TOKEN };
    let there = tokens_of(elsewhere);
    let (tokens, payer): (_, Address) = (tokens(), word.terms.payer);
    let here = deposit_digest(tokens.find(TOKEN).unwrap(), word.channel, payer, &incoming);
    let there = deposit_digest(there.find(elsewhere).unwrap(), word.channel, payer, &incoming);
    assert_ne!(here, there);
}
