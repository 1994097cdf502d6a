//! The audit of what a ledger did: it agrees with a ledger that keeps to its rules, and tells by how much one
//! that did not had passed them.

use super::fixture::*;
use crate::domain::ledger::Event;
use crate::domain::ledger::audit::Audit;
use crate::domain::ledger::budget::{AccountKey, BudgetNo};
use crate::domain::money::Nano;
use crate::domain::time::Timestamp;

pub fn audit(log: &[(Timestamp, Event)]) -> Audit {
    let mut audit = Audit::default();
    for (at, event) in log {
        audit.see(*at, event);
    }
    audit
}

/// What an audit finds of a log in which one budget allowed nothing, and all others everything: the most that
/// ever counted in one account of it as something was placed there.
pub fn peak(log: &[(Timestamp, Event)], strict: BudgetNo) -> u64 {
    let limit = |budget| Nano::new(if budget == strict { 0 } else { u64::MAX });
    let mut log = log.to_vec();
    for (_, event) in &mut log {
        match event {
            Event::PolicyApplied { budgets, .. } => {
                for (number, def) in budgets {
                    def.limit = limit(*number);
                }
            }
            Event::Delegated { terms, .. } => terms.limit = limit(AccountKey::DELEGATION),
            _ => {}
        }
    }
    audit(&log).over_limit().get()
}

#[test]
fn what_passes_a_cap_by_one_is_told_as_one() {
    let mut desk = Desk::new(vec![pool(100)]);
    desk.hold("ann", 60).unwrap();
    desk.hold("ann", 40).unwrap();
    assert_eq!(audit(&desk.log).over_limit(), Nano::ZERO, "a cap that is met is not passed");
    for (_, event) in &mut desk.log {
        if let Event::PolicyApplied { budgets, .. } = event {
            budgets[0].1.limit = Nano::new(99);
        }
    }
    let found = audit(&desk.log);
    assert_eq!((found.over_limit(), found.open(), found.payments()), (Nano::new(1), 2, 0));
}

#[test]
fn an_account_that_nobody_announced_allows_nothing() {
    let mut desk = Desk::new(vec![pool(100)]);
    desk.hold("ann", 60).unwrap();
    desk.log.retain(|(_, event)| !matches!(event, Event::PolicyApplied { .. }));
    assert_eq!(audit(&desk.log).over_limit(), Nano::new(60));
}
