//! Where what is asked of a channel is just taken, and where it just is not.

use super::channels::{Bench, id, opened, units};
use super::fixture::*;
use crate::domain::channel::Deposit;
use crate::domain::id::{PaymentId, WalletId};
use crate::domain::ledger::Rejection;
use crate::domain::ledger::budget::{Per, Selector};
use crate::domain::ledger::channel::{
    ChannelCaps, ChannelCommand, ChannelEvent, ChannelState, DrawAsk, Frozen, Opened,
};
use crate::domain::ledger::command::HoldAsk;
use crate::domain::ledger::window::{CalendarUnit, WindowSpec};
use crate::domain::money::{Amount, Nano};

/// Asks for a deposit that no cap refuses.
fn deposit(bench: &mut Bench, amount: u128, nano: u64) -> Result<ChannelEvent, Rejection> {
    let deposit = Deposit {
        amount: Amount::new(amount),
        nano: Nano::new(nano),
        nonce: number(700),
        salt: number(701),
        valid_before_s: bench.desk.now.as_secs() + LIFE_S,
    };
    let caps = ChannelCaps { provider: Nano::MAX, total: Nano::MAX };
    let policy_version = bench.desk.ledger.policy().version;
    bench.ask(ChannelCommand::Deposit { channel: id(1), deposit, caps, policy_version })
}

#[test]
fn a_deposit_is_of_something_and_of_no_more_than_can_be_counted() {
    let (most, most_nano) = (Amount::MAX.get(), Nano::MAX.get());
    let (amount, nano) = (Some("ledger.amount_out_of_range"), Some("ledger.nano_out_of_range"));
    // What was put in before, what is put in, what that counts; the refusal's code.
    let table = [
        (0, 0, 1, amount),
        (0, 1, 1, None),
        (0, most, 1, None),
        (0, most + 1, 1, amount),
        (1, most - 1, 1, None),
        (1, most, 1, amount),
        (0, 1, 0, nano),
        (0, 1, most_nano, None),
        (0, 1, most_nano + 1, nano),
    ];
    for (before, units, counts, refused) in table {
        let mut bench = Bench::new(100, before);
        bench.desk.fund_most();
        let asked = deposit(&mut bench, units, counts);
        match refused {
            Some(refused) => assert_eq!(code(asked), refused, "{before} {units} {counts}"),
            None => assert!(asked.is_ok(), "{before} {units} {counts}: {asked:?}"),
        }
    }
}

#[test]
fn a_further_portion_is_of_something_and_of_no_more_than_can_be_counted() {
    let (most, out) = (Amount::MAX.get(), "ledger.amount_out_of_range");
    for (amount, refused) in [(0, out), (most, "ledger.channel_empty"), (most + 1, out)] {
        let mut bench = Bench::new(100, 600);
        let payment = bench.draw(1, 10, None).unwrap();
        let mut ask = HoldAsk { payment, ..bench.call(1, 1) };
        ask.commitment.amount_max = Amount::new(amount);
        let ask = Box::new(DrawAsk { ask, channel: id(1), last: None, fund: None });
        assert_eq!(code(bench.ask(ChannelCommand::Extend(ask))), refused, "{amount}");
        bench.extend(1, payment, 1).unwrap();
    }
}

#[test]
fn a_channel_is_paid_from_its_own_wallets_address() {
    let mut bench = Bench::new(100, 0);
    bench.desk.wallet("side", 0);
    let foreign = Opened { wallet: WalletId::named(&name("side")), ..opened(2) };
    let asked = bench.ask(ChannelCommand::Open(Box::new(foreign)));
    assert_eq!(asked, Err(Rejection::ForeignWallet { wallet: name("side") }));
    bench.open(2);
    let again = ChannelCommand::Open(Box::new(opened(2)));
    assert_eq!(bench.ask(again), Err(Rejection::Unchanged));
}

/// What was charged is what this ledger knows or more, within the voucher; that is within what lies there.
#[test]
fn e13_a_voucher_is_taken_over_up_to_all_that_lies_there() {
    for (charged, ceiling) in [(100, 101), (101, 101), (100, 1_000), (1_000, 1_000)] {
        let mut bench = Bench::new(10_000, 1_000);
        let known = bench.draw(1, 100, None).unwrap();
        bench.charge(1, known, 100).unwrap();
        let (charged, ceiling) = (units(charged), units(ceiling));
        bench.ask(ChannelCommand::Resync { channel: id(1), charged, ceiling }).unwrap();
        let found = bench.desk.ledger.find_channel(id(1)).unwrap();
        assert_eq!((found.charged, found.ceiling), (charged, ceiling));
    }
}

#[test]
fn no_block_shows_more_than_came_in_less_than_was_claimed_or_more_claimed_than_lies_there() {
    let mut bench = Bench::new(1_000, 600);
    let payment = bench.draw(1, 600, None).unwrap();
    bench.charge(1, payment, 20).unwrap();
    bench.see(1, 600, 20).unwrap();
    for (balance, claimed) in [(601, 20), (600, 19), (600, 601), (300, 301)] {
        assert_eq!(code(bench.see(1, balance, claimed)), "ledger.channel_mismatch", "{claimed}");
    }
    bench.see(1, 600, 600).unwrap();
}

