//! Rows of the threat model that concern both doors over HTTP, by their ids.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use alloy::primitives::B256;
use alloy::signers::SignerSync;
use alloy::signers::local::PrivateKeySigner;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::paying::{ask, offer, serve};
use super::selling::{show, sign};
use super::world::{self, PRICE, get_call};
use crate::domain::fault::Fault;
use crate::domain::id::RequestId;
use crate::domain::ledger::hold::HoldState;
use crate::domain::x402::error::Message;
use crate::domain::x402::offer_receipt::{Artifact, OfferPayload, offers_extension};
use crate::domain::x402::read::{decode_text, encode_text, parse_payment_payload};
use crate::domain::x402::wire::PaymentPayload;
use crate::edge::http::client::HttpCall;
use crate::edge::http::{first, header};

fn authorization(payment: &mut PaymentPayload) -> &mut Value {
    payment.payload.get_mut("authorization").unwrap()
}

type Flip = fn(&mut PaymentPayload);

/// Rows A01, A11, B01, B02, C01, C02: each signed field, changed after it was signed.
#[tokio::test]
async fn a01_nothing_that_was_signed_can_be_changed() {
    let world = world::build().await;
    let url = world.at("/weather/rome");
    let honest = sign(&world, &url).await;
    let flips: [(&str, Flip); 9] = [
        ("from", |it| authorization(it)["from"] = json!(format!("0x{}", "01".repeat(20)))),
        ("to", |it| authorization(it)["to"] = json!(format!("0x{}", "02".repeat(20)))),
        ("value below", |it| authorization(it)["value"] = json!("9")),
        ("value above", |it| authorization(it)["value"] = json!("11")),
        ("too early", |it| authorization(it)["validAfter"] = json!("1900000000")),
        ("too late", |it| authorization(it)["validBefore"] = json!("1800000001")),
        ("later", |it| authorization(it)["validBefore"] = json!("1800000059")),
        ("nonce", |it| authorization(it)["nonce"] = json!(format!("0x{}", "03".repeat(32)))),
        ("signature", |it| {
            let text = it.payload["signature"].as_str().unwrap().to_owned();
            let flipped = if text.ends_with('b') { "c" } else { "b" };
            let flipped = format!("{}{flipped}", &text[..text.len() - 1]);
            it.payload.insert("signature".to_owned(), json!(flipped));
        }),
    ];
    for (what, flip) in flips {
        let mut payment = honest.clone();
        flip(&mut payment);
        // Without its name, so that it is the signature that is looked at.
        payment.extensions = None;
        let response = show(&url, &payment).await;
        assert_eq!(response.status(), StatusCode::PAYMENT_REQUIRED, "{what}");
        let offer = header::find_offer(response.headers()).unwrap().unwrap();
        let code = offer.error.unwrap();
        assert!(code.starts_with("invalid_"), "{what}: {code}");
        assert_eq!((world.earned(), world.served()), (0, 0), "{what}");
    }
    assert_eq!(show(&url, &honest).await.status(), StatusCode::OK);
    assert_eq!((world.earned(), world.served()), (PRICE, 1));
}

/// Row P10: a network by another spelling of its name, at both doors.
#[tokio::test]
async fn p10_a_network_by_another_spelling_is_neither_taken_nor_paid_on() {
    let world = world::build().await;
    let url = world.at("/weather/rome");
    let honest = sign(&world, &url).await;
    let kilobyte = format!("eip155:{}", "8".repeat(1024));
    let spellings =
        ["eip155:084532", "EIP155:84532", "eip155:0x14a34", "eip155:84532:0x1", &kilobyte];
    for network in spellings {
        let mut payment = honest.clone();
        payment.accepted.network = network.to_owned();
        let response = show(&url, &payment).await;
        assert_eq!(response.status(), StatusCode::PAYMENT_REQUIRED, "{network}");
        let offer = header::find_offer(response.headers()).unwrap().unwrap();
        assert_eq!(offer.error.as_deref(), Some("invalid_network"), "{network}");
        assert_eq!((world.earned(), world.served()), (0, 0), "{network}");
        // What version 1 calls a network goes by the same reader.
        assert_eq!(first::name_of_network(network), None);
    }
    assert_eq!(first::name_of_network("eip155:84532"), Some("base-sepolia"));
    assert_eq!(show(&url, &honest).await.status(), StatusCode::OK);

    for network in spellings.map(str::to_owned) {
        let world = world::build().await;
        let url = serve(move |_, own| {
            ask(&offer(&own, |offer| offer["accepts"][0]["network"] = json!(network)))
        });
        let call = get_call(&format!("{}/a", url.await));
        let error = world.client.fetch(call).await.unwrap_err();
        assert_eq!(error.code(), "payer.no_quote");
        assert_eq!(world.states().await, []);
    }
}

