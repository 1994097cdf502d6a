//! Settlements that fail, that nobody knows of, and crashes in between.

use std::time::Duration;

use bytes::Bytes;

use super::world::{PAY_TO, PRICE, USDC, World, code, collect, streamed};
use crate::domain::money::Amount;
use crate::ports::memory_rail::RailFault;
use crate::ports::paid_service::{PaidCall, PaidService, ServiceError};
use crate::ports::rail::RefusedBy;

const ANSWER: Bytes = Bytes::from_static(b"you said: hello");

#[tokio::test]
async fn a_settlement_that_is_unknown_at_first_is_asked_again_and_moves_once() {
    for fault in [RailFault::MovedButUnknown, RailFault::LostButUnknown, RailFault::Unreachable] {
        let world = World::new().await;
        let call = world.paid(1).await;
        world.rail.script([fault]);
        let answer = world.passing(world.payee.infer(call)).await;
        assert_eq!(collect(answer).await.unwrap().0, ANSWER, "{fault:?}");
        assert_eq!((world.runs(), world.rail.settled()), (1, 1), "{fault:?}");
        assert_eq!(world.rail.owned(USDC, PAY_TO), Amount::new(PRICE));
    }
}

#[tokio::test]
async fn an_unknown_settlement_withholds_the_answer_until_the_rail_speaks() {
    for (fault, is_streamed) in [
        (RailFault::MovedButUnknown, false),
        (RailFault::LostButUnknown, false),
        (RailFault::LostButUnknown, true),
        (RailFault::MovedAndSilent, false),
        (RailFault::LostAndSilent, false),
    ] {
        let world = World::new().await;
        let mut call = world.paid(1).await;
        call.streamed = is_streamed;
        world.rail.script([fault; 6]);
        let outcome = world.passing(world.payee.infer(call.clone())).await;
        assert_eq!(code(outcome), "service.unknown", "{fault:?}");
        let moved = matches!(fault, RailFault::MovedButUnknown | RailFault::MovedAndSilent);
        assert_eq!(world.state(1).await, Some("unknown"), "{fault:?}");
        let round = world.payee.round().await.unwrap();
        let late = matches!(fault, RailFault::LostAndSilent);
        if late {
            // A call that never answered took longer than the authorization lives.
            assert_eq!((round.settled, round.dead), (0, 1), "{fault:?}");
            assert_eq!(code(world.payee.infer(call).await), "service.payment_required");
            assert_eq!(world.rail.settled(), 0);
            continue;
        }
        assert_eq!((round.settled, round.open), (1, 0), "{fault:?} moved: {moved}");
        assert_eq!(world.state(1).await, Some("due"));
        let (body, closing) = collect(world.payee.infer(call).await).await.unwrap();
        assert_eq!(body, ANSWER);
        assert!(closing.response.success && closing.receipt.unwrap().receipt.transaction.is_some());
        assert_eq!((world.runs(), world.rail.settled()), (1, 1), "{fault:?}");
    }
}

#[tokio::test]
async fn asking_again_settles_what_was_unknown() {
    let world = World::new().await;
    let call = world.paid(1).await;
    world.rail.script([RailFault::LostButUnknown; 6]);
    assert_eq!(code(world.passing(world.payee.infer(call.clone())).await), "service.unknown");
    let (body, _) = collect(world.payee.infer(call).await).await.unwrap();
    assert_eq!((body, world.runs(), world.rail.settled()), (ANSWER, 1, 1));
}

