//! Clocks that differ between the payers' node, the provider, who settles for it, and the chain. Row B06 of
//! the threat model.

use std::sync::atomic::Ordering;

use bursar::domain::commitment::Commitment;
use bursar::domain::money::Nano;
use bursar::ports::rail::NonceState;
use futures_util::StreamExt;
use futures_util::stream;

use crate::market::{Market, PRICE, PRICE_NANO, Shop, Skew, echo, usdc};

/// Half a minute, and so often until everything that was held has ended.
const STEP_S: u64 = 30;
const STEPS_MAX: usize = 60;

/// Markets at a time.
const AT_ONCE: usize = 4;

/// Whose clock is off, in a clock's own words.
#[derive(Copy, Clone, Debug)]
enum Part {
    Chain,
    Provider,
    Settler,
    Node,
}

/// One part's clock ahead of all others by so many seconds, or behind them.
fn off_by(part: Part, seconds: i64) -> Skew {
    let (own, others) = match seconds < 0 {
        true => (0, seconds.unsigned_abs()),
        false => (seconds.unsigned_abs(), 0),
    };
    let even = Skew { chain: others, provider: others, settler: others, node: others };
    match part {
        Part::Chain => Skew { chain: own, ..even },
        Part::Provider => Skew { provider: own, ..even },
        Part::Settler => Skew { settler: own, ..even },
        Part::Node => Skew { node: own, ..even },
    }
}

async fn held(market: &Market) -> Vec<Commitment> {
    let look = |ledger: &bursar::domain::ledger::Ledger| {
        ledger.holds().into_iter().map(|hold| hold.held.commitment).collect()
    };
    market.node().treasury.read(look).await.unwrap()
}

/// Lets time pass until nothing is held any more. What is given back can never move again.
async fn end_all(market: &Market, signed: &[Commitment], what: &str) {
    for _ in 0..STEPS_MAX {
        market.node().reconciler.round().await.unwrap();
        let open = held(market).await;
        for commitment in signed.iter().filter(|signed| !open.contains(signed)) {
            let seen = market.evidence.find_nonce(commitment).await.unwrap();
            let is_used = matches!(seen.nonce, NonceState::Used { .. });
            let is_over = seen.block_time_s >= commitment.valid_before_s;
            assert!(is_used || is_over, "{what}: given back while it could still move");
        }
        if open.is_empty() {
            return;
        }
        market.provider.as_ref().unwrap().payee.round().await.unwrap();
        market.pass(STEP_S).await;
    }
    panic!("{what}: held for ever");
}

/// One purchase where clocks differ so, asked for three times, and all that follows from it. Whether it was
/// served.
async fn trade(part: Part, seconds: i64) -> bool {
    let what = format!("{part:?} {seconds:+} s");
    let market = Market::open_with(Shop { skew: off_by(part, seconds), ..Shop::default() }).await;
    let client = market.client("worker").await;
    let purchase = echo("one");
    let first = client.buy(purchase.clone()).await;
    let signed = held(&market).await;
    let again = client.buy(purchase.clone()).await;
    let still = held(&market).await;
    if first.is_err() {
        assert!(signed.len() <= 1, "{what}: {signed:?}");
        assert!(signed.iter().all(|one| still.contains(one)), "{what}: signed anew");
    }
    let signed = if signed.is_empty() { still } else { signed };
    end_all(&market, &signed, &what).await;
    let late = client.buy(purchase).await;
    end_all(&market, &held(&market).await, &what).await;

    let is_served = first.is_ok() || again.is_ok() || late.is_ok();
    let (served, earned) =
        (market.engine.served.load(Ordering::SeqCst), market.earned_on_chain().await);
    assert!(served <= 1, "{what}");
    assert!(earned == 0 || earned == PRICE, "{what}: {earned}");
    assert!(!is_served || earned == PRICE, "{what}: served for nothing");
    // Both books say what the chain does.
    let audit = market.audit().await;
    assert_eq!((audit.captured(usdc()), audit.over_limit()), (earned, Nano::ZERO), "{what}");
    let left = 20 * PRICE_NANO - u64::try_from(earned / PRICE).unwrap() * PRICE_NANO;
    assert_eq!(market.left("worker").await.get(), left, "{what}");
    is_served
}

#[tokio::test(flavor = "multi_thread")]
async fn b06_clocks_that_differ_refuse_a_payment_and_neither_double_it_nor_give_it_back_early() {
    let parts = [Part::Chain, Part::Provider, Part::Settler, Part::Node];
    let offsets = [-300, -60, -30, 0, 30, 60, 300];
    let cells = parts.into_iter().flat_map(|part| offsets.map(|seconds| (part, seconds)));
    let trades = stream::iter(cells).map(|(part, seconds)| async move {
        let is_served = trade(part, seconds).await;
        (part, seconds, is_served)
    });
    let traded: Vec<_> = trades.buffer_unordered(AT_ONCE).collect().await;
    assert_eq!(traded.len(), 28);
    for (part, seconds, is_served) in traded {
        // Half a minute is nothing; the settler's own clock decides nothing at all.
        let is_expected = seconds.abs() <= 30 || matches!(part, Part::Settler);
        assert!(is_served || !is_expected, "{part:?} {seconds}");
    }
}
