//! `bursar provider` and `bursar directory`: sells what the configuration says, and lists who sells.

use std::fs;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bursar::domain::commitment::{ChannelOffer, Scheme, TransferMethod};
use bursar::domain::id::Name;
use bursar::domain::money::Amount;
use bursar::domain::order::Units;
use bursar::domain::quote::PayBy;
use bursar::edge::clock::{SystemClock, SystemEntropy};
use bursar::edge::config::{
    Config, FreeSettings, Listen, NetworkSettings, PaidBy, PayTo as Receiver, ProviderSettings,
    SecretSource,
};
use bursar::edge::evm::Evm;
use bursar::edge::grpc::{Doors, GrpcDirectory, connect_one, serve_directory};
use bursar::edge::http::discovery;
use bursar::edge::http::openai::Face;
use bursar::edge::http::remote::{RemoteFacilitators, RemotePlan};
use bursar::edge::http::upstream::Upstream;
use bursar::edge::journal::Options;
use bursar::edge::keys::SigningKey;
use bursar::node::{PayTo, Provider, ProviderPlan, connect_rail, fund_over_rpc};
use bursar::ports::catalogue::Catalogue;
use bursar::ports::clock::Clock;
use bursar::ports::directory::Directory;
use bursar::ports::engine::Engine;
use bursar::ports::rail::Settler;
use bursar::runtime::directory::Registry;
use bursar::runtime::payee::{FreeBounds, OfferedWare, ServeFirst};
use futures_util::future::select_all;
use serde::Serialize;
use zeroize::Zeroizing;

use super::args::{Args, ProviderArgs};
use super::config;
use super::exit::Exit;
use super::failure::Failure;
use super::keyring::Keyring;
use super::output::{Output, table};
use super::resale;
use super::running;
use super::signals::Signals;
use super::telemetry::{self, Metrics};
use super::up::{bind, rail_plan, reach, stopped_or_asked, system};
use crate::librarian::Librarian;
use crate::scribe::Scribe;

/// How often open claims are looked at.
const RECONCILE_EVERY: Duration = Duration::from_secs(1);

/// How long a facilitator may take for one answer: as long as one may wait for a receipt.
const FACILITATOR_WITHIN: Duration = Duration::from_secs(90);

/// How long the chain is looked at for what a facilitator was asked to settle.
const LOOK_FOR: Duration = Duration::from_secs(10);

/// How long running calls may take to end.
const DRAIN_MAX: Duration = Duration::from_secs(30);

/// Runs the providers of the configuration, or one of them, until they are asked to end.
pub fn run(args: &Args, asked: &ProviderArgs, output: &Output) -> Result<Exit, Failure> {
    let mut config = config::load(args)?;
    telemetry::start(&config.telemetry);
    let added = resale::add(&mut config, asked)?;
    let only = added.as_ref().or(asked.name.as_ref());
    let named = |name: &Name| only.is_none_or(|only| only == name);
    let wanted: Vec<(Name, ProviderSettings)> =
        config.providers.clone().into_iter().filter(|(name, _)| named(name)).collect();
    if wanted.is_empty() {
        let message = "the configuration has no such provider";
        return Err(Failure::new(Exit::NotFound, "cli.no_provider", message)
            .help("a [provider.NAME] section"));
    }
    runtime()?.block_on(async {
        let signals = Signals::catch()?;
        let mut keyring = Keyring::open(&config)?;
        let mut running = Vec::new();
        for (name, settings) in wanted {
            let how =
                if added.is_some() { "--metrics" } else { "metrics in its [provider] section" };
            let metrics = telemetry::listen(settings.metrics, how).await?;
            let provider = start(&config, &mut keyring, name, settings).await?;
            let metrics = metrics.map(|listener| telemetry::serve(listener, &provider.treasury));
            running.push((provider, metrics));
        }
        let selling: Vec<Selling> = running
            .iter()
            .map(|(provider, metrics)| Selling {
                provider: provider.name.to_string(),
                endpoint: provider.endpoint.clone(),
                metrics: metrics.as_ref().map(Metrics::url),
            })
            .collect();
        output.show(&selling, || {
            let rows = selling.iter().map(|row| {
                let metrics = row.metrics.clone().unwrap_or_else(|| "off".to_owned());
                [row.provider.clone(), row.endpoint.clone(), metrics]
            });
            table(["provider", "sells at", "metrics"], rows)
        });
        let one = async {
            let each = running.iter().map(|(provider, _)| Box::pin(provider.stopped()));
            select_all(each).await;
        };
        let ended = stopped_or_asked(one, signals).await;
        for (provider, _metrics) in running {
            provider.drain(DRAIN_MAX).await;
        }
        ended.map(|()| Exit::Done)
    })
}

