//! How fast and how many at once: rates by governor, concurrency by guarded counters.
//!
//! The narrow key is looked at first, so that who is over its own limit spends nobody else's. Memory
//! only: a restart forgets it. It knows no prices; money per minute is a budget of the ledger.

pub mod tarpit;

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use alloy::primitives::Address;
use governor::clock::Clock as GovernorClock;
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};

use crate::domain::fault::{Class, Fault};
use crate::domain::host::network_of;
use crate::domain::id::{AgentId, ProviderId, RoleId};
use crate::domain::policy::Rates;
use crate::ports::clock::Clock;

pub use tarpit::Tarpit;

/// Keys that are remembered at most; beyond that one that was not used lately is forgotten.
pub const KEYS_MAX: usize = 65_536;

/// What is limited.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Key {
    /// One agent's payments.
    Agent(AgentId),
    /// Those of all agents of a role.
    Role(RoleId),
    /// Everybody's payments to one provider.
    Provider(ProviderId),
    /// What one address buys, at a payee.
    Payer(Address),
    /// What one network peer asks, at a payee: see [`Key::peer`].
    Peer(IpAddr),
}

impl Key {
    /// Whoever calls from `address`.
    pub fn peer(address: IpAddr) -> Self {
        Self::Peer(network_of(address))
    }

    /// What kind of key it is, for refusals and metrics.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Agent(_) => "agent",
            Self::Role(_) => "role",
            Self::Provider(_) => "provider",
            Self::Payer(_) => "payer",
            Self::Peer(_) => "peer",
        }
    }
}

/// Too fast, or too many at once.
#[derive(Copy, Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Limited {
    /// More calls in a minute than allowed.
    #[error("at most {per_minute} calls a minute for one {}, try again in {retry_after_ms} ms", .key.kind())]
    Rate {
        /// Whose.
        key: Key,
        /// The bound.
        per_minute: u32,
        /// When the next call fits.
        retry_after_ms: u64,
    },
    /// More calls at once than allowed.
    #[error("at most {bound} calls at once for one {}", .key.kind())]
    Concurrency {
        /// Whose.
        key: Key,
        /// The bound.
        bound: u32,
    },
}

impl Limited {
    /// Whose limit it was.
    pub const fn key(&self) -> Key {
        match self {
            Self::Rate { key, .. } | Self::Concurrency { key, .. } => *key,
        }
    }

    /// When trying again can help, where that is known.
    pub const fn retry_after_ms(&self) -> Option<u64> {
        match self {
            Self::Rate { retry_after_ms, .. } => Some(*retry_after_ms),
            Self::Concurrency { .. } => None,
        }
    }
}

impl Fault for Limited {
    fn code(&self) -> &'static str {
        match self {
            Self::Rate { .. } => "limits.rate",
            Self::Concurrency { .. } => "limits.concurrency",
        }
    }

    fn class(&self) -> Class {
        Class::Later
    }
}

/// Leave to run, given back when dropped.
#[derive(Debug, Default)]
pub struct Admission(Vec<Arc<AtomicU32>>);

impl Drop for Admission {
    fn drop(&mut self) {
        for running in &self.0 {
            running.fetch_sub(1, Ordering::AcqRel);
        }
    }
}

/// The ports' clock as governor wants it.
#[derive(Clone)]
struct Ticks(Arc<dyn Clock>);

impl GovernorClock for Ticks {
    type Instant = Nanos;

    fn now(&self) -> Nanos {
        Nanos::from(self.0.now().as_nanos())
    }
}

type Direct = RateLimiter<NotKeyed, InMemoryState, Ticks, NoOpMiddleware<Nanos>>;

/// One key's limits as they stand.
#[derive(Default)]
struct Kept {
    per_minute: Option<u32>,
    rate: Option<Arc<Direct>>,
    running: Arc<AtomicU32>,
    /// Whether it came again since it was new, or since its turn to be forgotten came last.
    came_again: bool,
}

/// All that is remembered.
#[derive(Default)]
struct Memory {
    kept: BTreeMap<Key, Kept>,
    /// Its keys, in the order in which it is their turn to be forgotten.
    turns: VecDeque<Key>,
}

