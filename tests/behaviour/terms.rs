//! The other price terms over gRPC, on a real EVM, with journals on disk: tiers, free calls, bytes and
//! time, and what is served before it is paid. Row ids are those of the threat model.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use alloy::primitives::B256;
use alloy::signers::SignerSync;
use alloy::signers::local::PrivateKeySigner;
use bursar::domain::commitment::{Authorization, Commitment, Scheme, TransferMethod};
use bursar::domain::ledger::agent::{Principal, Scope};
use bursar::domain::ledger::books::{BookAccount, Commodity};
use bursar::domain::money::{Amount, Nano};
use bursar::domain::order::Maxima;
use bursar::domain::pricing::{Step, Tiers};
use bursar::domain::quote::PriceTerms;
use bursar::domain::x402::TokenDomains;
use bursar::edge::clock::SystemClock;
use bursar::edge::grpc::{Bought, Purchase, charged};
use bursar::node::{RailPlan, connect_rail, sandbox_assets};
use bursar::ports::clock::Clock;
use bursar::ports::history::History;
use bursar::ports::journal::Journal;
use bursar::ports::rail::{Evidence, Settlement, Settler};
use bursar::ports::usage::{UsageBy, UsageFilter};
use bursar::runtime::payee::{FreeBounds, ServeFirst};
use futures_util::future::join_all;

use crate::market::{Market, POLICY, PRICE, PRICE_NANO, Shop, echo, key, name, usdc};

/// Three calls free, the next two at the list price, then half of it.
fn tiered() -> Shop {
    let step = Step { after_calls: 5, flat: Amount::new(PRICE / 2) };
    Shop {
        tiers: Tiers { free_calls: 3, steps: vec![step] },
        free: Some(FreeBounds { peer_per_day: 100, per_day: 100, payers_max: 100 }),
        ..Shop::default()
    }
}

/// What the provider's books have in one account.
async fn provider_has(market: &Market, account: BookAccount) -> i128 {
    let look = move |ledger: &bursar::domain::ledger::Ledger| {
        ledger.books().find(Commodity::Asset(usdc()), account)
    };
    let sums = market.provider.as_ref().unwrap().treasury.read(look).await.unwrap();
    i128::try_from(sums.debits).unwrap() - i128::try_from(sums.credits).unwrap()
}

async fn kinds(journal: &bursar::edge::journal::Store) -> Vec<&'static str> {
    let entries = journal.read(0, u32::MAX).await.unwrap();
    entries.iter().map(|entry| entry.event.kind()).collect()
}

