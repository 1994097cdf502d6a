//! Serve-first: what leaves before it is paid, what becomes of it, and who gets no more.

use alloy::primitives::Address;
use bytes::Bytes;
use futures_util::future::join_all;

use super::super::ServeFirst;
use super::world::{PAY_TO, PRICE, USDC, World, code, collect};
use crate::domain::ledger::books::{BookAccount, Commodity};
use crate::domain::money::Amount;
use crate::ports::memory_rail::RailFault;
use crate::ports::paid_service::{PaidCall, PaidService};
use crate::ports::rail::RefusedBy;

async fn lending(per_payer: u128, total: u128) -> World {
    let [per_payer, total] = [per_payer, total].map(Amount::new);
    World::with(|offering| offering.serve_first = Some(ServeFirst { per_payer, total })).await
}

async fn left(world: &World, account: BookAccount) -> i128 {
    let look = move |ledger: &crate::domain::ledger::Ledger| {
        ledger.books().find(Commodity::Asset(USDC), account)
    };
    let sums = world.treasury.read(look).await.unwrap();
    i128::try_from(sums.debits).unwrap() - i128::try_from(sums.credits).unwrap()
}

/// Waits until what is under way has ended.
async fn landed(world: &World, nonce: u8, state: &str) {
    for _ in 0..10_000 {
        if world.state(nonce).await == Some(state) {
            return;
        }
        tokio::task::yield_now().await;
    }
    panic!("{:?} is not {state}", world.state(nonce).await);
}

#[tokio::test]
async fn an_answer_leaves_before_its_money_and_says_so() {
    let world = lending(PRICE, PRICE).await;
    let paid = world.paid(1).await;
    let (body, closing) = collect(world.payee.infer(paid.clone()).await).await.unwrap();
    assert_eq!(body, Bytes::from_static(b"you said: hello"));
    assert!(!closing.response.success, "nothing is settled yet");
    assert_eq!(closing.response.error_reason.as_deref(), Some("settlement_pending"));
    assert_eq!(closing.receipt.unwrap().receipt.transaction, None);
    landed(&world, 1, "served").await;
    assert_eq!(world.rail.owned(USDC, PAY_TO), Amount::new(PRICE));
    let kinds: Vec<_> = world.journal.entries().iter().map(|entry| entry.event.kind()).collect();
    assert_eq!(kinds, ["accepted", "served_on_credit", "usage_metered", "credit_paid"]);
    // The same payment again gets the kept answer, paid by now.
    let (again, closing) = collect(world.payee.infer(paid).await).await.unwrap();
    assert_eq!(again, body);
    assert_eq!((world.runs(), world.rail.settled()), (1, 1));
    assert!(closing.response.success || closing.receipt.is_some());
}

#[tokio::test]
async fn without_credit_a_call_is_settled_first() {
    for (per_payer, total) in [(PRICE - 1, PRICE), (PRICE, PRICE - 1)] {
        let world = lending(per_payer, total).await;
        let (_, closing) = collect(world.payee.infer(world.paid(1).await).await).await.unwrap();
        assert!(closing.response.success, "{per_payer} {total}");
    }
    let world = World::new().await;
    let (_, closing) = collect(world.payee.infer(world.paid(1).await).await).await.unwrap();
    assert!(closing.response.success, "off by default");
}

#[tokio::test]
async fn d01_a_settlement_that_fails_is_a_loss_and_its_payer_has_no_credit_until_it_pays() {
    let world = lending(10 * PRICE, 10 * PRICE).await;
    let (first, second) = (world.paid(1).await, world.paid(2).await);
    world.rail.script([RailFault::Refused(RefusedBy::InsufficientFunds)]);
    collect(world.payee.infer(first.clone()).await).await.unwrap();
    landed(&world, 1, "lost").await;
    let price = i128::try_from(PRICE).unwrap();
    assert_eq!(left(&world, BookAccount::Loss).await, price);
    assert_eq!(
        (left(&world, BookAccount::Earned).await, left(&world, BookAccount::Owed).await),
        (0, -price)
    );
    // No more is served before it is paid.
    let (_, closing) = collect(world.payee.infer(second).await).await.unwrap();
    assert!(closing.response.success);
    // Paid after all, by the same payment: the answer is given again, and the loss is none.
    let (_, closing) = collect(world.payee.infer(first).await).await.unwrap();
    assert!(closing.response.success || closing.receipt.is_some());
    assert_eq!(world.state(1).await, Some("served"));
    assert_eq!(
        (left(&world, BookAccount::Loss).await, left(&world, BookAccount::Owed).await),
        (0, 0)
    );
    let (_, closing) = collect(world.payee.infer(world.paid(3).await).await).await.unwrap();
    assert!(!closing.response.success, "there is credit again");
    assert_eq!(world.runs(), 3);
}

#[tokio::test]
async fn d01_what_is_lost_is_collected_by_a_round_once_there_is_money() {
    let world = lending(10 * PRICE, 10 * PRICE).await;
    world.rail.script([RailFault::Refused(RefusedBy::InsufficientFunds)]);
    collect(world.payee.infer(world.paid(1).await).await).await.unwrap();
    landed(&world, 1, "lost").await;
    world.payee.round().await.unwrap();
    assert_eq!(world.state(1).await, Some("served"));
    assert_eq!(left(&world, BookAccount::Loss).await, 0);
}

#[tokio::test]
async fn d01_a_drained_wallet_costs_no_more_than_was_lent() {
    let mut world = lending(3 * PRICE, 3 * PRICE).await;
    let mut lent = Vec::new();
    for nonce in 1..=6 {
        lent.push(world.paid(nonce).await);
    }
    // Every settlement fails from now on: the wallet is emptied behind our back.
    world.rail.script(vec![RailFault::Refused(RefusedBy::InsufficientFunds); 100]);
    let served = join_all(
        lent.into_iter().map(|call| async { code(collect(world.payee.infer(call).await).await) }),
    )
    .await;
    let served = served.iter().filter(|outcome| **outcome == "served").count();
    assert!((1..=3).contains(&served), "{served} were served of three that may be");
    let empty = Address::repeat_byte(0xdd);
    world.rail.spend(USDC, world.payer.address(), empty, Amount::MAX);
    // A crash forgets nothing of it, and after the time limit the chain has the last word.
    world.restart().await;
    world.clock.advance(std::time::Duration::from_secs(120));
    world.payee.round().await.unwrap();
    let lost = left(&world, BookAccount::Loss).await;
    assert_eq!(lost, i128::try_from(PRICE).unwrap() * i128::try_from(served).unwrap());
    assert_eq!(world.rail.owned(USDC, PAY_TO), Amount::ZERO);
}

#[tokio::test]
async fn nothing_is_lent_on_more_than_the_payer_owns() {
    let world = lending(100 * PRICE, 100 * PRICE).await;
    let mine = world.rail.owned(USDC, world.payer.address());
    let all_but_one = mine.checked_sub(Amount::new(PRICE)).unwrap();
    world.rail.spend(USDC, world.payer.address(), Address::repeat_byte(0xdd), all_but_one);
    let calls: Vec<PaidCall> =
        join_all((1..=4).map(|nonce| world.paid(nonce))).await.into_iter().collect();
    let outcomes = join_all(calls.into_iter().map(|call| async {
        collect(world.payee.infer(call).await).await.map(|(_, closing)| closing.response.success)
    }))
    .await;
    let lent = outcomes.iter().filter(|outcome| **outcome == Ok(false)).count();
    assert!(lent <= 1, "{outcomes:?}");
    assert!(left(&world, BookAccount::Loss).await <= i128::try_from(PRICE).unwrap());
}
