//! Binding, serving, and serving again.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::future::join_all;

use super::world::{
    EngineFault, PAY_TO, PRICE, RESOURCE, USDC, World, call, code, collect, pay, payment, streamed,
};
use crate::domain::money::Amount;
use crate::domain::order::Units;
use crate::domain::policy::Rates;
use crate::domain::x402::receipt::{Expected, check_receipt};
use crate::ports::paid_service::{Ask, PaidCall, PaidService, Piece};

#[tokio::test]
async fn a_paid_call_is_bound_settled_served_and_receipted() {
    let world = World::new().await;
    let call = world.paid(1).await;
    let (body, closing) = collect(world.payee.infer(call).await).await.unwrap();
    assert_eq!(body, Bytes::from_static(b"you said: hello"));
    assert_eq!((closing.usage.input, closing.usage.output), (Units(2), Units(3)));
    assert_eq!(closing.usage.bytes, 15, "bytes are counted by the payee's own meter");
    assert!(closing.response.success);
    let commitment = world.sign(1, PRICE).commitment;
    let expected = Expected {
        payment: payment(&world.sign(1, PRICE)),
        commitment: &commitment,
        provider: &world.offering.provider,
        resource: RESOURCE,
        service_key: world.service_key(),
    };
    let receipt = closing.receipt.unwrap();
    assert_eq!(check_receipt(&receipt, &expected), Ok(()));
    assert_eq!(receipt.receipt.transaction.unwrap().to_string(), closing.response.transaction);
    assert_eq!(world.rail.owned(USDC, PAY_TO), Amount::new(PRICE));
    let names: Vec<_> = world.journal.entries().iter().map(|entry| entry.event.kind()).collect();
    assert_eq!(names, ["accepted", "claim_settled", "served", "usage_metered"]);
}

#[tokio::test]
async fn an_authorization_pays_the_first_request_and_no_other() {
    let world = World::new().await;
    let first = world.paid(1).await;
    collect(world.payee.infer(first.clone()).await).await.unwrap();
    let others = [
        PaidCall { body: Bytes::from_static(b"other"), ..first.clone() },
        PaidCall { content_type: "text/html".to_owned(), ..first.clone() },
        PaidCall {
            order: crate::domain::order::Order { output_max: Units(19), ..first.order.clone() },
            ..first.clone()
        },
    ];
    for other in others {
        assert_eq!(code(world.payee.infer(other).await), "service.bound");
    }
    assert_eq!((world.runs(), world.rail.settled()), (1, 1));
}

#[tokio::test]
async fn a04_the_same_payment_again_gets_the_same_answer_even_after_its_time_and_a_restart() {
    let mut world = World::new().await;
    let call = world.paid(1).await;
    let first = collect(world.payee.infer(call.clone()).await).await.unwrap();
    assert_eq!(collect(world.payee.infer(call.clone()).await).await.unwrap(), first);
    world.clock.advance(std::time::Duration::from_secs(600));
    world.restart().await;
    let again = collect(world.payee.infer(streamed(call)).await).await.unwrap();
    assert_eq!(again, first);
    assert_eq!((world.runs(), world.rail.settled()), (1, 1));
}

#[tokio::test]
async fn a05_many_presentations_at_once_give_one_grant_and_one_settlement() {
    for is_streamed in [false, true] {
        let world = World::new().await;
        let call = world.paid(1).await;
        let call = PaidCall { streamed: is_streamed, ..call };
        let calls = (0..32).map(|_| async {
            let payee = world.payee.clone();
            let call = call.clone();
            tokio::spawn(async move { collect(payee.infer(call).await).await }).await.unwrap()
        });
        let answers = join_all(calls).await;
        for answer in &answers {
            let (body, closing) = answer.as_ref().unwrap();
            assert_eq!(body, &Bytes::from_static(b"you said: hello"));
            assert!(closing.response.success);
        }
        assert_eq!((world.runs(), world.rail.settled()), (1, 1), "streamed: {is_streamed}");
    }
}

#[tokio::test]
async fn a06_of_two_requests_with_one_authorization_at_once_one_is_served() {
    let world = World::new().await;
    let call = world.paid(1).await;
    let other = PaidCall { body: Bytes::from_static(b"other"), ..call.clone() };
    let (one, two) = tokio::join!(world.payee.infer(call), world.payee.infer(other));
    assert_eq!((code(one), code(two)), ("served", "service.bound"));
    assert_eq!((world.runs(), world.rail.settled()), (1, 1));
}

