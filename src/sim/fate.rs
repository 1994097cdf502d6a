//! Fate: what the seed draws, what it came to, and what went wrong that must not.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use alloy::primitives::{B256, keccak256};

use crate::ports::entropy::SeededEntropy;

/// What may go wrong.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fault {
    /// A message never arrives.
    LostRequest,
    /// The work is done, and its answer never arrives.
    LostReply,
    /// A message arrives twice.
    DoubledRequest,
    /// An answer arrives when nobody waits any more.
    LateReply,
    /// A settlement that nobody knows the outcome of.
    SettlementUnknown,
    /// A settlement that never answers.
    SettlementSilent,
    /// The rail answers no question.
    RailSilent,
    /// A write or sync fails.
    SyncFailed,
    /// A process dies while it waits for a sync.
    Crash,
}

/// How often each fault strikes: one in so many chances; what is not named never does.
pub type Odds = BTreeMap<Fault, u64>;

struct State {
    odds: Odds,
    struck: BTreeMap<Fault, u64>,
    trace: B256,
    broken: Vec<String>,
}

/// The seed's draws, in the one order in which the world asks for them.
#[derive(Clone)]
pub struct Fate {
    draws: Arc<SeededEntropy>,
    state: Arc<Mutex<State>>,
}

impl Fate {
    /// The fate of `seed`, with these odds.
    pub fn new(seed: u64, odds: Odds) -> Self {
        let (struck, broken) = (BTreeMap::new(), Vec::new());
        let state = State { odds, struck, trace: B256::ZERO, broken };
        Self { draws: Arc::new(SeededEntropy::new(seed)), state: Arc::new(Mutex::new(state)) }
    }

    /// A number below `bound`; 0 for a bound of 0.
    pub fn below(&self, bound: u64) -> u64 {
        self.draws.next_u64().checked_rem(bound).unwrap_or(0)
    }

    /// A span of up to `most` milliseconds, at least one.
    pub fn millis(&self, most: u64) -> Duration {
        Duration::from_millis(self.below(most).saturating_add(1))
    }

    /// Whether `fault` strikes now.
    pub fn strikes(&self, fault: Fault) -> bool {
        let odds = self.with(|state| state.odds.get(&fault).copied());
        let strikes = odds.is_some_and(|odds| self.below(odds) == 0);
        if strikes {
            self.count(fault);
        }
        strikes
    }

    /// Counts a fault that was brought about otherwise.
    pub fn count(&self, fault: Fault) {
        self.note(&format!("fault {fault:?}"));
        self.with(|state| {
            let struck = state.struck.entry(fault).or_default();
            *struck = struck.saturating_add(1);
        });
    }

    /// Lets nothing go wrong from here on.
    pub fn heal(&self) {
        self.note("healed");
        self.with(|state| state.odds.clear());
    }

    /// Adds to the trace: two runs of a seed have the same.
    pub fn note(&self, what: &str) {
        self.with(|state| {
            state.trace = keccak256([state.trace.as_slice(), what.as_bytes()].concat());
        });
    }

    /// Says that something happened that must not, unless `held`.
    pub fn check(&self, held: bool, what: impl FnOnce() -> String) {
        if !held {
            self.with(|state| state.broken.push(what()));
        }
    }

    /// How often each fault struck.
    pub fn struck(&self) -> BTreeMap<Fault, u64> {
        self.with(|state| state.struck.clone())
    }

    /// The hash of everything noted so far.
    pub fn trace(&self) -> B256 {
        self.with(|state| state.trace)
    }

    /// What happened that must not.
    pub fn broken(&self) -> Vec<String> {
        self.with(|state| state.broken.clone())
    }

    fn with<R>(&self, look: impl FnOnce(&mut State) -> R) -> R {
        look(&mut self.state.lock().expect("no holder of the fate panics"))
    }
}
