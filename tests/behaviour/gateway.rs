//! A provider's wares over HTTP, on a real EVM, with journals on disk: whoever speaks x402 pays for them,
//! in every way that the provider takes. Row ids are those of the threat model.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use async_trait::async_trait;
use bursar::domain::commitment::{Scheme, TransferMethod};
use bursar::domain::id::AgentId;
use bursar::domain::money::Amount;
use bursar::domain::order::{Units, Usage};
use bursar::domain::quote::PriceTerms;
use bursar::domain::x402::wire::{PaymentPayload, SettlementResponse};
use bursar::edge::clock::{SystemClock, SystemEntropy};
use bursar::edge::http::client::{Fetched, HttpCall, HttpPayer, Origin, PayerPurse, Reach, Unpaid};
use bursar::edge::http::header;
use bursar::ports::engine::{Engine, EngineError, Step, Work};
use futures_util::stream::{self, BoxStream, StreamExt};
use reqwest::{Client, Method, Response, StatusCode};
use serde_json::Value;
use tokio::sync::Semaphore;

use crate::market::{Market, POLICY, PRICE, Shop, key, name};
use crate::upto::approve;

/// What one byte of output costs, in atomic units.
const PER_BYTE: u128 = 10;

/// A market whose agents may call over HTTP.
pub async fn open(shop: Shop) -> Market {
    let mut market = Market::open_with(shop).await;
    market.restart_node(&POLICY.replace("[\"echo\"]", "[\"echo\", \"http.call\"]")).await;
    market
}

fn at(market: &Market, path: &str) -> String {
    format!("{}{path}", market.provider.as_ref().unwrap().endpoint)
}

pub fn purse(market: &Market) -> PayerPurse {
    PayerPurse {
        payer: market.node().payer.clone(),
        agent: AgentId::named(&name("worker")),
        session: None,
        price_max: None,
        clock: Arc::new(SystemClock),
        entropy: Arc::new(SystemEntropy),
    }
}

pub fn post(url: &str, body: &str) -> HttpCall {
    HttpCall {
        request: None,
        method: Method::POST,
        url: url.to_owned(),
        headers: Default::default(),
        body: body.to_owned().into(),
    }
}

async fn fetch(market: &Market, path: &str, body: &str) -> Fetched {
    let client = HttpPayer::new(purse(market), Reach::Loopback);
    client.fetch(post(&at(market, path), body)).await.unwrap()
}

/// The node's payment of what is asked for `body`, which nobody was shown yet.
async fn pay(market: &Market, body: &'static str) -> PaymentPayload {
    let url = at(market, "/echo/echo-1");
    let asked = Client::new().post(&url).body(body).send().await.unwrap();
    let offer = header::find_offer(asked.headers()).unwrap().unwrap();
    let origin = Origin::of(&url, &Reach::Loopback).unwrap();
    let message = Default::default();
    let offer = offer.into();
    let unpaid = Unpaid { request: None, origin, method: Method::POST, message, offer };
    purse(market).pay(unpaid).await.unwrap().payload
}

pub fn served(market: &Market) -> u64 {
    market.engine.served.load(Ordering::SeqCst)
}

