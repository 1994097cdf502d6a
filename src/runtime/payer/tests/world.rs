//! A payer with a ledger in memory, and a payee that says what the test lets it say.

use alloy::primitives::{Address, B256};
use async_trait::async_trait;

use super::super::*;
use crate::domain::asset::{Asset, AssetInfo, AssetRegistry};
use crate::domain::channel::ChannelId;
use crate::domain::commitment::{ChannelOffer, Scheme, TransferMethod};
use crate::domain::id::WalletId;
use crate::domain::ledger::agent::{Principal, Token};
use crate::domain::ledger::budget::{BudgetDef, Per, Selector};
use crate::domain::ledger::channel::{ChannelCaps, ChannelCommand};
use crate::domain::ledger::hold::FinalBlock;
use crate::domain::ledger::window::WindowSpec;
use crate::domain::ledger::{Bounds, Command};
use crate::domain::listing::{Listing, SignedListing, Ware};
use crate::domain::money::{Amount, Rate};
use crate::domain::negotiation::Verdict;
use crate::domain::order::{Maxima, Units};
use crate::domain::policy::{Lists, PolicyDocument, Rates, Role};
use crate::domain::pricing::Tiers;
use crate::domain::quote::{PayBy, PriceTerms, Quote, Standing};
use crate::domain::x402::TokenDomains;
use crate::domain::x402::digest::{Delegation, delegation_digest, listing_digest};
use crate::domain::x402::payload::grpc_resource;
use crate::domain::x402::requirements::Requirement;
use crate::domain::x402::wire::{PaymentRequired, X402_VERSION};
use crate::ports::archive::MemoryArchive;
use crate::ports::clock::ManualClock;
use crate::ports::directory::Directory;
use crate::ports::journal::MemoryJournal;
use crate::ports::paid_service::{
    Answer, Ask, PaidCall, PaidService, Pieces, Quoted, Saying, ServiceError,
};
use crate::ports::signer::{SeededServiceSigner, SeededSigner, ServiceSigner};
use crate::runtime::directory::Registry;
use crate::runtime::operator::{NewAgent, Operator};
use crate::runtime::treasury::Settings;

pub(super) const START_S: u64 = 1_800_000_000;
/// What a call costs by the default shop.
pub(super) const PRICE: Amount = Amount::new(10);
const USDC: Asset = Asset { network: Network::SANDBOX, contract: Address::repeat_byte(0xaa) };
const ENDPOINT: &str = "http://127.0.0.1:8403";
const RESOURCE: &str = "grpc://127.0.0.1:8403/bursar.v1.InferenceService/Infer";
const PROVIDER: &str = "payee-1";
const SEED: u64 = 7;
const CAP: Nano = Nano::new(1_000_000);

/// Turns that every other task has before the time goes on.
const TURNS: u32 = 64;

pub(super) fn name(text: &str) -> Name {
    text.parse().unwrap()
}

pub(super) fn new_clock() -> ManualClock {
    ManualClock::at(Timestamp::from_secs(START_S))
}

/// To be paid by channel.
pub(super) fn by_channel() -> Scheme {
    Scheme::BatchSettlement(ChannelOffer {
        receiver_authorizer: Address::repeat_byte(0xa8),
        withdraw_delay_s: 900,
        deposit_min: Amount::ZERO,
    })
}

/// How the payee sells, and how it is asked.
#[derive(Clone)]
pub(super) struct Shop {
    pub scheme: Scheme,
    pub terms: PriceTerms,
    pub stride: Option<Stride>,
    pub free_calls: u64,
    pub rates: Rates,
    pub settings: PayerSettings,
}

impl Default for Shop {
    fn default() -> Self {
        Self {
            scheme: Scheme::Exact,
            terms: PriceTerms { flat: PRICE, ..PriceTerms::default() },
            stride: None,
            free_calls: 0,
            rates: Rates::default(),
            settings: PayerSettings::default(),
        }
    }
}

/// What a payee answers a call with; nothing at all, for ever, where there is nothing.
type Serve = Box<dyn Fn(&PaidCall) -> Option<Pieces> + Send + Sync>;

/// A payee that never listens to what is said while it answers.
pub(super) struct Payee {
    signer: SeededServiceSigner,
    quote: Quote,
    free_left: u64,
    serve: Serve,
    unheard: Mutex<Vec<Saying>>,
    /// What happens while it is asked for its next quote.
    pub meanwhile: Mutex<Option<(Treasury, Command)>>,
}

#[async_trait]
impl PaidService for Payee {
    async fn quote(&self, ask: Ask) -> Result<Quoted, ServiceError> {
        let meanwhile = self.meanwhile.lock().unwrap().take();
        if let Some((treasury, command)) = meanwhile {
            treasury.execute(command).await.unwrap();
        }
        let free_left = self.free_left;
        let standing = ask.payer.map(|payer| Standing { payer, free_left });
        let quote = Quote { standing, ..self.quote.clone() };
        Ok(Quoted { quote: self.signer.sign_quote(quote), verdict: Verdict::List })
    }

