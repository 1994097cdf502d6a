//! What is read from headers, and what is refused before anybody looks at what it promises.

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::domain::fault::Fault;
use crate::domain::x402::read::encode_text;
use crate::domain::x402::wire::PaymentRequired;
use crate::edge::http::first::{self, FirstRequired};
use crate::edge::http::header::{
    self, PAYMENT_REQUIRED, PAYMENT_RESPONSE, PAYMENT_SIGNATURE, Payment, X_PAYMENT,
};
use crate::edge::http::limits::PAYMENT_TEXT_MAX;

fn way(network: &str) -> Value {
    json!({
        "scheme": "exact", "network": network, "amount": "10000",
        "asset": "0x036CbD53842c5426634e7929541eC2318f3dCF7e",
        "payTo": "0x209693Bc6afc0C5328bA36FaF03C514EF312287C",
        "maxTimeoutSeconds": 60, "extra": { "name": "USDC", "version": "2" }
    })
}

fn second() -> Value {
    json!({ "x402Version": 2, "accepted": way("eip155:84532"), "payload": { "signature": "0x" } })
}

fn first() -> Value {
    json!({ "x402Version": 1, "scheme": "exact", "network": "base-sepolia", "payload": {} })
}

fn offer() -> PaymentRequired {
    let offer = json!({
        "x402Version": 2, "resource": { "url": "http://127.0.0.1/a" },
        "accepts": [way("eip155:84532"), way("eip155:31337")]
    });
    serde_json::from_value(offer).unwrap()
}

fn headers(all: &[(&HeaderName, String)]) -> HeaderMap {
    let value = |text: &String| HeaderValue::try_from(text.clone()).unwrap();
    HeaderMap::from_iter(all.iter().map(|(name, text)| ((*name).clone(), value(text))))
}

fn text(json: &Value) -> String {
    STANDARD.encode(json.to_string())
}

#[test]
fn a_payment_is_read_in_its_version() {
    assert_eq!(header::find_payment(&HeaderMap::new()), Ok(None));
    let found = header::find_payment(&headers(&[(&PAYMENT_SIGNATURE, text(&second()))]));
    assert!(matches!(found, Ok(Some(Payment::Second(_)))), "{found:?}");
    let found = header::find_payment(&headers(&[(&X_PAYMENT, text(&first()))]));
    assert!(matches!(found, Ok(Some(Payment::First(_)))), "{found:?}");
}

#[test]
fn more_than_one_payment_is_none() {
    let (second, first) = (text(&second()), text(&first()));
    let mut twice = headers(&[(&PAYMENT_SIGNATURE, second.clone())]);
    twice.append(PAYMENT_SIGNATURE, HeaderValue::try_from(second.clone()).unwrap());
    let both = headers(&[(&PAYMENT_SIGNATURE, second.clone()), (&X_PAYMENT, first)]);
    for ambiguous in [twice, both] {
        let code = header::find_payment(&ambiguous).unwrap_err().code();
        assert_eq!(code, "http.two_payments");
    }
    let joined = headers(&[(&PAYMENT_SIGNATURE, format!("{second},{second}"))]);
    assert_eq!(header::find_payment(&joined).unwrap_err().code(), "http.header_unreadable");
}

