//! A payee over twins, a payer's key, and an engine that does as it is told.

use std::collections::VecDeque;
use std::sync::Mutex;

use alloy::primitives::{Address, B256, U256, keccak256};
use alloy::signers::SignerSync;
use alloy::signers::local::PrivateKeySigner;
use bytes::Bytes;
use futures_util::stream::{self, BoxStream};
use futures_util::{FutureExt, StreamExt};
use tokio::task::JoinHandle;

use super::super::*;
use crate::domain::asset::{Asset, AssetInfo, Network};
use crate::domain::commitment::{Authorization, Commitment, Scheme, TransferMethod};
use crate::domain::id::PaymentId;
use crate::domain::ledger::Bounds;
use crate::domain::ledger::claim::Claim;
use crate::domain::money::{Amount, Rate};
use crate::domain::order::{Maxima, Order, Usage};
use crate::domain::pricing::Tiers;
use crate::domain::quote::{PriceTerms, SignedQuote};
use crate::domain::time::Timestamp;
use crate::domain::x402::payload::{grpc_resource, payment_payload};
use crate::domain::x402::wire::{PaymentPayload, PaymentRequired};
use crate::ports::archive::MemoryArchive;
use crate::ports::clock::ManualClock;
use crate::ports::engine::{EngineError, Step, Work};
use crate::ports::journal::MemoryJournal;
use crate::ports::memory_channels::MemoryChannels;
use crate::ports::memory_rail::MemoryRail;
use crate::ports::paid_service::{Closing, Piece};
use crate::ports::signer::{SeededServiceSigner, UnsignedRefunds};
use crate::runtime::treasury::Settings;

pub(super) const NOW_S: u64 = 1_800_000_000;
pub(super) const RESOURCE: &str = "grpc://127.0.0.1:8403/bursar.v1.InferenceService/Infer";
pub(super) const USDC: Asset =
    Asset { network: Network::SANDBOX, contract: Address::repeat_byte(0xc0) };
/// How long a paid call may wait to be served here.
pub(super) const REFUND_AFTER: Duration = Duration::from_secs(1800);

/// Who claims and gives back by channel.
pub(super) const AUTHORIZER: Address = Address::repeat_byte(0xa8);

pub(super) const PAY_TO: Address = Address::repeat_byte(0xee);

/// What the whole order costs by the list: 100 + ceil((10 * 1000 + 20 * 2000) / 1000).
pub(super) const PRICE: u128 = 150;

pub(super) fn name(text: &str) -> Name {
    text.parse().unwrap()
}

/// What goes wrong with the next run of the engine.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) enum EngineFault {
    /// It never begins.
    AtOnce,
    /// It breaks after its first piece.
    Midway,
    /// It makes more than is kept.
    TooLongToKeep,
    /// It never ends.
    Stalls,
}

/// Says the body back, in two pieces.
#[derive(Default)]
pub(super) struct Echo {
    pub faults: Mutex<VecDeque<EngineFault>>,
    pub runs: Mutex<u32>,
}

#[async_trait]
impl Engine for Echo {
    fn count_input(&self, work: &Work) -> Result<Units, EngineError> {
        Ok(Units(u64::try_from(work.body.len()).unwrap()))
    }

    async fn run(
        &self,
        work: Work,
    ) -> Result<BoxStream<'static, Result<Step, EngineError>>, EngineError> {
        *self.runs.lock().unwrap() += 1;
        let fault = self.faults.lock().unwrap().pop_front();
        let broken = || EngineError::Failed("by script".to_owned());
        let content_type = "text/plain".to_owned();
        let mut steps = vec![
            Ok(Step::Begin { content_type, model: "echo@1".to_owned() }),
            Ok(Step::Chunk(Bytes::from_static(b"you said: "))),
        ];
        let used = Usage { input: Units(2), output: Units(3), ..Usage::default() };
        match fault {
            Some(EngineFault::AtOnce) => return Err(broken()),
            Some(EngineFault::Midway) => steps.push(Err(broken())),
            Some(EngineFault::Stalls) => {
                return Ok(stream::iter(steps).chain(stream::pending()).boxed());
            }
            Some(EngineFault::TooLongToKeep) => {
                steps.push(Ok(Step::Chunk(Bytes::from(vec![b'x'; 70_000]))));
                steps.push(Ok(Step::Done(used)));
            }
            None => {
                steps.push(Ok(Step::Chunk(work.body)));
                steps.push(Ok(Step::Done(used)));
            }
        }
        Ok(stream::iter(steps).boxed())
    }
}

/// Everything that survives a crash, and the payee that does not.
pub(super) struct World {
    pub clock: ManualClock,
    pub rail: MemoryRail,
    pub channels: MemoryChannels,
    pub journal: MemoryJournal,
    pub archive: MemoryArchive,
    pub engine: Arc<Echo>,
    pub payer: PrivateKeySigner,
    pub offering: Offering,
    pub payee: Payee,
    pub treasury: Treasury,
    task: JoinHandle<()>,
}

impl World {
    pub(super) async fn new() -> Self {
        Self::with(|_| {}).await
    }

