//! Claims: bound once, settled once, served once; every command in every state.

use super::fixture::*;
use crate::domain::commitment::{AuthorizationKey, Scheme, TokenPermit, TransferMethod};
use crate::domain::id::Fingerprint;
use crate::domain::ledger::claim::Accepted;
use crate::domain::ledger::credit::CreditLimits;
use crate::domain::ledger::{Bounds, Command, Event, Rejection};
use crate::domain::money::Amount;

fn accept(desk: &mut Desk, accepted: &Accepted) -> Result<Event, Rejection> {
    desk.execute(Command::Accept(Box::new(accepted.clone())))
}

fn settle(claim: AuthorizationKey, amount: u128) -> Command {
    settle_at(claim, amount, START_S)
}

fn settle_at(claim: AuthorizationKey, amount: u128, moved_at_s: u64) -> Command {
    let (amount, transaction) = (Amount::new(amount), number(5));
    Command::SettleClaim { claim, amount, transaction, moved_at_s }
}

fn serve(claim: AuthorizationKey) -> Command {
    Command::Serve { claim, delivery: delivery() }
}

fn step(desk: &mut Desk, accepted: &Accepted, what: &str) -> Result<Event, Rejection> {
    let claim = accepted.key();
    match what {
        "accept" => accept(desk, accepted),
        "doubt" => desk.execute(Command::DoubtClaim { claim, transaction: None }),
        "settle" => desk.execute(settle(claim, 10)),
        "serve" => desk.execute(serve(claim)),
        "release" => desk.execute(Command::ReleaseClaim { claim }),
        "kill" => desk.execute(Command::KillClaim { claim }),
        "begin" => desk.execute(Command::BeginRefund { claim }),
        "lend" => {
            let most = Amount::new(1_000);
            let limits = CreditLimits { per_payer: most, total: most, owned: most };
            desk.execute(Command::ServeOnCredit { claim, delivery: delivery(), limits })
        }
        "charge" => desk.execute(Command::ChargeClaim { claim, amount: Amount::new(10) }),
        "refund" => desk.execute(Command::Refund { claim, transaction: number(6) }),
        other => panic!("{other}"),
    }
}

#[test]
fn each_command_in_each_state() {
    let commands = ["accept", "doubt", "settle", "serve", "release", "kill", "begin", "refund"];
    let (no, none) = ("ledger.wrong_claim_state", "ledger.unknown_claim");
    let (settled, died) = ("claim_settled", "claim_died");
    let table: [(&[&str], [&str; 8]); 9] = [
        (&[], ["accepted", none, none, none, none, none, none, none]),
        (&["accept"], [no, "claim_doubted", settled, no, "claim_released", died, no, no]),
        (&["accept", "doubt"], [no, "ledger.unchanged", settled, no, no, died, no, no]),
        (&["accept", "settle"], [no, no, no, "served", no, no, "refund_begun", no]),
        (&["accept", "settle", "serve"], [no, no, no, no, no, no, no, no]),
        (&["accept", "release"], ["accepted", no, settled, no, no, died, no, no]),
        (&["accept", "kill"], [no, no, settled, no, no, no, no, no]),
        (&["accept", "settle", "begin"], [no, no, no, no, no, no, no, "refunded"]),
        (&["accept", "settle", "begin", "refund"], [no, no, no, no, no, no, no, no]),
    ];
    for (before, row) in table {
        for (command, expected) in commands.into_iter().zip(row) {
            let mut desk = Desk::new(vec![]);
            let accepted = desk.accepted(1, 10);
            for what in before {
                step(&mut desk, &accepted, what).unwrap();
            }
            let found = match step(&mut desk, &accepted, command) {
                Ok(event) => event.kind(),
                refused => code(refused),
            };
            assert_eq!(found, expected, "{command} after {before:?}");
            assert!(desk.ledger.books().balanced());
        }
    }
}

