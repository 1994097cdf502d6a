//! Signed listings, quotes and receipts.

use super::*;
use crate::domain::commitment::ChannelOffer;
use crate::domain::fault::{Class, Fault};
use crate::domain::x402::listing::check_listing;
use crate::domain::x402::quote::{check_listed_quote, check_quote};
use crate::domain::x402::receipt::{Expected, check_receipt};

const NOW: Timestamp = Timestamp::from_secs(NOW_S);

#[test]
fn a_quote_has_to_be_its_service_keys_and_fit_the_order() {
    assert_eq!(check_quote(&signed_quote(quote()), SERVICE, &order(), NOW), Ok(()));
    let listing = signed_listing(listing());
    assert_eq!(check_listed_quote(&signed_quote(quote()), &listing, &order(), NOW), Ok(()));

    type Edit = fn(&mut Quote);
    let edits: [(Edit, &str); 10] = [
        (|q| q.provider = name("other"), "quote.provider"),
        (|q| q.valid_until = NOW, "quote.expired"),
        (|q| q.capability = name("embed"), "quote.not_ordered"),
        (|q| q.model = name("other"), "quote.not_ordered"),
        (|q| q.output_max = 249, "quote.output_above_quote"),
        (|q| q.pay_by.clear(), "quote.pay_by"),
        (|q| q.pay_by[0].pay_to = PAYER, "quote.pay_by"),
        (|q| q.terms.flat = Amount::new(151), "quote.above_list"),
        (|q| q.terms.per_1k_input = Amount::new(401), "quote.above_list"),
        (|q| q.terms.per_1k_output = Amount::new(1201), "quote.above_list"),
    ];
    for (at, (edit, code)) in edits.into_iter().enumerate() {
        let mut changed = quote();
        edit(&mut changed);
        let refused = check_listed_quote(&signed_quote(changed), &listing, &order(), NOW);
        assert_eq!(refused.unwrap_err().code(), code, "edit {at}");
    }
    let mut forged = signed_quote(quote());
    forged.quote.terms.flat = Amount::new(1);
    let refused = check_quote(&forged, SERVICE, &order(), NOW).unwrap_err();
    assert_eq!(refused.code(), "quote.signature");
    let other = SignedQuote { service_key: PAYER, ..signed_quote(quote()) };
    let refused = check_quote(&other, SERVICE, &order(), NOW).unwrap_err();
    assert_eq!(refused.code(), "quote.service_key");
    let any_model = Order { model: None, ..order() };
    assert_eq!(check_quote(&signed_quote(quote()), SERVICE, &any_model, NOW), Ok(()));
}

/// What a payee asks of its own quote when it comes back, where no listing is at hand.
#[test]
fn a_quote_is_for_its_own_work_by_its_own_model_and_up_to_its_own_output() {
    let check = |change: fn(&mut Order)| {
        let mut ordered = order();
        change(&mut ordered);
        let checked = check_quote(&signed_quote(quote()), SERVICE, &ordered, NOW);
        checked.map_or_else(|refused| refused.code(), |()| "good")
    };
    assert_eq!(check(|order| order.capability = name("embed")), "quote.not_ordered");
    assert_eq!(check(|order| order.model = Some(name("other"))), "quote.not_ordered");
    assert_eq!(check(|order| order.output_max = Units(1000)), "good");
    assert_eq!(check(|order| order.output_max = Units(1001)), "quote.output_above_quote");
}

/// threats.md F30: a call goes nowhere but to the endpoint that was listed.
#[test]
fn f30_a_quotes_resource_is_a_method_at_the_listed_endpoint() {
    for (endpoint, resource, good) in [
        ("http://127.0.0.1:8403", RESOURCE, true),
        ("https://127.0.0.1:8403", RESOURCE, true),
        ("unix:/run/scribe.sock", "grpc://unix:/run/scribe.sock/Infer", true),
        ("http://127.0.0.1:8404", RESOURCE, false),
        ("http://127.0.0.1:840", RESOURCE, false),
        ("http://127.0.0.1:8403", "http://127.0.0.1:8403/Infer", false),
        ("http://127.0.0.1:8403", "grpc://127.0.0.1:8403", false),
        ("http://127.0.0.1:8403", "grpc://127.0.0.1:8403.evil.example/Infer", false),
        ("http://127.0.0.1:8403", "grpc://evil.example/127.0.0.1:8403/", false),
    ] {
        let listing = signed_listing(Listing { endpoint: endpoint.to_owned(), ..listing() });
        let quote = signed_quote(Quote { resource: resource.to_owned(), ..quote() });
        let checked = check_listed_quote(&quote, &listing, &order(), NOW);
        let found = checked.map_or_else(|refused| refused.code(), |()| "good");
        let expected = if good { "good" } else { "quote.resource" };
        assert_eq!(found, expected, "{resource} at {endpoint}");
    }
}

