//! The payee's side: quotes, checks a payment, binds it to its request, serves, meters, settles and
//! gives a signed receipt.
//!
//! Binding is the accept: an authorization pays the first request that it came with and no other, and
//! that is durable before anything is served. A whole answer is settled before it is released; a
//! streamed one is settled first. The same payment again never pays twice: it gets the kept answer, or
//! what is owed for it. What is under way belongs to an owned task, so a caller that goes away changes
//! nothing about the money. It will never sign for a payer, nor conclude by time alone that money
//! cannot come.

mod answer;
mod authorized;
mod caller;
mod check;
mod claiming;
mod credit;
mod flights;
mod flow;
mod free;
mod given_back;
mod giving;
mod known;
mod lines;
mod maximum;
mod names;
mod on_credit;
mod opening;
mod own;
mod pricing;
mod refund;
mod round;
mod serve;
mod settle;
mod slots;
mod stands;
mod tabs;
mod turns;
mod usage;
mod work;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::{StreamExt, stream};
use tokio::sync::{Semaphore, oneshot};
use tracing::Instrument;
use tracing::field::display;

use crate::domain::asset::AssetRegistry;
use crate::domain::commitment::Scheme;
use crate::domain::id::Name;
use crate::domain::negotiation::PayeeTerms;
use crate::domain::order::Units;
use crate::domain::policy::Rates;
use crate::domain::pricing::Tiers;
use crate::domain::quote::PayBy;
use crate::domain::x402::TokenDomains;
use crate::domain::x402::batch::read::{CreditWord, VoucherWord};
use crate::domain::x402::batch::refund::is_refund;
use crate::ports::archive::Archive;
use crate::ports::clock::Clock;
use crate::ports::engine::Engine;
use crate::ports::paid_service::{
    Answer, Ask, PaidCall, PaidService, Quoted, Saying, ServiceError,
};
use crate::ports::rail::{Evidence, Settler};
use crate::ports::signer::ServiceSigner;
use crate::runtime::limits::{Admission, Key, Limits};
use crate::runtime::meters::Phase;
use crate::runtime::payee::caller::Caller;
use crate::runtime::payee::check::Begun;
use crate::runtime::payee::flights::Flights;
use crate::runtime::payee::given_back::GIVING_MAX;
use crate::runtime::payee::known::KnownTerms;
use crate::runtime::payee::lines::Lines;
use crate::runtime::payee::maximum::Streaming;
use crate::runtime::payee::names::Names;
use crate::runtime::payee::on_credit::Fresh;
use crate::runtime::payee::own::OwnQuotes;
use crate::runtime::payee::pricing::Ready;
use crate::runtime::payee::slots::Slots;
use crate::runtime::payee::turns::Turns;
use crate::runtime::shelf::Shelf;
use crate::runtime::tasks::Tasks;
use crate::runtime::treasury::Treasury;

pub use authorized::AuthorizedSettler;
pub use claiming::Claimed;
pub use credit::ServeFirst;
pub use flow::Flowing;
pub use free::FreeBounds;
pub use on_credit::TabCredit;
pub use refund::Refunds;
pub use round::Round;
pub use tabs::{Channels, ClaimPolicy, DEPOSIT_MIN};

/// One model on offer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OfferedWare {
    /// What kind of work.
    pub capability: Name,
    /// With which model.
    pub model: Name,
    /// The list price, the floor, and how it bargains between them.
    pub terms: PayeeTerms,
    /// What is free for each payer, and what grows cheaper.
    pub tiers: Tiers,
}

/// What a payee sells, and within which bounds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offering {
    /// Who sells.
    pub provider: Name,
    /// The x402 `resource.url` of every paid call.
    pub resource: String,
    /// What is sold; an order without a model gets the first of its capability.
    pub wares: Vec<OfferedWare>,
    /// How it may be paid, in order of preference. Ways on other networks than the settler's, in assets that
    /// are not registered, or for another facilitator than the settler, are not offered.
    pub pay_by: Vec<PayBy>,
    /// How long a quote holds.
    pub quote_ttl: Duration,
    /// The most input of one call.
    pub input_max: Units,
    /// The most output of one call.
    pub output_max: Units,
    /// Calls that run at once; more are turned away before anything is taken.
    pub concurrency_max: u32,
    /// How fast each payer may go.
    pub payer_rates: Rates,
    /// How fast each peer address may go.
    pub peer_rates: Rates,
    /// How free calls are bounded; `None` gives nothing away.
    pub free: Option<FreeBounds>,
    /// What is served before it is paid; `None` serves nothing before.
    pub serve_first: Option<ServeFirst>,
    /// What may be charged above the vouchers of channels; `None` wants a voucher for each call.
    pub credit: Option<TabCredit>,
}

