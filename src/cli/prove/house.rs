//! What is proved on: a chain, a directory, a node, a facilitator and two providers, each a process of its
//! own, with links between them that can fail.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use alloy::primitives::Address;
use bursar::domain::ledger::agent::Token;
use bursar::domain::money::Amount;
use bursar::edge::clock::SystemClock;
use bursar::node::fund_over_rpc;
use bursar::ports::clock::Clock;

use super::super::exit::Exit;
use super::super::failure::Failure;
use super::part::{Part, free_port};
use super::proxy::Link;

/// What the payers' wallet is given: more than any cap, so that only caps can stop them.
const GIFT: Amount = Amount::new(1_000_000_000);

/// So many of the chain's newest blocks are not final, and may be taken back.
pub const FINAL_AFTER: u64 = 8;

/// Agents that try.
pub const AGENTS: u64 = 6;

/// The two that sell, with what they sell by, and whether they take channels too. The one that takes none
/// settles by the facilitator.
pub const PROVIDERS: [(&str, &str, &str, bool); 2] = [
    ("scribe", "text.generate", "bursar-scribe-1", false),
    ("librarian", "search.query", "bursar-embed-1", true),
];

/// What a provider that takes channels says besides. Its vouchers are claimed while there are faults.
const CHANNELS: &str = "withdraw_delay = \"15m\"\nclaim_after = \"15s\"\n";

/// Everything that runs.
pub struct House {
    /// Where the files are.
    pub folder: PathBuf,
    /// The chain's JSON-RPC, without a link between.
    pub rpc: String,
    /// The sandbox chain.
    pub chain: Part,
    /// The directory; it is there as long as the house is.
    _directory: Part,
    /// The payers' node.
    pub node: Part,
    /// The facilitator, which one of those who sell settles by.
    pub facilitator: Part,
    /// Those who sell.
    pub providers: Vec<Part>,
    /// Between the agents and the node.
    pub agents_link: Link,
    /// Between the node and the chain.
    pub node_chain_link: Link,
    /// Between the chain and both the providers and the facilitator.
    pub provider_chain_link: Link,
    /// Between the facilitator and the provider that settles by it.
    pub facilitator_link: Link,
    /// The payers' wallet.
    pub wallet: Address,
    /// Each agent's name and token.
    pub tokens: Vec<(String, Token)>,
}

impl House {
    /// Starts everything in `folder`, with this cap over all agents; one provider takes channels where
    /// `channels` says so.
    pub async fn start(folder: &Path, budget: &str, channels: bool) -> Result<Self, Failure> {
        let depth = FINAL_AFTER.to_string();
        let words = ["sandbox", "run", "--file", "chain.db", "--final-after", &depth];
        let mut chain = Part::new("chain", folder, &words);
        let rpc = said(&chain.start(&[]).await?, "/rpc")?;
        let chain_at = socket(&rpc)?;
        let node_chain_link = link(chain_at).await?;
        let provider_chain_link = link(chain_at).await?;
        let at = port()?;
        let mut directory = Part::new(
            "directory",
            folder,
            &["--config", "node.toml", "directory", "--listen", &at.to_string()],
        );
        let node_at = port()?;
        let agents_link = link(node_at).await?;
        let facts = Facts { directory: at, node: node_at, chain: node_chain_link.url(), budget };
        write(folder, "node.toml", &node_file(&facts))?;
        directory.start(&[]).await?;
        let mut node = Part::new("node", folder, &["--config", "node.toml", "up"]);
        let ready = node.start(&[]).await?;
        let wallet = said(&ready, "/wallets/0/1")?;
        let wallet: Address = wallet.parse().map_err(|error| unlike(&error))?;
        let funded = fund_over_rpc(&rpc, wallet, GIFT).await;
        funded.map_err(|error| Failure::of(&error))?;
        let (facilitator, facilitator_link) =
            start_facilitator(folder, &provider_chain_link.url()).await?;
        let mut providers = Vec::new();
        for (name, capability, model, by_channel) in PROVIDERS {
            let file = format!("{name}.toml");
            let settles_by = (!by_channel).then(|| facilitator_link.url());
            let by_channel = by_channel && channels;
            let sale = Sale { name, capability, model, by_channel, settles_by, listen: port()? };
            write(folder, &file, &provider_file(&sale, at, &provider_chain_link.url()))?;
            let mut provider = Part::new(name, folder, &["--config", &file, "provider"]);
            provider.start(&[]).await?;
            providers.push(provider);
        }
        // A block a second comes at least: what was given above is final then, and not taken back.
        let clock = SystemClock;
        clock.sleep_until(clock.now().after(Duration::from_secs(FINAL_AFTER))).await;
        let mut house = Self {
            folder: folder.to_owned(),
            rpc,
            chain,
            _directory: directory,
            node,
            facilitator,
            providers,
            agents_link,
            node_chain_link,
            provider_chain_link,
            facilitator_link,
            wallet,
            tokens: Vec::new(),
        };
        for number in 0..AGENTS {
            let name = format!("prover-{number}");
            let added = house.command(&["agent", "add", &name, "--role", "prover"])?;
            let token = said(&added, "/token")?;
            house.tokens.push((name, Token::shown(&token)));
        }
        Ok(house)
    }

