//! Tabs as they are kept: opened once, listed by name, and read from journals of before.

use super::fixture::*;
use super::tabs::{ID, Shop, units};
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
