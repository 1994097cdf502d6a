//! Where a run's draws come from: a seed, or a script of bytes that a fuzzer changes and shortens.

use std::sync::Mutex;
use std::vec::IntoIter;

use crate::ports::entropy::SeededEntropy;

/// One source of draws.
pub(super) enum Draws {
    /// Of a seed: without an end.
    Seed(SeededEntropy),
    /// Of bytes: where they have ended nothing goes wrong any more, and whatever is drawn is the least.
    Script(Mutex<IntoIter<u8>>),
}

impl Draws {
    pub(super) const fn of_seed(seed: u64) -> Self {
        Self::Seed(SeededEntropy::new(seed))
    }

    pub(super) fn of_script(script: Vec<u8>) -> Self {
        Self::Script(Mutex::new(script.into_iter()))
    }

    /// A number below `bound`; 0 for a bound of 0. A script gives as many bytes for it as the bound has.
    pub(super) fn below(&self, bound: u64) -> u64 {
        let number = match self {
            Self::Seed(seed) => seed.next_u64(),
            Self::Script(script) => {
                let mut script = script.lock().expect("no reader of the script panics");
                let most = bound.saturating_sub(1);
                let len = most.checked_ilog2().map_or(0, |bits| (bits / 8).saturating_add(1));
                (0..len).fold(0, |sum, _| sum << 8 | u64::from(script.next().unwrap_or(0)))
            }
        };
        number.checked_rem(bound).unwrap_or(0)
    }

    /// A number of up to `most`, at least one. What a script leaves out is the most: people who look again and
    /// again wait for long, and a day is no day of a million looks.
    pub(super) fn up_to(&self, most: u64) -> u64 {
        match self {
            Self::Seed(_) => self.below(most).saturating_add(1),
            Self::Script(_) => most.saturating_sub(self.below(most)).max(1),
        }
    }

    /// Whether one chance in `odds` comes about. A byte of a script that is 0 never lets it: a script with
    /// more zeros has fewer faults.
    pub(super) fn comes_about(&self, odds: u64) -> bool {
        match self {
            Self::Seed(_) => self.below(odds) == 0,
            Self::Script(script) => {
                let byte = script.lock().expect("no reader of the script panics").next();
                byte.is_some_and(|byte| byte > 0 && u64::from(byte).is_multiple_of(odds.min(255)))
            }
        }
    }

    /// What is left of a script.
    pub(super) fn into_rest(self) -> Option<Vec<u8>> {
        match self {
            Self::Seed(_) => None,
            Self::Script(script) => {
                let script = script.into_inner().expect("no reader of the script panics");
                Some(script.collect())
            }
        }
    }
}
