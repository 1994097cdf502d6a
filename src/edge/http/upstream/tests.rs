//! What goes upstream, and where it may go.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests fail by panicking")]

use http_body::Frame;
use http_body_util::StreamBody;
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

    // What is stated stays, within the order; under the older name too, which is all that Ollama reads.
    let body = json!({ "model": "m", "max_completion_tokens": 40 });
    let (sent, _) = forwarded(Face::Chat, 50, &body).unwrap();
    assert_eq!((&sent["max_completion_tokens"], &sent["max_tokens"]), (&json!(40), &json!(40)));
    let over = json!({ "model": "m", "max_completion_tokens": 51 });
    assert!(forwarded(Face::Chat, 50, &over).is_none());
    let over = json!({ "model": "m", "max_tokens": 30, "n": 2 });
    assert!(forwarded(Face::Chat, 50, &over).is_none());
    let (sent, _) = forwarded(Face::Responses, 9, &json!({ "model": "m", "input": "" })).unwrap();
    assert_eq!(sent["max_output_tokens"], 9);
    let (sent, _) = forwarded(Face::Embeddings, 0, &json!({ "model": "m", "input": "" })).unwrap();
    assert_eq!(sent.as_object().unwrap().len(), 2);
}

/// llama.cpp writes as much as `n_predict` says, whatever `max_tokens` is: four thousand tokens were written
/// and one was billed.
#[test]
fn under_no_name_of_a_bound_is_more_written_than_was_ordered() {
    let bounds = [
        "max_tokens",
        "n_predict",
        "num_predict",
        "max_new_tokens",
        "max_length",
        "max_output_tokens",
    ];
    for name in bounds {
        let sent = |value: Value| {
            let body = json!({ "model": "m", "max_completion_tokens": 1, name: value });
            forwarded(Face::Chat, 50, &body).map(|(sent, _)| sent)
        };
        for value in [json!(51), json!(4000), json!(u64::MAX), json!(1.5), json!("1"), json!([])] {
            assert_eq!(sent(value.clone()), None, "{name}: {value}");
        }
        for value in [json!(1), json!(50)] {
            assert_eq!(sent(value.clone()).unwrap()[name], value, "{name}");
        }
        // Nothing is stated, or as much as there is.
        for value in [json!(null), json!(0), json!(-1), json!(-2)] {
            assert_eq!(sent(value.clone()).unwrap()[name], 50, "{name}: {value}");
        }
    }
    // Where Ollama's own protocol has it.
    let nested = |options: Value| {
        let body = json!({ "model": "m", "max_tokens": 1, "options": options });
        forwarded(Face::Chat, 1, &body).map(|(sent, _)| sent["options"].clone())
    };
    assert_eq!(nested(json!({ "num_predict": 4000 })), None);
    assert_eq!(
        nested(json!({ "num_predict": -1, "seed": 7 })),
        Some(json!({ "num_predict": 1, "seed": 7 }))
    );
    assert_eq!(nested(json!("none")), Some(json!("none")));
    // Servers written in Go read these as the names that they are not.
    for name in ["MAX_TOKENS", "Max_Tokens", "max_to\u{212a}en\u{17f}", "N_predict", "\u{17f}tream"]
    {
        let body = json!({ "model": "m", "max_tokens": 1, name: 4000 });
        assert!(forwarded(Face::Chat, 1, &body).is_none(), "{name}");
        assert_eq!(nested(json!({ name: 4000 })), None, "{name}");
    }
    // A bound of nothing is none to some of them.
    for body in [json!({ "model": "m", "max_tokens": 0 }), json!({ "model": "m" })] {
        assert!(forwarded(Face::Chat, 0, &body).is_none(), "{body}");
    }
}