/// What a payee works with.
#[derive(Clone)]
pub struct Parts {
    /// Its own ledger.
    pub treasury: Treasury,
    /// What it sells.
    pub engine: Arc<dyn Engine>,
    /// Settles what it is paid.
    pub settler: Arc<dyn Settler>,
    /// What the chain itself shows; without it the settler's word is all there is.
    pub evidence: Option<Arc<dyn Evidence>>,
    /// The service key.
    pub signer: Arc<dyn ServiceSigner>,
    /// Keeps answers.
    pub archive: Arc<dyn Archive>,
    /// The time.
    pub clock: Arc<dyn Clock>,
}

/// Sells by [`PaidService`]; clones sell the same. Dropping the last one is a crash: what was under
/// way stays in the ledger, and [`Payee::round`] takes it up again.
#[derive(Clone)]
pub struct Payee {
    desk: Arc<Desk>,
    // Not in the desk: its tasks hold the desk, and nobody could drop either then.
    tasks: Tasks,
}

/// What every call and every task shares.
struct Desk {
    offering: Offering,
    tokens: TokenDomains,
    parts: Parts,
    limits: Limits,
    slots: Slots,
    flights: Flights,
    ready: Ready,
    own: OwnQuotes,
    terms: KnownTerms,
    shelf: Shelf,
    draining: AtomicBool,
    refunds: Option<Refunds>,
    channels: Option<Channels>,
    turns: Turns,
    giving: Semaphore,
    fresh: Fresh,
    lines: Lines,
    streaming: Streaming,
    names: Names,
}

impl Payee {
    /// A payee with this offer.
    pub fn new(mut offering: Offering, assets: &AssetRegistry, parts: Parts) -> Self {
        let tokens = TokenDomains::new(assets);
        let network = parts.settler.network();
        // Nobody else could settle what is signed for another facilitator.
        let ours = parts.settler.facilitator();
        let is_ours = |scheme| match scheme {
            Scheme::Upto { facilitator } => ours == Some(facilitator),
            Scheme::Exact | Scheme::BatchSettlement(_) => true,
        };
        offering.pay_by.retain(|way| {
            way.asset.network == network && tokens.find(way.asset).is_some() && is_ours(way.scheme)
        });
        let desk = Desk {
            limits: Limits::new(Arc::clone(&parts.clock)),
            slots: Slots::new(offering.concurrency_max),
            flights: Flights::default(),
            ready: Ready::default(),
            own: OwnQuotes::default(),
            terms: KnownTerms::default(),
            shelf: Shelf::new(Arc::clone(&parts.archive)),
            draining: AtomicBool::new(false),
            refunds: None,
            channels: None,
            turns: Turns::default(),
            giving: Semaphore::new(GIVING_MAX),
            fresh: Fresh::default(),
            lines: Lines::default(),
            streaming: Streaming::default(),
            names: Names::default(),
            offering,
            tokens,
            parts,
        };
        Self { desk: Arc::new(desk), tasks: Tasks::default() }
    }

    /// The same, that pays back what it was paid and cannot serve.
    ///
    /// # Panics
    /// Where it sells already.
    pub fn refunding(mut self, refunds: Refunds) -> Self {
        let desk = Arc::get_mut(&mut self.desk).expect("a payee is made before it sells");
        desk.refunds = Some(refunds);
        self
    }

    /// The same, that is paid by channels too, where its offer says so.
    ///
    /// # Panics
    /// Where it sells already.
    pub fn taking_channels(mut self, channels: Channels) -> Self {
        let desk = Arc::get_mut(&mut self.desk).expect("a payee is made before it sells");
        desk.channels = Some(channels);
        self
    }

    /// What it sells.
    pub fn offering(&self) -> &Offering {
        &self.desk.offering
    }

    /// Takes no more calls, and waits for those under way. Cancel-safe.
    pub async fn drain(&self) {
        self.desk.draining.store(true, Ordering::Release);
        self.tasks.drain().await;
    }