#[tokio::test]
async fn a_crash_after_the_money_moved_neither_loses_nor_doubles_it() {
    for is_streamed in [false, true] {
        let mut world = World::new().await;
        let mut call = world.paid(1).await;
        call.streamed = is_streamed;
        world.rail.script([RailFault::MovedAndSilent]);
        let payee = world.payee.clone();
        let asked = call.clone();
        let caller = tokio::spawn(async move { collect(payee.infer(asked).await).await });
        while world.rail.settled() == 0 {
            tokio::task::yield_now().await;
        }
        caller.abort();
        let _ = caller.await;
        world.restart().await;
        assert_eq!(world.state(1).await, Some("accepted"), "what was durable is there again");
        let round = world.payee.round().await.unwrap();
        assert_eq!((round.settled, round.due), (1, 0));
        assert_eq!(world.payee.round().await.unwrap().due, 1, "paid and owed");
        let (body, _) = collect(world.payee.infer(call.clone()).await).await.unwrap();
        assert_eq!(body, ANSWER);
        let (again, _) = collect(world.payee.infer(call).await).await.unwrap();
        assert_eq!((again, world.rail.settled()), (ANSWER, 1));
        assert_eq!(world.rail.owned(USDC, PAY_TO), Amount::new(PRICE));
        assert_eq!(world.state(1).await, Some("served"));
    }
}

#[tokio::test]
async fn a_crash_before_the_money_moved_is_taken_up_by_the_same_request() {
    let mut world = World::new().await;
    let call = world.paid(1).await;
    world.fail([super::world::EngineFault::Stalls]);
    let payee = world.payee.clone();
    let asked = call.clone();
    let caller = tokio::spawn(async move { collect(payee.infer(asked).await).await });
    while world.state(1).await.is_none() {}
    caller.abort();
    let _ = caller.await;
    world.restart().await;
    let (body, _) = collect(world.payee.infer(call).await).await.unwrap();
    assert_eq!((body, world.rail.settled()), (ANSWER, 1));
}

#[tokio::test]
async fn a_rail_that_takes_nothing_releases_the_claim_and_nothing_is_served() {
    let world = World::new().await;
    let call = world.paid(1).await;
    world.rail.script([RailFault::Unreachable; 6]);
    let outcome = world.passing(world.payee.infer(call.clone())).await;
    assert_eq!((code(outcome), world.state(1).await), ("service.unavailable", Some("released")));
    collect(world.payee.infer(call).await).await.unwrap();
    assert_eq!(world.rail.settled(), 1);
}

#[tokio::test]
async fn money_that_is_gone_by_settlement_fails_it_and_the_answer_is_withheld() {
    let world = World::new().await;
    // Streams settle first and verify by it; nothing is left of the payer's money by then.
    let call = streamed(world.paid(1).await);
    let all = world.sign(99, 1_000_000);
    assert!(world.rail.broadcast(&all));
    match world.payee.infer(call.clone()).await.err() {
        Some(ServiceError::SettlementFailed { offer, response }) => {
            assert_eq!(response.error_reason.as_deref(), Some("insufficient_funds"));
            assert_eq!(offer.error.as_deref(), Some("insufficient_funds"));
            assert!(!response.success);
        }
        other => panic!("expected a failed settlement, not {other:?}"),
    }
    assert_eq!((world.state(1).await, world.runs()), (Some("released"), 0));
    // A whole answer is verified first: nothing is bound for it.
    let whole = world.paid(2).await;
    assert_eq!(code(world.payee.infer(whole).await), "service.payment_required");
    assert_eq!(world.state(2).await, None);
    // Once there is money again, the released payment may come again.
    world.rail.fund(USDC, world.payer.address(), Amount::new(PRICE));
    collect(world.payee.infer(call).await).await.unwrap();
    assert_eq!(world.state(1).await, Some("served"));
}

#[tokio::test]
async fn d02_a_cancelled_authorization_is_dead_and_stays_so() {
    let world = World::new().await;
    let call = streamed(world.paid(1).await);
    world.rail.cancel(world.sign(1, PRICE).commitment.key());
    assert_eq!(code(world.payee.infer(call.clone()).await), "service.settlement_failed");
    assert_eq!(world.state(1).await, Some("dead"));
    assert_eq!(code(world.payee.infer(call).await), "service.payment_required");
    assert_eq!((world.runs(), world.rail.settled()), (0, 0));
}

