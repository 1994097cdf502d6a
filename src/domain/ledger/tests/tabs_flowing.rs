//! Tabs of calls that are paid while they flow.

use super::fixture::*;
use super::tabs::{Shop, units};
use crate::domain::ledger::books::BookAccount;

#[test]
fn a_call_that_flows_is_charged_step_by_step_and_counts_once() {
    let mut shop = Shop::new(100);
    shop.charge(0, 10, 20).unwrap();
    shop.step(10, 0, 30).unwrap();
    assert_eq!(shop.tab().charged, units(10), "nothing was delivered when its voucher came");
    shop.step(10, 20, 50).unwrap();
    shop.end(10, 25, 50).unwrap();
    let tab = shop.tab();
    assert_eq!((tab.charged, tab.calls), (units(35), 2));
    assert_eq!(tab.last.map(|last| (last.base, last.amount, last.flows)), {
        Some((units(10), units(25), false))
    });
    assert_eq!(shop.books(BookAccount::Claimable), 35);
    shop.charge(35, 5, 60).unwrap();
}

#[test]
fn neither_the_charge_nor_the_voucher_of_a_call_that_flows_falls() {
    let mut shop = Shop::new(100);
    shop.step(0, 0, 20).unwrap();
    shop.step(0, 15, 40).unwrap();
    assert_eq!(code(shop.step(0, 14, 50)), "ledger.amount_mismatch");
    assert_eq!(code(shop.step(0, 15, 39)), "ledger.amount_mismatch");
    assert_eq!(code(shop.step(5, 15, 50)), "ledger.amount_mismatch");
    assert_eq!(code(shop.step(0, 41, 40)), "ledger.channel_empty");
    assert_eq!(code(shop.end(0, 101, 200)), "ledger.channel_empty", "no more lies there");
    shop.end(0, 40, 40).unwrap();
    assert_eq!(code(shop.step(0, 41, 60)), "ledger.amount_mismatch", "it has ended");
}

#[test]
fn a_call_that_broke_is_charged_for_what_was_written_and_another_goes_on_from_there() {
    let mut shop = Shop::new(100);
    shop.step(0, 0, 20).unwrap();
    shop.step(0, 12, 40).unwrap();
    // Nobody ended it: the next call goes on where its last step did.
    shop.charge(12, 5, 17).unwrap();
    assert_eq!((shop.tab().charged, shop.tab().calls), (units(17), 2));
}