/// A claim by `exact` is never charged less, wherever it stands.
#[test]
fn a_refusal_says_where_the_claim_stands() {
    let table: [(&[&str], &str); 10] = [
        (&["accept"], "accepted"),
        (&["accept", "doubt"], "unknown"),
        (&["accept", "settle"], "due"),
        (&["accept", "settle", "serve"], "served"),
        (&["accept", "release"], "released"),
        (&["accept", "kill"], "dead"),
        (&["accept", "settle", "begin"], "refunding"),
        (&["accept", "settle", "begin", "refund"], "refunded"),
        (&["accept", "lend"], "credited"),
        (&["accept", "lend", "kill"], "lost"),
    ];
    let refused = |state| Err(Rejection::WrongClaimState { state, asked: "charged" });
    for (before, state) in table {
        let mut desk = Desk::new(vec![]);
        let accepted = desk.accepted(1, 10);
        for what in before {
            step(&mut desk, &accepted, what).unwrap();
        }
        assert_eq!(step(&mut desk, &accepted, "charge"), refused(state));
    }
    let mut desk = Desk::new(vec![]);
    let mut accepted = desk.accepted(1, 10);
    accepted.commitment.scheme = UPTO;
    for what in ["accept", "charge"] {
        step(&mut desk, &accepted, what).unwrap();
    }
    assert_eq!(step(&mut desk, &accepted, "charge"), refused("charged"));
}

#[test]
fn an_authorization_pays_the_first_request_that_it_was_bound_to_and_no_other() {
    for released in [false, true] {
        let mut desk = Desk::new(vec![]);
        let accepted = desk.accepted(1, 10);
        accept(&mut desk, &accepted).unwrap();
        if released {
            step(&mut desk, &accepted, "release").unwrap();
        }
        let other = Accepted { fingerprint: Fingerprint::from_bytes([9; 16]), ..accepted.clone() };
        assert_eq!(accept(&mut desk, &other), Err(Rejection::BoundElsewhere(accepted.key())));
    }
}

#[test]
fn a_claim_settles_for_just_what_was_claimed() {
    for (moved, taken) in [(0, false), (9, false), (10, true), (11, false)] {
        let mut desk = Desk::new(vec![]);
        let accepted = desk.accepted(1, 10);
        accept(&mut desk, &accepted).unwrap();
        assert_eq!(desk.execute(settle(accepted.key(), moved)).is_ok(), taken, "{moved}");
    }
}

#[test]
fn what_is_accepted_is_within_its_time_and_its_range() {
    let mut desk = Desk::new(vec![]);
    for (amount, expected) in [(0, false), (1, true), (Amount::MAX.get(), true)] {
        let accepted = Accepted { amount: Amount::new(amount), ..desk.accepted(7, 1) };
        let asked = accept(
            &mut desk,
            &Accepted {
                commitment: crate::domain::commitment::Commitment {
                    nonce: number(u64::try_from(amount % 1000).unwrap()),
                    amount_max: Amount::new(amount),
                    ..accepted.commitment
                },
                ..accepted
            },
        );
        assert_eq!(asked.is_ok(), expected, "{amount}");
    }
    let late = desk.accepted(2, 10);
    let last = desk.accepted(3, 10);
    desk.wait(LIFE_S - 1);
    accept(&mut desk, &last).unwrap();
    desk.wait(1);
    assert_eq!(code(accept(&mut desk, &late)), "ledger.wrong_claim_state");
}

#[test]
fn claims_are_bounded() {
    let mut desk = Desk::bounded(Bounds { claims_max: 2, ..Bounds::default() }, vec![]);
    for nonce in 0..2 {
        let accepted = desk.accepted(nonce, 10);
        accept(&mut desk, &accepted).unwrap();
    }
    let third = desk.accepted(3, 10);
    assert_eq!(code(accept(&mut desk, &third)), "ledger.full");
}

