//! OpenAI's protocol on both sides, over real processes and sockets: an agent buys by changing nothing
//! but `base_url`, and any server that speaks it is sold.

use std::time::Duration;

use bursar::domain::ledger::Event;
use bursar::domain::ledger::tab::TabEvent;
use bursar::edge::journal::{Options, Store};
use bursar::ports::journal::Journal;
use reqwest::{Client, StatusCode};
use serde_json::{Value, json};

use crate::node_commands::{House, Running, endpoint};

/// Added to the file that `bursar up --sandbox` writes.
const SHOP: &str = r#"
[wallet.till]
key = "keystore:till"
[wallet.shelf]
key = "keystore:shelf"

[provider.scribe]
engine = "scribe"
capability = "text.generate"
model = "bursar-scribe-1"
network = "sandbox"
price = { call = "0.0002 USD" }
pay_to = "wallet/till"

[provider.librarian]
engine = "librarian"
capability = "search.query"
model = "bursar-embed-1"
network = "sandbox"
price = { call = "0.0001 USD" }
pay_to = "wallet/shelf"
"#;

/// The scribe's price when it is paid while its answer flows: by the token, four tokens at a time.
const BY_TOKEN: &str = r#"price = { output_1k = "0.02 USD" }
withdraw_delay = "15m"
stream_tokens = 4"#;

/// Tries until providers that are announcing themselves are found.
const TRIES_MAX: u32 = 100;

pub struct Street {
    pub house: House,
    node: Running,
    providers: Running,
    pub token: String,
    pub client: Client,
}

impl Street {
    async fn open(budget: &str) -> Self {
        Self::open_with(budget, SHOP).await
    }

    async fn open_with(budget: &str, shop: &str) -> Self {
        Self::open_for(budget, shop, &["bursar-scribe-1", "bursar-embed-1"]).await
    }

    /// Where all of these models are sold.
    pub async fn open_for(budget: &str, shop: &str, models: &[&str]) -> Self {
        let house = House::new();
        let node = house.up();
        if budget != "5 USD" {
            house.edit("limit = \"5 USD\"", &format!("limit = \"{budget}\""));
            house.answer(&["apply", "--reason", "a test"]);
        }
        let providers = house.open_shop(shop);
        let added = house.answer(&["agent", "add", "scout-1", "--role", "worker"]);
        let token = added["token"].as_str().unwrap().to_owned();
        let street = Self { house, node, providers, token, client: Client::new() };
        street.wait_for(models).await;
        street
    }

    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", endpoint(&self.node))
    }

    pub async fn models(&self) -> Vec<String> {
        let asked = self.client.get(self.url("/v1/models")).bearer_auth(&self.token);
        let listed: Value = read(asked.send().await.unwrap()).await.1;
        let data = listed["data"].as_array().unwrap();
        data.iter().map(|model| model["id"].as_str().unwrap().to_owned()).collect()
    }

    async fn wait_for(&self, wanted: &[&str]) {
        for _ in 0..TRIES_MAX {
            let models = self.models().await;
            if wanted.iter().all(|model| models.iter().any(|found| found == model)) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("{wanted:?} were never listed");
    }

    pub async fn post(
        &self,
        path: &str,
        body: &Value,
        headers: &[(&str, &str)],
    ) -> reqwest::Response {
        let mut request = self.client.post(self.url(path)).bearer_auth(&self.token);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request
            .header("content-type", "application/json")
            .body(body.to_string())
            .send()
            .await
            .unwrap()
    }
}

pub async fn read(response: reqwest::Response) -> (StatusCode, Value) {
    let status = response.status();
    let body = response.bytes().await.unwrap();
    let json = serde_json::from_slice(&body);
    (status, json.unwrap_or_else(|_| panic!("{status}: {}", String::from_utf8_lossy(&body))))
}

pub fn header(response: &reqwest::Response, name: &str) -> String {
    response.headers()[name].to_str().unwrap().to_owned()
}

pub fn chat(text: &str) -> Value {
    json!({
        "model": "bursar-scribe-1",
        "messages": [{ "role": "user", "content": text }],
        "max_tokens": 20,
    })
}

/// The texts of a chat's stream, and everything else that came.
fn deltas(events: &str) -> (String, Vec<String>) {
    let mut text = String::new();
    let mut rest = Vec::new();
    for event in events.split("\n\n").filter(|event| !event.is_empty()) {
        let json =
            event.strip_prefix("data: ").and_then(|data| serde_json::from_str::<Value>(data).ok());
        match json.and_then(|j| j["choices"][0]["delta"]["content"].as_str().map(str::to_owned)) {
            Some(delta) => text.push_str(&delta),
            None => rest.push(event.to_owned()),
        }
    }
    (text, rest)
}

