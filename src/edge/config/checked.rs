//! The checked configuration: nothing here can be wrong in itself any more.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use alloy::primitives::Address;

use crate::domain::id::Name;
use crate::domain::money::Nano;
use crate::domain::negotiation::{PayerStrategy, Reckoning};
use crate::domain::policy::{PolicyDocument, Rates};
use crate::domain::quote::Stride;
use crate::edge::config::network::NetworkSettings;
use crate::edge::config::problem::Problem;
use crate::edge::config::provider::ProviderSettings;
use crate::edge::config::secured::TlsFiles;
use crate::edge::config::settlement::Expected;

/// Everything that `bursar.toml` says, checked as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The unit of account: `USD`.
    pub currency: String,
    /// For calendar windows that name no zone of their own: an IANA name.
    pub timezone: String,
    /// Where the node listens.
    pub server: Server,
    /// Where the ledger lives.
    pub ledger: LedgerFile,
    /// Where keys and secrets live.
    pub keys: KeyFiles,
    /// By the operator's names.
    pub networks: BTreeMap<Name, NetworkSettings>,
    /// What settling is expected to take and to cost, also on networks that are not configured.
    pub expected: BTreeMap<Name, Expected>,
    /// By the operator's names.
    pub wallets: BTreeMap<Name, WalletSettings>,
    /// Roles, budgets, rates and assets: what the journal keeps.
    pub policy: PolicyDocument,
    /// What this file's owner sells.
    pub providers: BTreeMap<Name, ProviderSettings>,
    /// Where providers are announced and found.
    pub directory: DirectorySettings,
    /// Where a facilitator listens.
    pub facilitator: FacilitatorSettings,
    /// How quotes are answered; `None` takes the list price.
    pub negotiation: Option<PayerStrategy>,
    /// How channels are kept; `None` keeps none.
    pub channels: Option<ChannelSettings>,
    /// What is expected of the ways to pay.
    pub reckoning: Reckoning,
    /// What may be found.
    pub discovery: Discovery,
    /// Logs.
    pub telemetry: Telemetry,
    /// What is legal, and wider than most people mean.
    pub warnings: Vec<Problem>,
}

/// Where a facilitator listens, and how much it is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FacilitatorSettings {
    /// For HTTP and gRPC on one port.
    pub listen: Listen,
    /// How fast one payer's payments are looked into.
    pub payer_rates: Rates,
    /// Whether it keeps a directory too.
    pub directory: bool,
    /// What makes wallets of payers that are not there yet; nobody, where none is named.
    pub factories: BTreeSet<Address>,
}

/// What may lie locked in channels, and how they are filled.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct ChannelSettings {
    /// At one provider at most.
    pub per_provider: Nano,
    /// In all at most.
    pub total: Nano,
    /// A deposit is for so many calls like the first.
    pub calls_per_deposit: u64,
    /// Channels to one provider at most: so many calls to it run at once.
    pub at_once: usize,
    /// Whether calls go without a voucher of their own where a provider gives credit.
    pub credit: bool,
    /// What of a streamed answer may be paid and not have come yet.
    pub stream: Stride,
}

/// Where something listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listen {
    /// On loopback; port 0 takes any that is free.
    Tcp(SocketAddr),
    /// On any address, by TLS.
    Tls {
        /// The address; port 0 takes any that is free.
        at: SocketAddr,
        /// How it proves who it is.
        files: TlsFiles,
    },
    /// On a Unix socket.
    Unix(PathBuf),
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(addr) | Self::Tls { at: addr, .. } => write!(f, "{addr}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// Where the node listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// For agents, and for the operator with the token.
    pub listen: Listen,
    /// How the operator proves itself.
    pub operator: Access,
    /// For Prometheus; `None` where it is off.
    pub metrics: Option<SocketAddr>,
}

/// How the operator proves itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Access {
    /// Whoever may open this socket is the operator.
    pub socket: Option<PathBuf>,
    /// Whoever may read this file is the operator.
    pub token_file: PathBuf,
}

/// Where the ledger lives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LedgerFile {
    /// The journal.
    pub path: PathBuf,
    /// A snapshot is kept each time that many events were written.
    pub snapshot_every: u64,
    /// How long requests are remembered; older ones are refused.
    pub request_memory: Duration,
    /// How many are remembered; beyond that the oldest are refused before their time.
    pub requests_max: usize,
}

/// Where keys and secrets live.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyFiles {
    /// The folder of the keystore, the service key and the nonce secret.
    pub folder: PathBuf,
    /// What opens the keystore's files; without it the command asks.
    pub passphrase_file: Option<PathBuf>,
}

/// A wallet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WalletSettings {
    /// Where its key is.
    pub key: KeySource,
}

/// Where a key is. Never the key itself.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum KeySource {
    /// In the keystore, under this name.
    Keystore(Name),
    /// In this environment variable.
    Env(String),
}

/// Where providers are announced and found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirectorySettings {
    /// Where `bursar directory` listens.
    pub listen: Listen,
    /// Whether `bursar up` serves a directory too, beside everything else.
    pub serve: bool,
    /// Directories that are asked and announced to.
    pub connect: Vec<String>,
    /// How long an announcement lasts unless it is renewed.
    pub lease: Duration,
}

/// What may be found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Discovery {
    /// Whose certificates are believed, as PEM; `None` believes the public web's roots.
    pub ca: Option<PathBuf>,
    /// Whether providers on loopback and private addresses count.
    pub allow_private: bool,
}

/// Logs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Telemetry {
    /// Which, in the words of `RUST_LOG`.
    pub log: String,
    /// How.
    pub format: LogFormat,
}

/// How logs look.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// For programs.
    Json,
}
