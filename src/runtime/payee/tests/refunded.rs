//! What was paid and never served is paid back, once.

use super::world::{
    EngineFault, PAY_TO, PRICE, REFUND_AFTER, USDC, World, code, collect, streamed,
};
use crate::domain::money::Amount;
use crate::ports::memory_rail::RailFault;
use crate::ports::paid_service::{PaidCall, PaidService};

/// A world in which a streamed call was paid, and its engine broke off.
async fn owing() -> (World, PaidCall) {
    let world = World::new().await;
    let call = streamed(world.paid(1).await);
    world.fail([EngineFault::Midway]);
    assert_eq!(code(collect(world.payee.infer(call.clone()).await).await), "service.due");
    assert_eq!(world.state(1).await, Some("due"));
    (world, call)
}

fn payer_has(world: &World) -> Amount {
    world.rail.owned(USDC, world.payer.address())
}

const OPENING: Amount = Amount::new(1_000_000);

#[tokio::test]
async fn what_is_due_for_long_is_paid_back_and_not_served_any_more() {
    let (world, call) = owing().await;
    assert_eq!((world.payee.round().await.unwrap().refunded, world.runs()), (0, 1), "not yet");
    world.clock.advance(REFUND_AFTER);
    let round = world.payee.round().await.unwrap();
    assert_eq!((round.refunded, round.due), (1, 0));
    assert_eq!(world.state(1).await, Some("refunded"));
    assert_eq!((payer_has(&world), world.rail.owned(USDC, PAY_TO)), (OPENING, Amount::ZERO));
    assert_eq!(code(world.payee.infer(call).await), "service.payment_required");
    assert_eq!(world.runs(), 1);
    assert_eq!(world.payee.round().await.unwrap().refunded, 0, "once");
    assert_eq!(payer_has(&world), OPENING);
}

#[tokio::test]
async fn what_is_due_is_served_until_then() {
    let (world, call) = owing().await;
    world.clock.advance(REFUND_AFTER / 2);
    assert_eq!(world.payee.round().await.unwrap().due, 1);
    collect(world.payee.infer(call).await).await.unwrap();
    world.clock.advance(REFUND_AFTER);
    assert_eq!(world.payee.round().await.unwrap().refunded, 0);
    assert_eq!(world.rail.owned(USDC, PAY_TO), Amount::new(PRICE));
}

/// The refund was sent, and the process died before it knew: asked again, it moves nothing more.
#[tokio::test]
async fn a_refund_that_nobody_knows_of_is_asked_for_again_and_moves_once() {
    for fault in [RailFault::MovedButUnknown, RailFault::LostButUnknown, RailFault::Unreachable] {
        let (mut world, call) = owing().await;
        world.clock.advance(REFUND_AFTER);
        world.rail.script([fault]);
        assert_eq!(world.payee.round().await.unwrap().refunded, 0, "{fault:?}");
        assert_eq!(world.state(1).await, Some("refunding"), "{fault:?}");
        assert_eq!(code(world.payee.infer(call).await), "service.payment_required", "{fault:?}");
        world.restart().await;
        world.clock.advance(REFUND_AFTER);
        assert_eq!(world.payee.round().await.unwrap().refunded, 1, "{fault:?}");
        assert_eq!((payer_has(&world), world.runs()), (OPENING, 1), "{fault:?}");
    }
}
