//! What a facilitator is asked: the payment, what its payer accepted and what its payee wants are one.

use std::collections::BTreeSet;

use alloy::primitives::{Address, Bytes, hex};
use alloy::sol_types::SolValue;
use serde_json::json;

use super::permitted::{ours, tokens, write};
use super::*;
use crate::domain::commitment::{ChannelOffer, ContractAuthorization, TokenPermit, WalletMaking};
use crate::domain::x402::code::PaymentCode;
use crate::domain::x402::error::{Message, PaymentError};
use crate::domain::x402::facilitate::{Presented, Step, check_asked};
use crate::domain::x402::requirements::{payment_required, read_requirements};
use crate::domain::x402::signature::{CONTRACT_SIGNATURE_LEN_MAX, of_contract};
use crate::domain::x402::sponsoring;
use crate::domain::x402::wire::PaymentRequirements;

/// threats.md C09, C10. Source: x402 scheme `upto`.
#[test]
fn only_upto_settles_for_another_amount_and_never_above_what_was_signed() {
    let upto = Scheme::Upto { facilitator: Address::repeat_byte(0x77) };
    let differs = |asked| {
        let (expected, found) = (Amount::new(asked), Amount::new(1_000));
        Err(PaymentError::Value { expected, found })
    };
    let above = Err(PaymentError::Refused(PaymentCode::ExceedsAuthorized));
    let takes = |charge| Ok(Amount::new(charge));
    for (scheme, step, asked, charge) in [
        (upto, Step::Settle, 0, takes(0)),
        (upto, Step::Settle, 1, takes(1)),
        (upto, Step::Settle, 999, takes(999)),
        (upto, Step::Settle, 1_000, takes(1_000)),
        (upto, Step::Settle, 1_001, above),
        (upto, Step::Verify, 999, differs(999)),
        (upto, Step::Verify, 1_000, takes(1_000)),
        (upto, Step::Verify, 1_001, differs(1_001)),
        (Scheme::Exact, Step::Settle, 999, differs(999)),
        (Scheme::Exact, Step::Settle, 1_000, takes(1_000)),
        (Scheme::Exact, Step::Settle, 1_001, differs(1_001)),
        (Scheme::Exact, Step::Verify, 999, differs(999)),
        (Scheme::Exact, Step::Verify, 1_000, takes(1_000)),
    ] {
        let (commitment, way) = ours(scheme);
        let payment = write(commitment, way);
        let mut requirements = payment.accepted.clone();
        requirements.amount = asked.to_string();
        let found = check_asked(&payment, &requirements, &tokens(), step, 1_000);
        assert_eq!(found.map(|asked| asked.charge), charge, "{scheme:?} {step:?} {asked}");
    }
}

#[test]
fn requirements_that_are_not_those_accepted_are_refused_by_what_differs() {
    let accepted = payload().accepted;
    let check = |requirements| check_asked(&payload(), &requirements, &TOKENS, Step::Settle, NOW_S);
    assert!(check(accepted.clone()).is_ok());
    let other = |change: fn(&mut PaymentRequirements)| {
        let mut requirements = accepted.clone();
        change(&mut requirements);
        check(requirements).unwrap_err()
    };
    assert_eq!(other(|one| one.pay_to = PAYER.to_string()), PaymentError::NotOffered);
    assert_eq!(other(|one| one.max_timeout_seconds = 61), PaymentError::NotOffered);
    assert_eq!(other(|one| one.network = "eip155:8453".to_owned()), PaymentError::Network);
    assert_eq!(other(|one| one.scheme = "upto".to_owned()), PaymentError::Scheme);
}

/// A signature that no key made, with the call that makes its wallet. Source: EIP-6492.
fn wrapped(inner: &Bytes, making: &WalletMaking) -> String {
    let content = (making.factory, making.call.clone(), inner.clone()).abi_encode_params();
    hex::encode_prefixed([content, [0x64, 0x92].repeat(16)].concat())
}