#[tokio::test]
async fn d03_an_authorization_that_somebody_else_sent_first_is_paid_all_the_same() {
    for is_streamed in [false, true] {
        let world = World::new().await;
        let mut call = world.paid(1).await;
        call.streamed = is_streamed;
        assert!(world.rail.broadcast(&world.sign(1, PRICE)));
        let (body, _) = collect(world.payee.infer(call).await).await.unwrap();
        assert_eq!((body, world.rail.settled(), world.state(1).await), (ANSWER, 1, Some("served")));
    }
}

#[tokio::test]
async fn k14_what_cannot_settle_any_more_dies_by_a_final_block_and_not_by_time() {
    let world = World::new().await;
    let call = world.paid(1).await;
    world.rail.script([RailFault::LostButUnknown; 6]);
    assert_eq!(code(world.passing(world.payee.infer(call)).await), "service.unknown");
    world.clock.advance(Duration::from_secs(120));
    world.rail.set_silent(true);
    let round = world.payee.round().await.unwrap();
    assert_eq!((round.dead, round.open, round.silent.is_some()), (0, 1, true));
    assert_eq!(world.state(1).await, Some("unknown"), "time alone concludes nothing");
    world.rail.set_silent(false);
    let round = world.payee.round().await.unwrap();
    assert_eq!((round.dead, round.open), (1, 0));
    assert_eq!(world.state(1).await, Some("dead"));
}

#[tokio::test]
async fn a_round_leaves_alone_what_is_being_served() {
    let world = World::new().await;
    let call = world.paid(1).await;
    world.fail([super::world::EngineFault::Stalls]);
    let payee = world.payee.clone();
    let running = tokio::spawn(async move { collect(payee.infer(call).await).await });
    while world.state(1).await.is_none() {}
    let round = world.payee.round().await.unwrap();
    assert_eq!((round.settled, round.open), (0, 1));
    assert_eq!(world.state(1).await, Some("accepted"));
    running.abort();
}

/// A served claim is forgotten an hour after its time limit. Its payer signed the same nonce anew, with a
/// fresh time limit and for another request; the rail said that the nonce had moved just that amount to
/// us, which was true of the first request, and the second one was served for nothing.
#[tokio::test]
async fn a_payment_that_was_served_long_ago_pays_no_second_request() {
    for is_streamed in [false, true] {
        for fault in [None, Some(RailFault::LostButUnknown)] {
            let world = World::new().await;
            collect(world.payee.infer(world.paid(1).await).await).await.unwrap();
            world.clock.advance(Duration::from_secs(60 + 3600));
            collect(world.payee.infer(world.paid(2).await).await).await.unwrap();
            assert_eq!(world.state(1).await, None, "forgotten by now");
            let again = world.paid(1).await;
            let body = Bytes::from_static(b"another");
            let again = PaidCall { body, streamed: is_streamed, ..again };
            world.rail.script(fault.into_iter().cycle().take(6));
            let outcome = world.passing(world.payee.infer(again.clone())).await;
            let expected = match fault {
                None => "service.settlement_failed",
                Some(_) => "service.unknown",
            };
            assert_eq!(code(outcome), expected, "{is_streamed}");
            let round = world.payee.round().await.unwrap();
            assert_eq!((round.settled, round.open, round.due), (0, 0, 0));
            assert_eq!(world.state(1).await, Some("dead"), "{is_streamed} {fault:?}");
            assert_eq!(code(world.payee.infer(again).await), "service.payment_required");
            assert_eq!(world.rail.settled(), 2);
        }
    }
}

/// What was sent before may have moved the money: a refusal of what is asked again says nothing of it.
#[tokio::test]
async fn a_refusal_after_a_doubt_is_not_the_last_word() {
    let world = World::new().await;
    let call = world.paid(1).await;
    let refused = RailFault::Refused(RefusedBy::InsufficientFunds);
    world.rail.script([RailFault::LostButUnknown, refused]);
    let outcome = world.passing(world.payee.infer(call.clone())).await;
    assert_eq!((code(outcome), world.state(1).await), ("service.unknown", Some("unknown")));
    let (body, _) = collect(world.payee.infer(call).await).await.unwrap();
    assert_eq!((body, world.runs(), world.rail.settled()), (ANSWER, 1, 1));
}