/// An offer of the way that `asked` names, signed by a key of the server's own.
fn signed_offer(asked: &Value) -> Value {
    let way = serde_json::from_value(asked["accepts"][0].clone()).unwrap();
    let resource = asked["resource"]["url"].as_str().unwrap();
    let payload = OfferPayload::of_wire(&way, resource, 1_900_000_000);
    let key = PrivateKeySigner::from_bytes(&B256::repeat_byte(7)).unwrap();
    let signature = key.sign_hash_sync(&payload.digest()).unwrap();
    offers_extension(&[Artifact::new(payload, &signature, Some(0))])
}

type Tamper = fn(&mut Value);

/// Row A24: a signed offer proves something to who keeps it. What is signed follows from the terms that are
/// asked, the registry and the caps, whatever an offer beside them says.
#[tokio::test]
async fn a24_an_offer_that_was_tampered_with_changes_nothing_of_what_is_signed() {
    let tampers: [(&str, Tamper); 7] = [
        ("nothing", |_| ()),
        ("index", |offer| offer["acceptIndex"] = json!(7)),
        ("amount", |offer| offer["payload"]["amount"] = json!("1")),
        ("payee", |offer| offer["payload"]["payTo"] = json!(format!("0x{}", "02".repeat(20)))),
        ("place", |offer| offer["payload"]["resourceUrl"] = json!("http://127.0.0.1:1/b")),
        ("over", |offer| offer["payload"]["validUntil"] = json!(1)),
        ("key", |offer| offer["signature"] = json!(format!("0x{}", "11".repeat(65)))),
    ];
    for (what, tamper) in tampers {
        let world = world::build().await;
        let shown = Arc::new(Mutex::new(Vec::new()));
        let seen = shown.clone();
        let url = serve(move |headers, own| match headers.get("payment-signature") {
            None => ask(&offer(&own, |asked| {
                let mut signed = signed_offer(asked);
                tamper(&mut signed["info"]["offers"][0]);
                asked["extensions"] = json!({ "offer-receipt": signed });
            })),
            Some(text) => {
                let payment = decode_text(text.as_bytes(), Message::Payload).unwrap();
                seen.lock().unwrap().push(parse_payment_payload(&payment).unwrap());
                StatusCode::INTERNAL_SERVER_ERROR.into_response()
            }
        });
        let url = url.await;
        world.client.fetch(get_call(&format!("{url}/a"))).await.unwrap();
        let shown = shown.lock().unwrap();
        let asked = offer(&url, |_| ());
        assert_eq!(shown.len(), 1, "{what}");
        assert_eq!(shown[0].accepted.amount, asked["accepts"][0]["amount"], "{what}");
        let signed = &shown[0].payload["authorization"];
        assert_eq!(signed["value"], asked["accepts"][0]["amount"], "{what}");
        assert_eq!(signed["to"], asked["accepts"][0]["payTo"], "{what}");
    }
}