/// threats.md A12.
#[test]
fn what_no_key_signed_is_a_contracts_to_answer_for_but_for_a_permit_at_the_token() {
    let signature = Bytes::from(vec![7; 96]);
    let making = WalletMaking { factory: PAY_TO, call: Bytes::from_static(&[1, 2, 3]) };
    let plain = hex::encode_prefixed(&signature);
    let made = wrapped(&signature, &making);
    let (permit2, way) = ours(Scheme::Exact);
    let by_permit2 = write(permit2, way);
    let asked = |payment: &PaymentPayload, text: &str, tokens: &TokenDomains, now_s| {
        let mut payment = payment.clone();
        payment.payload["signature"] = json!(text);
        check_asked(&payment, &payment.accepted, tokens, Step::Settle, now_s)
            .map(|asked| asked.authorization)
    };
    let contract = |commitment, making| {
        let signature = signature.clone();
        Ok(Presented::Contract(ContractAuthorization { commitment, signature, making }))
    };
    let own = |text: &str| asked(&payload(), text, &TOKENS, NOW_S);
    assert_eq!(own(&plain), contract(commitment(), None));
    assert_eq!(own(&made), contract(commitment(), Some(making)));
    // Permit2 has no allowance of a wallet that is not there.
    for text in [&plain, &made] {
        let found = asked(&by_permit2, text, &tokens(), 1_000);
        assert_eq!(found, contract(permit2, None));
    }
    let permitted = write(permitted(permit2, 1_100), way);
    let signed = permitted.payload["signature"].as_str().unwrap();
    assert!(matches!(asked(&permitted, signed, &tokens(), 1_000), Ok(Presented::Key(_))));
    for text in [&plain, &made] {
        let found = asked(&permitted, text, &tokens(), 1_000).unwrap_err();
        assert_eq!(found, PaymentError::Signature { from: PAYER, recovered: None });
    }
}

/// The commitment with the payer's own permit at the token, good until `deadline_s`.
fn permitted(commitment: Commitment, deadline_s: u64) -> Commitment {
    let unsigned = TokenPermit { nonce: 3, deadline_s, signature: None };
    let tokens = tokens();
    let digest = tokens.find(commitment.asset).unwrap().permit_digest(&commitment, &unsigned);
    let permit = TokenPermit { signature: Some(sign(PAYER_KEY, digest)), ..unsigned };
    Commitment { method: TransferMethod::Permit2By(permit), ..commitment }
}

#[test]
fn a_permit_at_the_token_has_to_be_good_for_as_long_as_a_settlement_takes() {
    let (commitment, way) = ours(Scheme::Exact);
    for (deadline_s, good) in [(1_005, false), (1_006, true), (1_007, true)] {
        let payment = write(permitted(commitment, deadline_s), way);
        let found = check_asked(&payment, &payment.accepted, &tokens(), Step::Settle, 1_000);
        match found {
            Ok(_) => assert!(good, "{deadline_s}"),
            Err(error) => {
                assert!(!good, "{error}");
                let valid_before_s = deadline_s + 1;
                assert_eq!(error, PaymentError::Expired { valid_before_s, now_s: 1_000 });
            }
        }
    }
}

#[test]
fn a_contract_is_shown_a_signature_of_4096_bytes_at_most() {
    let text = |len| hex::encode_prefixed(vec![7; len]);
    for (len, read) in [(0, false), (1, true), (4_096, true), (4_097, false)] {
        assert_eq!(of_contract(&text(len)).is_some(), read, "{len}");
    }
    assert_eq!(CONTRACT_SIGNATURE_LEN_MAX, 4_096);
}

