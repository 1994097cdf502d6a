//! Bytes, time and storage: stated, priced, counted, and never passed.

use super::world::{USDC, World, call, code, collect, order, pay, streamed};
use crate::domain::money::Amount;
use crate::domain::order::{Maxima, Order};
use crate::domain::quote::PriceTerms;
use crate::ports::clock::Clock;
use crate::ports::paid_service::{Ask, PaidCall, PaidService};

/// A thousand units a kilobyte sent, a thousand a second, ten a kilobyte kept.
async fn metered() -> World {
    World::with(|offering| {
        let terms = PriceTerms {
            per_gb: Amount::new(1_000_000_000),
            per_s: Amount::new(1_000),
            per_gb_stored: Amount::new(10_000_000),
            ..PriceTerms::default()
        };
        offering.wares[0].terms.list = terms;
        offering.wares[0].terms.floor = terms;
    })
    .await
}

fn ordered(bytes: u64, compute_ms: u64, stored: u64) -> PaidCall {
    PaidCall { order: Order { maxima: Maxima { bytes, compute_ms, stored }, ..order() }, ..call() }
}

#[tokio::test]
async fn what_is_priced_has_to_be_stated() {
    let world = metered().await;
    for (bytes, compute_ms, stored, expected) in [
        (100, 10, 100, "quoted"),
        (0, 10, 100, "service.malformed"),
        (100, 0, 100, "service.malformed"),
        (100, 10, 0, "service.malformed"),
        (100, 120_000, 100, "quoted"),
        (100, 120_001, 100, "service.malformed"),
        (65 * 1024 * 1024, 10, 100, "service.malformed"),
    ] {
        let order = ordered(bytes, compute_ms, stored).order;
        let asked = world.payee.quote(Ask { order, counter: None, payer: None }).await;
        let found = if asked.is_ok() { "quoted" } else { code(asked) };
        assert_eq!(found, expected, "{bytes} {compute_ms} {stored}");
    }
}

#[tokio::test]
async fn a_call_costs_its_stated_maxima_and_is_metered_by_the_payee() {
    let world = metered().await;
    let call = ordered(100, 10, 100);
    let offer = world.required(call.clone()).await;
    // 100 bytes, 10 ms, and 100 bytes kept: 100 + 10 + 1.
    assert_eq!(offer.accepts[0].amount, "111");
    let paid = PaidCall { payment: Some(pay(&offer, &world.sign(1, 111))), ..call };
    let (_, closing) = collect(world.payee.infer(paid).await).await.unwrap();
    assert_eq!(closing.usage.bytes, 15);
    assert_eq!(world.rail.owned(USDC, super::world::PAY_TO), Amount::new(111));
}

#[tokio::test]
async fn nobody_gets_more_bytes_than_were_ordered_nor_has_more_kept() {
    let world = metered().await;
    // The answer has 15 bytes, the body 5.
    for (nonce, bytes, stored, expected) in [
        (1, 14, 5, "engine.answer_above_order"),
        (2, 15, 4, "engine.body_above_order"),
        (3, 15, 5, "served"),
    ] {
        let call = ordered(bytes, 1_000, stored);
        let offer = world.required(call.clone()).await;
        let amount: Amount = offer.accepts[0].amount.parse().unwrap();
        let signed = world.sign(nonce, amount.get());
        let paid = PaidCall { payment: Some(pay(&offer, &signed)), ..call };
        let outcome = collect(world.payee.infer(paid).await).await;
        assert_eq!(code(outcome), expected, "{bytes} {stored}");
    }
}

#[tokio::test]
async fn an_engine_is_stopped_when_the_ordered_time_is_over() {
    let world = metered().await;
    world.fail([super::world::EngineFault::Stalls, super::world::EngineFault::Stalls]);
    for (nonce, is_streamed, expected) in [(1, false, "engine.failed"), (2, true, "service.due")] {
        let call = PaidCall { streamed: is_streamed, ..ordered(100, 2_000, 100) };
        let offer = world.required(call.clone()).await;
        let amount: Amount = offer.accepts[0].amount.parse().unwrap();
        let paid =
            PaidCall { payment: Some(pay(&offer, &world.sign(nonce, amount.get()))), ..call };
        let paid = if is_streamed { streamed(paid) } else { paid };
        let began = world.clock.now();
        let serving = async { collect(world.payee.infer(paid).await).await };
        let outcome = world.passing(serving).await;
        assert_eq!(code(outcome), expected);
        assert!(world.clock.now().since(began).as_millis() < 10_000);
    }
}