#[tokio::test]
async fn an_agent_buys_by_changing_nothing_but_its_base_url() {
    let street = Street::open("5 USD").await;
    let answer = street.post("/v1/chat/completions", &chat("what is a hold"), &[]).await;
    let payment = header(&answer, "x-bursar-payment");
    assert_eq!(header(&answer, "x-bursar-charged-usd"), "0.0002");
    assert_eq!(header(&answer, "x-bursar-budget-remaining-usd"), "4.9998");
    assert_eq!(header(&answer, "x-bursar-provider"), "scribe");
    let (status, whole) = read(answer).await;
    assert_eq!(status, StatusCode::OK, "{whole}");
    let text = whole["choices"][0]["message"]["content"].as_str().unwrap();
    assert!(text.len() > 10, "{whole}");
    assert_eq!(whole["usage"]["completion_tokens"], 20);
    assert_eq!(whole["usage"]["bursar"]["payment"], payment);
    assert_eq!(whole["usage"]["bursar"]["charged_nano_usd"], 200_000);

    // Streamed: the same model, the same words, and the cost before the end.
    let mut body = chat("what is a hold");
    body["stream"] = true.into();
    body["stream_options"] = json!({ "include_usage": true });
    let answer = street.post("/v1/chat/completions", &body, &[]).await;
    assert!(header(&answer, "content-type").starts_with("text/event-stream"));
    assert_eq!(header(&answer, "x-bursar-held-usd"), "0.0002");
    let (streamed, rest) = deltas(&answer.text().await.unwrap());
    assert_eq!(streamed, text);
    assert_eq!(rest.last().unwrap(), "data: [DONE]");
    let count: Value =
        serde_json::from_str(rest[rest.len() - 2].strip_prefix("data: ").unwrap()).unwrap();
    assert_eq!(count["usage"]["completion_tokens"], 20);
    assert_eq!(count["usage"]["bursar"]["charged_usd"], "0.0002");

    // The other faces.
    let body = json!({ "model": "scribe/bursar-scribe-1", "prompt": "a hold is", "max_tokens": 5 });
    let (status, said) = read(street.post("/v1/completions", &body, &[]).await).await;
    assert_eq!((status, said["usage"]["completion_tokens"].as_u64()), (StatusCode::OK, Some(5)));
    let body = json!({ "model": "auto", "input": "a hold is", "max_output_tokens": 5 });
    let (status, said) = read(street.post("/v1/responses", &body, &[]).await).await;
    assert_eq!((status, said["usage"]["output_tokens"].as_u64()), (StatusCode::OK, Some(5)));
    assert!(said["output"][0]["content"][0]["text"].as_str().is_some_and(|text| !text.is_empty()));
    let body = json!({ "model": "bursar-embed-1", "input": ["a hold", "a void"] });
    let (status, said) = read(street.post("/v1/embeddings", &body, &[]).await).await;
    assert_eq!((status, said["data"].as_array().unwrap().len()), (StatusCode::OK, 2));

    // The operator's table says the same as the headers: five calls.
    assert_eq!(street.house.spent(), 4 * 200_000 + 100_000);
    assert_eq!(street.providers.stop(), 0);
    assert_eq!(street.node.stop(), 0);
}

