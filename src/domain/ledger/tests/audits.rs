//! The audit of what a ledger did: it agrees with a ledger that keeps to its rules, and tells by how much one
//! that did not had passed them.

use std::time::Duration;

use super::channels::Bench;
use super::fixture::*;
use crate::domain::ledger::Event;
use crate::domain::ledger::audit::Audit;
use crate::domain::ledger::budget::{AccountKey, BudgetNo, Per, Selector};
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

#[test]
fn what_leaves_a_rolling_window_counts_no_more_from_that_instant_on() {
    let window = budget("minutes", Selector::Fleet, Per::All, 10, span(600));
    let mut desk = Desk::new(vec![window]);
    let first = desk.hold("ann", 10).unwrap();
    let bucket = desk.ledger.find_hold(first).unwrap().held.seats[0];
    let leaves = bucket.until.after(Duration::from_secs(600));
    desk.now = leaves.before(Duration::from_nanos(2));
    assert_eq!(code(desk.hold("ann", 1)), "ledger.over_budget");
    desk.hold("ann", 10).unwrap();
    assert_eq!(desk.now, leaves);
    assert_eq!(audit(&desk.log).over_limit(), Nano::ZERO);
}

#[test]
fn a_call_on_a_channel_is_paid_once_something_of_it_was_taken() {
    for (charged, numbers) in [(0, (0, 1)), (1, (1, 0)), (50, (1, 0))] {
        let mut bench = Bench::new(100, 600);
        let payment = bench.draw(1, 50, None).unwrap();
        bench.charge(1, payment, charged).unwrap();
        let found = audit(&bench.desk.log);
        assert_eq!((found.payments(), found.open()), numbers, "{charged}");
        assert_eq!(found.captured(asset()), u128::from(charged));
    }
}
