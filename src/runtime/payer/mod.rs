//! The payer's path: order, find, quote, policy, hold, sign, call, check the receipt, capture.
//!
//! Nothing is signed before a durable hold, and from the hold on an owned task carries the payment to
//! its end, whether or not the caller stays. The same request again is the same payment.

mod allowed;
mod call;
mod closing;
mod error;
mod flow;
mod free;
mod lent;
mod offered;
mod offered_channel;
mod offered_preview;
mod offers;
mod pay;
mod preview;
mod quoted;
mod recover;
mod repeat;
mod told;
mod unsigned;
mod usage;
mod voucher;
mod wares;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;

use crate::domain::asset::Network;
use crate::domain::id::{AgentId, Name, PaymentId, RequestId};
use crate::domain::ledger::Event;
use crate::domain::ledger::hold::Held;
use crate::domain::money::{Money, Nano};
use crate::domain::negotiation::{PayerStrategy, Reckoning};
use crate::domain::order::{Order, Usage};
use crate::domain::quote::Stride;
use crate::domain::time::Timestamp;
use crate::domain::x402::receipt::SignedReceipt;
use crate::ports::archive::Archive;
use crate::ports::channel_rail::Withdrawals;
use crate::ports::clock::Clock;
use crate::ports::paid_service::Connector;
use crate::ports::rail::Evidence;
use crate::ports::signer::Signer;
use crate::runtime::channels::{Keeper, KeeperSettings};
use crate::runtime::directory::Book;
use crate::runtime::landing::Landing;
use crate::runtime::limits::Limits;
use crate::runtime::meters::Phase;
use crate::runtime::rules::Rules;
use crate::runtime::shelf::Shelf;
use crate::runtime::tasks::Tasks;
use crate::runtime::treasury::{Done, Treasury};

pub use closing::{GivenBack, NotClosed};
pub use error::{PayError, QuoteProblem};
pub use offered::{OfferedCall, OfferedPayment, SignedOffer};
pub use offered_preview::OfferedPreview;
pub use preview::Preview;
pub use wares::ForSale;

/// Largest body of a request, in bytes.
pub const BODY_LEN_MAX: usize = 1024 * 1024;

/// Who withdraws on which network.
type WaysOut = Arc<Mutex<Vec<(Network, Arc<dyn Withdrawals>)>>>;

/// Pieces of an answer that may wait for a slow caller.
const PIECES_MAX: usize = 64;

/// Providers asked for a quote at most.
const PROVIDERS_ASKED_MAX: usize = 4;

/// What an agent asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wish {
    /// Who asks, by its credential.
    pub agent: AgentId,
    /// The caller's name for it: the same again is the same payment.
    pub request: RequestId,
    /// The span of work it belongs to.
    pub session: Option<Name>,
    /// What is wanted.
    pub order: Order,
    /// The body's content type.
    pub content_type: String,
    /// The body.
    pub body: Bytes,
    /// Only up to this price, in the unit of account.
    pub price_max: Option<Nano>,
    /// Only from this provider.
    pub provider: Option<Name>,
    /// Not from these: the request has come through them, and would come round again.
    pub not_from: Vec<Name>,
    /// Whether the answer is wanted as it is made.
    pub streamed: bool,
}

/// A payment under way, and its answer as it comes.
#[derive(Debug)]
pub struct Purchase {
    /// The payment.
    pub payment: PaymentId,
    /// What a channel pays for it, where that is known as a whole now: the ledger forgets a call of a channel's as
    /// soon as the next one is drawn.
    pub drawn: Option<Placed>,
    /// The answer: [`Bought::Begin`], chunks, [`Bought::Done`]; or an error.
    pub pieces: mpsc::Receiver<Result<Bought, PayError>>,
}

/// A hold, and when it was placed.
#[derive(Clone, Debug)]
pub struct Placed {
    /// The hold.
    pub held: Arc<Held>,
    /// When, by ledger time.
    pub at: Timestamp,
}

impl Placed {
    /// What was drawn on a channel.
    fn drawn(done: &Done) -> Option<Self> {
        let Event::Channel(event) = &done.event else { return None };
        Some(Self { held: Arc::clone(&event.drawn()?.held), at: done.at })
    }
}

/// A piece of what was bought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Bought {
    /// Before the first chunk.
    Begin {
        /// Who answers.
        provider: Name,
        /// The answer's content type.
        content_type: String,
        /// Model name and weights' hash.
        model: String,
        /// Whether it is paid while it flows: who listens no more pays for no more.
        flows: bool,
    },
    /// Some of the answer.
    Chunk(Bytes),
    /// The end.
    Done(Box<Bill>),
}