#[tokio::test]
async fn an_engine_that_fails_before_settlement_takes_nothing_and_the_payment_may_come_again() {
    let world = World::new().await;
    let call = world.paid(1).await;
    world.fail([EngineFault::AtOnce, EngineFault::Midway]);
    for _ in 0..2 {
        assert_eq!(code(world.payee.infer(call.clone()).await), "engine.failed");
        assert_eq!(world.state(1).await, Some("released"));
    }
    assert_eq!(world.rail.settled(), 0);
    let other = PaidCall { body: Bytes::from_static(b"other"), ..call.clone() };
    assert_eq!(code(world.payee.infer(other).await), "service.bound", "bound all the same");
    collect(world.payee.infer(call).await).await.unwrap();
    assert_eq!((world.state(1).await, world.rail.settled()), (Some("served"), 1));
}

#[tokio::test]
async fn b10_an_engine_that_never_ends_is_stopped_before_the_authorization_ends() {
    let world = World::new().await;
    let call = world.paid(1).await;
    world.fail([EngineFault::Stalls]);
    let outcome = world.passing(world.payee.infer(call)).await;
    assert_eq!((code(outcome), world.state(1).await), ("engine.failed", Some("released")));
    assert_eq!(world.rail.settled(), 0);
}

#[tokio::test]
async fn d10_an_engine_that_fails_after_settlement_leaves_it_due_and_the_same_request_is_served() {
    let world = World::new().await;
    let call = streamed(world.paid(1).await);
    world.fail([EngineFault::AtOnce, EngineFault::Midway]);
    assert_eq!(code(world.payee.infer(call.clone()).await), "service.due");
    assert_eq!(world.state(1).await, Some("due"));
    let answer = world.payee.infer(call.clone()).await.unwrap();
    assert!(answer.settled.as_ref().unwrap().success, "a stream says at its head what was paid");
    assert_eq!(code(collect(Ok(answer)).await), "service.due");
    let (body, closing) = collect(world.payee.infer(call).await).await.unwrap();
    assert_eq!(body, Bytes::from_static(b"you said: hello"));
    assert!(closing.receipt.is_some());
    assert_eq!((world.state(1).await, world.rail.settled()), (Some("served"), 1));
    assert_eq!(world.payee.round().await.unwrap().due, 0);
}

#[tokio::test]
async fn d11_a_caller_that_goes_away_is_served_all_the_same() {
    let world = World::new().await;
    let call = streamed(world.paid(1).await);
    let mut answer = world.payee.infer(call.clone()).await.unwrap();
    let first = answer.pieces.next().await.unwrap().unwrap();
    assert_eq!(first, Piece::Chunk(Bytes::from_static(b"you said: ")));
    drop(answer);
    world.payee.drain().await;
    assert_eq!(world.state(1).await, Some("served"));
    let (body, _) = collect(world.payee.infer(call).await).await.unwrap();
    assert_eq!(body, Bytes::from_static(b"you said: hello"), "what was served is kept");
    assert_eq!((world.runs(), world.rail.settled()), (1, 1));
}

#[tokio::test]
async fn what_is_no_longer_kept_is_not_served_as_an_empty_answer_nor_made_again() {
    let world = World::new().await;
    let call = streamed(world.paid(1).await);
    world.fail([EngineFault::TooLongToKeep]);
    let (body, _) = collect(world.payee.infer(call.clone()).await).await.unwrap();
    assert_eq!(body.len(), 70_010);
    let again = world.payee.infer(call).await.unwrap();
    assert!(again.settled.as_ref().unwrap().success);
    assert_eq!(code(collect(Ok(again)).await), "service.unavailable");
    assert_eq!((world.runs(), world.rail.settled()), (1, 1));
}