/// Rows B04 and B05: a life that no payer would give, and one that is none.
#[tokio::test]
async fn b04_b05_an_authorization_lives_no_longer_than_the_payer_lets_it() {
    let life = |text: &'static str| {
        move |offer: &mut Value| {
            offer["accepts"][0]["maxTimeoutSeconds"] = serde_json::from_str(text).unwrap();
        }
    };
    for text in ["315360000", "18446744073709551615", "9007199254740993"] {
        let world = world::build().await;
        let url = serve(move |_, own| ask(&offer(&own, life(text)))).await;
        let answered = world.client.fetch(get_call(&format!("{url}/a"))).await;
        let lives = |ledger: &crate::domain::ledger::Ledger| {
            let holds = ledger.holds().into_iter();
            holds.map(|hold| hold.held.commitment.valid_before_s).collect::<Vec<_>>()
        };
        let lives = world.treasury.read(lives).await.unwrap();
        assert_eq!(answered.is_ok(), lives.len() == 1, "{text}: {answered:?}");
        assert!(lives.iter().all(|end| *end <= 1_800_000_000 + 120), "{text}: {lives:?}");
    }
    for text in ["0", "-1", "null", "\"60\"", "60.5"] {
        let world = world::build().await;
        let url = serve(move |_, own| ask(&offer(&own, life(text)))).await;
        let error = world.client.fetch(get_call(&format!("{url}/a"))).await.unwrap_err();
        assert!(matches!(error.code(), "fetch.offer" | "payer.no_quote"), "{text}: {error}");
        assert_eq!(world.states().await, [], "{text}");
    }
}

/// Rows C03 to C05: amounts that are none, that are not texts, and of another order of magnitude.
#[tokio::test]
async fn c03_c04_c05_no_spelling_and_no_size_of_an_amount_is_signed() {
    let above = format!("1{}", "0".repeat(78));
    let spelled = [
        "1e3",
        "0x10",
        "+1",
        " 1",
        "01",
        "1.0",
        "-1",
        "",
        "١",
        "１",
        "10\u{0}",
        &above,
        "115792089237316195423570985008687907853269984665640564039457584007913129639936",
        "10000000000000000000",
    ];
    let amounts = spelled.map(|text| json!(text)).into_iter();
    for amount in amounts.chain([json!(10), json!(10.5), Value::Null, json!(["10"])]) {
        let (world, asked) = (world::build().await, amount.clone());
        let url = serve(move |_, own| {
            let asked = asked.clone();
            ask(&offer(&own, |offer| offer["accepts"][0]["amount"] = asked))
        });
        let call = get_call(&format!("{}/a", url.await));
        let error = world.client.fetch(call).await.unwrap_err();
        let code = error.code();
        let is_known = ["fetch.offer", "payer.no_quote"].contains(&code)
            || code.starts_with("policy.")
            || code.starts_with("ledger.");
        assert!(is_known, "{amount}: {code}");
        assert_eq!(world.states().await, [], "{amount}");
    }
}

/// What a server says to a payment that it has taken, or has not.
type Answer = fn() -> Response;

/// Row D08: whatever comes back, one request is one authorization, and only a plain word that it settled
/// ends it.
#[tokio::test]
async fn d08_an_ambiguous_answer_is_never_a_second_authorization() {
    let answers: [(&str, Answer); 7] = [
        ("nothing of it", || "paid".into_response()),
        ("500", || StatusCode::INTERNAL_SERVER_ERROR.into_response()),
        ("402 again", || (StatusCode::PAYMENT_REQUIRED, "{}").into_response()),
        ("no base64", || ([("PAYMENT-RESPONSE", "%%%")], "x").into_response()),
        ("a text for true", || {
            with(json!({ "success": "true", "network": "eip155:84532", "transaction": "0x" }))
        }),
        ("pending", || {
            with(
                json!({ "success": false, "errorReason": "settlement_pending", "network": "eip155:84532", "transaction": "" }),
            )
        }),
        ("failed", || {
            with(
                json!({ "success": false, "errorReason": "invalid_transaction_state", "network": "eip155:84532", "transaction": "" }),
            )
        }),
    ];
    for (what, answer) in answers {
        let world = world::build().await;
        let shown = Arc::new(AtomicU32::new(0));
        let seen = shown.clone();
        let url = serve(move |headers, own| match headers.get("payment-signature") {
            None => ask(&offer(&own, |_| ())),
            Some(_) => {
                seen.fetch_add(1, Ordering::SeqCst);
                answer()
            }
        });
        let request = Some(RequestId::new(1_800_000_000_000, [6; 10]));
        let call = HttpCall { request, ..get_call(&format!("{}/a", url.await)) };
        world.client.fetch(call.clone()).await.unwrap();
        assert_eq!(world.states().await, [HoldState::Unknown], "{what}");
        assert_eq!(shown.load(Ordering::SeqCst), 1, "{what}");
    }
}

fn with(said: Value) -> Response {
    ([("PAYMENT-RESPONSE", encode_text(&said))], "paid").into_response()
}
