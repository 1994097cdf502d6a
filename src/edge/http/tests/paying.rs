//! A client that pays, and servers that nobody here wrote.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use axum::Router;
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use serde_json::{Value, json};

use super::world::{self, PRICE, World, get_call};
use crate::domain::fault::Fault;
use crate::domain::id::RequestId;
use crate::domain::ledger::hold::HoldState;
use crate::domain::money::Nano;
use crate::domain::x402::read::encode_text;
use crate::edge::http::client::{FetchError, HttpCall, HttpPayer, PayerPurse, Reach};

/// A server of one handler. Its URL.
pub(super) async fn serve(
    handler: impl Fn(HeaderMap, String) -> Response + Clone + Send + Sync + 'static,
) -> String {
    let (listener, url) = world::listen().await;
    let own = url.clone();
    let router = Router::new().fallback(any(move |headers: HeaderMap| {
        let (handler, own) = (handler.clone(), own.clone());
        async move { handler(headers, own) }
    }));
    world::serve(listener, router);
    url
}

pub(super) fn offer(url: &str, change: impl FnOnce(&mut Value)) -> Value {
    let mut offer = json!({
        "x402Version": 2,
        "resource": { "url": format!("{url}/a") },
        "accepts": [{
            "scheme": "exact", "network": "eip155:84532", "amount": "10",
            "asset": world::usdc().contract.to_string(),
            "payTo": "0x209693Bc6afc0C5328bA36FaF03C514EF312287C",
            "maxTimeoutSeconds": 60, "extra": { "name": "USDC", "version": "2" }
        }]
    });
    change(&mut offer);
    offer
}

pub(super) fn ask(offer: &Value) -> Response {
    let header = [("PAYMENT-REQUIRED", encode_text(offer))];
    (StatusCode::PAYMENT_REQUIRED, header, "{}").into_response()
}

type Edit = fn(&mut Value);

fn code(error: &FetchError) -> &'static str {
    error.code()
}

#[tokio::test]
async fn what_is_asked_is_paid_once_within_the_budget() {
    let world = world::build().await;
    for n in 1..=2 {
        let fetched = world.client.fetch(get_call(&world.at("/weather/rome"))).await.unwrap();
        assert_eq!(fetched.status, StatusCode::OK);
        assert!(fetched.paid.unwrap().settlement.unwrap().success);
        assert_eq!(world.earned(), PRICE * n);
    }
    // The third does not fit under the cap.
    let error = world.client.fetch(get_call(&world.at("/weather/rome"))).await.unwrap_err();
    assert_eq!(code(&error), "ledger.over_budget");
    let states = world.states().await;
    assert_eq!(states.len(), 2);
    assert!(states.iter().all(|state| matches!(state, HoldState::Captured { .. })), "{states:?}");
    let free = world.client.fetch(get_call(&world.at("/free"))).await.unwrap();
    assert_eq!((free.status, free.paid), (StatusCode::OK, None));
}

#[tokio::test]
async fn a_preview_says_what_would_be_decided_and_signs_nothing() {
    let world = world::build().await;
    let seen = world.client.preview(get_call(&world.at("/weather/rome"))).await.unwrap().unwrap();
    assert_eq!(seen.amount.get(), PRICE);
    assert!(seen.denial.is_none() && !seen.too_dear);
    assert_eq!(seen.budgets[0].asked, Nano::new(10));
    assert_eq!(world.client.preview(get_call(&world.at("/free"))).await.unwrap(), None);
    let thrifty = PayerPurse { price_max: Some(Nano::new(9)), ..world.purse.clone() };
    let thrifty = HttpPayer::new(thrifty, Reach::Loopback);
    let seen = thrifty.preview(get_call(&world.at("/weather/rome"))).await.unwrap().unwrap();
    assert!(seen.too_dear);
    let error = thrifty.fetch(get_call(&world.at("/weather/rome"))).await.unwrap_err();
    assert_eq!(code(&error), "payer.too_dear");
    assert_eq!((world.states().await.len(), world.served()), (0, 0));
}

/// Rows A02, B04, G02, G06: what is not pinned or not asked of the origin that was called is not signed.
#[tokio::test]
async fn nothing_is_signed_that_the_registry_does_not_know_or_that_is_another_origins() {
    let world = world::build().await;
    let edits: [(&str, Edit); 7] = [
        ("asset", |offer| {
            offer["accepts"][0]["asset"] = json!("0x00000000000000000000000000000000000000ff");
        }),
        ("domain", |offer| offer["accepts"][0]["extra"]["name"] = json!("USD Coin")),
        ("network", |offer| offer["accepts"][0]["network"] = json!("eip155:1")),
        ("scheme", |offer| offer["accepts"][0]["scheme"] = json!("free")),
        ("zero", |offer| offer["accepts"][0]["amount"] = json!("0")),
        ("origin", |offer| offer["resource"]["url"] = json!("http://127.0.0.1:1/a")),
        ("user", |offer| offer["resource"]["url"] = json!("http://a@127.0.0.1:1/a")),
    ];
    for (what, edit) in edits {
        let paid = Arc::new(AtomicU32::new(0));
        let seen = paid.clone();
        let url = serve(move |headers, own| {
            if headers.contains_key("payment-signature") {
                seen.fetch_add(1, Ordering::SeqCst);
            }
            ask(&offer(&own, edit))
        });
        let error = world.client.fetch(get_call(&format!("{}/a", url.await))).await.unwrap_err();
        assert_eq!(code(&error), "payer.no_quote", "{what}");
        assert_eq!(paid.load(Ordering::SeqCst), 0, "{what}");
    }
    assert_eq!(world.states().await, []);
}

