//! `bursar up`: runs a node from `bursar.toml`.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use alloy::primitives::{Address as Account, B256};
use bursar::domain::asset::AssetRegistry;
use bursar::domain::id::Name;
use bursar::domain::ledger::Bounds;
use bursar::domain::ledger::channel::ChannelCaps;
use bursar::domain::money::Amount;
use bursar::domain::policy::PolicyDocument;
use bursar::domain::quote::Stride;
use bursar::edge::clock::{SystemClock, SystemEntropy};
use bursar::edge::config::{
    ChannelSettings, Config, EvmSettings, Finality, LedgerFile, Listen, NetworkSettings,
    default_sandbox_file,
};
use bursar::edge::evm;
use bursar::edge::grpc::node::{Fund, ReadPolicy};
use bursar::edge::grpc::{
    Address, GrpcConnector, GrpcDirectory, Listener, Reach, Secured, connect_one,
};
use bursar::edge::http::client as http;
use bursar::edge::journal::{Options, Page, PaymentFilter, Views};
use bursar::edge::keys::{NodeSecrets, SigningKey};
use bursar::edge::tls::{self, Speaks};
use bursar::node::{
    NodePlan, PayerNode, RailPlan, SandboxChain, StartError, connect_rail, withdrawals,
};
use bursar::ports::clock::Clock;
use bursar::ports::directory::Directory;
use bursar::ports::rail::Evidence;
use bursar::runtime::channels::KeeperSettings;
use bursar::runtime::directory::Registry;
use bursar::runtime::payer::PayerSettings;
use serde::Serialize;

use super::args::{Args, UpArgs};
use super::config;
use super::exit::Exit;
use super::failure::Failure;
use super::keyring::Keyring;
use super::output::Output;
use super::running::{self, Running};
use super::signals::Signals;
use super::telemetry;

/// What each sandbox wallet is given at its first sight: 25 USDC.
const SANDBOX_GIFT: Amount = Amount::new(25_000_000);

/// What a gwei is.
const WEI_OF_A_GWEI: u128 = 1_000_000_000;

/// How often the chain is asked.
const RECONCILE_EVERY: Duration = Duration::from_secs(1);

/// How long running payments may take to end.
const DRAIN_MAX: Duration = Duration::from_secs(30);

/// What a node says when it is ready.
#[derive(Debug, Serialize)]
struct Ready {
    endpoints: Vec<String>,
    metrics: Option<String>,
    networks: Vec<String>,
    sandbox_rpc: Option<String>,
    ledger: PathBuf,
    operator_token_file: PathBuf,
    wallets: Vec<(Name, Account)>,
    /// The wallets that the sandbox gave its gift just now.
    funded: Vec<Name>,
    made: Vec<PathBuf>,
}

/// A sync that fails on purpose is for money that is none.
fn check_fault(config: &Config, up: &UpArgs) -> Result<(), Failure> {
    let sandbox = |network: &NetworkSettings| matches!(network, NetworkSettings::Sandbox { .. });
    if up.fail_sync_after.is_none() || config.networks.values().all(sandbox) {
        return Ok(());
    }
    let message = "--fail-sync-after breaks the journal, and not every network is a sandbox";
    Err(Failure::new(Exit::Config, "cli.fault_not_on_sandbox", message)
        .help("a configuration whose networks are all kind = \"sandbox\""))
}

/// Runs a node until it is asked to end.
pub fn run(args: &Args, up: &UpArgs, output: &Output) -> Result<Exit, Failure> {
    if up.sandbox && !args.config.exists() {
        fs::write(&args.config, default_sandbox_file())
            .map_err(|problem| system("writing the configuration", &problem))?;
        output.note(&format!("wrote {}", args.config.display()));
    }
    let mut config = config::load(args)?;
    if let Some(listen) = up.listen {
        config.server.listen = match config.server.listen {
            Listen::Tls { files, .. } => Listen::Tls { at: listen, files },
            Listen::Tcp(_) | Listen::Unix(_) => Listen::Tcp(listen),
        };
    }
    if let Some(metrics) = up.metrics {
        config.server.metrics = Some(metrics);
    }
    check_fault(&config, up)?;
    telemetry::start(&config.telemetry);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|problem| system("starting the runtime", &problem))?;
    runtime.block_on(serve(config, up.fail_sync_after, output))
}

