//! `bursar fetch` as its user sees it: real processes, a provider's own paywall, and the role's budget.

use bursar::domain::id::RequestId;
use bursar::edge::clock::{SystemClock, SystemEntropy};
use bursar::ports::clock::Clock;
use bursar::ports::entropy::Entropy;
use serde_json::Value;

use crate::node_commands::{House, Running};
use crate::tls::certified;

const SHOP: &str = r#"
[wallet.till]
key = "keystore:till"

[provider.scribe]
engine = "scribe"
capability = "text.generate"
model = "bursar-scribe-1"
network = "sandbox"
price = { call = "0.001 USD" }
pay_to = "wallet/till"
"#;

/// What one call costs, in nano-USD.
const PRICE_NANO: u64 = 1_000_000;

const CHAT: &str = r#"{"model":"bursar-scribe-1","messages":[{"role":"user","content":"what is a hold"}],"max_tokens":20}"#;

struct Corner {
    house: House,
    _node: Running,
    _shop: Running,
    url: String,
    token_file: String,
}

impl Corner {
    fn open() -> Self {
        let house = House::new();
        let node = house.up();
        let shop = house.open_shop(SHOP);
        let added = house.answer(&["agent", "add", "scout-1", "--role", "worker"]);
        let file = house.path().join("scout.token");
        std::fs::write(&file, added["token"].as_str().unwrap()).unwrap();
        let at = shop.said()[0]["endpoint"].as_str().unwrap();
        let url = format!("{at}/v1/chat/completions");
        let token_file = file.to_str().unwrap().to_owned();
        Self { house, _node: node, _shop: shop, url, token_file }
    }

