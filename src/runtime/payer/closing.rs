//! Ends a channel from the payer's side: nothing more is signed for it, and what was not charged is had
//! back. The payee is asked for it first; it pays in one transaction, without the delay. What it says of
//! that is shown and not believed: the chain counts what came back.
//!
//! Source: x402 scheme `batch-settlement` on EVM, cooperative refund and timed withdrawal.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;

use crate::domain::asset::Network;
use crate::domain::channel::{ChannelId, ChannelTerms};
use crate::domain::fault::{Class, Fault};
use crate::domain::id::Name;
use crate::domain::ledger::channel::Channel;
use crate::domain::listing::Query;
use crate::domain::money::Amount;
use crate::domain::order::{Order, Units};
use crate::domain::x402::batch::code::BatchCode;
use crate::domain::x402::batch::corrective::read_correction;
use crate::domain::x402::batch::refund::refund_wish;
use crate::domain::x402::payload::voucher_payload;
use crate::domain::x402::wire::{PaymentRequired, PaymentRequirements, SettlementResponse};
use crate::ports::channel_rail::Withdrawals;
use crate::ports::paid_service::{PaidCall, PaidService, Piece, ServiceError};
use crate::ports::rail::{RailError, Settlement};
use crate::ports::signer::SignerError;
use crate::runtime::channels::{Keeper, Retired};
use crate::runtime::payer::Payer;
use crate::runtime::treasury::Refused;

/// How long a payee may take to give back what is left.
const REFUND_WAIT_MAX: Duration = Duration::from_secs(90);

/// How long the chain may take for a withdrawal's step.
const RAIL_WAIT_MAX: Duration = Duration::from_secs(120);

/// Channels that one round ends at most.
const ENDED_MAX: usize = 8;

/// How often a payee is asked that corrects what was charged.
const TRIES_MAX: u32 = 3;

/// Why a channel was not ended. It is signed for no more all the same.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotClosed {
    /// There is no such channel.
    #[error("there is no channel {0}")]
    Unknown(ChannelId),
    /// This node pays by channel no more.
    #[error("this node pays by channel no more")]
    NoKeeper,
    /// A call has it at this moment.
    #[error("the channel {0} is paying a call at this moment: try again")]
    Busy(ChannelId),
    /// Nothing is left in it.
    #[error("nothing is left in the channel {0}")]
    Closed(ChannelId),
    /// The ledger does not go on.
    #[error(transparent)]
    Stopped(#[from] Refused),
    /// Nothing was signed.
    #[error(transparent)]
    NotSigned(#[from] SignerError),
    /// The payee is not listed, or does not answer.
    #[error("{provider} does not give it back: {problem}; it can be withdrawn without it")]
    Silent {
        /// Whom it pays.
        provider: Name,
        /// What was heard.
        problem: String,
    },
    /// Nobody here can withdraw on that network.
    #[error("no account here can withdraw on the channel's network")]
    NoWayOut,
    /// The chain gave no answer.
    #[error(transparent)]
    Rail(#[from] RailError),
}

impl Fault for NotClosed {
    fn code(&self) -> &'static str {
        match self {
            Self::Unknown(_) => "close.unknown_channel",
            Self::NoKeeper => "close.no_keeper",
            Self::Busy(_) => "close.busy",
            Self::Closed(_) => "close.closed",
            Self::Stopped(refused) => refused.code(),
            Self::NotSigned(error) => error.code(),
            Self::Silent { .. } => "close.silent",
            Self::NoWayOut => "close.no_way_out",
            Self::Rail(error) => error.code(),
        }
    }

    fn class(&self) -> Class {
        match self {
            Self::Unknown(_) | Self::NoKeeper | Self::Closed(_) | Self::NoWayOut => Class::Final,
            Self::Busy(_) | Self::Silent { .. } => Class::Later,
            Self::Stopped(refused) => refused.class(),
            Self::NotSigned(error) => error.class(),
            Self::Rail(error) => error.class(),
        }
    }
}

/// What a payee said that it gave back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GivenBack {
    /// How much.
    pub amount: Amount,
    /// By which transaction; empty where nothing was left but what it is owed.
    pub transaction: String,
}

impl GivenBack {
    const NOTHING: Self = Self { amount: Amount::ZERO, transaction: String::new() };
}

