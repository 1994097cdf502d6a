//! Objects of the wire, well and badly formed.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::domain::fault::Fault;
use crate::domain::x402::check::{Demand, check_payment};
use crate::domain::x402::code::PaymentCode;
use crate::domain::x402::error::{Message, PaymentError};
use crate::domain::x402::facilitate::{Step, check_asked};
use crate::domain::x402::offer::{Asked, check_offer};
use crate::domain::x402::read::*;
use crate::domain::x402::requirements::payment_required;
use crate::domain::x402::settlement::{Settled, not_settled, read_settlement, settled};
use crate::domain::x402::wire::PaymentRequired;

fn offer_json() -> String {
    let offer = payment_required(&quote(), &order(), &TOKENS, None).unwrap();
    String::from_utf8(to_json(&offer)).unwrap()
}

fn payload_json() -> String {
    String::from_utf8(to_json(&payload())).unwrap()
}

#[test]
fn objects_are_read_as_they_were_written() {
    let offer =
        payment_required(&quote(), &order(), &TOKENS, Some(PaymentCode::Signature)).unwrap();
    assert_eq!(offer.error.as_deref(), Some("invalid_exact_evm_payload_signature"));
    let read = parse_payment_required(
        &decode_text(encode_text(&offer).as_bytes(), Message::Required).unwrap(),
    );
    assert_eq!(read.unwrap(), offer);
    assert_eq!(parse_payment_payload(payload_json().as_bytes()).unwrap(), payload());
    let transfer = Settled { transaction: B256::repeat_byte(1), amount: Amount::new(1000) };
    let response = settled(&commitment(), &transfer);
    assert_eq!(parse_settlement(&to_json(&response)).unwrap(), response);
    assert_eq!(read_settlement(&response, &commitment()), Ok(transfer));
}

#[test]
fn p01_base64_has_one_form() {
    for (text, good) in [
        (&b"e30="[..], true),
        (b"e30", false),
        (b"e31=", false),
        (b"e30=\n", false),
        (b" e30=", false),
        (b"e30==", false),
        (b"e3-_", false),
        (b"e3=0", false),
        (b"\xff\xff\xff\xff", false),
        (b"", true),
    ] {
        let read = decode_text(text, Message::Payload);
        assert_eq!(read.is_ok(), good, "{text:?}");
    }
    let long = vec![b'A'; 1024 * 1024];
    let refused = decode_text(&long, Message::Payload).unwrap_err();
    assert_eq!(refused.code(), "x402.too_large");
    assert_eq!(refused.wire(), PaymentCode::Payload);
    // The largest object that is read, and one group of characters more.
    let largest = STANDARD.encode(vec![b' '; OBJECT_LEN_MAX]);
    assert!(decode_text(largest.as_bytes(), Message::Payload).is_ok());
    let larger = STANDARD.encode(vec![b' '; OBJECT_LEN_MAX + 3]);
    let refused = decode_text(larger.as_bytes(), Message::Payload).unwrap_err();
    assert_eq!(refused.code(), "x402.too_large");
}

#[test]
fn an_offer_has_32_ways_at_most_and_what_a_facilitator_is_asked_256_kib() {
    let offer = payment_required(&quote(), &order(), &TOKENS, None).unwrap();
    for (ways, good) in [(1, true), (31, true), (32, true), (33, false), (34, false)] {
        let accepts = vec![offer.accepts[0].clone(); ways];
        let read = parse_payment_required(&to_json(&PaymentRequired { accepts, ..offer.clone() }));
        let code = read.map_err(|error| error.code()).map(|read| read.accepts.len());
        assert_eq!(code, if good { Ok(ways) } else { Err("x402.field") });
    }
    for (len, good) in [(2, true), (262_143, true), (262_144, true), (262_145, false)] {
        let json = format!("{{}}{}", " ".repeat(len - 2));
        let read = parse_asked::<serde_json::Value>(json.as_bytes());
        let read = read.map_err(|error| error.code());
        assert_eq!(read, if good { Ok((json!({}), None)) } else { Err("x402.too_large") }, "{len}");
    }
}

