//! What the command line asks of the file: lists, reasons, and whether all of it is true.

use super::archived::decision;
use super::projected::{fold, story};
use super::{open, place, samples, tamper};
use crate::domain::ledger::Bounds;
use crate::domain::money::Amount;
use crate::edge::journal::chain::find_link;
use crate::edge::journal::{Page, PaymentFilter, SnapshotCheck, Views, verify};
use crate::ports::archive::Archive;
use crate::ports::journal::{Journal, JournalError, Snapshot};

fn snapshot(seq: usize, body_of: usize) -> Snapshot {
    let story = story();
    let ledger = fold(&story[..body_of]);
    let last = &story[seq - 1];
    Snapshot { at: last.at, ..Snapshot::of(last.seq, &ledger).unwrap() }
}

#[tokio::test]
async fn a_good_journal_verifies_beside_a_running_node() {
    let (_folder, path) = place();
    let store = open(&path);
    let empty = verify(&path, Bounds::default()).unwrap();
    assert!(empty.is_good() && empty.entries == 0 && empty.snapshot == SnapshotCheck::Absent);
    let story = story();
    store.append(story.clone()).await.unwrap();
    store.keep_snapshot(snapshot(300, 300)).await.unwrap();
    let report = verify(&path, Bounds::default()).unwrap();
    assert!(report.is_good(), "{report:?}");
    assert_eq!(report.entries, u64::try_from(story.len()).unwrap());
    assert_eq!(report.snapshot, SnapshotCheck::Good { seq: 300 });
    assert_eq!(report.at, story.last().unwrap().at);
    let debits: u128 = report.books.iter().map(|row| row.debits.parse::<u128>().unwrap()).sum();
    let credits: u128 = report.books.iter().map(|row| row.credits.parse::<u128>().unwrap()).sum();
    assert!(debits == credits && debits > 0);
}

#[tokio::test]
async fn damage_is_reported_with_what_is_good_before_it() {
    let (_folder, path) = place();
    let store = open(&path);
    store.append(story()).await.unwrap();
    let good = {
        let conn = rusqlite::Connection::open(&path).unwrap();
        let hash: [u8; 32] = conn
            .query_row("SELECT hash FROM events WHERE seq = 199", [], |row| row.get(0))
            .unwrap();
        alloy::hex::encode(hash)
    };
    store.keep_snapshot(snapshot(300, 300)).await.unwrap();
    drop(store);
    tamper(&path, "UPDATE events SET body = body || x'00' WHERE seq = 200");
    let report = verify(&path, Bounds::default()).unwrap();
    assert_eq!((report.entries, report.head.as_str()), (199, good.as_str()));
    assert_eq!(report.damage.as_ref().map(|damage| damage.seq), Some(200));
    assert_eq!(report.snapshot, SnapshotCheck::Unreadable);
    assert!(!report.is_good());
}

#[tokio::test]
async fn an_event_that_cannot_have_happened_is_damage() {
    let (_folder, path) = place();
    let store = open(&path);
    let captured_twice = [
        samples::policy(),
        samples::wallet_opened(),
        samples::agent_added(),
        samples::funds_seen(5_000),
        samples::held(1),
        samples::captured(1),
        samples::captured(1),
    ];
    store.append(super::entries(1, captured_twice)).await.unwrap();
    let report = verify(&path, Bounds::default()).unwrap();
    assert_eq!(report.entries, 6);
    assert_eq!(report.damage.map(|damage| damage.seq), Some(7));
}

#[tokio::test]
async fn a_snapshot_that_says_something_else_is_told() {
    let (_folder, path) = place();
    let store = open(&path);
    store.append(story()).await.unwrap();
    store.keep_snapshot(snapshot(300, 290)).await.unwrap();
    let report = verify(&path, Bounds::default()).unwrap();
    let SnapshotCheck::Differs { seq: 300, parts } = &report.snapshot else {
        panic!("it differs: {report:?}");
    };
    assert!(parts.contains(&"books"), "{parts:?}");
    assert!(!report.is_good() && report.damage.is_none());
}

#[tokio::test]
async fn payments_and_refusals_can_be_listed_beside_a_running_node() {
    let (_folder, path) = place();
    let store = open(&path);
    store.append(story()).await.unwrap();
    (1..=20).for_each(|n| store.note(decision(n)));
    let known = store.catch_up().await.unwrap();
    let views = Views::open(&path).unwrap();
    assert_eq!(views.known().unwrap(), known);

    let first = Page { before: None, limit: 100 };
    let mut all = views.payments(&PaymentFilter::default(), first).unwrap();
    while let Some(last) = all.last() {
        let next = Page { before: Some(last.seq), limit: 100 };
        let more = views.payments(&PaymentFilter::default(), next).unwrap();
        if more.is_empty() {
            break;
        }
        all.extend(more);
    }
    assert_eq!(all.len(), 250);
    assert!(all.is_sorted_by(|a, b| a.seq > b.seq), "newest first, none twice");

    let settled = PaymentFilter {
        agent: Some(samples::name("scout")),
        state: Some("settled".to_owned()),
        ..PaymentFilter::default()
    };
    let settled = views.payments(&settled, first).unwrap();
    assert!(!settled.is_empty());
    assert!(
        settled.iter().all(|row| row.state == "settled" && row.amount == Some(Amount::new(800)))
    );
    let foreign = PaymentFilter { group: Some(samples::name("other")), ..Default::default() };
    assert_eq!(views.payments(&foreign, first).unwrap(), []);
    let one = views.payment(samples::payment(3)).unwrap().unwrap();
    assert_eq!(one.payment, samples::payment(3).to_string());
    assert_eq!(views.payment(samples::payment(10_000)).unwrap(), None);

    let refusals = views.refusals(Some(&samples::name("scout")), None, first).unwrap();
    assert_eq!(refusals.len(), 10);
    assert_eq!(refusals[0].code, "ledger.over_budget");
    assert_eq!(views.refusals(None, Some(&samples::name("other")), first).unwrap(), []);
    let why = views.decision(samples::payment(20)).unwrap();
    assert_eq!(why, Some(decision(20)));
    let claims = views.claims(Some(&samples::name("scribe")), Some("served"), first).unwrap();
    assert!(!claims.is_empty() && claims.iter().all(|claim| claim.state == "served"));
    assert_eq!(store.views().budgets().unwrap().len(), 4);
}

/// Whoever changes an event and makes its hash anew would have to make all after it anew too.
#[tokio::test]
async fn a_link_that_was_forged_with_its_own_hash_is_found_by_the_next() {
    let (_folder, path) = place();
    let store = open(&path);
    store.append(super::holds(1, 10)).await.unwrap();
    drop(store);
    let conn = rusqlite::Connection::open(&path).unwrap();
    let before = find_link(&conn, 6).unwrap().unwrap();
    let old = find_link(&conn, 7).unwrap().unwrap();
    let body = postcard::to_stdvec(&samples::held(4_711)).unwrap();
    let forged = before.next(old.at, &body);
    drop(conn);
    let (body, hash) = (alloy::hex::encode(body), alloy::hex::encode(forged.hash));
    let forge = format!("UPDATE events SET body = x'{body}', hash = x'{hash}' WHERE seq = 7");
    tamper(&path, &forge);
    let problem = open(&path).read(0, 1_000).await.unwrap_err();
    assert!(matches!(problem, JournalError::Damaged { seq: 8, .. }), "{problem}");
}
