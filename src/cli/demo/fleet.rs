//! The demo's parts, started and ended: chain, directory, providers, node, agents.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use alloy::primitives::Address;
use bursar::domain::asset::{Asset, Network};
use bursar::domain::commitment::{ChannelOffer, Scheme, TransferMethod};
use bursar::domain::id::{AgentId, Name};
use bursar::domain::ledger::Bounds;
use bursar::domain::ledger::agent::{Principal, Token};
use bursar::domain::money::Amount;
use bursar::domain::order::Units;
use bursar::domain::policy::Rates;
use bursar::domain::quote::PayBy;
use bursar::edge::clock::{SystemClock, SystemEntropy};
use bursar::edge::grpc::{Address as Place, AgentClient, GrpcConnector, Listener, Reach};
use bursar::edge::journal::Options;
use bursar::edge::keys::NonceSecret;
use bursar::edge::sandbox::TOKEN;
use bursar::node::{
    NodePlan, PayTo, PayerNode, Provider, ProviderPlan, RailPlan, SandboxChain, StartError,
    connect_rail, sandbox_assets,
};
use bursar::ports::clock::Clock;
use bursar::ports::engine::Engine;
use bursar::ports::entropy::Entropy;
use bursar::ports::rail::Evidence;
use bursar::runtime::directory::Registry;
use bursar::runtime::operator::NewAgent;
use bursar::runtime::payee::OfferedWare;
use bursar::runtime::payer::PayerSettings;

use super::books::{self, Closing};
use super::plan::{self, HANDS, OPENING, RUNAWAY, Shop, WALLETS};
use super::report::Report;
use crate::analyst::{Analyst, MODEL};
use crate::librarian::Librarian;
use crate::scribe::Scribe;
use crate::shared::name;
use crate::shared::tally::Tally;
use crate::{runaway, scout};

/// How long a scribe takes over each token.
const PACE: Duration = Duration::from_millis(1);

/// How often the chain is asked.
const RECONCILE_EVERY: Duration = Duration::from_millis(500);

/// The parts that run.
pub struct Fleet {
    /// The chain.
    pub chain: SandboxChain,
    /// The providers.
    pub providers: Vec<Provider>,
    /// The payers' node.
    pub node: PayerNode,
    /// The witness.
    pub evidence: Arc<dyn Evidence>,
    /// The block after which the fleet's own transfers are counted.
    pub opening_block: u64,
    /// Who sends transactions: each provider's account for gas.
    pub gas_accounts: Vec<Address>,
    clients: BTreeMap<&'static str, AgentClient>,
    paid: Arc<AtomicU64>,
}

/// What the agents did.
#[derive(Default)]
pub struct Work {
    /// By agent.
    pub tallies: BTreeMap<String, Tally>,
}

impl Fleet {
    /// Starts everything; nothing is bought yet.
    pub async fn start(seed: u64, folder: &Path) -> Result<Self, StartError> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let chain_file = folder.join("chain.db");
        let chain = SandboxChain::start(Some(&chain_file), loopback(), Arc::clone(&clock)).await?;
        for wallet in WALLETS {
            chain.fund(plan::key(seed, wallet).address(), OPENING).await?;
        }
        let rail = RailPlan::sandbox(chain.url());
        let (evm, _) = connect_rail(&rail, None, Arc::clone(&clock)).await?;
        let evidence: Arc<dyn Evidence> = evm.clone();
        let someone = plan::key(seed, "research").address();
        let opening_block = evidence.balance(usdc(), someone).await?.block;
        let registry = Arc::new(Registry::new(Arc::clone(&clock), sandbox_assets()));

