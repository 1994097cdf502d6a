//! Payees that lie, take and never give, over real sockets: what a payer's budget loses to them. Row
//! ids are those of the threat model.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bursar::domain::asset::{Asset, Network};
use bursar::domain::commitment::{Scheme, TransferMethod};
use bursar::domain::listing::{Listing, Ware};
use bursar::domain::money::{Amount, Nano};
use bursar::domain::negotiation::Verdict;
use bursar::domain::quote::{PayBy, PriceTerms, Quote};
use bursar::edge::clock::SystemClock;
use bursar::edge::grpc::{Address, Doors, Listener, serve_paid_service};
use bursar::edge::keys::LocalServiceSigner;
use bursar::ports::clock::Clock;
use bursar::ports::directory::Directory;
use bursar::ports::paid_service::{Answer, Ask, PaidCall, PaidService, Quoted, ServiceError};
use bursar::ports::signer::ServiceSigner;

use crate::market::{Market, PRICE, PRICE_NANO, echo, key, loopback, name, usdc};

/// How long the swindler's authorizations live, in seconds.
const LIFE_S: u64 = 2;

/// Quotes what it likes, takes every payment, settles none and answers nothing.
struct Swindler {
    signer: LocalServiceSigner,
    quote: Quote,
    taken: AtomicU64,
}

#[async_trait]
impl PaidService for Swindler {
    async fn quote(&self, _: Ask) -> Result<Quoted, ServiceError> {
        let valid_until = SystemClock.now().after(Duration::from_secs(60));
        let quote = Quote { valid_until, ..self.quote.clone() };
        Ok(Quoted { quote: self.signer.sign_quote(quote), verdict: Verdict::List })
    }

    async fn infer(&self, call: PaidCall) -> Result<Answer, ServiceError> {
        self.taken.fetch_add(u64::from(call.payment.is_some()), Ordering::SeqCst);
        Err(ServiceError::Unavailable("not now".to_owned()))
    }
}

fn terms(flat: u128) -> PriceTerms {
    PriceTerms { flat: Amount::new(flat), ..PriceTerms::default() }
}

/// Puts a swindler into the market's directory, cheaper than anybody; `lie` changes its quotes.
async fn swindle(market: &Market, lie: impl FnOnce(&mut Quote)) -> Arc<Swindler> {
    let listener = Listener::bind(&Address::Tcp(loopback()), "--listen").await.unwrap();
    let endpoint = listener.address().to_string();
    let (pay_to, service) = (key("swindler"), key("swindler service"));
    let pay_by = PayBy {
        scheme: Scheme::Exact,
        method: TransferMethod::Eip3009,
        asset: usdc(),
        pay_to: pay_to.address(),
        timeout_s: LIFE_S,
    };
    let mut quote = Quote {
        provider: name("swindler"),
        resource: endpoint.replace("http://", "grpc://") + "/bursar.v1.InferenceService/Infer",
        capability: name("echo"),
        model: name("echo-1"),
        terms: terms(PRICE / 2),
        pay_by: vec![pay_by],
        output_max: 1000,
        valid_until: SystemClock.now(),
        rounds: 0,
        standing: None,
        stride: None,
    };
    let now = SystemClock.now();
    let listing = Listing {
        provider: name("swindler"),
        endpoint,
        wares: vec![Ware {
            capability: name("echo"),
            model: name("echo-1"),
            terms: terms(PRICE / 2),
            tiers: Default::default(),
        }],
        pay_by: vec![pay_by],
        issued_at: now,
        valid_until: now.after(Duration::from_secs(600)),
    };
    lie(&mut quote);
    let delegation = pay_to.delegate_to(service.address());
    let signer = LocalServiceSigner::new(service);
    let listed = market.registry.announce(signer.sign_listing(listing, delegation)).await;
    listed.unwrap();
    let swindler = Arc::new(Swindler { signer, quote, taken: AtomicU64::new(0) });
    let doors = Doors::default().with(serve_paid_service(swindler.clone()));
    let max = Duration::from_secs(1);
    tokio::spawn(doors.serve(vec![listener], std::future::pending(), max));
    swindler
}

/// Only the swindler is asked.
fn of_swindler(body: &str) -> bursar::edge::grpc::Purchase {
    let mut purchase = echo(body);
    purchase.provider = Some(name("swindler"));
    purchase
}