/// Every key's limits.
pub struct Limits {
    ticks: Ticks,
    memory: Mutex<Memory>,
}

impl Limits {
    /// Limits by this clock.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { ticks: Ticks(clock), memory: Mutex::default() }
    }

    /// Lets one call run under every one of `keys`, the narrowest first. Nothing is remembered of a key that
    /// no rate applies to.
    ///
    /// # Errors
    /// [`Limited`] by the first key that is over its limit. Wider keys are not counted then.
    pub fn admit(&self, keys: &[(Key, Rates)]) -> Result<Admission, Limited> {
        let mut admission = Admission::default();
        let limited = || keys.iter().filter(|(_, rates)| is_limit(rates));
        // Counters first, because they can be given back; rates cannot.
        for (key, rates) in limited() {
            let (running, before) = self.enter(*key, rates);
            admission.0.push(running);
            let over = |bound: &u32| before >= *bound && !planted!("concurrency_unbounded");
            if let Some(bound) = rates.concurrency.filter(over) {
                return Err(Limited::Concurrency { key: *key, bound });
            }
        }
        for (key, rates) in limited() {
            self.check_rate(*key, rates)?;
        }
        Ok(admission)
    }

    fn check_rate(&self, key: Key, rates: &Rates) -> Result<(), Limited> {
        let Some(per_minute) = rates.calls_per_minute else { return Ok(()) };
        let minute_ms = 60_000;
        let never = Limited::Rate { key, per_minute, retry_after_ms: minute_ms };
        let rate = self.with(key, rates, |kept, _| kept.rate.clone()).ok_or(never)?;
        rate.check().map_err(|not_until| {
            let wait = not_until.wait_time_from(self.ticks.now());
            let retry_after_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX).max(1);
            Limited::Rate { key, per_minute, retry_after_ms }
        })
    }

    /// One more that runs, and how many did before. Counted before anybody else can forget the key.
    fn enter(&self, key: Key, rates: &Rates) -> (Arc<AtomicU32>, u32) {
        self.with(key, rates, |kept, is_new| {
            kept.came_again |= !is_new;
            (Arc::clone(&kept.running), kept.running.fetch_add(1, Ordering::AcqRel))
        })
    }

    /// What `act` makes of what is remembered of `key`, and of whether that is new.
    fn with<R>(&self, key: Key, rates: &Rates, act: impl FnOnce(&mut Kept, bool) -> R) -> R {
        let mut memory = self.memory.lock().expect("no holder of the limits panics");
        let Memory { kept, turns } = &mut *memory;
        let is_new = !kept.contains_key(&key);
        if is_new {
            if kept.len() >= KEYS_MAX {
                forget_one(kept, turns);
            }
            turns.push_back(key);
        }
        let found = kept.entry(key).or_default();
        if found.per_minute != rates.calls_per_minute {
            found.per_minute = rates.calls_per_minute;
            let quota = rates.calls_per_minute.and_then(NonZeroU32::new).map(Quota::per_minute);
            let direct =
                |quota| Arc::new(RateLimiter::direct_with_clock(quota, self.ticks.clone()));
            found.rate = quota.map(direct);
        }
        act(found, is_new)
    }
}

/// Whether these rates bound anything here: money per minute is the ledger's.
const fn is_limit(rates: &Rates) -> bool {
    rates.calls_per_minute.is_some() || rates.concurrency.is_some()
}

/// Forgets the first key in turn that runs nothing and did not come again since its last turn. Whoever comes with
/// a new key goes past no more keys than came again meanwhile, and mostly past none.
fn forget_one(kept: &mut BTreeMap<Key, Kept>, turns: &mut VecDeque<Key>) {
    // Once around for those that came again, and once more: only what runs is left then.
    for _ in 0..turns.len().saturating_mul(2) {
        let Some(key) = turns.pop_front() else { return };
        let Some(found) = kept.get_mut(&key) else { continue };
        let came_again = std::mem::take(&mut found.came_again);
        if !came_again && found.running.load(Ordering::Acquire) == 0 {
            kept.remove(&key);
            return;
        }
        turns.push_back(key);
    }
}

#[cfg(test)]
mod tests;
