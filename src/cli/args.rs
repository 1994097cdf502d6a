//! Every word that the command line knows.

mod bench;
mod prove;

pub use self::bench::{BenchArgs, BenchPart, Measurement};
pub use self::prove::ProveArgs;

use std::net::SocketAddr;
use std::path::PathBuf;

use alloy::primitives::Address;
use clap::{Parser, Subcommand, ValueEnum};

use bursar::domain::id::{Name, PaymentId};
use bursar::domain::ledger::agent::Scope;

use super::channels::ChannelsCommand;
use super::fetch::FetchArgs;
use super::search::SearchArgs;

/// A payment runtime for AI agents: budgets that cannot be passed.
#[derive(Debug, Parser)]
#[command(name = "bursar", version, after_help = EXITS, max_term_width = 100)]
pub struct Args {
    /// The configuration.
    #[arg(long, global = true, value_name = "FILE", default_value = "bursar.toml")]
    pub config: PathBuf,
    /// How answers look: tables on a terminal, JSON otherwise.
    #[arg(long, global = true, value_enum)]
    pub format: Option<Format>,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

const EXITS: &str = "\
Exit status: 0 done, 1 failed, 2 wrong words, 3 the configuration has problems, 4 refused for good,
5 refused for now, 6 the outcome is open, 7 not found, 8 not allowed to ask, 9 the books do not match
or a cap was passed, 10 no node answers, 130 interrupted.";

/// How answers look.
#[derive(Copy, Clone, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    Table,
    /// For programs.
    Json,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run a node.
    Up(UpArgs),
    /// See agents buy, sell and be stopped, on a sandbox chain of their own.
    Demo(DemoArgs),
    /// Sell what the configuration says, or an OpenAI-compatible server: Ollama, llama.cpp, vLLM, LM Studio.
    Provider(ProviderArgs),
    /// Make an HTTP request to any server, and pay what it asks for within an agent's budgets.
    Fetch(FetchArgs),
    /// Look for x402 resources in a directory: nothing that it says of them is believed.
    Search(SearchArgs),
    /// Probe something as a stranger would, and say what is wrong with it.
    #[command(subcommand)]
    Doctor(DoctorCommand),
    /// Run a directory of providers.
    Directory {
        /// Where, instead of what the configuration says.
        #[arg(long)]
        listen: Option<SocketAddr>,
    },
    /// Verify and settle x402 payments for payees elsewhere, over HTTP and gRPC.
    Facilitator {
        /// Where, instead of what the configuration says.
        #[arg(long)]
        listen: Option<SocketAddr>,
    },
    /// Make, import and show keys.
    #[command(subcommand)]
    Wallet(WalletCommand),
    /// Add and list agents.
    #[command(subcommand)]
    Agent(AgentCommand),
    /// Show what budgets have left.
    Budget {
        /// Only this one.
        name: Option<Name>,
    },
    /// Show payments.
    Payments(PaymentsArgs),
    /// Show what was used: calls, tokens, bytes and milliseconds, summed.
    Usage(UsageArgs),
    /// Show what settling is expected to take and to cost, and what was measured.
    Networks(NetworksArgs),
    /// Show what lies in channels, or have it back.
    Channels {
        /// What to do; without a word the channels are shown.
        #[command(subcommand)]
        command: Option<ChannelsCommand>,
    },
    /// Say why a payment was allowed or refused, with the numbers of that instant.
    Why {
        /// Which: `pay_` and 32 digits.
        payment: PaymentId,
    },
    /// Stop every new signature of a scope at once. Holds stay.
    Pause {
        /// `all`, `group/NAME`, `role/NAME` or `agent/NAME`.
        #[arg(value_parser = scope)]
        scope: Scope,
        /// Why.
        #[arg(long)]
        reason: String,
    },
    /// Undo a pause.
    Resume {
        /// `all`, `group/NAME`, `role/NAME` or `agent/NAME`.
        #[arg(value_parser = scope)]
        scope: Scope,
    },
    /// Put the configuration's roles and budgets in force on the running node.
    Apply {
        /// Why.
        #[arg(long, default_value = "")]
        reason: String,
        /// Only say what would change.
        #[arg(long)]
        dry_run: bool,
    },
    /// Check the configuration, and show the limits that it sets.
    Check,
    /// Look after the ledger.
    #[command(subcommand)]
    Ledger(LedgerCommand),
    /// Look after the sandbox.
    #[command(subcommand)]
    Sandbox(SandboxCommand),
    /// Measure what this machine can do.
    Bench(BenchArgs),
    /// One process of `bursar bench pay`, which starts it.
    #[command(hide = true)]
    BenchPart {
        /// Which.
        part: BenchPart,
        /// Threads that serve calls.
        #[arg(long, default_value_t = 1)]
        workers: usize,
    },
    /// Try to pass a cap with real processes under real faults, and show the books afterwards.
    Prove(ProveArgs),
}

