//! Channels that end from the payer's side: given back by their payee, or withdrawn without it. Over
//! gRPC, on a real EVM, with journals on disk. Row ids are those of the threat model.

use std::sync::Arc;
use std::time::Duration;

use bursar::domain::channel::ChannelId;
use bursar::domain::ledger::channel::{ChannelState, Frozen};
use bursar::domain::money::Amount;
use bursar::edge::keys::{NonceSecret, SigningKey};
use bursar::node::{connect_rail, withdrawals};
use bursar::ports::channel_rail::Withdrawals;
use bursar::ports::clock::Clock;
use bursar::runtime::payer::NotClosed;

use crate::market::{Market, PRICE, Shop, echo, key, usdc};

/// What the payer was given at first.
const FUNDS: u128 = 10_000_000;

async fn open() -> Market {
    let market = Market::open_with(Shop { by_channel: true, ..Shop::default() }).await;
    let client = market.client("worker").await;
    for number in 0..3 {
        client.buy(echo(&format!("call {number}"))).await.unwrap();
    }
    market
}

async fn only(market: &Market) -> (ChannelId, ChannelState) {
    let look = |ledger: &bursar::domain::ledger::Ledger| {
        let all: Vec<_> = ledger.channels().map(|it| (it.opened.id, it.state)).collect();
        assert_eq!(all.len(), 1);
        all[0]
    };
    market.node().treasury.read(look).await.unwrap()
}

/// A way out of its channels for whoever has this key.
pub async fn way_out(market: &Market, key: &SigningKey) -> Arc<dyn Withdrawals> {
    let clock: Arc<dyn Clock> = Arc::new(market.hand.clone());
    let rail = market.shop.rail(&market.chain);
    let (evm, _) = connect_rail(&rail, None, Arc::clone(&clock)).await.unwrap();
    withdrawals(&evm, key, rail.settling, clock)
}

/// What the payer owns, by the chain and by its books.
async fn owned(market: &Market) -> (u128, u128) {
    let owned = market.evidence.balance(usdc(), key("main").address()).await.unwrap().amount;
    let position = market.node().treasury.read(|ledger| ledger.wallets()[0].find(usdc()).copied());
    (owned.get(), position.await.unwrap().unwrap().available().get())
}

/// Waits until the ledger has seen on a final block that nothing is left.
async fn seen_closed(market: &Market) {
    while only(market).await.1 != ChannelState::Closed {
        market.node().reconciler.round().await.unwrap();
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_not_charged_is_given_back_when_its_payer_asks_and_the_chain_counts_it() {
    let market = open().await;
    let (channel, _) = only(&market).await;
    let payer = &market.node().payer;
    let given = payer.close_channel(channel).await.unwrap();
    assert!(given.amount > Amount::ZERO);
    seen_closed(&market).await;
    assert_eq!(owned(&market).await, (FUNDS - 3 * PRICE, FUNDS - 3 * PRICE));
    assert_eq!(market.earned_on_chain().await, 3 * PRICE, "what was charged was claimed with it");
    let again = payer.close_channel(channel).await.unwrap_err();
    assert_eq!(again, NotClosed::Closed(channel));
    // The next call opens another.
    market.client("worker").await.buy(echo("after")).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_channel_that_lay_unused_is_given_back_without_being_asked_for() {
    let market = open().await;
    let payer = &market.node().payer;
    let hour = Duration::from_secs(3600);
    assert_eq!(payer.end_idle_channels(hour).await.unwrap(), 0, "it was used a moment ago");
    market.pass(3601).await;
    // The node looks for such by itself as well; whoever comes first ends it.
    while only(&market).await.1 != ChannelState::Closed {
        payer.end_idle_channels(hour).await.unwrap();
        market.node().reconciler.round().await.unwrap();
    }
    assert_eq!(owned(&market).await.0, FUNDS - 3 * PRICE);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payer_whose_payee_is_gone_withdraws_after_the_delay_and_spares_what_was_claimed() {
    let mut market = open().await;
    let (channel, _) = only(&market).await;
    // It claims what it is owed, and goes.
    market.provider.take().unwrap().drain(Duration::from_secs(20)).await;
    let payer = market.node().payer.clone();
    let gone = payer.close_channel(channel).await.unwrap_err();
    assert!(matches!(gone, NotClosed::Silent { .. }), "{gone:?}");
    assert_eq!(only(&market).await.1, ChannelState::Frozen(Frozen::Closing));
    let no_way = payer.withdraw_channel(channel).await.unwrap_err();
    assert_eq!(no_way, NotClosed::NoWayOut);
    let session = NonceSecret::from_bytes([3; 32]).session_key();
    market.chain.fund(session.address(), Amount::new(1)).await.unwrap();
    payer.withdraw_by(usdc().network, way_out(&market, &session).await);
    payer.withdraw_channel(channel).await.unwrap();
    // Asked again before its time, nothing goes out.
    payer.withdraw_channel(channel).await.unwrap();
    assert!(owned(&market).await.0 < FUNDS - 3 * PRICE);
    market.pass(901).await;
    // The node ends such channels by itself as well.
    let done = payer.withdraw_channel(channel).await;
    assert!(matches!(done, Ok(_) | Err(NotClosed::Closed(_))), "{done:?}");
    seen_closed(&market).await;
    assert_eq!(owned(&market).await, (FUNDS - 3 * PRICE, FUNDS - 3 * PRICE));
    assert_eq!(market.earned_on_chain().await, 3 * PRICE);
}
