//! Calls over HTTP that a channel has paid before: the next one is paid at once, and not asked first what it
//! costs. A front before the provider sees what is asked, and may turn a payment away as a payee would whose
//! price has changed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::HeaderValue;
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bursar::domain::id::RequestId;
use bursar::edge::http::client::{Connector, Fetched, HttpCall, HttpPayer, Reach};
use bursar::ports::clock::Clock;
use reqwest::{Client, StatusCode};

use crate::gateway::{open, post, purse, served};
use crate::market::{Market, PRICE, Shop};

/// Before a provider, under an address of its own, which it says in the place of the provider's.
struct Front {
    provider: String,
    url: String,
    asked: AtomicU64,
    turns_away: AtomicBool,
}

impl Front {
    async fn before(market: &Market) -> Arc<Self> {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let provider = market.provider.as_ref().unwrap().endpoint.clone();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (asked, turns_away) = Default::default();
        let front = Arc::new(Self { provider, url, asked, turns_away });
        let router = Router::new().fallback(pass).with_state(Arc::clone(&front));
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        front
    }

    /// How often somebody asked without a payment.
    fn asked(&self) -> u64 {
        self.asked.load(Ordering::SeqCst)
    }

    fn call(&self) -> HttpCall {
        post(&format!("{}/echo/echo-1", self.url), "hello")
    }
}

/// A header's object with one address in the place of another.
fn renamed(text: &HeaderValue, from: &str, to: &str) -> HeaderValue {
    let object = String::from_utf8(STANDARD.decode(text.as_bytes()).unwrap()).unwrap();
    STANDARD.encode(object.replace(from, to)).parse().unwrap()
}

async fn pass(State(front): State<Arc<Front>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = to_bytes(body, 1 << 20).await.unwrap();
    let asked = Client::new().post(format!("{}{}", front.provider, parts.uri)).body(body);
    let payment = parts.headers.get("payment-signature");
    if payment.is_none() {
        front.asked.fetch_add(1, Ordering::SeqCst);
    }
    let payment = payment.filter(|_| !front.turns_away.swap(false, Ordering::SeqCst));
    let asked = match payment {
        Some(payment) => {
            asked.header("payment-signature", renamed(payment, &front.url, &front.provider))
        }
        None => asked,
    };
    let answer = asked.send().await.unwrap();
    let mut response = Response::builder().status(answer.status());
    for name in ["payment-required", "payment-response", "content-type"] {
        let Some(value) = answer.headers().get(name) else { continue };
        let value = match name {
            "payment-required" => renamed(value, &front.provider, &front.url),
            _ => value.clone(),
        };
        response = response.header(name, value);
    }
    response.body(Body::from(answer.bytes().await.unwrap())).unwrap()
}

async fn fetch(payer: &HttpPayer, call: HttpCall) -> Fetched {
    let fetched = payer.fetch(call).await.unwrap();
    assert_eq!((fetched.status, fetched.body.as_ref()), (StatusCode::OK, &b"olleh"[..]));
    fetched
}

async fn world(by_channel: bool) -> (Market, Arc<Front>, HttpPayer) {
    let market = open(Shop { by_channel, ..Shop::default() }).await;
    let front = Front::before(&market).await;
    let payer = HttpPayer::new(purse(&market), Reach::Loopback);
    (market, front, payer)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_channel_has_paid_is_paid_at_once_the_next_time() {
    let (market, front, payer) = world(true).await;
    for _ in 0..4 {
        fetch(&payer, front.call()).await;
    }
    assert_eq!((front.asked(), served(&market)), (1, 4));
    // What is not served says nothing of the price.
    let failing = HttpCall { body: "fail".into(), ..front.call() };
    assert!(payer.fetch(failing).await.unwrap().status.is_server_error());
    fetch(&payer, front.call()).await;
    assert_eq!((front.asked(), served(&market)), (1, 5));
    // Another path is another price.
    let other = HttpCall { url: format!("{}?output_max=7", front.call().url), ..front.call() };
    fetch(&payer, other).await;
    assert_eq!(front.asked(), 2);
    market.provider.as_ref().unwrap().payee.claim_round(true).await.unwrap();
    assert_eq!(market.earned_on_chain().await, 6 * PRICE);
    assert_eq!(market.audit().await.over_limit().get(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_of_one_connector_know_what_was_offered_to_their_agent() {
    let (market, front, _) = world(true).await;
    let connector = Connector::new(Reach::Loopback);
    for _ in 0..3 {
        fetch(&connector.payer(purse(&market)), front.call()).await;
    }
    assert_eq!((front.asked(), served(&market)), (1, 3));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_takes_a_kept_offer_no_more_is_paid_by_what_it_says_instead_and_once() {
    let (market, front, payer) = world(true).await;
    fetch(&payer, front.call()).await;
    front.turns_away.store(true, Ordering::SeqCst);
    fetch(&payer, front.call()).await;
    assert_eq!((front.asked(), served(&market)), (1, 2), "its refusal said what it costs");
    // Its price may hang on the body: it is asked each time for a while.
    fetch(&payer, front.call()).await;
    assert_eq!(front.asked(), 2);
    market.provider.as_ref().unwrap().payee.claim_round(true).await.unwrap();
    assert_eq!(market.earned_on_chain().await, 3 * PRICE);
    assert_eq!(market.audit().await.over_limit().get(), 0);
}

/// A name stands for one payment, and what is paid on the chain is asked for each time.
#[tokio::test(flavor = "multi_thread")]
async fn a_call_with_a_name_and_one_by_exact_are_asked_first_what_they_cost() {
    let (market, front, payer) = world(true).await;
    fetch(&payer, front.call()).await;
    let now = bursar::edge::clock::SystemClock.now().as_millis();
    let request = Some(RequestId::new(now, [7; 10]));
    fetch(&payer, HttpCall { request, ..front.call() }).await;
    assert_eq!((front.asked(), served(&market)), (2, 2));

    let (market, front, payer) = world(false).await;
    for _ in 0..2 {
        fetch(&payer, front.call()).await;
    }
    assert_eq!((front.asked(), served(&market)), (2, 2));
}
