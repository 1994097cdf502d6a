//! Payments that were changed on their way, at random: no reader panics, what is read is written back
//! the same, and whatever passes every check is what was signed.
//!
//! `PROPTEST_CASES=1000000 cargo test --lib fuzzed` looks for longer.

use alloy::primitives::B256;
use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::{Map, Value, json};

use super::*;
use crate::domain::channel::Ceiling;
use crate::domain::commitment::ChannelOffer;
use crate::domain::x402::batch::check::check_batch;
use crate::domain::x402::batch::read::voucher_digest;
use crate::domain::x402::batch::typed::{batch_domain, id_of};
use crate::domain::x402::batch::word;
use crate::domain::x402::check::{Demand, check_payment};
use crate::domain::x402::payload::voucher_payload;
use crate::domain::x402::read::{
    parse_payment_payload, parse_payment_required, parse_settlement, to_json,
};
use crate::domain::x402::requirements::payment_required;
use crate::domain::x402::settlement::{Settled, read_settlement, settled};

/// Edits of one object at most.
const EDITS_MAX: usize = 4;

/// One change of an object.
#[derive(Clone, Debug)]
enum Edit {
    /// Another value somewhere.
    Put(Index, Value),
    /// Nothing where something was.
    Drop(Index),
    /// A value of another place.
    Copy(Index, Index),
    /// Bits of one byte of the text.
    Flip(Index, u8),
    /// A piece of the text is left out.
    Cut(Index, Index),
    /// A piece of the text comes twice.
    Twice(Index, Index),
}

/// Values that readers trip over.
fn odd() -> impl Strategy<Value = Value> {
    let words = [
        "",
        "0",
        "00",
        "-1",
        "+1",
        "1e3",
        "1000 ",
        "0x",
        "0x0",
        "null",
        "1.0",
        "\u{661}\u{660}",
        "\u{202E}",
        "9007199254740993",
        "18446744073709551616",
        "340282366920938463463374607431768211456",
        "eip155:1",
        "eip155:084532",
        "exact",
        "upto",
        "batch-settlement",
        "permit2",
        "0xffffffffffffffffffffffffffffffffffffffff",
    ];
    let fixed =
        vec![json!(null), json!(true), json!([]), json!({}), json!([[[]]]), json!({ "": 0 })];
    prop_oneof![
        proptest::sample::select(words.to_vec()).prop_map(|word| json!(word)),
        proptest::sample::select(fixed),
        any::<i64>().prop_map(|number| json!(number)),
        any::<u64>().prop_map(|number| json!(number)),
        any::<u64>().prop_map(|number| json!(number.to_string())),
        Just(json!(1.5)),
        any::<String>().prop_map(|text| json!(text)),
    ]
}

fn edits() -> impl Strategy<Value = Vec<Edit>> {
    let at = any::<Index>;
    let edit = prop_oneof![
        4 => (at(), odd()).prop_map(|(at, value)| Edit::Put(at, value)),
        1 => at().prop_map(Edit::Drop),
        2 => (at(), at()).prop_map(|(from, to)| Edit::Copy(from, to)),
        2 => (at(), 1..=u8::MAX).prop_map(|(at, bits)| Edit::Flip(at, bits)),
        1 => (at(), at()).prop_map(|(from, to)| Edit::Cut(from, to)),
        1 => (at(), at()).prop_map(|(from, to)| Edit::Twice(from, to)),
    ];
    proptest::collection::vec(edit, 1..=EDITS_MAX)
}

/// The pointers of every value in `value`, its own first.
fn places(value: &Value, here: String, all: &mut Vec<String>) {
    all.push(here.clone());
    match value {
        Value::Object(map) => {
            for (key, inner) in map {
                places(inner, format!("{here}/{}", key.replace('~', "~0").replace('/', "~1")), all);
            }
        }
        Value::Array(list) => {
            for (at, inner) in list.iter().enumerate() {
                places(inner, format!("{here}/{at}"), all);
            }
        }
        _ => {}
    }
}

fn drop_at(value: &mut Value, place: &str) {
    let Some((parent, key)) = place.rsplit_once('/') else { return };
    let key = key.replace("~1", "/").replace("~0", "~");
    match value.pointer_mut(parent) {
        Some(Value::Object(map)) => drop(map.remove(&key)),
        Some(Value::Array(list)) => drop(key.parse::<usize>().map(|at| list.remove(at))),
        _ => {}
    }
}