#[derive(Serialize)]
struct Selling {
    provider: String,
    endpoint: String,
    metrics: Option<String>,
}

async fn start(
    config: &Config,
    keyring: &mut Keyring<'_>,
    name: Name,
    settings: ProviderSettings,
) -> Result<Provider, Failure> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let (evm, settler) = rail(config, keyring, &settings, Arc::clone(&clock)).await?;
    let pay_to = match &settings.pay_to {
        Receiver::Wallet(wallet) => PayTo::Key(keyring.wallet(wallet)?),
        Receiver::Address { address, delegation } => {
            PayTo::Elsewhere { address: *address, delegation: *delegation }
        }
    };
    let service = service_key(config)?;
    let listener = bind(&settings.listen, "listen in its [provider] section").await?;
    let listener = listener.found_at(settings.public.clone());
    let pay_by = ways(&settings, pay_to.address(), settler.facilitator())?;
    let (engine, wares) = goods(&settings, &name).await?;
    let provider = Provider::start(ProviderPlan {
        ledger: config.ledger.path.with_extension(format!("{name}.db")),
        name,
        journal: Options::default(),
        wares,
        engine,
        pay_by,
        pay_to,
        service_key: service,
        assets: config.policy.assets.clone(),
        settler,
        genesis: evm.genesis(),
        evidence: evm,
        input_max: Units(settings.input_max),
        output_max: Units(settings.output_max),
        // An upstream counts in the end alone: there is nothing to pay it by while it flows.
        flowing: settings.upstream.is_none().then_some(settings.flowing),
        claims: settings.claims,
        concurrency_max: settings.concurrency,
        payer_rates: settings.payer_rates,
        peer_rates: settings.peer_rates,
        free: free_bounds(&settings.price.free),
        serve_first: settings
            .price
            .serve_first
            .map(|(per_payer, total)| ServeFirst { per_payer, total }),
        credit: settings.price.credit,
        quote_life: settings.quote_life,
        lease: config.directory.lease,
        directory: directory_of(config).await?,
        listener,
        refund_after: settings.refund_after,
        reconcile_every: RECONCILE_EVERY,
        clock,
    });
    provider.await.map_err(|error| Failure::of(&error))
}

/// How it may be paid: by channel first, where it takes them, because no chain is in such a call.
fn ways(
    settings: &ProviderSettings,
    pay_to: alloy::primitives::Address,
    account: Option<alloy::primitives::Address>,
) -> Result<Vec<PayBy>, Failure> {
    let account = || {
        account.ok_or_else(|| {
            let message = "no facilitator says by which account it would settle `upto`";
            Failure::new(Exit::Config, "cli.no_facilitator_account", message)
                .help("schemes = [\"exact\"], or a facilitator that settles `upto`")
        })
    };
    let exact = PayBy {
        scheme: Scheme::Exact,
        method: TransferMethod::Eip3009,
        asset: settings.asset,
        pay_to,
        timeout_s: settings.authorization_life.as_secs(),
    };
    let mut ways = Vec::new();
    if let Some(delay) = settings.withdraw_delay {
        let offer = ChannelOffer {
            receiver_authorizer: account()?,
            withdraw_delay_s: delay.as_secs(),
            deposit_min: settings.deposit_min,
        };
        let (scheme, method) = (Scheme::BatchSettlement(offer), settings.deposit_by);
        ways.push(PayBy { scheme, method, ..exact });
    }
    for way in &settings.ways {
        ways.push(match *way {
            PaidBy::Exact(method) => PayBy { method, ..exact },
            PaidBy::Upto(method) => {
                PayBy { scheme: Scheme::Upto { facilitator: account()? }, method, ..exact }
            }
        });
    }
    Ok(ways)
}