    async fn infer(&self, call: PaidCall) -> Result<Answer, ServiceError> {
        let Some(pieces) = (self.serve)(&call) else { return std::future::pending().await };
        let (content_type, model) = ("text/plain".to_owned(), "echo".to_owned());
        Ok(Answer { content_type, model, settled: None, pieces })
    }

    async fn flow(&self, call: PaidCall, saying: Saying) -> Result<Answer, ServiceError> {
        self.unheard.lock().unwrap().push(saying);
        self.infer(call).await
    }
}

/// Leads to the one payee.
struct Door(Arc<Payee>);

#[async_trait]
impl Connector for Door {
    async fn connect(&self, _: &str) -> Result<Arc<dyn PaidService>, ServiceError> {
        Ok(self.0.clone())
    }
}

/// Everything that a test needs to look at.
pub(super) struct World {
    pub clock: ManualClock,
    pub treasury: Treasury,
    pub operator: Operator,
    pub payer: Payer,
    /// Keeps the channels, where it is paid by channel.
    pub keeper: Option<Keeper>,
    pub payee: Arc<Payee>,
    agent: AgentId,
}

/// A payer at a payee that answers each call with what `serve` gives.
pub(super) async fn build(
    clock: &ManualClock,
    shop: Shop,
    serve: impl Fn(&PaidCall) -> Option<Pieces> + Send + Sync + 'static,
) -> World {
    let shared: Arc<dyn Clock> = Arc::new(clock.clone());
    let settings = Settings { bounds: Bounds::default(), boot: 1, snapshot_every: 100_000 };
    let journal = Arc::new(MemoryJournal::default());
    let (treasury, task) = Treasury::open(journal, Arc::clone(&shared), settings).await.unwrap();
    tokio::spawn(task.run());
    let (operator, agent) = found(&treasury, shop.rates).await;
    let registry = Arc::new(Registry::new(Arc::clone(&shared), assets()));
    let payee = Arc::new(list(&registry, &shop, Box::new(serve)).await);
    let signer = Arc::new(SeededSigner::new(Arc::new(treasury.clone()), &assets(), SEED));
    let keeper = match shop.scheme {
        Scheme::BatchSettlement(_) => {
            let caps = ChannelCaps { provider: CAP, total: CAP };
            let (calls_a_deposit, pool_max, wait_max) = (10, 4, Duration::ZERO);
            let settings =
                KeeperSettings { caps, calls_a_deposit, pool_max, wait_max, credit: false };
            let (treasury, signer) = (treasury.clone(), Arc::clone(&signer));
            Some(Keeper::open(treasury, signer, Arc::clone(&shared), settings).await.unwrap())
        }
        Scheme::Exact | Scheme::Upto { .. } => None,
    };
    let payer = Payer::new(PayerParts {
        treasury: treasury.clone(),
        archive: Arc::new(MemoryArchive::default()),
        book: Arc::new(Book::new(registry, Arc::clone(&shared))),
        connector: Arc::new(Door(Arc::clone(&payee))),
        signer,
        limits: Arc::new(Limits::new(Arc::clone(&shared))),
        channels: keeper.clone(),
        clock: shared,
        settings: shop.settings,
    });
    World { clock: clock.clone(), treasury, operator, payer, keeper, payee, agent }
}

/// A wallet with money, a policy, and an agent.
async fn found(treasury: &Treasury, rates: Rates) -> (Operator, AgentId) {
    let wallet = name("main");
    let address = SeededSigner::address_of(SEED, WalletId::named(&wallet));
    treasury.execute(Command::OpenWallet { wallet: wallet.clone(), address }).await.unwrap();
    let (entered, left) = (Amount::new(1_000_000), Amount::ZERO);
    let funds = Command::SeeFunds { wallet, asset: USDC, entered, left, after: None, up_to: 1 };
    treasury.execute(funds).await.unwrap();
    let operator = Operator::new(treasury.clone());
    operator.apply(&policy(rates), "test".to_owned(), Principal::Operator).await.unwrap();
    let new = NewAgent {
        name: name("scout-1"),
        role: name("scout"),
        group: name("research"),
        wallet: name("main"),
        token: Token::for_operator([1; 32]).hash(),
    };
    let agent = AgentId::named(&new.name);
    operator.add_agent(new, Principal::Operator).await.unwrap();
    (operator, agent)
}

fn assets() -> AssetRegistry {
    AssetRegistry::new([AssetInfo {
        asset: USDC,
        symbol: "USDC".to_owned(),
        decimals: 6,
        eip712_name: "USDC".to_owned(),
        eip712_version: "2".to_owned(),
        rate: Rate { nano: 1, per: 1 },
    }])
}

fn policy(rates: Rates) -> PolicyDocument {
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
        name: name("scout"),
        description: String::new(),
        allow,
        deny: Lists::default(),
        per_call_max: CAP,
        rates: Rates::default(),
        role_rates: Rates::default(),
        session: None,
        output_max: None,
        can_delegate: false,
    };
    let budget = BudgetDef {
        name: name("fleet"),
        selector: Selector::Fleet,
        per: Per::All,
        limit: CAP,
        window: WindowSpec::Lifetime,
    };
    PolicyDocument {
        currency: "USD".to_owned(),
        roles: [(role.name.clone(), role)].into(),
        budgets: vec![budget],
        provider_rates: [(name(PROVIDER), rates)].into(),
        assets: assets(),
    }
}

