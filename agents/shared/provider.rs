//! A provider as a process of its own: keys and ledger in a folder, paid on a sandbox over JSON-RPC,
//! announced to a node's directory.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bursar::domain::asset::{Asset, Network};
use bursar::domain::commitment::{Scheme, TransferMethod};
use bursar::domain::money::Amount;
use bursar::domain::negotiation::{PayeeTerms, VolumeDiscount};
use bursar::domain::order::Units;
use bursar::domain::policy::Rates;
use bursar::domain::quote::{PayBy, PriceTerms};
use bursar::edge::clock::{SystemClock, SystemEntropy};
use bursar::edge::grpc::{Address, GrpcDirectory, Listener, Reach, connect_one};
use bursar::edge::journal::Options;
use bursar::edge::keys::SigningKey;
use bursar::edge::sandbox::TOKEN;
use bursar::node::{
    PayTo, Provider, ProviderPlan, RailPlan, StartError, connect_rail, fund_over_rpc,
    sandbox_assets,
};
use bursar::ports::clock::Clock;
use bursar::ports::engine::Engine;
use bursar::runtime::payee::OfferedWare;

use crate::shared::name;

/// How long a paid call may wait to be served before it is paid back.
const REFUND_AFTER: Duration = Duration::from_secs(600);

/// The most input of one call, in tokens: OpenAI's clients are billed by bytes at most, and send much.
const INPUT_MAX: u64 = 65_536;

/// How long running calls may take to end.
const DRAIN_MAX: Duration = Duration::from_secs(20);

/// What every provider is told.
#[derive(Debug, clap::Args)]
pub struct ProviderFlags {
    /// The sandbox's JSON-RPC, as `bursar up --sandbox` prints it.
    #[arg(long)]
    pub rpc: String,
    /// The directory to be listed in: a node serves one, such as http://127.0.0.1:8402.
    #[arg(long)]
    pub directory: String,
    /// Where its keys and its ledger lie; made where it is missing.
    #[arg(long)]
    pub folder: PathBuf,
    /// Where to listen.
    #[arg(long, default_value = "127.0.0.1:0")]
    pub listen: SocketAddr,
    /// Its name in the directory, instead of its own.
    #[arg(long)]
    pub name: Option<String>,
    /// The price of a call, in millionths of a USDC.
    #[arg(long)]
    pub price: Option<u128>,
    /// Calls at once.
    #[arg(long, default_value_t = 16)]
    pub concurrency: u32,
}

/// What is sold.
pub struct Goods {
    /// Its name, unless the flags have another.
    pub name: &'static str,
    /// What kinds of work.
    pub capabilities: &'static [&'static str],
    /// The model.
    pub model: String,
    /// The price of a call, unless the flags have another.
    pub price: u128,
    /// The work itself.
    pub engine: Arc<dyn Engine>,
}

/// Sells until Ctrl-C.
///
/// # Errors
/// [`StartError`].
pub async fn sell(flags: &ProviderFlags, goods: Goods) -> Result<(), StartError> {
    let provider = start(flags, goods).await?;
    announce(&format!("{} sells at {}", provider.name, provider.endpoint));
    // An error means that no signal can be waited for; then it ends at once.
    let _ = tokio::signal::ctrl_c().await;
    provider.drain(DRAIN_MAX).await;
    Ok(())
}

async fn start(flags: &ProviderFlags, goods: Goods) -> Result<Provider, StartError> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let system = |what: &'static str, problem: String| StartError::System { what, problem };
    std::fs::create_dir_all(&flags.folder)
        .map_err(|problem| system("making the folder", problem.to_string()))?;
    let gas = key(&flags.folder, "gas.key")?;
    fund_over_rpc(&flags.rpc, gas.address(), Amount::new(1)).await?;
    let plan = RailPlan::sandbox(flags.rpc.clone());
    let (evm, settler) = connect_rail(&plan, Some(&gas), Arc::clone(&clock)).await?;
    let channel = connect_one(&flags.directory, Reach::Loopback)
        .await
        .map_err(|error| system("connecting to the directory", error.to_string()))?;
    let flat = PriceTerms {
        flat: Amount::new(flags.price.unwrap_or(goods.price)),
        ..PriceTerms::default()
    };
    let volume_discount = VolumeDiscount::default();
    let terms = PayeeTerms { list: flat, floor: flat, volume_discount, rounds_max: 1 };
    let ware = |capability: &&str| OfferedWare {
        capability: name(capability),
        model: name(&goods.model),
        terms,
        tiers: Default::default(),
    };
    let pay_to = key(&flags.folder, "pay-to.key")?;
    let pay_by = PayBy {
        scheme: Scheme::Exact,
        method: TransferMethod::Eip3009,
        asset: Asset { network: Network::SANDBOX, contract: TOKEN },
        pay_to: pay_to.address(),
        timeout_s: 60,
    };
    Provider::start(ProviderPlan {
        name: name(flags.name.as_deref().unwrap_or(goods.name)),
        ledger: flags.folder.join("ledger.db"),
        journal: Options::default(),
        wares: goods.capabilities.iter().map(ware).collect(),
        engine: goods.engine,
        pay_by: vec![pay_by],
        pay_to: PayTo::Key(pay_to),
        service_key: key(&flags.folder, "service.key")?,
        assets: sandbox_assets(),
        settler: settler.expect("a rail with a gas account settles"),
        genesis: evm.genesis(),
        evidence: evm,
        input_max: Units(INPUT_MAX),
        output_max: Units(4096),
        flowing: Some(Default::default()),
        claims: Default::default(),
        concurrency_max: flags.concurrency,
        payer_rates: Rates::default(),
        peer_rates: Rates::default(),
        free: None,
        serve_first: None,
        credit: None,
        quote_life: Duration::from_secs(60),
        lease: Duration::from_secs(60),
        directory: Arc::new(GrpcDirectory::new(channel)),
        listener: Listener::bind(&Address::Tcp(flags.listen), "--listen").await?,
        refund_after: Some(REFUND_AFTER),
        reconcile_every: Duration::from_secs(1),
        clock,
    })
    .await
}

/// The key in this file, made where it is missing.
fn key(folder: &Path, file: &str) -> Result<SigningKey, StartError> {
    let path = folder.join(file);
    let opened = if path.exists() {
        SigningKey::open_file(&path)
    } else {
        SigningKey::create_file(&path, &SystemEntropy)
    };
    opened.map_err(|error| StartError::System { what: "opening a key", problem: error.to_string() })
}

/// A line for people, and for whoever started the process.
#[expect(clippy::print_stdout, reason = "a program's own output")]
pub fn announce(line: &str) {
    println!("{line}");
}
