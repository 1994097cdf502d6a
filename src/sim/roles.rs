//! Who takes part: the payer's and the payee's process, built of the runtime itself and of twins.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use alloy::primitives::{Address, Signature};
use async_trait::async_trait;
use futures_util::FutureExt;

use crate::domain::asset::{Asset, AssetInfo, AssetRegistry, Network};
use crate::domain::channel::{Ceiling, ChannelId};
use crate::domain::commitment::{Authorization, ChannelOffer, Commitment, Scheme, TransferMethod};
use crate::domain::id::{Name, PaymentId, WalletId};
use crate::domain::ledger::{Bounds, Ledger};
use crate::domain::listing::{Listing, Query, SignedListing, Ware};
use crate::domain::money::{Amount, Rate};
use crate::domain::negotiation::PayeeTerms;
use crate::domain::order::Units;
use crate::domain::policy::Rates;
use crate::domain::quote::{PayBy, PriceTerms, Stride};
use crate::domain::x402::batch::read::DepositWord;
use crate::domain::x402::digest::{Delegation, delegation_digest, listing_digest};
use crate::ports::archive::MemoryArchive;
use crate::ports::clock::Clock;
use crate::ports::directory::{Directory, DirectoryError};
use crate::ports::signer::{
    ChannelSigner, SeededServiceSigner, SeededSigner, ServiceSigner, Signer, SignerError,
};
use crate::runtime::payee::{
    Channels, ClaimPolicy, Flowing, OfferedWare, Offering, Parts, Payee, TabCredit,
};
use crate::runtime::treasury::{Settings, Treasury};
use crate::sim::channels::{AUTHORIZER, WITHDRAW_DELAY_S, overclaim};
use crate::sim::clock::SimClock;
use crate::sim::disk::{Disk, SimJournal};
use crate::sim::echo::Echo;
use crate::sim::fate::Fate;
use crate::sim::network::Link;
use crate::sim::oracle::Oracle;
use crate::sim::plan::Plan;
use crate::sim::rail::SimRail;
use crate::sim::street::Gossip;

/// The price of every call, in atomic units; one of them counts one nano.
pub const PRICE: u64 = 10;

/// What the payee lends above vouchers, where it lends at all: three calls a channel, and five in all.
pub const CREDIT: TabCredit =
    TabCredit { per_channel: Amount::new(30), per_payer: Amount::new(50), total: Amount::new(50) };

/// The most output of a call.
pub const OUTPUT_MAX: u64 = 100;

/// What a call by channel costs at least, and what a thousand tokens of its answer add.
pub const FLAT: u64 = PRICE.div_ceil(5);
/// See [`FLAT`].
pub const PER_1K: u64 = PRICE.saturating_sub(FLAT).saturating_mul(1000).div_ceil(OUTPUT_MAX);

/// When vouchers are claimed, and idle channels given back.
const CLAIMS: ClaimPolicy = ClaimPolicy {
    age_max: Duration::from_secs(40),
    amount_max: Amount::new(60),
    idle_max: Duration::from_secs(150),
};

/// How streamed calls are paid while they flow: a call's most is the start and three strides more.
const FLOWING: Flowing = Flowing {
    stride: Stride { output: Units(25), bytes: 1 << 18, compute_ms: 250 },
    wait_max: Duration::from_secs(20),
};

/// What of a streamed answer its payers let themselves be ahead.
pub const AHEAD: Stride = Stride { output: Units(40), bytes: 1 << 20, compute_ms: 1_000 };

/// When the world begins.
pub const START_S: u64 = 1_800_000_000;

/// How long an authorization lives, in seconds.
pub const LIFE_S: u64 = 60;

/// A snapshot that often, so that restarts read one and a tail.
const SNAPSHOT_EVERY: u64 = 7;

/// How often each side looks at what is open.
pub const ROUND: Duration = Duration::from_secs(5);

/// A listing is signed anew after that long.
const RENEWED: Duration = Duration::from_secs(30);

const RESOURCE: &str = "grpc://127.0.0.1:8403/bursar.v1.InferenceService/Infer";

/// What is paid with.
pub const USDC: Asset = Asset { network: Network::SANDBOX, contract: Address::repeat_byte(0xc0) };

/// What both processes stand in, and what survives them.
#[derive(Clone)]
pub struct Ground {
    /// What the seed draws.
    pub fate: Fate,
    /// The time.
    pub clock: SimClock,
    /// Where the money is.
    pub rail: SimRail,
    /// The way between the two.
    pub link: Link,
    /// Who reads along.
    pub oracle: Oracle,
    /// Who hears of what was signed.
    pub gossip: Gossip,
    /// For the seeded keys.
    pub seed: u64,
    /// The provider's.
    pub keys: Arc<Keys>,
    /// Whether the payee takes channels, and charges what was used.
    pub by_channel: bool,
    /// Whether it lends above their vouchers.
    pub on_credit: bool,
    /// Whether streamed calls are paid while they flow.
    pub flows: bool,
}

