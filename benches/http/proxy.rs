//! What OpenAI's protocol costs beside the node's own: the same body for the same model, paid by channel through
//! the same node, one call after another, in turns. The node and its provider are processes.

use std::sync::Arc;
use std::time::Duration;

use bursar::domain::id::RequestId;
use bursar::domain::ledger::agent::Token;
use bursar::domain::order::{Order, Units};
use bursar::edge::clock::{SystemClock, SystemEntropy};
use bursar::edge::grpc::{AgentClient, Purchase};
use bursar::ports::clock::Clock as _;
use bursar::ports::entropy::Entropy as _;
use serde_json::{Value, json};

use crate::TURNS;
use crate::market::name;
use crate::measure::{Round, drive};
use crate::node_commands::{House, Running, SHOP, endpoint};

const PROMPT: &str = "agents pay";

/// Tokens of a short answer and of a long one.
const SHORT: u64 = 4;
const LONG: u64 = 132;

/// How long the provider may take to be listed.
const TRIES_MAX: u32 = 200;

/// What may be added to a call's p50, and to each chunk of a stream, in microseconds.
const CALL_US_MAX: u64 = 1_500;
const CHUNK_US_MAX: u64 = 50;

/// An agent of the node, by both protocols.
struct Agent {
    web: reqwest::Client,
    url: String,
    token: String,
    client: AgentClient,
}

impl Agent {
    async fn open(house: &House, node: &Running) -> Self {
        let added = house.answer(&["agent", "add", "scout-1", "--role", "worker"]);
        let token = added["token"].as_str().unwrap().to_owned();
        let at = endpoint(node).to_owned();
        let client = AgentClient::connect(&at, &Token::shown(&token)).await.unwrap();
        let agent = Self { web: reqwest::Client::new(), url: at, token, client };
        agent.wait_for("bursar-scribe-1").await;
        agent
    }

    async fn wait_for(&self, model: &str) {
        for _ in 0..TRIES_MAX {
            let asked = self.web.get(format!("{}/v1/models", self.url)).bearer_auth(&self.token);
            if asked.send().await.unwrap().text().await.unwrap().contains(model) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("{model} was never listed");
    }

    async fn post(&self, body: &Value) {
        let asked = self.web.post(format!("{}/v1/completions", self.url));
        let asked = asked.bearer_auth(&self.token).header("content-type", "application/json");
        let answer = asked.body(body.to_string()).send().await.unwrap();
        let status = answer.status();
        let text = answer.text().await.unwrap();
        assert!(status.is_success(), "{status}: {text}");
    }

    async fn buy(&self, tokens: u64, streamed: bool) {
        let body = json!({ "prompt": PROMPT, "seed": 7 }).to_string();
        let mut random = [0; 10];
        SystemEntropy.fill(&mut random);
        let purchase = Purchase {
            request: RequestId::new(SystemClock.now().as_millis(), random),
            order: Order {
                capability: name("text.generate"),
                model: Some(name("bursar-scribe-1")),
                input_max: Units(body.len() as u64),
                output_max: Units(tokens),
                maxima: Default::default(),
            },
            content_type: "application/json".to_owned(),
            body: body.into(),
            price_max: None,
            provider: None,
            session: None,
            streamed,
        };
        self.client.buy(purchase).await.unwrap();
    }
}

/// The p50 of a call in microseconds, by OpenAI's protocol and by the node's own.
async fn beside(agent: &Arc<Agent>, tokens: u64, streamed: bool, span: Duration) -> (u64, u64) {
    let (mut web, mut own) = (Round::default(), Round::default());
    for turn in 0..=TURNS {
        let asks = Arc::clone(agent);
        let by_web = drive(1, span, move |nth| {
            // No two bodies are the same: the second would be the first one's answer again.
            let body = json!({
                "model": "bursar-scribe-1", "prompt": PROMPT, "max_tokens": tokens,
                "stream": streamed, "user": format!("{tokens} {streamed} {turn} {nth}"),
            });
            let agent = Arc::clone(&asks);
            async move { agent.post(&body).await }
        });
        let by_web = by_web.await;
        let asks = Arc::clone(agent);
        let by_own = drive(1, span, move |_| {
            let agent = Arc::clone(&asks);
            async move { agent.buy(tokens, streamed).await }
        });
        let by_own = by_own.await;
        if turn > 0 {
            web.add(by_web);
            own.add(by_own);
        }
    }
    (web.at_permille(500), own.at_permille(500))
}

/// Measures, and prints it.
pub async fn measure(span: Duration) {
    let house = House::new();
    let node = house.up();
    // By channel, and for so little that the default budget lasts.
    let shop = format!("{}withdraw_delay = \"15m\"\n", SHOP.replace("0.001", "0.0001"));
    let providers = house.open_shop(&shop);
    // What is measured is a call, and not the default rate of them.
    house.edit("calls_per_minute = 600", "calls_per_minute = 1000000");
    house.answer(&["apply", "--reason", "a benchmark"]);
    let agent = Arc::new(Agent::open(&house, &node).await);
    let (web, own) = beside(&agent, SHORT, false, span).await;
    let added = web.saturating_sub(own);
    let met = |met: bool| if met { "met" } else { "missed" };
    println!(
        "proxy                    p50 {web} us, {own} us without; adds {added} (at most {CALL_US_MAX}: {})",
        met(added <= CALL_US_MAX)
    );
    let short = beside(&agent, SHORT, true, span).await;
    let long = beside(&agent, LONG, true, span).await;
    let chunks = LONG - SHORT;
    let [web, own] = [(long.0, short.0), (long.1, short.1)]
        .map(|(long, short)| long.saturating_sub(short) / chunks);
    let added = web.saturating_sub(own);
    println!(
        "proxy, a chunk           {web} us, {own} us without; adds {added} (at most {CHUNK_US_MAX}: {})",
        met(added <= CHUNK_US_MAX)
    );
    assert_eq!((providers.stop(), node.stop()), (0, 0));
}
