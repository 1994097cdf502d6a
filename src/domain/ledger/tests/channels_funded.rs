//! Calls with the deposits that they need: held together or not at all, and never more than there is
//! room for. And ledgers that are older than their channels.

use super::audits;
use super::channels::{Bench, CAPS, id, units};
use super::fixture::*;
use crate::domain::channel::Deposit;
use crate::domain::commitment::{TokenPermit, TransferMethod};
use crate::domain::ledger::books::{BookAccount, Commodity};
use crate::domain::ledger::channel::{
    ChannelCaps, ChannelCommand, ChannelEvent, ChannelState, DrawAsk, Frozen, Fund,
};
use crate::domain::ledger::{Event, Rejection};
use crate::domain::money::Nano;

/// Asks for a call of `amount` on a new channel, with a deposit of `wanted` or less.
fn fund(
    bench: &mut Bench,
    amount: u64,
    wanted: u64,
    least: u64,
    caps: ChannelCaps,
) -> Result<Deposit, Rejection> {
    let ask = bench.call(1, amount);
    let deposit = Deposit {
        amount: units(wanted),
        nano: Nano::new(wanted),
        nonce: number(700),
        salt: number(701),
        valid_before_s: bench.desk.now.as_secs() + LIFE_S,
    };
    let fund = Some(Fund { deposit, least: units(least), caps });
    let draw = DrawAsk { ask, channel: id(1), last: None, fund };
    match bench.ask(ChannelCommand::Draw(Box::new(draw)))? {
        ChannelEvent::Funded(funded) => Ok(funded.deposit),
        other => panic!("a call with a deposit becomes its event, not {}", other.kind()),
    }
}

/// What came into an account of the books, less what left it.
fn books(bench: &Bench, account: BookAccount) -> i128 {
    let sums = bench.desk.ledger.books().find(Commodity::Asset(asset()), account);
    i128::try_from(sums.debits).unwrap() - i128::try_from(sums.credits).unwrap()
}

#[test]
fn a_call_that_its_budget_refuses_puts_nothing_aside_and_one_that_fits_holds_both() {
    let mut bench = Bench::new(100, 0);
    let before = bench.desk.ledger.clone();
    let refused = fund(&mut bench, 101, 1_000, 101, CAPS).unwrap_err();
    assert!(matches!(refused, Rejection::OverBudget(_)), "{refused:?}");
    assert_eq!(bench.desk.ledger, before, "nothing half done");
    let deposit = fund(&mut bench, 60, 600, 60, CAPS).unwrap();
    // No more than the budget has left for it and for what comes after it.
    assert_eq!((deposit.amount, deposit.nano), (units(100), Nano::new(100)));
    let found = bench.desk.ledger.find_channel(id(1)).unwrap();
    let pending = found.pending.map(|coming| coming.deposit);
    assert_eq!((pending, found.ceiling), (Some(deposit), units(60)));
    assert_eq!(bench.desk.ledger.locked(), Nano::new(100));
}

#[test]
fn a_cap_that_leaves_less_room_makes_the_deposit_smaller_down_to_the_least() {
    let cases = [(500, 500), (499, 499), (300, 300), (299, 0)];
    for (cap, put_in) in cases {
        let mut bench = Bench::new(10_000, 0);
        let caps = ChannelCaps { provider: Nano::new(cap), ..CAPS };
        let funded = fund(&mut bench, 60, 500, 300, caps).map(|deposit| deposit.amount);
        match put_in {
            0 => assert!(matches!(funded, Err(Rejection::OverChannelCap { .. })), "{funded:?}"),
            some => assert_eq!(funded, Ok(units(some)), "a cap of {cap}"),
        }
    }
}

#[test]
fn a_wallet_that_has_less_makes_the_deposit_smaller_down_to_the_least() {
    for (has, put_in) in [(501, 500), (500, 500), (499, 499), (300, 300), (299, 0)] {
        let mut bench = Bench::new(10_000, 0);
        bench.desk.fund("main", 0, (1 << 40) - has, 2).unwrap();
        let funded = fund(&mut bench, 60, 500, 300, CAPS);
        let funded = funded.map(|deposit| (deposit.amount, deposit.nano));
        match put_in {
            0 => assert!(matches!(funded, Err(Rejection::InsufficientFunds { .. })), "{funded:?}"),
            some => assert_eq!(funded, Ok((units(some), Nano::new(some))), "a wallet of {has}"),
        }
    }
}

