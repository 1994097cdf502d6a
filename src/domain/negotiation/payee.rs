//! The payee's side: a list price, a floor, and how load and volume move between them.

use serde::{Deserialize, Serialize};

use super::{CounterOffer, ROUNDS_MAX, Verdict, each, share_down, share_up};
use crate::domain::pricing::is_at_most;
use crate::domain::quote::PriceTerms;

/// How a payee prices one ware.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PayeeTerms {
    /// What is asked of everybody.
    pub list: PriceTerms,
    /// Beneath this nothing is sold, in no part of the price.
    pub floor: PriceTerms,
    /// What a promise of volume is worth.
    #[serde(default)]
    pub volume_discount: VolumeDiscount,
    /// How many counter-offers are considered, at most [`ROUNDS_MAX`]; zero negotiates nothing.
    #[serde(default = "rounds_default")]
    pub rounds_max: u8,
}

const fn rounds_default() -> u8 {
    3
}

/// How far a promise of volume lowers the price at which an offer is accepted.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VolumeDiscount {
    /// For each so many calls promised; zero gives no discount.
    pub calls: u32,
    /// So many thousandths.
    pub permille: u16,
    /// And never more than so many.
    pub permille_max: u16,
}

impl VolumeDiscount {
    /// The thousandths that `volume` promised calls are worth.
    fn of(&self, volume: u32) -> u128 {
        let steps = volume.checked_div(self.calls).unwrap_or(0);
        let permille = u128::from(steps).saturating_mul(u128::from(self.permille));
        permille.min(u128::from(self.permille_max)).min(1000)
    }
}

/// How busy the payee is.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Load {
    /// Requests that run now.
    pub running: u32,
    /// How many may; zero counts as full.
    pub limit: u32,
}

impl Load {
    /// How full it is, 0 to 1000.
    pub fn permille(self) -> u128 {
        let full = u128::from(self.running).saturating_mul(1000);
        full.checked_div(u128::from(self.limit)).unwrap_or(1000).min(1000)
    }
}

/// What is wrong with a payee's terms.
#[derive(Copy, Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PayeeTermsError {
    /// The floor has a part above the list price's.
    #[error("the floor is above the list price")]
    FloorAboveList,
    /// More rounds than anybody plays.
    #[error("rounds_max is {0}, at most 8 rounds are played")]
    TooManyRounds(u8),
    /// A discount of more than everything.
    #[error("permille_max is {0}, a discount is at most 1000 thousandths")]
    DiscountAboveAll(u16),
}

impl PayeeTerms {
    /// Whether the terms make sense; checked once, when the configuration is read.
    ///
    /// # Errors
    /// [`PayeeTermsError`] by what is wrong.
    pub fn check(&self) -> Result<(), PayeeTermsError> {
        if !is_at_most(&self.floor, &self.list) {
            return Err(PayeeTermsError::FloorAboveList);
        }
        if self.rounds_max > ROUNDS_MAX {
            return Err(PayeeTermsError::TooManyRounds(self.rounds_max));
        }
        if self.volume_discount.permille_max > 1000 {
            return Err(PayeeTermsError::DiscountAboveAll(self.volume_discount.permille_max));
        }
        Ok(())
    }

    /// The same over another list price, for who has reached a lower one: no floor is above it.
    pub fn with_list(&self, list: PriceTerms) -> Self {
        Self { list, floor: each(&self.floor, &list, u128::min), ..*self }
    }

    /// The lowest terms that are accepted now: the floor, raised toward the list price by the load,
    /// lowered by a promise of volume, and never beneath the floor.
    pub fn effective_floor(&self, volume: u32, load: Load) -> PriceTerms {
        let (busy, discount) = (load.permille(), self.volume_discount.of(volume));
        each(&self.floor, &self.list, |floor, list| {
            let raised = floor.saturating_add(share_up(list.saturating_sub(floor), busy));
            raised.saturating_sub(share_down(raised, discount)).max(floor)
        })
    }

    /// The answer to an ask: with no counter-offer the list price.
    ///
    /// An offer at or above the effective floor in every part is accepted. To a lower one the payee
    /// answers halfway between list price and effective floor, then a quarter above it, and so on
    /// down to the floor itself in the last round. The answer does not depend on how low the offer
    /// was, so that nothing is gained by a lower one.
    pub fn answer(&self, ask: Option<&CounterOffer>, load: Load) -> (PriceTerms, Verdict) {
        let rounds_max = self.rounds_max.min(ROUNDS_MAX);
        let Some(counter) = ask.filter(|counter| (1..=rounds_max).contains(&counter.round)) else {
            return (self.list, Verdict::List);
        };
        let least = self.effective_floor(counter.volume, load);
        // Nobody pays above the list price, not even by mistake.
        let offer = each(&counter.terms, &self.list, u128::min);
        if is_at_most(&least, &offer) {
            return (offer, Verdict::Accepted);
        }
        let last = counter.round == rounds_max;
        let halvings = if last { u32::MAX } else { u32::from(counter.round) };
        let asked = each(&least, &self.list, |least, list| {
            let gap = list.saturating_sub(least);
            least.saturating_add(halved_up(gap, halvings))
        });
        // Where a part of the offer does by itself, it stands, if it is the lower.
        let mut parts = offer.parts();
        let others = least.parts().into_iter().zip(asked.parts());
        for (offered, (least, asked)) in parts.iter_mut().zip(others) {
            *offered = stands(*offered, least, asked);
        }
        let asked = PriceTerms::of_parts(parts);
        let beneath = !is_at_most(&self.floor, &offer);
        (asked, if last || beneath { Verdict::Floor } else { Verdict::Countered })
    }
}

fn stands<T: Ord>(offered: T, least: T, asked: T) -> T {
    if offered >= least { offered.min(asked) } else { asked }
}

/// `gap` halved so many times, rounded up; nothing once every bit is shifted out.
fn halved_up(gap: u128, halvings: u32) -> u128 {
    1u128.checked_shl(halvings).map_or(0, |parts| gap.div_ceil(parts))
}
