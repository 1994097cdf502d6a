//! Quotes that a channel has paid by, used again while they are valid: what they promise is signed terms,
//! and both sides make the amount of them for each order. A call by such a quote is one round trip.
//!
//! Only quotes that paid by channel are kept. Where a payee turns such a call away, nothing was taken; an
//! authorization for one call would lie held until the chain has spoken.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use crate::domain::id::Name;
use crate::domain::listing::SignedListing;
use crate::domain::order::Order;
use crate::domain::pricing::price;
use crate::domain::x402::quote::check_listed_again;
use crate::runtime::payer::Payer;
use crate::runtime::payer::offers::{Asking, Candidate};

/// Quotes that are kept at most.
const QUOTES_MAX: usize = 1024;

/// So long before its end a quote is not used any more: the call by it has to arrive, and clocks differ.
const MARGIN: Duration = Duration::from_secs(5);

/// What one quote is for: provider, capability, and the model where the order names one.
type Ware = (Name, Name, Option<Name>);

/// The quotes that are kept.
#[derive(Default)]
pub(super) struct Quotes(Mutex<BTreeMap<Ware, Candidate>>);

impl Quotes {
    fn find(&self, ware: &Ware) -> Option<Candidate> {
        self.0.lock().expect("no holder of the quotes panics").get(ware).cloned()
    }

    fn keep(&self, ware: Ware, candidate: &Candidate) {
        let mut kept = self.0.lock().expect("no holder of the quotes panics");
        if kept.get(&ware).is_some_and(|known| known.quote == candidate.quote) {
            return;
        }
        if kept.len() >= QUOTES_MAX && !kept.contains_key(&ware) {
            kept.pop_first();
        }
        kept.insert(ware, candidate.clone());
    }

    /// Forgets what `provider` quoted: the next call asks.
    pub(super) fn forget(&self, provider: &Name) {
        let mut kept = self.0.lock().expect("no holder of the quotes panics");
        kept.retain(|(whose, _, _), _| whose != provider);
    }
}

impl Payer {
    /// Keeps the quote of a call that a channel has paid. One that was made for one payer is not: its
    /// price changes with what that payer has bought.
    pub(super) fn keep_quote(&self, order: &Order, candidate: &Candidate) {
        let quote = &candidate.quote.quote;
        if quote.standing.is_none() {
            self.quotes.keep(ware(&quote.provider, order), candidate);
        }
    }

    /// A kept quote for the order, where it still keeps what the listing promises. Its signature was
    /// checked when it came.
    pub(super) fn find_quoted(
        &self,
        listing: &SignedListing,
        asking: &Asking<'_>,
    ) -> Option<Candidate> {
        let Asking { order, assets, .. } = asking;
        let kept = self.quotes.find(&ware(&listing.listing.provider, order))?;
        let soon = self.parts.clock.now().after(MARGIN);
        check_listed_again(&kept.quote, listing, order, soon).ok()?;
        let info = assets.find(kept.pay_by.asset)?;
        let amount = price(&kept.quote.quote.terms, order)?;
        let nano = info.rate.to_nano(amount)?;
        kept.token.is_of(info).then_some(Candidate { amount, nano, ..kept })
    }
}

fn ware(provider: &Name, order: &Order) -> Ware {
    (provider.clone(), order.capability.clone(), order.model.clone())
}
