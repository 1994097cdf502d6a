//! The fleet: rails, wallets, agents, funds, and books that balance.

use super::fixture::*;
use crate::domain::asset::Network;
use crate::domain::ledger::agent::{Agent, Principal};
use crate::domain::ledger::books::{BookAccount, Commodity};
use crate::domain::ledger::hold::CaptureProof;
use crate::domain::ledger::{Bounds, Command, Rejection};
use crate::domain::money::Amount;

#[test]
fn a_rail_is_pinned_once() {
    let mut desk = Desk::new(vec![]);
    let network = Network::SANDBOX;
    let pin = |n| Command::PinRail { network, genesis: number(n) };
    desk.execute(pin(1)).unwrap();
    assert_eq!(code(desk.execute(pin(1))), "ledger.unchanged");
    let rejection = Rejection::WrongGenesis { network, pinned: number(1), found: number(2) };
    assert_eq!(desk.execute(pin(2)), Err(rejection));
    assert_eq!(desk.ledger.find_rail(network), Some(number(1)));
}

#[test]
fn one_key_is_one_wallet() {
    let mut desk = Desk::new(vec![]);
    let open = |label: &str, of: &str| Command::OpenWallet {
        wallet: name(label),
        address: wallet_address(of),
    };
    assert_eq!(code(desk.execute(open("main", "main"))), "ledger.unchanged");
    assert_eq!(code(desk.execute(open("main", "side"))), "ledger.name_taken");
    assert_eq!(code(desk.execute(open("side", "main"))), "ledger.address_taken");
    desk.execute(open("side", "side")).unwrap();
}

#[test]
fn agents_have_one_name_one_token_and_a_wallet() {
    let mut desk = Desk::bounded(Bounds { agents_max: 3, ..Bounds::default() }, vec![]);
    let agent = |label: &str, wallet: &str, of: &str| Command::AddAgent {
        agent: Agent {
            name: name(label),
            role: name("scout"),
            group: name("red"),
            wallet: name(wallet),
            token: token(of),
            delegation: None,
        },
        by: Principal::Operator,
    };
    assert_eq!(code(desk.execute(agent("ann", "main", "new"))), "ledger.name_taken");
    assert_eq!(code(desk.execute(agent("bob", "main", "ann"))), "ledger.token_taken");
    assert_eq!(code(desk.execute(agent("bob", "none", "bob"))), "ledger.unknown_wallet");
    desk.execute(agent("bob", "main", "bob")).unwrap();
    desk.delegate("ann", "kid", 1, START_S + 100).unwrap();
    assert_eq!(code(desk.execute(agent("cid", "main", "cid"))), "ledger.full");
    let replace = |label: &str, of: &str| Command::ReplaceToken {
        agent: name(label),
        token: token(of),
        by: Principal::Operator,
    };
    assert_eq!(code(desk.execute(replace("cid", "cid"))), "ledger.unknown_agent");
    assert_eq!(code(desk.execute(replace("ann", "bob"))), "ledger.token_taken");
    desk.execute(replace("ann", "fresh")).unwrap();
    assert!(desk.ledger.find_token(&token("ann")).is_none(), "the old one proves nothing");
    assert_eq!(desk.ledger.find_token(&token("fresh")).unwrap().name, name("ann"));
}

#[test]
fn an_operator_cannot_pass_an_agent_off_as_a_delegate() {
    let mut desk = Desk::new(vec![pool(100)]);
    desk.delegate("ann", "kid", 10, START_S + 100).unwrap();
    let kid = desk.ledger.find_agent(agent_id("kid")).unwrap().clone();
    let agent = Agent { name: name("bob"), token: token("bob"), ..kid };
    desk.execute(Command::AddAgent { agent, by: Principal::Operator }).unwrap();
    assert_eq!(desk.ledger.find_agent(agent_id("bob")).unwrap().delegation, None);
}