#[test]
fn an_ended_claim_is_forgotten_after_its_time_and_an_open_one_never() {
    let mut desk = Desk::new(vec![]);
    let (open, ended) = (desk.accepted(1, 10), desk.accepted(2, 10));
    for accepted in [&open, &ended] {
        accept(&mut desk, accepted).unwrap();
    }
    step(&mut desk, &ended, "settle").unwrap();
    step(&mut desk, &ended, "serve").unwrap();
    desk.wait(LIFE_S + 3600 - 2);
    let next = desk.accepted(3, 10);
    accept(&mut desk, &next).unwrap();
    assert!(desk.ledger.find_claim(&ended.key()).is_some());
    desk.wait(10);
    let next = desk.accepted(4, 10);
    accept(&mut desk, &next).unwrap();
    assert!(desk.ledger.find_claim(&ended.key()).is_none());
    // Forgotten is not new: its time is over.
    assert_eq!(code(accept(&mut desk, &ended)), "ledger.wrong_claim_state");
    desk.wait(100_000_000);
    let next = desk.accepted(5, 10);
    accept(&mut desk, &next).unwrap();
    step(&mut desk, &open, "doubt").unwrap();
    step(&mut desk, &open, "settle").unwrap();
    assert_eq!(desk.ledger.open_claims().len(), 4);
}

#[test]
fn an_ended_claim_is_remembered_for_an_hour_after_its_time_limit_and_no_second_longer() {
    let mut desk = Desk::new(vec![]);
    let ended = desk.accepted(1, 10);
    for what in ["accept", "settle", "serve"] {
        step(&mut desk, &ended, what).unwrap();
    }
    let over_s = ended.commitment.valid_before_s + 3_600;
    for (nonce, at_s, remembered) in [(2, over_s - 1, true), (3, over_s, false)] {
        desk.at(at_s);
        let next = desk.accepted(nonce, 10);
        accept(&mut desk, &next).unwrap();
        assert_eq!(desk.ledger.find_claim(&ended.key()).is_some(), remembered, "{at_s}");
    }
}

/// A claim given up and bound again by a second signature under the same nonce, with a later time limit,
/// was forgotten by the first one's: an authorization that was served could then pay once more.
#[test]
fn a_claim_bound_again_is_remembered_by_its_later_time_limit() {
    let mut desk = Desk::new(vec![]);
    let first = desk.accepted(1, 10);
    accept(&mut desk, &first).unwrap();
    step(&mut desk, &first, "release").unwrap();
    let mut second = first.clone();
    second.commitment.valid_before_s += 1_000_000;
    for what in ["accept", "settle", "serve"] {
        step(&mut desk, &second, what).unwrap();
    }
    desk.wait(LIFE_S + 3601);
    let next = desk.accepted(2, 10);
    accept(&mut desk, &next).unwrap();
    assert_eq!(code(accept(&mut desk, &second)), "ledger.wrong_claim_state");
    desk.wait(1_000_000);
    let next = desk.accepted(3, 10);
    accept(&mut desk, &next).unwrap();
    assert!(desk.ledger.find_claim(&second.key()).is_none());
}

/// What is forgotten was settled before its time limit, and that was an hour ago or more: a transfer as old
/// as that paid for what was served then. An authorization signed anew under a used nonce was served
/// for it once more.
#[test]
fn d19_a_transfer_that_may_have_paid_a_forgotten_claim_pays_no_other() {
    for (age_s, taken) in [(0, true), (3599, true), (3600, false), (1_000_000, false)] {
        for state in ["accepted", "doubted", "released", "dead"] {
            let mut desk = Desk::new(vec![]);
            let accepted = desk.accepted(1, 10);
            accept(&mut desk, &accepted).unwrap();
            match state {
                "doubted" => drop(step(&mut desk, &accepted, "doubt").unwrap()),
                "released" => drop(step(&mut desk, &accepted, "release").unwrap()),
                "dead" => drop(step(&mut desk, &accepted, "kill").unwrap()),
                _ => {}
            }
            let asked = desk.execute(settle_at(accepted.key(), 10, START_S - age_s));
            match asked {
                Ok(_) => assert!(taken, "{age_s} {state}"),
                Err(Rejection::MovedBefore { accepted_at_s, moved_at_s }) => {
                    assert!(!taken, "{age_s} {state}");
                    assert_eq!((accepted_at_s, moved_at_s), (START_S, START_S - age_s));
                }
                Err(other) => panic!("{other:?}"),
            }
        }
    }
}