/// Others that are sold for less, or for more, make its price neither too high nor good.
#[test]
fn a_quotes_price_is_held_against_its_own_ware() {
    let own = listing().wares.remove(0);
    let flat = |flat| PriceTerms { flat: Amount::new(flat), ..own.terms };
    let model = Ware { model: name("other"), terms: flat(1), ..own.clone() };
    let work = Ware { capability: name("embed"), terms: flat(1_000), ..own.clone() };
    for wares in [[&model, &work, &own], [&own, &work, &model], [&work, &own, &model]] {
        let wares = wares.map(Clone::clone).to_vec();
        let listing = signed_listing(Listing { wares, ..listing() });
        for (asked, code) in [(150, "good"), (151, "quote.above_list")] {
            let quote = signed_quote(Quote { terms: flat(asked), ..quote() });
            let checked = check_listed_quote(&quote, &listing, &order(), NOW);
            assert_eq!(checked.map_or_else(|refused| refused.code(), |()| "good"), code);
        }
    }
}

#[test]
fn a_listing_is_good_up_to_each_of_its_bounds() {
    let life =
        |issued_at: Timestamp| issued_at.after(std::time::Duration::from_secs(30 * 24 * 3600));
    let early = Timestamp::from_secs(NOW_S + 60);
    let ware = |n: usize| Ware { model: name(&format!("m{n}")), ..listing().wares.remove(0) };
    let endpoint = format!("http://{}", "a".repeat(1024 - 7));
    for (at, good) in [
        Listing { wares: (0..64).map(ware).collect(), ..listing() },
        Listing { pay_by: vec![pay_by(); 16], ..listing() },
        Listing { issued_at: early, ..listing() },
        Listing { valid_until: life(listing().issued_at), ..listing() },
        Listing { issued_at: early, valid_until: life(early), ..listing() },
        Listing { valid_until: NOW.next(), ..listing() },
        Listing { endpoint: endpoint.clone(), ..listing() },
    ]
    .into_iter()
    .enumerate()
    {
        assert_eq!(check_listing(&signed_listing(good), NOW), Ok(()), "listing {at}");
    }
    for (bad, code) in [
        (Listing { issued_at: early.next(), ..listing() }, "listing.early"),
        (
            Listing { valid_until: life(listing().issued_at).next(), ..listing() },
            "listing.too_long",
        ),
        (Listing { endpoint: endpoint + "a", ..listing() }, "listing.endpoint"),
    ] {
        assert_eq!(check_listing(&signed_listing(bad), NOW).unwrap_err().code(), code);
    }
}

#[test]
fn a_listing_has_to_be_delegated_bounded_and_in_time() {
    assert_eq!(check_listing(&signed_listing(listing()), NOW), Ok(()));
    let life = |seconds| listing().issued_at.after(std::time::Duration::from_secs(seconds));

    type Edit = Box<dyn Fn(&mut Listing)>;
    let edits: Vec<(Edit, &str)> = vec![
        (Box::new(|l| l.wares.clear()), "listing.wares"),
        (Box::new(|l| l.wares = vec![l.wares[0].clone(); 65]), "listing.wares"),
        (Box::new(|l| l.wares = vec![l.wares[0].clone(); 2]), "listing.same_ware"),
        (Box::new(|l| l.pay_by.clear()), "listing.pay_bys"),
        (Box::new(|l| l.pay_by = vec![pay_by(); 17]), "listing.pay_bys"),
        (Box::new(|l| l.pay_by.push(PayBy { pay_to: PAYER, ..pay_by() })), "listing.payees"),
        (Box::new(|l| l.pay_by[0].timeout_s = 0), "listing.timeout"),
        (Box::new(|l| l.endpoint = "ftp://x".to_owned()), "listing.endpoint"),
        (Box::new(|l| l.endpoint = "http://".to_owned()), "listing.endpoint"),
        (Box::new(|l| l.endpoint = "http://a b".to_owned()), "listing.endpoint"),
        (Box::new(|l| l.valid_until = NOW), "listing.expired"),
        (Box::new(|l| l.valid_until = l.issued_at), "listing.expired"),
        (Box::new(|l| l.issued_at = Timestamp::from_secs(NOW_S + 61)), "listing.early"),
        (Box::new(move |l| l.valid_until = life(30 * 24 * 3600 + 1)), "listing.too_long"),
    ];
    for (at, (edit, code)) in edits.into_iter().enumerate() {
        let mut changed = listing();
        edit(&mut changed);
        let refused = check_listing(&signed_listing(changed), NOW).unwrap_err();
        assert_eq!(refused.code(), code, "edit {at}");
    }
    let unix = Listing { endpoint: "unix:/run/scribe.sock".to_owned(), ..listing() };
    assert_eq!(check_listing(&signed_listing(unix), NOW), Ok(()));

    let good = signed_listing(listing());
    let undelegated = SignedListing { delegation: good.signature, ..good.clone() };
    assert_eq!(check_listing(&undelegated, NOW).unwrap_err().code(), "listing.delegation");
    // Another key may not use somebody's delegation, nor its own in somebody's name.
    let stolen = SignedListing { service_key: PAYER, ..good.clone() };
    assert_eq!(check_listing(&stolen, NOW).unwrap_err().code(), "listing.delegation");
    let edited = SignedListing {
        listing: Listing { endpoint: "http://127.0.0.1:1".to_owned(), ..listing() },
        ..good
    };
    assert_eq!(check_listing(&edited, NOW).unwrap_err().code(), "listing.signature");
}