/// Row D09: a server that asks for ever is paid once.
#[tokio::test]
async fn a_server_that_asks_again_is_not_paid_again() {
    let world = world::build().await;
    let paid = Arc::new(AtomicU32::new(0));
    let seen = paid.clone();
    let url = serve(move |headers, own| {
        if headers.contains_key("payment-signature") {
            seen.fetch_add(1, Ordering::SeqCst);
        }
        ask(&offer(&own, |_| ()))
    })
    .await;
    let request = Some(RequestId::new(1_800_000_000_000, [5; 10]));
    let call = HttpCall { request, ..get_call(&format!("{url}/a")) };
    let fetched = world.client.fetch(call.clone()).await.unwrap();
    assert_eq!(fetched.status, StatusCode::PAYMENT_REQUIRED);
    assert_eq!(paid.load(Ordering::SeqCst), 1);
    // The same request is the same authorization, shown once more.
    settle_down(&world).await;
    world.client.fetch(call).await.unwrap();
    assert_eq!(world.states().await, [HoldState::Unknown]);
}

/// Until what was paid before is written down.
async fn settle_down(world: &World) {
    loop {
        let states = |ledger: &crate::domain::ledger::Ledger| {
            ledger.holds().into_iter().map(|hold| hold.state).collect::<Vec<_>>()
        };
        if world.treasury.read(states).await.unwrap() == [HoldState::Unknown] {
            return;
        }
        tokio::task::yield_now().await;
    }
}

/// Row G08.
#[tokio::test]
async fn a_redirect_is_an_answer_and_nothing_follows_it() {
    let world = world::build().await;
    let called = Arc::new(AtomicU32::new(0));
    let seen = called.clone();
    let other = serve(move |_, _| {
        seen.fetch_add(1, Ordering::SeqCst);
        StatusCode::OK.into_response()
    })
    .await;
    for (status, when_paid) in [(302, false), (307, true), (308, true)] {
        let (to, status) = (other.clone(), StatusCode::from_u16(status).unwrap());
        let url = serve(move |headers, own| {
            if when_paid && !headers.contains_key("payment-signature") {
                return ask(&offer(&own, |_| ()));
            }
            (status, [("location", to.clone())]).into_response()
        })
        .await;
        let fetched = world.client.fetch(get_call(&format!("{url}/a"))).await.unwrap();
        assert_eq!(fetched.status, status);
    }
    assert_eq!(called.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn d08_what_is_shown_and_never_answered_stays_in_doubt() {
    let world = world::build().await;
    let url = serve(move |headers, own| {
        if headers.contains_key("payment-signature") {
            // Longer than it says: the connection breaks.
            let body = axum::body::Body::from_stream(futures_util::stream::iter([
                Ok::<_, std::io::Error>(bytes::Bytes::from_static(b"half")),
                Err(std::io::Error::other("broken")),
            ]));
            return body.into_response();
        }
        ask(&offer(&own, |_| ()))
    })
    .await;
    let error = world.client.fetch(get_call(&format!("{url}/a"))).await.unwrap_err();
    assert_eq!(code(&error), "fetch.in_doubt");
    assert_eq!(world.states().await, [HoldState::Unknown]);
}

async fn is_paid_in_version_1(told_in: &'static str, mime_type: Value) {
    let world = world::build().await;
    let url = serve(move |headers, own| {
        if headers.contains_key("x-payment") {
            let said = json!({
                "success": true, "network": "base-sepolia",
                "transaction": format!("0x{}", "1".repeat(64)),
            });
            return ([(told_in, encode_text(&said))], "paid").into_response();
        }
        let way = json!({
            "scheme": "exact", "network": "base-sepolia", "maxAmountRequired": "10",
            "resource": format!("{own}/a"), "description": "", "mimeType": mime_type,
            "payTo": "0x209693Bc6afc0C5328bA36FaF03C514EF312287C", "maxTimeoutSeconds": 60,
            "asset": world::usdc().contract.to_string(), "outputSchema": null,
            "extra": { "name": "USDC", "version": "2" }
        });
        let body = json!({ "x402Version": 1, "error": "pay", "accepts": [way] });
        (StatusCode::PAYMENT_REQUIRED, body.to_string()).into_response()
    })
    .await;
    let fetched = world.client.fetch(get_call(&format!("{url}/a"))).await.unwrap();
    assert_eq!((fetched.status, &fetched.body[..]), (StatusCode::OK, &b"paid"[..]));
    let states = world.states().await;
    assert!(matches!(states[..], [HoldState::Captured { .. }]), "{states:?}");
}

#[tokio::test]
async fn a_server_of_version_1_is_paid_in_version_1() {
    is_paid_in_version_1("X-PAYMENT-RESPONSE", json!("")).await;
}

/// x402-axum 2.0.2 writes null for a type that it does not know, which was read as no offer at all, and tells of
/// the settlement under version 2's name with version 1's network, which left the payment in doubt.
#[tokio::test]
async fn a_server_of_version_1_is_paid_that_speaks_it_as_x402_rs_does() {
    is_paid_in_version_1("PAYMENT-RESPONSE", Value::Null).await;
}

#[tokio::test]
async fn a_caller_that_brings_a_payment_of_its_own_is_refused_before_anything_is_sent() {
    let world = world::build().await;
    for name in ["payment-signature", "x-payment", "host"] {
        let mut call = get_call(&world.at("/free"));
        call.headers.insert(name, "x".parse().unwrap());
        let error = world.client.fetch(call).await.unwrap_err();
        assert_eq!(code(&error), "fetch.own_payment");
    }
    let far = HttpCall { method: Method::GET, ..get_call("http://example.com/") };
    assert_eq!(code(&world.client.fetch(far).await.unwrap_err()), "origin.beyond");
}