/// Rows P01 to P06: the table says what is fed in, never what is found wrong.
#[test]
fn what_is_no_payment_is_refused_by_its_form() {
    let padded = text(&second());
    let deep = format!("{{\"x402Version\":2,\"a\":{}{}}}", "[".repeat(40), "]".repeat(40));
    let version = |version: Value| {
        let mut payment = second();
        payment["x402Version"] = version;
        text(&payment)
    };
    let mut other_field = second();
    other_field["accepted"]["discount"] = json!("1");
    let table: Vec<String> = vec![
        String::new(),
        "!".into(),
        padded.trim_end_matches('=').to_owned() + "A",
        format!(" {padded}"),
        padded.replacen('e', "-", 1),
        STANDARD.encode("null"),
        STANDARD.encode("[]"),
        STANDARD.encode(r#"{"x402Version":2,"x402Version":2}"#),
        STANDARD.encode(second().to_string().replacen(
            "\"scheme\"",
            "\"scheme\":\"exact\",\"scheme\"",
            1,
        )),
        STANDARD.encode(deep),
        STANDARD.encode(format!("\u{feff}{}", second())),
        STANDARD.encode(format!("{}x", second())),
        version(json!(1)),
        version(json!("2")),
        version(json!(2.0)),
        version(json!(7)),
        version(Value::Null),
        text(&other_field),
        "A".repeat(PAYMENT_TEXT_MAX + 1),
    ];
    for (row, text) in table.into_iter().enumerate() {
        let refused = header::find_payment(&headers(&[(&PAYMENT_SIGNATURE, text)]));
        assert!(refused.is_err(), "row {row}: {refused:?}");
    }
    let other_version = headers(&[(&X_PAYMENT, text(&second()))]);
    assert!(header::find_payment(&other_version).is_err());
}

#[test]
fn every_prefix_and_every_changed_byte_of_a_payment_is_read_or_refused_without_a_panic() {
    let whole = text(&second());
    for end in 0..whole.len() {
        let cut = headers(&[(&PAYMENT_SIGNATURE, whole[..end].to_owned())]);
        assert!(header::find_payment(&cut).is_err(), "a prefix of {end} is no payment");
        let mut bytes = whole.clone().into_bytes();
        bytes[end] ^= 1;
        if let Ok(value) = HeaderValue::from_bytes(&bytes) {
            // Whatever it reads as, it reads as something or is refused.
            let _ = header::find_payment(&HeaderMap::from_iter([(PAYMENT_SIGNATURE, value)]));
        }
    }
}

#[test]
fn an_offer_and_a_settlement_are_read_back_as_they_were_put() {
    let mut sent = HeaderMap::new();
    header::put(&mut sent, PAYMENT_REQUIRED, &offer(), 4096).unwrap();
    assert_eq!(header::find_offer(&sent).unwrap().unwrap(), offer());
    let too_long = header::put(&mut sent, PAYMENT_REQUIRED, &offer(), 16).unwrap_err();
    assert_eq!(too_long.code(), "http.header_too_long");
    let said = json!({ "success": true, "transaction": "0x", "network": "eip155:84532" });
    let said = headers(&[(&PAYMENT_RESPONSE, text(&said))]);
    assert!(header::find_settlement(&said).unwrap().success);
    let lied = headers(&[(&PAYMENT_RESPONSE, text(&json!({ "success": "true" })))]);
    assert_eq!(header::find_settlement(&lied), None);
}

#[test]
fn version_1_says_what_it_has_words_for_and_means_the_same() {
    let said = FirstRequired::of(&offer()).unwrap();
    assert_eq!(said.accepts.len(), 1, "version 1 has no name for the second network");
    assert_eq!(said.accepts[0].network, "base-sepolia");
    assert_eq!(said.accepts[0].max_amount_required, "10000");
    let json = serde_json::to_vec(&said).unwrap();
    let read = first::parse_required(&json).unwrap();
    assert_eq!(read.to_second().accepts, [offer().accepts[0].clone()]);

    let payment: first::FirstPayment = serde_json::from_value(first()).unwrap();
    let meant = payment.to_second(&offer()).unwrap();
    assert_eq!(meant.accepted, offer().accepts[0]);
    assert_eq!(first::FirstPayment::of(&meant).unwrap(), payment);
    let elsewhere = first::FirstPayment { network: "base".into(), ..payment.clone() };
    assert!(elsewhere.to_second(&offer()).is_err());
    let other = first::FirstPayment { scheme: "upto".into(), ..payment };
    assert!(other.to_second(&offer()).is_err());
    assert!(encode_text(&said).len() > 16);
}
