//! A paid router, called by whom it knows nothing of.

use axum::http::header::{ALLOW, CACHE_CONTROL};
use axum::http::{Method, StatusCode};
use reqwest::Client;
use serde_json::{Value, json};

use super::world::{self, PRICE, World};
use crate::domain::x402::read::encode_text;
use crate::domain::x402::wire::{PaymentPayload, PaymentRequired};
use crate::domain::x402::{identifier, offer_receipt};
use crate::edge::http::client::{Origin, Reach, Unpaid};
use crate::edge::http::first::{FirstPayment, FirstRequired};
use crate::edge::http::header::{self, X_PAYMENT_RESPONSE};
use crate::edge::http::{bazaar, first};

fn plain() -> Client {
    let never = reqwest::redirect::Policy::none();
    Client::builder().redirect(never).no_proxy().build().unwrap()
}

async fn offer_at(url: &str) -> PaymentRequired {
    let response = plain().get(url).send().await.unwrap();
    assert_eq!(response.status(), StatusCode::PAYMENT_REQUIRED);
    header::find_offer(response.headers()).unwrap().unwrap()
}

/// A payment of what is asked at `url`, signed and not shown.
pub(super) async fn sign(world: &World, url: &str) -> PaymentPayload {
    let offer = offer_at(url).await;
    let unpaid = Unpaid {
        request: None,
        origin: Origin::of(url, &Reach::Loopback).unwrap(),
        method: Method::GET,
        message: Default::default(),
        offer: offer.into(),
    };
    world.purse.pay(unpaid).await.unwrap().payload
}

pub(super) async fn show(url: &str, payment: &PaymentPayload) -> reqwest::Response {
    let text = encode_text(payment);
    plain().get(url).header("PAYMENT-SIGNATURE", text).send().await.unwrap()
}

#[tokio::test]
async fn a_paid_route_says_its_price_and_every_other_is_free() {
    let world = world::build().await;
    let free = plain().get(world.at("/free")).send().await.unwrap();
    assert_eq!(free.text().await.unwrap(), "free");

    let url = world.at("/weather/rome?lang=it");
    let response = plain().get(&url).send().await.unwrap();
    assert_eq!(response.status(), StatusCode::PAYMENT_REQUIRED);
    assert_eq!(response.headers()[CACHE_CONTROL], "private, no-store");
    let offer = header::find_offer(response.headers()).unwrap().unwrap();
    assert_eq!(offer.resource.url, url);
    assert_eq!(offer.accepts[0].amount, PRICE.to_string());
    let body: FirstRequired = serde_json::from_str(&response.text().await.unwrap()).unwrap();
    assert_eq!(body.accepts[0].max_amount_required, PRICE.to_string());
    assert_eq!(body.accepts[0].network, "base-sepolia");

    let extensions = offer.extensions.unwrap();
    assert!(extensions.contains_key(identifier::KEY));
    assert_eq!(extensions[bazaar::KEY]["info"]["input"]["method"], "GET");
    assert_eq!(extensions[bazaar::KEY]["routeTemplate"], "/weather/:city");
    let signed = offer_receipt::find_offers(&extensions);
    assert_eq!(signed.len(), offer.accepts.len());
    assert_eq!(signed[0].offered_by(), Some(world.service_key));
    assert!(signed[0].payload.is_for(&offer.accepts[0], &url));
    assert_eq!(world.served(), 0);
}

/// Rows D17 and D18: what the router beneath would run for nothing is asked for, or not run.
#[tokio::test]
async fn no_spelling_and_no_method_runs_a_paid_handler_for_free() {
    let world = world::build().await;
    let client = plain();
    for path in [
        "/weather/rome/",
        "//weather/rome",
        "/%77eather/rome",
        "/WEATHER/rome",
        "/x/../weather/rome",
        "/weather/%",
        "/weather/rome%2Foslo",
        "/weather/rome%5Coslo",
        "/weather/rome%252Foslo",
    ] {
        for method in [
            Method::GET,
            Method::HEAD,
            Method::OPTIONS,
            Method::POST,
            Method::PUT,
            Method::DELETE,
            Method::PATCH,
        ] {
            let response = client.request(method.clone(), world.at(path)).send().await.unwrap();
            let status = response.status();
            let expected = match method {
                Method::GET | Method::HEAD => StatusCode::PAYMENT_REQUIRED,
                Method::OPTIONS => StatusCode::NO_CONTENT,
                _ => StatusCode::METHOD_NOT_ALLOWED,
            };
            assert_eq!(status, expected, "{method} {path}");
            let allowed = response.headers().get(ALLOW).map(|allow| allow.to_str().unwrap());
            let asked = expected == StatusCode::PAYMENT_REQUIRED;
            assert_eq!(allowed, (!asked).then_some("GET, HEAD, OPTIONS"), "{method} {path}");
        }
    }
    assert_eq!(world.served(), 0);
}