#[tokio::test]
async fn a_streamed_chat_is_paid_by_channel_while_it_flows() {
    let shop = SHOP.replacen(r#"price = { call = "0.0002 USD" }"#, BY_TOKEN, 1);
    let street = Street::open_with("5 USD", &shop).await;
    let whole = street.post("/v1/chat/completions", &chat("what is a hold"), &[]).await;
    assert_eq!(header(&whole, "x-bursar-charged-usd"), "0.0004");
    let text = read(whole).await.1["choices"][0]["message"]["content"].clone();
    let mut body = chat("what is a hold");
    body["stream"] = true.into();
    body["stream_options"] = json!({ "include_usage": true });
    let answer = street.post("/v1/chat/completions", &body, &[]).await;
    let (streamed, rest) = deltas(&answer.text().await.unwrap());
    assert_eq!(text, streamed);
    assert_eq!(rest.last().unwrap(), "data: [DONE]");
    let count: Value =
        serde_json::from_str(rest[rest.len() - 2].strip_prefix("data: ").unwrap()).unwrap();
    assert_eq!(count["usage"]["completion_tokens"], 20);
    assert_eq!(count["usage"]["bursar"]["charged_usd"], "0.0004");
    assert_eq!(street.house.spent(), 2 * 400_000);
    assert_eq!(street.providers.stop(), 0);
    assert_eq!(street.node.stop(), 0);
    // Four tokens at a time: each voucher stood in the provider's ledger before what it paid for left.
    let ledger = street.house.path().join("bursar.scribe.db");
    let entries =
        Store::open(&ledger, Options::default()).unwrap().read(0, u32::MAX).await.unwrap();
    let step = |event: &Event| match event {
        Event::Tab(TabEvent::Stepped(step)) => Some(step.call.ceiling.get()),
        _ => None,
    };
    let mut ceilings: Vec<u128> = entries.iter().filter_map(|entry| step(&entry.event)).collect();
    ceilings.dedup();
    assert_eq!(ceilings, [480, 560, 640, 720, 800], "after the first call's 400");
}

#[tokio::test]
async fn a_client_that_tries_again_pays_once() {
    let street = Street::open("5 USD").await;
    let body = chat("is it paid twice");
    let first = street.post("/v1/chat/completions", &body, &[]).await;
    let payment = header(&first, "x-bursar-payment");
    let text = read(first).await.1["choices"][0]["message"]["content"].clone();

    // OpenAI's clients say that they try again, and name no request.
    let again = [("x-stainless-retry-count", "1")];
    let answer = street.post("/v1/chat/completions", &body, &again).await;
    assert_eq!(header(&answer, "x-bursar-payment"), payment);
    let (_, whole) = read(answer).await;
    assert_eq!(whole["choices"][0]["message"]["content"], text);
    assert_eq!(whole["usage"]["bursar"]["repeated"], true);
    assert_eq!(street.house.spent(), 200_000);

    // The same words asked for anew are another call.
    let anew =
        street.post("/v1/chat/completions", &body, &[("x-stainless-retry-count", "0")]).await;
    assert_ne!(header(&anew, "x-bursar-payment"), payment);
    assert_eq!(anew.status(), StatusCode::OK);
    assert_eq!(street.house.spent(), 400_000);

    // A key names a request, whatever the client says of tries; with other words it is a conflict.
    let key = [("idempotency-key", "job-7")];
    let one = street.post("/v1/chat/completions", &body, &key).await;
    let same = street.post("/v1/chat/completions", &body, &key).await;
    assert_eq!(header(&one, "x-bursar-payment"), header(&same, "x-bursar-payment"));
    let other = street.post("/v1/chat/completions", &chat("other words"), &key).await;
    assert_eq!(header(&other, "x-should-retry"), "false");
    assert_eq!(read(other).await.0, StatusCode::CONFLICT);
    assert_eq!(street.house.spent(), 600_000);
}

/// Path, body, headers; status and code of the refusal.
type Refused<'a> = (&'a str, Value, &'a [(&'a str, &'a str)], u16, &'a str);

#[tokio::test]
async fn a_refusal_says_what_it_is_and_no_client_hammers_at_a_budget() {
    let street = Street::open("0.0003 USD").await;
    assert_eq!(street.post("/v1/chat/completions", &chat("one"), &[]).await.status(), 200);
    let refused = street.post("/v1/chat/completions", &chat("two"), &[]).await;
    assert_eq!(header(&refused, "x-should-retry"), "false");
    assert!(!refused.headers().contains_key("retry-after"));
    let (status, told) = read(refused).await;
    assert_eq!(status, StatusCode::FORBIDDEN);
    assert_eq!(told["error"]["type"], "insufficient_quota");
    assert_eq!(told["error"]["code"], "budget_exhausted");
    let facts = &told["error"]["bursar"];
    assert_eq!((&facts["budget"], &facts["left_usd"]), (&json!("fleet-day"), &json!("0.0001")));
    assert!(facts["resets_at"].is_string(), "{facts}");

    let rows: [Refused<'_>; 5] = [
        (
            "/v1/chat/completions",
            json!({ "model": "gpt-9", "messages": [] }),
            &[],
            404,
            "model_not_found",
        ),
        ("/v1/chat/completions", json!({ "messages": [] }), &[], 400, "malformed"),
        (
            "/v1/chat/completions",
            chat("x"),
            &[("x-bursar-max-price", "0.0001")],
            403,
            "price_above_cap",
        ),
        ("/v1/chat/completions", chat("x"), &[("x-bursar-max-price", "much")], 400, "malformed"),
        (
            "/v1/chat/completions",
            json!({ "model": "m", "pad": "a".repeat(1 << 20) }),
            &[],
            413,
            "body_too_large",
        ),
    ];
    for (path, body, headers, status, code) in rows {
        let refused = street.post(path, &body, headers).await;
        assert_eq!(header(&refused, "x-should-retry"), "false", "{code}");
        let (found, told) = read(refused).await;
        assert_eq!(
            (found.as_u16(), told["error"]["code"].as_str()),
            (status, Some(code)),
            "{told}"
        );
    }
    for token in ["", "bat_scout-1_nothing", "bop_nothing"] {
        let asked = street.client.post(street.url("/v1/chat/completions")).bearer_auth(token);
        let (status, told) = read(asked.body(chat("x").to_string()).send().await.unwrap()).await;
        assert_eq!(status, StatusCode::UNAUTHORIZED);
        assert_eq!(told["error"]["code"], "invalid_api_key");
    }
    assert_eq!(street.house.spent(), 200_000);
}

