//! The official x402 clients in TypeScript and Python pay our gateway, and our payer pays the official
//! server, on loopback, settling on anvil with our own contracts at the addresses of the public chains.
//!
//! `npm ci` in tests/interop/x402 and contracts/, and `pip install -r requirements.txt` in a `.venv` there,
//! bring them. Where they are not there nothing is tested and the tests say so, unless
//! `BURSAR_TEST_X402=required` says that they must be there.

pub mod chain;
pub mod ours;
mod shop;
mod theirs;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use chain::{Chain, FUNDS, PAYER, payee, payer};
use shop::{By, PER_BYTE, PRICE, Shop};

/// A client that nobody here wrote.
#[derive(Copy, Clone, Debug)]
pub enum Client {
    TypeScript,
    Python,
}

impl Client {
    pub const BOTH: [Self; 2] = [Self::TypeScript, Self::Python];

    /// What its installation brings.
    pub fn installed(self) -> PathBuf {
        scripts().join(match self {
            Self::TypeScript => "node_modules/@x402/fetch",
            Self::Python => ".venv/bin/python",
        })
    }

    /// What runs it.
    pub fn command(self) -> Command {
        let (program, script) = match self {
            Self::TypeScript => ("node".into(), "client.mjs"),
            Self::Python => (self.installed(), "client.py"),
        };
        let mut command = Command::new(program);
        command.arg(script);
        command
    }

    /// What runs its search of a bazaar.
    pub fn searches(self) -> Command {
        let (program, script) = match self {
            Self::TypeScript => ("node".into(), "bazaar.mjs"),
            Self::Python => (self.installed(), "bazaar.py"),
        };
        let mut command = Command::new(program);
        command.arg(script);
        command
    }

    /// What runs it, where it is installed.
    fn find(self) -> Option<Command> {
        is_there(&self.installed()).then(|| self.command())
    }

    /// Makes calls one after another, and says what came of each.
    pub async fn pay(
        mut command: Command,
        chain: &Chain,
        scheme: &str,
        calls: Value,
    ) -> Vec<Value> {
        let key = format!("0x{PAYER}");
        let asked = json!({ "scheme": scheme, "key": key, "rpc": chain.url, "calls": calls });
        command.current_dir(scripts()).arg(asked.to_string()).stdin(Stdio::null());
        let done = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
        let said = String::from_utf8_lossy(&done.stdout);
        let last = said.lines().last().unwrap_or_default();
        let read: Value = serde_json::from_str(last)
            .unwrap_or_else(|_| panic!("{said}\n{}", String::from_utf8_lossy(&done.stderr)));
        read.as_array().unwrap().clone()
    }
}

pub fn scripts() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interop/x402")
}

/// Whether what npm or pip installs is there; without it the test passes by, unless it is required.
fn is_there(what: &Path) -> bool {
    let found = what.exists() && chain::anvil().exists();
    let required = std::env::var("BURSAR_TEST_X402").is_ok_and(|it| it == "required");
    assert!(found || !required, "{} or anvil is not installed", what.display());
    if !found {
        eprintln!("passed by: {} or anvil is not installed", what.display());
    }
    found
}

fn post(shop: &Shop, body: &str) -> Value {
    json!({ "url": shop.url(), "method": "POST", "body": body })
}