async fn serve(config: Config, fail_after: Option<u64>, output: &Output) -> Result<Exit, Failure> {
    let signals = Signals::catch()?;
    let how = "--metrics, or metrics = \"off\" in [server]";
    let metrics = telemetry::listen(config.server.metrics, how).await?;
    let listeners = listeners(&config).await?;
    let mut keyring = Keyring::open(&config)?;
    let wallets = keyring.wallets()?;
    let mut made = keyring.made;
    let secrets = open_secrets(&config, &mut made)?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let chains = Chains::open(&config, &wallets, Arc::clone(&clock)).await?;
    let registry = Arc::new(Registry::new(Arc::clone(&clock), config.policy.assets.clone()));
    let directory = directory(&config, &registry).await?;
    let mut ready = Ready {
        endpoints: Vec::new(),
        metrics: None,
        networks: config.networks.values().map(|network| network.network().to_string()).collect(),
        sandbox_rpc: chains.sandbox.as_ref().map(SandboxChain::url),
        ledger: config.ledger.path.clone(),
        operator_token_file: config.server.operator.token_file.clone(),
        wallets: wallets.iter().map(|(name, key)| (name.clone(), key.address())).collect(),
        funded: chains.funded.clone(),
        made,
    };
    let (session, ways_clock) = (secrets.nonce.session_key(), Arc::clone(&clock));
    let plan = NodePlan {
        ledger: config.ledger.path.clone(),
        journal: journal_options(&config, fail_after),
        bounds: bounds(&config.ledger),
        snapshot_every: config.ledger.snapshot_every,
        wallets,
        secret: secrets.nonce,
        policy: config.policy.clone(),
        rails: chains.rails.clone(),
        directory,
        registry: (config.directory.serve || chains.sandbox.is_some()).then_some(registry),
        connector: Arc::new(GrpcConnector::new(reach(&config, false)?)),
        web: web_reach(&config)?,
        listeners,
        operator_token: secrets.operator.hash(),
        read_policy: read_policy(),
        fund: chains.fund(),
        payer: payer(&config),
        reconcile_every: RECONCILE_EVERY,
        clock,
        entropy: Arc::new(SystemEntropy),
    };
    let node = PayerNode::start(plan).await.map_err(|error| Failure::of(&error))?;
    chains.let_out(&node, &session, &ways_clock);
    let metrics = metrics.map(|listener| telemetry::serve(listener, &node.treasury));
    ready.endpoints.clone_from(&node.endpoints);
    ready.metrics = metrics.as_ref().map(telemetry::Metrics::url);
    let endpoint = running::endpoint(node.endpoint());
    let told = Running { endpoint, sandbox_rpc: ready.sandbox_rpc.clone() }.tell(&config)?;
    output.show(&ready, || banner(&ready));
    let stopped = stopped_or_asked(node.stopped(), signals).await;
    output.note("draining");
    drop(told);
    let ended = node.drain(DRAIN_MAX).await;
    if let Some(sandbox) = chains.sandbox {
        sandbox.stop().await;
    }
    stopped?;
    if !ended {
        let message = format!("payments were still running after {DRAIN_MAX:?}; they stay held");
        return Err(Failure::new(Exit::InDoubt, "cli.not_drained", message)
            .help("the next start asks the chain what became of them"));
    }
    Ok(Exit::Done)
}

