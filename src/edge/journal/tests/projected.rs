//! The readable tables say what the ledger says.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rusqlite::Connection;
use rusqlite::types::Value;

use super::super::feed::{Batch, Feed};
use super::super::projection::Projection;
use super::super::store::Shared;
use super::super::tables::Tables;
use super::super::{Options, chain, file};
use super::{later, open, place, samples};
use crate::domain::ledger::agent::{Delegation, Principal, Scope, TokenHash};
use crate::domain::ledger::books::BookAccount;
use crate::domain::ledger::budget::{
    AccountKey, BudgetCheck, BudgetDef, BudgetNo, Per, Seat, Selector,
};
use crate::domain::ledger::hold::{CaptureProof, Closed, VoidProof};
use crate::domain::ledger::window::WindowSpec;
use crate::domain::ledger::{Bounds, Event, Ledger};
use crate::domain::money::{Amount, Nano};
use crate::domain::time::Timestamp;
use crate::ports::journal::{Entry, Journal};

/// The time of entry `seq` here: far enough apart for rolling buckets to come and go.
fn when(seq: u64) -> Timestamp {
    later(0).after(Duration::from_millis(seq * 700))
}

/// Two policies, a sub-agent, then payments and claims that go every way they can, by a fixed dice.
pub(super) fn story() -> Arc<[Entry]> {
    let mut events = vec![
        samples::policy(),
        samples::wallet_opened(),
        samples::agent_added(),
        samples::funds_seen(5_000_000),
        second_policy(),
        Event::Delegated {
            delegation: crate::domain::id::DelegationId::from_bytes([4; 16]),
            terms: Delegation {
                parent: samples::agent().id(),
                child: crate::domain::id::AgentId::named(&samples::name("cub")),
                limit: Nano::new(50_000_000),
                until: later(100_000),
            },
            name: samples::name("cub"),
            token: TokenHash([8; 32]),
        },
        Event::Paused {
            scope: Scope::Role(samples::name("scout")),
            reason: "odd".to_owned(),
            by: Principal::Operator,
        },
        Event::Resumed { scope: Scope::Role(samples::name("scout")), by: Principal::Operator },
        Event::Paused { scope: Scope::All, reason: "over".to_owned(), by: Principal::Node },
    ];
    let mut dice: u64 = 7;
    for n in 1..=250 {
        dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let seq = u64::try_from(events.len()).unwrap() + 1;
        events.push(held_in_bucket(n, when(seq)));
        events.extend(end_of(n, dice >> 60));
        events.extend(claim_of(n, (dice >> 56) & 7));
    }
    (1..).zip(events).map(|(seq, event)| Entry { seq, at: when(seq), event }).collect()
}

/// The first policy's daily budget with another limit, and a rolling one, of number 2.
fn second_policy() -> Event {
    let Event::PolicyApplied { mut budgets, document, reason, by, .. } = samples::policy() else {
        unreachable!("the sample is a policy");
    };
    budgets[0].1.limit = Nano::new(3_000_000_000);
    let span = Duration::from_secs(60);
    budgets.push((
        BudgetNo(2),
        BudgetDef {
            name: samples::name("minute"),
            selector: Selector::Role(samples::agent().role_id()),
            per: Per::Role,
            limit: Nano::ONE,
            window: WindowSpec::Rolling { span },
        },
    ));
    Event::PolicyApplied { version: 2, budgets, document, reason, by }
}

fn held_in_bucket(n: u64, at: Timestamp) -> Event {
    let Event::Held(mut held) = samples::held(n) else { unreachable!("the sample is a hold") };
    let from = Timestamp::from_secs(at.as_secs());
    let role = *samples::agent().role_id().as_bytes();
    let seats = &mut Arc::make_mut(&mut held).seats;
    seats.push(Seat {
        account: AccountKey { budget: BudgetNo(2), subject: role },
        from,
        until: from.after(Duration::from_secs(1)),
    });
    if n.is_multiple_of(10) {
        seats.push(Seat {
            account: AccountKey { budget: AccountKey::DELEGATION, subject: [4; 16] },
            from: Timestamp::ZERO,
            until: Timestamp::MAX,
        });
    }
    Event::Held(held)
}

