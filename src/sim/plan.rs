//! What a run is made of: written out by a test, or drawn from a seed.

use crate::sim::disk::CrashAt;
use crate::sim::draws::Draws;
use crate::sim::fate::{Fault, Odds};
use crate::sim::roles::PRICE;

/// Draws of a plan are no draws of its run.
const SALT: u64 = 0x0070_6c61_6e00_0001;

/// What a run is made of.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// Decides everything else.
    pub seed: u64,
    /// Decides it in the seed's place, where there is one: but for keys and ids.
    pub script: Option<Vec<u8>>,
    /// What goes wrong, what people do meanwhile, and how often.
    pub odds: Odds,
    /// Where the payers' process dies.
    pub payer_dies: Option<CrashAt>,
    /// Where the payee's process dies.
    pub payee_dies: Option<CrashAt>,
    /// How many requests the agents make.
    pub wishes: usize,
    /// How many calls fit under the widest cap.
    pub calls_max: u64,
    /// What the wallet has at first, in atomic units; 0 for plenty.
    pub funds: u64,
    /// Whether there are narrower caps than the widest: on a group, an agent, a provider, an hour and
    /// a minute.
    pub is_tight: bool,
    /// At one sync in so many a start is tried on what a crash would leave; 0 for none.
    pub images_every: u64,
    /// Whether the payee takes channels, and charges what was used.
    pub by_channel: bool,
    /// Whether it lends above their vouchers, and both say vouchers as peers do.
    pub on_credit: bool,
    /// Whether streamed calls are paid while they flow.
    pub flows: bool,
}

impl Plan {
    /// The plan of `seed`. Swarm testing: it draws which of all faults there are at all, and how often
    /// each strikes, because a run with every fault at once hides what a few would show.
    pub fn drawn(seed: u64) -> Self {
        let draws = Draws::of_seed(seed ^ SALT);
        Self::drawn_alone(seed, &draws)
    }

    /// The same, and the payee takes channels whatever is drawn.
    pub fn drawn_by_channel(seed: u64) -> Self {
        let draws = Draws::of_seed(seed ^ SALT);
        Self::drawn_alone(seed, &draws).with_channels(&draws)
    }

    /// The same, and calls of channels go on credit where there is any.
    pub fn drawn_on_credit(seed: u64) -> Self {
        Self { on_credit: true, ..Self::drawn_by_channel(seed) }
    }

    /// The same, streamed calls are paid while they flow, and every other run's payee gives credit.
    pub fn drawn_flowing(seed: u64) -> Self {
        let on_credit = seed.is_multiple_of(2);
        Self { flows: true, on_credit, ..Self::drawn_by_channel(seed) }
    }

    /// The plan that a script of bytes says, and whatever happens in it: each byte is one thing drawn, what
    /// people do and what goes wrong.
    pub fn scripted(script: &[u8]) -> Self {
        let draws = Draws::of_script(script.to_vec());
        let kind = draws.below(4);
        let plan = Self::drawn_alone(0, &draws);
        let plan = if kind == 0 { plan } else { plan.with_channels(&draws) };
        let (on_credit, flows) = (kind == 2, kind == 3);
        Self { on_credit, flows, script: draws.into_rest(), ..plan }
    }

    fn with_channels(mut self, draws: &Draws) -> Self {
        let below = |bound| draws.below(bound);
        self.by_channel = true;
        for fault in Fault::ALL.into_iter().filter(|fault| fault.is_of_channels()) {
            let (there, often) = (below(2) == 0, below(8).saturating_add(1));
            if there {
                self.odds.insert(fault, rarity(fault).saturating_mul(often).div_ceil(4));
            }
        }
        self
    }

    fn drawn_alone(seed: u64, draws: &Draws) -> Self {
        let below = |bound| draws.below(bound);
        let share = below(4).saturating_add(1);
        let mut odds = Odds::new();
        // What concerns channels is drawn apart, so that the seeds without them stay what they are.
        for fault in Fault::ALL.into_iter().filter(|fault| !fault.is_of_channels()) {
            let (there, often) = (below(5) < share, below(8).saturating_add(1));
            if there {
                odds.insert(fault, rarity(fault).saturating_mul(often).div_ceil(4));
            }
        }
        let wishes = below(36).saturating_add(4);
        let calls_max = below(wishes.saturating_add(6)).saturating_add(1);
        let funds = match below(4) {
            0 => below(calls_max.saturating_mul(2)).saturating_add(1).saturating_mul(PRICE),
            _ => 0,
        };
        Self {
            seed,
            script: None,
            odds,
            payer_dies: None,
            payee_dies: None,
            wishes: usize::try_from(wishes).unwrap_or(1),
            calls_max,
            funds,
            is_tight: below(2) == 0,
            images_every: if below(4) == 0 { below(8).saturating_add(1) } else { 0 },
            by_channel: false,
            on_credit: false,
            flows: false,
        }
    }

    /// Whether a kind of fault exists in this run.
    pub fn knows(&self, fault: Fault) -> bool {
        self.odds.contains_key(&fault)
    }
}

/// One chance in so many, at the middle.
const fn rarity(fault: Fault) -> u64 {
    match fault {
        Fault::SettlementUnknown => 6,
        Fault::LostRequest
        | Fault::LostReply
        | Fault::DoubledRequest
        | Fault::LateReply
        | Fault::BrokenStream
        | Fault::EngineFailed
        | Fault::SettlementSilent
        | Fault::RailSilent => 12,
        Fault::SyncFailed => 60,
        Fault::Crash => 50,
        Fault::Killed => 600,
        Fault::Canceled | Fault::Broadcast | Fault::Delegated | Fault::InSession => 1,
        Fault::Funded | Fault::Drained | Fault::Resumed | Fault::Overclaimed => 4,
        Fault::Withdrawn | Fault::LateSight => 6,
        Fault::Lied => 10,
        Fault::Paused
        | Fault::CapLowered
        | Fault::CapRaised
        | Fault::RoleTightened
        | Fault::RoleLoosened
        | Fault::WindowChanged => 8,
    }
}
