//! The payees' claims, by their events.

use std::collections::BTreeMap;

use crate::domain::commitment::AuthorizationKey;
use crate::domain::id::Fingerprint;
use crate::domain::ledger::Event;
use crate::ports::rail::NonceState;
use crate::sim::oracle::Look;

/// Where a claim stands by its events.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) enum Bound {
    Open,
    Due,
    Served,
    Released,
    Dead,
    Refunded,
}

impl Bound {
    /// Whether its money came.
    pub const fn is_settled(self) -> bool {
        matches!(self, Self::Due | Self::Served | Self::Refunded)
    }
}

struct Claim {
    bound: Bound,
    amount: u128,
    fingerprint: Fingerprint,
    valid_before_s: u64,
}

/// Every claim that was ever bound.
#[derive(Default)]
pub(super) struct Claims {
    all: BTreeMap<AuthorizationKey, Claim>,
    open: usize,
}

impl Claims {
    pub fn find(&self, key: &AuthorizationKey) -> Option<Bound> {
        self.all.get(key).map(|claim| claim.bound)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&AuthorizationKey, Bound)> {
        self.all.iter().map(|(key, claim)| (key, claim.bound))
    }

    pub const fn open(&self) -> usize {
        self.open
    }

    /// What the claims received, and what of it is owed as service.
    pub fn sums(&self) -> (u128, u128) {
        let mut sums = (0_u128, 0_u128);
        for claim in self.all.values() {
            if claim.bound.is_settled() {
                sums.0 = sums.0.saturating_add(claim.amount);
            }
            if claim.bound == Bound::Due {
                sums.1 = sums.1.saturating_add(claim.amount);
            }
        }
        sums
    }

    /// I13, I14: an authorization is bound to one request for ever, settled at most once, served at
    /// most once, and only after it was settled; it dies only where the chain can never move it.
    /// I5, I24: what settles is what was claimed, and the chain moved it. Whose money came, if any did.
    pub fn read(&mut self, event: &Event, look: &Look<'_>) -> Option<AuthorizationKey> {
        use Bound::{Dead, Due, Open, Refunded, Released, Served};
        let (key, from, to): (_, &[Bound], _) = match event {
            Event::Accepted(accepted) => {
                let claim = Claim {
                    bound: Open,
                    amount: accepted.amount.get(),
                    fingerprint: accepted.fingerprint,
                    valid_before_s: accepted.commitment.valid_before_s,
                };
                let fingerprint = claim.fingerprint;
                let former = self.all.insert(accepted.key(), claim);
                let same = former
                    .is_none_or(|old| old.bound == Released && old.fingerprint == fingerprint);
                look.check(same, || "I14: an authorization was bound twice".to_owned());
                self.open = self.open.saturating_add(1);
                return None;
            }
            Event::ClaimDoubted { claim, .. } => (claim, &[Open], Open),
            Event::ClaimSettled { claim, .. } => (claim, &[Open, Released, Dead], Due),
            Event::Served { claim, .. } => (claim, &[Due], Served),
            Event::ClaimReleased { claim } => (claim, &[Open], Released),
            Event::ClaimDied { claim, .. } => (claim, &[Open, Released], Dead),
            Event::Refunded { claim, .. } => (claim, &[Due], Refunded),
            _ => return None,
        };
        let Some(found) = self.all.get_mut(key) else {
            look.check(false, || "I13: a claim was never bound".to_owned());
            return None;
        };
        let was = std::mem::replace(&mut found.bound, to);
        look.check(from.contains(&was), || format!("I13: a claim went {was:?} to {to:?}"));
        let nonce = look.chain.nonce(key);
        if was == Open && to != Open {
            self.open = self.open.saturating_sub(1);
        }
        match to {
            Due => {
                let moved = matches!(nonce, NonceState::Used { amount, .. } if amount.get() == found.amount);
                look.check(moved, || {
                    format!("I24: {} came, and the chain says {nonce:?}", found.amount)
                });
                Some(*key)
            }
            Dead => {
                let over = look.now_s >= found.valid_before_s;
                let never = match nonce {
                    NonceState::Unused => over,
                    NonceState::Canceled { .. } => true,
                    NonceState::Used { .. } | NonceState::UsedWithoutTrace => false,
                };
                look.check(never, || format!("I13: a claim died, and the chain says {nonce:?}"));
                None
            }
            Open | Served | Released | Refunded => None,
        }
    }
}
