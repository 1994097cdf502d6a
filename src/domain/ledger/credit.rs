//! Credit: what was served before it was paid, within a limit for each payer and one in all.
//!
//! What is outstanding and what is lost count against both limits together, so that what a payee can
//! lose is what it said. Who has not paid once gets none until it has.

use std::collections::BTreeMap;

use alloy::primitives::{Address, B256};
use serde::{Deserialize, Serialize};

use crate::domain::asset::Asset;
use crate::domain::commitment::AuthorizationKey;
use crate::domain::ledger::claim::{Claim, ClaimState, Delivery};
use crate::domain::ledger::event::Event;
use crate::domain::ledger::rejection::Rejection;
use crate::domain::ledger::state::Ledger;
use crate::domain::money::Amount;

/// How much may be served unpaid, in atomic units of the asset that it is paid in.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct CreditLimits {
    /// To each payer.
    pub per_payer: Amount,
    /// To all together.
    pub total: Amount,
    /// What the payer owns, by the last final block: more than that it could not pay in any case.
    pub owned: Amount,
}

/// What is served and not paid.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owed {
    /// It can still settle.
    pub outstanding: Amount,
    /// It did not, and is booked as a loss.
    pub lost: Amount,
}

impl Owed {
    /// Both.
    pub fn sum(&self) -> Amount {
        self.outstanding.checked_add(self.lost).expect("amounts are bounded")
    }
}

/// Who owes what. Whoever owes nothing is not remembered.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Credit {
    payers: BTreeMap<(Asset, Address), Owed>,
    totals: BTreeMap<Asset, Owed>,
}

impl Credit {
    /// What `payer` owes.
    pub fn of(&self, asset: Asset, payer: Address) -> Owed {
        self.payers.get(&(asset, payer)).copied().unwrap_or_default()
    }

    /// What everybody owes.
    pub fn total(&self, asset: Asset) -> Owed {
        self.totals.get(&asset).copied().unwrap_or_default()
    }

    pub(super) fn check(
        &self,
        asset: Asset,
        payer: Address,
        amount: Amount,
        limits: &CreditLimits,
    ) -> Result<(), Rejection> {
        let (owed, total) = (self.of(asset, payer), self.total(asset));
        let more = |owed: Owed| owed.sum().checked_add(amount).expect("amounts are bounded");
        let refuse = |limit| Err(Rejection::NoCredit { owed: owed.sum(), limit });
        if !owed.lost.is_zero() {
            return refuse(Amount::ZERO);
        }
        if more(owed) > limits.per_payer {
            return refuse(limits.per_payer);
        }
        if more(total) > limits.total && !planted!("credit_without_a_total") {
            return refuse(limits.total);
        }
        if more(owed) > limits.owned {
            return refuse(limits.owned);
        }
        Ok(())
    }

    /// What a channel's payer owes went from one sum to another; `lost` of it was given up, and `regained`
    /// of what had been is signed for after all.
    pub(super) fn move_owed(
        &mut self,
        key: (Asset, Address),
        (before, after): (Amount, Amount),
        (lost, regained): (Amount, Amount),
    ) {
        if before == after && lost == regained {
            return;
        }
        self.change_of(key, |owed| {
            owed.outstanding = less(more(owed.outstanding, after), before);
            owed.lost = less(more(owed.lost, lost), regained);
        });
    }

    fn change(&mut self, claim: &AuthorizationKey, change: impl Fn(&mut Owed)) {
        self.change_of((claim.asset, claim.payer), change);
    }

    fn change_of(&mut self, key: (Asset, Address), change: impl Fn(&mut Owed)) {
        let owed = self.payers.entry(key).or_default();
        change(owed);
        if *owed == Owed::default() {
            self.payers.remove(&key);
        }
        let total = self.totals.entry(key.0).or_default();
        change(total);
        if *total == Owed::default() {
            self.totals.remove(&key.0);
        }
    }
}

/// `amount` less, of what was counted before.
fn less(counted: Amount, amount: Amount) -> Amount {
    counted.checked_sub(amount).expect("what ends was counted")
}

fn more(counted: Amount, amount: Amount) -> Amount {
    counted.checked_add(amount).expect("amounts are bounded")
}

impl Ledger {
    /// What was served and not paid.
    pub const fn credit(&self) -> &Credit {
        &self.credit
    }

    pub(super) fn decide_serve_on_credit(
        &self,
        found: &Claim,
        delivery: Delivery,
        limits: &CreditLimits,
    ) -> Result<Event, Rejection> {
        let (claim, amount) = (found.accepted.key(), found.accepted.amount);
        match found.state {
            ClaimState::Accepted | ClaimState::Charged => {
                self.credit.check(claim.asset, claim.payer, amount, limits)?;
                Ok(Event::ServedOnCredit { claim, delivery, amount })
            }
            state => Err(Rejection::WrongClaimState { state: state.as_str(), asked: "credited" }),
        }
    }

    /// The event that a settlement of what was served on credit becomes.
    pub(super) fn paid_on_credit(&self, found: &Claim, transaction: B256) -> Event {
        let (claim, amount) = (found.accepted.key(), found.accepted.amount);
        let lost = match found.state {
            ClaimState::Lost => amount,
            _ => Amount::ZERO,
        };
        Event::CreditPaid { claim, amount, transaction, lost }
    }

    pub(super) fn evolve_credit(&mut self, event: &Event) {
        match event {
            Event::ServedOnCredit { claim, delivery, amount } => {
                let found = self.claims.get_mut(claim).expect("an event names a known claim");
                let bound = matches!(found.state, ClaimState::Accepted | ClaimState::Charged);
                assert!(bound, "only what is bound is credited");
                found.state = ClaimState::Credited;
                found.delivery = Some(*delivery);
                self.credit
                    .change(claim, |owed| owed.outstanding = more(owed.outstanding, *amount));
            }
            Event::CreditPaid { claim, amount, transaction, lost } => {
                let found = self.claims.get_mut(claim).expect("an event names a known claim");
                let expected = if lost.is_zero() { ClaimState::Credited } else { ClaimState::Lost };
                assert_eq!(found.state, expected, "a credit is paid once");
                found.state = ClaimState::Served { transaction: *transaction };
                let left = amount.checked_sub(*lost).expect("no more is lost than was served");
                self.credit.change(claim, |owed| {
                    owed.outstanding = less(owed.outstanding, left);
                    owed.lost = less(owed.lost, *lost);
                });
            }
            _ => unreachable!("evolve passes credit's events only"),
        }
    }

    /// What was served on credit and can settle no more.
    pub(super) fn lose_credit(&mut self, claim: &AuthorizationKey, loss: Amount) {
        self.credit.change(claim, |owed| {
            owed.outstanding = less(owed.outstanding, loss);
            owed.lost = more(owed.lost, loss);
        });
    }
}
