//! Prices by how much somebody has bought: a free allowance first, then steps that grow cheaper.
//!
//! How many calls a payer's key has made is the payee's to count; what that makes of a price is here.

use serde::{Deserialize, Serialize};

use crate::domain::money::Amount;
use crate::domain::quote::PriceTerms;

/// Most steps of any ware.
pub const STEPS_MAX: usize = 8;

/// The tiers of a ware. The default has none: every call costs what the terms say.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Tiers {
    /// So many calls of each payer's key cost nothing.
    pub free_calls: u64,
    /// What a call costs later on, ever later and ever less.
    pub steps: Vec<Step>,
}

/// From a number of calls on, another price.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Step {
    /// Once the payer's key has made so many calls, free ones included.
    pub after_calls: u64,
    /// For the call itself, in the place of the terms' `flat`.
    pub flat: Amount,
}

/// What is wrong with tiers.
#[derive(Copy, Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TiersError {
    /// More than anybody reads.
    #[error("there are {0} steps, at most 8 are read")]
    TooMany(usize),
    /// A step does not begin after the one before it, or after the free calls.
    #[error("a step begins after {0} calls, which is not later than what stands before it")]
    NotLater(u64),
    /// A step is not cheaper than what stands before it.
    #[error("a step costs {0}, which is not less than what stands before it")]
    NotCheaper(Amount),
}

impl Tiers {
    /// Whether there are none.
    pub fn is_none(&self) -> bool {
        self.free_calls == 0 && self.steps.is_empty()
    }

    /// Whether they make sense over a call that costs `flat` at first.
    ///
    /// # Errors
    /// [`TiersError`]; prices have to fall, so that `flat` is the most that anybody pays and a listing
    /// that shows it promises enough.
    pub fn check(&self, flat: Amount) -> Result<(), TiersError> {
        if self.steps.len() > STEPS_MAX {
            return Err(TiersError::TooMany(self.steps.len()));
        }
        let mut before = Step { after_calls: self.free_calls, flat };
        for step in &self.steps {
            if step.after_calls <= before.after_calls {
                return Err(TiersError::NotLater(step.after_calls));
            }
            if step.flat >= before.flat {
                return Err(TiersError::NotCheaper(step.flat));
            }
            before = *step;
        }
        Ok(())
    }

    /// How many of a key's next calls are free, once it has had `free_used` of them.
    pub fn free_left(&self, free_used: u64) -> u64 {
        self.free_calls.saturating_sub(free_used)
    }

    /// `terms` for the next call of a key that has made `calls`.
    pub fn terms_after(&self, calls: u64, terms: &PriceTerms) -> PriceTerms {
        let reached = self.steps.iter().rev().find(|step| step.after_calls <= calls);
        PriceTerms { flat: reached.map_or(terms.flat, |step| step.flat), ..*terms }
    }
}