    /// What an operator's command answers.
    pub fn command(&self, words: &[&str]) -> Result<serde_json::Value, Failure> {
        let system = |problem: std::io::Error| {
            Failure::new(Exit::Failed, "prove.system", format!("{words:?}: {problem}"))
        };
        let output = Command::new(std::env::current_exe().map_err(system)?)
            .args(["--config", "node.toml", "--format", "json"])
            .args(words)
            .current_dir(&self.folder)
            .output()
            .map_err(system)?;
        if !output.status.success() {
            let problem = String::from_utf8_lossy(&output.stderr).into_owned();
            return Err(Failure::new(
                Exit::Failed,
                "prove.command",
                format!("{words:?}: {problem}"),
            ));
        }
        serde_json::from_slice(&output.stdout).map_err(|error| unlike(&error))
    }

    /// The node's journal.
    pub fn ledger(&self) -> PathBuf {
        self.folder.join("node.db")
    }

    /// The providers' journals.
    pub fn provider_ledgers(&self) -> Vec<PathBuf> {
        let of = |name: &str| self.folder.join(format!("{name}.{name}.db"));
        PROVIDERS.iter().map(|(name, ..)| of(name)).collect()
    }
}

/// The facilitator, and the link that it is reached by.
async fn start_facilitator(folder: &Path, chain: &str) -> Result<(Part, Link), Failure> {
    let at = port()?;
    write(folder, "facilitator.toml", &facilitator_file(at, chain))?;
    let words = ["--config", "facilitator.toml", "facilitator"];
    let mut facilitator = Part::new("facilitator", folder, &words);
    facilitator.start(&[]).await?;
    Ok((facilitator, link(at).await?))
}

fn facilitator_file(listen: SocketAddr, chain: &str) -> String {
    format!(
        r#"version = 1
[ledger]
path = "facilitator.db"
[network.sandbox]
kind = "sandbox"
rpc = "{chain}"
gas_account = "facilitator"
[wallet.facilitator]
key = "keystore:facilitator"
[keys]
folder = "facilitator-keys"
passphrase_file = "facilitator-keys/passphrase"
[facilitator]
listen = "{listen}"
payer_rates = {{ calls_per_minute = 100000, concurrency = 256 }}
"#
    )
}

struct Facts<'f> {
    directory: SocketAddr,
    node: SocketAddr,
    chain: String,
    budget: &'f str,
}