        let node = start_node(seed, folder, &evidence, evm.genesis(), &registry).await?;
        let clients = add_agents(&node).await?;
        let mut providers = Vec::new();
        for shop in plan::shops() {
            let engine = engine(&shop, &clients);
            let started = start_provider(seed, folder, &chain, &registry, shop, engine).await?;
            providers.push(started);
        }
        let gas_of = |provider: &Provider| plan::gas_key(seed, provider.name.as_str()).address();
        let gas_accounts = providers.iter().map(gas_of).collect();
        let paid = Arc::default();
        Ok(Self { chain, providers, node, evidence, opening_block, gas_accounts, clients, paid })
    }

    /// Lets every agent do what it does, until it has done or `stop` is set.
    pub async fn work(&self, seed: u64, stop: Arc<AtomicBool>) -> Work {
        let told = |_: &bursar::edge::grpc::Bought| {
            self.paid.fetch_add(1, Ordering::Relaxed);
        };
        let node = self.node.endpoint();
        let scouts = ["scout-1", "scout-2"].map(|label| {
            let client = self.clients.get(label).expect("every hand has a client");
            let mission = plan::mission(seed, name(label));
            async move { scout::run(node, client, &mission, told).await }
        });
        let [first, second] = scouts;
        let runaway = self.clients.get(RUNAWAY).expect("every hand has a client");
        let frenzy = plan::frenzy(seed);
        let (first, second, away) =
            tokio::join!(first, second, runaway::run(runaway, &frenzy, stop));
        let mut work = Work::default();
        for (agent, tally) in first.into_iter().chain(second) {
            work.tallies.insert(agent.to_string(), tally);
        }
        work.tallies.insert(RUNAWAY.to_owned(), away);
        work
    }

    /// How far it has come, in a line.
    pub async fn progress(&self) -> Option<String> {
        let now = SystemClock.now();
        let runaway = AgentId::named(&name(RUNAWAY));
        let budgets = self.node.operator.budgets_of(runaway, None, now).await.ok()?;
        let cap = budgets.into_iter().find(|check| check.budget.as_str() == "runaway-life")?;
        let answers = self.paid.load(Ordering::Relaxed);
        Some(format!(
            "answers bought {answers:>3}   runaway: spent {} held {} of its cap {}",
            cap.spent, cap.held, cap.limit
        ))
    }

    /// Lets every provider claim what vouchers stand for, and give back what lies unused. What is not
    /// closed in time shows in the books as locked.
    async fn close_channels(&self) {
        for provider in &self.providers {
            let claimed = provider.payee.claim_round(true).await;
            if let Err(refused) = claimed {
                tracing::warn!(%refused, provider = %provider.name, "vouchers not claimed");
            }
            while provider.payee.give_back_idle(Duration::ZERO).await.is_ok_and(|given| given > 0) {
            }
        }
    }

    /// Lets everything come to its end, reads the books, and ends the parts.
    pub async fn finish(
        self,
        seed: u64,
        work: Work,
        within: Duration,
    ) -> Result<Report, StartError> {
        // What the agents still have under way comes to its end first, then the chain has its say.
        let ended = tokio::time::timeout(within, self.node.payer.drain()).await.is_ok();
        let _ = tokio::time::timeout(within, self.close_channels()).await;
        let closing: Closing = books::close(&self, within).await?;
        let report = Report::new(seed, &self, work, closing).await?;
        for provider in self.providers {
            provider.drain(within).await;
        }
        let drained = self.node.drain(within).await;
        self.chain.stop().await;
        if !(ended && drained) {
            tracing::warn!("some calls had not ended in time");
        }
        Ok(report)
    }
}

/// The sandbox's USDC.
pub fn usdc() -> Asset {
    Asset { network: Network::SANDBOX, contract: TOKEN }
}

fn loopback() -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, 0))
}

async fn listener() -> Result<Listener, StartError> {
    Ok(Listener::bind(&Place::Tcp(loopback()), "--listen").await?)
}

async fn start_node(
    seed: u64,
    folder: &Path,
    evidence: &Arc<dyn Evidence>,
    genesis: alloy::primitives::B256,
    registry: &Arc<Registry>,
) -> Result<PayerNode, StartError> {
    let policy = plan::policy().map_err(|problems| StartError::System {
        what: "reading the agents' role files",
        problem: problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"),
    })?;
    let mut secret = [0; 32];
    SystemEntropy.fill(&mut secret);
    let mut operator = [0; 32];
    SystemEntropy.fill(&mut operator);
    PayerNode::start(NodePlan {
        ledger: folder.join("node.db"),
        journal: Options::default(),
        bounds: Bounds::default(),
        snapshot_every: 100_000,
        wallets: WALLETS.iter().map(|label| (name(label), plan::key(seed, label))).collect(),
        secret: NonceSecret::from_bytes(secret),
        policy,
        rails: vec![(Arc::clone(evidence), genesis)],
        directory: registry.clone(),
        registry: Some(Arc::clone(registry)),
        connector: Arc::new(GrpcConnector::new(Reach::Loopback)),
        web: bursar::edge::http::client::Reach::Loopback,
        listeners: vec![listener().await?],
        operator_token: Token::for_operator(operator).hash(),
        read_policy: Arc::new(|_, _| Err(vec!["the demo's policy is its own".to_owned()])),
        fund: None,
        payer: PayerSettings {
            negotiation: Some(plan::bargaining()),
            channels: Some(plan::CHANNELS),
            ..PayerSettings::default()
        },
        reconcile_every: RECONCILE_EVERY,
        clock: Arc::new(SystemClock),
        entropy: Arc::new(SystemEntropy),
    })
    .await
}

