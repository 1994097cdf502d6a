//! Offers and counter-offers, both sides' strategies, and what a way to pay costs in all: bounded
//! rounds, deterministic given the inputs. Nothing here signs, and nothing remembers a round: what was said comes in again.

mod compare;
mod payee;
mod payer;
mod ways;

use serde::{Deserialize, Serialize};

use crate::domain::money::Amount;
use crate::domain::quote::PriceTerms;

pub use compare::{Bid, compare};
pub use payee::{Load, PayeeTerms, PayeeTermsError, VolumeDiscount};
pub use payer::{Move, PayerStrategy, Table};
pub use ways::{Reckoning, WayCost, WorstCase};

/// Most rounds of any negotiation, whatever the configuration says.
pub const ROUNDS_MAX: u8 = 8;

/// A payer's answer to a quote: a lower price, perhaps for a promise of volume.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct CounterOffer {
    /// The terms the payer would take.
    pub terms: PriceTerms,
    /// Calls that the payer commits to within the quote's life; zero commits to none.
    pub volume: u32,
    /// Which round this is, 1 first.
    pub round: u8,
}

/// What a payee made of a counter-offer.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Verdict {
    /// No counter-offer was made, or no more rounds are played: the list price.
    List,
    /// The counter-offer stands as the quote.
    Accepted,
    /// The quote is the payee's own lower price, above the counter-offer.
    Countered,
    /// The counter-offer was below the floor, or the rounds are over; the quote is the lowest the
    /// payee goes in this round.
    Floor,
}

/// `part` applied to each part of the price terms.
fn each(a: &PriceTerms, b: &PriceTerms, part: impl Fn(u128, u128) -> u128) -> PriceTerms {
    let mut parts = a.parts();
    for (a, b) in parts.iter_mut().zip(b.parts()) {
        *a = Amount::new(part(a.get(), b.get()));
    }
    PriceTerms::of_parts(parts)
}

/// `permille` thousandths of `whole`, rounded up; at most `whole` for at most 1000.
fn share_up(whole: u128, permille: u128) -> u128 {
    // Splitting first keeps the product small: the largest amount times a thousand always fits.
    let thousands = whole.checked_div(1000).unwrap_or(0).saturating_mul(permille);
    let rest = whole.checked_rem(1000).unwrap_or(0).saturating_mul(permille);
    thousands.saturating_add(rest.div_ceil(1000))
}

/// `permille` thousandths of `whole`, rounded down.
fn share_down(whole: u128, permille: u128) -> u128 {
    let thousands = whole.checked_div(1000).unwrap_or(0).saturating_mul(permille);
    let rest = whole.checked_rem(1000).unwrap_or(0).saturating_mul(permille);
    thousands.saturating_add(rest.checked_div(1000).unwrap_or(0))
}

#[cfg(test)]
mod tests;