fn count(kinds: &[&str], kind: &str) -> usize {
    kinds.iter().filter(|found| **found == kind).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_calls_are_free_the_next_cost_the_list_price_and_later_ones_less() {
    let market = Market::open_with(tiered()).await;
    let client = market.client("worker").await;
    let mut costs = Vec::new();
    for number in 0..7 {
        let bought = client.buy(echo(&format!("call {number}"))).await.unwrap();
        assert_eq!(bought.body.len(), 6);
        costs.push(spent(&bought));
    }
    let (full, half) = (PRICE_NANO, PRICE_NANO / 2);
    assert_eq!(costs, [0, 0, 0, full, full, half, half]);
    let audit = market.audit().await;
    assert_eq!(audit.captured(usdc()), 3 * PRICE);
    assert_eq!(market.earned_on_chain().await, 3 * PRICE);
    assert_eq!(market.left("worker").await, Nano::new(20 * PRICE_NANO - 3 * PRICE_NANO));

    let node = kinds(&market.node().store).await;
    assert_eq!((count(&node, "held"), count(&node, "usage_metered")), (4, 7));
    let provider = kinds(&market.provider.as_ref().unwrap().store).await;
    assert_eq!((count(&provider, "granted"), count(&provider, "accepted")), (3, 4));
    assert_eq!(count(&provider, "usage_metered"), 7);
}

/// What a call counted in budgets.
fn spent(bought: &Bought) -> u64 {
    charged(&bought.done).get()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_free_call_asked_again_is_the_same_call_and_uses_nothing_up() {
    let mut market = Market::open_with(tiered()).await;
    let client = market.client("worker").await;
    let wish = echo("once");
    let first = client.buy(wish.clone()).await.unwrap();
    for _ in 0..3 {
        let again = client.buy(wish.clone()).await.unwrap();
        assert_eq!((&again.body, &again.payment), (&first.body, &first.payment));
    }
    // Also after both sides were started anew.
    market.restart_node(POLICY).await;
    let again = market.client("worker").await.buy(wish.clone()).await.unwrap();
    assert_eq!(again.body, first.body);
    assert_eq!(market.engine.served.load(Ordering::SeqCst), 1);
    let provider = kinds(&market.provider.as_ref().unwrap().store).await;
    assert_eq!(count(&provider, "granted"), 1);
    // The same request with other content is another one, and refused.
    let other = Purchase { body: "other".into(), ..wish };
    let refused = market.client("worker").await.buy(other).await.unwrap_err();
    assert_eq!(refused.reason, "LEDGER_REQUEST_CONFLICT");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_calls_at_once_get_no_more_free_ones_than_there_are() {
    let market = Market::open_with(tiered()).await;
    let client = market.client("worker").await;
    let calls = (0..20).map(|number| {
        let client = client.clone();
        async move { client.buy(echo(&format!("call {number}"))).await }
    });
    let bought = join_all(calls).await;
    assert!(bought.iter().all(Result::is_ok), "{bought:?}");
    let free = bought.iter().flatten().filter(|bought| spent(bought) == 0).count();
    assert_eq!(free, 3);
    let provider = kinds(&market.provider.as_ref().unwrap().store).await;
    assert_eq!(count(&provider, "granted"), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_gets_its_free_calls_of_a_day_whatever_keys_it_makes() {
    let free = Some(FreeBounds { peer_per_day: 2, per_day: 100, payers_max: 100 });
    let market = Market::open_with(Shop { free, ..tiered() }).await;
    let client = market.client("worker").await;
    let mut free = 0;
    for number in 0..5 {
        let bought = client.buy(echo(&format!("call {number}"))).await.unwrap();
        free += u32::from(spent(&bought) == 0);
    }
    assert_eq!(free, 2, "what is not free any more is paid, by the same call");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_of_the_provider_gives_nothing_away_twice() {
    let mut market = Market::open_with(tiered()).await;
    for number in 0..2 {
        market.client("worker").await.buy(echo(&format!("call {number}"))).await.unwrap();
    }
    market.provider.take().unwrap().drain(Duration::from_secs(20)).await;
    market.start_provider().await;
    let client = market.client("worker").await;
    // The node asks at the old address until it has heard of the new one.
    let third = loop {
        match client.buy(echo("call 3")).await {
            Ok(bought) => break bought,
            Err(refused) => assert_eq!(refused.reason, "PAYER_NO_QUOTE"),
        }
    };
    let fourth = client.buy(echo("call 4")).await.unwrap();
    assert_eq!([spent(&third), spent(&fourth)], [0, PRICE_NANO]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_agent_gets_nothing_not_even_for_free() {
    let market = Market::open_with(tiered()).await;
    let client = market.client("worker").await;
    let scope = Scope::Agent(name("worker"));
    let operator = &market.node().operator;
    operator.pause(scope, "a loop".to_owned(), Principal::Operator).await.unwrap();
    let refused = client.buy(echo("hello")).await.unwrap_err();
    assert_eq!(refused.reason, "LEDGER_PAUSED");
    assert_eq!(market.engine.served.load(Ordering::SeqCst), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_and_time_are_paid_at_what_the_order_states_and_no_more_is_served() {
    // A unit a byte sent, a unit a millisecond.
    let terms = PriceTerms {
        per_gb: Amount::new(1_000_000_000),
        per_s: Amount::new(1_000),
        ..PriceTerms::default()
    };
    let market = Market::open_with(Shop { terms, ..Shop::default() }).await;
    let client = market.client("worker").await;
    let with = |body: &str, bytes, compute_ms| {
        let mut purchase = echo(body);
        purchase.order.maxima = Maxima { bytes, compute_ms, stored: 0 };
        purchase
    };
    let bought = client.buy(with("hello", 40, 60)).await.unwrap();
    assert_eq!(spent(&bought), 100 * PRICE_NANO / 1000);
    assert!(client.buy(with("hello", 0, 60)).await.is_err(), "nothing stated, nothing sold");
    assert!(client.buy(with("hello", 4, 60)).await.is_err(), "five bytes for four");
    assert_eq!(market.earned_on_chain().await, 100);
}

fn lending(per_payer: u128, total: u128) -> Shop {
    let [per_payer, total] = [per_payer, total].map(Amount::new);
    Shop { serve_first: Some(ServeFirst { per_payer, total }), ..Shop::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_served_first_is_paid_afterwards_and_counts_as_spent_at_once() {
    let market = Market::open_with(lending(5 * PRICE, 5 * PRICE)).await;
    let client = market.client("worker").await;
    for number in 0..3 {
        let bought = client.buy(echo(&format!("call {number}"))).await.unwrap();
        assert_eq!(bought.body.len(), 6);
    }
    assert_eq!(market.left("worker").await, Nano::new(17 * PRICE_NANO));
    // Both sides come to the same, by the chain's word.
    let provider = market.provider.as_ref().unwrap();
    while provider_has(&market, BookAccount::Owed).await != 0 {
        provider.payee.round().await.unwrap();
    }
    assert_eq!(market.earned_on_chain().await, 3 * PRICE);
    while market.audit().await.captured(usdc()) != 3 * PRICE {
        tokio::task::yield_now().await;
    }
    let events = kinds(&provider.store).await;
    assert_eq!((count(&events, "served_on_credit"), count(&events, "credit_paid")), (3, 3));
    assert_eq!(provider_has(&market, BookAccount::Earned).await, 3 * PRICE as i128);
}

/// Moves everything that the payers' wallet owns elsewhere, by a transfer that the wallet signed.
async fn drain_wallet(market: &Market) {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let rail = RailPlan::sandbox(market.chain.url());
    let (evm, settler) = connect_rail(&rail, Some(&key("gas")), clock).await.unwrap();
    let wallet = key("main");
    let commitment = Commitment {
        scheme: Scheme::Exact,
        method: TransferMethod::Eip3009,
        asset: usdc(),
        payer: wallet.address(),
        pay_to: key("elsewhere").address(),
        amount_max: evm.balance(usdc(), wallet.address()).await.unwrap().amount,
        valid_after_s: 0,
        valid_before_s: SystemClock.now().as_secs() + 60,
        nonce: B256::repeat_byte(0xd1),
    };
    let tokens = TokenDomains::new(&sandbox_assets());
    let digest = tokens.find(usdc()).unwrap().transfer_digest(&commitment);
    let wallet = PrivateKeySigner::from_slice(&market.keys()[0]).unwrap();
    let signature = wallet.sign_hash_sync(&digest).unwrap();
    let authorization = Authorization { commitment, signature };
    let settled = settler.unwrap().settle(&authorization).await.unwrap();
    assert!(matches!(settled, Settlement::Settled { .. }), "{settled:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn d01_who_drains_the_wallet_while_it_is_served_is_booked_as_a_loss_and_has_no_credit_left() {
    let market = Market::open_with(lending(2 * PRICE, 3 * PRICE)).await;
    let client = market.client("worker").await;
    // The engine waits until the wallet is empty: verified before, settled after.
    let calls = (0..5).map(|_| {
        let client = client.clone();
        async move { client.buy(echo("wait")).await }
    });
    let draining = async {
        while market.engine.waiting.load(Ordering::SeqCst) < 5 {
            tokio::task::yield_now().await;
        }
        drain_wallet(&market).await;
        market.engine.gate.add_permits(5);
    };
    let (bought, ()) = futures_util::future::join(join_all(calls), draining).await;
    let served = bought.iter().filter(|bought| bought.is_ok()).count();
    assert_eq!(served, 0, "a final block shows an empty wallet: nothing is lent on it");
    let lost = provider_has(&market, BookAccount::Loss).await;
    assert_eq!((lost, provider_has(&market, BookAccount::Owed).await), (0, 0));
    assert_eq!(market.earned_on_chain().await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn d13_calls_at_once_never_have_more_credit_than_the_limit_of_their_payer() {
    let market = Market::open_with(lending(2 * PRICE, 3 * PRICE)).await;
    let client = market.client("worker").await;
    let calls = (0..19).map(|number| {
        let client = client.clone();
        async move { client.buy(echo(&format!("call {number}"))).await }
    });
    let bought = join_all(calls).await;
    assert!(bought.iter().all(Result::is_ok), "{bought:?}");
    let provider = market.provider.as_ref().unwrap();
    let (mut owed, mut worst) = (0_i128, 0_i128);
    for entry in provider.store.read(0, u32::MAX).await.unwrap() {
        for pair in bursar::domain::ledger::books::postings(&entry.event) {
            let amount = i128::try_from(pair.amount.get()).unwrap();
            owed += if pair.credit == BookAccount::Owed { amount } else { 0 };
            owed -= if pair.debit == BookAccount::Owed { amount } else { 0 };
        }
        worst = worst.max(owed);
    }
    assert!((1..=2 * PRICE as i128).contains(&worst), "{worst} was owed at once");
}

#[tokio::test(flavor = "multi_thread")]
async fn usage_is_summed_by_agent_group_and_provider_between_two_times() {
    let mut market = Market::open_with(tiered()).await;
    market.add("second", "worker").await;
    for (agent, calls) in [("worker", 4), ("second", 1)] {
        for number in 0..calls {
            market.client(agent).await.buy(echo(&format!("{agent} {number}"))).await.unwrap();
        }
    }
    let store = &market.node().store;
    let sums = async |by, filter: UsageFilter| {
        let rows = store.usage(by, filter).await.unwrap();
        rows.into_iter().map(|row| (row.who, row.calls, row.amount.get())).collect::<Vec<_>>()
    };
    let all = UsageFilter::default();
    let by_agent = sums(UsageBy::Agent, all.clone()).await;
    let of = |who: &str, calls, amount| (who.to_owned(), calls, amount);
    assert_eq!(by_agent, [of("worker", 4, PRICE), of("second", 1, PRICE)]);
    assert_eq!(sums(UsageBy::Group, all.clone()).await, [of("default", 5, 2 * PRICE)]);
    assert_eq!(sums(UsageBy::Provider, all.clone()).await, [of("echo", 5, 2 * PRICE)]);
    let only = UsageFilter { agent: Some(name("second")), ..all.clone() };
    assert_eq!(sums(UsageBy::Role, only).await, [of("worker", 1, PRICE)]);
    let entries = store.read(0, u32::MAX).await.unwrap();
    let metered = entries.iter().filter(|entry| entry.event.kind() == "usage_metered");
    let third = metered.map(|entry| entry.at).nth(2).unwrap();
    let until = UsageFilter { until: Some(third), ..all.clone() };
    assert_eq!(sums(UsageBy::Agent, until).await, [of("worker", 2, 0)]);
    let since = UsageFilter { since: Some(third), ..all.clone() };
    assert_eq!(sums(UsageBy::Group, since).await, [of("default", 3, 2 * PRICE)]);

    // Each call with what the seed asks for: tokens, bytes, request, network, asset and transfer.
    market.audit().await;
    store.catch_up().await.unwrap();
    let rows = store.views().metered(&all, None, 100).unwrap();
    assert_eq!(rows.len(), 5);
    let paid = rows.iter().find(|row| row.amount.get() == PRICE).unwrap();
    assert_eq!((paid.input_units, paid.bytes), (8, 8));
    assert!(paid.transaction.is_some() && paid.request.is_some());
    assert_eq!(paid.network, usdc().network.to_string());
    // The provider counts the same, by who bought of it.
    let sold = market.provider.as_ref().unwrap().store.usage(UsageBy::Payer, all).await.unwrap();
    let payer = format!("{:#x}", key("main").address());
    assert!(sold.iter().all(|row| row.who == payer), "{sold:?}");
    assert_eq!(sold.iter().map(|row| row.calls).sum::<u64>(), 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn settlements_are_measured_on_both_sides() {
    let market = Market::open().await;
    let client = market.client("worker").await;
    for number in 0..3 {
        client.buy(echo(&format!("call {number}"))).await.unwrap();
    }
    market.audit().await;
    let provider = market.provider.as_ref().unwrap();
    provider.payee.round().await.unwrap();
    for (store, side) in [(&market.node().store, "paid"), (&provider.store, "sold")] {
        store.catch_up().await.unwrap();
        let rows = store.views().settled().unwrap();
        assert_eq!(rows.len(), 1, "{rows:?}");
        assert_eq!((rows[0].side.as_str(), rows[0].settlements), (side, 3));
        assert_eq!(rows[0].network, usdc().network.to_string());
        assert!(rows[0].mean_ms <= rows[0].worst_ms && rows[0].worst_ms < 60_000, "{rows:?}");
        assert_eq!(rows[0].gas_mean.is_some(), side == "sold", "payers send no transactions");
    }
}
