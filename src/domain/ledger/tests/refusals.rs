//! What a refusal tells a program: whether asking again can help.

use super::fixture::*;
use crate::domain::fault::{Class, Fault};
use crate::domain::id::{AgentId, Fingerprint};
use crate::domain::ledger::agent::{Principal, Scope};
use crate::domain::ledger::command::HoldAsk;
use crate::domain::ledger::{Bounds, Command, Rejection};
use crate::domain::money::Amount;

/// What is asked of a desk with a budget of 100, that is refused.
type Asked = fn(&mut Desk) -> Result<(), Rejection>;

fn again(desk: &mut Desk, change: fn(&mut HoldAsk)) -> Result<(), Rejection> {
    let mut ask = desk.ask("ann", 10);
    let payment = desk.place(ask.clone())?;
    desk.void(payment)?;
    change(&mut ask);
    desk.place(ask).map(|_| ())
}

#[test]
fn a_refusal_says_whether_the_same_may_be_taken_later() {
    let table: [(&str, Class, Asked); 12] = [
        ("ledger.over_budget", Class::Later, |desk| desk.hold("ann", 101).map(|_| ())),
        ("ledger.insufficient_funds", Class::Later, |desk| desk.hold("bob", 11).map(|_| ())),
        ("ledger.paused", Class::Later, |desk| {
            let (scope, reason, by) = (Scope::All, "storm".to_owned(), Principal::Operator);
            desk.execute(Command::Pause { scope, reason, by })?;
            desk.hold("ann", 1).map(|_| ())
        }),
        ("ledger.stale_policy", Class::Later, |desk| {
            let ask = desk.ask("ann", 1);
            desk.policy(vec![pool(50)])?;
            desk.place(ask).map(|_| ())
        }),
        ("ledger.wrong_attempt", Class::Later, |desk| again(desk, |ask| ask.attempt = 2)),
        ("ledger.full", Class::Later, |desk| {
            (0..3).try_for_each(|_| desk.hold("ann", 1).map(|_| ()))
        }),
        ("ledger.still_live", Class::Later, |desk| {
            let payment = desk.hold("ann", 1)?;
            desk.expire(payment, START_S).map(|_| ())
        }),
        ("ledger.request_conflict", Class::Final, |desk| {
            again(desk, |ask| ask.fingerprint = Fingerprint::from_bytes([9; 16]))
        }),
        ("ledger.exists", Class::Final, |desk| {
            let ask = desk.ask("ann", 1);
            desk.place(ask.clone())?;
            desk.place(ask).map(|_| ())
        }),
        ("ledger.unknown_agent", Class::Final, |desk| {
            let ask = HoldAsk { agent: AgentId::from_bytes([0; 16]), ..desk.ask("ann", 1) };
            desk.place(ask).map(|_| ())
        }),
        ("ledger.amount_out_of_range", Class::Final, |desk| {
            let mut ask = desk.ask("ann", 1);
            ask.commitment.amount_max = Amount::ZERO;
            desk.place(ask).map(|_| ())
        }),
        ("ledger.no_budget", Class::Final, |desk| {
            desk.policy(vec![])?;
            desk.hold("ann", 1).map(|_| ())
        }),
    ];
    for (code, class, asked) in table {
        let bounds = Bounds { holds_max: 2, ..Bounds::default() };
        let mut desk = Desk::bounded(bounds, vec![pool(100)]);
        desk.wallet("small", 10);
        desk.agent("bob", "scout", "red", "small");
        let refused = asked(&mut desk).unwrap_err();
        assert_eq!((refused.code(), refused.class()), (code, class), "{refused:?}");
    }
}