impl Payer {
    /// Ends a channel, and asks its payee for what is left of it, by a voucher for what was charged: where
    /// it was charged on credit, that pays it.
    ///
    /// # Errors
    /// [`NotClosed`].
    pub async fn close_channel(&self, channel: ChannelId) -> Result<GivenBack, NotClosed> {
        let keeper = self.parts.channels.as_ref().ok_or(NotClosed::NoKeeper)?;
        let found = retire(keeper, channel).await?;
        // What was charged is the payee's to claim; where nothing else lies, nothing is had back.
        if found.reach() <= found.charged && !keeper.owes(&found) {
            return Err(NotClosed::Closed(channel));
        }
        let provider = found.opened.provider.clone();
        let silent = |problem: String| NotClosed::Silent { provider: provider.clone(), problem };
        let capability = found.sold.clone();
        let capability = capability.ok_or_else(|| silent("it never paid it".to_owned()))?;
        let asked = self.ask_back(keeper, &found, capability);
        let until = self.parts.clock.now().after(REFUND_WAIT_MAX);
        tokio::select! {
            biased;
            asked = asked => asked.map_err(|problem| match problem {
                Problem::Said(problem) => silent(problem),
                Problem::NotClosed(error) => error,
            }),
            () = self.parts.clock.sleep_until(until) => Err(silent("no answer in time".to_owned())),
        }
    }

    /// Ends a channel without its payee: begins the wait for what was not claimed, or takes it out where
    /// the wait is over. What the chain did.
    ///
    /// # Errors
    /// [`NotClosed`].
    pub async fn withdraw_channel(&self, channel: ChannelId) -> Result<Settlement, NotClosed> {
        let keeper = self.parts.channels.as_ref().ok_or(NotClosed::NoKeeper)?;
        let found = retire(keeper, channel).await?;
        if found.reach() <= found.charged {
            return Err(NotClosed::Closed(channel));
        }
        let terms = found.opened.terms;
        let way = self.find_way_out(terms.asset.network).ok_or(NotClosed::NoWayOut)?;
        match self.in_time(&terms, way.finish(&terms)).await? {
            Settlement::Refused(crate::ports::rail::RefusedBy::NotYetValid) => {
                self.in_time(&terms, way.begin(&terms)).await
            }
            // Nothing was ever begun: there is nothing to tell of an end.
            Settlement::Unknown { transaction: None } => {
                self.in_time(&terms, way.begin(&terms)).await
            }
            done => Ok(done),
        }
    }

    /// What the chain did, where it says so in time; what it does after that is seen by a later round.
    async fn in_time(
        &self,
        terms: &ChannelTerms,
        act: impl Future<Output = Result<Settlement, RailError>> + Send,
    ) -> Result<Settlement, NotClosed> {
        let until = self.parts.clock.now().after(RAIL_WAIT_MAX);
        tokio::select! {
            biased;
            done = act => Ok(done?),
            () = self.parts.clock.sleep_until(until) => {
                let (network, problem) = (terms.asset.network, "no answer in time".to_owned());
                Err(RailError::Unreachable { network, problem }.into())
            }
        }
    }

    /// Lets this payer withdraw on a network without its payees.
    pub fn withdraw_by(&self, network: Network, way: Arc<dyn Withdrawals>) {
        self.ways_out.lock().expect("no holder of the ways panics").push((network, way));
    }

    /// Ends what was not used for `idle`, and what is drawn on no more: asks each payee, and withdraws
    /// from those that give nothing back. How many were ended, or began to be.
    ///
    /// # Errors
    /// [`Refused::Stopped`].
    pub async fn end_idle_channels(&self, idle: Duration) -> Result<u64, Refused> {
        let Some(keeper) = &self.parts.channels else { return Ok(0) };
        let mut ended = 0_u64;
        for channel in keeper.endable(idle, ENDED_MAX).await? {
            let closed = match self.close_channel(channel).await {
                Ok(given) => {
                    tracing::info!(%channel, amount = %given.amount, "channel given back");
                    Ok(())
                }
                Err(NotClosed::Stopped(stopped)) => return Err(stopped),
                Err(NotClosed::Busy(_) | NotClosed::Closed(_) | NotClosed::Unknown(_)) => continue,
                Err(NotClosed::Silent { .. }) => match self.withdraw_channel(channel).await {
                    // It owes, and has nothing left: its payee is asked again.
                    Err(NotClosed::Closed(_)) => {
                        keeper.asked_in_vain(channel);
                        continue;
                    }
                    done => done.map(drop),
                },
                Err(other) => Err(other),
            };
            match closed {
                Ok(()) => ended = ended.saturating_add(1),
                Err(NotClosed::Stopped(stopped)) => return Err(stopped),
                Err(problem) => {
                    tracing::warn!(%channel, code = problem.code(), "channel not ended")
                }
            }
        }
        Ok(ended)
    }

    fn find_way_out(&self, network: Network) -> Option<Arc<dyn Withdrawals>> {
        let ways = self.ways_out.lock().expect("no holder of the ways panics");
        ways.iter().find(|(known, _)| *known == network).map(|(_, way)| Arc::clone(way))
    }

