//! A paid router and a client that pays, each with its own ledger, over one rail in memory and real sockets.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use alloy::primitives::Address;
use axum::Router;
use axum::extract::Path;
use axum::http::{Method, StatusCode};
use axum::response::IntoResponse;
use axum::routing::{get, post};
use serde_json::json;
use tokio::net::TcpListener;

use crate::domain::asset::{Asset, AssetInfo, AssetRegistry, Network};
use crate::domain::commitment::{Scheme, TransferMethod};
use crate::domain::id::{AgentId, WalletId};
use crate::domain::ledger::Command;
use crate::domain::ledger::agent::{Principal, Token};
use crate::domain::ledger::budget::{BudgetDef, Per, Selector};
use crate::domain::ledger::hold::HoldState;
use crate::domain::ledger::state::Bounds;
use crate::domain::ledger::window::WindowSpec;
use crate::domain::money::{Amount, Nano, Rate};
use crate::domain::policy::{Lists, PolicyDocument, Rates, Role};
use crate::domain::quote::PayBy;
use crate::domain::time::Timestamp;
use crate::edge::http::bazaar::Discovery;
use crate::edge::http::client::{HttpCall, HttpPayer, PayerPurse, Reach};
use crate::edge::http::layer::{PaidRoute, PaidRoutes, X402Layer};
use crate::edge::http::sell::PaidDoor;
use crate::ports::archive::MemoryArchive;
use crate::ports::clock::ManualClock;
use crate::ports::entropy::SeededEntropy;
use crate::ports::journal::MemoryJournal;
use crate::ports::memory_rail::MemoryRail;
use crate::ports::paid_service::{Connector, PaidService, ServiceError};
use crate::ports::signer::{SeededServiceSigner, SeededSigner, ServiceSigner};
use crate::runtime::directory::{Book, Registry};
use crate::runtime::limits::Limits;
use crate::runtime::operator::{NewAgent, Operator};
use crate::runtime::payee::{Parts, Payee};
use crate::runtime::payer::{Payer, PayerParts, PayerSettings};
use crate::runtime::treasury::{Settings, Treasury};

const SEED: u64 = 7;

/// The price of a call, in atomic units.
pub(super) const PRICE: u128 = 10;

/// What the paying agent may spend in all: two calls and a half.
const LIMIT: Nano = Nano::new(25);

pub(super) fn network() -> Network {
    "eip155:84532".parse().unwrap()
}

pub(super) fn usdc() -> Asset {
    Asset { network: network(), contract: Address::repeat_byte(0xaa) }
}

fn assets() -> AssetRegistry {
    AssetRegistry::new([AssetInfo {
        asset: usdc(),
        symbol: "USDC".into(),
        decimals: 6,
        eip712_name: "USDC".into(),
        eip712_version: "2".into(),
        rate: Rate { nano: 1, per: 1 },
    }])
}

/// Everything that a test needs to look at.
pub(super) struct World {
    pub(super) url: String,
    pub(super) served: Arc<AtomicU32>,
    pub(super) rail: MemoryRail,
    pub(super) pay_to: Address,
    pub(super) service_key: Address,
    pub(super) treasury: Treasury,
    pub(super) payer: Payer,
    pub(super) purse: PayerPurse,
    pub(super) client: HttpPayer,
}

async fn start(clock: &Arc<ManualClock>) -> Treasury {
    let settings = Settings { bounds: Bounds::default(), boot: 1, snapshot_every: 1000 };
    let journal = Arc::new(MemoryJournal::default());
    let (treasury, task) = Treasury::open(journal, clock.clone(), settings).await.unwrap();
    tokio::spawn(task.run());
    treasury
}

/// A port of this machine, and its URL.
pub(super) async fn listen() -> (TcpListener, String) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    (listener, url)
}

/// Serves until the test ends.
pub(super) fn serve(listener: TcpListener, router: Router) {
    let service = router.into_make_service_with_connect_info::<SocketAddr>();
    tokio::spawn(async move { axum::serve(listener, service).await });
}

