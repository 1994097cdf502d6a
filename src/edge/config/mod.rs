//! `bursar.toml`: read once, checked whole, then only values.
//!
//! The file is parsed to a tree that knows its places (raw), and walked to a [`Config`] (checked). Every
//! problem is reported at once, with file, line and column, what is wrong and what would be right. What
//! the file does not say is refused or has a stated default; nothing unknown is passed over. This room
//! opens no file and reads no environment: it is given the text.

mod checked;
mod known;
mod money;
mod network;
mod node;
mod policy;
mod problem;
mod provider;
mod reader;
mod reckoning;
mod sandbox;
mod secured;
mod settlement;
mod span;
mod terms;
#[cfg(test)]
mod tests;
mod ways;

use std::path::Path;

pub use checked::{
    Access, ChannelSettings, Config, DirectorySettings, Discovery, FacilitatorSettings, KeyFiles,
    KeySource, LedgerFile, Listen, LogFormat, Server, Telemetry, WalletSettings,
};
pub use known::{Known, SANDBOX_USDC};
pub use money::{parse_money, parse_span};
pub use network::{EvmSettings, Finality, NetworkSettings};
pub use problem::{Kind, Problem};
pub use provider::{PayTo, ProviderSettings, SecretSource, UpstreamSettings};
pub use sandbox::default_sandbox_file;
pub use secured::TlsFiles;
pub use settlement::Expected;
pub use terms::{FreeSettings, PriceSettings};
pub use ways::PaidBy;

use reader::{Section, Source};

/// The configuration's version that this reads.
pub const VERSION: u64 = 1;

impl Config {
    /// The checked configuration in `text`, which came from the file at `path`. Paths in it are taken
    /// from that file's folder.
    ///
    /// # Errors
    /// Every [`Problem`], in the order of the file.
    pub fn load(path: &Path, text: &str) -> Result<Self, Vec<Problem>> {
        let source = Source::new(path, text);
        let tree = source.parse()?;
        let root = Section::root(&source, &tree);
        let config = read(&source, &root);
        let (mut problems, mut warnings) = source.into_found();
        problems.sort_by_key(|problem| (problem.line, problem.column));
        warnings.sort_by_key(|problem| (problem.line, problem.column));
        match config {
            Some(config) if problems.is_empty() => Ok(Self { warnings, ..config }),
            _ => Err(problems),
        }
    }
}

/// Reads every section, also after one had problems, so that all are found.
fn read(source: &Source<'_>, root: &Section<'_>) -> Option<Config> {
    root.required("version", "version = 1").and_then(|item| {
        let version = item.integer()?;
        let right = "version = 1";
        (version == VERSION)
            .then_some(())
            .or_else(|| item.wrong(Kind::BadValue, format!("version {version} is unknown"), right))
    });
    let currency = node::read_currency(root);
    let timezone = node::read_timezone(root);
    let money = money::Unit { currency: &currency };
    let server = node::read_server(source, &root.section("server"));
    let ledger = node::read_ledger(source, &root.section("ledger"));
    let keys = node::read_keys(source, &root.section("keys"));
    let networks = network::read_networks(root);
    let assets = network::read_assets(root, &money, &networks);
    let expected = settlement::read_expected(root, &money);
    let wallets = node::read_wallets(root, &networks);
    network::check_gas_accounts(&networks, &wallets);
    let facts = policy::Facts { money, timezone: &timezone, networks: &networks, assets: &assets };
    let document = policy::read_policy(root, &facts);
    let facts = provider::Facts { money, networks: &networks, assets: &assets, wallets: &wallets };
    let providers = provider::read_providers(root, &facts);
    let negotiation = provider::read_negotiation(&root.section("negotiation"));
    let directory = node::read_directory(&root.section("directory"));
    let facilitator = node::read_facilitator(&root.section("facilitator"));
    let channels = node::read_channels(&root.section("channels"), &money);
    let reckoning = reckoning::read(&root.section("ways"), &money, &expected, channels.as_ref());
    let discovery = node::read_discovery(&root.section("discovery"));
    let telemetry = node::read_telemetry(&root.section("telemetry"));
    root.end();
    Some(Config {
        currency: currency.clone(),
        timezone: timezone.clone(),
        server: server?,
        ledger: ledger?,
        keys: keys?,
        networks: networks.into_settings(),
        expected,
        wallets: wallets.into_settings(),
        policy: document,
        providers,
        directory: directory?,
        facilitator: facilitator?,
        negotiation,
        channels,
        reckoning: reckoning?,
        discovery,
        telemetry: telemetry?,
        warnings: Vec::new(),
    })
}