fn settled(fetched: &Fetched) -> SettlementResponse {
    fetched.paid.clone().unwrap().settlement.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_provider_sells_is_sold_over_http_at_the_same_address_and_price() {
    let market = open(Shop::default()).await;
    let listed: Value = {
        let asked = Client::new().get(at(&market, "/")).send().await.unwrap();
        serde_json::from_slice(&asked.bytes().await.unwrap()).unwrap()
    };
    assert_eq!(listed["wares"][0]["url"], at(&market, "/echo/echo-1"));
    let fetched = fetch(&market, "/echo/echo-1", "hello").await;
    assert_eq!((fetched.status, fetched.body.as_ref()), (StatusCode::OK, &b"olleh"[..]));
    assert_eq!(fetched.headers["content-type"], "text/plain");
    assert_eq!(fetched.headers["cache-control"], "private, no-store");
    assert!(settled(&fetched).success);
    assert_eq!(market.earned_on_chain().await, PRICE);
    assert_eq!(market.audit().await.over_limit().get(), 0);
}

/// Rows D17 and D18, and the paywall before the body: nothing runs that is not paid.
#[tokio::test(flavor = "multi_thread")]
async fn d17_d18_no_method_no_spelling_and_no_body_runs_an_engine_for_free() {
    let market = open(Shop::default()).await;
    let client = Client::new();
    for body in ["", "hello", "{ no json"] {
        let asked = client.post(at(&market, "/echo/echo-1")).body(body).send().await.unwrap();
        assert_eq!(asked.status(), StatusCode::PAYMENT_REQUIRED, "{body}");
        let offer = header::find_offer(asked.headers()).unwrap().unwrap();
        assert_eq!(offer.resource.url, at(&market, "/echo/echo-1"));
        assert_eq!(offer.accepts[0].amount, PRICE.to_string());
    }
    for path in ["/echo/echo-1", "/echo/echo-1/", "//echo/echo-1", "/ECHO/echo-1", "/echo%2fecho-1"]
    {
        for method in ["GET", "HEAD", "OPTIONS", "PUT", "DELETE", "PATCH", "TRACE"] {
            let method: Method = method.parse().unwrap();
            let asked = client.request(method.clone(), at(&market, path)).body("x").send().await;
            let status = asked.unwrap().status();
            assert!(matches!(status.as_u16(), 404 | 405), "{method} {path}: {status}");
        }
    }
    assert_eq!((served(&market), market.earned_on_chain().await), (0, 0));
}

/// Rows A04 to A06: one payment is one answer, for the request that it was first shown with.
#[tokio::test(flavor = "multi_thread")]
async fn a04_a05_a06_a_payment_shown_again_and_again_is_served_once_and_for_one_request() {
    let market = open(Shop::default()).await;
    let url = at(&market, "/echo/echo-1");
    let mut payment = pay(&market, "once").await;
    // Without a name of its own: what binds it is the signature alone.
    payment.extensions = None;
    let payment = bursar::domain::x402::read::encode_text(&payment);
    let show = async |body: &'static str| {
        let shown = Client::new().post(&url).header("PAYMENT-SIGNATURE", &payment).body(body);
        let shown = shown.send().await.unwrap();
        let offered = header::find_offer(shown.headers()).unwrap();
        (shown.status(), offered, shown.bytes().await.unwrap())
    };
    let shows = futures_util::future::join_all((0..16).map(|_| show("once"))).await;
    for (status, _, body) in shows {
        assert_eq!((status, body.as_ref()), (StatusCode::OK, &b"ecno"[..]));
    }
    let (status, offered, _) = show("twice").await;
    assert_eq!(status, StatusCode::PAYMENT_REQUIRED);
    assert_eq!(offered.unwrap().error.as_deref(), Some("invalid_payload"));
    assert_eq!((served(&market), market.earned_on_chain().await), (1, PRICE));
}

/// An engine whose second word waits until it is let go.
struct Halting(Arc<Semaphore>);

#[async_trait]
impl Engine for Halting {
    fn count_input(&self, work: &Work) -> Result<Units, EngineError> {
        Ok(Units(work.body.len() as u64))
    }

    async fn run(
        &self,
        work: Work,
    ) -> Result<BoxStream<'static, Result<Step, EngineError>>, EngineError> {
        let (content_type, model) = ("text/event-stream".to_owned(), "echo-1".to_owned());
        let begin = [Ok(Step::Begin { content_type, model }), Ok(Step::Chunk("first ".into()))];
        let gate = Arc::clone(&self.0);
        let fails = work.body.as_ref() == b"fail";
        let rest = stream::once(async move {
            gate.acquire().await.unwrap().forget();
            let usage = Usage { output: Units(2), bytes: 10, ..Usage::default() };
            match fails {
                true => vec![Err(EngineError::Failed("as asked".to_owned()))],
                false => vec![Ok(Step::Chunk("last".into())), Ok(Step::Done(usage))],
            }
        });
        Ok(stream::iter(begin).chain(rest.flat_map(stream::iter)).boxed())
    }
}

/// A market that sells by it, and what lets it go on.
async fn open_halting() -> (Market, Arc<Semaphore>) {
    let gate = Arc::new(Semaphore::new(0));
    let engine: Arc<dyn Engine> = Arc::new(Halting(Arc::clone(&gate)));
    (open(Shop { engine: Some(engine), ..Shop::default() }).await, gate)
}

/// Asks for a stream with a payment of its own, and gives it out with the header that pays.
async fn ask_streamed(market: &Market, body: &'static str) -> (Response, String) {
    let payment = bursar::domain::x402::read::encode_text(&pay(market, body).await);
    (show_streamed(market, body, &payment).await, payment)
}