#[tokio::test]
async fn at_its_bound_a_payee_turns_away_who_asks_and_lets_wait_who_has_signed() {
    let world = World::with(|offering| offering.concurrency_max = 1).await;
    let (first, second) = (world.paid(1).await, world.paid(2).await);
    world.fail([EngineFault::Stalls]);
    let running = tokio::spawn({
        let payee = world.payee.clone();
        async move { collect(payee.infer(first).await).await }
    });
    while world.runs() == 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(code(world.payee.infer(call()).await), "service.rate_limited");
    let ask = Ask { order: call().order, counter: None, payer: None };
    assert_eq!(code(world.payee.quote(ask).await), "service.rate_limited");
    // The caller goes away, and the work goes on until the authorization's time is nearly over: too
    // long for whoever waits for a turn. Nothing was bound for it.
    running.abort();
    let outcome = world.passing(world.payee.infer(second.clone())).await;
    assert_eq!((code(outcome), world.state(2).await), ("service.rate_limited", None));
    assert_eq!(world.state(1).await, Some("accepted"));
    world.passing(world.payee.drain()).await;
    assert_eq!(world.state(1).await, Some("released"));
}

#[tokio::test]
async fn many_paid_calls_take_turns_in_one_slot() {
    let world = World::with(|offering| offering.concurrency_max = 1).await;
    let mut calls = Vec::new();
    for nonce in 1..=16 {
        calls.push(world.paid(nonce).await);
    }
    let served = join_all(
        calls.into_iter().map(|call| async { collect(world.payee.infer(call).await).await }),
    );
    assert!(served.await.iter().all(Result::is_ok));
    assert_eq!((world.runs(), world.rail.settled()), (16, 16));
    // Whoever comes after the last word finds the slot free.
    world.required(call()).await;
}

#[tokio::test]
async fn t10_payers_and_peers_are_limited_by_the_minute_before_anything_is_bound() {
    let rates = Rates { calls_per_minute: Some(1), concurrency: None, nano_per_minute: None };
    let world = World::with(|offering| offering.payer_rates = rates).await;
    collect(world.payee.infer(world.paid(1).await).await).await.unwrap();
    let second = world.paid(2).await;
    assert_eq!(code(world.payee.infer(second.clone()).await), "service.rate_limited");
    assert_eq!(world.state(2).await, None);
    world.clock.advance(std::time::Duration::from_secs(61));
    collect(world.payee.infer(world.paid(3).await).await).await.unwrap();

    let world = World::with(|offering| offering.peer_rates = rates).await;
    let peer = Some([127, 0, 0, 1].into());
    let knock = || PaidCall { peer, ..call() };
    assert_eq!(code(world.payee.infer(knock()).await), "service.payment_required");
    assert_eq!(code(world.payee.infer(knock()).await), "service.rate_limited");
}

#[tokio::test]
async fn a_draining_payee_takes_nothing_and_ends_what_is_under_way() {
    let world = World::new().await;
    let call = world.paid(1).await;
    world.payee.drain().await;
    assert_eq!(code(world.payee.infer(call.clone()).await), "service.unavailable");
    assert_eq!(
        code(world.payee.infer(PaidCall { payment: None, ..call }).await),
        "service.unavailable"
    );
    assert_eq!(world.state(1).await, None);
}

#[tokio::test]
async fn a_body_above_its_order_is_refused_before_anything_is_bound() {
    let world = World::new().await;
    let call = PaidCall { body: Bytes::from_static(b"eleven char"), ..call() };
    let offer = world.required(call.clone()).await;
    let call = PaidCall { payment: Some(pay(&offer, &world.sign(1, PRICE))), ..call };
    assert_eq!(code(world.payee.infer(call).await), "engine.input_above_order");
    assert!(world.journal.entries().is_empty());
    assert_eq!(Arc::strong_count(&world.engine), 2, "and nothing holds on to it");
}

/// Who has one address of IPv6 has its whole network, and had a limit for each.
#[tokio::test]
async fn t10_all_addresses_of_one_network_share_its_limit() {
    let rates = Rates { calls_per_minute: Some(1), concurrency: None, nano_per_minute: None };
    let world = World::with(|offering| offering.peer_rates = rates).await;
    let knock = |peer: &str| PaidCall { peer: Some(peer.parse().unwrap()), ..call() };
    for (peer, expected) in [
        ("2001:db8:1:2::1", "service.payment_required"),
        ("2001:db8:1:2:ffff::2", "service.rate_limited"),
        ("2001:db8:1:3::1", "service.payment_required"),
        ("192.0.2.7", "service.payment_required"),
        ("::ffff:192.0.2.7", "service.rate_limited"),
    ] {
        assert_eq!(code(world.payee.infer(knock(peer)).await), expected, "{peer}");
    }
}
