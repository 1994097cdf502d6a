//! What a payer refuses to sign.

use alloy::primitives::keccak256;
use serde_json::{Value, json};

use super::*;
use crate::domain::fault::Fault;
use crate::domain::x402::PaymentError;
use crate::domain::x402::offer::{Asked, HeardOffer, check_offer};
use crate::domain::x402::offer_receipt::{
    Artifact, OfferPayload, ReceiptPayload, find_offers, find_receipt, offers_extension,
    receipt_extension,
};
use crate::domain::x402::requirements::payment_required;
use crate::domain::x402::wire::{PaymentRequired, PaymentRequirements};

fn offer() -> PaymentRequired {
    payment_required(&quote(), &order(), &TOKENS, None).unwrap()
}

fn asked() -> Asked<'static> {
    Asked { resource: RESOURCE, timeout_max_s: 120, amount: Some(Amount::new(1000)) }
}

#[test]
fn a_payer_signs_for_what_it_asked_and_no_longer_than_it_wants() {
    let offer = offer();
    let payable = check_offer(&offer, &asked(), &TOKENS).unwrap();
    assert_eq!(payable.len(), 1);
    assert_eq!((payable[0].requirement, payable[0].index), (requirement(), 0));
    let brief = Asked { timeout_max_s: 45, ..asked() };
    let payable = check_offer(&offer, &brief, &TOKENS).unwrap();
    assert_eq!(payable[0].requirement.pay_by.timeout_s, 45);
}

#[test]
fn what_cannot_be_paid_is_skipped_and_what_is_odd_is_refused() {
    let mut foreign = offer();
    let solana = PaymentRequirements {
        network: "solana:5eykt4UsFv8P8NJdTREpY1vzqKqZKvdp".to_owned(),
        ..foreign.accepts[0].clone()
    };
    foreign.accepts.insert(0, solana);
    assert_eq!(check_offer(&foreign, &asked(), &TOKENS).unwrap()[0].index, 1);

    type Edit = fn(&mut PaymentRequired);
    let edits: [(Edit, &str); 17] = [
        (|o| o.x402_version = 1, "x402.version"),
        (|o| o.resource.url.push('s'), "x402.resource"),
        (|o| o.accepts[0].scheme = "upfront".to_owned(), "x402.scheme"),
        // Nobody is named who may settle.
        (|o| o.accepts[0].scheme = "upto".to_owned(), "x402.field"),
        (|o| o.accepts[0].network = "base".to_owned(), "x402.network"),
        (|o| o.accepts[0].network = "eip155:8453".to_owned(), "x402.unknown_asset"),
        (|o| o.accepts[0].asset = PAYER.to_string(), "x402.unknown_asset"),
        (|o| o.accepts[0].asset = "USD".to_owned(), "x402.field"),
        (|o| o.accepts[0].pay_to = "merchant".to_owned(), "x402.field"),
        (|o| o.accepts[0].amount = "0".to_owned(), "x402.zero"),
        (|o| o.accepts[0].amount = "-5".to_owned(), "x402.field"),
        (|o| o.accepts[0].amount = "1001".to_owned(), "x402.value"),
        (|o| o.accepts[0].max_timeout_seconds = 0, "x402.timeout"),
        (|o| o.accepts[0].extra = None, "x402.token_domain"),
        (|o| extra(o)["name"] = json!("USD Coin"), "x402.token_domain"),
        (|o| extra(o)["version"] = json!("1"), "x402.token_domain"),
        (|o| o.accepts.clear(), "x402.field"),
    ];
    for (at, (edit, code)) in edits.into_iter().enumerate() {
        let mut changed = offer();
        edit(&mut changed);
        let refused = check_offer(&changed, &asked(), &TOKENS).unwrap_err();
        assert_eq!(refused.code(), code, "edit {at}");
    }
}

fn extra(offer: &mut PaymentRequired) -> &mut serde_json::Map<String, Value> {
    offer.accepts[0].extra.as_mut().unwrap()
}

/// The ways of an offer by Permit2 and by EIP-3009, where permits are handed in and where they are not.
#[test]
fn a_permit_goes_only_with_permit2_and_only_where_it_is_handed_in() {
    use TransferMethod::*;
    let permit2 = PayBy { method: Permit2, ..pay_by() };
    let quote = Quote { pay_by: vec![pay_by(), permit2], ..quote() };
    let bare = payment_required(&quote, &order(), &TOKENS, None).unwrap();
    let mut sponsored = bare.clone();
    let extensions = sponsored.extensions.get_or_insert_default();
    extensions.insert("eip2612GasSponsoring".to_owned(), json!({}));
    let mut silent = bare.clone();
    silent.extensions = None;
    for (offer, methods) in [
        (bare, [Eip3009, Permit2]),
        (sponsored, [Eip3009, Permit2Sponsored]),
        (silent, [Eip3009, Permit2]),
    ] {
        let payable = check_offer(&offer, &asked(), &TOKENS).unwrap();
        let found: Vec<_> = payable.iter().map(|way| way.requirement.pay_by.method).collect();
        assert_eq!(found, methods);
    }
}

