//! Payments and claims with a maximum: what is charged is known afterwards, and what the signature can
//! still take stays held until a final block has shown what it took.

use super::fixture::*;
use crate::domain::id::PaymentId;
use crate::domain::ledger::claim::ClaimState;
use crate::domain::ledger::hold::{CaptureProof, HoldState};
use crate::domain::ledger::wallet::Position;
use crate::domain::ledger::{Command, Event, Rejection};
use crate::domain::money::{Amount, Nano};

const LATE: u64 = START_S + LIFE_S;

/// A desk with one payment of at most 10, of which a receipt took `charged`.
fn captured(charged: u128) -> (Desk, PaymentId) {
    let mut desk = Desk::new(vec![pool(100)]);
    let payment = desk.hold_maximum("ann", 10).unwrap();
    take(&mut desk, payment, charged, CaptureProof::Receipt).unwrap();
    (desk, payment)
}

fn take(
    desk: &mut Desk,
    payment: PaymentId,
    amount: u128,
    proof: CaptureProof,
) -> Result<Event, Rejection> {
    let (amount, transaction) = (Amount::new(amount), number(5));
    desk.execute(Command::Capture { payment, amount, transaction, proof })
}

fn verify(desk: &mut Desk, payment: PaymentId, moved: u128) -> Result<Event, Rejection> {
    let (transaction, amount) = (number(5), Amount::new(moved));
    desk.execute(Command::Verify { payment, transaction, amount, block: block(START_S) })
}

fn position(desk: &Desk) -> Position {
    *desk.ledger.find_wallet_at(wallet_address("main")).unwrap().find(asset()).unwrap()
}

/// Spent and held, in the budget and in the wallet.
fn numbers(desk: &Desk) -> ((u64, u64), (u128, u128)) {
    let position = position(desk);
    (desk.numbers("pool"), (position.paid.get(), position.held.get()))
}

#[test]
fn anything_up_to_the_maximum_is_taken_and_nothing_above_it() {
    for proof in [CaptureProof::Receipt, CaptureProof::Chain(block(START_S))] {
        for (amount, taken) in [(0, true), (1, true), (10, true), (11, false)] {
            let mut desk = Desk::new(vec![pool(100)]);
            let payment = desk.hold_maximum("ann", 10).unwrap();
            let asked = take(&mut desk, payment, amount, proof);
            assert_eq!(asked.is_ok(), taken, "{amount}: {asked:?}");
            if let Err(refused) = asked {
                assert!(matches!(refused, Rejection::ExceedsHold { .. }), "{refused:?}");
                assert_eq!(numbers(&desk), ((0, 10), (0, 10)));
            }
        }
    }
}

/// threats.md F22: the signature is good for the maximum, so the rest counts until the chain spoke.
#[test]
fn f22_what_a_receipt_leaves_of_a_maximum_stays_held_until_a_final_block() {
    let (mut desk, payment) = captured(3);
    assert_eq!(numbers(&desk), ((3, 7), (3, 7)));
    desk.wait(1_000_000);
    assert_eq!(numbers(&desk), ((3, 7), (3, 7)));
    assert_eq!(code(desk.hold("ann", 91)), "ledger.over_budget");
    match verify(&mut desk, payment, 3).unwrap() {
        Event::PaymentClosed(closed) => assert_eq!(closed.rest, Amount::new(7)),
        other => panic!("{other:?}"),
    }
    assert_eq!(numbers(&desk), ((3, 0), (3, 0)));
    assert!(desk.ledger.find_hold(payment).is_none());
    assert!(desk.ledger.books().balanced());
}

#[test]
fn what_moved_counts_and_not_what_the_receipt_said() {
    for (charged, moved) in [(3_u128, 9_u64), (9, 3), (0, 10), (10, 1), (10, 10), (0, 1)] {
        let (mut desk, payment) = captured(charged);
        let moved_wide = u128::from(moved);
        verify(&mut desk, payment, moved_wide).unwrap();
        assert_eq!(numbers(&desk), ((moved, 0), (moved_wide, 0)), "{charged} and {moved}");
        assert!(desk.ledger.books().balanced());
    }
    let (mut desk, payment) = captured(3);
    assert_eq!(code(verify(&mut desk, payment, 11)), "ledger.exceeds_hold");
    assert_eq!(numbers(&desk), ((3, 7), (3, 7)));
}

