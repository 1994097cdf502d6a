//! `bursar facilitator`: verifies and settles for payees elsewhere, on every network of the configuration that
//! has a gas account.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;

use alloy::primitives::Address;
use bursar::edge::clock::SystemClock;
use bursar::edge::config::{Config, Listen, PayTo};
use bursar::node::{FacilitatorNode, FacilitatorPlan, RailPlan, connect_rail};
use bursar::ports::clock::Clock;
use bursar::runtime::directory::Registry;
use bursar::runtime::facilitator::Rail;

use super::args::Args;
use super::config;
use super::exit::Exit;
use super::failure::Failure;
use super::keyring::Keyring;
use super::output::Output;
use super::provider::{fund_gas, runtime};
use super::signals::Signals;
use super::telemetry;
use super::up::{bind, rail_plan};

/// Runs a facilitator until it is asked to end.
pub fn run(args: &Args, listen: Option<SocketAddr>, output: &Output) -> Result<Exit, Failure> {
    let config = config::load(args)?;
    telemetry::start(&config.telemetry);
    let at = listen.map_or_else(|| config.facilitator.listen.clone(), Listen::Tcp);
    runtime()?.block_on(async {
        let signals = Signals::catch()?;
        let mut keyring = Keyring::open(&config)?;
        let rails = rails(&config, &mut keyring).await?;
        let listener = bind(&at, "--listen").await?;
        let started = FacilitatorNode::start(FacilitatorPlan {
            settlements: config.ledger.path.with_extension("settlements.db"),
            rails,
            assets: config.policy.assets.clone(),
            payer_rates: config.facilitator.payer_rates,
            own: own(&config, &keyring)?,
            registry: config.facilitator.directory.then(|| {
                Arc::new(Registry::new(Arc::new(SystemClock), config.policy.assets.clone()))
            }),
            listener,
            clock: Arc::new(SystemClock),
        });
        let running = started.map_err(|error| Failure::of(&error))?;
        output.show(&serde_json::json!({ "facilitator": running.url }), || {
            format!("facilitator at {}", running.url)
        });
        signals.wait().await;
        running.drain().await;
        Ok(Exit::Done)
    })
}

/// Who may sell from the same gas accounts: whoever's key is here, and whoever a provider of the file pays.
fn own(config: &Config, keyring: &Keyring<'_>) -> Result<BTreeSet<Address>, Failure> {
    let mut own = keyring.addresses()?;
    own.extend(config.providers.values().filter_map(|provider| match &provider.pay_to {
        PayTo::Address { address, .. } => Some(*address),
        PayTo::Wallet(_) => None,
    }));
    Ok(own)
}

/// One for each network that has a gas account.
async fn rails(config: &Config, keyring: &mut Keyring<'_>) -> Result<Vec<Rail>, Failure> {
    let mut rails = Vec::new();
    for network in config.networks.values() {
        let Some(wallet) = network.gas_account() else { continue };
        let gas = keyring.wallet(wallet)?;
        let factories = config.facilitator.factories.clone();
        let plan = RailPlan { factories, ..rail_plan(config, network) };
        fund_gas(network, &plan.url, gas.address()).await?;
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let connected = connect_rail(&plan, Some(&gas), clock).await;
        let (evidence, settler) = connected.map_err(|error| Failure::of(&error))?;
        let settler = settler.expect("a rail with a gas account settles");
        rails.push(Rail { settler, evidence });
    }
    if rails.is_empty() {
        let message = "no network has a gas account to settle from";
        return Err(Failure::new(Exit::Config, "cli.no_gas_account", message)
            .help("gas_account = \"WALLET\" in a [network] section"));
    }
    Ok(rails)
}
