//! How a ledger is looked at: what is listed, in which order, and what a payment would come under.

use std::collections::BTreeMap;

use super::fixture::*;
use crate::domain::id::{AgentId, ProviderId};
use crate::domain::ledger::agent::{Scope, Token};
use crate::domain::ledger::books::{BookAccount, Books, Commodity, Sums};
use crate::domain::ledger::budget::{BudgetCheck, Per, Selector};
use crate::domain::ledger::window::WindowSpec;

#[test]
fn agents_are_listed_by_name_and_holds_by_when_they_were_placed() {
    let mut desk = Desk::new(vec![pool(100)]);
    for label in ["zoe", "bob"] {
        desk.agent(label, "scout", "red", "main");
    }
    let names: Vec<_> = desk.ledger.agents().iter().map(|agent| agent.name.as_str()).collect();
    assert_eq!(names, ["ann", "bob", "zoe"]);
    let [first, second, third] = ["zoe", "bob", "ann"].map(|agent| desk.hold(agent, 1).unwrap());
    let listed = |desk: &Desk| -> Vec<_> {
        desk.ledger.holds().iter().map(|hold| hold.held.payment).collect()
    };
    assert_eq!(listed(&desk), [first, second, third]);
    desk.void(first).unwrap();
    assert_eq!(listed(&desk), [second, third]);
}

#[test]
fn an_agent_is_shown_each_account_that_any_payment_of_it_comes_under() {
    let whole = WindowSpec::Lifetime;
    let scribe = Selector::Provider(ProviderId::named(&name("scribe-1")));
    let each = budget("each", Selector::Fleet, Per::Agent, 60, whole.clone());
    let task = budget("task", Selector::Fleet, Per::Session, 50, session(60));
    let other = budget("bob", Selector::Agent(agent_id("bob")), Per::All, 40, whole.clone());
    let provider = budget("provider", scribe, Per::All, 30, whole);
    let mut desk = Desk::new(vec![pool(100), each, task, other, provider]);
    desk.delegate("ann", "kid", 20, START_S + 1_000).unwrap();
    desk.hold("ann", 3).unwrap();
    desk.hold_in("kid", 4, "work").unwrap();
    let shown = |agent: AgentId, session: Option<&str>| -> Vec<(String, u64, u64)> {
        let accounts = desk.ledger.accounts_of(agent, session.map(name).as_ref(), desk.now);
        let text =
            |check: &BudgetCheck| (check.budget.to_string(), check.held.get(), check.left().get());
        accounts.iter().map(text).collect()
    };
    let expect = |rows: &[(&str, u64, u64)]| -> Vec<(String, u64, u64)> {
        rows.iter().map(|(label, held, left)| ((*label).to_owned(), *held, *left)).collect()
    };
    // A sub-agent counts in its root's account, and in what was carved out for it.
    let general = [("pool", 7, 93), ("each", 7, 53)];
    assert_eq!(shown(agent_id("ann"), None), expect(&general));
    let kids = [general[0], general[1], ("task", 4, 46), ("delegation", 4, 16)];
    assert_eq!(shown(agent_id("kid"), Some("work")), expect(&kids));
    assert_eq!(shown(agent_id("nobody"), None), []);
}

#[test]
fn the_budget_of_an_account_is_found_by_its_number() {
    let desk = Desk::new(vec![pool(100)]);
    let account = desk.account("pool").account;
    assert_eq!(desk.ledger.caps().find(account.budget), Some(&pool(100)));
    let active: Vec<_> = desk.ledger.caps().active().collect();
    assert_eq!(active, [(account.budget, &pool(100))]);
}

/// Books as a snapshot would carry them.
fn books(sums: &[(Commodity, BookAccount, u128, u128)]) -> Books {
    let rows = sums.iter().map(|(commodity, account, debits, credits)| {
        ((*commodity, *account), Sums { debits: *debits, credits: *credits })
    });
    let rows: BTreeMap<_, _> = rows.collect();
    postcard::from_bytes(&postcard::to_stdvec(&rows).unwrap()).unwrap()
}

#[test]
fn books_are_balanced_where_as_much_entered_as_left_in_each_commodity() {
    use BookAccount::{External, Wallet};
    let (token, gas) = (Commodity::Asset(asset()), Commodity::Native(asset().network));
    let table = [
        (vec![], true),
        (vec![(token, External, 0, 5), (token, Wallet, 5, 0)], true),
        (vec![(token, External, 2, 5), (token, Wallet, 5, 2)], true),
        (vec![(token, External, 0, 5), (token, Wallet, 6, 0)], false),
        (vec![(token, External, 0, 5)], false),
        (vec![(token, External, 0, 5), (gas, Wallet, 5, 0)], false),
    ];
    for (sums, balanced) in table {
        assert_eq!(books(&sums).balanced(), balanced, "{sums:?}");
    }
}

#[test]
fn a_token_says_whose_it_is_and_is_known_by_its_hash() {
    let tokens = [
        (Token::for_agent(&name("ann"), [0; 32]), "bat_ann_"),
        (Token::for_operator([0; 32]), "bop_"),
    ];
    for (token, begins) in tokens {
        let text = token.reveal();
        assert_eq!(text, format!("{begins}{}", "A".repeat(43)));
        assert_eq!(Token::shown(text).hash(), token.hash());
        assert!(!format!("{token:?}").contains(text), "it is never logged");
    }
}

#[test]
fn what_is_paused_is_called_by_its_kind_and_name() {
    let scopes = [
        (Scope::All, "all"),
        (Scope::Group(name("red")), "group/red"),
        (Scope::Role(name("scout")), "role/scout"),
        (Scope::Agent(name("ann")), "agent/ann"),
    ];
    for (scope, text) in scopes {
        assert_eq!(scope.to_string(), text);
    }
}
