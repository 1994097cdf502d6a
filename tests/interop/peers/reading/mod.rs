//! Two readers of one document: ours, and that of x402's crates in Rust. What our code writes is changed at
//! random, and where one of the two takes what the other refuses, a rule of the table says why. What both take
//! they understand alike, without exception.
//!
//! The cases are the same in every run; `PROPTEST_CASES=1000000 cargo test -p bursar-peers reading` looks for
//! longer.

mod readers;
mod rules;
mod tree;

use std::cell::RefCell;
use std::collections::BTreeSet;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bursar::domain::x402::PaymentError;
use bursar::domain::x402::error::Message;
use bursar::domain::x402::read::decode_text;
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use x402_types::util::Base64Bytes;

use readers::{Kind, Way};
use rules::{RULES, Seen};
use tree::{Change, change, edit};

/// How many cases a run has that names no other number.
const CASES: u32 = 16_000;

/// Changes of one document at most.
const CHANGES_MAX: usize = 2;

type Case = (Kind, Vec<(Index, Change)>);

/// The names of the rules by which the two differ over a case.
fn rules_for((kind, changes): &Case) -> Result<Vec<&'static str>, String> {
    let (text, edits) = edit(&kind.document(), changes);
    let (ours, theirs) = (kind.ours(text.as_bytes()), kind.theirs(text.as_bytes()));
    let seen = match (&ours, &theirs) {
        (Ok(ours), Ok(theirs)) if ours != theirs => {
            return Err(told(format!("read as {ours:?} and as {theirs:?}: {edits:?}"), text));
        }
        (Ok(_), Ok(_)) | (Err(_), Err(_)) => return Ok(Vec::new()),
        (refused, _) => Seen { kind: *kind, edits: &edits, refused: refused.as_ref().err() },
    };
    let found: Vec<_> =
        RULES.iter().filter(|rule| rule.explains(&seen)).map(|rule| rule.name).collect();
    match found.is_empty() {
        true => Err(told(format!("no rule for {kind:?}, {edits:?}: {ours:?}, {theirs:?}"), text)),
        false => Ok(found),
    }
}

/// What happened and to which document, as far as somebody reads it.
fn told(what: String, text: String) -> String {
    [what, text].map(|part| part.chars().take(2_000).collect::<String>()).join("\n")
}

#[test]
fn what_our_code_writes_both_read_and_understand_alike() {
    for kind in Kind::ALL {
        let text = kind.document().to_string();
        let ours = kind.ours(text.as_bytes()).unwrap();
        assert_eq!(Ok(ours), kind.theirs(text.as_bytes()), "{kind:?}");
    }
}

#[test]
fn where_one_refuses_what_the_other_reads_a_rule_says_why() {
    let asked = std::env::var("PROPTEST_CASES").ok().and_then(|text| text.parse().ok());
    let config = Config { failure_persistence: None, ..Config::with_cases(asked.unwrap_or(CASES)) };
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let changes = proptest::collection::vec((any::<Index>(), change()), 1..=CHANGES_MAX);
    let cases = (proptest::sample::select(Kind::ALL.to_vec()), changes);
    let met = RefCell::new(BTreeSet::new());
    let ran = TestRunner::new_with_rng(config, rng).run(&cases, |case| {
        let found = rules_for(&case).map_err(TestCaseError::fail)?;
        met.borrow_mut().extend(found);
        Ok(())
    });
    if let Err(error) = ran {
        panic!("{error}");
    }
    // A rule that nothing needs any more would let something else pass.
    let unmet: Vec<_> =
        RULES.iter().map(|rule| rule.name).filter(|name| !met.borrow().contains(name)).collect();
    assert!(unmet.is_empty(), "no case met {unmet:?}");
}

/// The two differences that move money: they would be paid nothing, and pay what nobody asked them to sign.
#[test]
fn no_text_is_no_amount_and_an_unknown_method_is_none_of_ours() {
    let put = |way, place: &str, text: &str| {
        let mut offer = Kind::Offer(way).document();
        let terms = offer.pointer_mut("/accepts/0").unwrap();
        match place {
            "amount" => terms["amount"] = text.into(),
            _ => terms["extra"][place] = text.into(),
        }
        let text = offer.to_string().into_bytes();
        (Kind::Offer(way).ours(&text), Kind::Offer(way).theirs(&text))
    };
    let (ours, theirs) = put(Way::Upto, "amount", "");
    assert!(matches!(ours, Err(PaymentError::Field { field: "amount", .. })), "{ours:?}");
    assert_eq!(theirs.unwrap()[1], "0");
    let (ours, theirs) = put(Way::Eip3009, "assetTransferMethod", "erc7710");
    assert_eq!((ours, theirs.unwrap().len()), (Err(PaymentError::Scheme), 5));
}

#[test]
fn both_take_one_spelling_of_base64() {
    let json = br#"{"x402Version":2,"error":"~~~???"}"#;
    let text = STANDARD.encode(json);
    let spellings = [
        text.clone(),
        text.replace('/', "_").replace('+', "-"),
        text.trim_end_matches('=').to_owned(),
        format!("{text}="),
        format!(" {text}"),
        format!("{text}\n"),
        format!("{text}{text}"),
        text.replacen('e', "E", 1),
        // Bits beyond the last byte that are not zero.
        "eyJ9".to_owned(),
        "e30=".to_owned(),
        "e31=".to_owned(),
        String::new(),
    ];
    for spelling in spellings {
        let ours = decode_text(spelling.as_bytes(), Message::Required).ok();
        let theirs = Base64Bytes::from(spelling.as_bytes()).decode().ok();
        assert_eq!(ours, theirs, "{spelling:?}");
    }
}
