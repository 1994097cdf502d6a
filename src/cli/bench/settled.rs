//! Payments settled on the sandbox, end to end over real sockets, beside the same inference unpaid.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bursar::domain::commitment::{ChannelOffer, Scheme, TransferMethod};
use bursar::domain::id::{AgentId, RequestId};
use bursar::domain::ledger::Bounds;
use bursar::domain::ledger::agent::{Principal, Token};
use bursar::domain::ledger::channel::ChannelCaps;
use bursar::domain::money::{Amount, Nano};
use bursar::domain::negotiation::{PayeeTerms, VolumeDiscount};
use bursar::domain::order::{Order, Units};
use bursar::domain::policy::Rates;
use bursar::domain::quote::{PayBy, PriceTerms, Stride};
use bursar::domain::x402::wire::SettlementResponse;
use bursar::edge::clock::{SystemClock, SystemEntropy};
use bursar::edge::config::Config;
use bursar::edge::evm::{Evm, EvmSettler};
use bursar::edge::grpc::{Address, Doors, GrpcConnector, Listener, Reach, serve_paid_service};
use bursar::edge::journal::Options;
use bursar::edge::keys::{NonceSecret, SigningKey};
use bursar::node::{
    NodePlan, PayTo, PayerNode, Provider, ProviderPlan, RailPlan, SandboxChain, StartError,
    connect_rail, sandbox_assets,
};
use bursar::ports::clock::Clock;
use bursar::ports::directory::Directory;
use bursar::ports::engine::{Engine, Step, Work};
use bursar::ports::entropy::Entropy;
use bursar::ports::paid_service::{
    Answer, Ask, Closing, Connector, PaidCall, PaidService, Piece, Quoted, ServiceError,
};
use bursar::ports::rail::Evidence;
use bursar::runtime::channels::{KeeperSettings, POOL_MAX};
use bursar::runtime::directory::Registry;
use bursar::runtime::operator::NewAgent;
use bursar::runtime::payee::OfferedWare;
use bursar::runtime::payer::{PayerSettings, Wish};
use bytes::Bytes;
use futures_util::StreamExt;

use super::holds::{name, usdc};
use super::measure::{Round, drive};
use crate::scribe::Scribe;
use crate::shared::GENERATE;

/// The one role: everything for a fraction of a cent, without a rate.
const POLICY: &str = r#"
version = 1
[network.sandbox]
kind = "sandbox"
[wallet.bench]
key = "keystore:bench"
[discovery]
allow_private = true
[role.bench]
description = "buys as fast as it can"
per_call_max = "0.001 USD"
allow = { capabilities = ["*"], models = ["*"], providers = ["*"], payees = ["*"], networks = ["sandbox"], assets = ["USDC"], schemes = ["*"] }
allow_any = true
rates = { concurrency = 1024 }
[budget.bench-life]
applies_to = "role/bench"
per = "all"
limit = "1000 USD"
window = "lifetime"
"#;

/// Tokens that each inference writes.
const TOKENS: u64 = 16;

/// How the calls are paid.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Way {
    /// Each by a transaction of its own.
    Exact,
    /// By vouchers, on deposits that last for the whole measurement.
    Channel,
}

impl Way {
    /// As the quote names it; `claims` signs what is claimed.
    pub const fn scheme(self, claims: alloy::primitives::Address) -> Scheme {
        match self {
            Self::Exact => Scheme::Exact,
            Self::Channel => Scheme::BatchSettlement(ChannelOffer {
                receiver_authorizer: claims,
                withdraw_delay_s: 900,
                deposit_min: Amount::ZERO,
            }),
        }
    }
}

const KEEPER: KeeperSettings = KeeperSettings {
    caps: ChannelCaps {
        provider: Nano::new(1_000_000_000_000_000),
        total: Nano::new(1_000_000_000_000_000),
    },
    calls_a_deposit: 100_000,
    pool_max: POOL_MAX,
    wait_max: Duration::from_secs(20),
    credit: true,
};