/// Waits until somebody asks for its end, or a ledger can be written no more: then whoever watches the process
/// has to see it end.
pub async fn stopped_or_asked(
    stopped: impl Future<Output = ()>,
    signals: Signals,
) -> Result<(), Failure> {
    tokio::select! {
        biased;
        () = signals.wait() => Ok(()),
        () = stopped => {
            let message = "its ledger can be written no more; what is held stays held";
            Err(Failure::new(Exit::Failed, "cli.ledger_stopped", message)
                .help("the log says why; the next start goes on from what is on the disk"))
        }
    }
}

fn bounds(ledger: &LedgerFile) -> Bounds {
    let LedgerFile { request_memory, requests_max, .. } = *ledger;
    Bounds { request_memory, requests_max, ..Bounds::default() }
}

fn journal_options(config: &Config, fail_after: Option<u64>) -> Options {
    let receipts_kept = config.ledger.request_memory;
    Options { receipts_kept, fail_after, ..Options::default() }
}

fn banner(ready: &Ready) -> String {
    let gift = |name: &Name| if ready.funded.contains(name) { ", given 25 USDC" } else { "" };
    let wallet =
        |(name, account): &(Name, Account)| format!("  wallet    {name} {account}{}", gift(name));
    let wallets = ready.wallets.iter().map(wallet);
    let endpoints = ready.endpoints.iter().map(|endpoint| format!("  listens   {endpoint}"));
    let metrics = ready.metrics.iter().map(|url| format!("  metrics   {url}"));
    let made = ready.made.iter().map(|path| format!("  made      {}", path.display()));
    let chain = ready.networks.iter().map(|network| match &ready.sandbox_rpc {
        Some(url) => format!("  chain     {network} {url}"),
        None => format!("  chain     {network}"),
    });
    let files = [
        format!("  ledger    {}", ready.ledger.display()),
        format!("  operator  token in {}", ready.operator_token_file.display()),
    ];
    let lines: Vec<String> =
        endpoints.chain(metrics).chain(chain).chain(files).chain(wallets).chain(made).collect();
    format!(
        "bursar {}\n{}\n  next      bursar agent add NAME --role ROLE",
        env!("CARGO_PKG_VERSION"),
        lines.join("\n")
    )
}

fn open_secrets(config: &Config, made: &mut Vec<PathBuf>) -> Result<NodeSecrets, Failure> {
    let holds_open = has_open_holds(&config.ledger.path)?;
    let secrets = NodeSecrets::open_or_create(
        &config.keys.folder,
        &config.server.operator.token_file,
        holds_open,
        &SystemEntropy,
    )?;
    made.extend(secrets.made.iter().cloned());
    Ok(secrets)
}

