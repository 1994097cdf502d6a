//! What may become of a claim: bound once, settled once, served once.

use alloy::primitives::B256;

use crate::domain::commitment::{AuthorizationKey, Scheme};
use crate::domain::ledger::claim::{Accepted, Claim, ClaimState};
use crate::domain::ledger::command::Command;
use crate::domain::ledger::decide::holds::full;
use crate::domain::ledger::event::Event;
use crate::domain::ledger::rejection::Rejection;
use crate::domain::ledger::state::Ledger;
use crate::domain::money::Amount;
use crate::domain::time::Timestamp;

impl Ledger {
    pub(super) fn decide_claim(
        &self,
        now: Timestamp,
        command: Command,
    ) -> Result<Event, Rejection> {
        match command {
            Command::Accept(accepted) => self.decide_accept(now, accepted),
            Command::DoubtClaim { claim, transaction } => match self.claim(claim)?.state {
                ClaimState::Accepted | ClaimState::Charged => {
                    Ok(Event::ClaimDoubted { claim, transaction })
                }
                ClaimState::Unknown => Err(Rejection::Unchanged),
                state => Err(wrong(state, "doubted")),
            },
            Command::ChargeClaim { claim, amount } => decide_charge(self.claim(claim)?, amount),
            Command::SettleClaim { claim, amount, transaction, moved_at_s } => {
                self.decide_settle(claim, amount, transaction, moved_at_s)
            }
            Command::Serve { claim, delivery } => {
                let found = self.claim(claim)?;
                match found.state {
                    ClaimState::Due { .. } => {
                        Ok(Event::Served { claim, delivery, amount: found.accepted.amount })
                    }
                    state => Err(wrong(state, "served")),
                }
            }
            Command::ServeOnCredit { claim, delivery, limits } => {
                self.decide_serve_on_credit(self.claim(claim)?, delivery, &limits)
            }
            Command::ReleaseClaim { claim } => match self.claim(claim)?.state {
                ClaimState::Unknown if planted!("unknown_is_failed") => {
                    Ok(Event::ClaimReleased { claim })
                }
                ClaimState::Accepted | ClaimState::Charged => Ok(Event::ClaimReleased { claim }),
                state => Err(wrong(state, "released")),
            },
            Command::KillClaim { claim } => match self.claim(claim)?.state {
                // What is served before it is settled is served on credit: this was not.
                ClaimState::Accepted
                | ClaimState::Charged
                | ClaimState::Unknown
                | ClaimState::Released => Ok(Event::ClaimDied { claim, loss: Amount::ZERO }),
                ClaimState::Credited => {
                    Ok(Event::ClaimDied { claim, loss: self.claim(claim)?.accepted.amount })
                }
                state => Err(wrong(state, "given up")),
            },
            Command::BeginRefund { claim } => match self.claim(claim)?.state {
                ClaimState::Due { .. } => Ok(Event::RefundBegun { claim }),
                state => Err(wrong(state, "refunded")),
            },
            Command::Refund { claim, transaction } => {
                let found = self.claim(claim)?;
                match found.state {
                    ClaimState::Refunding { .. } => {
                        Ok(Event::Refunded { claim, transaction, amount: found.accepted.amount })
                    }
                    state => Err(wrong(state, "refunded")),
                }
            }
            other => unreachable!("decide passes claims' commands only, not {other:?}"),
        }
    }

    fn decide_settle(
        &self,
        claim: AuthorizationKey,
        amount: Amount,
        transaction: B256,
        moved_at_s: u64,
    ) -> Result<Event, Rejection> {
        let found = self.claim(claim)?;
        let claimed = found.accepted.amount;
        if claimed != amount && !planted!("any_transfer_settles") {
            return Err(Rejection::AmountMismatch { claimed, moved: amount });
        }
        if !found.may_be_paid_by(moved_at_s) && !planted!("old_transfer_settles") {
            let accepted_at_s = found.accepted_at.as_secs();
            return Err(Rejection::MovedBefore { accepted_at_s, moved_at_s });
        }
        match found.state {
            // A released or dead claim can settle all the same, where the signature was in other hands:
            // then the money is ours, and it is due.
            ClaimState::Accepted
            | ClaimState::Charged
            | ClaimState::Unknown
            | ClaimState::Released
            | ClaimState::Dead => Ok(Event::ClaimSettled { claim, amount, transaction }),
            ClaimState::Credited | ClaimState::Lost => Ok(self.paid_on_credit(found, transaction)),
            state @ (ClaimState::Due { .. }
            | ClaimState::Served { .. }
            | ClaimState::Refunding { .. }
            | ClaimState::Refunded) => Err(wrong(state, "settled")),
        }
    }

    fn claim(&self, claim: AuthorizationKey) -> Result<&Claim, Rejection> {
        self.find_claim(&claim).ok_or(Rejection::UnknownClaim(claim))
    }

    /// Binding is the accept: the first request that an authorization pays is the only one.
    fn decide_accept(&self, now: Timestamp, accepted: Box<Accepted>) -> Result<Event, Rejection> {
        let key = accepted.key();
        let amount = accepted.amount;
        if amount.is_zero() || amount > Amount::MAX {
            return Err(Rejection::AmountOutOfRange { amount });
        }
        // `exact` takes just what was authorized.
        let authorized = accepted.commitment.amount_max;
        if amount != authorized {
            return Err(Rejection::AmountMismatch { claimed: amount, moved: authorized });
        }
        // A claim is forgotten some time after this limit, so past it nothing is taken for new.
        let now_s = now.as_secs();
        if now_s >= accepted.commitment.valid_before_s && !planted!("dead_authorization_accepted") {
            return Err(wrong(ClaimState::Dead, "accepted"));
        }
        match self.find_claim(&key) {
            None if self.claims.len() >= self.bounds.claims_max => {
                Err(full("claims", self.bounds.claims_max))
            }
            None => Ok(Event::Accepted(accepted)),
            Some(_) if planted!("authorization_bound_twice") => Ok(Event::Accepted(accepted)),
            Some(found) if found.accepted.fingerprint != accepted.fingerprint => {
                Err(Rejection::BoundElsewhere(key))
            }
            Some(found) => match found.state {
                ClaimState::Released => Ok(Event::Accepted(accepted)),
                state => Err(wrong(state, "accepted")),
            },
        }
    }
}

/// What is charged is said once, before anything is asked of the rail, and is never above the maximum.
fn decide_charge(found: &Claim, amount: Amount) -> Result<Event, Rejection> {
    let (claim, commitment) = (found.accepted.key(), &found.accepted.commitment);
    match found.state {
        ClaimState::Accepted if matches!(commitment.scheme, Scheme::Upto { .. }) => {
            let authorized = commitment.amount_max;
            if amount > authorized && !planted!("charged_above_the_maximum") {
                return Err(Rejection::AmountMismatch { claimed: amount, moved: authorized });
            }
            Ok(Event::ClaimCharged { claim, amount })
        }
        state => Err(wrong(state, "charged")),
    }
}

fn wrong(state: ClaimState, asked: &'static str) -> Rejection {
    Rejection::WrongClaimState { state: state.as_str(), asked }
}