#[test]
fn a_payment_is_found_on_its_channel_while_some_of_it_may_be_drawn() {
    let mut bench = Bench::new(100, 600);
    let payment = bench.draw(1, 50, None).unwrap();
    let found = |bench: &Bench| {
        let draw = bench.desk.ledger.find_draw(payment);
        draw.map(|(channel, held)| (channel.opened.id, held.payment))
    };
    assert_eq!(found(&bench), Some((id(1), payment)));
    bench.charge(1, payment, 20).unwrap();
    assert_eq!(found(&bench), Some((id(1), payment)), "its voucher is out there still");
    let stolen = HoldAsk { payment, ..bench.desk.ask("ann", 1) };
    assert_eq!(code(bench.desk.place(stolen)), "ledger.payment_taken");
    bench.see(1, 600, 50).unwrap();
    assert_eq!(found(&bench), None);
}

#[test]
fn an_event_names_the_payments_alone_that_it_takes_of_or_gives_back() {
    let mut bench = Bench::new(100, 600);
    let first = bench.draw(1, 50, None).unwrap();
    let named = |event: ChannelEvent| -> Vec<PaymentId> {
        event.turns().iter().map(|turn| turn.payment).collect()
    };
    assert_eq!(named(bench.charge(1, first, 0).unwrap()), [], "it cost nothing, and stays held");
    let second = bench.draw(1, 20, None).unwrap();
    assert_eq!(named(bench.charge(1, second, 5).unwrap()), [second]);
    assert_eq!(named(bench.see(1, 600, 40).unwrap()), [first, second]);
}

/// What was signed above what lies there is void only once nothing is ever put in again.
#[test]
fn what_was_signed_on_a_deposit_that_never_came_stays_held_while_another_may_come() {
    let mut bench = Bench::new(1_000, 40);
    let valid_before_s = bench.desk.now.as_secs() + LIFE_S;
    bench.deposit(1, 30).unwrap();
    let call = bench.draw(1, 60, None).unwrap();
    bench.charge(1, call, 32).unwrap();
    let block = block(valid_before_s);
    bench.ask(ChannelCommand::ExpireDeposit { channel: id(1), block }).unwrap();
    bench.see(1, 40, 20).unwrap();
    assert_eq!(bench.state(1), ChannelState::Open);
    assert_eq!(bench.numbers(), (32, 28));
    bench.deposit(1, 30).unwrap();
    bench.confirm(1).unwrap();
    bench.see(1, 70, 60).unwrap();
    assert_eq!(bench.numbers(), (60, 0), "the voucher was good in the end");
}

/// An ask of `agent` for a call on channel 1.
fn ask_of(bench: &mut Bench, agent: &str, amount: u64) -> ChannelCommand {
    let (agent, ask) = (agent_id(agent), bench.call(1, amount));
    let payment = PaymentId::derive(agent, ask.request, 0);
    let ask = HoldAsk { agent, payment, ..ask };
    ChannelCommand::Draw(Box::new(DrawAsk { ask, channel: id(1), last: None, fund: None }))
}

#[test]
fn what_a_voucher_covers_makes_room_in_the_accounts_that_it_was_held_in_and_in_no_other() {
    let mut bench = Bench::new(100, 600);
    let each = budget("each", Selector::Fleet, Per::Agent, 100, WindowSpec::Lifetime);
    bench.desk.policy(vec![pool(1_000), each]).unwrap();
    bench.desk.agent("bob", "scout", "red", "main");
    let first = bench.draw(1, 90, None).unwrap();
    bench.charge(1, first, 10).unwrap();
    bench.desk.hold("bob", 20).unwrap();
    // It covers 80 that count in ann's account: bob's has 80 left, as before.
    let above = ask_of(&mut bench, "bob", 81);
    assert_eq!(code(bench.ask(above)), "ledger.over_budget");
    let just = ask_of(&mut bench, "bob", 80);
    bench.ask(just).unwrap();
    let mut held: Vec<_> = bench.desk.accounts("each").iter().map(|it| it.held.get()).collect();
    held.sort();
    assert_eq!((held, bench.numbers()), (vec![0, 100], (10, 100)));
}

#[test]
fn what_a_voucher_covers_makes_room_in_the_window_that_it_was_held_in_and_in_no_later_one() {
    let mut bench = Bench::new(100, 600);
    let day = calendar(CalendarUnit::Day, "UTC");
    bench.desk.policy(vec![budget("day", Selector::Fleet, Per::All, 100, day)]).unwrap();
    let first = bench.draw(1, 90, None).unwrap();
    bench.charge(1, first, 10).unwrap();
    bench.desk.wait(24 * 3600);
    bench.desk.hold("ann", 20).unwrap();
    assert_eq!(code(bench.draw(1, 81, None)), "ledger.over_budget");
    bench.draw(1, 80, None).unwrap();
    assert_eq!(bench.desk.numbers("day"), (0, 100));
}

#[test]
fn a_channel_that_is_drawn_on_no_more_says_why() {
    let reasons = [
        (Frozen::Closing, "closing"),
        (Frozen::Lied, "lied"),
        (Frozen::Overclaimed, "overclaimed"),
        (Frozen::Restored, "restored"),
        (Frozen::Silent, "silent"),
    ];
    for (why, state) in reasons {
        let mut bench = Bench::new(100, 600);
        bench.ask(ChannelCommand::Freeze { channel: id(1), why }).unwrap();
        let refused = |state| Err(Rejection::ChannelFrozen { channel: id(1), state });
        assert_eq!(bench.draw(1, 1, None), refused(state));
        bench.see(1, 0, 0).unwrap();
        assert_eq!(bench.draw(1, 1, None), refused("closed"));
    }
}
