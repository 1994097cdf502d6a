//! Quotes, counter-offers, and payments that do not do.

use std::time::Duration;

use super::world::{NOW_S, PRICE, World, call, code, collect, floor, list, order, pay, quoted};
use crate::domain::id::Name;
use crate::domain::money::Amount;
use crate::domain::negotiation::{CounterOffer, Verdict};
use crate::domain::order::{Order, Units};
use crate::domain::pricing::price;
use crate::domain::quote::SignedQuote;
use crate::domain::time::Timestamp;
use crate::domain::x402::quote::check_quote;
use crate::domain::x402::wire::PaymentPayload;
use crate::ports::paid_service::{Ask, PaidCall, PaidService, ServiceError};
use crate::ports::signer::{SeededServiceSigner, ServiceSigner};

fn ask(counter: Option<CounterOffer>) -> Ask {
    Ask { order: order(), counter, payer: None }
}

async fn quote(world: &World, counter: Option<CounterOffer>) -> (SignedQuote, Verdict) {
    let quoted = world.payee.quote(ask(counter)).await.unwrap();
    (quoted.quote, quoted.verdict)
}

#[tokio::test]
async fn a_quote_is_the_list_price_signed_and_ends() {
    let world = World::new().await;
    let (signed, verdict) = quote(&world, None).await;
    assert_eq!((signed.quote.terms, verdict), (list(), Verdict::List));
    assert_eq!(signed.quote.valid_until, Timestamp::from_secs(NOW_S + 30));
    assert_eq!(price(&signed.quote.terms, &order()), Some(Amount::new(PRICE)));
    let now = Timestamp::from_secs(NOW_S);
    assert_eq!(check_quote(&signed, world.service_key(), &order(), now), Ok(()));
}

#[tokio::test]
async fn a_counter_offer_within_the_floor_is_paid_by_and_one_beneath_is_not() {
    let world = World::new().await;
    let counter = CounterOffer { terms: floor(), volume: 0, round: 1 };
    let (signed, verdict) = quote(&world, Some(counter)).await;
    assert_eq!((signed.quote.terms, verdict, signed.quote.rounds), (floor(), Verdict::Accepted, 1));
    let call = quoted(&signed);
    let offer = world.required(call.clone()).await;
    assert_eq!(offer.accepts[0].amount, "90");
    let paid = PaidCall { payment: Some(pay(&offer, &world.sign(1, 90))), ..call.clone() };
    collect(world.payee.infer(paid).await).await.unwrap();
    // The price follows from the quote that comes with the call, not from what the payment says.
    let unquoted =
        PaidCall { payment: Some(pay(&offer, &world.sign(2, 90))), ..super::world::call() };
    assert_eq!(code(world.payee.infer(unquoted).await), "service.payment_required");

    let flat = Amount::new(1);
    let terms = crate::domain::quote::PriceTerms { flat, ..floor() };
    let (signed, verdict) = quote(&world, Some(CounterOffer { terms, volume: 0, round: 3 })).await;
    assert_eq!((signed.quote.terms, verdict), (floor(), Verdict::Floor));
}

#[tokio::test]
async fn a_quote_that_is_over_is_answered_by_the_list_price() {
    let world = World::new().await;
    let counter = CounterOffer { terms: floor(), volume: 0, round: 1 };
    let (signed, _) = quote(&world, Some(counter)).await;
    let offer = world.required(quoted(&signed)).await;
    world.clock.advance(Duration::from_secs(30));
    let payment = Some(pay(&offer, &world.sign(1, 90)));
    for call in [quoted(&signed), PaidCall { payment, ..quoted(&signed) }] {
        let offer = world.required(call).await;
        assert_eq!(offer.accepts[0].amount, PRICE.to_string());
        assert_eq!(offer.error.as_deref(), Some("invalid_payment_requirements"));
    }
    assert!(world.journal.entries().is_empty());
}