fn end_of(n: u64, way: u64) -> Vec<Event> {
    let (payment, transaction, block) = (samples::payment(n), samples::TRANSFER, samples::BLOCK);
    let held = samples::HELD;
    let (amount, nano) = (Amount::new(800), Nano::new(800_000));
    let capture = |proof| Event::Captured { payment, amount, nano, transaction, proof, held };
    let captured = crate::domain::money::Money { amount, asset: held.asset };
    match way {
        0 => vec![],
        1 => vec![Event::Doubted { payment }],
        2 => vec![Event::Doubted { payment }, capture(CaptureProof::Chain(block))],
        3 => vec![Event::Voided { payment, proof: VoidProof::NeverSigned, held }],
        4 => vec![Event::Expired { payment, block, held }],
        5 => vec![
            capture(CaptureProof::Receipt),
            Event::CaptureReversed { payment, block, captured, nano },
        ],
        6 => vec![capture(CaptureProof::Receipt)],
        8 => vec![in_part(n)],
        9 => vec![in_part(n), closed(n, 800)],
        10 => vec![in_part(n), closed(n, 0)],
        _ => vec![
            capture(CaptureProof::Receipt),
            Event::PaymentVerified { payment, transaction, block },
        ],
    }
}

/// A receipt for less than a maximum.
fn in_part(n: u64) -> Event {
    let (payment, transaction) = (samples::payment(n), samples::TRANSFER);
    let (amount, nano) = (Amount::new(800), Nano::new(800_000));
    let held = crate::domain::money::Money { amount, asset: samples::HELD.asset };
    Event::Captured { payment, amount, nano, transaction, proof: CaptureProof::Receipt, held }
}

/// What the chain makes of it.
fn closed(n: u64, moved: u32) -> Event {
    let asset = samples::HELD.asset;
    Event::PaymentClosed(Box::new(Closed {
        payment: samples::payment(n),
        transaction: (moved > 0).then_some(samples::TRANSFER),
        block: samples::BLOCK,
        captured: crate::domain::money::Money { amount: Amount::new(800), asset },
        captured_nano: Nano::new(800_000),
        moved: Amount::new(moved.into()),
        moved_nano: Nano::new(u64::from(moved) * 1_000),
        rest: Amount::new(200),
        rest_nano: Nano::new(200_000),
    }))
}

fn claim_of(n: u64, way: u64) -> Vec<Event> {
    let (claim, transaction, amount) = (samples::claim(n), samples::TRANSFER, Amount::new(1_000));
    let settled = Event::ClaimSettled { claim, amount, transaction };
    let mut events = vec![samples::accepted(n)];
    events.extend(match way {
        0 => vec![],
        1 => vec![Event::ClaimDoubted { claim, transaction: None }],
        2 => vec![Event::ClaimReleased { claim }, samples::accepted(n)],
        3 => vec![Event::ClaimDied { claim, loss: Amount::new(9) }],
        4 => vec![settled],
        5 => vec![
            settled,
            Event::RefundBegun { claim },
            Event::Refunded { claim, transaction, amount },
        ],
        _ => vec![settled, samples::served(n)],
    });
    events
}

pub(super) fn fold(entries: &[Entry]) -> Ledger {
    let mut ledger = Ledger::new(Bounds::default());
    entries.iter().for_each(|entry| ledger.evolve(entry.at, &entry.event));
    ledger
}

fn tables(path: &Path) -> Connection {
    Connection::open(file::tables_of(path)).unwrap()
}

/// Every row of every readable table, in words.
fn dump(path: &Path) -> BTreeMap<String, Vec<String>> {
    let conn = tables(path);
    let names: Vec<String> = rows(
        &conn,
        "SELECT name FROM sqlite_schema WHERE type IN ('table', 'view')
         AND name <> 'decisions'",
    )
    .into_iter()
    .map(|row| match row.into_iter().next() {
        Some(Value::Text(name)) => name,
        other => panic!("a name is text, not {other:?}"),
    })
    .collect();
    names
        .into_iter()
        .map(|name| {
            let all = rows(&conn, &format!("SELECT * FROM {name}"));
            let mut lines: Vec<String> = all.iter().map(|row| format!("{row:?}")).collect();
            lines.sort();
            (name, lines)
        })
        .collect()
}

fn rows(conn: &Connection, sql: &str) -> Vec<Vec<Value>> {
    let mut select = conn.prepare(sql).unwrap();
    let columns = select.column_count();
    select
        .query_map([], |row| (0..columns).map(|column| row.get(column)).collect())
        .unwrap()
        .map(Result::unwrap)
        .collect()
}

fn text(value: &str) -> Value {
    Value::Text(value.to_owned())
}

fn int(value: impl TryInto<i64>) -> Value {
    Value::Integer(value.try_into().ok().unwrap())
}

