//! What becomes of a hold: every command in every state, and what it needs as proof.

use super::fixture::*;
use crate::domain::id::PaymentId;
use crate::domain::ledger::hold::{CaptureProof, HoldState, VoidProof};
use crate::domain::ledger::{Command, Event, Rejection};
use crate::domain::money::Amount;

const LATE: u64 = START_S + LIFE_S;

fn open_in(state: &str) -> (Desk, PaymentId) {
    let mut desk = Desk::new(vec![pool(100)]);
    let payment = desk.hold("ann", 10).unwrap();
    match state {
        "signable" => {}
        "unknown" => drop(desk.doubt(payment).unwrap()),
        "captured" => drop(desk.capture(payment).unwrap()),
        "settled" => {
            let proof = CaptureProof::Chain(block(START_S));
            desk.capture_by(payment, proof).unwrap();
        }
        "voided" => drop(desk.void(payment).unwrap()),
        "expired" => drop(desk.expire(payment, LATE).unwrap()),
        other => panic!("{other}"),
    }
    (desk, payment)
}

fn verify(payment: PaymentId, amount: u128) -> Command {
    let (transaction, amount) = (number(5), Amount::new(amount));
    Command::Verify { payment, transaction, amount, block: block(START_S) }
}

fn ask(desk: &mut Desk, payment: PaymentId, command: &str) -> Result<Event, Rejection> {
    let (amount, transaction) = (Amount::new(10), number(5));
    let capture = |proof| Command::Capture { payment, amount, transaction, proof };
    match command {
        "doubt" => desk.doubt(payment),
        "receipt" => desk.execute(capture(CaptureProof::Receipt)),
        "chain" => desk.execute(capture(CaptureProof::Chain(block(START_S)))),
        "verify" => desk.execute(verify(payment, 10)),
        "void" => desk.void(payment),
        "cancel" => desk.cancel(payment),
        "expire" => desk.expire(payment, LATE),
        other => panic!("{other}"),
    }
}

/// Each command in each state: the event, or the refusal's code. Time alone opens no way out.
#[test]
fn each_command_in_each_state() {
    let commands = ["doubt", "receipt", "chain", "verify", "void", "cancel", "expire"];
    let (no, gone) = ("ledger.wrong_state", "ledger.unknown_payment");
    let table = [
        ("signable", ["doubted", "captured", "captured", no, "voided", "voided", "expired"]),
        ("unknown", ["ledger.unchanged", "captured", "captured", no, no, "voided", "expired"]),
        ("captured", [no, no, no, "payment_verified", no, no, "capture_reversed"]),
        ("settled", [gone; 7]),
        ("voided", [gone; 7]),
        ("expired", [gone; 7]),
    ];
    for (state, row) in table {
        for (command, expected) in commands.into_iter().zip(row) {
            let (mut desk, payment) = open_in(state);
            let found = match ask(&mut desk, payment, command) {
                Ok(event) => event.kind(),
                refused => code(refused),
            };
            assert_eq!(found, expected, "{command} when {state}");
        }
    }
}

#[test]
fn a_refusal_says_where_the_payment_stands() {
    for (state, command, asked) in [
        ("signable", "verify", "verified"),
        ("unknown", "void", "voided"),
        ("captured", "doubt", "doubted"),
    ] {
        let (mut desk, payment) = open_in(state);
        let refused = Rejection::WrongState { payment, state, asked };
        assert_eq!(ask(&mut desk, payment, command), Err(refused));
    }
}

#[test]
fn exact_takes_exactly_what_was_authorized() {
    for proof in [CaptureProof::Receipt, CaptureProof::Chain(block(START_S))] {
        for (amount, taken) in [(0, false), (9, false), (10, true), (11, false)] {
            let (mut desk, payment) = open_in("signable");
            let (amount, transaction) = (Amount::new(amount), number(5));
            let asked = desk.execute(Command::Capture { payment, amount, transaction, proof });
            match asked {
                Ok(_) => assert!(taken),
                Err(Rejection::ExceedsHold { authorized, asked, .. }) => {
                    assert!(!taken);
                    assert_eq!((authorized, asked), (Amount::new(10), amount));
                }
                Err(other) => panic!("{other:?}"),
            }
        }
    }
}

