//! A payer's node and a provider, each with its own ledger, over one rail in memory and real sockets.

use std::sync::Arc;
use std::time::Duration;

use alloy::primitives::Address;
use async_trait::async_trait;
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};

use crate::domain::asset::{Asset, AssetInfo, AssetRegistry, Network};
use crate::domain::commitment::{Scheme, TransferMethod};
use crate::domain::id::WalletId;
use crate::domain::ledger::Command;
use crate::domain::ledger::budget::{BudgetDef, Per, Selector};
use crate::domain::ledger::state::Bounds;
use crate::domain::ledger::window::WindowSpec;
use crate::domain::listing::{Listing, SignedListing, Ware};
use crate::domain::money::{Amount, Nano, Rate};
use crate::domain::negotiation::{PayeeTerms, VolumeDiscount};
use crate::domain::order::{Units, Usage};
use crate::domain::policy::{Lists, PolicyDocument, Rates, Role};
use crate::domain::quote::{PayBy, PriceTerms};
use crate::domain::time::Timestamp;
use crate::domain::x402::digest::{Delegation, delegation_digest, listing_digest};
use crate::edge::grpc::{Doors, GrpcConnector, Listener, Reach, serve_paid_service};
use crate::ports::archive::MemoryArchive;
use crate::ports::clock::ManualClock;
use crate::ports::directory::Directory;
use crate::ports::engine::{Engine, EngineError, Step, Work};
use crate::ports::journal::MemoryJournal;
use crate::ports::memory_rail::MemoryRail;
use crate::ports::signer::{SeededServiceSigner, SeededSigner, ServiceSigner};
use crate::runtime::directory::{Book, Registry};
use crate::runtime::limits::Limits;
use crate::runtime::payee::{OfferedWare, Offering, Parts, Payee};
use crate::runtime::payer::{Payer, PayerParts, PayerSettings};
use crate::runtime::treasury::{Settings, Treasury};

const SEED: u64 = 7;
const PROVIDER: &str = "echo";

/// What is paid with: worth one unit of account each million.
pub(in crate::edge::grpc) const USDC: Asset =
    Asset { network: Network::SANDBOX, contract: Address::repeat_byte(0xaa) };

/// The price of a call, in atomic units.
pub(in crate::edge::grpc) const PRICE: Amount = Amount::new(10);

pub(in crate::edge::grpc) fn assets() -> AssetRegistry {
    AssetRegistry::new([AssetInfo {
        asset: USDC,
        symbol: "USDC".into(),
        decimals: 6,
        eip712_name: "USDC".into(),
        eip712_version: "2".into(),
        rate: Rate { nano: 1, per: 1 },
    }])
}

/// Says what it was asked, twice.
struct Echo;

#[async_trait]
impl Engine for Echo {
    fn count_input(&self, _work: &Work) -> Result<Units, EngineError> {
        Ok(Units(1))
    }

    async fn run(
        &self,
        work: Work,
    ) -> Result<BoxStream<'static, Result<Step, EngineError>>, EngineError> {
        let begin = Step::Begin { content_type: work.content_type, model: "echo sha256:00".into() };
        let (chunk, usage) = (Step::Chunk(work.body), Usage::default());
        let steps = [begin, chunk.clone(), chunk, Step::Done(usage)];
        Ok(stream::iter(steps.map(Ok)).boxed())
    }
}

/// Everything that a test needs to look at.
pub(in crate::edge::grpc) struct World {
    pub(in crate::edge::grpc) clock: Arc<ManualClock>,
    pub(in crate::edge::grpc) journal: MemoryJournal,
    pub(in crate::edge::grpc) treasury: Treasury,
    pub(in crate::edge::grpc) archive: MemoryArchive,
    pub(in crate::edge::grpc) payer: Payer,
    pub(in crate::edge::grpc) rail: MemoryRail,
    pub(in crate::edge::grpc) pay_to: Address,
}

async fn start(journal: MemoryJournal, clock: Arc<ManualClock>) -> Treasury {
    let settings = Settings { bounds: Bounds::default(), boot: 1, snapshot_every: 1000 };
    let (treasury, task) = Treasury::open(Arc::new(journal), clock, settings).await.unwrap();
    tokio::spawn(task.run());
    treasury
}

pub(in crate::edge::grpc) async fn build() -> World {
    let clock = Arc::new(ManualClock::at(Timestamp::from_secs(1_800_000_000)));
    let rail = MemoryRail::new(Network::SANDBOX, clock.clone());
    let registry = Arc::new(Registry::new(clock.clone(), assets()));
    let pay_to = sell(&clock, &rail, registry.as_ref()).await;

    let journal = MemoryJournal::default();
    let treasury = start(journal.clone(), clock.clone()).await;
    let wallet: crate::domain::id::Name = "main".parse().unwrap();
    let address = SeededSigner::address_of(SEED, WalletId::named(&wallet));
    treasury.execute(Command::OpenWallet { wallet: wallet.clone(), address }).await.unwrap();
    let entered = Amount::new(1_000_000);
    rail.fund(USDC, address, entered);
    let left = Amount::ZERO;
    let funds = Command::SeeFunds { wallet, asset: USDC, entered, left, after: None, up_to: 1 };
    treasury.execute(funds).await.unwrap();

    let archive = MemoryArchive::default();
    let payer = Payer::new(PayerParts {
        treasury: treasury.clone(),
        archive: Arc::new(archive.clone()),
        book: Arc::new(Book::new(registry, clock.clone())),
        connector: Arc::new(GrpcConnector::new(Reach::Loopback)),
        signer: Arc::new(SeededSigner::new(Arc::new(treasury.clone()), &assets(), SEED)),
        limits: Arc::new(Limits::new(clock.clone())),
        channels: None,
        clock: clock.clone(),
        settings: PayerSettings::default(),
    });
    World { clock, journal, treasury, archive, payer, rail, pay_to }
}

