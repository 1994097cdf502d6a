//! A sandbox chain, a directory, a provider and a payers' node over real sockets, with keys of public labels.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bursar::domain::asset::{Asset, AssetInfo, Network};
use bursar::domain::commitment::{ChannelOffer, Scheme, TransferMethod};
use bursar::domain::id::{Name, RequestId};
use bursar::domain::ledger::Bounds;
use bursar::domain::ledger::agent::{Principal, Token};
use bursar::domain::ledger::audit::Audit;
use bursar::domain::ledger::channel::ChannelCaps;
use bursar::domain::money::{Amount, Nano};
use bursar::domain::negotiation::{PayeeTerms, Reckoning, VolumeDiscount};
use bursar::domain::order::{Order, Units, Usage};
use bursar::domain::policy::{PolicyDocument, Rates};
use bursar::domain::pricing::Tiers;
use bursar::domain::quote::{PayBy, PriceTerms, Stride};
use bursar::edge::clock::{SystemClock, SystemEntropy};
use bursar::edge::config::Config;
use bursar::edge::grpc::{Address, AgentClient, GrpcConnector, Listener, Purchase, Reach};
use bursar::edge::journal::Options;
use bursar::edge::keys::{NonceSecret, SigningKey};
use bursar::edge::sandbox::TOKEN;
use bursar::node::{
    NodePlan, PayTo, PayerNode, Provider, ProviderPlan, SandboxChain, connect_rail,
};
use bursar::ports::clock::Clock;
use bursar::ports::engine::{Engine, EngineError, Step, Work};
use bursar::ports::entropy::Entropy;
use bursar::ports::journal::Journal;
use bursar::ports::rail::Evidence;
use bursar::runtime::channels::{KeeperSettings, POOL_MAX};
use bursar::runtime::directory::Registry;
use bursar::runtime::operator::NewAgent;
use bursar::runtime::payee::{Flowing, FreeBounds, OfferedWare, ServeFirst, TabCredit};
use bursar::runtime::payer::PayerSettings;
use futures_util::stream::{self, BoxStream, StreamExt};
use sha2::{Digest, Sha256};
use tempfile::TempDir;
use tokio::sync::Semaphore;

pub use crate::hand::{Hand, Skew};
use crate::listed::listed;
use crate::quoted::{Asked, Counting};
use crate::tender::mint;

/// What one call costs, in atomic units, and in nano-USD.
pub const PRICE: u128 = 1000;
pub const PRICE_NANO: u64 = 1_000_000;

/// The operator's configuration: twenty calls for each agent, a role that may only echo.
pub const POLICY: &str = r#"
version = 1
[network.sandbox]
kind = "sandbox"
[wallet.main]
key = "keystore:main"
[discovery]
allow_private = true

[budget.fleet]
applies_to = "*"
limit = "1 USD"
window = "lifetime"

[budget.agent]
applies_to = "role/worker"
per = "agent"
limit = "0.02 USD"
window = "lifetime"

[role.worker]
per_call_max = "0.005 USD"
can_delegate = true
allow_any = true
allow = { capabilities = ["echo"], models = ["*"], providers = ["*"], payees = ["*"], networks = ["sandbox"], assets = ["USDC"], schemes = ["exact", "upto", "batch-settlement"] }

[role.idle]
per_call_max = "0.005 USD"
allow_any = true
allow = { capabilities = ["nothing"], models = ["*"], providers = ["*"], payees = ["*"], networks = ["sandbox"], assets = ["USDC"], schemes = ["exact"] }
"#;

/// Gives back what it is given, upside down, and counts how often it did.
pub struct Echo {
    pub served: AtomicU64,
    /// How many wait.
    pub waiting: AtomicU64,
    /// What `wait` waits for.
    pub gate: Semaphore,
}

impl Default for Echo {
    fn default() -> Self {
        Self { served: AtomicU64::new(0), waiting: AtomicU64::new(0), gate: Semaphore::new(0) }
    }
}

#[async_trait]
impl Engine for Echo {
    fn count_input(&self, work: &Work) -> Result<Units, EngineError> {
        Ok(Units(work.body.len() as u64))
    }

