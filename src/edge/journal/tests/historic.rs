//! What is shown of payments is what the events say.

use super::projected::{fold, story};
use super::{open, place};
use crate::ports::history::{History, Look, PaymentState};
use crate::ports::journal::Journal;

#[tokio::test]
async fn payments_are_shown_newest_first_and_page_by_page() {
    let (_folder, path) = place();
    let store = open(&path);
    let story = story();
    store.append(story.clone()).await.unwrap();
    let ledger = fold(&story);

    let mut seen = Vec::new();
    let mut before = None;
    loop {
        let look = Look { before, limit: 100, ..Look::default() };
        let page = store.list_payments(look).await.unwrap();
        let Some(last) = page.last() else { break };
        before = Some(last.seq);
        seen.extend(page);
    }
    assert_eq!(seen.len(), 250);
    assert!(seen.is_sorted_by(|newer, older| newer.seq > older.seq));

    let open: Vec<_> =
        seen.iter().filter(|past| ledger.find_hold(past.payment).is_some()).collect();
    assert_eq!(open.len(), ledger.holds_len());
    for past in &open {
        let hold = ledger.find_hold(past.payment).unwrap();
        assert_eq!(past.attempt, hold.held.attempt);
        assert_eq!(past.asset, hold.held.commitment.asset);
        assert_eq!(past.nano_held, hold.held.nano);
        assert_eq!(store.find_payment(past.payment).await.unwrap().as_ref(), Some(*past));
    }

    for state in [PaymentState::Void, PaymentState::Settled, PaymentState::Unknown] {
        let look = Look { state: Some(state), limit: 1000, ..Look::default() };
        let found = store.list_payments(look).await.unwrap();
        assert!(!found.is_empty());
        assert_eq!(found.len(), seen.iter().filter(|past| past.state == state).count());
    }
    let nobody =
        Look { agents: Some(vec!["nobody".parse().unwrap()]), limit: 9, ..Look::default() };
    assert_eq!(store.list_payments(nobody).await.unwrap(), []);
}
