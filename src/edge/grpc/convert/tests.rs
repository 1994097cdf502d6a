//! Every conversion there and back, and what is refused on the way in.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use alloy::primitives::{Address, B256, U256};

use super::*;
use crate::domain::commitment::{Scheme, TransferMethod};
use crate::domain::id::PaymentId;
use crate::domain::listing::{Listing, Query, SignedListing, Ware};
use crate::domain::money::Amount;
use crate::domain::negotiation::{CounterOffer, Verdict};
use crate::domain::order::{Order, Units, Usage};
use crate::domain::quote::{PayBy, PriceTerms, Quote, SignedQuote};
use crate::domain::x402::receipt::{Receipt, SignedReceipt};
use crate::edge::grpc::pb;
use crate::ports::paid_service::{Ask, PaidCall, Quoted};

pub(in crate::edge::grpc) fn order() -> Order {
    Order {
        capability: "text.generate".parse().unwrap(),
        model: Some("bursar-scribe".parse().unwrap()),
        input_max: Units(100),
        output_max: Units(200),
        maxima: Default::default(),
    }
}

fn terms() -> PriceTerms {
    PriceTerms {
        flat: Amount::new(10),
        per_1k_output: Amount::new(7),
        per_s: Amount::new(3),
        ..PriceTerms::default()
    }
}

pub(in crate::edge::grpc) fn usdc() -> Asset {
    Asset { network: Network::SANDBOX, contract: Address::repeat_byte(0xab) }
}

fn pay_by() -> PayBy {
    PayBy {
        scheme: Scheme::Exact,
        method: TransferMethod::Eip3009,
        asset: usdc(),
        pay_to: Address::repeat_byte(0x11),
        timeout_s: 60,
    }
}

fn sig(n: u64) -> Signature {
    Signature::new(U256::from(n), U256::from(n.saturating_add(1)), n % 2 == 1)
}

pub(in crate::edge::grpc) fn signed_quote() -> SignedQuote {
    SignedQuote {
        quote: Quote {
            provider: "scribe".parse().unwrap(),
            resource: "grpc://127.0.0.1:8403/bursar.v1.InferenceService/Infer".into(),
            capability: "text.generate".parse().unwrap(),
            model: "bursar-scribe".parse().unwrap(),
            terms: terms(),
            pay_by: vec![pay_by()],
            output_max: 512,
            valid_until: Timestamp::from_nanos(1_700_000_000_123_456_789),
            rounds: 2,
            standing: None,
            stride: None,
        },
        service_key: Address::repeat_byte(0x22),
        signature: sig(7),
    }
}

pub(in crate::edge::grpc) fn signed_receipt() -> SignedReceipt {
    SignedReceipt {
        receipt: Receipt {
            payment: Some(PaymentId::from_bytes([5; 16])),
            provider: "scribe".parse().unwrap(),
            resource: "grpc://127.0.0.1:8403/bursar.v1.InferenceService/Infer".into(),
            payer: Address::repeat_byte(0x33),
            asset: usdc(),
            amount: Amount::new(1234),
            usage: usage(),
            transaction: Some(B256::repeat_byte(0x44)),
            issued_at_s: 1_700_000_001,
        },
        service_key: Address::repeat_byte(0x22),
        signature: sig(8),
    }
}

pub(in crate::edge::grpc) fn usage() -> Usage {
    Usage { input: Units(3), output: Units(4), bytes: 5, compute_ms: 6 }
}

pub(in crate::edge::grpc) fn signed_listing(provider: &str) -> SignedListing {
    SignedListing {
        listing: Listing {
            provider: provider.parse().unwrap(),
            endpoint: "unix:/run/bursar/scribe.sock".into(),
            wares: vec![Ware {
                capability: "text.generate".parse().unwrap(),
                model: "bursar-scribe".parse().unwrap(),
                terms: terms(),
                tiers: Default::default(),
            }],
            pay_by: vec![pay_by()],
            issued_at: Timestamp::from_nanos(1),
            valid_until: Timestamp::MAX,
        },
        service_key: Address::repeat_byte(0x22),
        delegation: sig(9),
        signature: sig(10),
    }
}

pub(in crate::edge::grpc) fn query() -> Query {
    Query {
        capability: "text.generate".parse().unwrap(),
        model: None,
        price_max: Some(Nano::new(5)),
        networks: vec![Network::SANDBOX],
    }
}

pub(in crate::edge::grpc) fn call() -> PaidCall {
    PaidCall {
        order: order(),
        quote: Some(signed_quote()),
        content_type: "application/json".into(),
        body: Bytes::from_static(b"{}"),
        payment: None,
        signed_order: None,
        peer: None,
        streamed: false,
    }
}