    pub(super) async fn with(change: impl FnOnce(&mut Offering)) -> Self {
        let clock = ManualClock::at(Timestamp::from_secs(NOW_S));
        let rail = MemoryRail::new(Network::SANDBOX, Arc::new(clock.clone()));
        // A key from seeded bytes; nobody's money.
        let payer = PrivateKeySigner::from_bytes(&keccak256("a payer of the tests")).unwrap();
        rail.fund(USDC, payer.address(), Amount::new(1_000_000));
        let channels = MemoryChannels::new(rail.clone(), Arc::new(clock.clone()));
        let (journal, archive) = (MemoryJournal::default(), MemoryArchive::default());
        let engine = Arc::new(Echo::default());
        let mut offering = offering();
        change(&mut offering);
        let parts = Started {
            clock: &clock,
            rail: &rail,
            channels: &channels,
            archive: &archive,
            engine: &engine,
        };
        let (payee, treasury, task) = parts.start(&journal, &offering, 1).await;
        Self {
            clock,
            rail,
            channels,
            journal,
            archive,
            engine,
            payer,
            offering,
            payee,
            treasury,
            task,
        }
    }

    /// A crash and a restart: only what was made durable is there again.
    pub(super) async fn restart(&mut self) {
        self.task.abort();
        let Self { clock, rail, channels, archive, engine, .. } = self;
        let parts = Started { clock, rail, channels, archive, engine };
        let (payee, treasury, task) = parts.start(&self.journal, &self.offering, 2).await;
        self.payee = payee;
        self.treasury = treasury;
        self.task = task;
    }

    /// Lets time pass while `work` waits, in steps that everybody can keep up with.
    pub(super) async fn passing<T>(&self, work: impl Future<Output = T>) -> T {
        let mut work = std::pin::pin!(work);
        loop {
            for _ in 0..200 {
                if let Some(done) = (&mut work).now_or_never() {
                    return done;
                }
                tokio::task::yield_now().await;
            }
            self.clock.advance(Duration::from_millis(500));
        }
    }

    pub(super) fn sign(&self, nonce: u8, amount: u128) -> Authorization {
        let now_s = self.clock.now().as_secs();
        let commitment = Commitment {
            scheme: Scheme::Exact,
            method: TransferMethod::Eip3009,
            asset: USDC,
            payer: self.payer.address(),
            pay_to: PAY_TO,
            amount_max: Amount::new(amount),
            valid_after_s: 0,
            valid_before_s: now_s + 60,
            nonce: B256::repeat_byte(nonce),
        };
        let tokens = TokenDomains::new(&assets());
        let digest = tokens.find(USDC).unwrap().transfer_digest(&commitment);
        Authorization { commitment, signature: self.payer.sign_hash_sync(&digest).unwrap() }
    }

    /// A call that pays the list price by the nonce of this byte.
    pub(super) async fn paid(&self, nonce: u8) -> PaidCall {
        let call = call();
        let offer = self.required(call.clone()).await;
        PaidCall { payment: Some(pay(&offer, &self.sign(nonce, PRICE))), ..call }
    }

    /// What the payee asks for a call without a payment.
    pub(super) async fn required(&self, call: PaidCall) -> PaymentRequired {
        match self.payee.infer(call).await.err() {
            Some(ServiceError::PaymentRequired(offer)) => *offer,
            other => panic!("expected an offer, not {other:?}"),
        }
    }

    pub(super) async fn claim(&self, nonce: u8) -> Option<Claim> {
        let key = self.sign(nonce, PRICE).commitment.key();
        self.treasury.read(move |ledger| ledger.find_claim(&key).cloned()).await.unwrap()
    }

    pub(super) async fn state(&self, nonce: u8) -> Option<&'static str> {
        self.claim(nonce).await.map(|claim| claim.state.as_str())
    }

    pub(super) fn runs(&self) -> u32 {
        *self.engine.runs.lock().unwrap()
    }

    pub(super) fn fail(&self, faults: impl IntoIterator<Item = EngineFault>) {
        self.engine.faults.lock().unwrap().extend(faults);
    }

    pub(super) fn service_key(&self) -> Address {
        service_signer().address()
    }
}

struct Started<'w> {
    clock: &'w ManualClock,
    rail: &'w MemoryRail,
    channels: &'w MemoryChannels,
    archive: &'w MemoryArchive,
    engine: &'w Arc<Echo>,
}