/// Whoever asks is told apart: what could not be read, and what was read and does not do.
#[test]
fn what_was_read_and_does_not_do_is_not_malformed() {
    let misshapen = ["{", "{}", "[]", r#"{"a":1,"a":1}"#];
    for json in misshapen.map(str::to_owned).into_iter().chain([" ".repeat(OBJECT_LEN_MAX + 1)]) {
        assert!(parse_payment_payload(json.as_bytes()).unwrap_err().is_malformed());
    }
    assert!(decode_text(b"e30", Message::Payload).unwrap_err().is_malformed());
    let offered = [requirement()];
    let demand = Demand { resource: RESOURCE, offered: &offered, now_s: NOW_S };
    for (payment, now_s) in [
        (payload(), NOW_S + 3600),
        (pay(&authorize(Commitment { amount_max: Amount::new(999), ..commitment() })), NOW_S),
        (pay(&authorize(Commitment { payer: PAY_TO, ..commitment() })), NOW_S),
    ] {
        let refused = check_payment(&payment, &Demand { now_s, ..demand }).unwrap_err();
        assert!(!refused.is_malformed(), "{refused:?}");
    }
}

fn code(json: &str) -> &'static str {
    parse_payment_payload(json.as_bytes()).unwrap_err().code()
}

#[test]
fn p02_a_key_that_is_there_twice_is_refused_at_any_depth() {
    let json = payload_json();
    assert!(parse_payment_payload(json.as_bytes()).is_ok());
    for (from, to) in [
        (r#""x402Version":2"#, r#""x402Version":2,"x402Version":2"#),
        (r#""value":"1000""#, r#""value":"1","value":"1000""#),
        (r#""value":"1000""#, r#""value":"1","val\u0075e":"1000""#),
        (r#""name":"USDC""#, r#""name":"USDC","name":"USDC""#),
        (r#""required":false"#, r#""required":true,"required":false"#),
        (r#""x402Version":2"#, r#""unknown":[{"a":1,"a":1}],"x402Version":2"#),
    ] {
        assert!(json.contains(from), "{from}");
        assert_eq!(code(&json.replacen(from, to, 1)), "x402.duplicate_key", "{to}");
    }
    // The same key in two objects is no key twice.
    let twice = json.replacen(r#""x402Version":2"#, r#""u":[{"a":1},{"a":1}],"x402Version":2"#, 1);
    assert!(parse_payment_payload(twice.as_bytes()).is_ok());
}

#[test]
fn p06_only_version_2_is_read() {
    let json = payload_json();
    for (version, found) in [
        ("1", Some(1)),
        ("3", Some(3)),
        ("\"2\"", None),
        ("2.0", None),
        ("-0", None),
        ("-2", None),
        ("true", None),
        ("false", None),
        ("null", None),
        ("[2]", None),
    ] {
        let other = json.replacen(r#""x402Version":2"#, &format!(r#""x402Version":{version}"#), 1);
        let refused = parse_payment_payload(other.as_bytes()).unwrap_err();
        assert_eq!(refused, PaymentError::Version { found }, "{version}");
        assert_eq!(refused.wire().as_str(), "invalid_x402_version");
    }
    for without in ["{}", "[]", "2", "null", r#"{"payload":{"x402Version":2}}"#] {
        assert_eq!(code(without), "x402.version", "{without}");
    }
}

#[test]
fn p03_size_and_depth_are_bounded_before_anything_is_built() {
    let nested = |depth: usize| {
        let deep = format!("{}1{}", "[".repeat(depth), "]".repeat(depth));
        payload_json().replacen(r#""x402Version":2"#, &format!(r#""u":{deep},"x402Version":2"#), 1)
    };
    assert!(parse_payment_payload(nested(DEPTH_MAX - 1).as_bytes()).is_ok());
    assert_eq!(code(&nested(DEPTH_MAX)), "x402.too_deep");
    assert_eq!(code(&nested(20_000)), "x402.too_deep");
    assert_eq!(code(&"[".repeat(OBJECT_LEN_MAX)), "x402.too_deep");
    assert_eq!(code(&" ".repeat(OBJECT_LEN_MAX + 1)), "x402.too_large");
    let wide = format!("[{}1]", "1,".repeat(30_000));
    assert_eq!(code(&wide), "x402.version");
}

#[test]
fn c04_shapes_are_strict_where_they_carry_a_price() {
    let json = payload_json();
    for (from, to) in [
        (r#""scheme":"exact""#, r#""scheme":"exact","discount":"10""#),
        (r#""amount":"1000""#, r#""amount":1000"#),
        (r#""maxTimeoutSeconds":60"#, r#""maxTimeoutSeconds":60.0"#),
        (r#""maxTimeoutSeconds":60"#, r#""maxTimeoutSeconds":1e400"#),
        (r#""maxTimeoutSeconds":60"#, r#""maxTimeoutSeconds":-1"#),
        (r#""maxTimeoutSeconds":60"#, r#""maxTimeoutSeconds":"60""#),
        (r#""maxTimeoutSeconds":60"#, r#""maxTimeoutSeconds":060"#),
        (r#""maxTimeoutSeconds":60"#, r#""maxTimeoutSeconds":NaN"#),
        (r#""maxTimeoutSeconds":60,"#, ""),
        (r#""value":"1000""#, r#""value":"\ud800""#),
    ] {
        assert!(json.contains(from), "{from}");
        assert_eq!(code(&json.replacen(from, to, 1)), "x402.malformed", "{to}");
    }
    assert_eq!(code(&format!("\u{feff}{json}")), "x402.malformed");
    assert_eq!(code(&format!("{json}{{}}")), "x402.malformed");
    // What is not known and carries no price passes.
    let more = json.replacen(r#""x402Version":2"#, r#""x402Version":2,"vendor":{"a":[1]}"#, 1);
    assert!(parse_payment_payload(more.as_bytes()).is_ok());
}

#[test]
fn p05_texts_that_mislead_are_dropped_and_urls_that_do_are_refused() {
    let json = offer_json();
    let dressed = json.replacen("text.generate by", "text\u{202E}generate by", 1);
    let read = parse_payment_required(dressed.as_bytes()).unwrap();
    assert_eq!(read.resource.description, None);
    for url in ["", "grpc://a b", "grpc://\\u0000", "grpc://\u{200B}a", "grpc://é"] {
        let other = json.replacen(RESOURCE, url, 1);
        let refused = parse_payment_required(other.as_bytes()).unwrap_err();
        assert_eq!((refused.code(), refused.wire()), ("x402.field", PaymentCode::Requirements));
    }
    let empty = json!({ "x402Version": 2, "resource": { "url": RESOURCE }, "accepts": [] });
    let refused = parse_payment_required(empty.to_string().as_bytes()).unwrap_err();
    assert_eq!(refused.code(), "x402.field");
}

#[test]
fn a23_only_a_json_true_is_a_settlement() {
    let good = json!({
        "success": true, "transaction": B256::repeat_byte(1).to_string(),
        "network": "eip155:84532", "payer": PAYER.to_string().to_lowercase(),
    });
    let read = |value: &serde_json::Value| {
        parse_settlement(value.to_string().as_bytes())
            .and_then(|response| read_settlement(&response, &commitment()))
    };
    assert_eq!(read(&good).unwrap().amount, Amount::new(1000));
    for (key, value, expected) in [
        ("success", json!("true"), "x402.malformed"),
        ("success", json!(1), "x402.malformed"),
        ("success", json!(null), "x402.malformed"),
        ("success", json!(false), "x402.refused"),
        ("transaction", json!(""), "x402.field"),
        ("transaction", json!("0x1234"), "x402.field"),
        ("network", json!("eip155:8453"), "x402.network"),
        ("payer", json!(PAY_TO.to_string()), "x402.field"),
        ("amount", json!("999"), "x402.value"),
        ("amount", json!("1001"), "x402.value"),
        ("amount", json!(""), "x402.field"),
    ] {
        let mut changed = good.clone();
        changed[key] = value.clone();
        assert_eq!(read(&changed).unwrap_err().code(), expected, "{key} {value}");
    }
    for (reason, code) in [
        (PaymentCode::Pending, PaymentCode::Pending),
        (PaymentCode::NonceUsed, PaymentCode::NonceUsed),
    ] {
        let response = not_settled(&commitment(), reason, None);
        assert_eq!(response.transaction, "");
        let read = read_settlement(&response, &commitment());
        assert_eq!(read, Err(PaymentError::Refused(code)));
    }
    let silent = crate::domain::x402::wire::SettlementResponse {
        error_reason: Some("flux".to_owned()),
        ..not_settled(&commitment(), PaymentCode::Pending, None)
    };
    let read = read_settlement(&silent, &commitment());
    assert_eq!(read, Err(PaymentError::Refused(PaymentCode::SettleFailed)));
}

#[test]
fn p08_no_prefix_and_no_corrupted_byte_panics() {
    for json in [payload_json(), offer_json()] {
        for end in 0..json.len() {
            assert!(parse_payment_payload(&json.as_bytes()[..end]).is_err());
            assert!(parse_payment_required(&json.as_bytes()[..end]).is_err());
        }
        let mut bytes = json.into_bytes();
        for at in 0..bytes.len() {
            for bit in [1, 0x20, 0x80] {
                bytes[at] ^= bit;
                // Either is fine, as long as it is an answer.
                let _ = parse_payment_payload(&bytes);
                let _ = parse_payment_required(&bytes);
                bytes[at] ^= bit;
            }
        }
    }
}

proptest! {
    #[test]
    fn nothing_panics(bytes in proptest::collection::vec(any::<u8>(), 0..512)) {
        let _ = decode_text(&bytes, Message::Payload);
        let _ = parse_payment_payload(&bytes);
        let _ = parse_payment_required(&bytes);
        let _ = parse_settlement(&bytes);
    }
}

#[test]
fn p10_a_network_that_is_spelled_otherwise_is_refused_by_its_code_on_every_side() {
    let kilobyte = format!("eip155:{}84532", "0".repeat(1024));
    for network in [
        "eip155:084532",
        "EIP155:84532",
        "eip155:0x14a34",
        "eip155:+84532",
        " eip155:84532",
        "eip155:84532 ",
        "eip155:84532:0x036CbD53842c5426634e7929541eC2318f3dCF7e",
        "eip155:18446744073709636148",
        "eip155:",
        "base-sepolia",
        "",
        &kilobyte,
    ] {
        let mut offer = payment_required(&quote(), &order(), &TOKENS, None).unwrap();
        offer.accepts[0].network = network.to_owned();
        let asked = Asked { resource: RESOURCE, timeout_max_s: 120, amount: None };
        let found = check_offer(&offer, &asked, &TOKENS).unwrap_err();
        assert_eq!(found, PaymentError::Network, "{network}");

        let mut paid = payload();
        paid.accepted.network = network.to_owned();
        let offered = [requirement()];
        let demand = Demand { resource: RESOURCE, offered: &offered, now_s: NOW_S };
        let found = check_payment(&paid, &demand).unwrap_err();
        assert_eq!(found.wire().as_str(), "invalid_network", "{network}");

        // A facilitator is told twice, and both have to be the name.
        let (good, other) = (payload().accepted, paid.accepted.clone());
        for (payment, terms) in [(&paid, &good), (&paid, &other), (&payload(), &other)] {
            let found = check_asked(payment, terms, &TOKENS, Step::Settle, NOW_S).unwrap_err();
            assert_eq!(found.wire().as_str(), "invalid_network", "{network}");
        }

        let transfer = Settled { transaction: B256::repeat_byte(1), amount: Amount::new(1000) };
        let mut said = settled(&commitment(), &transfer);
        said.network = network.to_owned();
        assert_eq!(read_settlement(&said, &commitment()), Err(PaymentError::Network), "{network}");
    }
}