#[tokio::test]
async fn a_quote_that_never_was_ours_is_malformed() {
    let world = World::new().await;
    let (signed, _) = quote(&world, None).await;
    let mut cheaper = signed.clone();
    cheaper.quote.terms.flat = Amount::ZERO;
    let stranger = SeededServiceSigner::new(8, &"echoer".parse::<Name>().unwrap());
    for other in [cheaper, stranger.sign_quote(signed.quote.clone())] {
        let outcome = world.payee.infer(quoted(&other)).await;
        assert!(
            matches!(outcome.err(), Some(ServiceError::Malformed { field, .. }) if field == "quote")
        );
    }
}

#[tokio::test]
async fn what_is_not_sold_is_malformed() {
    let world = World::new().await;
    let other = |text: &str| text.parse::<Name>().unwrap();
    let orders = [
        Order { capability: other("fly"), ..order() },
        Order { model: Some(other("echo-2")), ..order() },
        Order { input_max: Units(1001), ..order() },
        Order { output_max: Units(1001), ..order() },
    ];
    for order in orders {
        let asked =
            world.payee.quote(Ask { order: order.clone(), counter: None, payer: None }).await;
        assert_eq!(code(asked), "service.malformed");
        assert_eq!(
            code(world.payee.infer(PaidCall { order, ..call() }).await),
            "service.malformed"
        );
    }
}

#[tokio::test]
async fn a_payment_that_does_not_do_takes_nothing_and_says_why() {
    let world = World::new().await;
    let offer = world.required(call()).await;
    let good = pay(&offer, &world.sign(1, PRICE));
    let changed = |change: fn(&mut PaymentPayload)| {
        let mut payment = good.clone();
        change(&mut payment);
        payment
    };
    let table: [(PaymentPayload, &str); 6] = [
        (pay(&offer, &world.sign(1, PRICE - 1)), "authorization_value_mismatch"),
        (pay(&offer, &world.sign(1, PRICE + 1)), "authorization_value_mismatch"),
        (changed(|it| it.accepted.amount = "1".to_owned()), "invalid_payment_requirements"),
        (changed(|it| it.accepted.scheme = "upto".to_owned()), "unsupported_scheme"),
        (changed(|it| it.accepted.network = "eip155:1".to_owned()), "invalid_network"),
        (
            changed(|it| {
                let signed = it.payload["signature"].as_str().unwrap().replace('0', "1");
                it.payload.insert("signature".to_owned(), signed.into());
            }),
            "payload_signature",
        ),
    ];
    for (payment, expected) in table {
        let offer = world.required(PaidCall { payment: Some(payment), ..call() }).await;
        let error = offer.error.unwrap();
        assert!(error.ends_with(expected), "{error} instead of {expected}");
    }
    world.clock.advance(Duration::from_secs(55));
    let late = world.required(PaidCall { payment: Some(good.clone()), ..call() }).await;
    assert!(late.error.unwrap().ends_with("valid_before"));
    let payment = changed(|it| it.x402_version = 1);
    let outcome = world.payee.infer(PaidCall { payment: Some(payment), ..call() }).await;
    assert_eq!(code(outcome), "service.malformed");
    assert!(world.journal.entries().is_empty());
    assert_eq!((world.runs(), world.rail.settled()), (0, 0));
}

#[tokio::test]
async fn a_payee_that_cannot_settle_neither_quotes_nor_asks_to_be_paid() {
    let world = World::new().await;
    let paid = world.paid(1).await;
    world.clock.advance(Duration::from_secs(2));
    world.rail.set_silent(true);
    assert_eq!(code(world.payee.quote(ask(None)).await), "service.unavailable");
    assert_eq!(code(world.payee.infer(call()).await), "service.unavailable");
    assert_eq!(code(world.payee.infer(paid).await), "service.unavailable");
    assert!(world.journal.entries().is_empty());
    world.rail.set_silent(false);
    world.clock.advance(Duration::from_secs(1));
    quote(&world, None).await;
}
