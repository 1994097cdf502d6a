//! What is given away, and what is lent: counted once, bounded in every direction.

use alloy::primitives::Address;

use super::fixture::*;
use crate::domain::id::{Fingerprint, PaymentId, PeerId};
use crate::domain::ledger::books::{BookAccount, Commodity, Sums};
use crate::domain::ledger::claim::Accepted;
use crate::domain::ledger::credit::{CreditLimits, Owed};
use crate::domain::ledger::grants::{Allowance, Counted, Grant};
use crate::domain::ledger::metered::{Metered, Whose};
use crate::domain::ledger::{Command, Event, Rejection};
use crate::domain::money::Amount;
use crate::domain::order::Usage;

const ALLOWANCE: Allowance = Allowance { calls: 3, peer_per_day: 5, per_day: 8, payers_max: 4 };

fn payer(n: u8) -> Address {
    Address::repeat_byte(n)
}

fn peer(n: u8) -> PeerId {
    PeerId::from_bytes([n; 16])
}

/// Call `call` of payer `n`, from address `from`.
fn grant(n: u8, call: u8, from: u8) -> Grant {
    Grant {
        payer: payer(n),
        payment: PaymentId::from_bytes([call; 16]),
        fingerprint: Fingerprint::from_bytes([call; 16]),
        order: number(u64::from(call)),
        issued_at_s: START_S,
        peer: Some(peer(from)),
        provider: name("scribe"),
        capability: name("text.generate"),
        model: name("m"),
    }
}

fn give(desk: &mut Desk, grant: Grant) -> Result<Event, Rejection> {
    desk.execute(Command::Grant { grant: Box::new(grant), allowance: ALLOWANCE })
}

fn metered(whose: Whose) -> Command {
    Command::Meter(Box::new(Metered {
        whose,
        provider: name("scribe"),
        capability: name("text.generate"),
        model: name("m"),
        usage: Usage::default(),
        stored: 0,
        asset: asset(),
        amount: Amount::ZERO,
        transaction: None,
    }))
}

#[test]
fn a_key_has_its_free_calls_and_no_more() {
    let mut desk = Desk::new(vec![]);
    for call in 1..=3 {
        give(&mut desk, grant(1, call, 1)).unwrap();
    }
    assert_eq!(desk.ledger.grants().counted(payer(1)), Counted { calls: 3, free_used: 3 });
    let refused = give(&mut desk, grant(1, 4, 1));
    assert_eq!(
        refused,
        Err(Rejection::AllowanceSpent { what: "free calls of this key", bound: 3 })
    );
    // For life: neither another address nor another day gives it more.
    desk.wait(3 * 24 * 3600);
    assert_eq!(code(give(&mut desk, grant(1, 5, 2))), "ledger.allowance_spent");
    give(&mut desk, grant(2, 1, 1)).unwrap();
}

#[test]
fn keys_without_number_get_no_more_than_their_address_their_day_and_the_memory_allow() {
    let mut desk = Desk::new(vec![]);
    let given = |desk: &mut Desk, n, call, from| give(desk, grant(n, call, from)).is_ok();
    // Five from one address, by whatever keys.
    let from_one: Vec<bool> = [(1, 1), (1, 2), (2, 1), (2, 2), (3, 1), (3, 2), (4, 1)]
        .map(|(n, call)| given(&mut desk, n, call, 1))
        .to_vec();
    assert_eq!(from_one, [true, true, true, true, true, false, false]);
    // Eight in all, from whatever addresses.
    let from_others: Vec<bool> =
        [2, 3, 4, 5].map(|from| given(&mut desk, 3, 10 + from, from)).to_vec();
    assert_eq!(from_others, [true, true, false, false], "three of a key, eight a day");
    assert!(given(&mut desk, 4, 1, 9));
    assert!(!given(&mut desk, 4, 2, 9), "eight a day");
    // The next day counts anew, and a fifth key finds no room.
    desk.wait(24 * 3600);
    assert!(given(&mut desk, 4, 3, 1));
    assert!(!given(&mut desk, 5, 1, 7), "four keys are remembered");
    assert_eq!(desk.ledger.grants().payers_len(), 4);
}

#[test]
fn an_order_is_granted_once_and_bound_to_what_it_says() {
    let mut desk = Desk::new(vec![]);
    give(&mut desk, grant(1, 1, 1)).unwrap();
    assert_eq!(give(&mut desk, grant(1, 1, 1)), Err(Rejection::Unchanged));
    let other = Grant { fingerprint: Fingerprint::from_bytes([9; 16]), ..grant(1, 1, 1) };
    assert_eq!(code(give(&mut desk, other)), "ledger.granted_elsewhere");
    // Another's call of the same name is another call.
    give(&mut desk, grant(2, 1, 1)).unwrap();
    assert_eq!(desk.ledger.grants().counted(payer(1)).free_used, 1);

    let whose = Whose::Granted { payer: payer(1), payment: PaymentId::from_bytes([1; 16]) };
    desk.execute(metered(whose)).unwrap();
    assert_eq!(code(desk.execute(metered(whose))), "ledger.unknown_grant", "served once");
    let never = Whose::Granted { payer: payer(1), payment: PaymentId::from_bytes([2; 16]) };
    assert_eq!(code(desk.execute(metered(never))), "ledger.unknown_grant");
}

