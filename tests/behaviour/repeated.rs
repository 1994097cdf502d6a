//! Which payment a request of OpenAI's clients is, where the client has hung up or the same is asked twice at
//! once: real processes, and a server whose answers come when the test lets them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::routing::{get, post};
use reqwest::{RequestBuilder, StatusCode};
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use crate::channels::until;
use crate::openai::{Street, chat, header, payments, read};

/// Bytes of an answer: more than is kept of any.
const LONG: usize = 100 * 1024;

/// A server of the protocol with one model, `long`.
#[derive(Clone)]
struct Server {
    url: String,
    /// How many answers may come.
    gate: Arc<Semaphore>,
    asked: Arc<AtomicUsize>,
}

impl Server {
    async fn open() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/v1", listener.local_addr().unwrap());
        let server = Self { url, gate: Arc::new(Semaphore::new(0)), asked: Arc::default() };
        let router = Router::new()
            .route("/v1/models", get(async || json!({ "data": [{ "id": "long" }] }).to_string()))
            .route("/v1/chat/completions", post(answer))
            .with_state(server.clone());
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        server
    }

    /// A street where it alone is sold, for what a whole call costs.
    async fn street(&self) -> Street {
        let sold = format!(
            r#"
[wallet.keeper]
key = "keystore:keeper"

[provider.keeper]
upstream = {{ url = "{}" }}
network = "sandbox"
price = {{ call = "0.0002 USD" }}
pay_to = "wallet/keeper"
"#,
            self.url
        );
        Street::open_for("5 USD", &sold, &["long"]).await
    }

    async fn wait_until_asked(&self, times: usize) {
        until(async || self.asked.load(Ordering::SeqCst) >= times).await;
    }
}

async fn answer(State(server): State<Server>) -> impl IntoResponse {
    server.asked.fetch_add(1, Ordering::SeqCst);
    server.gate.acquire().await.unwrap().forget();
    let message = json!({ "role": "assistant", "content": "a".repeat(LONG) });
    let usage = json!({ "prompt_tokens": 9, "completion_tokens": 20 });
    let whole = json!({ "choices": [{ "index": 0, "message": message }], "usage": usage });
    ([(CONTENT_TYPE, "application/json")], whole.to_string())
}

fn long_chat() -> Value {
    let mut body = chat("say much");
    body["model"] = "long".into();
    body
}

fn asking(street: &Street) -> RequestBuilder {
    let asked = street.client.post(street.url("/v1/chat/completions")).bearer_auth(&street.token);
    asked.body(long_chat().to_string())
}

/// Each was told that the answer is gone, until the node was started anew.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_client_hung_up_on_is_paid_anew_when_it_is_asked_for_anew() {
    let server = Server::open().await;
    let street = server.street().await;
    let asked = tokio::spawn(asking(&street).send());
    server.wait_until_asked(1).await;
    asked.abort();
    assert!(asked.await.unwrap_err().is_cancelled());
    // The node has heard of it by the time that it answers something else.
    street.models().await;
    server.gate.add_permits(3);
    let is_paid = |state: &String| ["captured", "settled"].contains(&state.as_str());
    until(async || payments(&street, "scout-1", "state").iter().any(is_paid)).await;
    let mut paid = payments(&street, "scout-1", "payment");
    for _ in 0..2 {
        let answer = street.post("/v1/chat/completions", &long_chat(), &[]).await;
        assert_eq!(answer.status(), StatusCode::OK);
        let payment = header(&answer, "x-bursar-payment");
        assert!(!paid.contains(&payment), "{payment} of {paid:?}");
        paid.push(payment);
        let whole = read(answer).await.1;
        assert_eq!(whole["choices"][0]["message"]["content"].as_str().unwrap().len(), LONG);
    }
    // Whoever says that it tries again is told what became of it, and pays nothing.
    let again = [("x-stainless-retry-count", "1")];
    for _ in 0..2 {
        let gone = street.post("/v1/chat/completions", &long_chat(), &again).await;
        assert_eq!(gone.status(), StatusCode::GONE);
        assert_eq!(header(&gone, "x-bursar-payment"), paid[2]);
    }
    assert_eq!(street.house.spent(), 3 * 200_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_sessions_that_ask_the_same_at_once_are_two_payments() {
    let server = Server::open().await;
    let street = server.street().await;
    let both = ["planner", "writer"]
        .map(|session| tokio::spawn(asking(&street).header("x-bursar-session", session).send()));
    server.wait_until_asked(2).await;
    server.gate.add_permits(2);
    let mut paid = Vec::new();
    for asked in both {
        let answer = asked.await.unwrap().unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        paid.push(header(&answer, "x-bursar-payment"));
    }
    assert_ne!(paid[0], paid[1]);
    assert_eq!(street.house.spent(), 2 * 200_000);
}
