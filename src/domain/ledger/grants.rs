//! Grants: calls that are given away within an allowance.
//!
//! The allowance is a payer key's for life, and what one peer address gets in a day, what all get in a
//! day, and how many keys are remembered are bounded too: keys cost nothing, so that a bound on each of
//! them alone would bound nothing. A grant is bound to its order: the same order again is the same
//! grant, and another under its name is refused.

use std::collections::{BTreeMap, BTreeSet};

use alloy::primitives::{Address, B256};
use serde::{Deserialize, Serialize};

use crate::domain::id::{Fingerprint, Name, PaymentId, PeerId};
use crate::domain::ledger::event::Event;
use crate::domain::ledger::rejection::Rejection;
use crate::domain::ledger::state::Ledger;
use crate::domain::time::Timestamp;

/// How long a grant is remembered, in seconds after its order was signed: far longer than a signed
/// order is taken, so that none is ever forgotten while it could come again.
const GRANT_MEMORY_S: u64 = 3600;

/// Grants forgotten with one event at most, so that no event is slow.
const FORGET_MAX: usize = 4;

/// Seconds in a day: a day is one of UTC.
const DAY_S: u64 = 24 * 3600;

/// What may be given away.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Allowance {
    /// To each payer's key, for life.
    pub calls: u64,
    /// To all that call from one address, in a day.
    pub peer_per_day: u64,
    /// In all, in a day.
    pub per_day: u64,
    /// Keys that are remembered at most; once they are so many, no new key gets anything.
    pub payers_max: u64,
}

/// A call that is given away, before it is served.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Grant {
    /// To whom, by the key that signed the order.
    pub payer: Address,
    /// The payer's name for the call.
    pub payment: PaymentId,
    /// What the request says, condensed.
    pub fingerprint: Fingerprint,
    /// The digest of the signed order.
    pub order: B256,
    /// When it was signed, in seconds since the epoch.
    pub issued_at_s: u64,
    /// From where it came.
    pub peer: Option<PeerId>,
    /// Who gives.
    pub provider: Name,
    /// What kind of work.
    pub capability: Name,
    /// With which model.
    pub model: Name,
}

/// What a key has had.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counted {
    /// Calls in all: paid by tiers, and free.
    pub calls: u64,
    /// Free ones.
    pub free_used: u64,
}

/// A remembered grant.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Kept {
    fingerprint: Fingerprint,
    served: bool,
}

/// Whose call, by its payer and the payer's name for it.
type GrantKey = (Address, PaymentId);

/// Everything that was given away, as far as it has to be known.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grants {
    payers: BTreeMap<Address, Counted>,
    /// Days since the epoch; what follows is that day's.
    day: u64,
    of_day: u64,
    of_peers: BTreeMap<PeerId, u64>,
    kept: BTreeMap<GrantKey, Kept>,
    forgettable: BTreeSet<(u64, GrantKey)>,
}

impl Grants {
    /// What a key has had.
    pub fn counted(&self, payer: Address) -> Counted {
        self.payers.get(&payer).copied().unwrap_or_default()
    }

    /// How many keys are remembered.
    pub fn payers_len(&self) -> usize {
        self.payers.len()
    }

    /// Whether a grant waits to be served.
    pub fn is_owed(&self, payer: Address, payment: PaymentId) -> bool {
        self.kept.get(&(payer, payment)).is_some_and(|kept| !kept.served)
    }

    /// What `peer` and all have had on `day`.
    fn of_day(&self, day: u64, peer: Option<PeerId>) -> (u64, u64) {
        if day != self.day {
            return (0, 0);
        }
        let of_peer = peer.and_then(|peer| self.of_peers.get(&peer)).copied().unwrap_or(0);
        (of_peer, self.of_day)
    }