/// How to run a node.
#[derive(Debug, clap::Args)]
pub struct UpArgs {
    /// Write a small sandbox configuration where there is none.
    #[arg(long)]
    pub sandbox: bool,
    /// Where to listen for agents, instead of what the configuration says.
    #[arg(long)]
    pub listen: Option<SocketAddr>,
    /// Where to serve `/metrics`, instead of what the configuration says.
    #[arg(long)]
    pub metrics: Option<SocketAddr>,
    /// Make the sync after so many commits fail: on sandbox networks only, to see what holds.
    #[arg(long, hide = true, value_name = "COMMITS")]
    pub fail_sync_after: Option<u64>,
}

/// How to run the demo.
#[derive(Debug, clap::Args)]
pub struct DemoArgs {
    /// Print the result as one JSON object.
    #[arg(long)]
    pub json: bool,
    /// Fix keys, orders, prompts, prices, caps and what each budget has spent in the end.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Leave the ledgers in this folder.
    #[arg(long, value_name = "DIR")]
    pub keep: Option<PathBuf>,
}

/// Make, import and show keys.
#[derive(Debug, Subcommand)]
pub enum WalletCommand {
    /// Make a key.
    New(KeyArgs),
    /// Keep a key that exists: asked for, or read from a file.
    Import {
        /// A file with the key's 64 hexadecimal digits.
        #[arg(long, value_name = "FILE")]
        key_file: Option<PathBuf>,
        /// Which key.
        #[command(flatten)]
        key: KeyArgs,
    },
    /// Let a service key speak for a wallet that is paid: the `delegation` of a provider elsewhere.
    Delegate {
        /// Which key.
        #[command(flatten)]
        key: KeyArgs,
        /// The service key's address, instead of that of this folder's own.
        #[arg(long, value_name = "ADDRESS")]
        service: Option<Address>,
    },
    /// Show addresses; no passphrase is needed.
    Address {
        /// Only this key's.
        name: Option<Name>,
        /// The keystore's folder, instead of what the configuration says.
        #[arg(long, value_name = "DIR")]
        keys: Option<PathBuf>,
    },
}

/// Which key, and what seals it.
#[derive(Debug, clap::Args)]
pub struct KeyArgs {
    /// Its name in the keystore: `key = "keystore:NAME"`.
    pub name: Name,
    /// The keystore's folder, instead of what the configuration says.
    #[arg(long, value_name = "DIR")]
    pub keys: Option<PathBuf>,
    /// A file with the passphrase, instead of being asked for it.
    #[arg(long, value_name = "FILE")]
    pub passphrase_file: Option<PathBuf>,
}

/// Add and list agents.
#[derive(Debug, Subcommand)]
pub enum AgentCommand {
    /// Add an agent, and show its token once.
    Add {
        /// Its name.
        name: Name,
        /// Its role, which the policy in force knows.
        #[arg(long)]
        role: Name,
        /// Its group.
        #[arg(long, default_value = "default")]
        group: Name,
        /// The wallet that it pays from.
        #[arg(long, default_value = "main")]
        wallet: Name,
    },
    /// Show every agent.
    List,
    /// Give an agent a new token; the old one proves nothing from then on.
    Token {
        /// Whose.
        name: Name,
    },
}

/// Which payments.
#[derive(Debug, clap::Args)]
pub struct PaymentsArgs {
    /// Only this agent's.
    #[arg(long)]
    pub agent: Option<Name>,
    /// Only to this provider.
    #[arg(long)]
    pub provider: Option<Name>,
    /// Only in this state.
    #[arg(long)]
    pub state: Option<String>,
    /// How many at most, the newest first.
    #[arg(long, default_value_t = 50)]
    pub limit: u32,
}

/// Whose measurements.
#[derive(Debug, clap::Args)]
pub struct NetworksArgs {
    /// This ledger instead of the node's: a provider's, say, whose file is beside it.
    #[arg(long, value_name = "FILE")]
    pub ledger: Option<PathBuf>,
}

