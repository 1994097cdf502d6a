//! Offers and counter-offers, and both sides' strategies: bounded rounds, deterministic given the
//! inputs.

use serde::{Deserialize, Serialize};

use crate::domain::quote::PriceTerms;

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
    /// No counter-offer was made: the list price.
    List,
    /// The counter-offer stands as the quote.
    Accepted,
    /// The quote is the payee's own lower price, above the counter-offer.
    Countered,
    /// The counter-offer was below the floor; the quote is the lowest the payee goes.
    Floor,
}