    async fn run(
        &self,
        work: Work,
    ) -> Result<BoxStream<'static, Result<Step, EngineError>>, EngineError> {
        if work.body.as_ref() == b"fail" {
            return Err(EngineError::Failed("as asked".to_owned()));
        }
        if work.body.as_ref() == b"wait" {
            self.waiting.fetch_add(1, Ordering::SeqCst);
            self.gate.acquire().await.unwrap().forget();
        }
        self.served.fetch_add(1, Ordering::SeqCst);
        let mut body = work.body.to_vec();
        body.reverse();
        let length = body.len() as u64;
        let usage =
            Usage { input: Units(length), output: Units(length), bytes: length, compute_ms: 0 };
        let begin =
            Step::Begin { content_type: "text/plain".to_owned(), model: "echo-1".to_owned() };
        Ok(stream::iter([Ok(begin), Ok(Step::Chunk(body.into())), Ok(Step::Done(usage))]).boxed())
    }
}

/// How the market's node keeps its channels.
pub const KEEPER: KeeperSettings = KeeperSettings {
    caps: ChannelCaps { provider: Nano::new(2_000_000_000), total: Nano::new(2_000_000_000) },
    calls_a_deposit: 10,
    pool_max: POOL_MAX,
    wait_max: Duration::from_secs(20),
    credit: false,
};

/// How the market's provider takes channels: its gas account claims.
pub fn channel_scheme() -> Scheme {
    Scheme::BatchSettlement(ChannelOffer {
        receiver_authorizer: key("gas").address(),
        withdraw_delay_s: 900,
        deposit_min: Amount::ZERO,
    })
}

pub fn name(text: &str) -> Name {
    text.parse().unwrap()
}

pub fn usdc() -> Asset {
    Asset { network: Network::SANDBOX, contract: TOKEN }
}

pub fn secret(label: &str) -> [u8; 32] {
    Sha256::digest(format!("bursar behaviour test {label}")).into()
}

pub fn key(label: &str) -> SigningKey {
    SigningKey::from_bytes(&secret(label)).unwrap()
}

pub fn loopback() -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, 0))
}

pub fn policy(text: &str) -> PolicyDocument {
    Config::load("bursar.toml".as_ref(), text).unwrap().policy
}

/// What the provider sells its echo for.
#[derive(Clone)]
pub struct Shop {
    pub terms: PriceTerms,
    pub tiers: Tiers,
    pub free: Option<FreeBounds>,
    pub serve_first: Option<ServeFirst>,
    /// What may be charged above the vouchers of channels.
    pub credit: Option<TabCredit>,
    /// Whether channels are taken, and liked better than `exact`.
    pub by_channel: bool,
    /// How the node keeps its channels, where they are taken.
    pub keeper: KeeperSettings,
    /// What the node expects of ways to pay.
    pub reckoning: Reckoning,
    /// How streamed answers are paid by channel while they flow; `None` takes one voucher for all.
    pub flowing: Option<Flowing>,
    /// In which way it is paid, where not by `exact` on the token itself.
    pub instead: Option<(Scheme, TransferMethod)>,
    /// What it is paid in, where that is not the sandbox's own USDC: a contract by its artifact.
    pub tender: Option<(&'static str, AssetInfo)>,
    /// What works for it, where that is not the echo.
    pub engine: Option<Arc<dyn Engine>>,
    /// What of a streamed answer its payers let themselves be ahead.
    pub ahead: Stride,
    /// How the clocks differ.
    pub skew: Skew,
}

impl Default for Shop {
    fn default() -> Self {
        let terms = PriceTerms { flat: Amount::new(PRICE), ..PriceTerms::default() };
        Self {
            terms,
            tiers: Tiers::default(),
            free: None,
            serve_first: None,
            credit: None,
            by_channel: false,
            keeper: KEEPER,
            reckoning: Reckoning::default(),
            flowing: None,
            instead: None,
            tender: None,
            engine: None,
            ahead: Stride::ahead(),
            skew: Skew::default(),
        }
    }
}

pub struct Market {
    pub shop: Shop,
    pub chain: SandboxChain,
    pub provider: Option<Provider>,
    pub node: Option<PayerNode>,
    pub engine: Arc<Echo>,
    pub evidence: Arc<dyn Evidence>,
    genesis: alloy::primitives::B256,
    pub registry: Arc<Registry>,
    /// When the provider pays back what it was paid and did not serve.
    pub refund_after: Option<Duration>,
    /// Every clock of the market.
    pub hand: Hand,
    folder: TempDir,
    tokens: BTreeMap<&'static str, Token>,
    /// What the node has asked of providers.
    pub asked: Arc<Asked>,
}

impl Market {
    /// Everything running, and one agent `worker` of the role `worker`.
    pub async fn open() -> Self {
        Self::open_with(Shop::default()).await
    }