/// The provider's keys, and the listing that they signed last: signing is what a run spends its time
/// on, so nothing is signed twice for nothing.
pub struct Keys {
    service: SeededServiceSigner,
    owner: SeededServiceSigner,
    delegation: Signature,
    listed: Mutex<Option<SignedListing>>,
}

impl Keys {
    /// The keys of `seed`.
    pub fn new(seed: u64) -> Self {
        let service = SeededServiceSigner::new(seed, &name("echoer"));
        let owner = SeededServiceSigner::new(seed, &name("owner"));
        let (pay_to, service_key) = (owner.address(), service.address());
        let delegation = owner.sign(delegation_digest(&Delegation { pay_to, service_key }));
        Self { service, owner, delegation, listed: Mutex::default() }
    }

    /// To whom is paid.
    pub fn pay_to(&self) -> Address {
        self.owner.address()
    }
}

/// A process's own: its disk, what it remembers beside the ledger, and how often it was started.
#[derive(Clone)]
pub struct Own {
    /// Its journal.
    pub disk: Disk,
    /// Its answers.
    pub archive: MemoryArchive,
    /// Which start this is.
    pub boot: u64,
}

/// A literal name.
pub fn name(text: &str) -> Name {
    text.parse().expect("a literal name")
}

/// The assets that the world knows.
pub fn assets() -> AssetRegistry {
    AssetRegistry::new([AssetInfo {
        asset: USDC,
        symbol: "USDC".to_owned(),
        decimals: 6,
        eip712_name: "USDC".to_owned(),
        eip712_version: "2".to_owned(),
        rate: Rate { nano: 1, per: 1 },
    }])
}

impl Ground {
    /// Opens a process's treasury and lets its task run; a task that panics is a broken world.
    pub async fn open(&self, own: &Own, plan: &Plan) -> Treasury {
        let journal = SimJournal {
            disk: own.disk.clone(),
            clock: self.clock.clone(),
            fate: self.fate.clone(),
            oracle: self.oracle.clone(),
            images_every: plan.images_every,
        };
        let settings =
            Settings { bounds: Bounds::default(), boot: own.boot, snapshot_every: SNAPSHOT_EVERY };
        let opened =
            Treasury::open(Arc::new(journal), Arc::new(self.clock.clone()), settings).await;
        let (treasury, task) = opened.expect("the disk gives back what is durable");
        self.spawn(task.run());
        // I16: a start finds what the durable events say, with a snapshot or without.
        if let Ok(found) = treasury.read(Ledger::clone).await {
            self.oracle.check_recovered(own.disk.side(), &found, &[]);
        }
        treasury
    }

    /// Runs a task of the process; one that panics is noticed.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let fate = self.fate.clone();
        let caught = std::panic::AssertUnwindSafe(task).catch_unwind();
        tokio::spawn(async move {
            let ended = caught.await;
            fate.check(ended.is_ok(), || "a task panicked".to_owned());
        });
    }

    /// The payee's process.
    pub async fn run_payee(self, own: Own, plan: Plan) {
        let treasury = self.open(&own, &plan).await;
        let parts = Parts {
            treasury,
            engine: Arc::new(Echo::new(self.clone())),
            settler: Arc::new(self.rail.clone()),
            evidence: Some(Arc::new(self.rail.clone())),
            signer: Arc::new(self.keys.service.clone()),
            archive: Arc::new(own.archive.clone()),
            clock: Arc::new(self.clock.clone()),
        };
        let mut payee = Payee::new(self.offering(), &assets(), parts);
        if self.by_channel {
            let settler = Arc::new(self.rail.clone());
            let flowing = self.flows.then_some(FLOWING);
            payee = payee.taking_channels(Channels { settler, claims: CLAIMS, flowing });
        }
        let rounds = payee.clone();
        self.spawn(async move {
            // Ends with the treasury; the world restarts the process then.
            let _ = rounds.run(ROUND).await;
        });
        if self.by_channel {
            self.spawn(overclaim(self.clone()));
        }
        self.link.serve(Arc::new(payee)).await;
    }

    /// The payer's signer: it says so where something is signed that no durable hold stands behind.
    pub fn signer(&self, treasury: &Treasury) -> Arc<WatchedSigner> {
        let inner = SeededSigner::new(Arc::new(treasury.clone()), &assets(), self.seed);
        let (oracle, gossip) = (self.oracle.clone(), self.gossip.clone());
        Arc::new(WatchedSigner { inner, oracle, gossip })
    }

    /// By channel a fifth of the price is for the call, and the rest for what is used of its maximum.
    fn terms(&self) -> PriceTerms {
        let (flat, per_1k) = if self.by_channel { (FLAT, PER_1K) } else { (PRICE, 0) };
        let [flat, per_1k_output] = [flat, per_1k].map(|amount| Amount::new(amount.into()));
        PriceTerms { flat, per_1k_output, ..PriceTerms::default() }
    }

    fn ways(&self) -> Vec<PayBy> {
        let exact = self.pay_by();
        let offer = ChannelOffer {
            receiver_authorizer: AUTHORIZER,
            withdraw_delay_s: WITHDRAW_DELAY_S,
            deposit_min: Amount::ZERO,
        };
        let channel = PayBy { scheme: Scheme::BatchSettlement(offer), ..exact };
        self.by_channel.then_some(channel).into_iter().chain([exact]).collect()
    }

    fn pay_by(&self) -> PayBy {
        PayBy {
            scheme: Scheme::Exact,
            method: TransferMethod::Eip3009,
            asset: USDC,
            pay_to: self.keys.pay_to(),
            timeout_s: LIFE_S,
        }
    }

    fn offering(&self) -> Offering {
        let (list, floor) = (self.terms(), self.terms());
        let terms = PayeeTerms { list, floor, volume_discount: Default::default(), rounds_max: 0 };
        let (capability, model) = (name("echo"), name("echo-1"));
        Offering {
            provider: name("echoer"),
            resource: RESOURCE.to_owned(),
            wares: vec![OfferedWare { capability, model, terms, tiers: Default::default() }],
            pay_by: self.ways(),
            quote_ttl: Duration::from_secs(30),
            input_max: Units(1000),
            output_max: Units(1000),
            concurrency_max: 100,
            payer_rates: Rates::default(),
            peer_rates: Rates::default(),
            free: None,
            serve_first: None,
            credit: self.on_credit.then_some(CREDIT),
        }
    }
}