/// What is held and spent of the worker's own budget.
async fn taken_from_budget(market: &Market) -> u64 {
    20 * PRICE_NANO - market.left("worker").await.get()
}

#[tokio::test(flavor = "multi_thread")]
async fn f32_a_payee_that_never_settles_takes_no_more_than_the_cap_and_gives_it_all_back() {
    let market = Market::open().await;
    let swindler = swindle(&market, |_| {}).await;
    let client = market.client("worker").await;
    for _ in 0..50 {
        let error = client.buy(of_swindler("take")).await.unwrap_err();
        assert!(["PAYER_PROVIDER_REFUSED", "LEDGER_OVER_BUDGET"].contains(&error.reason.as_str()));
    }
    let taken = swindler.taken.load(Ordering::SeqCst);
    assert_eq!(taken, 40, "forty authorizations of half a price fit, and not one more");
    assert_eq!(market.left("worker").await, Nano::ZERO, "each of them counts as spent");
    // Once their time is over by the chain's own clock, a final block shows that none was used.
    while taken_from_budget(&market).await > 0 {
        market.node().reconciler.round().await.unwrap();
        tokio::task::yield_now().await;
    }
    let bought = client.buy({
        let mut honest = echo("hello");
        honest.provider = Some(name("echo"));
        honest
    });
    assert_eq!(bought.await.unwrap().provider, "echo");
    let audit = market.audit().await;
    assert_eq!((audit.captured(usdc()), audit.over_limit()), (PRICE, Nano::ZERO));
}

#[tokio::test(flavor = "multi_thread")]
async fn f31_asking_a_payee_again_that_gives_nothing_signs_nothing_more() {
    let market = Market::open().await;
    let swindler = swindle(&market, |_| {}).await;
    let client = market.client("worker").await;
    let purchase = of_swindler("again");
    for _ in 0..20 {
        client.buy(purchase.clone()).await.unwrap_err();
        assert!(taken_from_budget(&market).await <= PRICE_NANO / 2, "one request, one payment");
    }
    assert!(swindler.taken.load(Ordering::SeqCst) >= 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn f30_a_quote_for_another_place_than_the_listed_one_is_not_paid() {
    let market = Market::open().await;
    let swindler = swindle(&market, |quote| {
        quote.resource = "grpc://127.0.0.1:1/bursar.v1.InferenceService/Infer".to_owned();
    });
    let swindler = swindler.await;
    let error = market.client("worker").await.buy(of_swindler("where")).await.unwrap_err();
    assert_eq!(error.reason, "PAYER_NO_QUOTE");
    assert!(error.message.contains("not at the listed endpoint"), "{}", error.message);
    assert_eq!(swindler.taken.load(Ordering::SeqCst), 0);
    assert_eq!(taken_from_budget(&market).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn f29_a_quote_on_another_network_is_not_paid() {
    let market = Market::open().await;
    let base: Network = "eip155:8453".parse().unwrap();
    let swindler = swindle(&market, |quote| {
        quote.pay_by[0].asset = Asset { network: base, contract: usdc().contract };
    });
    let swindler = swindler.await;
    let error = market.client("worker").await.buy(of_swindler("mainnet")).await.unwrap_err();
    assert_eq!(error.reason, "PAYER_NO_QUOTE");
    assert_eq!(swindler.taken.load(Ordering::SeqCst), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn f28_the_cheapest_allowed_offer_is_paid_whatever_order_it_comes_in() {
    let market = Market::open().await;
    // A quote above its own listing does not count, and the dearer honest one is taken.
    let dear = swindle(&market, |quote| quote.terms = terms(PRICE * 3)).await;
    let bought = market.client("worker").await.buy(echo("hello")).await.unwrap();
    assert_eq!(bought.provider, "echo");
    assert_eq!(dear.taken.load(Ordering::SeqCst), 0);
    assert_eq!(taken_from_budget(&market).await, PRICE_NANO);
}

#[tokio::test(flavor = "multi_thread")]
async fn f27_money_goes_to_the_listed_payee_and_to_nobody_a_quote_names_besides() {
    let market = Market::open().await;
    let swindler = swindle(&market, |quote| quote.pay_by[0].pay_to = key("gas").address()).await;
    let error = market.client("worker").await.buy(of_swindler("send it")).await.unwrap_err();
    assert_eq!(error.reason, "PAYER_NO_QUOTE");
    assert_eq!(swindler.taken.load(Ordering::SeqCst), 0);
}