#[test]
fn a_call_that_comes_with_its_deposit_is_drawn_and_counted_like_any_other() {
    let mut bench = Bench::new(100, 0);
    fund(&mut bench, 60, 60, 60, CAPS).unwrap();
    let drawn = |bench: &Bench| match &bench.desk.log.last().unwrap().1 {
        Event::Channel(event) => event.drawn().map(|drawn| (drawn.channel, drawn.ceiling)),
        other => panic!("{other:?}"),
    };
    assert_eq!(drawn(&bench), Some((id(1), units(60))));
    let audit = audits::audit(&bench.desk.log);
    assert_eq!((audit.open(), audit.payments()), (1, 0));
    let pool = bench.desk.account("pool").account.budget;
    assert_eq!(audits::peak(&bench.desk.log, pool), 60);
    // All of the deposit is set aside, and the call draws on it once it has arrived.
    assert_eq!((books(&bench, BookAccount::Escrow), bench.numbers()), (60, (0, 60)));
    bench.confirm(1).unwrap();
    assert_eq!(drawn(&bench), None);
    let held = [BookAccount::Escrow, BookAccount::Channel].map(|account| books(&bench, account));
    assert_eq!(held, [0, 60]);
    let payment = bench.desk.ledger.find_channel(id(1)).unwrap().last.unwrap();
    let next = bench.draw(1, 40, Some((payment, 20))).unwrap();
    assert_eq!(drawn(&bench), Some((id(1), units(60))));
    assert_eq!(books(&bench, BookAccount::Channel), 40);
    bench.charge(1, next, 15).unwrap();
    assert_eq!((drawn(&bench), books(&bench, BookAccount::Channel)), (None, 25));
}

#[test]
fn e13_a_voucher_that_this_ledger_does_not_know_is_taken_over_and_covered_by_the_next() {
    let mut bench = Bench::new(10_000, 1_000);
    let known = bench.draw(1, 100, None).unwrap();
    bench.charge(1, known, 100).unwrap();
    let resync = |charged, ceiling| ChannelCommand::Resync {
        channel: id(1),
        charged: units(charged),
        ceiling: units(ceiling),
    };
    // What is known already, what was charged before, and what lies nowhere.
    for (charged, ceiling) in [(100, 100), (99, 200), (201, 200), (300, 1_001)] {
        bench.ask(resync(charged, ceiling)).unwrap_err();
    }
    bench.ask(resync(300, 400)).unwrap();
    let found = bench.desk.ledger.find_channel(id(1)).unwrap();
    assert_eq!((found.charged, found.ceiling), (units(300), units(400)));
    // Nobody's budget has the hundred above: only a voucher that covers them may follow.
    let refused = bench.draw(1, 99, None).unwrap_err();
    let state = Frozen::Restored.as_str();
    assert_eq!(refused, Rejection::ChannelFrozen { channel: id(1), state });
    bench.draw(1, 100, None).unwrap();
}

/// The deposit never arrived, and the vouchers on it stayed held for ever: nobody asked for another one.
#[test]
fn what_was_signed_on_a_deposit_that_never_came_is_free_once_nothing_more_is_put_in() {
    let mut bench = Bench::new(100, 0);
    let deposit = fund(&mut bench, 60, 60, 60, CAPS).unwrap();
    let block = block(deposit.valid_before_s);
    bench.ask(ChannelCommand::ExpireDeposit { channel: id(1), block }).unwrap();
    assert_eq!(bench.see(1, 0, 0).unwrap_err(), Rejection::Unchanged, "one may come yet");
    assert_eq!(bench.numbers(), (0, 60));
    let why = Frozen::Closing;
    bench.ask(ChannelCommand::Freeze { channel: id(1), why }).unwrap();
    bench.see(1, 0, 0).unwrap();
    let found = bench.desk.ledger.find_channel(id(1)).unwrap();
    assert_eq!((found.state, found.portions.len()), (ChannelState::Closed, 0));
    assert_eq!(bench.numbers(), (0, 0));
    assert_eq!(bench.see(1, 0, 0).unwrap_err(), Rejection::Unchanged);
}

