//! Chains: the sandbox with its JSON-RPC, and rails to any chain over JSON-RPC.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use alloy::primitives::{Address, B256, U64, U256};
use tokio::net::TcpListener;

use crate::domain::asset::{Asset, AssetInfo, AssetRegistry, Network};
use crate::domain::money::{Amount, Rate};
use crate::edge::evm::{Evm, EvmConfig, EvmSettler, Finality, SettlerConfig};
use crate::edge::keys::SigningKey;
use crate::edge::sandbox::{CHAIN_ID, Genesis, Place, Sandbox, SandboxError, Server, TOKEN};
use crate::node::StartError;
use crate::ports::channel_rail::Withdrawals;
use crate::ports::clock::Clock;

/// When every sandbox began: a fixed instant, because it is in the genesis hash, and in the past for
/// every clock that runs right (2026-01-01T00:00:00Z).
const GENESIS_S: u64 = 1_767_225_600;

/// How long the sandbox may take for one answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// A sandbox chain that serves its JSON-RPC on loopback.
pub struct SandboxChain {
    sandbox: Sandbox,
    server: Server,
}

impl SandboxChain {
    /// Opens the chain in `file`, or one in memory, and serves it at `listen`.
    ///
    /// # Errors
    /// [`StartError::Sandbox`], [`StartError::System`] where the address is taken.
    pub async fn start(
        file: Option<&Path>,
        listen: SocketAddr,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, StartError> {
        let place = file.map_or(Place::Memory, |path| Place::File(path.to_owned()));
        let genesis = Genesis { chain_id: CHAIN_ID, funded: Vec::new(), timestamp: GENESIS_S };
        let now_seconds = Arc::new(move || clock.now().as_secs());
        let sandbox = Sandbox::open(&place, &genesis, now_seconds)?;
        let system = |problem: std::io::Error| StartError::System {
            what: "serving the sandbox's JSON-RPC",
            problem: format!("{listen}: {problem}"),
        };
        let listener = TcpListener::bind(listen).await.map_err(system)?;
        let server = sandbox.serve(listener).map_err(system)?;
        Ok(Self { sandbox, server })
    }

    /// Where it answers.
    pub fn url(&self) -> String {
        self.server.url()
    }

    /// The hash of its first block.
    pub fn genesis(&self) -> B256 {
        self.sandbox.genesis_hash()
    }

    /// The chain itself.
    pub const fn chain(&self) -> &Sandbox {
        &self.sandbox
    }

    /// Mints `amount` to `holder`, with something for gas.
    ///
    /// # Errors
    /// As the sandbox says.
    pub async fn fund(&self, holder: Address, amount: Amount) -> Result<B256, SandboxError> {
        self.sandbox.fund(holder, U256::from(amount.get())).await
    }

    /// Stops serving.
    pub async fn stop(self) {
        self.server.stop().await;
    }
}

/// What may be paid with on the sandbox: its own USDC, one dollar each.
pub fn sandbox_assets() -> AssetRegistry {
    AssetRegistry::new([AssetInfo {
        asset: Asset { network: Network::SANDBOX, contract: TOKEN },
        symbol: "USDC".to_owned(),
        decimals: 6,
        eip712_name: "USDC".to_owned(),
        eip712_version: "2".to_owned(),
        rate: Rate { nano: 1_000_000_000, per: 1_000_000 },
    }])
}

/// How to reach a chain.
#[derive(Clone, Debug)]
pub struct RailPlan {
    /// Which chain it must be.
    pub network: Network,
    /// The node's JSON-RPC.
    pub url: String,
    /// The hash that block 0 must have, where it is known.
    pub genesis: Option<B256>,
    /// When a block counts as final.
    pub finality: Finality,
    /// What is paid with on it.
    pub assets: Vec<AssetInfo>,
    /// How long the node may take for one answer.
    pub answer_within: Duration,
    /// How to settle on it.
    pub settling: SettlerConfig,
    /// What may make wallets of payers that are not there yet, at the settler's cost: a facilitator's to say.
    pub factories: BTreeSet<Address>,
}

impl RailPlan {
    /// The sandbox at `url`: it says itself which block is final.
    pub fn sandbox(url: String) -> Self {
        Self {
            network: Network::SANDBOX,
            url,
            genesis: None,
            finality: Finality::Tag,
            assets: sandbox_assets().iter().cloned().collect(),
            answer_within: ANSWER_WITHIN,
            settling: SettlerConfig::default(),
            factories: BTreeSet::new(),
        }
    }
}

/// A rail: its witness, and its settler where a gas account is given. Both do the same for channels, whose
/// claims and refunds the gas account authorizes.
///
/// # Errors
/// [`StartError::Rail`].
pub async fn connect_rail(
    plan: &RailPlan,
    gas: Option<&SigningKey>,
    clock: Arc<dyn Clock>,
) -> Result<(Arc<Evm>, Option<Arc<EvmSettler>>), StartError> {
    let evm = Evm::connect(&EvmConfig {
        network: plan.network,
        url: plan.url.clone(),
        genesis: plan.genesis,
        finality: plan.finality,
        assets: plan.assets.clone(),
        answer_within: plan.answer_within,
    })
    .await?;
    let settler = match gas {
        None => None,
        Some(key) => {
            let account = key.gas_account();
            let started = EvmSettler::start(&evm, account, clock, plan.settling).await?;
            Some(Arc::new(started.with_factories(plan.factories.clone())))
        }
    };
    Ok((Arc::new(evm), settler))
}

/// A payer's own way out of its channels on `rail`, by `key`, which is the payer's or its authorizer's.
/// Its account needs gas only when it is used.
pub fn withdrawals(
    rail: &Evm,
    key: &SigningKey,
    settling: SettlerConfig,
    clock: Arc<dyn Clock>,
) -> Arc<dyn Withdrawals> {
    Arc::new(EvmSettler::open(rail, key.gas_account(), clock, settling))
}

/// Asks the sandbox at `url` to take its newest `blocks` back and to mine others, `again` with what was in
/// them or without. How many transactions were.
///
/// # Errors
/// [`StartError::System`] where it does not: one of the blocks is final, or nobody answers.
pub async fn reorganise_over_rpc(url: &str, blocks: u64, again: bool) -> Result<usize, StartError> {
    let failed = |problem: String| StartError::System {
        what: "asking the sandbox for a reorganisation",
        problem: format!("{url}: {problem}"),
    };
    let parsed = url.parse().map_err(|problem| failed(format!("{problem}")))?;
    let client = alloy::rpc::client::ClientBuilder::default().http(parsed);
    let taken: Vec<B256> = client
        .request("sandbox_reorg", (U64::from(blocks), again))
        .await
        .map_err(|problem| failed(problem.to_string()))?;
    Ok(taken.len())
}

/// Asks the sandbox at `url` to mint `amount` to `holder`, with something for gas.
///
/// # Errors
/// [`StartError::System`] where it is no sandbox, or does not answer.
pub async fn fund_over_rpc(url: &str, holder: Address, amount: Amount) -> Result<B256, StartError> {
    let failed = |problem: String| StartError::System {
        what: "asking the sandbox for money",
        problem: format!("{url}: {problem}"),
    };
    let parsed = url.parse().map_err(|problem| failed(format!("{problem}")))?;
    let client = alloy::rpc::client::ClientBuilder::default().http(parsed);
    client
        .request("sandbox_fund", (holder, U256::from(amount.get())))
        .await
        .map_err(|problem| failed(problem.to_string()))
}
