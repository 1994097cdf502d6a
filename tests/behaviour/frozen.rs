//! A token that its issuer stops: paused for everybody, or for an account at either end. Over gRPC, on a real
//! EVM, with journals on disk. Row ids are those of the threat model.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use alloy::network::{EthereumWallet, TransactionBuilder};
use alloy::primitives::Address;
use alloy::providers::{Provider, ProviderBuilder};
use alloy::rpc::types::TransactionRequest;
use alloy::signers::local::PrivateKeySigner;
use alloy::sol_types::SolCall;
use async_trait::async_trait;
use bursar::domain::commitment::{Scheme, TransferMethod};
use bursar::domain::ledger::books::{BookAccount, Commodity};
use bursar::domain::money::Nano;
use bursar::domain::order::{Units, Usage};
use bursar::edge::grpc::Purchase;
use bursar::ports::engine::{Engine, EngineError, Step, Work};
use futures_util::stream::{self, BoxStream, StreamExt};
use tokio::sync::Semaphore;

use crate::channels::{charged, claim_all, until};
use crate::market::{Market, PRICE, PRICE_NANO, Shop, echo, key, secret};
use crate::tender::other_token;
use crate::upto::{approve, token};

alloy::sol! {
    function pause() external;
    function unpause() external;
    function blacklist(address account) external;
    function unBlacklist(address account) external;
}

/// How long an authorization lives here, and a little more.
const LAPSED_S: u64 = 120;

/// How an issuer stops a payment, and how it lets it go on.
#[derive(Copy, Clone, Debug)]
enum Stop {
    Everybody,
    Account(&'static str),
}

const STOPS: [Stop; 3] = [Stop::Everybody, Stop::Account("main"), Stop::Account("payee")];

impl Stop {
    async fn begin(self, market: &Market) {
        match self {
            Self::Everybody => tell(market, pauseCall {}).await,
            Self::Account(name) => tell(market, blacklistCall { account: of(name) }).await,
        }
    }

    async fn end(self, market: &Market) {
        match self {
            Self::Everybody => tell(market, unpauseCall {}).await,
            Self::Account(name) => tell(market, unBlacklistCall { account: of(name) }).await,
        }
    }
}

fn of(name: &str) -> Address {
    key(name).address()
}

/// The issuer says something to its token.
async fn tell(market: &Market, call: impl SolCall) {
    let issuer = PrivateKeySigner::from_slice(&secret("minter")).unwrap();
    let client = ProviderBuilder::new()
        .wallet(EthereumWallet::from(issuer))
        .connect_http(market.chain.url().parse().unwrap());
    let request =
        TransactionRequest::default().with_to(other_token().contract).with_input(call.abi_encode());
    let receipt = client.send_transaction(request).await.unwrap().get_receipt().await.unwrap();
    assert!(receipt.status());
}

/// A shop that is paid in a token that can be stopped.
fn shop() -> Shop {
    let info = token("FUSD", 6, ("USDC", "2"), 1_000_000_000);
    Shop { tender: Some(("FreezableUsdc", info)), ..Shop::default() }
}

async fn lost(market: &Market) -> i128 {
    let look = |ledger: &bursar::domain::ledger::Ledger| {
        ledger.books().find(Commodity::Asset(other_token()), BookAccount::Loss)
    };
    let sums = market.provider.as_ref().unwrap().treasury.read(look).await.unwrap();
    i128::try_from(sums.debits).unwrap() - i128::try_from(sums.credits).unwrap()
}

/// What the worker's budget has left, once the chain was asked about everything.
async fn left(market: &Market) -> u64 {
    market.node().reconciler.round().await.unwrap();
    market.left("worker").await.get()
}

/// threats.md K10: a payment is refused for a reason, nobody works for it, and what was held for it stays held.
/// The same request is the same payment, and goes on once the issuer lets it.
#[tokio::test(flavor = "multi_thread")]
async fn k10_a_payment_that_the_issuer_stops_stays_held_and_goes_on_when_that_is_lifted() {
    for stop in STOPS {
        let market = Market::open_with(shop()).await;
        let client = market.client("worker").await;
        client.buy(echo("before")).await.unwrap();
        stop.begin(&market).await;
        let purchase = echo("stopped");
        let refused = client.buy(purchase.clone()).await.unwrap_err();
        assert_eq!(refused.reason, "PAYER_PROVIDER_REFUSED", "{stop:?}: {refused}");
        assert_eq!(market.engine.served.load(Ordering::SeqCst), 1, "{stop:?}");
        assert_eq!(left(&market).await, 18 * PRICE_NANO, "{stop:?}: it may be settled still");
        assert_eq!(market.earned_on_chain().await, PRICE);

        stop.end(&market).await;
        let bought = client.buy(purchase).await.unwrap();
        assert_eq!(Some(bought.payment.parse().unwrap()), refused.payment, "{stop:?}");
        client.buy(echo("after")).await.unwrap();
        assert_eq!(market.earned_on_chain().await, 3 * PRICE);
        let audit = market.audit().await;
        assert_eq!((audit.captured(other_token()), audit.over_limit()), (3 * PRICE, Nano::ZERO));
        assert_eq!(left(&market).await, 17 * PRICE_NANO, "{stop:?}");
    }
}

/// threats.md K10: nobody asks again. The chain shows that the nonce was never used, and the money is free.
#[tokio::test(flavor = "multi_thread")]
async fn k10_what_was_stopped_comes_back_once_a_final_block_shows_that_it_lapsed() {
    let market = Market::open_with(shop()).await;
    let client = market.client("worker").await;
    Stop::Everybody.begin(&market).await;
    client.buy(echo("stopped")).await.unwrap_err();
    assert_eq!(left(&market).await, 19 * PRICE_NANO);
    market.pass(LAPSED_S).await;
    until(async || left(&market).await == 20 * PRICE_NANO).await;
    Stop::Everybody.end(&market).await;
    assert_eq!((market.earned_on_chain().await, lost(&market).await), (0, 0));
    client.buy(echo("after")).await.unwrap();
    assert_eq!(market.earned_on_chain().await, PRICE);
}

/// threats.md K10: while an answer is made the issuer stops the money. The payee gives nothing away.
#[tokio::test(flavor = "multi_thread")]
async fn k10_an_answer_that_cannot_be_settled_any_more_is_not_given() {
    let market = Market::open_with(shop()).await;
    let client = market.client("worker").await;
    let asking = client.buy(echo("wait"));
    let stopping = async {
        until(async || market.engine.waiting.load(Ordering::SeqCst) == 1).await;
        Stop::Account("main").begin(&market).await;
        market.engine.gate.add_permits(1);
    };
    let (bought, ()) = futures_util::future::join(asking, stopping).await;
    bought.unwrap_err();
    assert_eq!((market.earned_on_chain().await, lost(&market).await), (0, 0));
    assert_eq!(left(&market).await, 19 * PRICE_NANO);
}

/// threats.md K10: a channel's vouchers are worth what lies in it, whatever its token does meanwhile. What is
/// owed is paid out when that is over.
#[tokio::test(flavor = "multi_thread")]
async fn k10_a_channel_goes_on_while_its_token_stands_still_and_is_paid_out_later() {
    let instead = Some((Scheme::Exact, TransferMethod::Eip3009));
    let market = Market::open_with(Shop { by_channel: true, instead, ..shop() }).await;
    let client = market.client("worker").await;
    client.buy(echo("before")).await.unwrap();
    Stop::Everybody.begin(&market).await;
    for _ in 0..3 {
        client.buy(echo("meanwhile")).await.unwrap();
    }
    claim_all(&market).await;
    assert_eq!((charged(&market).await, market.earned_on_chain().await), (4 * PRICE, 0));
    Stop::Everybody.end(&market).await;
    client.buy(echo("after")).await.unwrap();
    until(async || {
        claim_all(&market).await;
        market.earned_on_chain().await == 5 * PRICE
    })
    .await;
    assert_eq!(lost(&market).await, 0);
    assert_eq!(left(&market).await, 15 * PRICE_NANO);
}

/// Writes half an answer, and waits for the other half.
struct Halves {
    waiting: Arc<AtomicU64>,
    gate: Arc<Semaphore>,
}

#[async_trait]
impl Engine for Halves {
    fn count_input(&self, _: &Work) -> Result<Units, EngineError> {
        Ok(Units(1))
    }