async fn show_streamed(market: &Market, body: &'static str, payment: &str) -> Response {
    let shown = Client::new().post(at(market, "/echo/echo-1")).body(body);
    let shown = shown.header("accept", "text/event-stream").header("PAYMENT-SIGNATURE", payment);
    shown.send().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_for_a_stream_gets_the_answer_as_it_is_made_and_after_it_was_settled() {
    let (market, gate) = open_halting().await;
    let (mut answer, payment) = ask_streamed(&market, "hello").await;
    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!(answer.headers()["content-type"], "text/event-stream");
    assert_eq!(answer.headers()["cache-control"], "private, no-store");
    let said = header::find_settlement(answer.headers()).unwrap();
    assert!(said.success, "{said:?}");
    // The engine has not gone on yet, and the money has moved.
    assert_eq!(answer.chunk().await.unwrap().unwrap(), "first ");
    assert_eq!(market.earned_on_chain().await, PRICE);
    gate.add_permits(1);
    assert_eq!(answer.bytes().await.unwrap(), "last");
    // What was paid for is given again, and costs no second payment.
    let again = show_streamed(&market, "hello", &payment).await;
    assert_eq!(again.bytes().await.unwrap(), "first last");
    assert_eq!(market.earned_on_chain().await, PRICE);
}

/// Row D10: a stream that breaks off after it was paid is no whole answer, and the same payment asks
/// for it again.
#[tokio::test(flavor = "multi_thread")]
async fn d10_a_paid_stream_that_breaks_off_says_so_and_is_owed_still() {
    let (market, gate) = open_halting().await;
    let (mut answer, payment) = ask_streamed(&market, "fail").await;
    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!(answer.chunk().await.unwrap().unwrap(), "first ");
    gate.add_permits(1);
    assert!(answer.bytes().await.is_err(), "a broken answer is not taken for a whole one");
    assert_eq!(market.earned_on_chain().await, PRICE);
    let mut again = show_streamed(&market, "fail", &payment).await;
    assert_eq!(again.status(), StatusCode::OK, "it is served once more, and not paid once more");
    assert_eq!(again.chunk().await.unwrap().unwrap(), "first ");
    gate.add_permits(1);
    assert!(again.bytes().await.is_err());
    assert_eq!(market.earned_on_chain().await, PRICE);
}

/// Row D10: an engine that fails is paid nothing.
#[tokio::test(flavor = "multi_thread")]
async fn d10_what_is_not_served_is_not_settled() {
    let market = open(Shop::default()).await;
    let fetched = fetch(&market, "/echo/echo-1", "fail").await;
    assert_eq!(fetched.status, StatusCode::BAD_GATEWAY);
    assert_eq!((served(&market), market.earned_on_chain().await), (0, 0));
}

/// Row C10: a metered call costs what was used, of the maximum that was authorized.
#[tokio::test(flavor = "multi_thread")]
async fn a_metered_call_is_charged_what_was_used() {
    let terms = PriceTerms { per_1k_output: Amount::new(PER_BYTE * 1000), ..PriceTerms::default() };
    let scheme = Scheme::Upto { facilitator: key("gas").address() };
    let instead = Some((scheme, TransferMethod::Permit2));
    let market = open(Shop { terms, instead, ..Shop::default() }).await;
    approve(&market, 1_000_000).await;
    let fetched = fetch(&market, "/echo/echo-1?output_max=100", "hello").await;
    assert_eq!((fetched.status, fetched.body.as_ref()), (StatusCode::OK, &b"olleh"[..]));
    assert_eq!(settled(&fetched).amount, Some((5 * PER_BYTE).to_string()));
    assert_eq!(market.earned_on_chain().await, 5 * PER_BYTE);
}

#[tokio::test(flavor = "multi_thread")]
async fn exact_by_permit2_pays_over_http_too() {
    let instead = Some((Scheme::Exact, TransferMethod::Permit2));
    let market = open(Shop { instead, ..Shop::default() }).await;
    approve(&market, 1_000_000).await;
    let fetched = fetch(&market, "/echo/echo-1", "hello").await;
    assert_eq!(fetched.status, StatusCode::OK);
    assert_eq!(market.earned_on_chain().await, PRICE);
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_by_channel_cost_one_deposit_and_no_other_transaction() {
    let market = open(Shop { by_channel: true, ..Shop::default() }).await;
    for n in 1..=3_u128 {
        let fetched = fetch(&market, "/echo/echo-1", "hello").await;
        assert_eq!((fetched.status, fetched.body.as_ref()), (StatusCode::OK, &b"olleh"[..]));
        let extra = settled(&fetched).extra.unwrap();
        assert_eq!(extra["chargedAmount"], PRICE.to_string());
        let sum = &extra["channelState"]["chargedCumulativeAmount"];
        assert_eq!(*sum, (PRICE * n).to_string());
    }
    assert_eq!(market.earned_on_chain().await, 0, "nothing moved to the payee yet");
    market.provider.as_ref().unwrap().payee.claim_round(true).await.unwrap();
    assert_eq!(market.earned_on_chain().await, 3 * PRICE);
}