    async fn serve_paid(&self, call: PaidCall, saying: Saying) -> Result<Answer, ServiceError> {
        let peer = self.desk.admit_peer(&call)?;
        if call.payment.is_none()
            && let Some(signed) = call.signed_order
        {
            return Box::pin(self.serve_free(call, signed, peer)).await;
        }
        let Some(payment) = &call.payment else {
            return Err(self.desk.ask_payment(&call).await);
        };
        if self.desk.channels.is_some() && Desk::is_by_channel(payment) {
            if is_refund(payment) {
                return self.give_back(call, peer).await;
            }
            let worded = self.desk.read_word(&call, payment)?;
            return self.serve_channel(call, worded, peer, saying).await;
        }
        let presented = self.desk.read(&call, payment)?;
        let presented = self.desk.name(presented, &call).await?;
        let provider = &self.desk.offering.provider;
        let (payment, payer) = (presented.payment.map(display), presented.key().payer);
        let span = tracing::info_span!("serve", payment, %payer, %provider);
        let entered = span.clone();
        async {
            let flight = self.desk.board(presented.key()).await?;
            let (job, held) = match self.desk.begin(call, presented, flight, peer).await? {
                Begun::Answered(answer) => return Ok(*answer),
                Begun::Owed(owed) => *owed,
            };
            let (reply, answered) = oneshot::channel();
            let desk = Arc::clone(&self.desk);
            let work = async move { desk.serve(&job, Caller { reply, held }).await };
            if !self.tasks.start(work.instrument(span)) {
                return Err(draining());
            }
            let gone = || Err(ServiceError::Unknown("the payee stopped".to_owned()));
            answered.await.unwrap_or_else(|_| gone())
        }
        .instrument(entered)
        .await
    }
}

impl Payee {
    /// Gives back what is left of a channel, in a task of its own: a caller that goes away changes nothing.
    async fn give_back(
        &self,
        call: PaidCall,
        peer: Option<Admission>,
    ) -> Result<Answer, ServiceError> {
        let (reply, answered) = oneshot::channel();
        let desk = Arc::clone(&self.desk);
        let work = async move {
            let _admitted = peer;
            let given = match (&desk.channels, &call.payment) {
                (Some(channels), Some(payment)) => {
                    desk.give_back_asked(channels, &call, payment).await
                }
                _ => Err(ServiceError::Unavailable("no channels are taken here".to_owned())),
            };
            let _ = reply.send(given);
        };
        if !self.tasks.start(work) {
            return Err(draining());
        }
        let gone = || Err(ServiceError::Unknown("the payee stopped".to_owned()));
        answered.await.unwrap_or_else(|_| gone())
    }

    /// Serves a call that a channel pays, in a task of its own.
    async fn serve_channel(
        &self,
        call: PaidCall,
        worded: tabs::Worded,
        peer: Option<Admission>,
        saying: Saying,
    ) -> Result<Answer, ServiceError> {
        let (job, held) = self.desk.begin_by_channel(call, worded, peer).await?;
        let (reply, answered) = oneshot::channel();
        let desk = Arc::clone(&self.desk);
        let work = async move {
            let _ = desk.serve_by_channel(&job, Caller { reply, held }, saying).await;
        };
        if !self.tasks.start(work) {
            return Err(draining());
        }
        let gone = || Err(ServiceError::Unknown("the payee stopped".to_owned()));
        answered.await.unwrap_or_else(|_| gone())
    }
}

#[async_trait]
impl PaidService for Payee {
    async fn quote(&self, ask: Ask) -> Result<Quoted, ServiceError> {
        self.desk.quote(&ask).await
    }

    async fn infer(&self, call: PaidCall) -> Result<Answer, ServiceError> {
        self.serve_paid(call, stream::empty().boxed()).await
    }

    async fn flow(&self, call: PaidCall, saying: Saying) -> Result<Answer, ServiceError> {
        self.serve_paid(call, saying).await
    }

    fn takes_words(&self) -> bool {
        self.desk.channels.is_some()
    }

    async fn infer_by_word(
        &self,
        call: PaidCall,
        word: VoucherWord,
    ) -> Result<Answer, ServiceError> {
        let peer = self.desk.admit_peer(&call)?;
        let worded = self.desk.read_known_word(&call, word, None).await?;
        self.serve_channel(call, worded, peer, stream::empty().boxed()).await
    }

    async fn infer_on_credit(
        &self,
        call: PaidCall,
        word: CreditWord,
    ) -> Result<Answer, ServiceError> {
        let peer = self.desk.admit_peer(&call)?;
        let CreditWord { voucher, charged } = word;
        let worded = self.desk.read_known_word(&call, voucher, Some(charged)).await?;
        self.serve_channel(call, worded, peer, stream::empty().boxed()).await
    }
}

impl Desk {
    fn time<T>(&self, phase: Phase, work: impl Future<Output = T>) -> impl Future<Output = T> {
        self.parts.treasury.meters().time(phase, self.parts.clock.as_ref(), work)
    }

    /// Lets one call of this peer run. Calls that came by no network have no peer.
    fn admit_peer(&self, call: &PaidCall) -> Result<Option<Admission>, ServiceError> {
        let admit = |peer| self.limits.admit(&[(Key::peer(peer), self.offering.peer_rates)]);
        call.peer.map(admit).transpose().map_err(|limited| slots::too_fast(&limited))
    }
}

fn draining() -> ServiceError {
    ServiceError::Unavailable("the payee is draining".to_owned())
}

#[cfg(test)]
mod tests;