    async fn run(
        &self,
        _: Work,
    ) -> Result<BoxStream<'static, Result<Step, EngineError>>, EngineError> {
        let (waiting, gate) = (Arc::clone(&self.waiting), Arc::clone(&self.gate));
        let begin =
            Step::Begin { content_type: "text/plain".to_owned(), model: "halves".to_owned() };
        let first = stream::iter([Ok(begin), Ok(Step::Chunk("half".into()))]);
        let second = stream::once(async move {
            waiting.fetch_add(1, Ordering::SeqCst);
            gate.acquire().await.unwrap().forget();
            Ok(Step::Chunk("half".into()))
        });
        let done = Step::Done(Usage { input: Units(1), output: Units(8), ..Usage::default() });
        Ok(first.chain(second).chain(stream::iter([Ok(done)])).boxed())
    }
}

/// threats.md D14: an answer was streamed, and then the issuer stops its payer: a loss, written down once.
/// Nothing is streamed to who owes it, and it is paid after all when that is lifted.
#[tokio::test(flavor = "multi_thread")]
async fn d14_a_stream_whose_token_stops_is_a_loss_once_and_is_paid_when_it_goes_on() {
    let (waiting, gate) = (Arc::new(AtomicU64::new(0)), Arc::new(Semaphore::new(0)));
    let halves = Halves { waiting: Arc::clone(&waiting), gate: Arc::clone(&gate) };
    let upto = Scheme::Upto { facilitator: of("gas") };
    let instead = Some((upto, TransferMethod::Permit2));
    let market =
        Market::open_with(Shop { instead, engine: Some(Arc::new(halves)), ..shop() }).await;
    approve(&market, 1_000_000).await;
    let client = market.client("worker").await;
    let streamed = || Purchase { streamed: true, ..echo("hello") };
    let stop = Stop::Account("main");
    let stopping = async {
        until(async || waiting.load(Ordering::SeqCst) == 1).await;
        stop.begin(&market).await;
        gate.add_permits(1);
    };
    let (bought, ()) = futures_util::future::join(client.buy(streamed()), stopping).await;
    bought.unwrap_err();
    until(async || lost(&market).await == i128::try_from(PRICE).unwrap()).await;
    let provider = market.provider.as_ref().unwrap();
    for _ in 0..3 {
        provider.payee.round().await.unwrap();
        assert_eq!(lost(&market).await, i128::try_from(PRICE).unwrap(), "it is written down once");
    }
    assert_eq!(left(&market).await, 19 * PRICE_NANO, "it may be settled still");
    client.buy(streamed()).await.unwrap_err();
    assert_eq!(waiting.load(Ordering::SeqCst), 1, "nobody works for who is stopped");

    stop.end(&market).await;
    until(async || {
        provider.payee.round().await.unwrap();
        lost(&market).await == 0
    })
    .await;
    assert_eq!(market.earned_on_chain().await, PRICE);
}