#[test]
fn a_verification_shows_what_was_captured() {
    for (moved, taken) in [(9, false), (10, true), (11, false)] {
        let (mut desk, payment) = open_in("captured");
        let asked = desk.execute(verify(payment, moved));
        assert_eq!(asked.is_ok(), taken, "{asked:?}");
        assert_eq!(desk.ledger.find_hold(payment).is_none(), taken);
        assert_eq!(desk.numbers("pool"), (10, 0));
    }
}

#[test]
fn only_the_process_that_placed_a_hold_knows_that_nothing_was_signed() {
    let (mut desk, payment) = open_in("signable");
    let other = Command::Void { payment, proof: VoidProof::NeverSigned, boot: BOOT + 1 };
    assert_eq!(code(desk.execute(other)), "ledger.wrong_state");
    desk.void(payment).unwrap();
    assert_eq!(desk.numbers("pool"), (0, 0));
}

#[test]
fn a_cancel_that_is_final_frees_after_a_crash_too() {
    let (mut desk, payment) = open_in("unknown");
    let proof = VoidProof::Canceled { transaction: number(6), block: block(START_S) };
    desk.execute(Command::Void { payment, proof, boot: BOOT + 1 }).unwrap();
    assert_eq!(desk.numbers("pool"), (0, 0));
}

/// EIP-3009 moves money in a block before `validBefore`, so at that second it is over.
#[test]
fn nothing_expires_before_its_time_limit_on_a_final_block() {
    for state in ["signable", "unknown", "captured"] {
        for (time_s, over) in [(START_S, false), (LATE - 1, false), (LATE, true), (LATE + 1, true)]
        {
            let (mut desk, payment) = open_in(state);
            // The ledger's own clock decides nothing here.
            desk.wait(1_000_000);
            match desk.expire(payment, time_s) {
                Ok(_) => assert!(over, "{state} {time_s}"),
                Err(Rejection::StillLive { valid_before_s, block_time_s, .. }) => {
                    assert!(!over, "{state} {time_s}");
                    assert_eq!((valid_before_s, block_time_s), (LATE, time_s));
                }
                Err(other) => panic!("{other:?}"),
            }
        }
    }
}

#[test]
fn an_unknown_outcome_stays_held_however_long() {
    let (mut desk, payment) = open_in("unknown");
    desk.wait(100 * 366 * 24 * 3600);
    assert_eq!(desk.numbers("pool"), (0, 10));
    let hold = desk.ledger.find_hold(payment).unwrap();
    assert_eq!(hold.state, HoldState::Unknown);
    let wallet = desk.ledger.find_wallet_at(wallet_address("main")).unwrap();
    assert_eq!(wallet.find(asset()).unwrap().held, Amount::new(10));
}

#[test]
fn a_receipt_that_lied_is_taken_back_whole() {
    let (mut desk, payment) = open_in("captured");
    let position = |desk: &Desk| {
        *desk.ledger.find_wallet_at(wallet_address("main")).unwrap().find(asset()).unwrap()
    };
    assert_eq!(desk.numbers("pool"), (10, 0));
    assert_eq!(position(&desk).paid, Amount::new(10));
    match desk.expire(payment, LATE).unwrap() {
        Event::CaptureReversed { captured, nano, .. } => {
            assert_eq!((captured.amount, nano.get()), (Amount::new(10), 10));
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(desk.numbers("pool"), (0, 0));
    assert_eq!((position(&desk).paid, position(&desk).held), (Amount::ZERO, Amount::ZERO));
    assert!(desk.ledger.books().balanced());
    desk.hold("ann", 100).unwrap();
}