#[test]
fn everything_comes_back_as_it_went() {
    let ask = Ask {
        order: order(),
        counter: Some(CounterOffer { terms: terms(), volume: 10, round: 1 }),
        payer: Some(Address::repeat_byte(0x55)),
    };
    assert_eq!(Ask::try_from(pb::QuoteRequest::from(&ask)).unwrap(), ask);
    for verdict in [Verdict::List, Verdict::Accepted, Verdict::Countered, Verdict::Floor] {
        let quoted = Quoted { quote: signed_quote(), verdict };
        assert_eq!(Quoted::try_from(pb::QuoteResponse::from(&quoted)).unwrap(), quoted);
    }
    assert_eq!(PaidCall::try_from(pb::PaidCall::from(&call())).unwrap(), call());
    let receipt = signed_receipt();
    assert_eq!(SignedReceipt::try_from(pb::SignedReceipt::from(&receipt)).unwrap(), receipt);
    let listing = signed_listing("scribe");
    assert_eq!(SignedListing::try_from(pb::SignedListing::from(&listing)).unwrap(), listing);
    assert_eq!(Query::try_from(pb::FindRequest::from(&query())).unwrap(), query());
}

#[test]
fn times_are_exact_to_the_nanosecond_at_both_ends() {
    for nanos in [0, 1, 999_999_999, 1_000_000_000, u64::MAX] {
        let instant = Timestamp::from_nanos(nanos);
        assert_eq!(time(Some(time_to_pb(instant)), "at").unwrap(), instant);
    }
    let spoiled =
        [(-1, 0), (0, -1), (0, 1_000_000_000), (i64::MAX, 0), (18_446_744_073, 709_551_616)];
    for (seconds, nanos) in spoiled {
        let value = prost_types::Timestamp { seconds, nanos };
        assert_eq!(time(Some(value), "at").unwrap_err().field, "at");
    }
}

#[test]
fn a_complaint_names_the_path_to_its_field() {
    type Spoil = fn(&mut pb::SignedQuote);
    let cases: [(&str, Spoil); 8] = [
        ("quote", |q| q.quote = None),
        ("signature", |q| q.signature = Bytes::from_static(&[0; 64])),
        ("service_key", |q| q.service_key = "0x12".into()),
        ("quote.provider", |q| q.quote.as_mut().unwrap().provider = "no name".into()),
        ("quote.rounds", |q| q.quote.as_mut().unwrap().rounds = 256),
        ("quote.terms.flat", |q| {
            q.quote.as_mut().unwrap().terms.as_mut().unwrap().flat = "007".into();
        }),
        ("quote.pay_by.scheme", |q| {
            q.quote.as_mut().unwrap().pay_by.first_mut().unwrap().scheme = 99;
        }),
        ("quote.pay_by.asset", |q| {
            q.quote.as_mut().unwrap().pay_by.first_mut().unwrap().asset =
                "eip155:01/erc20:0x".into();
        }),
    ];
    for (field, spoil) in cases {
        let mut quote = pb::SignedQuote::from(&signed_quote());
        spoil(&mut quote);
        assert_eq!(SignedQuote::try_from(quote).unwrap_err().field, field);
    }
}

#[test]
fn p09_lists_and_texts_are_bounded() {
    use crate::edge::grpc::limits::{PAY_BY_MAX, TEXT_LEN_MAX};

    let mut quote = pb::SignedQuote::from(&signed_quote());
    let inner = quote.quote.as_mut().unwrap();
    let way = inner.pay_by.first().unwrap().clone();
    inner.pay_by = vec![way.clone(); PAY_BY_MAX];
    assert!(SignedQuote::try_from(quote.clone()).is_ok());
    quote.quote.as_mut().unwrap().pay_by.push(way);
    assert_eq!(SignedQuote::try_from(quote).unwrap_err().field, "quote.pay_by");

    assert!(text("x".repeat(TEXT_LEN_MAX), "t").is_ok());
    assert!(text("x".repeat(TEXT_LEN_MAX.saturating_add(1)), "t").is_err());
    assert!(text("a\nb".into(), "t").is_err());
}

#[test]
fn nano_units_have_one_spelling() {
    for (given, right) in [("0", true), ("10", true), ("", false), ("01", false), ("+1", false)] {
        assert_eq!(nano(given, "n").is_ok(), right, "{given}");
    }
    assert!(nano(&Nano::MAX.get().to_string(), "n").is_ok());
    assert!(nano(&u64::MAX.to_string(), "n").is_err());
}