/// Calls at once at most.
const CALLS_MAX: u32 = 1024;

/// How long everything may take to come to its end.
pub const DRAIN_MAX: Duration = Duration::from_secs(20);

/// A chain, a scribe that is paid, the same scribe for nothing, and a payer's node.
pub struct Market {
    chain: SandboxChain,
    provider: Provider,
    free: Arc<dyn PaidService>,
    node: PayerNode,
    order: Order,
}

impl Market {
    /// Opens one in `folder`.
    ///
    /// # Errors
    /// [`StartError`].
    pub async fn open(folder: &Path, way: Way) -> Result<Self, StartError> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let chain_file = folder.join("chain.db");
        let chain = SandboxChain::start(Some(&chain_file), loopback(), Arc::clone(&clock)).await?;
        let (payer, gas, pay_to) = (key(), key(), key());
        chain.fund(payer.address(), Amount::new(1_000_000_000_000)).await?;
        chain.fund(gas.address(), Amount::new(1)).await?;
        let registry = Arc::new(Registry::new(Arc::clone(&clock), sandbox_assets()));
        let engine: Arc<dyn Engine> = Arc::new(Scribe::new(Duration::ZERO));
        let rail = RailPlan::sandbox(chain.url());
        let (evm, settler) = connect_rail(&rail, Some(&gas), Arc::clone(&clock)).await?;
        let evidence: Arc<dyn Evidence> = evm.clone();
        let settler = settler.expect("a rail with a gas account settles");
        let genesis = evm.genesis();
        let stall = Stall { folder, evm, settler, pay_to, way, registry: &registry };
        let provider = Provider::start(stall.plan(Arc::clone(&engine), clock).await?).await?;
        let rail = (evidence, genesis);
        let started = start_node(folder, payer, rail, registry, Vec::new(), Stride::ahead());
        let (node, _) = started.await?;
        let order = Order {
            capability: name(GENERATE),
            model: Some(name("bench")),
            input_max: Units(16),
            output_max: Units(TOKENS),
            maxima: Default::default(),
        };
        let free = connect(&serve_free(engine).await?).await?;
        Ok(Self { chain, provider, free, node, order })
    }

    /// Lets `callers` buy for `span`: hold, sign, call, settle, capture.
    pub async fn paid(&self, callers: u64, span: Duration) -> Round {
        let (payer, order) = (self.node.payer.clone(), self.order.clone());
        drive(callers, span, move |_| {
            let (payer, order) = (payer.clone(), order.clone());
            async move {
                let mut random = [0; 10];
                SystemEntropy.fill(&mut random);
                let wish = Wish {
                    agent: AgentId::named(&name("bench")),
                    request: RequestId::new(SystemClock.now().as_millis(), random),
                    session: None,
                    order,
                    content_type: "application/json".to_owned(),
                    body: body(),
                    price_max: None,
                    provider: None,
                    not_from: Vec::new(),
                    streamed: false,
                };
                let mut bought = payer.pay(wish).await.expect("an affordable wish is paid");
                while let Some(piece) = bought.pieces.recv().await {
                    piece.expect("what was paid is served");
                }
            }
        })
        .await
    }

    /// Lets `callers` have the same for nothing, for `span`.
    pub async fn unpaid(&self, callers: u64, span: Duration) -> Round {
        let (free, order) = (Arc::clone(&self.free), self.order.clone());
        drive(callers, span, move |_| {
            let (free, order) = (Arc::clone(&free), order.clone());
            async move {
                let call = PaidCall {
                    order,
                    quote: None,
                    content_type: "application/json".to_owned(),
                    body: body(),
                    payment: None,
                    signed_order: None,
                    peer: None,
                    streamed: false,
                };
                let mut answer = free.infer(call).await.expect("what is free is served");
                while let Some(piece) = answer.pieces.next().await {
                    piece.expect("what is free is served");
                }
            }
        })
        .await
    }

    /// Ends it.
    pub async fn close(self) {
        self.provider.drain(DRAIN_MAX).await;
        self.node.drain(DRAIN_MAX).await;
        self.chain.stop().await;
    }
}