/// Far longer than a signed order is taken: none comes again after that.
#[test]
fn a_grant_is_remembered_for_an_hour_after_its_order_was_signed() {
    let mut desk = Desk::new(vec![]);
    give(&mut desk, grant(1, 1, 1)).unwrap();
    let remembered =
        |desk: &Desk| desk.ledger.grants().is_owed(payer(1), PaymentId::from_bytes([1; 16]));
    for (call, secs, kept) in [(2, 3_599, true), (3, 3_600, false)] {
        desk.at(START_S + secs);
        let later = Grant { issued_at_s: START_S + secs, ..grant(2, call, 1) };
        give(&mut desk, later).unwrap();
        assert_eq!(remembered(&desk), kept, "{secs}");
    }
}

#[test]
fn what_an_agent_used_for_nothing_is_metered_and_its_request_remembered() {
    let mut desk = Desk::new(vec![]);
    let ask = desk.ask("ann", 1);
    let (agent, payment, request) = (ask.agent, ask.payment, ask.request);
    let bought = |free| metered(Whose::Bought { agent, payment, request, free });
    assert_eq!(desk.execute(bought(None)).unwrap().kind(), "usage_metered");
    assert_eq!(desk.ledger.requests().find(agent, request), None, "its hold remembers it");
    desk.execute(bought(Some(ask.fingerprint))).unwrap();
    let found = desk.ledger.requests().find(agent, request).unwrap();
    assert_eq!((found.payment, found.fingerprint), (payment, ask.fingerprint));
    assert_eq!(code(desk.place(ask)), "ledger.exists");
}

#[test]
fn no_allowance_gives_nothing() {
    let mut desk = Desk::new(vec![]);
    for allowance in [
        Allowance { calls: 0, ..ALLOWANCE },
        Allowance { peer_per_day: 0, ..ALLOWANCE },
        Allowance { per_day: 0, ..ALLOWANCE },
        Allowance { payers_max: 0, ..ALLOWANCE },
    ] {
        let grant = Box::new(grant(1, 1, 1));
        let asked = desk.execute(Command::Grant { grant, allowance });
        assert_eq!(code(asked), "ledger.allowance_spent", "{allowance:?}");
    }
}

#[test]
fn paid_calls_of_a_ware_with_tiers_count_with_the_free_ones() {
    let mut desk = Desk::new(vec![]);
    give(&mut desk, grant(1, 1, 1)).unwrap();
    for (n, tiered) in [(1, true), (1, true), (1, false), (2, true), (3, false)] {
        let whose = Whose::Sold { payer: payer(n), payment: None, tiered };
        desk.execute(metered(whose)).unwrap();
    }
    let calls = |n| desk.ledger.grants().counted(payer(n)).calls;
    assert_eq!([1, 2, 3].map(calls), [3, 1, 0]);
    let nobody = Whose::Bought {
        agent: agent_id("nobody"),
        payment: PaymentId::from_bytes([1; 16]),
        request: crate::domain::id::RequestId::new(1, [0; 10]),
        free: None,
    };
    assert_eq!(code(desk.execute(metered(nobody))), "ledger.unknown_agent");
}

fn limits(per_payer: u128, total: u128, owned: u128) -> CreditLimits {
    let [per_payer, total, owned] = [per_payer, total, owned].map(Amount::new);
    CreditLimits { per_payer, total, owned }
}

/// Binds `accepted` and serves it on credit.
fn lend(desk: &mut Desk, accepted: &Accepted, limits: CreditLimits) -> Result<Event, Rejection> {
    desk.execute(Command::Accept(Box::new(accepted.clone()))).unwrap();
    let claim = accepted.key();
    desk.execute(Command::ServeOnCredit { claim, delivery: delivery(), limits })
}

fn settle(desk: &mut Desk, accepted: &Accepted) -> Result<Event, Rejection> {
    let (claim, amount) = (accepted.key(), accepted.amount);
    let transaction = number(5);
    desk.execute(Command::SettleClaim { claim, amount, transaction, moved_at_s: START_S })
}

fn left(desk: &Desk, account: BookAccount) -> i128 {
    let Sums { debits, credits } = desk.ledger.books().find(Commodity::Asset(asset()), account);
    i128::try_from(debits).unwrap() - i128::try_from(credits).unwrap()
}