/// Whether payments are open that a lost nonce secret could pay twice.
fn has_open_holds(ledger: &Path) -> Result<bool, Failure> {
    if !ledger.exists() {
        return Ok(false);
    }
    let views = Views::open(ledger)?;
    for state in ["signable", "unknown", "captured"] {
        let filter = PaymentFilter { state: Some(state.to_owned()), ..PaymentFilter::default() };
        if !views.payments(&filter, Page { before: None, limit: 1 })?.is_empty() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The chains that the node knows.
struct Chains {
    sandbox: Option<SandboxChain>,
    rails: Vec<(Arc<dyn Evidence>, B256)>,
    evms: Vec<(Arc<evm::Evm>, evm::SettlerConfig)>,
    funded: Vec<Name>,
}

impl Chains {
    async fn open(
        config: &Config,
        wallets: &[(Name, SigningKey)],
        clock: Arc<dyn Clock>,
    ) -> Result<Self, Failure> {
        let mut chains = Self { sandbox: None, rails: vec![], evms: vec![], funded: vec![] };
        for network in config.networks.values() {
            let plan = match network {
                NetworkSettings::Sandbox { rpc: Some(_), .. } | NetworkSettings::Evm(_) => {
                    rail_plan(config, network)
                }
                NetworkSettings::Sandbox { listen, .. } => {
                    let file = config.ledger.path.with_extension("chain.db");
                    let fresh = !file.exists();
                    let chain = SandboxChain::start(Some(&file), *listen, Arc::clone(&clock)).await;
                    let chain = chain.map_err(|error| Failure::of(&error))?;
                    if fresh {
                        for (name, key) in wallets {
                            let gift = chain.fund(key.address(), SANDBOX_GIFT).await;
                            gift.map_err(|error| Failure::of(&StartError::from(error)))?;
                            chains.funded.push(name.clone());
                        }
                    }
                    let plan = RailPlan::sandbox(chain.url());
                    chains.sandbox = Some(chain);
                    plan
                }
            };
            let connected = connect_rail(&plan, None, Arc::clone(&clock)).await;
            let (evm, _) = connected.map_err(|error| Failure::of(&error))?;
            let genesis = evm.genesis();
            chains.evms.push((Arc::clone(&evm), plan.settling));
            chains.rails.push((evm, genesis));
        }
        Ok(chains)
    }

    /// Lets the node withdraw from its channels without their payees: the session key asks, and the money
    /// goes to the wallet, whose own key stays cold. Its account needs gas only then.
    fn let_out(&self, node: &PayerNode, session: &SigningKey, clock: &Arc<dyn Clock>) {
        for (evm, settling) in &self.evms {
            let way = withdrawals(evm, session, *settling, Arc::clone(clock));
            node.payer.withdraw_by(Evidence::network(evm.as_ref()), way);
        }
    }

    /// How the sandbox gives money, where there is one.
    fn fund(&self) -> Option<Fund> {
        let sandbox = self.sandbox.as_ref()?.chain().clone();
        Some(Arc::new(move |to, amount| {
            let sandbox = sandbox.clone();
            let amount = alloy::primitives::U256::from(amount.get());
            Box::pin(
                async move { sandbox.fund(to, amount).await.map_err(|error| error.to_string()) },
            )
        }))
    }
}

/// How a configured network is reached: a sandbox by the JSON-RPC of the node that runs it.
pub fn rail_plan(config: &Config, network: &NetworkSettings) -> RailPlan {
    match network {
        NetworkSettings::Sandbox { rpc: Some(rpc), .. } => RailPlan::sandbox(rpc.clone()),
        NetworkSettings::Sandbox { listen, .. } => {
            let running = Running::find(config).and_then(|running| running.sandbox_rpc);
            RailPlan::sandbox(running.unwrap_or_else(|| format!("http://{listen}")))
        }
        NetworkSettings::Evm(settings) => RailPlan {
            network: settings.network,
            url: settings.rpc.clone(),
            genesis: settings.genesis,
            finality: match settings.finality {
                Finality::Tag => evm::Finality::Tag,
                Finality::Depth(depth) => evm::Finality::Depth(depth),
            },
            assets: assets_on(&config.policy.assets, settings.network),
            answer_within: settings.answer_within,
            settling: settling(settings),
            factories: BTreeSet::new(),
        },
    }
}

/// How to settle on a configured network.
fn settling(settings: &EvmSettings) -> evm::SettlerConfig {
    evm::SettlerConfig {
        confirmations: settings.confirmations,
        look_max: settings.poll,
        fee_wei_max: u128::from(settings.fee_gwei_max).saturating_mul(WEI_OF_A_GWEI),
        settlements_low: settings.settlements_low,
        ..evm::SettlerConfig::default()
    }
}

fn assets_on(
    assets: &AssetRegistry,
    network: bursar::domain::asset::Network,
) -> Vec<bursar::domain::asset::AssetInfo> {
    assets.iter().filter(|info| info.asset.network == network).cloned().collect()
}

async fn directory(
    config: &Config,
    registry: &Arc<Registry>,
) -> Result<Arc<dyn Directory>, Failure> {
    match config.directory.connect.first() {
        None => Ok(registry.clone()),
        Some(endpoint) => {
            let channel = connect_one(endpoint, reach(config, true)?).await;
            let channel = channel.map_err(|error| {
                Failure::new(Exit::NoNode, "cli.no_directory", format!("{endpoint}: {error}"))
            })?;
            Ok(Arc::new(GrpcDirectory::new(channel)))
        }
    }
}

async fn listeners(config: &Config) -> Result<Vec<Listener>, Failure> {
    let mut listeners = vec![bind(&config.server.listen, "--listen").await?];
    if let Some(socket) = &config.server.operator.socket {
        let at = Listen::Unix(socket.clone());
        listeners.push(bind(&at, "operator_socket in [server]").await?);
    }
    Ok(listeners)
}

/// A listener at a configured address, with its certificate where it has one.
pub async fn bind(listen: &Listen, flag: &'static str) -> Result<Listener, Failure> {
    let tls = match listen {
        Listen::Tls { files, .. } => {
            let read = tls::server(&files.cert, &files.key);
            Some(read.map_err(|error| Failure::of(&error))?)
        }
        Listen::Tcp(_) | Listen::Unix(_) => None,
    };
    let bound = Listener::bind_with(&address(listen), flag, tls).await;
    bound.map_err(|error| Failure::of(&error))
}

/// How far this configuration reaches: this machine in the clear, and by TLS whom its roots vouch for.
/// `own` are places that the configuration names itself: they may be on private addresses.
pub fn reach(config: &Config, own: bool) -> Result<Reach, Failure> {
    let roots = tls::client(config.discovery.ca.as_deref(), Speaks::Http2);
    let roots = roots.map_err(|error| Failure::of(&error))?;
    let private = own || config.discovery.allow_private;
    Ok(Reach::Secured(Secured { roots, private }))
}

/// How far requests over HTTP reach: this machine, and by TLS whoever the same roots vouch for.
pub fn web_reach(config: &Config) -> Result<http::Reach, Failure> {
    let roots = tls::client(config.discovery.ca.as_deref(), Speaks::Http1);
    let roots = roots.map_err(|error| Failure::of(&error))?;
    let private = config.discovery.allow_private;
    Ok(http::Reach::Secured(http::Secured { roots, private }))
}

/// A configured address as a server takes it.
pub fn address(listen: &Listen) -> Address {
    match listen {
        Listen::Tcp(tcp) => Address::Tcp(*tcp),
        Listen::Tls { at, .. } => Address::Tls(*at),
        Listen::Unix(path) => Address::Unix(path.clone()),
    }
}

/// How a node pays.
fn payer(config: &Config) -> PayerSettings {
    PayerSettings {
        negotiation: config.negotiation,
        channels: config.channels.map(keeper),
        reckoning: config.reckoning.clone(),
        stream: config.channels.map_or(Stride::ahead(), |channels| channels.stream),
        ..PayerSettings::default()
    }
}

/// How long a call waits for a channel that is free.
const CHANNEL_WAIT_MAX: Duration = Duration::from_secs(20);

fn keeper(settings: ChannelSettings) -> KeeperSettings {
    KeeperSettings {
        caps: ChannelCaps { provider: settings.per_provider, total: settings.total },
        calls_a_deposit: settings.calls_per_deposit,
        pool_max: settings.at_once,
        wait_max: CHANNEL_WAIT_MAX,
        credit: settings.credit,
    }
}

/// A policy that comes over the wire is a whole `bursar.toml`, checked as one.
fn read_policy() -> ReadPolicy {
    Arc::new(|text, file| -> Result<PolicyDocument, Vec<String>> {
        Config::load(Path::new(file), text)
            .map(|config| config.policy)
            .map_err(|problems| problems.iter().map(ToString::to_string).collect())
    })
}

pub fn system(what: &'static str, problem: &std::io::Error) -> Failure {
    Failure::new(Exit::Failed, "cli.system", format!("{what}: {problem}"))
}