#[async_trait]
impl Directory for Ground {
    async fn announce(
        &self,
        _listing: SignedListing,
    ) -> Result<crate::domain::time::Timestamp, DirectoryError> {
        Err(DirectoryError::Full { bound: 1 })
    }

    async fn find(&self, _query: &Query) -> Result<Vec<SignedListing>, DirectoryError> {
        let now = self.clock.now();
        let mut listed = self.keys.listed.lock().expect("no holder of the listing panics");
        if let Some(signed) = listed.as_ref()
            && now.since(signed.listing.issued_at) < RENEWED
        {
            return Ok(vec![signed.clone()]);
        }
        let listing = Listing {
            provider: name("echoer"),
            endpoint: "http://127.0.0.1:8403".to_owned(),
            wares: vec![Ware {
                capability: name("echo"),
                model: name("echo-1"),
                terms: self.terms(),
                tiers: Default::default(),
            }],
            pay_by: self.ways(),
            issued_at: now,
            valid_until: now.after(Duration::from_secs(60)),
        };
        let service = &self.keys.service;
        let signed = SignedListing {
            service_key: service.address(),
            delegation: self.keys.delegation,
            signature: service.sign(listing_digest(&listing)),
            listing,
        };
        *listed = Some(signed.clone());
        Ok(vec![signed])
    }
}

/// Signs, and lets the oracle and the street know.
pub struct WatchedSigner {
    inner: SeededSigner,
    oracle: Oracle,
    gossip: Gossip,
}

#[async_trait]
impl Signer for WatchedSigner {
    async fn authorize(&self, payment: PaymentId) -> Result<(Commitment, Signature), SignerError> {
        let (commitment, signature) = self.inner.authorize(payment).await?;
        self.oracle.sign(payment, &commitment);
        self.gossip.tell(Authorization { commitment, signature });
        Ok((commitment, signature))
    }

    fn address(&self, wallet: WalletId) -> Option<Address> {
        self.inner.address(wallet)
    }

    fn nonce(&self, wallet: WalletId, payment: PaymentId) -> alloy::primitives::B256 {
        self.inner.nonce(wallet, payment)
    }
}

#[async_trait]
impl ChannelSigner for WatchedSigner {
    fn authorizer(&self) -> Address {
        self.inner.authorizer()
    }

    fn salt(&self, wallet: WalletId, payment: PaymentId) -> alloy::primitives::B256 {
        self.inner.salt(wallet, payment)
    }

    async fn sign_voucher(&self, payment: PaymentId) -> Result<(Ceiling, Signature), SignerError> {
        let (ceiling, signature) = self.inner.sign_voucher(payment).await?;
        self.oracle.sign_voucher(payment, &ceiling);
        Ok((ceiling, signature))
    }

    async fn let_charge(&self, payment: PaymentId) -> Result<Ceiling, SignerError> {
        let ceiling = self.inner.let_charge(payment).await?;
        self.oracle.let_charge(payment, &ceiling);
        Ok(ceiling)
    }

    async fn sign_charged(&self, channel: ChannelId) -> Result<(Ceiling, Signature), SignerError> {
        let (ceiling, signature) = self.inner.sign_charged(channel).await?;
        self.oracle.sign_charged(&ceiling);
        Ok((ceiling, signature))
    }

    async fn sign_deposit(&self, channel: ChannelId) -> Result<DepositWord, SignerError> {
        let word = self.inner.sign_deposit(channel).await?;
        self.oracle.sign_deposit(channel);
        Ok(word)
    }
}
