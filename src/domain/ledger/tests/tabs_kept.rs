//! Tabs as they are kept: opened once, listed by name, and read from journals of before.

use super::fixture::*;
use super::tabs::{ID, Shop, standing, units};
use crate::domain::channel::ChannelId;
use crate::domain::ledger::books::{BookAccount, Commodity};
use crate::domain::ledger::tab::{Standing, TabCommand, TabEvent, TabSeen};
use crate::domain::ledger::{Event, Rejection};
use crate::domain::money::{Amount, Money};

#[test]
fn a_tab_is_opened_once_and_listed_by_its_channels_name() {
    let mut shop = Shop::new(0);
    let terms = shop.tab().terms;
    let [before, after] = [0xc0, 0xc2].map(|byte| ChannelId([byte; 32].into()));
    for channel in [after, before] {
        shop.ask(TabCommand::Open { channel, terms }).unwrap();
    }
    shop.look(20, 0).unwrap();
    let again = TabCommand::Open { channel: ID, terms };
    assert_eq!(shop.ask(again), Err(Rejection::Unchanged));
    let ledger = &shop.0.ledger;
    let names: Vec<_> = ledger.tabs().map(|tab| tab.id).collect();
    assert_eq!(names, [before, ID, after]);
    let rest: Vec<_> = ledger.tabs_after(ID).map(|tab| tab.id).collect();
    assert_eq!(rest, [after]);
}

/// Until their format 3 journals had one event for both: it is looked at, and counted.
#[test]
fn what_former_journals_saw_is_what_calls_are_served_on_and_what_was_earned() {
    let mut shop = Shop::new(100);
    shop.charge(0, 30, 30).unwrap();
    let money = |n| Money { amount: units(n), asset: asset() };
    let seen = TabEvent::Seen(Box::new(TabSeen {
        channel: ID,
        balance: units(90),
        claimed: units(20),
        withdrawable_at_s: Some(7),
        transaction: None,
        gained: money(20),
        stray: money(0),
        lost: money(1),
    }));
    let at = shop.0.now.next();
    shop.0.ledger.evolve(at, &Event::Tab(seen));
    let tab = shop.tab();
    let shown = Standing { balance: units(90), claimed: units(20) };
    assert_eq!((tab.newest, tab.counted), (shown, shown));
    assert_eq!((tab.unearned, tab.lost), (units(9), units(1)));
    assert_eq!(tab.withdrawable_at_s, Some(7));
    let earned = shop.0.ledger.books().find(Commodity::Asset(asset()), BookAccount::Earned);
    assert_eq!(earned.debits - earned.credits, 20);
    assert_eq!(tab.rest(), Amount::new(60));
}

/// The journal keeps these names.
#[test]
fn what_happens_on_a_tab_is_called_by_its_name() {
    let mut shop = Shop::new(0);
    let mut kinds = vec![shop.0.log.last().unwrap().1.kind()];
    kinds.push(shop.look(200, 0).unwrap().kind());
    kinds.push(shop.count(200, 0, 0).unwrap().kind());
    kinds.push(shop.step(0, 5, 10).unwrap().kind());
    kinds.push(shop.charge(5, 5, 10).unwrap().kind());
    kinds.push(shop.lend(10, 5).unwrap().kind());
    kinds.push(shop.cover(15).unwrap().kind());
    kinds.push(shop.ask(TabCommand::GiveBack { channel: ID, refunds: 0 }).unwrap().kind());
    kinds.push(shop.ask(TabCommand::GivenBack { channel: ID }).unwrap().kind());
    let names = [
        "tab_opened",
        "tab_looked",
        "tab_counted",
        "tab_stepped",
        "tab_charged",
        "tab_charged_on_credit",
        "tab_covered",
        "tab_giving_back",
        "tab_given_back",
    ];
    assert_eq!(kinds, names);
}

#[test]
fn a_tab_is_settled_once_all_that_was_charged_was_claimed_on_a_final_block() {
    let mut shop = Shop::new(100);
    assert!(shop.tab().is_settled(), "nothing was charged on it");
    shop.charge(0, 30, 30).unwrap();
    assert!(!shop.tab().is_settled(), "nothing of it was claimed");
    shop.look(100, 30).unwrap();
    assert!(!shop.tab().is_settled(), "no final block shows it");
    shop.count(100, 30, 0).unwrap();
    assert!(shop.tab().is_settled());
}

/// Calls are served on what the newest block shows; only more claims than that tell that it is not the newest.
#[test]
fn a_final_block_takes_the_place_of_the_newest_only_where_it_shows_more_claimed() {
    for (claimed, newest) in [(10, standing(150, 10)), (11, standing(60, 11))] {
        let mut shop = Shop::new(50);
        shop.charge(0, 20, 20).unwrap();
        shop.look(150, 10).unwrap();
        shop.count(60, claimed, 0).unwrap();
        assert_eq!(shop.tab().newest, newest, "{claimed}");
        assert_eq!(shop.charge(20, 60, 80).is_ok(), newest.balance > units(60));
    }
}

/// threats.md E15: it is read from a claim above what was charged before it, and whoever read it keeps it.
#[test]
fn e15_a_voucher_lends_until_a_block_shows_a_claim_that_it_was_in_and_never_after_that() {
    for (claimed, lends) in [(0, true), (9, true), (10, true), (11, false), (20, false)] {
        let mut shop = Shop::new(200);
        shop.charge(0, 10, 10).unwrap();
        shop.charge(10, 10, 20).unwrap();
        shop.look(190, claimed).unwrap();
        assert_eq!(shop.tab().is_voucher_secret(), lends, "{claimed}");
        // The chain may forget the claim, and nobody the voucher.
        shop.look(180, 0).unwrap();
        assert_eq!(shop.lend(20, 1).is_ok(), lends, "{claimed}");
    }
}