#[tokio::test]
async fn any_server_of_the_protocol_is_sold_with_its_own_key_and_its_own_count() {
    let street = Street::open("5 USD").await;
    // The server is this node's own door: it wants a key, and what answers is a real model.
    let key = street.house.path().join("upstream.key");
    std::fs::write(&key, format!("{}\n", street.token)).unwrap();
    let (url, key) = (street.url("/v1"), format!("file:{}", key.display()));
    let words = [
        "provider",
        "my-llama",
        "--upstream",
        &url,
        "--upstream-key",
        &key,
        "--model",
        "bursar-scribe-1",
        "--price",
        "in=1,out=10",
        "--listen",
        "127.0.0.1:0",
    ];
    let resale = Running::start(street.house.path(), &words);
    let added = street.house.answer(&["agent", "add", "scout-2", "--role", "worker"]);
    let token = added["token"].as_str().unwrap().to_owned();
    let mut body = chat("what is a hold");
    body["model"] = "my-llama/bursar-scribe-1".into();
    let ask = async |body: &Value| {
        for _ in 0..TRIES_MAX {
            let asked = street.client.post(street.url("/v1/chat/completions")).bearer_auth(&token);
            let answer = asked.body(body.to_string()).send().await.unwrap();
            if answer.status() != StatusCode::NOT_FOUND {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("my-llama was never listed");
    };
    let answer = ask(&body).await;
    assert_eq!(header(&answer, "x-bursar-provider"), "my-llama");
    let (status, whole) = read(answer).await;
    assert_eq!(status, StatusCode::OK, "{whole}");
    let usage = &whole["usage"];
    assert_eq!(usage["completion_tokens"], 20);
    // Whatever scheme was taken, at least what the server counted is charged, and at most the order:
    // a token in costs 1000 nano, one out 10,000.
    let charged = usage["bursar"]["charged_nano_usd"].as_u64().unwrap();
    let counted = usage["prompt_tokens"].as_u64().unwrap() * 1000 + 20 * 10_000;
    let most = u64::try_from(body.to_string().len()).unwrap() * 1000 + 20 * 10_000;
    assert!((counted..=most + 1000).contains(&charged), "{charged} of {counted} to {most}");

    // Streamed, without a last count that nobody asked for.
    body["stream"] = true.into();
    let (text, rest) = deltas(&ask(&body).await.text().await.unwrap());
    assert_eq!(text, whole["choices"][0]["message"]["content"].as_str().unwrap());
    assert!(rest.iter().all(|event| !event.contains("completion_tokens")), "{rest:?}");
    assert_eq!(rest.last().unwrap(), "data: [DONE]");

    // It is paid by channel, and what its upstream buys for it, it buys of somebody else: bought of itself
    // it asked itself without end, until the call's time was over.
    let told = |agent, key| payments(&street, agent, key);
    assert_eq!(told("scout-1", "provider"), ["scribe", "scribe"]);
    assert_eq!(told("scout-2", "provider"), ["my-llama", "my-llama"]);
    assert!(told("scout-2", "state").contains(&"charged".to_owned()));

    let at = resale.said()[0]["endpoint"].as_str().unwrap().to_owned();
    look_as_a_stranger(&street, &at);
    assert_eq!(resale.stop(), 0);
}

/// What is told of each of an agent's payments under this key.
pub fn payments(street: &Street, agent: &str, key: &str) -> Vec<String> {
    let rows = street.house.answer(&["payments", "--agent", agent]);
    let rows = rows.as_array().unwrap().iter();
    rows.map(|row| row[key].as_str().unwrap().to_owned()).collect()
}

/// The doctor finds nothing wrong with a provider, and much with what is none.
fn look_as_a_stranger(street: &Street, at: &str) {
    let found = street.house.answer(&["doctor", "provider", at]);
    let wrong = |finding: &&Value| finding["verdict"] == "wrong";
    assert_eq!(
        found.as_array().unwrap().iter().filter(wrong).collect::<Vec<_>>(),
        [] as [&Value; 0]
    );
    let checks: Vec<_> =
        found.as_array().unwrap().iter().map(|f| f["check"].as_str().unwrap()).collect();
    for check in
        ["reach", "health", "signature", "delegation", "listing", "paywall", "accepts", "clock"]
    {
        assert!(checks.contains(&check), "{check} of {checks:?}");
    }
    // And much with what is no provider: the node's own door sells nothing.
    let (exit, report) = street.house.report(&["doctor", "provider", &street.url("/v1/models")]);
    assert_eq!(exit, 4);
    assert!(report.as_array().unwrap().iter().any(|finding| finding["check"] == "paywall"));
}
