//! Many calls of one payer at once, each of them covered by itself.

use std::time::Duration;

use alloy::primitives::Address;
use futures_util::future::join_all;

use super::super::{PaidService, ServiceError};
use super::world::{PAY_TO, PRICE, USDC, World, collect, streamed};
use crate::domain::money::Amount;
use crate::ports::clock::Clock;
use crate::ports::memory_rail::RailFault;
use crate::ports::paid_service::PaidCall;

/// A world whose payer owns so many prices.
async fn owning(prices: u128) -> World {
    let world = World::new().await;
    let payer = world.payer.address();
    let all = world.rail.owned(USDC, payer).get();
    world.rail.spend(USDC, payer, Address::repeat_byte(0xdd), Amount::new(all - prices * PRICE));
    world
}

async fn outcome(world: &World, call: PaidCall) -> Result<(), String> {
    match collect(world.payee.infer(call).await).await {
        Ok(_) => Ok(()),
        Err(ServiceError::PaymentRequired(offer)) => Err(offer.error.unwrap_or_default()),
        Err(error) => Err(error.to_string()),
    }
}

/// Each had been verified alone, and the engine had worked for all of them.
#[tokio::test]
async fn d13_of_many_calls_at_once_as_many_are_worked_for_as_their_payer_owns_enough_for() {
    for prices in [1, 2, 5] {
        let world = owning(prices).await;
        let calls = join_all((1..=8).map(|nonce| world.paid(nonce))).await;
        let asked = join_all(calls.into_iter().map(|call| outcome(&world, call)));
        let outcomes = world.passing(asked).await;
        let served = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
        let counts = (u128::try_from(served).unwrap(), u128::from(world.runs()));
        assert_eq!(counts, (prices, prices), "{outcomes:?}");
        let poor = Err("insufficient_funds".to_owned());
        let refused = outcomes.iter().filter(|outcome| **outcome == poor).count();
        assert_eq!(served + refused, 8, "{outcomes:?}");
        assert_eq!(world.rail.owned(USDC, PAY_TO), Amount::new(prices * PRICE));
    }
}

#[tokio::test]
async fn d13_a_call_that_is_paid_first_takes_no_money_from_one_that_is_worked_for() {
    let world = owning(1).await;
    let (whole, first) = (world.paid(1).await, streamed(world.paid(2).await));
    let asked = join_all([whole, first].map(|call| outcome(&world, call)));
    let outcomes = world.passing(asked).await;
    assert_eq!(outcomes, [Ok(()), Err("insufficient_funds".to_owned())]);
    assert_eq!(world.runs(), 1);
}

/// The chain shows what was paid before anybody here has heard of it: it does not count twice.
#[tokio::test]
async fn a_call_behind_one_that_is_being_paid_waits_for_its_end() {
    let world = owning(2).await;
    let (first, second) = (world.paid(1).await, world.paid(2).await);
    world.rail.script([RailFault::MovedButUnknown]);
    let payee = world.payee.clone();
    let paying = tokio::spawn(async move { collect(payee.infer(first).await).await });
    while world.rail.settled() == 0 {
        tokio::task::yield_now().await;
    }
    let behind = world.passing(outcome(&world, second)).await;
    assert_eq!(behind, Ok(()));
    world.passing(paying).await.unwrap().unwrap();
    assert_eq!((world.runs(), world.rail.settled()), (2, 2));
}

/// One whose end never comes is not waited for without end.
#[tokio::test]
async fn a_call_behind_one_that_is_never_paid_is_refused_in_time() {
    let world = owning(2).await;
    let (first, second) = (world.paid(1).await, world.paid(2).await);
    world.rail.script([RailFault::MovedAndSilent]);
    let payee = world.payee.clone();
    let paying = tokio::spawn(async move { collect(payee.infer(first).await).await });
    while world.rail.settled() == 0 {
        tokio::task::yield_now().await;
    }
    let began = world.clock.now();
    let behind = world.passing(outcome(&world, second)).await;
    assert_eq!(behind, Err("insufficient_funds".to_owned()));
    assert!(world.clock.now().since(began) < Duration::from_secs(30));
    assert_eq!(world.runs(), 1);
    paying.abort();
}