#[test]
fn a_claim_bound_again_is_as_old_as_its_first_binding() {
    let mut desk = Desk::new(vec![]);
    let mut accepted = desk.accepted(1, 10);
    accepted.commitment.valid_before_s += 10_000;
    accept(&mut desk, &accepted).unwrap();
    step(&mut desk, &accepted, "release").unwrap();
    desk.wait(7_000);
    accept(&mut desk, &accepted).unwrap();
    // Sent by others between the two.
    desk.execute(settle_at(accepted.key(), 10, START_S + 1)).unwrap();
}

#[test]
fn a_claim_is_of_just_what_was_authorized() {
    let mut desk = Desk::new(vec![]);
    for amount in [9, 11] {
        let accepted = Accepted { amount: Amount::new(amount), ..desk.accepted(1, 10) };
        assert_eq!(code(accept(&mut desk, &accepted)), "ledger.amount_mismatch");
    }
}

#[test]
fn a_refund_moves_the_same_back_under_a_nonce_of_its_own() {
    let desk = Desk::new(vec![]);
    let (first, second) = (desk.accepted(1, 10), desk.accepted(2, 10));
    let refund = first.refund(99);
    assert_eq!((refund.payer, refund.pay_to), (first.commitment.pay_to, first.payer()));
    assert_eq!((refund.amount_max, refund.valid_before_s), (first.amount, 99));
    assert_eq!(refund.nonce, first.refund(100).nonce, "the same, whenever it is signed");
    assert_ne!(refund.nonce, second.refund(99).nonce);
    assert_ne!(refund.nonce, first.commitment.nonce);
}

#[test]
fn a_refund_moves_just_what_was_charged_by_the_way_that_it_came() {
    let permit = TokenPermit { nonce: 4, deadline_s: 9, signature: None };
    let ways = [
        (TransferMethod::Eip3009, TransferMethod::Eip3009),
        (TransferMethod::Permit2, TransferMethod::Permit2),
        (TransferMethod::Permit2Sponsored, TransferMethod::Permit2),
        (TransferMethod::Permit2By(permit), TransferMethod::Permit2),
    ];
    for (came, goes) in ways {
        let desk = Desk::new(vec![]);
        let mut accepted = Accepted { amount: Amount::new(4), ..desk.accepted(1, 10) };
        accepted.commitment.scheme = UPTO;
        accepted.commitment.method = came;
        accepted.commitment.valid_after_s = 7;
        let refund = accepted.refund(99);
        assert_eq!((refund.scheme, refund.method), (Scheme::Exact, goes));
        assert_eq!((refund.asset, refund.amount_max), (asset(), Amount::new(4)));
        assert_eq!((refund.valid_after_s, refund.valid_before_s), (0, 99), "from now on");
    }
}

#[test]
fn what_was_accepted_is_shown_in_the_order_of_keys_also_once_it_has_ended() {
    let mut desk = Desk::new(vec![]);
    let claims = [2, 1].map(|nonce| desk.accepted(nonce, 10));
    for accepted in &claims {
        accept(&mut desk, accepted).unwrap();
    }
    step(&mut desk, &claims[0], "kill").unwrap();
    let shown: Vec<_> = desk.ledger.claims().map(|claim| claim.accepted.key()).collect();
    assert_eq!(shown, [claims[1].key(), claims[0].key()]);
}