#[test]
fn every_scheme_is_read_as_it_is_written_and_every_term_of_a_channel_counts() {
    let offer = ChannelOffer {
        receiver_authorizer: SERVICE,
        withdraw_delay_s: 900,
        deposit_min: Amount::new(5),
    };
    let upto = Scheme::Upto { facilitator: Address::repeat_byte(0x77) };
    let channel = Scheme::BatchSettlement(offer);
    for (scheme, method) in [
        (Scheme::Exact, TransferMethod::Eip3009),
        (Scheme::Exact, TransferMethod::Permit2),
        (upto, TransferMethod::Permit2),
        (channel, TransferMethod::Eip3009),
    ] {
        let pay_by = PayBy { scheme, method, ..pay_by() };
        let requirement = Requirement { pay_by, ..requirement() };
        let wire = requirement.to_wire();
        let read = read_requirements(&wire, Message::Required);
        assert_eq!(read, Ok((pay_by, requirement.amount)));
        assert!(requirement.is_accepted(&wire));
    }
    let requirement =
        Requirement { pay_by: PayBy { scheme: channel, ..pay_by() }, ..requirement() };
    let others = [
        ChannelOffer { receiver_authorizer: PAYER, ..offer },
        ChannelOffer { withdraw_delay_s: 901, ..offer },
    ];
    let other = others.map(|offer| {
        let pay_by = PayBy { scheme: Scheme::BatchSettlement(offer), ..pay_by() };
        requirement.is_accepted(&Requirement { pay_by, ..requirement }.to_wire())
    });
    assert_eq!(other, [false, false]);
}

/// Source: x402 extension eip2612GasSponsoring, the declaration in an offer.
#[test]
fn an_offer_says_where_permits_are_handed_in_and_what_clients_send_fits_it() {
    let offer = |method| {
        let quote = Quote { pay_by: vec![PayBy { method, ..pay_by() }], ..quote() };
        payment_required(&quote, &order(), &TOKENS, None).unwrap().extensions.unwrap()
    };
    for without in [TransferMethod::Eip3009, TransferMethod::Permit2] {
        assert!(!offer(without).contains_key(sponsoring::KEY));
    }
    let declared = &offer(TransferMethod::Permit2Sponsored)[sponsoring::KEY];
    assert_eq!(declared["info"]["version"], "1");
    assert!(declared["info"]["description"].is_string());
    let sent: serde_json::Value = serde_json::from_str(super::permitted::WRITTEN).unwrap();
    let sent = sent["exact"]["extensions"][sponsoring::KEY]["info"].as_object().unwrap();
    let keys: BTreeSet<_> = sent.keys().map(String::as_str).collect();
    let schema = &declared["schema"];
    let known = schema["properties"].as_object().unwrap();
    assert_eq!(known.keys().map(String::as_str).collect::<BTreeSet<_>>(), keys);
    assert!(known.values().all(|kind| kind["type"] == "string"));
    let required = schema["required"].as_array().unwrap();
    assert_eq!(required.iter().filter_map(|key| key.as_str()).collect::<BTreeSet<_>>(), keys);
}

#[test]
fn a_token_is_known_by_all_that_is_pinned_of_it_and_may_have_no_domain_of_its_own() {
    let info = usdc_info();
    let token = TOKENS.find(USDC).unwrap();
    assert!(token.is_of(&info));
    assert!(token.is_of(&AssetInfo { symbol: "other".to_owned(), decimals: 18, ..info.clone() }));
    let elsewhere = Asset { network: Network::SANDBOX, ..USDC };
    for other in [
        AssetInfo { asset: elsewhere, ..info.clone() },
        AssetInfo { eip712_name: "USD Coin".to_owned(), ..info.clone() },
        AssetInfo { eip712_version: "1".to_owned(), ..info.clone() },
    ] {
        assert!(!token.is_of(&other), "{other:?}");
    }
    let unnamed = AssetInfo { eip712_name: String::new(), ..info };
    let tokens = TokenDomains::new(&AssetRegistry::new([unnamed]));
    let pay_by = PayBy { method: TransferMethod::Permit2, ..pay_by() };
    let requirement =
        Requirement { pay_by, amount: Amount::new(1), token: tokens.find(USDC).unwrap() };
    let wire = requirement.to_wire();
    let extra = wire.extra.as_ref().unwrap();
    assert!(!extra.contains_key("name") && !extra.contains_key("version"));
    assert!(requirement.is_accepted(&wire));
}
