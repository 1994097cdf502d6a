//! Fate: what the seed draws, what it came to, and what happened that must not.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use alloy::primitives::B256;
use sha2::{Digest, Sha256};

use crate::sim::draws::Draws;
use crate::sim::plan::Plan;

/// What may go wrong, and what people may do meanwhile.
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
    /// An answer breaks off in its midst, or is never heard of again from there on.
    BrokenStream,
    /// The engine fails in the midst of an answer, or before it.
    EngineFailed,
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
    /// A process dies at any other moment.
    Killed,
    /// Somebody with the payer's key cancels an authorization on chain.
    Canceled,
    /// Somebody else sends a payer's authorization to the chain.
    Broadcast,
    /// Money enters the payer's wallet by no payment.
    Funded,
    /// Money leaves the payer's wallet by no payment.
    Drained,
    /// The operator stops signatures.
    Paused,
    /// The operator lets them go on.
    Resumed,
    /// The operator lowers a cap, also beneath what is spent.
    CapLowered,
    /// The operator raises a cap.
    CapRaised,
    /// The operator takes a permission from a role.
    RoleTightened,
    /// The operator gives it back.
    RoleLoosened,
    /// The operator gives a budget another window: it is another budget from then on.
    WindowChanged,
    /// An agent carves a budget for a sub-agent out of its own.
    Delegated,
    /// An agent pays within a session.
    InSession,
    /// A payee claims all that was signed, whatever it charged.
    Overclaimed,
    /// A payee says another charge than it made.
    Lied,
    /// A payer takes its money out of a channel against its payee's will.
    Withdrawn,
    /// What a block shows of channels arrives after what later ones show.
    LateSight,
}

impl Fault {
    /// Whether it comes about only where channels pay.
    pub const fn is_of_channels(self) -> bool {
        matches!(self, Self::Overclaimed | Self::Lied | Self::Withdrawn | Self::LateSight)
    }

    /// Every one.
    pub const ALL: [Self; 29] = [
        Self::LostRequest,
        Self::LostReply,
        Self::DoubledRequest,
        Self::LateReply,
        Self::BrokenStream,
        Self::EngineFailed,
        Self::SettlementUnknown,
        Self::SettlementSilent,
        Self::RailSilent,
        Self::SyncFailed,
        Self::Crash,
        Self::Killed,
        Self::Canceled,
        Self::Broadcast,
        Self::Funded,
        Self::Drained,
        Self::Paused,
        Self::Resumed,
        Self::CapLowered,
        Self::CapRaised,
        Self::RoleTightened,
        Self::RoleLoosened,
        Self::WindowChanged,
        Self::Delegated,
        Self::InSession,
        Self::Overclaimed,
        Self::Lied,
        Self::Withdrawn,
        Self::LateSight,
    ];
}

/// How often each strikes: one in so many chances; what is not named never does.
pub type Odds = BTreeMap<Fault, u64>;

struct State {
    odds: Odds,
    struck: BTreeMap<Fault, u64>,
    trace: Sha256,
    line: String,
    told: bool,
    broken: Vec<String>,
    healed: bool,
}

/// A run's draws, in the one order in which the world asks for them.
#[derive(Clone)]
pub struct Fate {
    draws: Arc<Draws>,
    state: Arc<Mutex<State>>,
}

impl Fate {
    /// The fate of `plan`: what its script says, or else its seed.
    pub fn new(plan: &Plan) -> Self {
        let draws = match &plan.script {
            Some(script) => Draws::of_script(script.clone()),
            None => Draws::of_seed(plan.seed),
        };
        let state = State {
            odds: plan.odds.clone(),
            struck: BTreeMap::new(),
            trace: Sha256::new(),
            line: String::new(),
            told: false,
            broken: Vec::new(),
            healed: false,
        };
        Self { draws: Arc::new(draws), state: Arc::new(Mutex::new(state)) }
    }

    /// The same, and every line of the trace is printed as it comes.
    pub fn telling(self) -> Self {
        self.with(|state| state.told = true);
        self
    }

    /// A number below `bound`; 0 for a bound of 0.
    pub fn below(&self, bound: u64) -> u64 {
        self.draws.below(bound)
    }

    /// A span of up to `most` milliseconds, at least one.
    pub fn millis(&self, most: u64) -> Duration {
        Duration::from_millis(self.draws.up_to(most))
    }

    /// Whether `fault` is due now; it is counted where it comes about.
    pub fn draws(&self, fault: Fault) -> bool {
        let odds = self.with(|state| state.odds.get(&fault).copied());
        odds.is_some_and(|odds| self.draws.comes_about(odds))
    }

    /// Whether `fault` strikes now.
    pub fn strikes(&self, fault: Fault) -> bool {
        let strikes = self.draws(fault);
        if strikes {
            self.count(fault);
        }
        strikes
    }

    /// Whether `fault` may strike at all.
    pub fn knows(&self, fault: Fault) -> bool {
        self.with(|state| state.odds.contains_key(&fault))
    }

    /// Whether `fault` ever struck.
    pub fn has_struck(&self, fault: Fault) -> bool {
        self.with(|state| state.struck.contains_key(&fault))
    }

    /// Counts what was brought about otherwise.
    pub fn count(&self, fault: Fault) {
        self.note(format_args!("fault {fault:?}"));
        self.with(|state| {
            let struck = state.struck.entry(fault).or_default();
            *struck = struck.saturating_add(1);
        });
    }

    /// Lets nothing go wrong from here on.
    pub fn heal(&self) {
        self.note(format_args!("healed"));
        self.with(|state| {
            state.odds.clear();
            state.healed = true;
        });
    }

    /// Whether nothing goes wrong any more.
    pub fn is_healed(&self) -> bool {
        self.with(|state| state.healed)
    }

    /// Adds to the trace: two runs of a seed have the same.
    pub fn note(&self, what: fmt::Arguments<'_>) {
        self.with(|state| {
            let State { trace, line, told, .. } = state;
            line.clear();
            writeln!(line, "{what}").expect("a text takes every text");
            trace.update(line.as_bytes());
            if *told {
                tracing::info!("{}", line.trim_end());
            }
        });
    }

    /// Says that something happened that must not, unless `held`.
    pub fn check(&self, held: bool, what: impl FnOnce() -> String) {
        if !held {
            self.with(|state| state.broken.push(what()));
        }
    }

    /// How often each struck.
    pub fn struck(&self) -> BTreeMap<Fault, u64> {
        self.with(|state| state.struck.clone())
    }

    /// The hash of everything noted so far.
    pub fn trace(&self) -> B256 {
        let hash: [u8; 32] = self.with(|state| state.trace.clone().finalize()).into();
        B256::from(hash)
    }

    /// Whether something happened that must not.
    pub fn is_broken(&self) -> bool {
        self.with(|state| !state.broken.is_empty())
    }

    /// What happened that must not.
    pub fn broken(&self) -> Vec<String> {
        self.with(|state| state.broken.clone())
    }

    fn with<R>(&self, look: impl FnOnce(&mut State) -> R) -> R {
        look(&mut self.state.lock().expect("no holder of the fate panics"))
    }
}