/// What is left of `object` after `edits`: those of its values first, then those of its text.
fn edited(object: &Value, edits: &[Edit]) -> Vec<u8> {
    let mut value = object.clone();
    for edit in edits {
        let mut all = Vec::new();
        places(&value, String::new(), &mut all);
        let place = |at: &Index| all[at.index(all.len())].clone();
        match edit {
            Edit::Put(at, new) => *value.pointer_mut(&place(at)).unwrap() = new.clone(),
            Edit::Drop(at) => drop_at(&mut value, &place(at)),
            Edit::Copy(from, to) => {
                let copied = value.pointer(&place(from)).unwrap().clone();
                *value.pointer_mut(&place(to)).unwrap() = copied;
            }
            _ => {}
        }
    }
    let mut bytes = serde_json::to_vec(&value).unwrap();
    for edit in edits.iter().filter(|_| !bytes.is_empty()).cloned().collect::<Vec<_>>() {
        let len = bytes.len();
        if len == 0 {
            break;
        }
        let span = |one: Index, other: Index| {
            let (one, other) = (one.index(len), other.index(len));
            one.min(other)..one.max(other)
        };
        match edit {
            Edit::Flip(at, bits) => bytes[at.index(len)] ^= bits,
            Edit::Cut(from, to) => drop(bytes.drain(span(from, to))),
            Edit::Twice(from, to) => {
                let piece = bytes[span(from, to)].to_vec();
                let at = to.index(len);
                bytes.splice(at..at, piece);
            }
            _ => {}
        }
    }
    bytes
}

fn value_of<T: serde::Serialize>(object: &T) -> Value {
    serde_json::to_value(object).unwrap()
}

/// A channel's quote, and a call that it pays.
fn by_channel() -> (Quote, Ceiling, PaymentPayload) {
    let offer = ChannelOffer {
        receiver_authorizer: SERVICE,
        withdraw_delay_s: 900,
        deposit_min: Amount::ZERO,
    };
    let way = PayBy { scheme: Scheme::BatchSettlement(offer), ..pay_by() };
    let quote = Quote { pay_by: vec![way], ..quote() };
    let terms = channel_terms(1);
    let ceiling = Ceiling { channel: id_of(&terms), amount: Amount::new(1000) };
    let digest = voucher_digest(batch_domain(USDC.network).separator(), &ceiling);
    let payload: Map<String, Value> =
        word::payload(&terms, &ceiling, &sign(PAYER_KEY, digest), None);
    let accepted = Requirement::of_quote(&quote, &order(), &TOKENS).unwrap()[0].to_wire();
    let resource = grpc_resource(RESOURCE);
    let payload = voucher_payload(resource, accepted, payload, None, Some(payment()));
    (quote, ceiling, payload)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2048, ..ProptestConfig::default() })]

    // threats.md A01, A10, P08.
    #[test]
    fn a_changed_payment_is_refused_or_is_what_was_signed(edits in edits()) {
        let bytes = edited(&value_of(&payload()), &edits);
        let Ok(read) = parse_payment_payload(&bytes) else { return Ok(()) };
        prop_assert_eq!(parse_payment_payload(&to_json(&read)), Ok(read.clone()));
        let offered = [requirement()];
        let demand = Demand { resource: RESOURCE, offered: &offered, now_s: NOW_S };
        if let Ok(taken) = check_payment(&read, &demand) {
            prop_assert_eq!(taken, authorize(commitment()));
        }
    }

    // threats.md E01 to E06.
    #[test]
    fn a_changed_voucher_is_refused_or_says_what_was_signed(edits in edits()) {
        let (quote, ceiling, payload) = by_channel();
        let bytes = edited(&value_of(&payload), &edits);
        let Ok(read) = parse_payment_payload(&bytes) else { return Ok(()) };
        let offered = Requirement::of_quote(&quote, &order(), &TOKENS).unwrap();
        let demand = Demand { resource: RESOURCE, offered: &offered, now_s: NOW_S };
        if let Ok(checked) = check_batch::<Signature>(&read, &demand) {
            prop_assert_eq!(checked.word.voucher.ceiling, ceiling);
            prop_assert_eq!(checked.word.terms, channel_terms(1));
        }
    }

    // threats.md C04, P05.
    #[test]
    fn a_changed_offer_is_refused_or_is_written_back_the_same(edits in edits()) {
        let offer = payment_required(&quote(), &order(), &TOKENS, None).unwrap();
        let bytes = edited(&value_of(&offer), &edits);
        let Ok(read) = parse_payment_required(&bytes) else { return Ok(()) };
        prop_assert_eq!(parse_payment_required(&to_json(&read)), Ok(read));
    }

    // threats.md A23.
    #[test]
    fn a_changed_settlement_is_refused_or_says_the_same(edits in edits()) {
        let transfer = Settled { transaction: B256::repeat_byte(1), amount: Amount::new(1000) };
        let bytes = edited(&value_of(&settled(&commitment(), &transfer)), &edits);
        let Ok(read) = parse_settlement(&bytes) else { return Ok(()) };
        prop_assert_eq!(parse_settlement(&to_json(&read)), Ok(read.clone()));
        if let Ok(said) = read_settlement(&read, &commitment()) {
            prop_assert_eq!(said.amount, transfer.amount);
        }
    }
}