async fn earned(chain: &Chain) -> u128 {
    chain.owned(payee().address()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn official_clients_pay_our_gateway_by_exact() {
    for client in Client::BOTH {
        let Some(command) = client.find() else { continue };
        let chain = Chain::start().await;
        let shop = Shop::open(&chain, By::Exact).await;
        let calls = json!([post(&shop, "ping"), post(&shop, "fail")]);
        let said = Client::pay(command, &chain, "exact", calls).await;
        assert_eq!(
            (&said[0]["status"], &said[0]["body"]),
            (&json!(200), &json!("ping")),
            "{said:?}"
        );
        assert_eq!(said[0]["settlement"]["success"], true, "{client:?}");
        assert_eq!(said[0]["settlement"]["network"], "eip155:84532");
        assert_eq!(said[0]["settlement"]["payer"], payer().address().to_string());
        // What is not served is heard of, and not paid.
        assert_eq!(said[1]["status"], 502, "{said:?}");
        assert_eq!(earned(&chain).await, PRICE, "{client:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn official_clients_pay_our_gateway_by_permit2_without_gas_of_their_own() {
    for client in Client::BOTH {
        let Some(command) = client.find() else { continue };
        let chain = Chain::start().await;
        let shop = Shop::open(&chain, By::ExactPermit2).await;
        let said = Client::pay(command, &chain, "exact", json!([post(&shop, "ping")])).await;
        assert_eq!(said[0]["status"], 200, "{client:?}: {said:?}");
        assert_eq!(earned(&chain).await, PRICE);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn official_clients_pay_our_gateway_by_upto_for_what_was_used() {
    for client in Client::BOTH {
        let Some(command) = client.find() else { continue };
        let chain = Chain::start().await;
        let shop = Shop::open(&chain, By::Upto).await;
        let said = Client::pay(command, &chain, "upto", json!([post(&shop, "measured")])).await;
        assert_eq!(said[0]["status"], 200, "{client:?}: {said:?}");
        assert_eq!(said[0]["settlement"]["amount"], (8 * PER_BYTE).to_string());
        assert_eq!(earned(&chain).await, 8 * PER_BYTE);
    }
}

/// Three calls by channel, its deposit moved as `by` says, and what the client heard of each.
async fn pays_by_channel(client: Client, by: By) {
    let Some(command) = client.find() else { return };
    let chain = Chain::start().await;
    let shop = Shop::open(&chain, by).await;
    let calls = json!([post(&shop, "one"), post(&shop, "two"), post(&shop, "three")]);
    let said = Client::pay(command, &chain, "batch-settlement", calls).await;
    for (n, said) in (1..).zip(&said) {
        assert_eq!(said["status"], 200, "{client:?} {n}: {said}");
        let extra = &said["settlement"]["extra"];
        assert_eq!(extra["chargedAmount"], PRICE.to_string(), "{client:?} {n}: {said}");
        let sum = (PRICE * n).to_string();
        assert_eq!(extra["channelState"]["chargedCumulativeAmount"], sum, "{client:?} {n}");
    }
    assert_eq!((said.len(), earned(&chain).await), (3, 0));
    shop.provider.payee.claim_round(true).await.unwrap();
    assert_eq!(earned(&chain).await, 3 * PRICE);
}

#[tokio::test(flavor = "multi_thread")]
async fn official_clients_pay_our_gateway_by_channel() {
    for client in Client::BOTH {
        pays_by_channel(client, By::Channel).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn official_clients_fill_our_channels_by_permit2_without_gas_of_their_own() {
    for client in Client::BOTH {
        pays_by_channel(client, By::ChannelPermit2).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn official_clients_name_their_payments_and_are_answered_by_the_name() {
    for client in Client::BOTH {
        let Some(command) = client.find() else { continue };
        let chain = Chain::start().await;
        let shop = Shop::open(&chain, By::Exact).await;
        let named = |body| {
            let mut call = post(&shop, body);
            call["name"] = "order-7d5d747be160e280".into();
            call
        };
        let calls = json!([named("ping"), named("ping"), named("pong")]);
        let said = Client::pay(command, &chain, "exact", calls).await;
        let statuses: Vec<_> = said.iter().map(|said| said["status"].clone()).collect();
        assert_eq!(statuses, [json!(200), json!(200), json!(409)], "{client:?}: {said:?}");
        assert_eq!(earned(&chain).await, PRICE);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn official_clients_of_version_1_pay_our_gateway_in_kind() {
    for client in Client::BOTH {
        let Some(command) = client.find() else { continue };
        let chain = Chain::start().await;
        let shop = Shop::open(&chain, By::Exact).await;
        let said = Client::pay(command, &chain, "v1", json!([post(&shop, "ping")])).await;
        assert_eq!(said[0]["status"], 200, "{client:?}: {said:?}");
        assert_eq!(said[0]["settlement"]["network"], "base-sepolia", "{client:?}: {said:?}");
        assert_eq!(earned(&chain).await, PRICE);
        assert_eq!(chain.owned(payer().address()).await, FUNDS - PRICE);
    }
}