/// Nothing is found: strangers are paid by their own offers.
struct Nowhere;

#[async_trait::async_trait]
impl Connector for Nowhere {
    async fn connect(&self, _: &str) -> Result<Arc<dyn PaidService>, ServiceError> {
        Err(ServiceError::Unavailable("nobody is here".into()))
    }
}

pub(super) async fn build() -> World {
    build_with(|door| door).await
}

/// The same, with another door.
pub(super) async fn build_with(change: impl FnOnce(PaidDoor) -> PaidDoor) -> World {
    let clock = Arc::new(ManualClock::at(Timestamp::from_secs(1_800_000_000)));
    let rail = MemoryRail::new(network(), clock.clone());
    let served = Arc::new(AtomicU32::new(0));
    let pay_to = Address::repeat_byte(0xbb);
    let (listener, url) = listen().await;
    let signer = Arc::new(SeededServiceSigner::new(SEED, &"weather".parse().unwrap()));
    let (layer, service_key) =
        (sell(&clock, &rail, &url, pay_to, signer.clone(), change).await, signer.address());
    let router = layer.over(router(&served));
    serve(listener, router);

    let treasury = start(&clock).await;
    let wallet: crate::domain::id::Name = "main".parse().unwrap();
    let address = SeededSigner::address_of(SEED, WalletId::named(&wallet));
    treasury.execute(Command::OpenWallet { wallet: wallet.clone(), address }).await.unwrap();
    let entered = Amount::new(1_000_000);
    rail.fund(usdc(), address, entered);
    let left = Amount::ZERO;
    let funds = Command::SeeFunds { wallet, asset: usdc(), entered, left, after: None, up_to: 1 };
    treasury.execute(funds).await.unwrap();
    let registry = Arc::new(Registry::new(clock.clone(), assets()));
    let payer = Payer::new(PayerParts {
        treasury: treasury.clone(),
        archive: Arc::new(MemoryArchive::default()),
        book: Arc::new(Book::new(registry, clock.clone())),
        connector: Arc::new(Nowhere),
        signer: Arc::new(SeededSigner::new(Arc::new(treasury.clone()), &assets(), SEED)),
        limits: Arc::new(Limits::new(clock.clone())),
        channels: None,
        clock: clock.clone(),
        settings: PayerSettings::default(),
    });
    let agent = add_agent(&treasury).await;
    let purse = PayerPurse {
        payer: payer.clone(),
        agent,
        session: None,
        price_max: None,
        clock: clock.clone(),
        entropy: Arc::new(SeededEntropy::new(3)),
    };
    let client = HttpPayer::new(purse.clone(), Reach::Loopback);
    World { url, served, rail, pay_to, service_key, treasury, payer, purse, client }
}

async fn sell(
    clock: &Arc<ManualClock>,
    rail: &MemoryRail,
    url: &str,
    pay_to: Address,
    signer: Arc<SeededServiceSigner>,
    change: impl FnOnce(PaidDoor) -> PaidDoor,
) -> X402Layer {
    let price = Amount::new(PRICE);
    let discovery =
        Discovery { output: Some(json!({ "weather": "foggy" })), ..Discovery::default() };
    let routes = PaidRoutes::new(
        url,
        vec![
            PaidRoute::new(Method::GET, "/weather/{city}", price)
                .described("The weather of a city")
                .answering("application/json")
                .discoverable(discovery),
            PaidRoute::new(Method::POST, "/echo", price),
            PaidRoute::new(Method::GET, "/broken/{how}", price),
        ],
    );
    let way = PayBy {
        scheme: Scheme::Exact,
        method: TransferMethod::Eip3009,
        asset: usdc(),
        pay_to,
        timeout_s: 60,
    };
    let parts = Parts {
        treasury: start(clock).await,
        engine: routes.clone(),
        settler: Arc::new(rail.clone()),
        evidence: Some(Arc::new(rail.clone())),
        signer: signer.clone(),
        archive: Arc::new(MemoryArchive::default()),
        clock: clock.clone(),
    };
    let offering = routes.offering("weather".parse().unwrap(), vec![way]);
    let payee = Payee::new(offering, &assets(), parts);
    let door = PaidDoor::new(Arc::new(payee), url).signing(signer, clock.clone());
    X402Layer::new(routes, change(door))
}

