//! What is remembered beside the ledger, and for how long.

use std::collections::HashSet;

use alloy::primitives::{Address, B256, Signature, U256};
use bytes::Bytes;
use futures_util::future::join_all;

use super::{Options, Store, holds, later, open, place, samples};
use crate::domain::ledger::budget::{AccountKey, BudgetCheck, BudgetNo};
use crate::domain::money::{Amount, Nano};
use crate::domain::order::Usage;
use crate::domain::policy::RuleCheck;
use crate::domain::x402::receipt::{Receipt, SignedReceipt};
use crate::ports::archive::{ANSWER_LEN_MAX, AnswerKey, Archive, Decision, KeptAnswer};
use crate::ports::journal::Journal;

pub(super) fn decision(n: u64) -> Decision {
    Decision {
        payment: samples::payment(n),
        agent: samples::agent().id(),
        request: samples::request(n),
        at: later(n),
        policy_version: 1,
        refused: n.is_multiple_of(2).then(|| "ledger.over_budget".to_owned()),
        reason: n.is_multiple_of(2).then(|| "budget daily has 0.00 left".to_owned()),
        rules: vec![RuleCheck {
            rule: "allow.models".to_owned(),
            says: "bursar-*".to_owned(),
            found: "bursar-scribe".to_owned(),
            passed: true,
        }],
        budgets: vec![BudgetCheck {
            budget: samples::name("daily"),
            account: AccountKey { budget: BudgetNo(0), subject: [0; 16] },
            limit: Nano::ONE,
            spent: Nano::new(n),
            held: Nano::ZERO,
            asked: Nano::new(5),
            resets_at: Some(later(100)),
        }],
    }
}

fn answer(len: usize) -> KeptAnswer {
    KeptAnswer {
        content_type: "text/plain".to_owned(),
        model: "bursar-scribe 0a1b".to_owned(),
        body: Some(Bytes::from(vec![7; len])),
        usage: Usage::default(),
        charge: None,
        receipt: Some(SignedReceipt {
            receipt: Receipt {
                payment: Some(samples::payment(1)),
                provider: samples::name("scribe"),
                resource: "bursar://scribe/text.generate".to_owned(),
                payer: Address::repeat_byte(0x22),
                asset: samples::USDC,
                amount: Amount::new(1_000),
                usage: Usage::default(),
                transaction: Some(B256::repeat_byte(1)),
                issued_at_s: 1_700_000_000,
            },
            service_key: Address::repeat_byte(0x55),
            signature: Signature::new(U256::from(5), U256::from(6), false),
        }),
    }
}

#[tokio::test]
async fn decisions_are_remembered_and_the_oldest_forgotten() {
    let (_folder, path) = place();
    let store = Store::open(&path, Options { decisions_max: 10, ..Options::default() }).unwrap();
    (1..=25).for_each(|n| store.note(decision(n)));
    store.catch_up().await.unwrap();
    assert_eq!(store.find_decision(samples::payment(25)).await, Some(decision(25)));
    assert_eq!(store.find_decision(samples::payment(16)).await, Some(decision(16)));
    assert_eq!(store.find_decision(samples::payment(15)).await, None);
    // The same payment again: its newest decision counts.
    store.note(Decision { policy_version: 2, ..decision(20) });
    store.catch_up().await.unwrap();
    assert_eq!(store.find_decision(samples::payment(20)).await.unwrap().policy_version, 2);
}

#[tokio::test]
async fn a_flood_of_decisions_is_dropped_and_counted() {
    let (_folder, path) = place();
    let store = open(&path);
    (1..=20_000).for_each(|n| store.note(decision(n)));
    assert!(store.decisions_dropped() > 0);
}

#[tokio::test]
async fn an_answer_is_kept_for_a_day_and_its_receipt_longer() {
    let (_folder, path) = place();
    let store = open(&path);
    let (first, sold) =
        (AnswerKey::Bought(samples::payment(1)), AnswerKey::Sold(samples::claim(1)));
    assert_eq!(store.find_answer(first).await, None);
    store.keep_answer(first, answer(100), later(0)).await;
    assert_eq!(store.find_answer(first).await, Some(answer(100)));
    drop(store);
    let store = open(&path);
    assert_eq!(store.find_answer(first).await, Some(answer(100)));
    store.keep_answer(sold, answer(200), later(86_400 + 1)).await;
    assert_eq!(store.find_answer(first).await, Some(KeptAnswer { body: None, ..answer(100) }));
    assert_eq!(store.find_answer(sold).await, Some(answer(200)));
    store.keep_answer(sold, answer(200), later(31 * 86_400)).await;
    assert_eq!(store.find_answer(first).await, None);
}

#[tokio::test]
async fn however_many_read_at_once_they_wait_without_a_thread_each() {
    let (_folder, path) = place();
    let store = open(&path);
    let read = |_| store.reading(|_| Ok(std::thread::current().id()));
    let threads = join_all((0..300).map(read)).await.into_iter().map(Result::unwrap);
    // One reads; the next one may begin before the thread of the last is idle.
    assert!(threads.collect::<HashSet<_>>().len() < 10);
}

#[tokio::test]
async fn an_answer_too_large_keeps_its_receipt_only() {
    let (_folder, path) = place();
    let store = open(&path);
    for (n, len, kept) in [(1, ANSWER_LEN_MAX, true), (2, ANSWER_LEN_MAX + 1, false)] {
        let key = AnswerKey::Bought(samples::payment(n));
        store.keep_answer(key, answer(len), later(0)).await;
        let found = store.find_answer(key).await.unwrap();
        assert_eq!(found.body.is_some(), kept);
        assert_eq!(found.receipt, answer(len).receipt);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_and_tables_keep_up_with_many_small_appends() {
    let (_folder, path) = place();
    let store = open(&path);
    let appending = tokio::spawn({
        let store = store.clone();
        async move {
            for n in 1..=500 {
                store.append(holds(n, 1)).await.unwrap();
            }
        }
    });
    // Each answer is waited for while appends come without a pause: were it left to a pause, this
    // would not end before they do.
    for n in 1..=50 {
        let key = AnswerKey::Bought(samples::payment(n));
        store.keep_answer(key, answer(100), later(n)).await;
        assert!(store.find_answer(key).await.is_some());
        let now = store.end();
        assert!(store.catch_up().await.unwrap() >= now);
    }
    appending.await.unwrap();
    assert_eq!(store.catch_up().await.unwrap(), 500);
}