#[tokio::test]
async fn the_tables_say_what_a_fold_of_the_events_says() {
    let (_folder, path) = place();
    let store = open(&path);
    let story = story();
    for some in story.chunks(37) {
        store.append(some.into()).await.unwrap();
    }
    let end = store.catch_up().await.unwrap();
    assert_eq!(end, u64::try_from(story.len()).unwrap());
    let ledger = fold(&story);
    let conn = tables(&path);

    let told = rows(&conn, "SELECT name, seq FROM projection");
    assert_eq!(told, [[text("views"), int(end)]]);

    let found = rows(
        &conn,
        "SELECT budget, limit_nano, spent_nano, held_nano, left_nano FROM budgets ORDER BY budget",
    );
    let line = |check: &BudgetCheck| -> Vec<Value> {
        let numbers = [check.limit, check.spent, check.held, check.left()];
        let numbers = numbers.into_iter().map(|nano| int(nano.get()));
        [text(check.budget.as_str())].into_iter().chain(numbers).collect()
    };
    let mut accounts = ledger.accounts(ledger.now());
    accounts.sort_by(|a, b| a.budget.cmp(&b.budget));
    assert_eq!(found, accounts.iter().map(line).collect::<Vec<_>>());
    assert_eq!(found.len(), 4, "daily, delegation, ever, minute");

    let found = rows(&conn, "SELECT payment, state FROM holds ORDER BY payment");
    let mut open: Vec<Vec<Value>> = ledger
        .holds()
        .into_iter()
        .map(|hold| vec![text(&hold.held.payment.to_string()), text(hold.state.as_str())])
        .collect();
    open.sort_by_key(|row| format!("{row:?}"));
    assert_eq!(found, open);

    let found = rows(&conn, "SELECT entered, left, paid, held FROM positions");
    let position = ledger.wallets()[0].positions[0];
    let numbers = [position.entered, position.left, position.paid, position.held];
    assert_eq!(found, [numbers.map(|amount| int(amount.get()))]);

    for (account, label) in [
        (BookAccount::Wallet, "wallet"),
        (BookAccount::Escrow, "escrow"),
        (BookAccount::External, "external"),
        (BookAccount::Earned, "earned"),
        (BookAccount::Due, "due"),
    ] {
        let sums = ledger
            .books()
            .find(crate::domain::ledger::books::Commodity::Asset(samples::USDC), account);
        let sql = format!("SELECT debits, credits FROM books WHERE account = '{label}'");
        assert_eq!(rows(&conn, &sql), [[int(sums.debits), int(sums.credits)]], "{label}");
    }

    let states = rows(&conn, "SELECT nonce, state FROM claims ORDER BY nonce");
    assert_eq!(states.len(), 250);
    for (n, row) in (1..).zip(states) {
        let claim = ledger.find_claim(&samples::claim(n)).unwrap();
        assert_eq!(row[1], text(claim.state.as_str()), "claim {n}");
    }
}

#[tokio::test]
async fn a_payment_can_be_read_by_a_person() {
    let (_folder, path) = place();
    let store = open(&path);
    store.append(story()).await.unwrap();
    store.catch_up().await.unwrap();
    let conn = tables(&path);
    let found = rows(
        &conn,
        "SELECT agent, role, group_name, from_address, to_address, amount, network,
                description, held_at FROM payments WHERE state = 'settled' ORDER BY seq LIMIT 1",
    );
    let words: Vec<&str> = found[0]
        .iter()
        .filter_map(|value| match value {
            Value::Text(words) => Some(words.as_str()),
            _ => None,
        })
        .collect();
    assert_eq!(words[..3], ["scout", "scout", "field"]);
    assert_eq!(words[3], "0x2222222222222222222222222222222222222222");
    assert_eq!(words[5..7], ["eip155:31337", "text.generate with bursar-scribe from scribe"]);
    assert!(words[7].starts_with("2023-11-14T22:13:"), "{}", words[7]);
    assert_eq!(found[0][5], int(800));
    let whose = rows(&conn, "SELECT budget, whose FROM budgets ORDER BY budget");
    let expected = [
        ["daily", "all"],
        ["delegation", "agent/cub"],
        ["ever", "agent/scout"],
        ["minute", "role/scout"],
    ];
    assert_eq!(whose, expected.map(|row| row.map(text)));
    assert_eq!(rows(&conn, "SELECT scope FROM pauses"), [[text("all")]]);
    let buckets = rows(&conn, "SELECT count(*) FROM budget_windows WHERE no = 2 AND held_nano = 0");
    let Value::Integer(kept) = buckets[0][0] else { panic!("a count is an integer") };
    assert!(kept <= 61, "buckets that have left the span are dropped: {kept} are there");
}