/// How what is given away is bounded, where anything is.
fn free_bounds(free: &FreeSettings) -> Option<FreeBounds> {
    let FreeSettings { calls, peer_per_day, per_day, payers_max } = *free;
    (calls > 0).then_some(FreeBounds { peer_per_day, per_day, payers_max })
}

/// On the sandbox gives a gas account something to settle from; elsewhere its owner does.
pub async fn fund_gas(
    network: &NetworkSettings,
    url: &str,
    account: alloy::primitives::Address,
) -> Result<(), Failure> {
    let NetworkSettings::Sandbox { .. } = network else { return Ok(()) };
    let funded = fund_over_rpc(url, account, Amount::new(1)).await;
    funded.map(|_| ()).map_err(|error| {
        let failure = Failure { exit: Exit::NoNode, ..Failure::of(&error) };
        failure.help("a sandbox runs inside its node: start it with `bursar up`")
    })
}

/// The rail that the provider is paid on, with its settler.
async fn rail(
    config: &Config,
    keyring: &mut Keyring<'_>,
    settings: &ProviderSettings,
    clock: Arc<dyn Clock>,
) -> Result<(Arc<Evm>, Arc<dyn Settler>), Failure> {
    let network = config
        .networks
        .values()
        .find(|network| network.network() == settings.asset.network)
        .expect("a checked provider's network is configured");
    if !settings.facilitators.is_empty() {
        return by_facilitators(config, network, &settings.facilitators, clock).await;
    }
    let gas = network.gas_account().ok_or_else(|| {
        let message = format!("{} has no gas account to settle from", network.network());
        Failure::new(Exit::Config, "cli.no_gas_account", message)
            .help("gas_account = \"WALLET\" in its [network] section")
    })?;
    let gas = keyring.wallet(gas)?;
    let plan = rail_plan(config, network);
    fund_gas(network, &plan.url, gas.address()).await?;
    let connected = connect_rail(&plan, Some(&gas), clock).await;
    let (evm, settler) = connected.map_err(|error| Failure::of(&error))?;
    Ok((evm, settler.expect("a rail with a gas account settles")))
}

/// The rail as others settle on it, and as the network's own node shows it.
async fn by_facilitators(
    config: &Config,
    network: &NetworkSettings,
    urls: &[String],
    clock: Arc<dyn Clock>,
) -> Result<(Arc<Evm>, Arc<dyn Settler>), Failure> {
    let connected = connect_rail(&rail_plan(config, network), None, Arc::clone(&clock)).await;
    let (evm, _) = connected.map_err(|error| Failure::of(&error))?;
    let plan = RemotePlan {
        urls: urls.to_vec(),
        assets: config.policy.assets.clone(),
        evidence: evm.clone(),
        clock,
        answer_within: FACILITATOR_WITHIN,
        look_for: LOOK_FOR,
    };
    let settler = RemoteFacilitators::connect(plan).await;
    let settler = settler.map_err(|error| Failure::of(&error))?;
    Ok((evm, Arc::new(settler)))
}

/// What is sold: a server elsewhere with all its models, or a built-in engine. Whoever generates text or
/// vectors sells them to OpenAI's clients too, at the same price.
async fn goods(
    settings: &ProviderSettings,
    name: &Name,
) -> Result<(Arc<dyn Engine>, Vec<OfferedWare>), Failure> {
    let ware = |capability: Name, model: &Name| OfferedWare {
        capability,
        model: model.clone(),
        terms: settings.price.terms,
        tiers: settings.price.tiers.clone(),
    };
    if let Some(upstream) = &settings.upstream {
        let key = upstream.key.as_ref().map(secret).transpose()?;
        let key = key.as_ref().map(|key| key.as_str());
        let engine = Upstream::connect(&upstream.url, key, &upstream.models, name).await;
        let engine = engine.map_err(|error| Failure::of(&error))?;
        let faces = |model| Face::ALL.map(|face| ware(face.name(), model));
        let wares = engine.models().flat_map(faces).collect();
        return Ok((Arc::new(engine), wares));
    }
    let engine = engine(&settings.engine)?;
    let faces: &[Face] = match settings.engine.as_str() {
        "scribe" => &[Face::Chat, Face::Completions, Face::Responses],
        "librarian" => &[Face::Embeddings],
        _ => &[],
    };
    let own = settings.capability.clone();
    let faces = faces.iter().map(|face| face.name()).filter(|face| *face != own);
    let sold = faces.map(|face| ware(face, &settings.model));
    let wares = [ware(own.clone(), &settings.model)].into_iter().chain(sold).collect();
    Ok((engine, wares))
}