    async fn ask_back(
        &self,
        keeper: &Keeper,
        found: &Channel,
        capability: Name,
    ) -> Result<GivenBack, Problem> {
        let terms = found.opened.terms;
        let service = self.find_service(&found.opened.provider, &capability).await?;
        let order = Order {
            capability,
            model: None,
            input_max: Units(1),
            output_max: Units(1),
            maxima: Default::default(),
        };
        let offer = match service.infer(call_of(&order)).await {
            Err(ServiceError::PaymentRequired(offer)) => offer,
            Err(error) => return Err(Problem::Said(error.to_string())),
            Ok(_) => return Err(Problem::Said("it asks for no payment".to_owned())),
        };
        let mut said = String::new();
        for _ in 0..TRIES_MAX {
            let accepted = accept_of(&offer, &terms);
            let accepted =
                accepted.ok_or_else(|| Problem::Said("its terms have changed since".to_owned()))?;
            let (ceiling, signature) =
                keeper.sign_charged(found.opened.id).await.map_err(NotClosed::from)?;
            let payload = refund_wish(&terms, &ceiling, &signature, None);
            let (resource, extensions) = (offer.resource.clone(), offer.extensions.clone());
            let payment = voucher_payload(resource, accepted, payload, extensions, None);
            let call = PaidCall { payment: Some(payment), ..call_of(&order) };
            match service.infer(call).await {
                Ok(answer) => {
                    let response = end_of(answer).await?;
                    keeper.cover(found.opened.id);
                    return read_given(&response)
                        .ok_or_else(|| Problem::Said("an answer without a refund".to_owned()));
                }
                Err(ServiceError::PaymentRequired(refusal)) => {
                    said = refusal.error.clone().unwrap_or_default();
                    if said == BatchCode::RefundNoBalance.as_str() && found.reach() <= found.charged
                    {
                        // It took the voucher, and there is nothing besides to give back.
                        keeper.cover(found.opened.id);
                        return Ok(GivenBack::NOTHING);
                    }
                    let Some(correction) = read_correction(&refusal, found.opened.id) else {
                        break;
                    };
                    if !keeper
                        .correct(found.opened.id, &correction)
                        .await
                        .map_err(NotClosed::from)?
                    {
                        break;
                    }
                }
                Err(error) => return Err(Problem::Said(error.to_string())),
            }
        }
        Err(Problem::Said(said))
    }

    async fn find_service(
        &self,
        provider: &Name,
        capability: &Name,
    ) -> Result<Arc<dyn PaidService>, Problem> {
        let query = Query {
            capability: capability.clone(),
            model: None,
            price_max: None,
            networks: Vec::new(),
        };
        let listings = self.parts.book.find(&query).await;
        let listings = listings.map_err(|error| Problem::Said(error.to_string()))?;
        let listed = listings.into_iter().find(|signed| signed.listing.provider == *provider);
        let listed = listed.ok_or_else(|| Problem::Said("it is not listed".to_owned()))?;
        let service = self.parts.connector.connect(&listed.listing.endpoint).await;
        service.map_err(|error| Problem::Said(error.to_string()))
    }
}

/// Takes a channel out of the pool, and lets nothing more be signed for it.
async fn retire(keeper: &Keeper, channel: ChannelId) -> Result<Channel, NotClosed> {
    match keeper.retire(channel).await? {
        Retired::Unknown => Err(NotClosed::Unknown(channel)),
        Retired::Lent => Err(NotClosed::Busy(channel)),
        Retired::Closed(found) | Retired::Ended(found) => Ok(*found),
    }
}

enum Problem {
    Said(String),
    NotClosed(NotClosed),
}

impl From<NotClosed> for Problem {
    fn from(error: NotClosed) -> Self {
        Self::NotClosed(error)
    }
}

/// A call for nothing: it asks what would have to be paid.
fn call_of(order: &Order) -> PaidCall {
    PaidCall {
        order: order.clone(),
        quote: None,
        content_type: "application/octet-stream".to_owned(),
        body: Bytes::new(),
        payment: None,
        signed_order: None,
        peer: None,
        streamed: false,
    }
}

/// The offered way that the channel was opened for.
fn accept_of(offer: &PaymentRequired, terms: &ChannelTerms) -> Option<PaymentRequirements> {
    let fits = |accept: &&PaymentRequirements| {
        accept.scheme == "batch-settlement"
            && accept.network == terms.asset.network.to_string()
            && accept.asset.eq_ignore_ascii_case(&terms.asset.contract.to_string())
            && accept.pay_to.eq_ignore_ascii_case(&terms.receiver.to_string())
    };
    offer.accepts.iter().find(fits).cloned()
}

async fn end_of(
    mut answer: crate::ports::paid_service::Answer,
) -> Result<SettlementResponse, Problem> {
    while let Some(piece) = answer.pieces.next().await {
        match piece {
            Ok(Piece::Chunk(_) | Piece::Used(_)) => {}
            Ok(Piece::Done(closing) | Piece::Cut(closing)) => return Ok(closing.response),
            Err(error) => return Err(Problem::Said(error.to_string())),
        }
    }
    Err(Problem::Said("the answer broke off".to_owned()))
}

fn read_given(response: &SettlementResponse) -> Option<GivenBack> {
    if !response.success {
        return None;
    }
    let amount = response.amount.as_deref()?.parse().ok()?;
    Some(GivenBack { amount, transaction: response.transaction.clone() })
}