fn node_file(facts: &Facts<'_>) -> String {
    let Facts { directory, node, chain, budget } = facts;
    format!(
        r#"version = 1
[server]
listen = "{node}"
metrics = "off"
operator_socket = "operator.sock"
[ledger]
path = "node.db"
snapshot_every = 500
[directory]
connect = ["http://{directory}"]
[network.sandbox]
kind = "sandbox"
rpc = "{chain}"
[wallet.main]
key = "keystore:main"
[keys]
passphrase_file = "keys/passphrase"
[discovery]
allow_private = true
[channels]
per_provider = "0.4 USD"
total = "0.4 USD"
calls_per_deposit = 20
at_once = 8
[budget.cap]
applies_to = "*"
limit = "{budget} USD"
window = "lifetime"
[budget.minute]
applies_to = "role/prover"
per = "agent"
limit = "0.06 USD"
window = {{ rolling = "1m" }}
[role.prover]
per_call_max = "0.01 USD"
can_delegate = true
rates = {{ calls_per_minute = 100000, concurrency = 64 }}
session = {{ limit = "0.02 USD", span = "2m" }}
allow_any = true
allow = {{ capabilities = ["*"], models = ["*"], providers = ["*"], payees = ["*"], networks = ["sandbox"], assets = ["USDC"], schemes = ["exact", "batch-settlement"] }}
"#
    )
}

struct Sale<'f> {
    name: &'f str,
    capability: &'f str,
    model: &'f str,
    by_channel: bool,
    /// Where it does not settle itself.
    settles_by: Option<String>,
    listen: SocketAddr,
}

fn provider_file(sale: &Sale<'_>, directory: SocketAddr, chain: &str) -> String {
    let Sale { name, capability, model, by_channel, settles_by, listen } = sale;
    let channels = if *by_channel { CHANNELS } else { "" };
    let (gas, facilitators) = match settles_by {
        Some(url) => (String::new(), format!("facilitators = [\"{url}\"]\n")),
        None => (format!("gas_account = \"{name}\"\n"), String::new()),
    };
    format!(
        r#"version = 1
[server]
metrics = "off"
[ledger]
path = "{name}.db"
[directory]
connect = ["http://{directory}"]
[network.sandbox]
kind = "sandbox"
rpc = "{chain}"
{gas}[wallet.{name}]
key = "keystore:{name}"
[keys]
folder = "{name}-keys"
passphrase_file = "{name}-keys/passphrase"
[discovery]
allow_private = true
[provider.{name}]
engine = "{name}"
capability = "{capability}"
model = "{model}"
network = "sandbox"
listen = "{listen}"
price = {{ call = "0.001 USD" }}
pay_to = "wallet/{name}"
concurrency = 32
quote_life = "10s"
authorization_life = "20s"
refund_after = "60s"
{channels}{facilitators}"#
    )
}

async fn link(to: SocketAddr) -> Result<Link, Failure> {
    let system = |problem| Failure::new(Exit::Failed, "prove.system", format!("a link: {problem}"));
    Link::to(to).await.map_err(system)
}

fn port() -> Result<SocketAddr, Failure> {
    let system = |problem| Failure::new(Exit::Failed, "prove.system", format!("a port: {problem}"));
    free_port().map_err(system)
}

fn write(folder: &Path, name: &str, text: &str) -> Result<(), Failure> {
    let system = |problem| Failure::new(Exit::Failed, "prove.system", format!("{name}: {problem}"));
    fs::write(folder.join(name), text).map_err(system)
}

/// A text of what a process said.
fn said(value: &serde_json::Value, at: &str) -> Result<String, Failure> {
    let text = value.pointer(at).and_then(serde_json::Value::as_str).map(str::to_owned);
    text.ok_or_else(|| unlike(&format!("{at} is missing in {value}")))
}

fn socket(url: &str) -> Result<SocketAddr, Failure> {
    let at = url.trim_start_matches("http://").trim_end_matches('/');
    at.parse().map_err(|error| unlike(&format!("{url}: {error}")))
}

fn unlike(problem: &dyn std::fmt::Display) -> Failure {
    Failure::new(
        Exit::Failed,
        "prove.unlike",
        format!("a process said what it should not: {problem}"),
    )
}
