//! The payer's side: what to offer, when to take, when to leave.

use serde::{Deserialize, Serialize};

use super::{CounterOffer, ROUNDS_MAX, Verdict, each, share_down};
use crate::domain::pricing::is_at_most;
use crate::domain::quote::PriceTerms;

/// How a payer bargains. Shares are thousandths of the list price, in every part of it.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PayerStrategy {
    /// What the first counter-offer is.
    pub target_permille_of_list: u16,
    /// How much each further one is higher.
    #[serde(default)]
    pub step_permille: u16,
    /// The most that is taken in the end; above it the payer leaves.
    #[serde(default = "whole")]
    pub limit_permille_of_list: u16,
    /// How many counter-offers are made, at most [`ROUNDS_MAX`]; zero takes or leaves.
    #[serde(default)]
    pub rounds_max: u8,
    /// How many calls are promised within the quote's life.
    #[serde(default)]
    pub volume: u32,
}

const fn whole() -> u16 {
    1000
}

impl Default for PayerStrategy {
    /// Takes the list price and offers nothing.
    fn default() -> Self {
        Self {
            target_permille_of_list: whole(),
            step_permille: 0,
            limit_permille_of_list: whole(),
            rounds_max: 0,
            volume: 0,
        }
    }
}

/// What lies on the table.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
pub struct Table {
    /// The provider's list price, as its listing or first quote has it.
    pub list: PriceTerms,
    /// The last quote's terms.
    pub quoted: PriceTerms,
    /// How the last quote came about.
    pub verdict: Verdict,
    /// Rounds played: 0 after the first quote.
    pub round: u8,
}

/// What a payer does next.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
pub enum Move {
    /// Asks again, with this.
    Counter(CounterOffer),
    /// Pays by the last quote.
    Take,
    /// Goes elsewhere.
    Leave,
}

impl PayerStrategy {
    /// The next move. What the payee calls its quote decides nothing by itself: terms above the offer
    /// are above it, whatever the verdict says.
    pub fn next(&self, table: &Table) -> Move {
        let rounds_max = self.rounds_max.min(ROUNDS_MAX);
        let round = table.round.saturating_add(1);
        let offer = self.offer(table, round);
        if table.round < rounds_max {
            if is_at_most(&table.quoted, &offer) {
                return Move::Take;
            }
            // Beneath the floor, the same offer again only spends a round.
            let stuck = table.verdict == Verdict::Floor && self.step_permille == 0;
            if !stuck {
                return Move::Counter(CounterOffer { terms: offer, volume: self.volume, round });
            }
        }
        if is_at_most(&table.quoted, &self.limit(table)) { Move::Take } else { Move::Leave }
    }

    /// What is offered in `round`, 1 first.
    fn offer(&self, table: &Table, round: u8) -> PriceTerms {
        let steps = u128::from(round.saturating_sub(1));
        let raised = u128::from(self.step_permille).saturating_mul(steps);
        let permille = u128::from(self.target_permille_of_list).saturating_add(raised);
        let permille = permille.min(u128::from(self.limit_permille_of_list));
        each(&table.list, &table.quoted, |list, _| share_down(list, permille))
    }

    fn limit(&self, table: &Table) -> PriceTerms {
        let permille = u128::from(self.limit_permille_of_list);
        each(&table.list, &table.quoted, |list, _| share_down(list, permille))
    }
}