#[test]
fn each_of_several_prompts_is_an_answer_and_shares_what_was_ordered() {
    let sent = |prompt: Value, more: Value| {
        let mut body = json!({ "model": "m", "prompt": prompt });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        forwarded(Face::Completions, 128, &body).map(|(sent, _)| sent["max_tokens"].clone())
    };
    let rows = [
        (json!("a"), json!({}), Some(json!(128))),
        (json!([1, 2, 3]), json!({}), Some(json!(128))),
        (json!(["a", "b"]), json!({}), Some(json!(64))),
        (json!([[1], [2, 3]]), json!({ "n": 2 }), Some(json!(32))),
        (json!([1, "a"]), json!({ "best_of": 2 }), Some(json!(32))),
        (json!("a"), json!({ "n_cmpl": 4 }), Some(json!(32))),
        (json!(["a", "b"]), json!({ "max_tokens": 64 }), Some(json!(64))),
        (json!(["a", "b"]), json!({ "max_tokens": 65 }), None),
        (json!(vec!["a"; 128]), json!({}), Some(json!(1))),
        (json!(vec!["a"; 129]), json!({}), None),
        (json!(vec!["a"; 1000]), json!({ "max_tokens": 128 }), None),
        (json!([]), json!({}), None),
    ];
    for (prompt, more, expected) in rows {
        assert_eq!(sent(prompt.clone(), more.clone()), expected, "{prompt} {more}");
    }
}

/// What a caller gets of these events for so many tokens, and what is counted.
async fn passed(output_max: u64, events: &[String]) -> (String, Usage) {
    let work = work(Face::Chat, output_max, &json!({ "model": "m", "stream": true }));
    let forwarded = Forwarded::new(&work, "m").unwrap();
    let frame = |event: String| Ok::<_, std::io::Error>(Frame::data(Bytes::from(event)));
    let frames: Vec<_> = events.iter().cloned().map(frame).collect();
    let body = reqwest::Body::wrap(StreamBody::new(streams::iter(frames)));
    let response = Response::from(http::Response::new(body));
    let mut steps = stream::pass_on(response, Tally::new(&work, &forwarded));
    let mut said = Vec::new();
    while let Some(step) = steps.next().await {
        match step.unwrap() {
            Step::Chunk(chunk) => said.extend_from_slice(&chunk),
            Step::Done(usage) => return (String::from_utf8(said).unwrap(), usage),
            other => unreachable!("no {other:?} comes of a stream"),
        }
    }
    unreachable!("a stream has an end");
}

fn delta(text: &str) -> String {
    format!("data: {}\n\n", json!({ "choices": [{ "delta": { "content": text } }] }))
}

#[tokio::test]
async fn a_stream_ends_with_the_order_and_an_honest_one_is_never_cut() {
    let head =
        format!("data: {}\n\n", json!({ "choices": [{ "delta": { "role": "assistant" } }] }));
    let last = format!(
        "data: {}\n\n",
        json!({ "choices": [], "usage": { "prompt_tokens": 3, "completion_tokens": 20 } })
    );
    let done = "data: [DONE]\n\n".to_owned();
    let whole = |texts: Vec<String>| {
        let texts = texts.into_iter().map(|text| delta(&text));
        [head.clone()].into_iter().chain(texts).chain([last.clone(), done.clone()])
    };
    // A token an event, long ones, a letter an event, and all at once: each comes as it was sent.
    let honest: [Vec<String>; 4] = [
        vec![" word".to_owned(); 20],
        vec!["-".repeat(64); 20],
        "twenty tokens of a few letters each, sent one by one as some servers do"
            .chars()
            .map(String::from)
            .collect(),
        vec!["words ".repeat(200)],
    ];
    for texts in honest {
        let events: Vec<String> = whole(texts).collect();
        let (came, usage) = passed(20, &events).await;
        assert_eq!(came, events.concat().replace(&last, ""));
        assert_eq!((usage.input.0, usage.output.0), (3, 20));
    }
    // Ten times as much as was ordered, in pieces and at once: what is beyond stays there.
    let events: Vec<String> = whole(vec![" word".to_owned(); 200]).collect();
    for events in [events.clone(), vec![events.concat()], vec![events[..150].concat()]] {
        let (came, usage) = passed(20, &events).await;
        let words = came.matches(" word").count();
        assert!((20..=20 * 4).contains(&words), "{words} words came for 20 tokens");
        assert!(came.ends_with("\n\n") && !came.contains("[DONE]"), "{came}");
        assert_eq!(usage.output.0, 20);
    }
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