/// The same where no client library says the path in another form first.
#[tokio::test]
async fn d17_dots_and_slashes_within_a_parameter_are_paid_for_like_any_other() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    let world = world::build().await;
    let host = world.at("").trim_start_matches("http://").trim_end_matches('/').to_owned();
    for path in ["/weather/..", "/weather/.", "/weather/%2e%2e", "/weather/%2E", "/weather/a%2f.."]
    {
        let mut stream = tokio::net::TcpStream::connect(&host).await.unwrap();
        let asked = format!("GET {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
        stream.write_all(asked.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 402 "), "{path}: {answer}");
    }
    assert_eq!(world.served(), 0);
}

#[tokio::test]
async fn the_price_is_told_before_a_body_is_looked_at_and_a_paid_body_is_bounded() {
    let world = world::build().await;
    let huge = "x".repeat(2 * 1024 * 1024);
    let unpaid = plain().post(world.at("/echo")).body("{ no json").send().await.unwrap();
    assert_eq!(unpaid.status(), StatusCode::PAYMENT_REQUIRED);
    let offer = header::find_offer(unpaid.headers()).unwrap().unwrap();
    let unpaid = Unpaid {
        request: None,
        origin: Origin::of(&world.url, &Reach::Loopback).unwrap(),
        method: Method::POST,
        message: Default::default(),
        offer: offer.into(),
    };
    let payment = encode_text(&world.purse.pay(unpaid).await.unwrap().payload);
    let post =
        |body| plain().post(world.at("/echo")).header("PAYMENT-SIGNATURE", &payment).body(body);
    // Refused, or cut off while it is still being sent.
    if let Ok(response) = post(huge).send().await {
        assert_eq!(response.status(), StatusCode::PAYLOAD_TOO_LARGE);
    }
    assert_eq!(world.earned(), 0);
    let paid = post("ping".to_owned()).send().await.unwrap();
    assert_eq!(paid.status(), StatusCode::OK);
    assert_eq!(paid.text().await.unwrap(), "ping");
    assert_eq!(world.earned(), PRICE);
}

#[tokio::test]
async fn a_payment_is_served_once_and_again_with_the_same_answer() {
    let world = world::build().await;
    let url = world.at("/weather/rome");
    let payment = sign(&world, &url).await;
    for _ in 0..3 {
        let response = show(&url, &payment).await;
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers()[CACHE_CONTROL], "private, no-store");
        assert_eq!(response.headers()["x-of"], "weather");
        let said = header::find_settlement(response.headers()).unwrap();
        assert!(said.success);
        let receipt = offer_receipt::find_receipt(said.extensions.as_ref().unwrap()).unwrap();
        assert_eq!(receipt.received_by(), Some(world.service_key));
        assert_eq!(receipt.payload.resource_url, url);
        assert_eq!(response.text().await.unwrap(), "{\"rome\":\"foggy\"}");
    }
    assert_eq!((world.earned(), world.served()), (PRICE, 1));
    // Row A06: it pays for nothing else, not for another city, method or query.
    for other in ["/weather/oslo", "/weather/rome?lang=it"] {
        let response = show(&world.at(other), &payment).await;
        assert_eq!(response.status(), StatusCode::CONFLICT, "{other}: {response:?}");
    }
    // With no word of what it was for it is bound all the same: its name makes a conflict of it, and
    // without a name the other request is simply not paid.
    let oslo = world.at("/weather/oslo");
    let mut elsewhere = payment.clone();
    elsewhere.resource = None;
    assert_eq!(show(&oslo, &elsewhere).await.status(), StatusCode::CONFLICT);
    elsewhere.extensions = None;
    let refused = show(&oslo, &elsewhere).await;
    assert_eq!(refused.status(), StatusCode::PAYMENT_REQUIRED);
    let offer = header::find_offer(refused.headers()).unwrap().unwrap();
    assert_eq!(offer.error.as_deref(), Some("invalid_payload"));
    assert_eq!(offer.resource.url, oslo);
    assert_eq!((world.earned(), world.served()), (PRICE, 1));
}

#[tokio::test]
async fn a_handler_that_refuses_is_heard_and_paid_nothing() {
    let world = world::build().await;
    for status in [404, 500] {
        let url = world.at(&format!("/broken/{status}"));
        let payment = sign(&world, &url).await;
        let response = show(&url, &payment).await;
        assert_eq!(response.status().as_u16(), status);
        assert!(header::find_settlement(response.headers()).is_none());
        assert_eq!(response.text().await.unwrap(), "it is broken");
    }
    assert_eq!((world.earned(), world.served()), (0, 2));
}

#[tokio::test]
async fn version_1_is_answered_in_kind() {
    let world = world::build().await;
    let url = world.at("/weather/rome");
    let payment = FirstPayment::of(&sign(&world, &url).await).unwrap();
    let pay =
        |payment: &FirstPayment| plain().get(&url).header("X-PAYMENT", encode_text(payment)).send();
    let elsewhere = FirstPayment { network: "base".into(), ..payment.clone() };
    let refused = pay(&elsewhere).await.unwrap();
    assert_eq!(refused.status(), StatusCode::PAYMENT_REQUIRED);
    assert!(header::find_offer(refused.headers()).unwrap().is_none(), "version 1 has no header");
    let body = refused.text().await.unwrap();
    assert_eq!(first::parse_required(body.as_bytes()).unwrap().error, "invalid_network");

    let response = pay(&payment).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    let said = response.headers()[X_PAYMENT_RESPONSE].to_str().unwrap();
    let said = crate::domain::x402::read::decode_text(
        said.as_bytes(),
        crate::domain::x402::error::Message::Settlement,
    );
    let said: Value = serde_json::from_slice(&said.unwrap()).unwrap();
    assert_eq!((&said["success"], &said["network"]), (&json!(true), &json!("base-sepolia")));
    assert_eq!((world.earned(), world.served()), (PRICE, 1));
}

