//! Tabs of channels whose rest is on its way back: nothing is charged on what may be gone.

use super::fixture::*;
use super::tabs::{ID, Shop, units};
use crate::domain::ledger::Rejection;
use crate::domain::ledger::tab::TabCommand;

const GIVE: TabCommand = TabCommand::GiveBack { channel: ID, refunds: 4 };
const GIVEN: TabCommand = TabCommand::GivenBack { channel: ID };

/// It is the journal that says so: the process that sent it may be gone.
#[test]
fn e04_nothing_is_charged_on_a_channel_from_the_moment_that_its_rest_is_to_go_back() {
    let mut shop = Shop::new(200);
    shop.charge(0, 10, 10).unwrap();
    shop.ask(GIVE).unwrap();
    assert_eq!(shop.tab().giving_back, Some(4));
    assert_eq!(code(shop.charge(10, 10, 20)), "ledger.channel_busy");
    assert_eq!(code(shop.step(10, 10, 20)), "ledger.channel_busy");
    assert_eq!(code(shop.lend(10, 5)), "ledger.channel_busy");
    shop.look(10, 10).unwrap();
    assert_eq!(code(shop.charge(10, 10, 20)), "ledger.channel_busy", "until it is said to be gone");
    shop.ask(GIVEN).unwrap();
    assert_eq!(code(shop.charge(10, 10, 20)), "ledger.channel_empty");
}

#[test]
fn what_is_owed_is_signed_for_while_the_rest_goes_back() {
    let mut shop = Shop::new(200);
    shop.charge(0, 10, 10).unwrap();
    shop.lend(10, 5).unwrap();
    shop.ask(GIVE).unwrap();
    shop.cover(15).unwrap();
    assert_eq!(shop.tab().claimable(), units(15));
}

#[test]
fn it_begins_once_and_ends_once() {
    let mut shop = Shop::new(200);
    assert_eq!(shop.ask(GIVEN), Err(Rejection::Unchanged));
    shop.ask(GIVE).unwrap();
    let later = TabCommand::GiveBack { channel: ID, refunds: 5 };
    assert_eq!(shop.ask(later), Err(Rejection::Unchanged));
    assert_eq!(shop.tab().giving_back, Some(4), "what was sent first may come last");
    shop.ask(GIVEN).unwrap();
    assert_eq!(shop.ask(GIVEN), Err(Rejection::Unchanged));
    shop.charge(0, 10, 10).unwrap();
}