    /// The same, where the provider sells like this.
    pub async fn open_with(shop: Shop) -> Self {
        let hand = Hand::default();
        let clock: Arc<dyn Clock> = Arc::new(hand.ahead(shop.skew.node));
        let folder = tempfile::tempdir().unwrap();
        let chain_clock = Arc::new(hand.ahead(shop.skew.chain));
        let chain = SandboxChain::start(None, loopback(), chain_clock).await.unwrap();
        chain.fund(key("main").address(), Amount::new(10_000_000)).await.unwrap();
        chain.fund(key("gas").address(), Amount::new(1)).await.unwrap();
        if let Some((artifact, info)) = &shop.tender {
            mint(&chain, artifact, info).await;
        }
        let rail = shop.rail(&chain);
        let (evm, _) = connect_rail(&rail, None, Arc::clone(&clock)).await.unwrap();
        let registry = Arc::new(Registry::new(clock, shop.assets()));
        let mut market = Self {
            shop,
            chain,
            provider: None,
            node: None,
            engine: Arc::default(),
            genesis: evm.genesis(),
            evidence: evm,
            registry,
            refund_after: None,
            hand,
            folder,
            tokens: BTreeMap::new(),
            asked: Arc::default(),
        };
        market.start_provider().await;
        market.start_node(POLICY).await;
        market.add("worker", "worker").await;
        market
    }

    pub async fn start_provider(&mut self) {
        let plan = self.provider_plan().await;
        let provider = Provider::start(plan).await.unwrap();
        listed(&self.registry, &provider.endpoint).await;
        self.provider = Some(provider);
    }

    pub async fn provider_plan(&self) -> ProviderPlan {
        let clock: Arc<dyn Clock> = Arc::new(self.hand.ahead(self.shop.skew.settler));
        let rail = self.shop.rail(&self.chain);
        let (evm, settler) = connect_rail(&rail, Some(&key("gas")), clock).await.unwrap();
        let Shop { terms: flat, tiers, free, serve_first, credit, by_channel, instead, .. } =
            self.shop.clone();
        let (scheme, method) = instead.unwrap_or((Scheme::Exact, TransferMethod::Eip3009));
        let volume_discount = VolumeDiscount::default();
        let terms = PayeeTerms { list: flat, floor: flat, volume_discount, rounds_max: 1 };
        let pay_by = PayBy {
            scheme,
            method,
            asset: self.shop.asset(),
            pay_to: key("payee").address(),
            timeout_s: 60,
        };
        let channel = by_channel.then(|| PayBy { scheme: channel_scheme(), ..pay_by });
        let ware = OfferedWare { capability: name("echo"), model: name("echo-1"), terms, tiers };
        ProviderPlan {
            name: name("echo"),
            ledger: self.folder.path().join("provider.db"),
            journal: Options::default(),
            wares: vec![ware],
            engine: self.shop.engine.clone().unwrap_or_else(|| self.engine.clone()),
            pay_by: channel.into_iter().chain([pay_by]).collect(),
            pay_to: PayTo::Key(key("payee")),
            service_key: key("service"),
            assets: self.shop.assets(),
            settler: settler.unwrap(),
            genesis: evm.genesis(),
            evidence: evm,
            input_max: Units(1000),
            output_max: Units(1000),
            flowing: self.shop.flowing,
            claims: Default::default(),
            concurrency_max: 64,
            payer_rates: Rates::default(),
            peer_rates: Rates::default(),
            free,
            serve_first,
            credit,
            quote_life: Duration::from_secs(60),
            lease: Duration::from_secs(60),
            directory: self.registry.clone(),
            listener: Listener::bind(&Address::Tcp(loopback()), "--listen").await.unwrap(),
            refund_after: self.refund_after,
            reconcile_every: Duration::from_millis(200),
            clock: Arc::new(self.hand.ahead(self.shop.skew.provider)),
        }
    }

    pub async fn start_node(&mut self, text: &str) {
        let plan = self.node_plan(text).await;
        self.node = Some(PayerNode::start(plan).await.unwrap());
    }