/// What a provider of a market stands on.
pub struct Stall<'a> {
    /// Where its ledger is.
    pub folder: &'a Path,
    /// The rail.
    pub evm: Arc<Evm>,
    /// Its settler, with a gas account.
    pub settler: Arc<EvmSettler>,
    /// Who is paid.
    pub pay_to: SigningKey,
    /// How.
    pub way: Way,
    /// Where it is announced.
    pub registry: &'a Arc<Registry>,
}

impl Stall<'_> {
    /// What the provider is started with: `engine` for a flat price.
    ///
    /// # Errors
    /// [`StartError`] where nothing can listen.
    pub async fn plan(
        self,
        engine: Arc<dyn Engine>,
        clock: Arc<dyn Clock>,
    ) -> Result<ProviderPlan, StartError> {
        let price = PriceTerms { flat: Amount::new(100), ..PriceTerms::default() };
        let (none, volume_discount) = (Rates::default(), VolumeDiscount::default());
        let scheme = self.way.scheme(self.settler.account());
        Ok(ProviderPlan {
            name: name("scribe"),
            ledger: self.folder.join("scribe.db"),
            journal: Options::default(),
            wares: vec![OfferedWare {
                capability: name(GENERATE),
                model: name("bench"),
                terms: PayeeTerms { list: price, floor: price, volume_discount, rounds_max: 1 },
                tiers: Default::default(),
            }],
            engine,
            pay_by: vec![PayBy {
                scheme,
                method: TransferMethod::Eip3009,
                asset: usdc(),
                pay_to: self.pay_to.address(),
                timeout_s: 60,
            }],
            pay_to: PayTo::Key(self.pay_to),
            service_key: key(),
            assets: sandbox_assets(),
            settler: self.settler,
            genesis: self.evm.genesis(),
            evidence: self.evm,
            input_max: Units(64),
            output_max: Units(TOKENS),
            flowing: None,
            claims: Default::default(),
            concurrency_max: CALLS_MAX,
            payer_rates: none,
            peer_rates: none,
            free: None,
            serve_first: None,
            credit: None,
            quote_life: Duration::from_secs(600),
            lease: Duration::from_secs(600),
            directory: self.registry.clone(),
            listener: listener().await?,
            refund_after: None,
            reconcile_every: Duration::from_secs(1),
            clock,
        })
    }
}

fn body() -> Bytes {
    Bytes::from_static(br#"{"prompt":"The budget","seed":7}"#)
}

/// A new key.
pub fn key() -> SigningKey {
    key_of(&key_text())
}

/// A new key's digits.
pub fn key_text() -> String {
    let mut bytes = [0; 32];
    loop {
        SystemEntropy.fill(&mut bytes);
        // Fails once in 2^128: above the curve's order.
        if SigningKey::from_bytes(&bytes).is_some() {
            return alloy::primitives::hex::encode(bytes);
        }
    }
}

/// The key of such digits.
pub fn key_of(text: &str) -> SigningKey {
    SigningKey::from_hex(text, "a measurement").expect("the digits were made of a key")
}

/// Any port of this machine.
pub fn loopback() -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, 0))
}

/// A listener on a port that is free.
///
/// # Errors
/// [`StartError`].
pub async fn listener() -> Result<Listener, StartError> {
    Ok(Listener::bind(&Address::Tcp(loopback()), "--listen").await?)
}