/// Part of it was signed on a deposit that never came, and all that lay there was claimed at once: the
/// channel closed with that part held for ever.
#[test]
fn what_was_signed_on_a_deposit_that_never_came_is_free_though_all_else_was_claimed() {
    let mut bench = Bench::new(1_000, 40);
    let valid_before_s = bench.desk.now.as_secs() + LIFE_S;
    bench.deposit(1, 30).unwrap();
    let call = bench.draw(1, 50, None).unwrap();
    bench.charge(1, call, 32).unwrap();
    let block = block(valid_before_s);
    bench.ask(ChannelCommand::ExpireDeposit { channel: id(1), block }).unwrap();
    assert_eq!(bench.numbers(), (32, 18));
    bench.see(1, 40, 40).unwrap();
    bench.see(1, 40, 40).unwrap();
    let found = bench.desk.ledger.find_channel(id(1)).unwrap();
    assert_eq!((found.state, found.portions.len()), (ChannelState::Closed, 0));
    assert_eq!(bench.numbers(), (40, 0));
}

/// The payee said that a call cost ten, and claimed all that was signed for it. Once its next call was
/// signed for all the same.
#[test]
fn e09_after_a_claim_above_what_was_said_no_call_is_signed_for() {
    let mut bench = Bench::new(1_000, 600);
    let first = bench.draw(1, 50, None).unwrap();
    bench.see(1, 600, 50).unwrap();
    assert_eq!(bench.numbers(), (50, 0), "it may have cost as much");
    let refused = bench.draw(1, 50, Some((first, 10))).unwrap_err();
    let state = Frozen::Overclaimed.as_str();
    assert_eq!(refused, Rejection::ChannelFrozen { channel: id(1), state });
    bench.draw(1, 50, Some((first, 50))).unwrap();
}

/// threats.md F23: permits at a token are used in their order, so that only one is on its way at a time.
#[test]
fn f23_a_second_deposit_by_permit_waits_for_the_first_and_the_channel_keeps_what_moves_it() {
    let permit = TokenPermit { nonce: 4, deadline_s: 9, signature: None };
    let by_permit = TransferMethod::Permit2By(permit);
    let mut bench = Bench::new(10_000, 0);
    bench.open(2);
    bench.open(3);
    let fund = |bench: &mut Bench, n: u64, method| {
        let mut ask = bench.call(n, 60);
        ask.commitment.method = method;
        let deposit = Deposit {
            amount: units(300),
            nano: Nano::new(300),
            nonce: number(700 + n),
            salt: number(700 + n),
            valid_before_s: bench.desk.now.as_secs() + LIFE_S,
        };
        let fund = Some(Fund { deposit, least: units(60), caps: CAPS });
        let draw = DrawAsk { ask, channel: id(n), last: None, fund };
        bench.ask(ChannelCommand::Draw(Box::new(draw))).map(|event| event.kind())
    };
    assert_eq!(fund(&mut bench, 1, by_permit), Ok("funded"));
    let before = bench.desk.ledger.clone();
    let waits = Err(Rejection::ChannelBusy { channel: id(2) });
    assert_eq!(fund(&mut bench, 2, by_permit), waits);
    assert_eq!(bench.desk.ledger, before, "nothing half done");
    // One that is used after it may come, and an allowance is for as many as it is for.
    let next = TransferMethod::Permit2By(TokenPermit { nonce: 5, ..permit });
    assert_eq!(fund(&mut bench, 3, next), Ok("funded"));
    assert_eq!(fund(&mut bench, 2, TransferMethod::Permit2), Ok("funded"));
    let pending = |number| bench.desk.ledger.find_channel(id(number)).unwrap().pending.unwrap();
    assert_eq!((pending(1).method, pending(2).method), (by_permit, TransferMethod::Permit2));
}
