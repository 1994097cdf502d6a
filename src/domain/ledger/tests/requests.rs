//! Requests: the same request again is the same payment, for as long as it is remembered.

use std::time::Duration;

use super::fixture::*;
use crate::domain::id::{Fingerprint, RequestId};
use crate::domain::ledger::command::HoldAsk;
use crate::domain::ledger::requests::REQUEST_SKEW_MAX;
use crate::domain::ledger::{Bounds, Rejection};

const MEMORY_S: u64 = 1000;

fn desk() -> Desk {
    let request_memory = Duration::from_secs(MEMORY_S);
    Desk::bounded(Bounds { request_memory, requests_max: 4, ..Bounds::default() }, vec![pool(1000)])
}

fn made_at(secs: u64, n: u8) -> RequestId {
    RequestId::new(secs * 1000, [n; 10])
}

#[test]
fn the_same_request_is_the_same_payment_and_other_content_a_conflict() {
    let mut desk = desk();
    let ask = desk.ask("ann", 10);
    let payment = desk.place(ask.clone()).unwrap();
    let request = ask.request;
    let other = HoldAsk { fingerprint: Fingerprint::from_bytes([9; 16]), ..ask.clone() };
    for settled in [false, true] {
        if settled {
            desk.capture(payment).unwrap();
        }
        assert_eq!(desk.place(ask.clone()), Err(Rejection::Exists { request, payment }));
        let conflict = Rejection::RequestConflict { request, payment };
        assert_eq!(desk.place(other.clone()), Err(conflict));
        // The next attempt waits for evidence that this one ended unpaid.
        let next = desk.ask_for("ann", 10, request, 1);
        assert_eq!(desk.place(next), Err(Rejection::Exists { request, payment }));
    }
    // Another agent's request of the same id is its own.
    desk.agent("bob", "scout", "red", "main");
    let bobs = desk.ask_for("bob", 10, request, 0);
    desk.place(bobs).unwrap();
}

#[test]
fn the_next_attempt_is_made_after_evidence_and_only_the_next() {
    for way in ["void", "cancel", "expire", "reverse"] {
        let mut desk = desk();
        let ask = desk.ask("ann", 10);
        let (request, payment) = (ask.request, ask.payment);
        desk.place(ask.clone()).unwrap();
        let late = START_S + LIFE_S + 10;
        match way {
            "void" => desk.void(payment).unwrap(),
            "cancel" => desk.cancel(payment).unwrap(),
            "expire" => desk.expire(payment, late).unwrap(),
            _ => {
                desk.capture(payment).unwrap();
                desk.expire(payment, late).unwrap()
            }
        };
        for (attempt, asked) in [(0, 0), (2, 2)] {
            let wrong = desk.ask_for("ann", 10, request, attempt);
            let rejection = Rejection::WrongAttempt { request, next: 1, asked };
            assert_eq!(desk.place(wrong), Err(rejection), "{way}");
        }
        let next = desk.ask_for("ann", 10, request, 1);
        let other = HoldAsk { fingerprint: Fingerprint::from_bytes([9; 16]), ..next.clone() };
        assert_eq!(code(desk.place(other)), "ledger.request_conflict", "{way}");
        let second = desk.place(next).unwrap();
        assert_ne!(second, payment);
        desk.doubt(second).unwrap();
        let third = desk.ask_for("ann", 10, request, 2);
        assert_eq!(code(desk.place(third)), "ledger.exists", "{way}");
    }
}

#[test]
fn a_request_is_taken_within_the_memory_and_at_most_a_little_ahead() {
    let skew = REQUEST_SKEW_MAX.as_secs();
    let table = [
        (START_S - MEMORY_S - 1, false),
        (START_S - MEMORY_S, false),
        (START_S - MEMORY_S + 1, true),
        (START_S, true),
        (START_S + skew, true),
        (START_S + skew + 1, false),
    ];
    for (secs, taken) in table {
        let mut desk = desk();
        let ask = desk.ask_for("ann", 1, made_at(secs, 1), 0);
        let remembered = desk.ledger.may_remember(desk.now.next(), ask.request);
        assert_eq!(remembered, taken, "{secs}: one would be remembered as long as it is taken");
        match desk.place(ask) {
            Ok(_) => assert!(taken, "{secs}"),
            Err(Rejection::RequestOutsideMemory { .. }) => assert!(!taken, "{secs}"),
            Err(other) => panic!("{other:?}"),
        }
    }
    let mut desk = desk();
    let no_time = desk.ask_for("ann", 1, RequestId::from_bytes([0x11; 16]), 0);
    assert_eq!(code(desk.place(no_time)), "ledger.request_outside_memory");
}

#[test]
fn what_is_forgotten_is_refused_and_never_taken_for_new() {
    let mut desk = desk();
    let first = desk.ask("ann", 1);
    desk.place(first.clone()).unwrap();
    desk.wait(MEMORY_S + 1);
    assert_eq!(code(desk.place(first.clone())), "ledger.request_outside_memory");
    desk.hold("ann", 1).unwrap();
    assert_eq!(desk.ledger.requests().len(), 1);
    // Its hold stays, and ends as any other.
    desk.doubt(first.payment).unwrap();
    desk.expire(first.payment, START_S + 1000).unwrap();
    let again = desk.ask_for("ann", 1, first.request, 1);
    assert_eq!(code(desk.place(again)), "ledger.request_outside_memory");
}

#[test]
fn a_full_memory_forgets_the_oldest_and_raises_its_floor() {
    let mut desk = desk();
    let asks: Vec<HoldAsk> = (0..5)
        .map(|_| {
            desk.wait(10);
            let ask = desk.ask("ann", 1);
            desk.place(ask.clone()).unwrap();
            ask
        })
        .collect();
    assert_eq!(desk.ledger.requests().len(), 4);
    assert_eq!(code(desk.place(asks[0].clone())), "ledger.request_outside_memory");
    for ask in &asks[1..] {
        assert_eq!(code(desk.place(ask.clone())), "ledger.exists");
    }
    // As old as the forgotten one or older: nobody knows any more whether it was seen.
    let old = made_at(asks[0].request.made_at_ms().unwrap() / 1000, 0xff);
    let old = desk.ask_for("ann", 1, old, 0);
    assert_eq!(code(desk.place(old)), "ledger.request_outside_memory");
    let between = made_at(asks[0].request.made_at_ms().unwrap() / 1000 + 5, 0xff);
    let between = desk.ask_for("ann", 1, between, 0);
    desk.place(between.clone()).unwrap();
    // It was the oldest, so it was forgotten at once; it is refused and not placed twice.
    assert_eq!(code(desk.place(between.clone())), "ledger.request_outside_memory");
    assert!(desk.ledger.find_hold(between.payment).is_some());
}