    pub async fn node_plan(&self, text: &str) -> NodePlan {
        let operator = Token::for_operator([9; 32]);
        NodePlan {
            ledger: self.folder.path().join("node.db"),
            journal: Options::default(),
            bounds: Bounds::default(),
            snapshot_every: 50,
            wallets: vec![(name("main"), key("main"))],
            secret: NonceSecret::from_bytes([3; 32]),
            policy: policy(&self.shop.policy(text)),
            rails: vec![(Arc::clone(&self.evidence), self.genesis)],
            directory: self.registry.clone(),
            registry: Some(self.registry.clone()),
            connector: Arc::new(Counting::of(GrpcConnector::new(Reach::Loopback), &self.asked)),
            web: bursar::edge::http::client::Reach::Loopback,
            listeners: vec![Listener::bind(&Address::Tcp(loopback()), "--listen").await.unwrap()],
            operator_token: operator.hash(),
            read_policy: Arc::new(|_, _| Err(vec!["not in this test".to_owned()])),
            fund: None,
            payer: PayerSettings {
                channels: self.shop.by_channel.then_some(self.shop.keeper),
                reckoning: self.shop.reckoning.clone(),
                stream: self.shop.ahead,
                ..PayerSettings::default()
            },
            reconcile_every: Duration::from_millis(200),
            clock: Arc::new(self.hand.ahead(self.shop.skew.node)),
            entropy: Arc::new(SystemEntropy),
        }
    }

    /// Lets so many seconds go by: the chain's newest block, which is final, says so too.
    pub async fn pass(&self, seconds: u64) {
        self.hand.forward(seconds);
        self.chain.fund(key("nobody").address(), Amount::new(1)).await.unwrap();
    }

    pub fn node(&self) -> &PayerNode {
        self.node.as_ref().unwrap()
    }

    pub async fn add(&mut self, agent: &'static str, role: &str) {
        let mut random = [0; 32];
        SystemEntropy.fill(&mut random);
        let token = Token::for_agent(&name(agent), random);
        let new = NewAgent {
            name: name(agent),
            role: name(role),
            group: name("default"),
            wallet: name("main"),
            token: token.hash(),
        };
        self.node().operator.add_agent(new, Principal::Operator).await.unwrap();
        self.tokens.insert(agent, token);
    }

    /// What proves an agent.
    pub fn token(&self, agent: &str) -> &Token {
        &self.tokens[agent]
    }

    /// Every secret key that signs here.
    pub fn keys(&self) -> [[u8; 32]; 4] {
        ["main", "gas", "payee", "service"].map(secret)
    }

    pub async fn client(&self, agent: &str) -> AgentClient {
        AgentClient::connect(self.node().endpoint(), &self.tokens[agent]).await.unwrap()
    }

    pub async fn stop_node(&mut self) {
        self.node.take().unwrap().drain(Duration::from_secs(20)).await;
    }

    pub fn folder(&self) -> &std::path::Path {
        self.folder.path()
    }

    /// Ends the node as a clean stop does, and starts it again from its journal.
    pub async fn restart_node(&mut self, text: &str) {
        self.node.take().unwrap().drain(Duration::from_secs(20)).await;
        self.start_node(text).await;
    }

    /// Every event of the payers' journal refolded, once the chain has confirmed every capture.
    pub async fn audit(&self) -> Audit {
        let node = self.node();
        loop {
            node.reconciler.round().await.unwrap();
            let captured = node.treasury.read(|ledger| {
                let waits = |state| {
                    matches!(state, bursar::domain::ledger::hold::HoldState::Captured { .. })
                };
                ledger.holds().into_iter().filter(|hold| waits(hold.state)).count()
            });
            if captured.await.unwrap() == 0 {
                break;
            }
            tokio::task::yield_now().await;
        }
        let mut audit = Audit::default();
        for entry in node.store.read(0, u32::MAX).await.unwrap() {
            audit.see(entry.at, &entry.event);
        }
        audit
    }

    /// What the payee owns on the chain.
    pub async fn earned_on_chain(&self) -> u128 {
        self.evidence.balance(self.shop.asset(), key("payee").address()).await.unwrap().amount.get()
    }

    /// What is left of the agent's own budget.
    pub async fn left(&self, agent: &str) -> Nano {
        let now = self.hand.now();
        let id = bursar::domain::id::AgentId::named(&name(agent));
        let checks = self.node().operator.budgets_of(id, None, now).await.unwrap();
        checks.iter().find(|check| check.budget.as_str() == "agent").unwrap().left()
    }
}

/// An echo of `body`, under a request id of its own.
pub fn echo(body: &str) -> Purchase {
    let mut random = [0; 10];
    SystemEntropy.fill(&mut random);
    let request = RequestId::new(SystemClock.now().as_millis(), random);
    Purchase {
        request,
        order: Order {
            capability: name("echo"),
            model: None,
            input_max: Units(100),
            output_max: Units(100),
            maxima: Default::default(),
        },
        content_type: "text/plain".to_owned(),
        body: body.to_owned().into(),
        price_max: None,
        provider: None,
        session: None,
        streamed: false,
    }
}