/// threats.md A02. Permit2's signature is in a domain of its own, so that what a payee leaves out about the
/// token does no harm there; what it says has to be what is pinned.
#[test]
fn a02_a_tokens_domain_is_the_pinned_one_and_may_be_left_out_only_by_permit2() {
    let told = |method, name: Option<&str>, version: Option<&str>| {
        let quote = Quote { pay_by: vec![PayBy { method, ..pay_by() }], ..quote() };
        let mut offer = payment_required(&quote, &order(), &TOKENS, None).unwrap();
        for (key, said) in [("name", name), ("version", version)] {
            extra(&mut offer).remove(key);
            if let Some(said) = said {
                extra(&mut offer).insert(key.to_owned(), json!(said));
            }
        }
        check_offer(&offer, &asked(), &TOKENS).map(|_| ())
    };
    let refused = Err(PaymentError::TokenDomain(USDC));
    let (own, token) = (TransferMethod::Permit2, TransferMethod::Eip3009);
    for (method, name, version, expected) in [
        (token, Some("USDC"), Some("2"), Ok(())),
        (token, None, None, refused.clone()),
        (token, Some("USDC"), None, refused.clone()),
        (token, Some("USD Coin"), Some("2"), refused.clone()),
        (token, Some("USDC"), Some("1"), refused.clone()),
        (own, Some("USDC"), Some("2"), Ok(())),
        (own, None, None, Ok(())),
        (own, Some("USD Coin"), Some("2"), refused.clone()),
        (own, Some("USDC"), Some("1"), refused),
    ] {
        assert_eq!(told(method, name, version), expected, "{method:?} {name:?} {version:?}");
    }
}

/// A token that has none is moved by Permit2, whatever a payee calls it.
#[test]
fn a_token_without_a_domain_is_paid_by_permit2_and_by_nothing_else() {
    let tokens = TokenDomains::new(&AssetRegistry::new([AssetInfo {
        asset: USDC,
        symbol: "DAI".to_owned(),
        decimals: 18,
        eip712_name: String::new(),
        eip712_version: String::new(),
        rate: Rate { nano: 1, per: 1 },
    }]));
    for method in [TransferMethod::Permit2, TransferMethod::Eip3009] {
        let quote = Quote { pay_by: vec![PayBy { method, ..pay_by() }], ..quote() };
        let mut offer = payment_required(&quote, &order(), &tokens, None).unwrap();
        for name in [None, Some("")] {
            if let Some(name) = name {
                extra(&mut offer).insert("name".to_owned(), json!(name));
                extra(&mut offer).insert("version".to_owned(), json!(name));
            }
            let taken = check_offer(&offer, &asked(), &tokens).map(|_| ());
            let expected = match method.is_permit2() {
                true => Ok(()),
                false => Err(PaymentError::TokenDomain(USDC)),
            };
            assert_eq!(taken, expected, "{method:?} {name:?}");
        }
    }
}

/// A hold names it as its quote.
#[test]
fn an_offers_digest_is_that_of_its_json() {
    let offer = offer();
    let json = serde_json::to_vec(&offer).unwrap();
    assert_eq!(HeardOffer::from(offer.clone()).digest(), keccak256(json));
    let other = PaymentRequired { error: Some("invalid_payload".to_owned()), ..offer.clone() };
    assert_ne!(HeardOffer::from(other).digest(), HeardOffer::from(offer).digest());
}

#[test]
fn b04_no_time_limit_makes_a_payer_panic_or_sign_for_longer() {
    for seconds in [1, 60, 1 << 53, (1 << 53) + 1, u64::MAX] {
        let mut offer = offer();
        offer.accepts[0].max_timeout_seconds = seconds;
        let payable = check_offer(&offer, &asked(), &TOKENS).unwrap();
        assert!(payable[0].requirement.pay_by.timeout_s <= 120);
    }
}

#[test]
fn c06_an_order_without_a_price_or_a_known_asset_is_not_offered() {
    let dear = Quote { terms: PriceTerms { flat: Amount::MAX, ..terms() }, ..quote() };
    assert_eq!(payment_required(&dear, &order(), &TOKENS, None), None);
    let tokens = TokenDomains::default();
    assert_eq!(payment_required(&quote(), &order(), &tokens, None), None);
}

