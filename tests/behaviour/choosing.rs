//! Which of the offered ways to pay is taken: the cheapest in all, and `why` says so with its numbers.

use bursar::domain::ledger::channel::ChannelCaps;
use bursar::domain::money::Nano;
use bursar::domain::negotiation::Reckoning;
use bursar::domain::policy::RuleCheck;
use bursar::edge::grpc::Bought;
use bursar::ports::archive::Archive;
use bursar::runtime::channels::KeeperSettings;

use crate::market::{KEEPER, Market, PRICE, Shop, echo};

/// One call, and what was looked at for it.
async fn buy(market: &Market) -> Vec<RuleCheck> {
    let Bought { payment, .. } =
        market.client("worker").await.buy(echo("which way")).await.unwrap();
    let store = &market.node().store;
    store.catch_up().await.unwrap();
    let decision = store.find_decision(payment.parse().unwrap()).await.unwrap();
    decision.rules.into_iter().filter(|rule| rule.rule.starts_with("way.")).collect()
}

async fn channels(market: &Market) -> usize {
    market.node().treasury.read(|ledger| ledger.channels().count()).await.unwrap()
}

fn found<'r>(ways: &'r [RuleCheck], scheme: &str) -> &'r RuleCheck {
    ways.iter().find(|rule| rule.rule == format!("way.{scheme}")).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_cheapest_way_in_all_is_taken_and_every_way_is_named_with_its_numbers() {
    let market = Market::open_with(Shop { by_channel: true, ..Shop::default() }).await;
    let ways = buy(&market).await;
    assert_eq!(channels(&market).await, 1);
    let (channel, exact) = (found(&ways, "batch-settlement"), found(&ways, "exact"));
    assert_eq!(channel.says, "price 0.001 + gas 0.00007 + locked capital 0.000000006");
    assert_eq!(channel.found, "echo for 0.001070006 in all: taken");
    assert_eq!(exact.found, "echo for 0.002 in all: not taken");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_channel_for_one_call_is_dearer_than_a_settlement_whatever_the_payee_likes() {
    let reckoning = Reckoning { calls_per_deposit: 1, ..Reckoning::default() };
    let market = Market::open_with(Shop { by_channel: true, reckoning, ..Shop::default() }).await;
    let ways = buy(&market).await;
    assert_eq!(channels(&market).await, 0);
    assert_eq!(market.earned_on_chain().await, PRICE);
    assert!(found(&ways, "exact").found.ends_with(": taken"));
}

#[tokio::test(flavor = "multi_thread")]
async fn where_nothing_more_may_lie_locked_the_next_way_is_taken() {
    let caps = ChannelCaps { provider: Nano::ZERO, total: Nano::ZERO };
    let keeper = KeeperSettings { caps, ..KEEPER };
    let market = Market::open_with(Shop { by_channel: true, keeper, ..Shop::default() }).await;
    buy(&market).await;
    assert_eq!(market.earned_on_chain().await, PRICE, "paid by itself");
}
