//! What goes upstream, and where it may go.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests fail by panicking")]

use serde_json::{Value, json};

use super::*;
use crate::domain::order::{Maxima, Order};

fn work(face: Face, output_max: u64, body: &Value) -> Work {
    Work {
        order: Order {
            capability: face.name(),
            model: None,
            input_max: Units(1000),
            output_max: Units(output_max),
            maxima: Maxima::default(),
        },
        content_type: "application/json".to_owned(),
        body: body.to_string().into(),
    }
}

fn forwarded(face: Face, output_max: u64, body: &Value) -> Option<(Value, bool)> {
    let sent = Forwarded::new(&work(face, output_max, body), "org/model").ok()?;
    Some((serde_json::from_slice(&sent.body).unwrap(), sent.tells_usage))
}

#[test]
fn a_body_goes_on_with_the_servers_model_and_a_bound_on_its_output() {
    let body = json!({ "model": "org.model", "messages": [{ "role": "user" }], "new": 1.5 });
    let (sent, tells) = forwarded(Face::Chat, 50, &body).unwrap();
    assert_eq!(sent["model"], "org/model");
    assert_eq!((&sent["max_tokens"], &sent["new"]), (&json!(50), &json!(1.5)));
    assert!(sent.get("stream_options").is_none() && !tells);

    // A stream is asked for its count; who asked itself gets it.
    let body = json!({ "model": "m", "stream": true, "n": 2, "stream_options": { "other": 1 } });
    let (sent, tells) = forwarded(Face::Chat, 50, &body).unwrap();
    assert_eq!(sent["stream_options"], json!({ "include_usage": true, "other": 1 }));
    assert_eq!((&sent["max_tokens"], tells), (&json!(25), false));
    let body = json!({ "model": "m", "stream": true, "stream_options": { "include_usage": true } });
    assert!(forwarded(Face::Chat, 50, &body).unwrap().1);

    // What is stated stays, within the order.
    let body = json!({ "model": "m", "max_completion_tokens": 50 });
    let (sent, _) = forwarded(Face::Chat, 50, &body).unwrap();
    assert!(sent.get("max_tokens").is_none());
    let over = json!({ "model": "m", "max_completion_tokens": 51 });
    assert!(forwarded(Face::Chat, 50, &over).is_none());
    let over = json!({ "model": "m", "max_tokens": 30, "n": 2 });
    assert!(forwarded(Face::Chat, 50, &over).is_none());
    let (sent, _) = forwarded(Face::Responses, 9, &json!({ "model": "m", "input": "" })).unwrap();
    assert_eq!(sent["max_output_tokens"], 9);
    let (sent, _) = forwarded(Face::Embeddings, 0, &json!({ "model": "m", "input": "" })).unwrap();
    assert_eq!(sent.as_object().unwrap().len(), 2);
}

#[test]
fn prompts_and_keys_leave_this_machine_in_the_clear_never() {
    let base = |url: &str| check_address(url).ok();
    assert_eq!(base("http://127.0.0.1:11434/v1/").as_deref(), Some("http://127.0.0.1:11434/v1"));
    for good in ["http://localhost:8000/v1", "http://[::1]:8080/v1", "http://127.0.0.1:1234"] {
        assert!(base(good).is_some(), "{good}");
    }
    for wrong in [
        "http://10.0.0.1/v1",
        "http://example.com/v1",
        "https://example.com/v1",
        "http://user:key@127.0.0.1/v1",
        "http://127.0.0.1/v1?key=1",
        "http://127.0.0.1.example.com/v1",
        "ftp://127.0.0.1/v1",
        "127.0.0.1:11434/v1",
    ] {
        assert!(base(wrong).is_none(), "{wrong}");
    }
}

#[test]
fn a_whole_answer_is_counted_by_the_server_or_by_a_bound_and_never_above_the_order() {
    let order = work(Face::Chat, 10, &json!({ "model": "m" }));
    let counts = |answer: &str| {
        let usage = whole_usage(&order, answer.as_bytes());
        (usage.input.0, usage.output.0)
    };
    assert_eq!(counts(r#"{"usage":{"prompt_tokens":3,"completion_tokens":4}}"#), (3, 4));
    assert_eq!(counts(r#"{"usage":{"input_tokens":3,"output_tokens":4}}"#), (3, 4));
    assert_eq!(counts(r#"{"usage":{"prompt_tokens":9999,"completion_tokens":9999}}"#), (1000, 10));
    // 13 bytes were sent, 12 came back.
    assert_eq!(counts(r#"{"text":"ab"}"#).1, 4);
    assert_eq!(counts("").1, 0);
}
