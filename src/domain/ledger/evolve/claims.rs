//! Claims as they happen.

use crate::domain::commitment::AuthorizationKey;
use crate::domain::ledger::claim::{Accepted, CLAIM_MEMORY, Claim, ClaimState};
use crate::domain::ledger::event::Event;
use crate::domain::ledger::state::Ledger;
use crate::domain::money::Amount;
use crate::domain::time::Timestamp;

/// Ended claims forgotten with one event at most, so that no event is slow.
const FORGET_MAX: usize = 4;

impl Ledger {
    pub(super) fn evolve_claim(&mut self, at: Timestamp, event: &Event) {
        match event {
            Event::Accepted(accepted) => {
                let key = accepted.key();
                let claim = Claim {
                    accepted: accepted.as_ref().clone(),
                    // Bound again: a transfer in between is its own all the same.
                    accepted_at: self.claims.get(&key).map_or(at, |former| former.accepted_at),
                    state: ClaimState::Accepted,
                    delivery: None,
                };
                self.forgettable.insert((forget_at_s(accepted), key));
                let former = self.claims.insert(key, claim);
                assert!(
                    former.is_none_or(|old| old.state == ClaimState::Released),
                    "an authorization is bound once"
                );
                self.forget_claims(at);
            }
            Event::ClaimCharged { claim, amount } => {
                let found = self.claim_mut(claim);
                assert_eq!(found.state, ClaimState::Accepted, "a claim is charged once");
                assert!(
                    *amount <= found.accepted.commitment.amount_max,
                    "nothing above its maximum is charged"
                );
                found.accepted.amount = *amount;
                found.state = ClaimState::Charged;
            }
            Event::ClaimDoubted { claim, .. } => self.claim_mut(claim).state = ClaimState::Unknown,
            Event::ClaimSettled { claim, amount, transaction } => {
                let found = self.claim_mut(claim);
                assert_eq!(*amount, found.accepted.amount, "what settles is what was claimed");
                assert!(
                    !matches!(
                        found.state,
                        ClaimState::Due { .. }
                            | ClaimState::Served { .. }
                            | ClaimState::Refunding { .. }
                            | ClaimState::Refunded
                            | ClaimState::Credited
                            | ClaimState::Lost
                    ),
                    "a claim settles at most once"
                );
                found.state = ClaimState::Due { transaction: *transaction };
            }
            Event::Served { claim, delivery, .. } => {
                let found = self.claim_mut(claim);
                let ClaimState::Due { transaction } = found.state else {
                    panic!("only what is paid is served, and once");
                };
                found.state = ClaimState::Served { transaction };
                found.delivery = Some(*delivery);
            }
            Event::ClaimReleased { claim } => {
                self.claim_mut(claim).state = ClaimState::Released;
            }
            Event::ClaimDied { claim, loss } => self.end_claim(claim, *loss),
            Event::RefundBegun { claim } => {
                let found = self.claim_mut(claim);
                let ClaimState::Due { transaction } = found.state else {
                    panic!("only what is due is paid back");
                };
                found.state = ClaimState::Refunding { transaction };
            }
            Event::Refunded { claim, .. } => {
                let found = self.claim_mut(claim);
                let refunding = matches!(found.state, ClaimState::Refunding { .. });
                assert!(refunding, "a claim is paid back once, and not served then");
                found.state = ClaimState::Refunded;
            }
            _ => unreachable!("evolve passes claims' events only"),
        }
    }

    /// It can settle no more: what was served for it on credit is lost.
    fn end_claim(&mut self, claim: &AuthorizationKey, loss: Amount) {
        let found = self.claim_mut(claim);
        if found.state == ClaimState::Credited {
            assert_eq!(loss, found.accepted.amount, "what was served is what is lost");
            found.state = ClaimState::Lost;
            self.lose_credit(claim, loss);
        } else {
            found.state = ClaimState::Dead;
        }
    }

    fn claim_mut(&mut self, claim: &AuthorizationKey) -> &mut Claim {
        self.claims.get_mut(claim).expect("an event names a known claim")
    }

    /// Forgets ended claims whose authorization can settle no more; an open one waits another while.
    fn forget_claims(&mut self, at: Timestamp) {
        for _ in 0..FORGET_MAX {
            let Some(&(forget_at, key)) = self.forgettable.first() else { return };
            if forget_at > at.as_secs() {
                return;
            }
            self.forgettable.pop_first();
            let Some(claim) = self.claims.get(&key) else { continue };
            // Bound again with a later time limit: that one counts, and stands here as well.
            if forget_at < forget_at_s(&claim.accepted) {
                continue;
            }
            if claim.is_open() {
                let later = at.as_secs().saturating_add(CLAIM_MEMORY.as_secs());
                self.forgettable.insert((later, key));
            } else {
                self.claims.remove(&key);
            }
        }
    }
}

/// When a claim may be forgotten, once it has ended.
const fn forget_at_s(accepted: &Accepted) -> u64 {
    accepted.commitment.valid_before_s.saturating_add(CLAIM_MEMORY.as_secs())
}