/// The one way to pay.
pub(in crate::edge::grpc) fn pay_by(pay_to: Address) -> PayBy {
    PayBy {
        scheme: Scheme::Exact,
        method: TransferMethod::Eip3009,
        asset: USDC,
        pay_to,
        timeout_s: 60,
    }
}

/// Opens a provider on a port of its own, and lists it. To whom it is paid.
async fn sell(clock: &Arc<ManualClock>, rail: &MemoryRail, directory: &dyn Directory) -> Address {
    let name = PROVIDER.parse().unwrap();
    let service = SeededServiceSigner::new(SEED, &name);
    let owner = SeededServiceSigner::new(SEED, &"owner".parse().unwrap());
    let pay_to = owner.address();
    let pay_by = pay_by(pay_to);
    let terms = PriceTerms { flat: PRICE, ..PriceTerms::default() };
    let ware = Ware {
        capability: "echo".parse().unwrap(),
        model: "echo".parse().unwrap(),
        terms,
        tiers: Default::default(),
    };
    let listener =
        Listener::bind(&crate::edge::grpc::Address::Tcp(([127, 0, 0, 1], 0).into()), "--listen")
            .await
            .unwrap();
    let listing = Listing {
        provider: name.clone(),
        endpoint: listener.address().to_string(),
        wares: vec![ware.clone()],
        pay_by: vec![pay_by],
        issued_at: Timestamp::from_secs(1_799_999_999),
        valid_until: Timestamp::from_secs(1_800_000_600),
    };
    let delegation = Delegation { pay_to, service_key: service.address() };
    let signed = SignedListing {
        service_key: service.address(),
        delegation: owner.sign(delegation_digest(&delegation)),
        signature: service.sign(listing_digest(&listing)),
        listing,
    };
    directory.announce(signed).await.unwrap();
    let parts = parts(clock, rail, Arc::new(Echo)).await;
    let payee = Payee::new(offering(name, &listener, ware, pay_by), &assets(), parts);
    let doors = Doors::default().with(serve_paid_service(Arc::new(payee)));
    tokio::spawn(doors.serve(vec![listener], std::future::pending(), Duration::ZERO));
    pay_to
}

/// What a payee works with that runs `engine`, with a ledger of its own.
pub(in crate::edge::grpc) async fn parts(
    clock: &Arc<ManualClock>,
    rail: &MemoryRail,
    engine: Arc<dyn Engine>,
) -> Parts {
    Parts {
        treasury: start(MemoryJournal::default(), clock.clone()).await,
        engine,
        settler: Arc::new(rail.clone()),
        evidence: Some(Arc::new(rail.clone())),
        signer: Arc::new(SeededServiceSigner::new(SEED, &PROVIDER.parse().unwrap())),
        archive: Arc::new(MemoryArchive::default()),
        clock: clock.clone(),
    }
}

fn offering(
    provider: crate::domain::id::Name,
    listener: &Listener,
    ware: Ware,
    pay_by: PayBy,
) -> Offering {
    let authority = listener.address().to_string().replace("http://", "grpc://");
    let terms = PayeeTerms {
        list: ware.terms,
        floor: ware.terms,
        volume_discount: VolumeDiscount::default(),
        rounds_max: 0,
    };
    Offering {
        provider,
        resource: format!("{authority}/bursar.v1.InferenceService/Infer"),
        wares: vec![OfferedWare {
            capability: ware.capability,
            model: ware.model,
            terms,
            tiers: Default::default(),
        }],
        pay_by: vec![pay_by],
        quote_ttl: Duration::from_secs(60),
        input_max: Units(1000),
        output_max: Units(1000),
        concurrency_max: 8,
        payer_rates: Rates::default(),
        peer_rates: Rates::default(),
        free: None,
        serve_first: None,
        credit: None,
    }
}

/// What the body of an echo is.
pub(in crate::edge::grpc) const BODY: Bytes = Bytes::from_static(b"ping ");

/// The unit that budgets of these tests count in: a nano for each atomic unit.
pub(in crate::edge::grpc) const LIMIT: Nano = Nano::new(25);

fn anything() -> Lists {
    let any = || vec!["*".parse().unwrap()];
    Lists {
        capabilities: any(),
        models: any(),
        providers: any(),
        payees: any(),
        networks: any(),
        assets: any(),
        schemes: any(),
    }
}

/// Two roles that may buy anything, one of which delegates; a cap on all, and one on each agent.
pub(in crate::edge::grpc) fn policy() -> PolicyDocument {
    let role = |name: &str, can_delegate| Role {
        name: name.parse().unwrap(),
        description: String::new(),
        allow: anything(),
        deny: Lists::default(),
        per_call_max: Nano::ONE,
        rates: Rates::default(),
        role_rates: Rates::default(),
        session: None,
        output_max: None,
        can_delegate,
    };
    let budget = |name: &str, per| BudgetDef {
        name: name.parse().unwrap(),
        selector: Selector::Fleet,
        per,
        limit: LIMIT,
        window: WindowSpec::Lifetime,
    };
    let roles = [role("scout", true), role("runaway", false)];
    PolicyDocument {
        currency: "USD".into(),
        roles: roles.into_iter().map(|role| (role.name.clone(), role)).collect(),
        budgets: vec![budget("fleet", Per::All), budget("each", Per::Agent)],
        assets: assets(),
        ..PolicyDocument::default()
    }
}
