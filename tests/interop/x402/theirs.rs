//! Their server, our payer.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use bursar::domain::money::Nano;
use bursar::domain::policy::PolicyDocument;
use bursar::edge::clock::{SystemClock, SystemEntropy};
use bursar::edge::config::Config;
use bursar::edge::http::client::{Fetched, HttpCall, HttpPayer, Reach};
use bursar::edge::keys::NonceSecret;
use bursar::node::{LocalPurse, PursePlan};
use reqwest::Method;
use serde_json::json;
use tempfile::TempDir;

use super::chain::{self, Chain, GAS, payee, payer};
use super::{is_there, scripts};

/// What a call of the official server costs, in atomic units.
const PRICE: u128 = 1_000;

/// Three such calls may be paid, and none by `upto`.
const POLICY: &str = r#"
version = 1
[network.base-sepolia]
kind = "sandbox"
[wallet.searcher]
key = "keystore:searcher"
[budget.searches]
applies_to = "*"
limit = "0.003 USD"
window = "lifetime"
[role.searcher]
per_call_max = "0.002 USD"
allow_any = true
allow = { capabilities = ["http.call"], models = ["*"], providers = ["*"], payees = ["*"], networks = ["*"], assets = ["*"], schemes = ["exact"] }
"#;

/// Gone when dropped.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

struct Bench {
    chain: Chain,
    url: String,
    purse: LocalPurse,
    client: HttpPayer,
    _server: Server,
    _folder: TempDir,
}

fn policy() -> PolicyDocument {
    let read = Config::load("policy".as_ref(), POLICY).unwrap().policy;
    PolicyDocument { assets: chain::assets(), ..read }
}

async fn open() -> Option<Bench> {
    if !is_there(&scripts().join("node_modules/@x402/express")) {
        return None;
    }
    let chain = Chain::start().await;
    let asked = json!({
        "gas": format!("0x{GAS}"), "payTo": payee().address(), "rpc": chain.url
    });
    let mut server = Command::new("node")
        .current_dir(scripts())
        .arg("server.mjs")
        .arg(asked.to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let stdout = server.stdout.take().unwrap();
    let server = Server(server);
    let mut lines = BufReader::new(stdout).lines();
    let listens = |line: std::io::Result<String>| {
        line.unwrap().strip_prefix("listening ").map(ToOwned::to_owned)
    };
    let url = lines.find_map(listens).expect("it listens before it ends");
    // What it prints is read on, so that it never waits for a reader.
    std::thread::spawn(move || lines.for_each(drop));
    let folder = tempfile::tempdir().unwrap();
    let evm = Arc::new(chain.evm().await);
    let purse = LocalPurse::open(PursePlan {
        ledger: folder.path().join("purse.db"),
        agent: "searcher".parse().unwrap(),
        role: "searcher".parse().unwrap(),
        key: payer(),
        secret: NonceSecret::create(&folder.path().join("secret"), &SystemEntropy).unwrap(),
        policy: policy(),
        genesis: evm.genesis(),
        evidence: evm,
        price_max: None,
        clock: Arc::new(SystemClock),
        entropy: Arc::new(SystemEntropy),
    });
    let purse = purse.await.unwrap();
    let client = purse.http(Reach::Loopback);
    Some(Bench { chain, url, purse, client, _server: server, _folder: folder })
}

impl Bench {
    async fn fetch(&self, path: &str) -> Fetched {
        let call = HttpCall {
            request: None,
            method: Method::GET,
            url: format!("{}{path}", self.url),
            headers: Default::default(),
            body: Default::default(),
        };
        self.client.fetch(call).await.unwrap()
    }

    async fn earned(&self) -> u128 {
        self.chain.owned(payee().address()).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn our_payer_pays_the_official_server_within_its_policy() {
    let Some(bench) = open().await else { return };
    let fetched = bench.fetch("/exact").await;
    assert_eq!(fetched.status, 200, "{fetched:?}");
    assert!(fetched.paid.unwrap().settlement.unwrap().success);
    assert_eq!(bench.earned().await, PRICE);
    // Of several ways the one that the policy allows is taken, whatever the order.
    let fetched = bench.fetch("/either").await;
    assert_eq!(fetched.status, 200, "{fetched:?}");
    assert_eq!(bench.earned().await, 2 * PRICE);
    // A handler that fails is not paid; what was signed stays counted until the chain speaks.
    let fetched = bench.fetch("/fail").await;
    assert_eq!(fetched.status, 500);
    assert_eq!(bench.earned().await, 2 * PRICE);
    let budgets = bench.purse.budgets().await.unwrap();
    assert!(budgets.iter().all(|check| check.left() == Nano::ZERO), "{budgets:?}");
    assert!(bench.purse.drain(Duration::from_secs(10)).await);
}