/// Row A25.
#[tokio::test]
async fn a_name_is_for_one_request_and_is_given_where_it_is_asked_for() {
    let world = world::build_with(crate::edge::http::sell::PaidDoor::wanting_names).await;
    let url = world.at("/weather/rome");
    let named = sign(&world, &url).await;
    let with_name = |payment: &PaymentPayload, name: Value| {
        let mut payment = payment.clone();
        payment.extensions.as_mut().unwrap()[identifier::KEY]["info"]["id"] = name;
        payment
    };
    for name in ["x".repeat(15), "x".repeat(129), "no spaces in names!".into()] {
        let response = show(&url, &with_name(&named, json!(name))).await;
        assert_eq!(response.status(), StatusCode::BAD_REQUEST);
    }
    let mut nameless = named.clone();
    nameless.extensions = None;
    assert_eq!(show(&url, &nameless).await.status(), StatusCode::BAD_REQUEST);
    assert_eq!(world.served(), 0);

    let name = json!("order-0123456789");
    let first = with_name(&named, name.clone());
    assert_eq!(show(&url, &first).await.status(), StatusCode::OK);
    // The same request under the same name, signed anew: the first payment is the one.
    let again = with_name(&sign(&world, &url).await, name.clone());
    let response = show(&url, &again).await;
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!((world.earned(), world.served()), (PRICE, 1));
    // Another request under it is refused, whatever it comes with.
    let oslo = world.at("/weather/oslo");
    let mut other = again;
    other.resource = None;
    assert_eq!(show(&oslo, &other).await.status(), StatusCode::CONFLICT);
    assert_eq!((world.earned(), world.served()), (PRICE, 1));
}

#[tokio::test]
async fn an_extension_that_is_repeated_otherwise_is_refused() {
    let world = world::build().await;
    let url = world.at("/weather/rome");
    let honest = sign(&world, &url).await;
    let mut changed = honest.clone();
    changed.extensions.as_mut().unwrap()[bazaar::KEY]["info"]["input"]["method"] = json!("PUT");
    let response = show(&url, &changed).await;
    assert_eq!(response.status(), StatusCode::PAYMENT_REQUIRED);
    let offer = header::find_offer(response.headers()).unwrap().unwrap();
    assert_eq!(offer.error.as_deref(), Some("extension_echo_mismatch"));
    let mut added = honest.clone();
    added.extensions.as_mut().unwrap()[bazaar::KEY]["info"]["note"] = json!("more");
    assert_eq!(show(&url, &added).await.status(), StatusCode::OK);
}

#[tokio::test]
async fn a_payment_that_is_none_is_a_bad_request_and_says_nothing_of_itself() {
    let world = world::build().await;
    let url = world.at("/weather/rome");
    let secret = "c2VjcmV0LXByb21wdA==";
    let response = plain().get(&url).header("PAYMENT-SIGNATURE", secret).send().await.unwrap();
    assert_eq!(response.status(), StatusCode::BAD_REQUEST);
    let body = response.text().await.unwrap();
    assert!(!body.contains("secret"), "{body}");
    assert_eq!(serde_json::from_str::<Value>(&body).unwrap()["error"], "invalid_payload");
    let payment = encode_text(&sign(&world, &url).await);
    let both =
        plain().get(&url).header("PAYMENT-SIGNATURE", &payment).header("X-PAYMENT", &payment);
    assert_eq!(both.send().await.unwrap().status(), StatusCode::BAD_REQUEST);
    assert_eq!((world.earned(), world.served()), (0, 0));
}

/// Row A10: each part of what was accepted, changed.
#[tokio::test]
async fn edited_terms_are_refused() {
    let world = world::build().await;
    let url = world.at("/weather/rome");
    let honest = sign(&world, &url).await;
    let edits: [fn(&mut PaymentPayload); 6] = [
        |payment| payment.accepted.amount = "1".into(),
        |payment| payment.accepted.network = "eip155:8453".into(),
        |payment| payment.accepted.scheme = "upto".into(),
        |payment| payment.accepted.max_timeout_seconds = 61,
        |payment| payment.accepted.pay_to = "0x0000000000000000000000000000000000000001".into(),
        |payment| payment.accepted.extra = None,
    ];
    for (row, edit) in edits.into_iter().enumerate() {
        let mut edited = honest.clone();
        edit(&mut edited);
        let response = show(&url, &edited).await;
        assert_eq!(response.status(), StatusCode::PAYMENT_REQUIRED, "row {row}");
    }
    assert_eq!((world.earned(), world.served()), (0, 0));
}