    fn words<'a>(&'a self, more: &[&'a str]) -> Vec<&'a str> {
        let words = ["--format", "json", "fetch", &self.url, "--token-file", &self.token_file];
        words.into_iter().chain(["-d", CHAT]).chain(more.iter().copied()).collect()
    }

    fn fetch(&self, more: &[&str]) -> Value {
        self.house.answer(&self.words(more))
    }

    fn refusal(&self, more: &[&str]) -> (i32, String) {
        let (exit, code, error) = self.house.refusal(&self.words(more));
        assert_eq!(code, "node.refused", "{error}");
        (exit, error["message"].as_str().unwrap().to_owned())
    }
}

fn new_request() -> String {
    let mut random = [0; 10];
    SystemEntropy.fill(&mut random);
    RequestId::new(SystemClock.now().as_millis(), random).to_string()
}

#[test]
fn a_url_is_fetched_and_paid_within_the_roles_budget() {
    let corner = Corner::open();
    let seen = corner.fetch(&["--dry-run"]);
    assert_eq!((&seen["allowed"], &seen["amount"]), (&true.into(), &"1000".into()), "{seen}");
    assert_eq!(seen["budgets"][0]["budget"], "fleet-day");
    assert_eq!(corner.house.spent(), 0, "a dry run holds nothing");

    let got = corner.fetch(&["-H", "content-type: application/json"]);
    assert_eq!((&got["status"], &got["settled"]), (&200.into(), &true.into()), "{got}");
    let body: Value = serde_json::from_str(got["body"].as_str().unwrap()).unwrap();
    assert!(body["choices"][0]["message"]["content"].as_str().unwrap().len() > 10);
    assert_eq!(corner.house.spent(), PRICE_NANO);
    let payments = corner.house.answer(&["payments", "--agent", "scout-1"]);
    assert_eq!(payments[0]["payment"], got["payment"]);

    // Of what is free nothing is asked, and nothing is spent.
    let root = corner.url.trim_end_matches("/v1/chat/completions").to_owned() + "/";
    let words = ["--format", "json", "fetch", &root, "--token-file", &corner.token_file];
    let free = corner.house.answer(&words);
    assert_eq!((&free["status"], &free["payment"]), (&200.into(), &Value::Null), "{free}");
    assert_eq!(corner.house.spent(), PRICE_NANO);
}

#[test]
fn what_the_caller_the_policy_or_the_budget_does_not_allow_is_not_paid() {
    let corner = Corner::open();
    let (exit, message) = corner.refusal(&["--max-price", "0.0005"]);
    assert_eq!((exit, message.contains("payer.too_dear")), (4, true), "{message}");
    let (exit, seen) = corner.house.report(&corner.words(&["--dry-run", "--max-price", "0.0005"]));
    assert_eq!((exit, &seen["too_dear"]), (4, &true.into()));

    corner.house.edit("capabilities = [\"*\"]", "capabilities = [\"openai.chat\"]");
    corner.house.answer(&["apply", "--reason", "a test"]);
    let (exit, message) = corner.refusal(&[]);
    assert_eq!((exit, message.contains("policy.")), (4, true), "{message}");
    // Whom nothing may be bought of is not even asked.
    let root = corner.url.trim_end_matches("/v1/chat/completions").to_owned() + "/";
    let words = ["--format", "json", "fetch", &root, "--token-file", &corner.token_file];
    let (exit, _, error) = corner.house.refusal(&words);
    assert_eq!(exit, 4, "{error}");
    corner.house.edit("capabilities = [\"openai.chat\"]", "capabilities = [\"http.call\"]");
    corner.house.edit("limit = \"5 USD\"", "limit = \"0.0015 USD\"");
    corner.house.answer(&["apply", "--reason", "a test"]);
    corner.fetch(&[]);
    let (exit, message) = corner.refusal(&[]);
    assert_eq!((exit, message.contains("ledger.over_budget")), (4, true), "{message}");
    assert_eq!(corner.house.spent(), PRICE_NANO);

    std::fs::write(&corner.token_file, "bat_scout-1_00000000000000000000000000000000").unwrap();
    assert_eq!(corner.refusal(&[]).0, 8);
}

/// Row D21: a request that was named is paid once, however often it is made.
#[test]
fn d21_the_same_request_is_never_paid_twice() {
    let corner = Corner::open();
    let request = new_request();
    let got = corner.fetch(&["--request", &request]);
    assert_eq!(got["status"], 200);
    for _ in 0..2 {
        let (exit, message) = corner.refusal(&["--request", &request]);
        assert_eq!((exit, message.contains("payer.answer_gone")), (4, true), "{message}");
    }
    assert_eq!(corner.house.spent(), PRICE_NANO);
}

/// A server is paid by TLS where its certificate is believed, and not even asked where it is not.
#[test]
fn g12_a_server_is_paid_by_tls() {
    let house = House::new();
    let (cert, key) = certified(house.path(), "shop");
    let (foreign, _) = certified(house.path(), "foreign");
    let file = house.path().join("bursar.toml");
    let open = |believed: &std::path::Path| {
        let text = bursar::edge::config::default_sandbox_file();
        let ca = format!("[discovery]\nca = \"{}\"", believed.display());
        std::fs::write(&file, text.replacen("[discovery]", &ca, 1)).unwrap();
        let anywhere = "127.0.0.1:0";
        Running::start(house.path(), &["up", "--listen", anywhere, "--metrics", anywhere])
    };
    let node = open(&cert);
    let tls = format!("tls = {{ cert = \"{}\", key = \"{}\" }}", cert.display(), key.display());
    let shop = house.open_shop(&format!("{SHOP}listen = \"127.0.0.1:0\"\n{tls}\n"));
    let added = house.answer(&["agent", "add", "scout-1", "--role", "worker"]);
    let token = house.path().join("scout.token");
    std::fs::write(&token, added["token"].as_str().unwrap()).unwrap();
    let token = token.to_str().unwrap();
    let at = shop.said()[0]["endpoint"].as_str().unwrap();
    assert!(at.starts_with("https://127.0.0.1:"), "{at}");
    let url = format!("{at}/v1/chat/completions");
    let words = ["--format", "json", "fetch", &url, "--token-file", token, "-d", CHAT];
    let got = house.answer(&words);
    assert_eq!((&got["status"], &got["settled"]), (&200.into(), &true.into()), "{got}");
    assert_eq!(house.spent(), PRICE_NANO);
    // The same node with other roots believes nobody there, and pays nothing.
    assert_eq!(node.stop(), 0);
    let _node = open(&foreign);
    let (_, code, error) = house.refusal(&words);
    assert_eq!(code, "node.refused", "{error}");
    assert!(error["message"].as_str().unwrap().contains("fetch.unreachable"), "{error}");
    assert_eq!(house.spent(), PRICE_NANO);
}
