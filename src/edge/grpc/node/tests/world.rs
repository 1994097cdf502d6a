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
use crate::domain::ledger::state::Bounds;
use crate::domain::listing::{Listing, SignedListing, Ware};
use crate::domain::money::{Amount, Nano, Rate};
use crate::domain::negotiation::{PayeeTerms, VolumeDiscount};
use crate::domain::order::{Units, Usage};
use crate::domain::policy::Rates;
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
pub(super) const USDC: Asset =
    Asset { network: Network::SANDBOX, contract: Address::repeat_byte(0xaa) };

/// The price of a call, in atomic units.
pub(super) const PRICE: Amount = Amount::new(10);

pub(super) fn assets() -> AssetRegistry {
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
pub(super) struct World {
    pub(super) clock: Arc<ManualClock>,
    pub(super) journal: MemoryJournal,
    pub(super) treasury: Treasury,
    pub(super) archive: MemoryArchive,
    pub(super) payer: Payer,
    pub(super) rail: MemoryRail,
    pub(super) pay_to: Address,
}

async fn start(journal: MemoryJournal, clock: Arc<ManualClock>) -> Treasury {
    let settings = Settings { bounds: Bounds::default(), boot: 1, snapshot_every: 1000 };
    let (treasury, task) = Treasury::open(Arc::new(journal), clock, settings).await.unwrap();
    tokio::spawn(task.run());
    treasury
}

pub(super) async fn build() -> World {
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
        clock: clock.clone(),
        settings: PayerSettings::default(),
    });
    World { clock, journal, treasury, archive, payer, rail, pay_to }
}

/// Opens a provider on a port of its own, and lists it. To whom it is paid.
async fn sell(clock: &Arc<ManualClock>, rail: &MemoryRail, directory: &dyn Directory) -> Address {
    let name = PROVIDER.parse().unwrap();
    let treasury = start(MemoryJournal::default(), clock.clone()).await;
    let service = SeededServiceSigner::new(SEED, &name);
    let owner = SeededServiceSigner::new(SEED, &"owner".parse().unwrap());
    let pay_to = owner.address();
    let pay_by = PayBy {
        scheme: Scheme::Exact,
        method: TransferMethod::Eip3009,
        asset: USDC,
        pay_to,
        timeout_s: 60,
    };
    let terms = PriceTerms { flat: PRICE, ..PriceTerms::default() };
    let ware = Ware { capability: "echo".parse().unwrap(), model: "echo".parse().unwrap(), terms };
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
    let payee = Payee::new(
        offering(name, &listener, ware, pay_by),
        &assets(),
        Parts {
            treasury,
            engine: Arc::new(Echo),
            settler: Arc::new(rail.clone()),
            evidence: Some(Arc::new(rail.clone())),
            signer: Arc::new(service),
            archive: Arc::new(MemoryArchive::default()),
            clock: clock.clone(),
        },
    );
    let doors = Doors::default().with(serve_paid_service(Arc::new(payee)));
    tokio::spawn(doors.serve(vec![listener], std::future::pending(), Duration::ZERO));
    pay_to
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
        wares: vec![OfferedWare { capability: ware.capability, model: ware.model, terms }],
        pay_by: vec![pay_by],
        quote_ttl: Duration::from_secs(60),
        input_max: Units(1000),
        output_max: Units(1000),
        concurrency_max: 8,
        payer_rates: Rates::default(),
        peer_rates: Rates::default(),
    }
}

/// What the body of an echo is.
pub(super) const BODY: Bytes = Bytes::from_static(b"ping ");

/// The unit that budgets of these tests count in: a nano for each atomic unit.
pub(super) const LIMIT: Nano = Nano::new(25);