#[test]
fn credit_ends_at_the_payers_limit_at_that_of_all_and_at_what_the_payer_owns() {
    for (limits, served) in [
        (limits(30, 100, 100), 3),
        (limits(29, 100, 100), 2),
        (limits(100, 20, 100), 2),
        (limits(100, 100, 45), 4),
        (limits(9, 100, 100), 0),
    ] {
        let mut desk = Desk::new(vec![]);
        let lent = (1..=6).filter(|n| {
            let accepted = desk.accepted(*n, 10);
            lend(&mut desk, &accepted, limits).is_ok()
        });
        assert_eq!(lent.count(), served, "{limits:?}");
    }
}

#[test]
fn what_is_paid_gives_its_credit_back() {
    let mut desk = Desk::new(vec![]);
    let (one, two) = (desk.accepted(1, 10), desk.accepted(2, 10));
    lend(&mut desk, &one, limits(10, 10, 10)).unwrap();
    let claim = two.key();
    assert_eq!(
        lend(&mut desk, &two, limits(10, 10, 10)),
        Err(Rejection::NoCredit { owed: Amount::new(10), limit: Amount::new(10) })
    );
    assert_eq!(left(&desk, BookAccount::Owed), -10);
    assert_eq!(settle(&mut desk, &one).unwrap().kind(), "credit_paid");
    assert_eq!(desk.ledger.credit().total(asset()), Owed::default());
    assert_eq!((left(&desk, BookAccount::Owed), left(&desk, BookAccount::Earned)), (0, 10));
    let serve = Command::ServeOnCredit { claim, delivery: delivery(), limits: limits(10, 10, 10) };
    desk.execute(serve).unwrap();
    assert_eq!(code(settle(&mut desk, &one)), "ledger.wrong_claim_state", "paid once");
    assert!(desk.ledger.books().balanced());
}

#[test]
fn a_loss_is_booked_and_leaves_no_credit_until_it_is_paid() {
    let mut desk = Desk::new(vec![]);
    let (one, two) = (desk.accepted(1, 10), desk.accepted(2, 10));
    lend(&mut desk, &one, limits(100, 100, 100)).unwrap();
    let claim = one.key();
    assert_eq!(
        code(desk.execute(Command::ReleaseClaim { claim })),
        "ledger.wrong_claim_state",
        "what was served is not given up"
    );
    let lost = desk.execute(Command::KillClaim { claim }).unwrap();
    assert_eq!(lost, Event::ClaimDied { claim, loss: Amount::new(10) });
    assert_eq!((left(&desk, BookAccount::Loss), left(&desk, BookAccount::Earned)), (10, 0));
    let owed = Owed { outstanding: Amount::ZERO, lost: Amount::new(10) };
    assert_eq!(desk.ledger.credit().of(asset(), one.payer()), owed);
    assert_eq!(
        lend(&mut desk, &two, limits(100, 100, 100)),
        Err(Rejection::NoCredit { owed: Amount::new(10), limit: Amount::ZERO })
    );
    assert_eq!(code(desk.execute(Command::KillClaim { claim })), "ledger.wrong_claim_state");

    settle(&mut desk, &one).unwrap();
    assert_eq!((left(&desk, BookAccount::Loss), left(&desk, BookAccount::Earned)), (0, 10));
    assert_eq!(left(&desk, BookAccount::Owed), 0);
    let claim = two.key();
    let serve =
        Command::ServeOnCredit { claim, delivery: delivery(), limits: limits(100, 100, 100) };
    desk.execute(serve).unwrap();
    assert!(desk.ledger.books().balanced());
}

#[test]
fn only_what_is_bound_and_nothing_more_is_lent_on() {
    for before in ["nothing", "settled", "released", "doubted"] {
        let mut desk = Desk::new(vec![]);
        let accepted = desk.accepted(1, 10);
        let claim = accepted.key();
        if before != "nothing" {
            desk.execute(Command::Accept(Box::new(accepted.clone()))).unwrap();
        }
        match before {
            "settled" => drop(settle(&mut desk, &accepted).unwrap()),
            "released" => drop(desk.execute(Command::ReleaseClaim { claim }).unwrap()),
            "doubted" => {
                desk.execute(Command::DoubtClaim { claim, transaction: None }).unwrap();
            }
            _ => {}
        }
        let limits = limits(100, 100, 100);
        let asked = desk.execute(Command::ServeOnCredit { claim, delivery: delivery(), limits });
        assert!(asked.is_err(), "{before}");
    }
}

#[test]
fn what_an_address_was_given_counts_until_midnight_utc() {
    let mut desk = Desk::new(vec![]);
    for (key, call) in [(1, 1), (1, 2), (1, 3), (2, 4), (2, 5)] {
        give(&mut desk, grant(key, call, 1)).unwrap();
    }
    // It began at noon.
    let midnight = START_S + 12 * 3600;
    let next = |issued_at_s| Grant { issued_at_s, ..grant(3, 6, 1) };
    desk.at(midnight - 2);
    assert_eq!(code(give(&mut desk, next(midnight - 2))), "ledger.allowance_spent");
    desk.at(midnight);
    give(&mut desk, next(midnight)).unwrap();
}