#[test]
fn a_charge_of_nothing_returns_the_whole_hold_once_it_can_no_longer_be_drawn() {
    let (mut desk, payment) = captured(0);
    assert_eq!(numbers(&desk), ((0, 10), (0, 10)));
    assert_eq!(code(desk.expire(payment, LATE - 1)), "ledger.still_live");
    desk.expire(payment, LATE).unwrap();
    assert_eq!(numbers(&desk), ((0, 0), (0, 0)));
    // It was served: the same request is the same payment.
    assert_eq!(desk.ledger.holds_len(), 0);
    assert!(desk.ledger.books().balanced());
}

#[test]
fn a_receipt_for_a_part_that_lied_is_taken_back_whole() {
    let (mut desk, payment) = captured(3);
    match desk.expire(payment, LATE).unwrap() {
        Event::PaymentClosed(closed) => assert!(closed.is_unpaid()),
        other => panic!("{other:?}"),
    }
    assert_eq!(numbers(&desk), ((0, 0), (0, 0)));
    assert!(desk.ledger.books().balanced());
}

#[test]
fn the_chain_alone_takes_a_part_and_returns_the_rest_at_once() {
    let mut desk = Desk::new(vec![pool(100)]);
    let payment = desk.hold_maximum("ann", 10).unwrap();
    desk.doubt(payment).unwrap();
    take(&mut desk, payment, 4, CaptureProof::Chain(block(START_S))).unwrap();
    assert_eq!(numbers(&desk), ((4, 0), (4, 0)));
    assert!(desk.ledger.find_hold(payment).is_none());
}

#[test]
fn a_part_counts_in_budgets_rounded_up() {
    let mut desk = Desk::new(vec![pool(100)]);
    let mut ask = desk.ask("ann", 3);
    ask.commitment.scheme = UPTO;
    ask.nano = Nano::new(10);
    let payment = desk.place(ask).unwrap();
    take(&mut desk, payment, 1, CaptureProof::Receipt).unwrap();
    assert_eq!(desk.numbers("pool"), (4, 6));
    match desk.ledger.find_hold(payment).unwrap().state {
        HoldState::Captured { nano, .. } => assert_eq!(nano, Nano::new(4)),
        other => panic!("{other:?}"),
    }
}

/// A payee's desk with one claim of at most 5.
fn bound() -> (Desk, crate::domain::commitment::AuthorizationKey) {
    let mut desk = Desk::new(vec![]);
    let mut accepted = desk.accepted(1, 5);
    accepted.commitment.scheme = UPTO;
    let claim = accepted.key();
    desk.execute(Command::Accept(Box::new(accepted))).unwrap();
    (desk, claim)
}

/// threats.md C09: nothing above what was authorized is ever asked of the rail.
#[test]
fn c09_a_claim_is_charged_once_and_at_most_its_maximum() {
    let (mut desk, claim) = bound();
    let charge = |amount| Command::ChargeClaim { claim, amount: Amount::new(amount) };
    assert_eq!(code(desk.execute(charge(6))), "ledger.amount_mismatch");
    desk.execute(charge(2)).unwrap();
    assert_eq!(code(desk.execute(charge(2))), "ledger.wrong_claim_state");
    let settle = |amount| Command::SettleClaim {
        claim,
        amount: Amount::new(amount),
        transaction: number(5),
        moved_at_s: START_S,
    };
    assert_eq!(code(desk.execute(settle(5))), "ledger.amount_mismatch");
    desk.execute(settle(2)).unwrap();
    let state = desk.ledger.find_claim(&claim).unwrap().state;
    assert_eq!(state, ClaimState::Due { transaction: number(5) });
}

#[test]
fn anything_up_to_the_maximum_of_a_claim_is_charged() {
    for charged in [0, 1, 5] {
        let (mut desk, claim) = bound();
        let amount = Amount::new(charged);
        desk.execute(Command::ChargeClaim { claim, amount }).unwrap();
        let found = desk.ledger.find_claim(&claim).unwrap();
        assert_eq!((found.state, found.accepted.amount), (ClaimState::Charged, amount));
    }
}

#[test]
fn exact_is_never_charged_less() {
    let mut desk = Desk::new(vec![]);
    let accepted = desk.accepted(1, 5);
    let claim = accepted.key();
    desk.execute(Command::Accept(Box::new(accepted))).unwrap();
    let charge = Command::ChargeClaim { claim, amount: Amount::new(4) };
    assert_eq!(code(desk.execute(charge)), "ledger.wrong_claim_state");
}
