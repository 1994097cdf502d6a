//! Policies: what a new one keeps, and what it never lets through.

use super::fixture::*;
use crate::domain::ledger::budget::{BudgetDef, Per, Selector};
use crate::domain::ledger::window::{CalendarUnit, WindowSpec};
use crate::domain::ledger::{Event, Rejection};
use crate::domain::money::Nano;

fn numbers(applied: Event) -> Vec<u32> {
    match applied {
        Event::PolicyApplied { budgets, .. } => budgets.iter().map(|(no, _)| no.0).collect(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn f19_a_lowered_cap_lets_nothing_in_and_nothing_that_was_held_is_lost() {
    let mut desk = Desk::new(vec![pool(100)]);
    let spent = desk.hold("ann", 30).unwrap();
    desk.capture(spent).unwrap();
    let held = desk.hold("ann", 40).unwrap();
    desk.policy(vec![pool(50)]).unwrap();
    assert_eq!(desk.numbers("pool"), (30, 40));
    assert_eq!(desk.account("pool").left(), Nano::ZERO);
    assert_eq!(code(desk.hold("ann", 1)), "ledger.over_budget");
    // What was held runs out by its own rules, over the cap or not.
    desk.doubt(held).unwrap();
    desk.capture(held).unwrap();
    assert_eq!(desk.numbers("pool"), (70, 0));
    assert_eq!(code(desk.hold("ann", 1)), "ledger.over_budget");
    desk.expire(held, START_S + 1000).unwrap();
    assert_eq!(desk.numbers("pool"), (30, 0));
    assert_eq!(code(desk.hold("ann", 21)), "ledger.over_budget");
    desk.hold("ann", 20).unwrap();
}

#[test]
fn an_ask_allowed_by_a_former_policy_is_refused() {
    let mut desk = Desk::new(vec![pool(100)]);
    let ask = desk.ask("ann", 1);
    desk.policy(vec![pool(1000)]).unwrap();
    match desk.place(ask) {
        Err(Rejection::StalePolicy { current: 2, asked: 1 }) => {}
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_budget_keeps_its_number_and_its_account_while_only_its_limit_changes() {
    let mut desk = Desk::new(vec![]);
    let day = |zone| calendar(CalendarUnit::Day, zone);
    let fleet = |per, limit, window| budget("fleet", Selector::Fleet, per, limit, window);
    let ann = Selector::Agent(agent_id("ann"));
    let table = [
        (vec![fleet(Per::All, 10, day("UTC"))], vec![0]),
        (vec![fleet(Per::All, 20, day("UTC"))], vec![0]),
        (vec![fleet(Per::All, 20, day("Europe/Berlin"))], vec![1]),
        (vec![fleet(Per::Agent, 20, day("UTC"))], vec![2]),
        (vec![budget("fleet", ann, Per::All, 20, day("UTC"))], vec![3]),
        (vec![budget("flock", Selector::Fleet, Per::All, 20, day("UTC"))], vec![4]),
        (vec![fleet(Per::All, 30, day("UTC")), pool(5)], vec![0, 5]),
        (vec![pool(6), fleet(Per::All, 30, day("UTC"))], vec![5, 0]),
    ];
    for (budgets, expected) in table {
        assert_eq!(numbers(desk.policy(budgets.clone()).unwrap()), expected, "{budgets:?}");
        assert_eq!(code(desk.policy(budgets)), "ledger.unchanged");
    }
}

#[test]
fn a_budget_that_comes_back_still_knows_what_was_spent() {
    let mut desk = Desk::new(vec![pool(100)]);
    let first = desk.hold("ann", 60).unwrap();
    let other = budget("other", Selector::Fleet, Per::All, 100, WindowSpec::Lifetime);
    desk.policy(vec![other]).unwrap();
    assert!(desk.accounts("pool").len() <= 1);
    desk.hold("ann", 100).unwrap();
    desk.capture(first).unwrap();
    desk.policy(vec![pool(100)]).unwrap();
    assert_eq!(desk.numbers("pool"), (60, 0));
    assert_eq!(code(desk.hold("ann", 41)), "ledger.over_budget");
}

/// The configuration is checked before it comes here, yet what stood in a policy was believed: one
/// budget given twice put a hold twice into one account, and a cap above what is counted overflowed;
/// both stopped the machine at an event that every restart would have read again.
#[test]
fn a_policy_that_could_not_be_kept_is_refused() {
    let twice = |limit| budget("pool", Selector::Fleet, Per::All, limit, WindowSpec::Lifetime);
    let table: Vec<(Vec<BudgetDef>, &str)> = vec![
        (vec![pool(100), twice(100)], "ledger.name_taken"),
        (vec![pool(100), twice(50)], "ledger.name_taken"),
        (vec![pool(Nano::MAX.get() + 1)], "ledger.nano_out_of_range"),
        (
            vec![budget("day", Selector::Fleet, Per::All, 1, calendar(CalendarUnit::Day, "Mars"))],
            "ledger.bad_window",
        ),
        (vec![budget("none", Selector::Fleet, Per::All, 1, span(0))], "ledger.bad_window"),
    ];
    let mut desk = Desk::new(vec![pool(1)]);
    for (budgets, expected) in table {
        assert_eq!(code(desk.policy(budgets)), expected);
    }
    desk.policy(vec![pool(Nano::MAX.get())]).unwrap();
}