/// Lists the payee in the directory.
async fn list(registry: &Registry, shop: &Shop, serve: Serve) -> Payee {
    let provider = name(PROVIDER);
    let signer = SeededServiceSigner::new(SEED, &provider);
    let owner = SeededServiceSigner::new(SEED, &name("owner"));
    let pay_by = vec![way(shop.scheme, owner.address())];
    let tiers = Tiers { free_calls: shop.free_calls, steps: Vec::new() };
    let (capability, model) = (name("echo"), name("echo"));
    let listing = Listing {
        provider: provider.clone(),
        endpoint: ENDPOINT.to_owned(),
        wares: vec![Ware {
            capability: capability.clone(),
            model: model.clone(),
            terms: shop.terms,
            tiers,
        }],
        pay_by: pay_by.clone(),
        issued_at: Timestamp::from_secs(START_S),
        valid_until: Timestamp::from_secs(START_S + 3_600),
    };
    let delegation = Delegation { pay_to: owner.address(), service_key: signer.address() };
    let signed = SignedListing {
        service_key: signer.address(),
        delegation: owner.sign(delegation_digest(&delegation)),
        signature: signer.sign(listing_digest(&listing)),
        listing,
    };
    registry.announce(signed).await.unwrap();
    let quote = Quote {
        provider,
        resource: RESOURCE.to_owned(),
        capability,
        model,
        terms: shop.terms,
        pay_by,
        output_max: 1_000,
        valid_until: Timestamp::from_secs(START_S + 3_600),
        rounds: 0,
        standing: None,
        stride: shop.stride,
    };
    let (unheard, meanwhile) = (Mutex::default(), Mutex::default());
    Payee { signer, quote, free_left: shop.free_calls, serve, unheard, meanwhile }
}

fn way(scheme: Scheme, pay_to: Address) -> PayBy {
    PayBy { scheme, method: TransferMethod::Eip3009, asset: USDC, pay_to, timeout_s: 600 }
}

impl World {
    /// A wish under the request of this number.
    pub(super) fn wish(&self, number: u8) -> Wish {
        Wish {
            agent: self.agent,
            request: RequestId::new(START_S * 1_000, [number; 10]),
            session: None,
            order: Order {
                capability: name("echo"),
                model: None,
                input_max: Units(1),
                output_max: Units(1_000),
                maxima: Maxima::default(),
            },
            content_type: "text/plain".to_owned(),
            body: Bytes::from_static(b"ping"),
            price_max: None,
            provider: None,
            not_from: Vec::new(),
            streamed: false,
        }
    }

    /// A call of the same payee's that it answered with an offer, under the request of this number.
    pub(super) fn offered(&self, number: u8) -> OfferedCall {
        let tokens = TokenDomains::new(&assets());
        let pay_by = way(Scheme::Exact, Address::repeat_byte(0xbb));
        let token = tokens.find(USDC).unwrap();
        let offer = PaymentRequired {
            x402_version: X402_VERSION,
            error: None,
            resource: grpc_resource(RESOURCE),
            accepts: vec![Requirement { pay_by, amount: PRICE, token }.to_wire()],
            extensions: None,
        };
        OfferedCall {
            agent: self.agent,
            request: RequestId::new(START_S * 1_000, [number; 10]),
            session: None,
            resource: RESOURCE.to_owned(),
            provider: name(PROVIDER),
            capability: name("grpc"),
            model: name("infer"),
            message: B256::ZERO,
            price_max: None,
            offer: offer.into(),
        }
    }

    /// Lets so many seconds go by, and everybody do in each what there is to do.
    pub(super) async fn pass(&self, seconds: u64) {
        for _ in 0..seconds {
            self.clock.advance(Duration::from_secs(1));
            breathe().await;
        }
    }

    /// Everything that is on its way into a channel arrives.
    pub(super) async fn fill_channels(&self) -> Vec<ChannelId> {
        let ids = self.treasury.read(|ledger| ledger.channels().map(|it| it.opened.id).collect());
        let ids: Vec<ChannelId> = ids.await.unwrap();
        for channel in ids.iter().copied() {
            let transaction = B256::repeat_byte(7);
            let block = FinalBlock { hash: B256::repeat_byte(1), time_s: START_S };
            let confirm = ChannelCommand::ConfirmDeposit { channel, transaction, block };
            self.treasury.execute(Command::Channel(confirm)).await.unwrap();
        }
        ids
    }
}

/// Lets everybody do what there is to do now.
pub(super) async fn breathe() {
    for _ in 0..TURNS {
        tokio::task::yield_now().await;
    }
}

/// How a purchase ends.
pub(super) async fn end(purchase: &mut Purchase) -> Result<Bought, PayError> {
    let mut last = None;
    while let Some(piece) = purchase.pieces.recv().await {
        last = Some(piece);
    }
    last.unwrap()
}