impl Started<'_> {
    async fn start(
        &self,
        journal: &MemoryJournal,
        offering: &Offering,
        boot: u64,
    ) -> (Payee, Treasury, JoinHandle<()>) {
        let clock: Arc<dyn Clock> = Arc::new(self.clock.clone());
        let settings = Settings { bounds: Bounds::default(), boot, snapshot_every: 1000 };
        let opened = Treasury::open(Arc::new(journal.clone()), Arc::clone(&clock), settings).await;
        let (treasury, task) = opened.unwrap();
        let task = tokio::spawn(task.run());
        let parts = Parts {
            treasury: treasury.clone(),
            engine: self.engine.clone(),
            settler: Arc::new(self.rail.clone()),
            evidence: Some(Arc::new(self.channels.clone())),
            signer: Arc::new(service_signer()),
            archive: Arc::new(self.archive.clone()),
            clock,
        };
        let signer = Arc::new(UnsignedRefunds(PAY_TO));
        let refunds = Refunds { signer, after: REFUND_AFTER };
        let mut payee = Payee::new(offering.clone(), &assets(), parts).refunding(refunds);
        let schemes = offering.pay_by.iter().map(|way| way.scheme);
        if schemes.into_iter().any(|scheme| matches!(scheme, Scheme::BatchSettlement(_))) {
            let settler = Arc::new(self.channels.by(AUTHORIZER));
            let claims = ClaimPolicy::default();
            payee = payee.taking_channels(Channels { settler, claims, flowing: None });
        }
        (payee, treasury, task)
    }
}

fn service_signer() -> SeededServiceSigner {
    SeededServiceSigner::new(7, &name("echoer"))
}

pub(super) fn assets() -> AssetRegistry {
    AssetRegistry::new([AssetInfo {
        asset: USDC,
        symbol: "USDC".to_owned(),
        decimals: 6,
        eip712_name: "USDC".to_owned(),
        eip712_version: "2".to_owned(),
        rate: Rate { nano: 1_000_000_000, per: 1_000_000 },
    }])
}

fn terms(flat: u128, per_1k_input: u128, per_1k_output: u128) -> PriceTerms {
    let [flat, per_1k_input, per_1k_output] = [flat, per_1k_input, per_1k_output].map(Amount::new);
    PriceTerms { flat, per_1k_input, per_1k_output, ..PriceTerms::default() }
}

pub(super) fn list() -> PriceTerms {
    terms(100, 1000, 2000)
}

pub(super) fn floor() -> PriceTerms {
    terms(60, 600, 1200)
}

fn offering() -> Offering {
    let unlimited = Rates { calls_per_minute: None, concurrency: None, nano_per_minute: None };
    Offering {
        provider: name("echoer"),
        resource: RESOURCE.to_owned(),
        wares: vec![OfferedWare {
            capability: name("echo"),
            model: name("echo-1"),
            terms: PayeeTerms {
                list: list(),
                floor: floor(),
                volume_discount: Default::default(),
                rounds_max: 3,
            },
            tiers: Tiers::default(),
        }],
        pay_by: vec![PayBy {
            scheme: Scheme::Exact,
            method: TransferMethod::Eip3009,
            asset: USDC,
            pay_to: PAY_TO,
            timeout_s: 60,
        }],
        quote_ttl: Duration::from_secs(30),
        input_max: Units(1000),
        output_max: Units(1000),
        concurrency_max: 100,
        payer_rates: unlimited,
        peer_rates: unlimited,
        free: None,
        serve_first: None,
        credit: None,
    }
}

pub(super) fn order() -> Order {
    Order {
        capability: name("echo"),
        model: None,
        input_max: Units(10),
        output_max: Units(20),
        maxima: Maxima::default(),
    }
}

pub(super) fn call() -> PaidCall {
    PaidCall {
        order: order(),
        quote: None,
        content_type: "text/plain".to_owned(),
        body: Bytes::from_static(b"hello"),
        payment: None,
        signed_order: None,
        peer: None,
        streamed: false,
    }
}

pub(super) fn quoted(quote: &SignedQuote) -> PaidCall {
    PaidCall { quote: Some(quote.clone()), ..call() }
}

pub(super) fn streamed(call: PaidCall) -> PaidCall {
    PaidCall { streamed: true, ..call }
}

/// The payer's name for the payment of this authorization: one that is signed anew has another.
pub(super) fn payment(authorization: &Authorization) -> PaymentId {
    let commitment = &authorization.commitment;
    let signed =
        [commitment.nonce.0, U256::from(commitment.valid_before_s).to_be_bytes::<32>()].concat();
    let mut name = [0; 16];
    name.copy_from_slice(&keccak256(signed)[..16]);
    PaymentId::from_bytes(name)
}

pub(super) fn pay(offer: &PaymentRequired, authorization: &Authorization) -> PaymentPayload {
    let accepted = offer.accepts[0].clone();
    let name = Some(payment(authorization));
    payment_payload(Some(grpc_resource(RESOURCE)), accepted, authorization, None, name)
}

/// A whole answer: its bytes and its end.
pub(super) async fn collect(
    answer: Result<Answer, ServiceError>,
) -> Result<(Bytes, Closing), ServiceError> {
    let mut pieces = answer?.pieces;
    let mut body = Vec::new();
    while let Some(piece) = pieces.next().await {
        match piece? {
            Piece::Chunk(chunk) => body.extend_from_slice(&chunk),
            Piece::Done(closing) | Piece::Cut(closing) => return Ok((body.into(), *closing)),
            Piece::Used(_) => {}
        }
    }
    Err(ServiceError::Unknown("broke off".to_owned()))
}

/// The code of what should have failed.
pub(super) fn code<T>(outcome: Result<T, ServiceError>) -> &'static str {
    match outcome {
        Ok(_) => "served",
        Err(error) => crate::domain::fault::Fault::code(&error),
    }
}
