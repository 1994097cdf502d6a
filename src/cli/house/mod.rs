//! A house of real processes: a chain, a directory, a node, a facilitator and providers, each one of its own, with
//! links between them that can fail. `bursar prove` tries it, `bursar bench` loads it.

pub mod chance;
pub mod part;
pub mod proxy;

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

use self::part::{Part, free_port};
use self::proxy::Link;
use super::exit::Exit;
use super::failure::Failure;

/// What is to run.
pub struct Plan {
    /// So many of the chain's newest blocks are not final.
    pub final_after: u64,
    /// What the payers' wallet is given.
    pub gift: Amount,
    /// What the node's file says of its ledger, beside where it is.
    pub ledger: &'static str,
    /// What the node and the providers log.
    pub log: &'static str,
    /// What the node's file says of channels, budgets and roles.
    pub rules: String,
    /// Those who sell, each in a process of its own.
    pub sales: Vec<Sale>,
}

/// What one of them sells.
pub struct Sale {
    /// Its name.
    pub name: &'static str,
    /// Which engine does the work.
    pub engine: &'static str,
    /// What kind of work.
    pub capability: &'static str,
    /// With which model.
    pub model: &'static str,
    /// The rest of its section: the price, how it is paid, and its bounds.
    pub terms: String,
    /// Whether the facilitator settles for it; it does so itself otherwise.
    pub by_facilitator: bool,
}

/// Everything that runs.
pub struct House {
    /// Where the files are.
    pub folder: PathBuf,
    /// The chain's JSON-RPC, without a link between.
    pub rpc: String,
    /// The sandbox chain.
    pub chain: Part,
    /// So many of its newest blocks are not final.
    pub final_after: u64,
    /// The directory; it is there as long as the house is.
    _directory: Part,
    /// The payers' node.
    pub node: Part,
    /// The facilitator, which those who sell may settle by.
    pub facilitator: Part,
    /// Where it listens for agents, without a link between.
    pub node_at: SocketAddr,
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
    /// Starts everything in `folder`; there are no agents yet.
    pub async fn start(folder: &Path, plan: &Plan) -> Result<Self, Failure> {
        let depth = plan.final_after.to_string();
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
        write(folder, "node.toml", &node_file(plan, at, node_at, &node_chain_link.url()))?;
        directory.start(&[]).await?;
        let mut node = Part::new("node", folder, &["--config", "node.toml", "up"]);
        let ready = node.start(&[]).await?;
        let wallet = said(&ready, "/wallets/0/1")?;
        let wallet: Address = wallet.parse().map_err(|error| unlike(&error))?;
        let funded = fund_over_rpc(&rpc, wallet, plan.gift).await;
        funded.map_err(|error| Failure::of(&error))?;
        let (facilitator, facilitator_link) =
            start_facilitator(folder, &provider_chain_link.url()).await?;
        let mut providers = Vec::new();
        for sale in &plan.sales {
            let file = format!("{}.toml", sale.name);
            let settles_by = sale.by_facilitator.then(|| facilitator_link.url());
            let at = Places { directory: at, listen: port()?, settles_by };
            let words = provider_file(plan, sale, &at, &provider_chain_link.url());
            write(folder, &file, &words)?;
            let mut provider = Part::new(sale.name, folder, &["--config", &file, "provider"]);
            provider.start(&[]).await?;
            providers.push(provider);
        }
        // A block a second comes at least: what was given above is final then, and not taken back.
        let clock = SystemClock;
        clock.sleep_until(clock.now().after(Duration::from_secs(plan.final_after))).await;
        Ok(Self {
            folder: folder.to_owned(),
            rpc,
            chain,
            final_after: plan.final_after,
            _directory: directory,
            node,
            facilitator,
            node_at,
            providers,
            agents_link,
            node_chain_link,
            provider_chain_link,
            facilitator_link,
            wallet,
            tokens: Vec::new(),
        })
    }

    /// Adds an agent of this role.
    pub fn add_agent(&mut self, name: &str, role: &str) -> Result<(), Failure> {
        let added = self.command(&["agent", "add", name, "--role", role])?;
        let token = said(&added, "/token")?;
        self.tokens.push((name.to_owned(), Token::shown(&token)));
        Ok(())
    }

    /// What an operator's command answers.
    pub fn command(&self, words: &[&str]) -> Result<serde_json::Value, Failure> {
        let system = |problem: std::io::Error| {
            Failure::new(Exit::Failed, "house.system", format!("{words:?}: {problem}"))
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
                "house.command",
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
        self.providers.iter().map(|provider| of(provider.name())).collect()
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

fn node_file(plan: &Plan, directory: SocketAddr, node: SocketAddr, chain: &str) -> String {
    let Plan { ledger, log, rules, .. } = plan;
    format!(
        r#"version = 1
[server]
listen = "{node}"
metrics = "off"
operator_socket = "operator.sock"
[telemetry]
log = "{log}"
[ledger]
path = "node.db"
{ledger}
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
{rules}"#
    )
}

/// Where a provider is, and whom it finds.
struct Places {
    directory: SocketAddr,
    listen: SocketAddr,
    /// Where it does not settle itself.
    settles_by: Option<String>,
}

fn provider_file(plan: &Plan, sale: &Sale, at: &Places, chain: &str) -> String {
    let Sale { name, engine, capability, model, terms, .. } = sale;
    let Places { directory, listen, settles_by } = at;
    let log = plan.log;
    let (gas, facilitators) = match settles_by {
        Some(url) => (String::new(), format!("facilitators = [\"{url}\"]\n")),
        None => (format!("gas_account = \"{name}\"\n"), String::new()),
    };
    format!(
        r#"version = 1
[server]
metrics = "off"
[telemetry]
log = "{log}"
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
engine = "{engine}"
capability = "{capability}"
model = "{model}"
network = "sandbox"
listen = "{listen}"
pay_to = "wallet/{name}"
{facilitators}{terms}"#
    )
}

async fn link(to: SocketAddr) -> Result<Link, Failure> {
    let system = |problem| Failure::new(Exit::Failed, "house.system", format!("a link: {problem}"));
    Link::to(to).await.map_err(system)
}

fn port() -> Result<SocketAddr, Failure> {
    let system = |problem| Failure::new(Exit::Failed, "house.system", format!("a port: {problem}"));
    free_port().map_err(system)
}

fn write(folder: &Path, name: &str, text: &str) -> Result<(), Failure> {
    let system = |problem| Failure::new(Exit::Failed, "house.system", format!("{name}: {problem}"));
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
        "house.unlike",
        format!("a process said what it should not: {problem}"),
    )
}
