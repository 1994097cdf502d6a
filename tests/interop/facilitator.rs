//! The official servers in TypeScript and Python settle by our facilitator, and the official clients pay
//! them, on loopback, on anvil with our own contracts at the addresses of the public chains.
//!
//! What `npm ci` and `pip install` bring is that of tests/interop/x402. Where it is not there nothing is
//! tested and the tests say so, unless `BURSAR_TEST_FACILITATOR=required` says that it must be there.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use alloy::transports::http::reqwest;
use bursar::domain::channel::ChannelId;
use bursar::edge::evm::Evm;
use bursar::node::FacilitatorNode;
use bursar::ports::channel_rail::Depth;
use bursar::ports::rail::Evidence;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::x402::chain::{self, Chain, FUNDS, USDC, payee, payer};
use crate::x402::ours::Payer;
use crate::x402::{Client, scripts};

/// What a call costs, in atomic units.
const PRICE: u128 = 1_000;

/// What a metered call is charged of it.
const METERED: u128 = 250;

/// A server that nobody here wrote.
#[derive(Copy, Clone, Debug)]
enum Server {
    Express,
    Flask,
}

impl Server {
    const BOTH: [Self; 2] = [Self::Express, Self::Flask];

    fn command(self) -> Command {
        let (program, script) = match self {
            Self::Express => ("node".into(), "sells.mjs"),
            Self::Flask => (scripts().join(".venv/bin/python"), "sells.py"),
        };
        let mut command = Command::new(program);
        command.arg(script);
        command
    }

    fn is_there(self) -> bool {
        is_there(&match self {
            Self::Express => scripts().join("node_modules/@x402/express"),
            Self::Flask => scripts().join(".venv/bin/flask"),
        })
    }
}

/// Whether what npm or pip installs is there; without it the test passes by, unless it is required.
fn is_there(what: &Path) -> bool {
    let found = what.exists() && chain::anvil().exists();
    let required = std::env::var("BURSAR_TEST_FACILITATOR").is_ok_and(|it| it == "required");
    assert!(found || !required, "{} or anvil is not installed", what.display());
    if !found {
        eprintln!("passed by: {} or anvil is not installed", what.display());
    }
    found
}

/// Gone when dropped.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A chain, our facilitator on it, and a server of theirs that settles by it.
struct Bench {
    chain: Chain,
    evm: Evm,
    url: String,
    _server: Process,
    facilitator: FacilitatorNode,
    _folder: TempDir,
}

