//! Delegated budgets: fan-out cannot multiply spend.

use super::fixture::*;
use crate::domain::ledger::Rejection;
use crate::domain::ledger::budget::{Per, Selector};
use crate::domain::ledger::state::DELEGATION_DEPTH_MAX;
use crate::domain::ledger::window::WindowSpec;
use crate::domain::money::Nano;

const LATER: u64 = START_S + 1_000_000;

#[test]
fn a_sub_agent_spends_from_its_own_budget_and_from_every_one_of_its_parents() {
    let each = budget("each", Selector::Fleet, Per::Agent, 50, WindowSpec::Lifetime);
    let anns = budget("ann", Selector::Agent(agent_id("ann")), Per::All, 40, WindowSpec::Lifetime);
    let mut desk = Desk::new(vec![pool(100), each, anns]);
    desk.delegate("ann", "kid", 30, LATER).unwrap();
    desk.delegate("kid", "tot", 20, LATER).unwrap();
    assert_eq!(code(desk.hold("tot", 21)), "ledger.over_budget");
    desk.hold("tot", 20).unwrap();
    for label in ["pool", "each", "ann"] {
        assert_eq!(desk.numbers(label), (0, 20), "{label}");
    }
    let own: Vec<u64> = desk.accounts("delegation").iter().map(|check| check.held.get()).collect();
    assert_eq!(own, [20, 20]);
    // The middle one has 10 left of its own, and the root 20 of what is capped for it.
    assert_eq!(code(desk.hold("kid", 11)), "ledger.over_budget");
    let kids = desk.hold("kid", 10).unwrap();
    assert_eq!(code(desk.hold("ann", 11)), "ledger.over_budget");
    desk.hold("ann", 10).unwrap();
    assert_eq!(code(desk.hold("tot", 1)), "ledger.over_budget");
    desk.void(kids).unwrap();
    assert_eq!(code(desk.hold("tot", 1)), "ledger.over_budget");
    desk.hold("kid", 10).unwrap();
}

#[test]
fn f11_a_thousand_children_cannot_pass_their_parents_cap() {
    let each = budget("each", Selector::Fleet, Per::Agent, 100, WindowSpec::Lifetime);
    let mut desk = Desk::new(vec![each]);
    let mut placed = 0;
    for child in 0..1000 {
        let child = format!("kid-{child}");
        desk.delegate("ann", &child, 100, LATER).unwrap();
        while desk.hold(&child, 7).is_ok() {
            placed += 7;
        }
    }
    assert_eq!(placed, 98);
    assert_eq!(desk.numbers("each"), (0, 98));
    desk.hold("kid-999", 2).unwrap();
    assert_eq!(code(desk.hold("ann", 1)), "ledger.over_budget");
}

#[test]
fn a_delegation_ends_for_the_sub_agent_and_for_all_beneath_it() {
    let mut desk = Desk::new(vec![pool(100)]);
    let end = START_S + 60;
    desk.delegate("ann", "kid", 50, end).unwrap();
    desk.delegate("kid", "tot", 50, LATER).unwrap();
    desk.at(end - 1);
    let open = desk.hold("kid", 1).unwrap();
    desk.hold("tot", 1).unwrap();
    desk.at(end);
    for child in ["kid", "tot"] {
        match desk.hold(child, 1) {
            Err(Rejection::DelegationEnded { agent, ended }) => {
                assert_eq!((agent, ended.as_secs()), (agent_id("kid"), end));
            }
            other => panic!("{other:?}"),
        }
    }
    desk.capture(open).unwrap();
    desk.hold("ann", 1).unwrap();
}

#[test]
fn delegations_nest_to_their_bound_and_no_deeper() {
    let mut desk = Desk::new(vec![pool(100)]);
    let mut parent = "ann".to_owned();
    for depth in 1..=DELEGATION_DEPTH_MAX {
        let child = format!("kid-{depth}");
        desk.delegate(&parent, &child, 50, LATER).unwrap();
        parent = child;
    }
    assert_eq!(code(desk.delegate(&parent, "last", 50, LATER)), "ledger.too_deep");
    desk.hold(&parent, 50).unwrap();
    assert_eq!(desk.accounts("delegation").len(), DELEGATION_DEPTH_MAX);
    assert_eq!(desk.numbers("pool"), (0, 50));
}

#[test]
fn a_delegation_is_checked_when_it_is_made() {
    let mut desk = Desk::new(vec![pool(100)]);
    assert_eq!(code(desk.delegate("nobody", "kid", 50, LATER)), "ledger.unknown_agent");
    assert_eq!(code(desk.delegate("ann", "ann", 50, LATER)), "ledger.name_taken");
    assert_eq!(code(desk.delegate("ann", "kid", 0, LATER)), "ledger.nano_out_of_range");
    let above = Nano::MAX.get() + 1;
    assert_eq!(code(desk.delegate("ann", "kid", above, LATER)), "ledger.nano_out_of_range");
    assert_eq!(code(desk.delegate("ann", "kid", 50, START_S)), "ledger.delegation_ended");
    desk.delegate("ann", "most", Nano::MAX.get(), LATER).unwrap();
    desk.delegate("ann", "kid", 50, LATER).unwrap();
    assert_eq!(code(desk.delegate("ann", "kid", 50, LATER)), "ledger.name_taken");
    let kid = desk.ledger.find_agent(agent_id("kid")).unwrap();
    assert_eq!(
        (kid.role.as_str(), kid.group.as_str(), kid.wallet.as_str()),
        ("scout", "red", "main")
    );
}

#[test]
fn a_delegated_budget_alone_is_no_cap() {
    let mut desk = Desk::new(vec![]);
    desk.delegate("ann", "kid", 50, LATER).unwrap();
    assert_eq!(code(desk.hold("kid", 1)), "ledger.no_budget");
}