#[test]
fn funds_are_counted_once_for_each_block() {
    let mut desk = Desk::new(vec![pool(1000)]);
    desk.wallet("side", 0);
    assert_eq!(code(desk.fund("none", 1, 0, 1)), "ledger.unknown_wallet");
    // Entered, left, up to which block; the refusal's code, or what is owned then.
    let table = [
        (0, 1, 4, Err("ledger.funds_below_zero")),
        (100, 0, 5, Ok(100)),
        (100, 0, 5, Err("ledger.unchanged")),
        (100, 0, 4, Err("ledger.unchanged")),
        (0, 101, 6, Err("ledger.funds_below_zero")),
        (10, 110, 6, Ok(0)),
        (0, 0, 7, Ok(0)),
        (3, 0, 7, Err("ledger.unchanged")),
        (3, 0, 8, Ok(3)),
    ];
    for (entered, left, up_to, expected) in table {
        let asked = desk.fund("side", entered, left, up_to);
        match expected {
            Err(expected) => assert_eq!(code(asked), expected, "{entered} {left} {up_to}"),
            Ok(owned) => {
                asked.unwrap();
                let wallet = desk.ledger.find_wallet_at(wallet_address("side")).unwrap();
                assert_eq!(wallet.find(asset()).unwrap().owned(), Amount::new(owned));
            }
        }
        assert!(desk.ledger.books().balanced());
    }
}

#[test]
fn two_rounds_that_count_from_the_same_block_count_once() {
    let mut desk = Desk::new(vec![]);
    desk.wallet("side", 0);
    assert_eq!(code(desk.fund_after(Some(1), "side", 5, 0, 2)), "ledger.unchanged");
    desk.fund_after(None, "side", 5, 0, 2).unwrap();
    assert_eq!(code(desk.fund_after(None, "side", 5, 0, 3)), "ledger.unchanged");
    assert_eq!(code(desk.fund_after(Some(1), "side", 5, 0, 3)), "ledger.unchanged");
    desk.fund_after(Some(2), "side", 5, 0, 3).unwrap();
}

#[test]
fn money_that_left_beneath_a_hold_lets_no_new_one_in() {
    let mut desk = Desk::new(vec![pool(1000)]);
    desk.wallet("side", 100);
    desk.agent("bob", "scout", "red", "side");
    let open = desk.hold("bob", 60).unwrap();
    desk.fund("side", 0, 70, 2).unwrap();
    assert_eq!(code(desk.hold("bob", 1)), "ledger.insufficient_funds");
    desk.void(open).unwrap();
    assert_eq!(code(desk.hold("bob", 31)), "ledger.insufficient_funds");
    desk.hold("bob", 30).unwrap();
}

#[test]
fn the_books_say_where_every_unit_is() {
    let mut desk = Desk::new(vec![pool(1000)]);
    let [held, voided, lied, paid] = [1, 2, 4, 8].map(|units| desk.hold("ann", units).unwrap());
    desk.void(voided).unwrap();
    desk.capture(lied).unwrap();
    desk.expire(lied, START_S + 1000).unwrap();
    desk.capture_by(paid, CaptureProof::Chain(block(START_S))).unwrap();
    let mut claims = Vec::new();
    for (nonce, units) in [(1, 16), (2, 32), (3, 64)] {
        let accepted = desk.accepted(nonce, units);
        claims.push((accepted.key(), accepted.amount));
        desk.execute(Command::Accept(Box::new(accepted))).unwrap();
    }
    for (claim, amount) in &claims {
        let transaction = number(5);
        let (claim, amount, moved_at_s) = (*claim, *amount, START_S);
        let settle = Command::SettleClaim { claim, amount, transaction, moved_at_s };
        desk.execute(settle).unwrap();
    }
    desk.execute(Command::Serve { claim: claims[0].0, delivery: delivery() }).unwrap();
    desk.execute(Command::BeginRefund { claim: claims[1].0 }).unwrap();
    desk.execute(Command::Refund { claim: claims[1].0, transaction: number(6) }).unwrap();
    let gas = Command::SpendGas {
        network: Network::SANDBOX,
        amount: Amount::new(21_000),
        transaction: number(5),
    };
    desk.execute(gas).unwrap();
    let rest = |account| {
        let sums = desk.ledger.books().find(Commodity::Asset(asset()), account);
        i128::try_from(sums.debits).unwrap() - i128::try_from(sums.credits).unwrap()
    };
    assert_eq!(rest(BookAccount::Escrow), 1);
    assert_eq!(rest(BookAccount::Wallet), (1 << 40) - 9);
    assert_eq!(rest(BookAccount::Earned), 16);
    assert_eq!(rest(BookAccount::Due), 64);
    assert_eq!(rest(BookAccount::Loss), 0);
    assert!(desk.ledger.books().balanced());
    desk.expire(held, START_S + 1000).unwrap();
    assert_eq!(desk.numbers("pool"), (8, 0));
}