impl Bench {
    async fn open(server: Server) -> Self {
        let chain = Chain::start().await;
        let evm = chain.evm().await;
        let folder = tempfile::tempdir().unwrap();
        let facilitator = chain.facilitator(&evm, folder.path()).await;
        let asked = json!({
            "facilitator": facilitator.url, "payTo": payee().address().to_string(), "token": USDC
        });
        let mut process = server
            .command()
            .current_dir(scripts())
            .arg(asked.to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let process = Process(process);
        let listens = |line: std::io::Result<String>| {
            line.unwrap().strip_prefix("listening ").map(ToOwned::to_owned)
        };
        let url = lines.find_map(listens).expect("it listens before it ends");
        // What it prints is read on, so that it never waits for a reader.
        std::thread::spawn(move || lines.for_each(drop));
        Self { chain, evm, url, _server: process, facilitator, _folder: folder }
    }

    /// What a client of theirs gets, call by call.
    async fn pay(&self, client: Client, scheme: &str, paths: &[&str]) -> Vec<Value> {
        let calls: Vec<Value> =
            paths.iter().map(|path| json!({ "url": format!("{}{path}", self.url) })).collect();
        Client::pay(client.command(), &self.chain, scheme, calls.into()).await
    }

    /// Has the server do what nobody pays for.
    async fn post(&self, path: &str) {
        let sent = reqwest::Client::new().post(format!("{}{path}", self.url)).send().await.unwrap();
        assert_eq!(sent.status().as_u16(), 200, "{}", sent.text().await.unwrap());
    }

    async fn earned(&self) -> u128 {
        self.chain.owned(payee().address()).await
    }
}

/// Each server of theirs with each client of theirs, where both are there.
fn pairs() -> Vec<(Server, Client)> {
    let servers = Server::BOTH.into_iter().filter(|server| server.is_there());
    let clients: Vec<Client> =
        Client::BOTH.into_iter().filter(|client| is_there(&client.installed())).collect();
    servers.flat_map(|server| clients.iter().map(move |client| (server, *client))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn official_servers_settle_exact_by_our_facilitator() {
    for (server, client) in pairs() {
        let bench = Bench::open(server).await;
        let said = bench.pay(client, "exact", &["/exact", "/fail"]).await;
        let settled = &said[0]["settlement"];
        assert_eq!(said[0]["status"], 200, "{server:?} {client:?}: {said:?}");
        assert_eq!(
            (&settled["success"], &settled["network"]),
            (&json!(true), &json!("eip155:84532"))
        );
        assert_eq!(settled["payer"], payer().address().to_string());
        // What the handler does not serve is verified, and never settled.
        assert_eq!(said[1]["status"], 500, "{server:?} {client:?}: {said:?}");
        assert_eq!(bench.earned().await, PRICE, "{server:?} {client:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn official_servers_settle_permit2_by_our_facilitator_for_payers_without_gas() {
    for (server, client) in pairs() {
        let bench = Bench::open(server).await;
        let said = bench.pay(client, "exact", &["/permit2"]).await;
        assert_eq!(said[0]["status"], 200, "{server:?} {client:?}: {said:?}");
        assert_eq!(bench.earned().await, PRICE, "{server:?} {client:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn official_servers_settle_upto_by_our_facilitator_for_what_was_used() {
    for (server, client) in pairs() {
        let bench = Bench::open(server).await;
        let said = bench.pay(client, "upto", &["/upto"]).await;
        assert_eq!(said[0]["status"], 200, "{server:?} {client:?}: {said:?}");
        assert_eq!(said[0]["settlement"]["amount"], METERED.to_string(), "{server:?} {client:?}");
        assert_eq!(bench.earned().await, METERED, "{server:?} {client:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn official_servers_claim_and_give_back_channels_by_our_facilitator() {
    for (server, client) in pairs() {
        let bench = Bench::open(server).await;
        let calls = ["/channel", "/channel", "/channel"];
        let said = bench.pay(client, "batch-settlement", &calls).await;
        for (n, said) in (1..).zip(&said) {
            assert_eq!(said["status"], 200, "{server:?} {client:?} {n}: {said}");
            let state = &said["settlement"]["extra"]["channelState"];
            let sum = (PRICE * n).to_string();
            assert_eq!(state["chargedCumulativeAmount"], sum, "{server:?} {client:?} {n}: {said}");
        }
        assert_eq!((said.len(), bench.earned().await), (3, 0));
        let deposited = FUNDS - bench.chain.owned(payer().address()).await;
        assert!(deposited > 3 * PRICE, "{deposited}");
        bench.post("/claim").await;
        assert_eq!(bench.earned().await, 3 * PRICE, "{server:?} {client:?}");
        let state = &said[2]["settlement"]["extra"]["channelState"];
        let channel = [ChannelId(state["channelId"].as_str().unwrap().parse().unwrap())];
        let channels = bench.evm.channels().unwrap();
        let sight = channels.look(&channel, Depth::Newest).await.unwrap().seen[0];
        assert_eq!(sight.claimed.get(), 3 * PRICE);
        // The rest goes back to the payer by the same facilitator's word.
        bench.post("/refund").await;
        let left = bench.chain.owned(payer().address()).await;
        assert_eq!(left, FUNDS - 3 * PRICE, "{server:?} {client:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn official_clients_find_what_was_paid_for_in_our_bazaar() {
    for (server, client) in pairs() {
        let bench = Bench::open(server).await;
        let said = bench.pay(client, "exact", &["/exact"]).await;
        assert_eq!(said[0]["status"], 200, "{server:?} {client:?}: {said:?}");
        let mut search = client.searches();
        let asked = json!({ "directory": bench.facilitator.url, "query": "exact way" });
        search.current_dir(scripts()).arg(asked.to_string()).stdin(Stdio::null());
        let done = tokio::task::spawn_blocking(move || search.output()).await.unwrap().unwrap();
        let both: Value = serde_json::from_slice(&done.stdout)
            .unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&done.stderr)));
        for found in both.as_array().unwrap() {
            assert_eq!(found.as_array().unwrap().len(), 1, "{server:?} {client:?}: {both}");
            let found = &found[0];
            assert_eq!(found["resource"], format!("{}/exact", bench.url), "{found}");
            assert_eq!((&found["type"], &found["x402Version"]), (&json!("http"), &json!(2)));
            assert_eq!(found["accepts"][0]["payTo"], payee().address().to_string());
            let input = &found["extensions"]["bazaar"]["info"]["input"];
            assert_eq!(input["method"], "GET", "{server:?} {client:?}: {found}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_official_facilitator_client_settles_version_1_by_our_facilitator() {
    for (server, client) in pairs() {
        if let Server::Flask = server {
            continue;
        }
        let bench = Bench::open(server).await;
        let said = bench.pay(client, "v1", &["/v1"]).await;
        assert_eq!(said[0]["status"], 200, "{client:?}: {said:?}");
        assert_eq!(said[0]["settlement"]["network"], "base-sepolia", "{client:?}: {said:?}");
        assert_eq!(bench.earned().await, PRICE, "{client:?}");
        bench.facilitator.drain().await;
    }
}

/// Every way that their servers sell by.
const EVERY_WAY: &str = r#"["exact", "upto", "batch-settlement"]"#;

/// What our payer gets at `path`, and the settlement that it was told of.
async fn ours(bench: &Bench, payer: &Payer, path: &str) -> Value {
    let fetched = payer.fetch(&format!("{}{path}", bench.url)).await;
    assert_eq!(fetched.status.as_u16(), 200, "{path}: {fetched:?}");
    let told = fetched.paid.expect("it was paid").settlement.expect("it is told what came of it");
    assert!(told.success, "{path}: {told:?}");
    serde_json::to_value(told).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn our_payer_pays_official_servers_by_exact_by_permit2_and_by_upto() {
    for server in Server::BOTH.into_iter().filter(|server| server.is_there()) {
        let bench = Bench::open(server).await;
        let payer = Payer::open(&bench.chain, "1 USD", EVERY_WAY).await;
        ours(&bench, &payer, "/exact").await;
        assert_eq!(bench.earned().await, PRICE, "{server:?}");
        // It has neither gas nor an allowance: its permit goes with the payment.
        ours(&bench, &payer, "/permit2").await;
        assert_eq!(bench.earned().await, 2 * PRICE, "{server:?}");
        let told = ours(&bench, &payer, "/upto").await;
        assert_eq!(told["amount"], METERED.to_string(), "{server:?}");
        assert_eq!(bench.earned().await, 2 * PRICE + METERED, "{server:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn our_payer_pays_official_servers_by_channel() {
    for server in Server::BOTH.into_iter().filter(|server| server.is_there()) {
        let bench = Bench::open(server).await;
        let payer = Payer::open(&bench.chain, "1 USD", EVERY_WAY).await;
        for n in 1..=3 {
            let told = ours(&bench, &payer, "/channel").await;
            let state = &told["extra"]["channelState"];
            let sum = (PRICE * n).to_string();
            assert_eq!(state["chargedCumulativeAmount"], sum, "{server:?} {n}: {told}");
        }
        assert_eq!(bench.earned().await, 0);
        bench.post("/claim").await;
        assert_eq!(bench.earned().await, 3 * PRICE, "{server:?}");
        bench.post("/refund").await;
        let left = bench.chain.owned(crate::x402::chain::payer().address()).await;
        assert_eq!(left, FUNDS - 3 * PRICE, "{server:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn our_payer_pays_by_version_1_what_an_official_facilitator_client_settles() {
    if !Server::Express.is_there() {
        return;
    }
    let bench = Bench::open(Server::Express).await;
    let payer = Payer::open(&bench.chain, "1 USD", EVERY_WAY).await;
    ours(&bench, &payer, "/v1").await;
    assert_eq!(bench.earned().await, PRICE);
}