/// Which usage.
#[derive(Debug, clap::Args)]
pub struct UsageArgs {
    /// Summed by what.
    #[arg(long, value_enum, default_value_t = By::Agent)]
    pub by: By,
    /// From when on: `2026-11-23T10:00:00Z`, or so long ago: `24h`.
    #[arg(long, value_name = "TIME")]
    pub since: Option<String>,
    /// Until when: `2026-11-23T10:00:00Z`, or so long ago: `1h`.
    #[arg(long, value_name = "TIME")]
    pub until: Option<String>,
    /// Only this agent's.
    #[arg(long)]
    pub agent: Option<Name>,
    /// Only this group's.
    #[arg(long)]
    pub group: Option<Name>,
    /// Only what this provider sold.
    #[arg(long)]
    pub provider: Option<Name>,
    /// This ledger instead of the node's: a provider's, say, whose file is beside it.
    #[arg(long, value_name = "FILE")]
    pub ledger: Option<PathBuf>,
}

/// What usage is summed by.
#[derive(Copy, Clone, Debug, PartialEq, Eq, ValueEnum)]
pub enum By {
    /// Who bought.
    Agent,
    /// As which role it did.
    Role,
    /// In which group it was.
    Group,
    /// Who sold.
    Provider,
    /// To whom it was sold or given, by its key.
    Payer,
    /// What kind of work.
    Capability,
    /// With which model.
    Model,
}

/// What is sold.
#[derive(Debug, clap::Args)]
pub struct ProviderArgs {
    /// Which provider of the configuration; all of them where none is named. With --upstream, its name
    /// in the directory.
    pub name: Option<Name>,
    /// Sell this server with all its models: http://127.0.0.1:11434/v1.
    #[arg(long)]
    pub upstream: Option<String>,
    /// The server's key: env:VARIABLE or file:PATH.
    #[arg(long, requires = "upstream")]
    pub upstream_key: Option<String>,
    /// Only this model of it; may be said again for more.
    #[arg(long, requires = "upstream")]
    pub model: Vec<String>,
    /// The price of a million tokens in and out.
    #[arg(long, requires = "upstream", default_value = "in=0.05,out=0.20")]
    pub price: String,
    /// Who is paid: wallet/NAME of the configuration. On a sandbox a wallet is made.
    #[arg(long, requires = "upstream")]
    pub pay_to: Option<String>,
    /// On which network of the configuration, where it has several.
    #[arg(long, requires = "upstream")]
    pub network: Option<Name>,
    /// Where to listen.
    #[arg(long, requires = "upstream", default_value = "127.0.0.1:8403")]
    pub listen: SocketAddr,
    /// Where to serve `/metrics` of it: an address of this machine.
    #[arg(long, requires = "upstream")]
    pub metrics: Option<SocketAddr>,
}

/// What is probed.
#[derive(Debug, Subcommand)]
pub enum DoctorCommand {
    /// A provider: http://host:port for gRPC, with a path for HTTP.
    Provider {
        /// Where it answers.
        url: String,
        /// What kind of work is asked for, over gRPC.
        #[arg(long, default_value = "openai.chat")]
        capability: Name,
        /// Whose certificates are believed, instead of the public web's: a PEM file.
        #[arg(long)]
        ca: Option<PathBuf>,
    },
}

/// Look after the ledger.
#[derive(Debug, Subcommand)]
pub enum LedgerCommand {
    /// Check every hash, fold every event anew, and hold the result against the newest snapshot.
    Verify {
        /// The journal, instead of what the configuration says.
        path: Option<PathBuf>,
    },
}

/// Look after the sandbox.
#[derive(Debug, Subcommand)]
pub enum SandboxCommand {
    /// Run a chain alone, for nodes whose sandbox network says `rpc = "…"`.
    Run {
        /// Where it serves its JSON-RPC.
        #[arg(long, default_value = "127.0.0.1:0")]
        listen: SocketAddr,
        /// The file that it is kept in; without one it is gone when it ends.
        #[arg(long, value_name = "FILE")]
        file: Option<PathBuf>,
        /// A block is final once so many others stand on it; the newer ones can be taken back.
        #[arg(long, value_name = "BLOCKS", default_value_t = 0)]
        final_after: u64,
    },
    /// Mint sandbox money.
    Fund {
        /// To whom.
        address: Address,
        /// How much, in whole units: `25` or `0.5`.
        amount: String,
    },
}

fn scope(text: &str) -> Result<Scope, String> {
    let name = |name: &str| name.parse::<Name>().map_err(|error| error.to_string());
    match text.split_once('/') {
        None if text == "all" => Ok(Scope::All),
        Some(("group", group)) => name(group).map(Scope::Group),
        Some(("role", role)) => name(role).map(Scope::Role),
        Some(("agent", agent)) => name(agent).map(Scope::Agent),
        _ => Err("expected all, group/NAME, role/NAME or agent/NAME".to_owned()),
    }
}