/// A secret from where the configuration says it is.
fn secret(from: &SecretSource) -> Result<Zeroizing<String>, Failure> {
    let missing = |what: String| {
        Failure::new(Exit::Config, "cli.no_secret", what)
            .help("the upstream's key, and nothing else")
    };
    let read = match from {
        SecretSource::Env(name) => {
            std::env::var(name).map_err(|_| missing(format!("the variable {name} is not set")))?
        }
        SecretSource::File(path) => fs::read_to_string(path)
            .map_err(|problem| missing(format!("{}: {problem}", path.display())))?,
    };
    let read = Zeroizing::new(read);
    Ok(Zeroizing::new(read.trim().to_owned()))
}

fn engine(name: &Name) -> Result<Arc<dyn Engine>, Failure> {
    match name.as_str() {
        "librarian" => Ok(Arc::new(Librarian::new())),
        "scribe" => Ok(Arc::new(Scribe::new(Duration::ZERO))),
        other => {
            let message = format!("no engine is called `{other}`");
            Err(Failure::new(Exit::Config, "cli.no_engine", message)
                .help("engine = \"librarian\" or \"scribe\", or upstream = { url = \"http://127.0.0.1:11434/v1\" }"))
        }
    }
}

pub fn service_key(config: &Config) -> Result<SigningKey, Failure> {
    let path = config.keys.folder.join("service.key");
    if path.exists() {
        Ok(SigningKey::open_file(&path)?)
    } else {
        fs::create_dir_all(&config.keys.folder)
            .map_err(|problem| system("making the keys' folder", &problem))?;
        Ok(SigningKey::create_file(&path, &SystemEntropy)?)
    }
}

/// The directory to be listed in: the first that is configured, else the node's own.
async fn directory_of(config: &Config) -> Result<Arc<dyn Directory>, Failure> {
    let configured = config.directory.connect.first().cloned();
    let endpoints = configured.map_or_else(|| running::endpoints(config), |one| vec![one]);
    let mut silent = Vec::new();
    for endpoint in &endpoints {
        match connect_one(endpoint, reach(config, true)?).await {
            Ok(channel) => return Ok(Arc::new(GrpcDirectory::new(channel))),
            Err(error) => silent.push(error.to_string()),
        }
    }
    let message = format!("no directory answers: {}", silent.join("; "));
    Err(Failure::new(Exit::NoNode, "cli.no_directory", message)
        .help("`bursar up` serves one, or `bursar directory`"))
}

/// Runs a directory alone until it is asked to end.
pub fn directory(
    args: &Args,
    listen: Option<SocketAddr>,
    output: &Output,
) -> Result<Exit, Failure> {
    let config = config::load(args)?;
    telemetry::start(&config.telemetry);
    let at = listen.map_or_else(|| config.directory.listen.clone(), Listen::Tcp);
    runtime()?.block_on(async {
        let signals = Signals::catch()?;
        let listener = bind(&at, "--listen").await?;
        let at = listener.address().to_string();
        output.show(&serde_json::json!({ "directory": at }), || format!("directory at {at}"));
        let registry = Arc::new(Registry::new(Arc::new(SystemClock), config.policy.assets));
        let listed: Arc<dyn Catalogue> = registry.clone();
        let doors =
            Doors::default().with_web(discovery::routes([listed])).with(serve_directory(registry));
        let served = doors.serve(vec![listener], signals.wait(), DRAIN_MAX).await;
        served.map(|()| Exit::Done).map_err(|error| Failure::of(&error))
    })
}

pub fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|problem| system("starting the runtime", &problem))
}