#[tokio::test]
async fn the_tables_can_be_made_again_and_go_on_after_a_restart() {
    let (_folder, path) = place();
    let store = open(&path);
    let story = story();
    let (first, second) = story.split_at(400);
    store.append(first.into()).await.unwrap();
    store.catch_up().await.unwrap();
    drop(store);
    let store = open(&path);
    store.append(second.into()).await.unwrap();
    store.catch_up().await.unwrap();
    let before = dump(&path);
    assert!(before["payments"].len() == 250 && before["postings"].len() > 250);
    store.rebuild_views().await.unwrap();
    assert_eq!(dump(&path), before);
    drop(store);
    // Tables of another layout are made again by themselves.
    let conn = tables(&path);
    // What is a view now was a table once.
    conn.execute_batch(
        "UPDATE projection SET format = 0; DROP VIEW holds; DROP VIEW payments;
         CREATE TABLE payments (payment TEXT); CREATE INDEX by_payment ON payments (payment);",
    )
    .unwrap();
    drop(conn);
    let store = open(&path);
    store.catch_up().await.unwrap();
    assert_eq!(dump(&path), before);
}

/// Tables that were far behind when the store closed took the newest entries without those before them,
/// and never knew that they had left some out.
#[tokio::test]
async fn tables_that_close_far_behind_leave_nothing_out() {
    let (_folder, path) = place();
    let store = open(&path);
    let story = story();
    store.append(Arc::clone(&story)).await.unwrap();
    store.catch_up().await.unwrap();
    let before = dump(&path);
    drop(store);
    std::fs::remove_file(file::tables_of(&path)).unwrap();
    let journal = file::open_to_read(&path).unwrap();
    let mut conn = file::open_or_create_tables(&path).unwrap();
    let projection = Projection::open(&mut conn, &journal).unwrap();
    let (feed, newest) = (Arc::new(Feed::new()), story.last().unwrap().clone());
    let end = chain::find_end(&journal).unwrap();
    feed.bring([Batch { entries: [newest].into(), end }]);
    feed.close();
    let shared = Arc::new(Shared::new(Options::default(), end.seq));
    Tables::new(conn, path.clone(), projection, shared, feed).run();
    let store = open(&path);
    store.catch_up().await.unwrap();
    assert_eq!(dump(&path), before);
}

#[tokio::test]
async fn no_table_shows_a_token() {
    let (_folder, path) = place();
    let store = open(&path);
    store.append(story()).await.unwrap();
    store.catch_up().await.unwrap();
    let shown = format!("{:?}", dump(&path));
    let token = samples::agent().token.0;
    assert!(!shown.contains(&format!("{token:?}")) && !shown.contains(&alloy::hex::encode(token)));
}

#[tokio::test]
async fn tables_that_were_in_the_journals_file_move_to_their_own() {
    let (_folder, path) = place();
    let store = open(&path);
    store.append(story()).await.unwrap();
    store.catch_up().await.unwrap();
    let before = dump(&path);
    drop(store);
    // As an earlier version left it.
    std::fs::remove_file(file::tables_of(&path)).unwrap();
    let old = Connection::open(&path).unwrap();
    old.execute_batch(
        "PRAGMA user_version = 1; CREATE TABLE payments (stale);
         DROP TABLE answers; DROP TABLE answer_bodies; CREATE TABLE answers (answer TEXT PRIMARY KEY);",
    )
    .unwrap();
    drop(old);
    let store = open(&path);
    store.catch_up().await.unwrap();
    assert_eq!(dump(&path), before);
    assert!(Connection::open(&path).unwrap().prepare("SELECT * FROM payments").is_err());
}

#[tokio::test]
async fn tables_of_another_history_are_made_again() {
    let (_folder, path) = place();
    let (_other_folder, other) = place();
    for (path, shift) in [(&path, 0), (&other, 1)] {
        let store = open(path);
        let story: Vec<Entry> = story()
            .iter()
            .map(|entry| Entry { at: entry.at.after(Duration::from_nanos(shift)), ..entry.clone() })
            .collect();
        store.append(story.into()).await.unwrap();
        store.catch_up().await.unwrap();
    }
    let ours = dump(&path);
    let tables = file::tables_of;
    std::fs::copy(tables(&other), tables(&path)).unwrap();
    let store = open(&path);
    store.catch_up().await.unwrap();
    assert_eq!(dump(&path), ours);
}