fn expected<'a>(commitment: &'a Commitment, provider: &'a Name) -> Expected<'a> {
    let (payment, resource, service_key) = (payment(), RESOURCE, SERVICE);
    Expected { payment, commitment, provider, resource, service_key }
}

#[test]
fn a_receipt_has_to_be_for_this_payment() {
    let commitment = commitment();
    let provider = name("scribe");
    let expected = expected(&commitment, &provider);
    assert_eq!(check_receipt(&signed_receipt(receipt()), &expected), Ok(()));
    let unnamed = Receipt { payment: None, transaction: None, ..receipt() };
    assert_eq!(check_receipt(&signed_receipt(unnamed), &expected), Ok(()));

    type Edit = fn(&mut Receipt);
    let edits: [(Edit, &str); 8] = [
        (|r| r.payment = Some(PaymentId::from_bytes([1; 16])), "receipt.payment"),
        (|r| r.provider = name("other"), "receipt.provider"),
        (|r| r.resource.push('x'), "receipt.resource"),
        (|r| r.payer = PAY_TO, "receipt.payer"),
        (|r| r.asset.network = Network::SANDBOX, "receipt.asset"),
        (|r| r.amount = Amount::new(999), "receipt.amount"),
        (|r| r.amount = Amount::new(1001), "receipt.amount"),
        (|r| r.amount = Amount::ZERO, "receipt.amount"),
    ];
    for (at, (edit, code)) in edits.into_iter().enumerate() {
        let mut changed = receipt();
        edit(&mut changed);
        let refused = check_receipt(&signed_receipt(changed), &expected).unwrap_err();
        assert_eq!((refused.code(), refused.class()), (code, Class::InDoubt), "edit {at}");
    }
    let mut forged = signed_receipt(receipt());
    forged.receipt.usage.output = Units(1);
    assert_eq!(check_receipt(&forged, &expected).unwrap_err().code(), "receipt.signature");
    let other = SignedReceipt { service_key: PAY_TO, ..signed_receipt(receipt()) };
    assert_eq!(check_receipt(&other, &expected).unwrap_err().code(), "receipt.service_key");
}

/// `exact` charges just what was authorized, other schemes at most that.
#[test]
fn a_receipt_charges_what_its_scheme_allows() {
    let upto = Scheme::Upto { facilitator: PAY_TO };
    let offer = ChannelOffer {
        receiver_authorizer: SERVICE,
        withdraw_delay_s: 900,
        deposit_min: Amount::ZERO,
    };
    let provider = name("scribe");
    for scheme in [Scheme::Exact, upto, Scheme::BatchSettlement(offer)] {
        let commitment = Commitment { scheme, ..commitment() };
        let expected = expected(&commitment, &provider);
        for charged in [0, 1, 999, 1000, 1001] {
            let told = Receipt { amount: Amount::new(charged), ..receipt() };
            let stands = charged == 1000 || charged < 1000 && scheme != Scheme::Exact;
            let found = check_receipt(&signed_receipt(told), &expected);
            assert_eq!(found.is_ok(), stands, "{scheme:?} {charged}");
        }
    }
}