/// Adds the agents, and connects each with its token.
async fn add_agents(node: &PayerNode) -> Result<BTreeMap<&'static str, AgentClient>, StartError> {
    let mut clients = BTreeMap::new();
    for hand in HANDS {
        let agent: Name = name(hand.name);
        let mut random = [0; 32];
        SystemEntropy.fill(&mut random);
        let token = Token::for_agent(&agent, random);
        let new = NewAgent {
            name: agent,
            role: name(hand.role),
            group: name(hand.group),
            wallet: name(hand.wallet),
            token: token.hash(),
        };
        node.operator.add_agent(new, Principal::Operator).await?;
        let connected = AgentClient::connect(node.endpoint(), &token).await;
        let client = connected.map_err(|error| StartError::System {
            what: "connecting an agent to its node",
            problem: error.to_string(),
        })?;
        clients.insert(hand.name, client);
    }
    Ok(clients)
}

fn engine(shop: &Shop, clients: &BTreeMap<&'static str, AgentClient>) -> (Arc<dyn Engine>, String) {
    match shop.name {
        "librarian" => {
            let librarian = Librarian::new();
            let model = librarian.model().to_owned();
            (Arc::new(librarian), model)
        }
        "analyst" => {
            let client = clients.get("analyst").expect("the analyst is an agent too");
            (Arc::new(Analyst::new(client.clone())), MODEL.to_owned())
        }
        _ => {
            let scribe = Scribe::new(PACE);
            let model = scribe.model().to_owned();
            (Arc::new(scribe), model)
        }
    }
}

/// The ways in which a provider is paid, the one that it likes best first.
fn ways(shop: &Shop, pay_to: Address, authorizer: Address) -> Vec<PayBy> {
    let exact = PayBy {
        scheme: Scheme::Exact,
        method: TransferMethod::Eip3009,
        asset: usdc(),
        pay_to,
        timeout_s: 60,
    };
    let channel = Scheme::BatchSettlement(ChannelOffer {
        receiver_authorizer: authorizer,
        withdraw_delay_s: plan::WITHDRAW_DELAY_S,
        deposit_min: Amount::ZERO,
    });
    let channel = shop.by_channel.then_some(PayBy { scheme: channel, ..exact });
    channel.into_iter().chain([exact]).collect()
}

async fn start_provider(
    seed: u64,
    folder: &Path,
    chain: &SandboxChain,
    registry: &Arc<Registry>,
    shop: Shop,
    (engine, model): (Arc<dyn Engine>, String),
) -> Result<Provider, StartError> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let gas = plan::gas_key(seed, shop.name);
    chain.fund(gas.address(), Amount::new(1)).await?;
    let rail = RailPlan::sandbox(chain.url());
    let (evm, settler) = connect_rail(&rail, Some(&gas), Arc::clone(&clock)).await?;
    let pay_to = plan::key(seed, shop.name);
    let wares = shop.capabilities.iter().map(|capability| OfferedWare {
        capability: name(capability),
        model: name(&model),
        terms: shop.terms,
        tiers: Default::default(),
    });
    let none = Rates::default();
    Provider::start(ProviderPlan {
        name: name(shop.name),
        ledger: folder.join(format!("{}.db", shop.name)),
        journal: Options::default(),
        wares: wares.collect(),
        engine,
        pay_by: ways(&shop, pay_to.address(), gas.address()),
        pay_to: PayTo::Key(pay_to),
        service_key: plan::key(seed, &format!("{} service", shop.name)),
        assets: sandbox_assets(),
        settler: settler.expect("a rail with a gas account settles"),
        genesis: evm.genesis(),
        evidence: evm,
        input_max: Units(4096),
        output_max: shop.output_max,
        flowing: Some(plan::flowing()),
        claims: Default::default(),
        concurrency_max: shop.concurrency,
        payer_rates: none,
        peer_rates: none,
        free: None,
        serve_first: None,
        credit: None,
        quote_life: Duration::from_secs(60),
        lease: Duration::from_secs(60),
        directory: registry.clone(),
        listener: listener().await?,
        refund_after: None,
        reconcile_every: RECONCILE_EVERY,
        clock,
    })
    .await
}