/// The handlers know nothing of money.
fn router(served: &Arc<AtomicU32>) -> Router {
    let count = |served: &Arc<AtomicU32>| {
        let served = served.clone();
        move || served.fetch_add(1, Ordering::SeqCst)
    };
    let (weather, echo, broken) = (count(served), count(served), count(served));
    Router::new()
        .route("/free", get(|| async { "free" }))
        .route(
            "/weather/{city}",
            get(move |Path(city): Path<String>| async move {
                weather();
                ([("x-of", "weather")], format!("{{\"{city}\":\"foggy\"}}"))
            }),
        )
        .route(
            "/echo",
            post(move |body: String| async move {
                echo();
                body
            }),
        )
        .route(
            "/broken/{how}",
            get(move |Path(how): Path<u16>| async move {
                broken();
                (StatusCode::from_u16(how).unwrap(), "it is broken").into_response()
            }),
        )
}

async fn add_agent(treasury: &Treasury) -> AgentId {
    let operator = Operator::new(treasury.clone());
    operator.apply(&policy(), "test".into(), Principal::Operator).await.unwrap();
    let new = NewAgent {
        name: "scout-1".parse().unwrap(),
        role: "scout".parse().unwrap(),
        group: "research".parse().unwrap(),
        wallet: "main".parse().unwrap(),
        token: Token::for_operator([1; 32]).hash(),
    };
    let agent = AgentId::named(&new.name);
    operator.add_agent(new, Principal::Operator).await.unwrap();
    agent
}

fn policy() -> PolicyDocument {
    let any = || vec!["*".parse().unwrap()];
    let allow = Lists {
        capabilities: any(),
        models: any(),
        providers: any(),
        payees: any(),
        networks: any(),
        assets: any(),
        schemes: any(),
    };
    let role = Role {
        name: "scout".parse().unwrap(),
        description: String::new(),
        allow,
        deny: Lists::default(),
        per_call_max: Nano::ONE,
        rates: Rates::default(),
        role_rates: Rates::default(),
        session: None,
        output_max: None,
        can_delegate: false,
    };
    let budget = BudgetDef {
        name: "fleet".parse().unwrap(),
        selector: Selector::Fleet,
        per: Per::All,
        limit: LIMIT,
        window: WindowSpec::Lifetime,
    };
    PolicyDocument {
        currency: "USD".into(),
        roles: [(role.name.clone(), role)].into(),
        budgets: vec![budget],
        assets: assets(),
        ..PolicyDocument::default()
    }
}

/// A request without a body.
pub(super) fn get_call(url: &str) -> HttpCall {
    HttpCall {
        request: None,
        method: Method::GET,
        url: url.to_owned(),
        headers: Default::default(),
        body: Default::default(),
    }
}

impl World {
    pub(super) fn at(&self, path: &str) -> String {
        format!("{}{path}", self.url)
    }

    pub(super) fn earned(&self) -> u128 {
        self.rail.owned(usdc(), self.pay_to).get()
    }

    pub(super) fn served(&self) -> u32 {
        self.served.load(Ordering::SeqCst)
    }

    /// How every payment ended, once all have.
    pub(super) async fn states(&self) -> Vec<HoldState> {
        self.payer.drain().await;
        let states = |ledger: &crate::domain::ledger::Ledger| {
            ledger.holds().into_iter().map(|hold| hold.state).collect()
        };
        self.treasury.read(states).await.unwrap()
    }
}