    fn check(&self, now: Timestamp, grant: &Grant, allowance: &Allowance) -> Result<(), Rejection> {
        let spent = |what, bound| Err(Rejection::AllowanceSpent { what, bound });
        let known = self.payers.get(&grant.payer);
        let remembered = u64::try_from(self.payers.len()).unwrap_or(u64::MAX);
        if known.is_none() && remembered >= allowance.payers_max {
            return spent("keys remembered", allowance.payers_max);
        }
        if known.is_some_and(|counted| counted.free_used >= allowance.calls)
            && !planted!("free_calls_without_end")
        {
            return spent("free calls of this key", allowance.calls);
        }
        let (of_peer, of_day) = self.of_day(day_of(now), grant.peer);
        if of_peer >= allowance.peer_per_day {
            return spent("free calls of this address today", allowance.peer_per_day);
        }
        if of_day >= allowance.per_day {
            return spent("free calls today", allowance.per_day);
        }
        if allowance.calls == 0 {
            return spent("free calls of this key", 0);
        }
        Ok(())
    }

    fn give(&mut self, at: Timestamp, grant: &Grant) {
        let counted = self.payers.entry(grant.payer).or_default();
        counted.calls = counted.calls.saturating_add(1);
        counted.free_used = counted.free_used.saturating_add(1);
        let day = day_of(at);
        if day != self.day {
            self.day = day;
            self.of_day = 0;
            self.of_peers.clear();
        }
        self.of_day = self.of_day.saturating_add(1);
        if let Some(peer) = grant.peer {
            let of_peer = self.of_peers.entry(peer).or_default();
            *of_peer = of_peer.saturating_add(1);
        }
        let key = (grant.payer, grant.payment);
        let kept = Kept { fingerprint: grant.fingerprint, served: false };
        let former = self.kept.insert(key, kept);
        assert!(former.is_none(), "an order is granted once");
        self.forgettable.insert((grant.issued_at_s.saturating_add(GRANT_MEMORY_S), key));
        for _ in 0..FORGET_MAX {
            let Some(&(forget_at, key)) = self.forgettable.first() else { return };
            if forget_at > at.as_secs() {
                return;
            }
            self.forgettable.pop_first();
            self.kept.remove(&key);
        }
    }

    pub(super) fn serve(&mut self, payer: Address, payment: PaymentId) {
        let kept = self.kept.get_mut(&(payer, payment)).expect("a served grant is remembered");
        assert!(!kept.served, "a grant is served once");
        kept.served = true;
    }

    /// Counts a paid call of a ware with tiers. Keys beyond the bound are not remembered: they pay what
    /// everybody pays at first.
    pub(super) fn count_call(&mut self, payer: Address) {
        if let Some(counted) = self.payers.get_mut(&payer) {
            counted.calls = counted.calls.saturating_add(1);
        } else if self.payers.len() < COUNTED_MAX {
            self.payers.insert(payer, Counted { calls: 1, free_used: 0 });
        }
    }
}

/// Most keys whose paid calls are counted.
const COUNTED_MAX: usize = 1_000_000;

impl Ledger {
    /// What was given away.
    pub const fn grants(&self) -> &Grants {
        &self.grants
    }

    /// [`Rejection::Unchanged`] for an order that was granted before.
    pub(super) fn decide_grant(
        &self,
        now: Timestamp,
        grant: Box<Grant>,
        allowance: &Allowance,
    ) -> Result<Event, Rejection> {
        let known = self.grants.kept.get(&(grant.payer, grant.payment));
        match known {
            Some(kept) if kept.fingerprint == grant.fingerprint => Err(Rejection::Unchanged),
            Some(_) => Err(Rejection::GrantedElsewhere(grant.payment)),
            None => {
                self.grants.check(now, &grant, allowance)?;
                Ok(Event::Granted(grant))
            }
        }
    }

    pub(super) fn evolve_granted(&mut self, at: Timestamp, grant: &Grant) {
        self.grants.give(at, grant);
    }
}

fn day_of(at: Timestamp) -> u64 {
    at.as_secs().checked_div(DAY_S).unwrap_or(0)
}