/// What it came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bill {
    /// The payment.
    pub payment: PaymentId,
    /// Who was paid.
    pub provider: Name,
    /// Whether the charge is certain.
    pub outcome: Outcome,
    /// What was charged; for an open outcome what stays held.
    pub charged: Money,
    /// What that counts in budgets.
    pub nano: Nano,
    /// What was used.
    pub usage: Usage,
    /// The payee's signed word.
    pub receipt: Option<SignedReceipt>,
    /// Whether this is the answer to an earlier, same request.
    pub repeated: bool,
}

/// How sure a charge is.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Captured.
    Captured,
    /// Nobody knows yet: it stays held, counts as spent, and is reconciled with the chain.
    Unknown,
}

/// How the payer goes about it.
#[derive(Clone, Debug)]
pub struct PayerSettings {
    /// How long a quote may take.
    pub quote_timeout: Duration,
    /// How long a paid call may take in all.
    pub call_timeout: Duration,
    /// The longest an authorization lives, whatever a payee asks for.
    pub authorization_life_max: Duration,
    /// How to answer quotes; `None` takes the list price.
    pub negotiation: Option<PayerStrategy>,
    /// How channels are kept; `None` keeps none.
    pub channels: Option<KeeperSettings>,
    /// What is expected of the ways to pay: the cheapest in all is taken.
    pub reckoning: Reckoning,
    /// What of a streamed answer may be paid by a channel and not have come yet.
    pub stream: Stride,
    /// How long a streamed answer may be silent before no more of it is wanted.
    pub silence_max: Duration,
    /// How long a streamed answer that is paid while it flows may take in all.
    pub stream_max: Duration,
}

impl Default for PayerSettings {
    fn default() -> Self {
        Self {
            quote_timeout: Duration::from_secs(5),
            call_timeout: Duration::from_secs(60),
            authorization_life_max: Duration::from_secs(120),
            negotiation: None,
            channels: None,
            reckoning: Reckoning::default(),
            stream: Stride::ahead(),
            silence_max: Duration::from_secs(30),
            stream_max: Duration::from_secs(600),
        }
    }
}

/// What a payer is made of.
pub struct PayerParts {
    /// The ledger's only writer.
    pub treasury: Treasury,
    /// What is remembered beside the ledger.
    pub archive: Arc<dyn Archive>,
    /// Who sells, and what was measured of them.
    pub book: Arc<Book>,
    /// Finds the service behind an endpoint.
    pub connector: Arc<dyn Connector>,
    /// The keys.
    pub signer: Arc<dyn Signer>,
    /// Rates and concurrency.
    pub limits: Arc<Limits>,
    /// Lends channels; without it nobody is paid by channel.
    pub channels: Option<Keeper>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// How to go about it.
    pub settings: PayerSettings,
}

/// Pays. Clones are the same payer.
#[derive(Clone)]
pub struct Payer {
    parts: Arc<PayerParts>,
    rules: Rules,
    tasks: Tasks,
    /// Payments that this process carries right now; whoever repeats their request waits for them.
    in_flight: Arc<Mutex<BTreeMap<PaymentId, Landing>>>,
    /// Tell what Permit2 may move.
    rails: Arc<[Arc<dyn Evidence>]>,
    quotes: Arc<quoted::Quotes>,
    told: Arc<told::Told>,
    shelf: Arc<Shelf>,
    /// Its own ways out of its channels, one a network.
    ways_out: WaysOut,
}

impl Payer {
    /// A payer of these parts.
    pub fn new(parts: PayerParts) -> Self {
        Self {
            rules: Rules::new(parts.treasury.clone()),
            shelf: Arc::new(Shelf::new(Arc::clone(&parts.archive))),
            parts: Arc::new(parts),
            tasks: Tasks::default(),
            in_flight: Arc::default(),
            rails: Arc::new([]),
            quotes: Arc::default(),
            told: Arc::default(),
            ways_out: WaysOut::default(),
        }
    }

    /// The same, that pays by Permit2 too: these tell what it may move.
    #[must_use]
    pub fn asking(self, rails: impl IntoIterator<Item = Arc<dyn Evidence>>) -> Self {
        Self { rails: rails.into_iter().collect(), ..self }
    }

    fn time<T>(&self, phase: Phase, work: impl Future<Output = T>) -> impl Future<Output = T> {
        self.parts.treasury.meters().time(phase, self.parts.clock.as_ref(), work)
    }

    /// How many payments this process carries right now.
    pub fn running(&self) -> usize {
        self.tasks.running()
    }

    /// Takes no more payments, and waits until those under way have ended.
    pub async fn drain(&self) {
        self.tasks.drain().await;
        if let Some(channels) = &self.parts.channels {
            // A treasury that has stopped keeps what it has: the next start finds it out.
            let _ = channels.flush().await;
        }
    }
}

#[cfg(test)]
mod tests;