/// A node of one wallet, `bench`, and one agent, `bench`, with its token. Of a stream it lets itself be
/// ahead by `stream`.
///
/// # Errors
/// [`StartError`].
pub async fn start_node(
    folder: &Path,
    payer: SigningKey,
    rail: (Arc<dyn Evidence>, alloy::primitives::B256),
    directory: Arc<dyn Directory>,
    listeners: Vec<Listener>,
    stream: Stride,
) -> Result<(PayerNode, Token), StartError> {
    let config = Config::load(Path::new("bench.toml"), POLICY);
    let policy = config.expect("the policy in the source is one").policy;
    let mut secret = [0; 32];
    SystemEntropy.fill(&mut secret);
    let token = Token::for_operator(secret).hash();
    SystemEntropy.fill(&mut secret);
    let node = PayerNode::start(NodePlan {
        ledger: folder.join("node.db"),
        journal: Options::default(),
        bounds: Bounds::default(),
        snapshot_every: 1_000_000,
        wallets: vec![(name("bench"), payer)],
        secret: NonceSecret::from_bytes(secret),
        policy,
        rails: vec![rail],
        directory,
        registry: None,
        connector: Arc::new(GrpcConnector::new(Reach::Loopback)),
        web: bursar::edge::http::client::Reach::Loopback,
        listeners,
        operator_token: token,
        read_policy: Arc::new(|_, name| Err(vec![format!("{name} is not read here")])),
        fund: None,
        payer: PayerSettings { channels: Some(KEEPER), stream, ..PayerSettings::default() },
        reconcile_every: Duration::from_secs(1),
        clock: Arc::new(SystemClock),
        entropy: Arc::new(SystemEntropy),
    })
    .await?;
    SystemEntropy.fill(&mut secret);
    let token = Token::for_agent(&name("bench"), secret);
    let agent = NewAgent {
        name: name("bench"),
        role: name("bench"),
        group: name("bench"),
        wallet: name("bench"),
        token: token.hash(),
    };
    node.operator.add_agent(agent, Principal::Operator).await?;
    Ok((node, token))
}

/// Serves `engine` for nothing through the same door; says where.
///
/// # Errors
/// [`StartError`].
pub async fn serve_free(engine: Arc<dyn Engine>) -> Result<String, StartError> {
    let bound = listener().await?;
    let endpoint = bound.address().to_string();
    let doors = Doors::default().with(serve_paid_service(Arc::new(Free(engine))));
    // Ends with the process: nothing that it does outlives a call.
    tokio::spawn(doors.serve(vec![bound], std::future::pending(), DRAIN_MAX));
    Ok(endpoint)
}

/// The service at `endpoint`.
///
/// # Errors
/// [`StartError`].
pub async fn connect(endpoint: &str) -> Result<Arc<dyn PaidService>, StartError> {
    GrpcConnector::new(Reach::Loopback).connect(endpoint).await.map_err(|error| {
        let problem = error.to_string();
        StartError::System { what: "connecting to a service that is free", problem }
    })
}

/// An engine that nobody has to pay for.
struct Free(Arc<dyn Engine>);

#[async_trait]
impl PaidService for Free {
    async fn quote(&self, _: Ask) -> Result<Quoted, ServiceError> {
        Err(ServiceError::Unavailable("it is free".to_owned()))
    }

    async fn infer(&self, call: PaidCall) -> Result<Answer, ServiceError> {
        let PaidCall { order, content_type, body, .. } = call;
        let mut steps = self.0.run(Work { order, content_type, body }).await?;
        let Some(Ok(Step::Begin { content_type, model })) = steps.next().await else {
            return Err(ServiceError::Unavailable("an answer has a head".to_owned()));
        };
        let pieces = steps.map(|step| match step? {
            Step::Begin { .. } => Err(ServiceError::Unavailable("one head".to_owned())),
            Step::Chunk(chunk) => Ok(Piece::Chunk(chunk)),
            Step::Used(usage) => Ok(Piece::Used(usage)),
            Step::Done(usage) => {
                let response = nothing_moved();
                Ok(Piece::Done(Box::new(Closing { usage, response, receipt: None })))
            }
        });
        Ok(Answer { content_type, model, settled: None, pieces: pieces.boxed() })
    }
}

fn nothing_moved() -> SettlementResponse {
    SettlementResponse {
        success: true,
        error_reason: None,
        payer: None,
        transaction: String::new(),
        network: usdc().network.to_string(),
        amount: None,
        extra: None,
        extensions: None,
    }
}
