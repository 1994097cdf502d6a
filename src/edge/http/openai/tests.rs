//! What is read of requests, what is refused, and what goes out at a stream's end.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests fail by panicking")]

use axum::response::IntoResponse;
use bytes::Bytes;
use http::StatusCode;

use super::answer::{Cost, with_cost};
use super::asked::Asked;
use super::events::Events;
use super::*;
use crate::domain::id::{PaymentId, RequestId};
use crate::domain::order::Units;
use crate::runtime::limits::{Key, Limited};
use crate::runtime::payer::PayError;

fn order(face: Face, body: &str, role_max: Option<u64>) -> Option<(u64, bool)> {
    let asked = Asked::read(face, body.as_bytes()).ok()?;
    let order = asked.order(face, body.len(), role_max.map(Units));
    assert_eq!(order.input_max.0, u64::try_from(body.len()).unwrap());
    assert_eq!(order.capability.as_str(), face.capability());
    Some((order.output_max.0, asked.streamed))
}

#[test]
fn an_order_covers_what_the_body_asks_for_and_no_more() {
    let rows = [
        (Face::Chat, r#"{"model":"m","max_tokens":7}"#, Some((7, false))),
        (Face::Chat, r#"{"model":"m","max_tokens":7,"max_completion_tokens":9}"#, Some((9, false))),
        (Face::Chat, r#"{"model":"m","max_tokens":7,"n":3,"stream":true}"#, Some((21, true))),
        (Face::Chat, r#"{"model":"m","new":{"deep":[1]}}"#, Some((1024, false))),
        (
            Face::Completions,
            r#"{"model":"m","prompt":["a","b"],"max_tokens":5}"#,
            Some((10, false)),
        ),
        (Face::Completions, r#"{"model":"m","prompt":[1,2,3],"max_tokens":5}"#, Some((5, false))),
        (Face::Completions, r#"{"model":"m","prompt":[1,"a"],"max_tokens":5}"#, Some((10, false))),
        (Face::Completions, r#"{"model":"m","prompt":[],"max_tokens":5}"#, None),
        (Face::Chat, r#"{"model":"m","max_tokens":7,"n_cmpl":3}"#, Some((21, false))),
        (Face::Responses, r#"{"model":"m","max_output_tokens":4}"#, Some((4, false))),
        (Face::Embeddings, r#"{"model":"m","input":"x","stream":true}"#, Some((0, false))),
        (Face::Chat, r#"{"model":"m","n":0,"best_of":0}"#, None),
        (Face::Chat, r#"{"model":"m","n":129}"#, None),
        (Face::Chat, r#"{"model":"m","n":18446744073709551615}"#, None),
        (Face::Chat, r#"{"messages":[]}"#, None),
        (Face::Chat, r#"{"model":7}"#, None),
        (Face::Chat, "[]", None),
        (Face::Chat, "", None),
    ];
    for (face, body, expected) in rows {
        assert_eq!(order(face, body, None), expected, "{body}");
    }
    // A role lowers what is not stated, and decides itself about what is.
    assert_eq!(order(Face::Chat, r#"{"model":"m"}"#, Some(64)), Some((64, false)));
    assert_eq!(order(Face::Chat, r#"{"model":"m","max_tokens":99}"#, Some(64)), Some((99, false)));
}

#[test]
fn a_model_may_name_who_sells_it_or_be_any() {
    let read = |model: &str| {
        let asked = Asked::read(Face::Chat, format!(r#"{{"model":"{model}"}}"#).as_bytes()).ok()?;
        let text = |name: Option<Name>| name.map(|name| name.to_string());
        Some((text(asked.provider), text(asked.model)))
    };
    let some = |text: &str| Some(text.to_owned());
    assert_eq!(read("llama3.2:latest"), Some((None, some("llama3.2:latest"))));
    assert_eq!(read("my-llama/llama3.2"), Some((some("my-llama"), some("llama3.2"))));
    assert_eq!(read("auto:cheap"), Some((None, None)));
    assert_eq!(read("my-llama/auto"), Some((some("my-llama"), None)));
    for wrong in ["", "a/b/c", "/m", "p/", "m m", "../m"] {
        assert_eq!(read(wrong), None, "{wrong}");
    }
}

#[test]
fn a_price_header_is_decimal_and_nothing_else() {
    for (text, nano) in [("0.05", 50_000_000), ("2", 2_000_000_000), ("0.000000001", 1)] {
        assert_eq!(price(MAX_PRICE, text).unwrap(), Nano::new(nano), "{text}");
    }
    for wrong in ["", ".5", "-1", "1e3", "0,05", "0.0000000001", "99999999999999999999", "+1"] {
        assert!(price(MAX_PRICE, wrong).is_err(), "{wrong}");
    }
}

fn payment() -> PaymentId {
    PaymentId::derive(
        crate::domain::id::AgentId::from_bytes([1; 16]),
        RequestId::from_bytes([2; 16]),
        0,
    )
}

fn cost() -> Cost {
    Cost::example(payment())
}

/// What a client gets of `events`, cut into pieces of `len` bytes.
fn streamed(events: &str, len: usize) -> (String, String) {
    let mut passing = Events::default();
    let mut before = Vec::new();
    for piece in events.as_bytes().chunks(len) {
        before.extend_from_slice(&passing.pass(Bytes::copy_from_slice(piece)));
    }
    let end = passing.finish(&cost());
    (String::from_utf8(before).unwrap(), String::from_utf8(end.to_vec()).unwrap())
}

#[test]
fn a_stream_passes_untouched_and_its_cost_comes_before_its_end_however_it_is_cut() {
    let said = "data: {\"choices\":[{\"delta\":{\"content\":\"a \\\"usage\\\" \"}}],\"usage\":null}\n\n\
                event: x\r\ndata: {\"choices\":[{\"delta\":{}}]}\r\n\r\n";
    let count = "data: {\"id\":\"c\",\"choices\":[],\"usage\":{\"total_tokens\":3}}\n\n";
    for len in [1, 2, 3, 7, 64, 4096] {
        let (before, end) = streamed(&format!("{said}{count}data: [DONE]\n\n"), len);
        assert_eq!(before, said, "cut by {len}");
        let (priced, rest) = end.split_once("\n\n").unwrap();
        assert_eq!(rest, "data: [DONE]\n\n");
        let json: serde_json::Value =
            serde_json::from_str(priced.strip_prefix("data: ").unwrap()).unwrap();
        assert_eq!(json["usage"]["total_tokens"], 3);
        assert_eq!(json["usage"]["bursar"]["payment"], payment().to_string());

        // Without a last count, and with no end's mark at all, a comment tells it.
        let (before, end) = streamed(&format!("{said}data: [DONE]\n\n"), len);
        assert_eq!(before, said, "cut by {len}");
        assert!(end.starts_with(": bursar {") && end.ends_with("\n\ndata: [DONE]\n\n"), "{end}");
        let (before, end) = streamed(said, len);
        assert_eq!(before, said, "cut by {len}");
        assert!(end.starts_with(": bursar {") && end.ends_with("}\n\n"), "{end}");
    }
}

#[test]
fn what_it_cost_stands_beside_what_was_used_and_every_other_value_stays_as_it_was() {
    let body = br#"{"big":12345678901234567890123,"f":1.10,"usage":{"a":1},"z":null}"#;
    let priced = with_cost(body, &cost()).unwrap();
    for kept in [r#""big":12345678901234567890123"#, r#""f":1.10"#, r#""a":1"#, r#""z":null"#] {
        assert!(priced.contains(kept), "{priced}");
    }
    assert!(with_cost(br#"{"a":1}"#, &cost()).unwrap().contains("charged_nano_usd"));
    assert!(with_cost(b"[1]", &cost()).is_none() && with_cost(b"", &cost()).is_none());
}

#[test]
fn only_rates_and_silence_invite_another_try() {
    let key = Key::Agent(crate::domain::id::AgentId::from_bytes([1; 16]));
    let nano = Nano::new;
    let rows: [(PayError, StatusCode, bool); 6] = [
        (
            Limited::Rate { key, per_minute: 6, retry_after_ms: 1500 }.into(),
            StatusCode::TOO_MANY_REQUESTS,
            true,
        ),
        (PayError::TooDear { price: nano(2), price_max: nano(1) }, StatusCode::FORBIDDEN, false),
        (
            PayError::InDoubt { payment: payment(), problem: "no answer".into() },
            StatusCode::BAD_GATEWAY,
            false,
        ),
        (PayError::AnswerGone { payment: payment() }, StatusCode::GONE, false),
        (PayError::NoDirectory("gone".into()), StatusCode::SERVICE_UNAVAILABLE, true),
        (PayError::Draining, StatusCode::SERVICE_UNAVAILABLE, true),
    ];
    for (error, status, retries) in rows {
        let has_payment = error.payment().is_some();
        let response = Refusal::from(error).into_response();
        let headers = response.headers();
        assert_eq!(response.status(), status);
        assert_eq!(headers["x-should-retry"], if retries { "true" } else { "false" }, "{status}");
        assert_eq!(headers.contains_key("retry-after"), retries);
        assert_eq!(headers.contains_key("x-bursar-payment"), has_payment);
        if status == StatusCode::TOO_MANY_REQUESTS {
            assert_eq!(headers["retry-after"], "2");
            assert_eq!(headers["retry-after-ms"], "1500");
            assert_eq!(headers["x-ratelimit-limit-requests"], "6");
        }
    }
}