#[test]
fn strangers_verify_offers_and_receipts_in_their_own_form() {
    let payload = OfferPayload::of_quote(&quote(), &requirement());
    let signature = sign(SERVICE_KEY, payload.digest());
    let artifact = Artifact::new(payload.clone(), &signature, Some(0));
    assert_eq!(artifact.offered_by(), Some(SERVICE));
    let mut offer = offer();
    let extensions = offer.extensions.as_mut().unwrap();
    extensions
        .insert("offer-receipt".to_owned(), offers_extension(std::slice::from_ref(&artifact)));
    let found = find_offers(extensions);
    assert_eq!(found.as_slice(), std::slice::from_ref(&artifact));
    assert!(found[0].payload.is_for(&offer.accepts[0], RESOURCE));
    assert!(!found[0].payload.is_for(&offer.accepts[0], "grpc://else"));
    assert!(!payload.is_over(NOW_S + 300));
    assert!(payload.is_over(NOW_S + 301));
    assert!(!OfferPayload { valid_until: 0, ..payload.clone() }.is_over(u64::MAX));

    let payload = ReceiptPayload::of_receipt(&receipt());
    let artifact = Artifact::new(payload.clone(), &sign(SERVICE_KEY, payload.digest()), None);
    let extensions =
        serde_json::Map::from_iter([("offer-receipt".to_owned(), receipt_extension(&artifact))]);
    let found = find_receipt(&extensions).unwrap();
    assert_eq!(found.received_by(), Some(SERVICE));
    assert_eq!(find_offers(&extensions), []);
}

/// An offer of the fixture's way to pay, signed by the service, as an artifact of this index.
fn offered(index: Option<u64>) -> Artifact<OfferPayload> {
    let payload = OfferPayload::of_quote(&quote(), &requirement());
    let signature = sign(SERVICE_KEY, payload.digest());
    Artifact::new(payload, &signature, index)
}

#[test]
fn a24_an_offer_is_for_the_way_whose_terms_were_signed_whatever_its_index_says() {
    let own = offer().accepts[0].clone();
    let dear = PaymentRequirements { amount: "9000".to_owned(), ..own.clone() };
    for index in [None, Some(0), Some(1), Some(u64::MAX)] {
        let artifact = offered(index);
        assert_eq!(artifact.offered_by(), Some(SERVICE), "an index is no part of what was signed");
        let fits = [&dear, &own].map(|way| artifact.payload.is_for(way, RESOURCE));
        assert_eq!(fits, [false, true], "{index:?}");
    }
}

#[test]
fn a24_an_offer_of_another_field_is_for_no_other_way_and_is_nobodys_word() {
    type Edit = fn(&mut OfferPayload);
    let edits: [Edit; 8] = [
        |it| it.version = 2,
        |it| it.resource_url.push('s'),
        |it| it.scheme = "upto".to_owned(),
        |it| it.network = "eip155:8453".to_owned(),
        |it| it.asset = PAYER.to_string(),
        |it| it.pay_to = PAYER.to_string(),
        |it| it.amount = "1".to_owned(),
        |it| it.valid_until = 0,
    ];
    for (at, edit) in edits.into_iter().enumerate() {
        let mut changed = offered(Some(0));
        edit(&mut changed.payload);
        assert_ne!(changed.offered_by(), Some(SERVICE), "edit {at}");
        // Its end is no term of the way, and is asked for by itself.
        let is_term = at != 7;
        let way = &offer().accepts[0];
        assert_eq!(changed.payload.is_for(way, RESOURCE), !is_term, "edit {at}");
    }
}

#[test]
fn a24_an_offer_that_ended_or_that_another_key_signed_says_so() {
    let own = offered(Some(0));
    assert_eq!(own.payload.valid_until, NOW_S + 300);
    for (now_s, is_over) in [(NOW_S, false), (NOW_S + 300, false), (NOW_S + 301, true)] {
        assert_eq!(own.payload.is_over(now_s), is_over);
    }
    let by_another = sign(PAY_TO_KEY, own.payload.digest());
    let by_another = Artifact::new(own.payload.clone(), &by_another, Some(0));
    assert_eq!(by_another.offered_by(), Some(PAY_TO), "whom no listing names for the resource");
    for signature in ["", "0x", "0x00", &own.signature[..own.signature.len() - 2]] {
        let cut = Artifact { signature: signature.to_owned(), ..own.clone() };
        assert_eq!(cut.offered_by(), None, "{signature}");
    }
    let jws = Artifact { format: "jws".to_owned(), ..own };
    assert_eq!(jws.offered_by(), None);
}
