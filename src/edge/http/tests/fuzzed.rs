//! Headers, events and version 1 objects of any bytes: an answer, never a panic, and what is read is
//! written back the same.

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;

use crate::domain::x402::read::to_json;
use crate::edge::http::header::{
    PAYMENT_REQUIRED, PAYMENT_RESPONSE, PAYMENT_SIGNATURE, Payment, X_PAYMENT, find_offer,
    find_payment, find_settlement,
};
use crate::edge::http::{first, sse};

/// Text that looks like a payment, broken somewhere.
fn nearly() -> impl Strategy<Value = Vec<u8>> {
    let objects = [
        r#"{"x402Version":2,"accepted":{"scheme":"exact","network":"eip155:84532","amount":"1","asset":"0x036CbD53842c5426634e7929541eC2318f3dCF7e","payTo":"0x209693Bc6afc0C5328bA36FaF03C514EF312287C","maxTimeoutSeconds":60,"extra":{"name":"USDC","version":"2"}},"payload":{"signature":"0x"}}"#,
        r#"{"x402Version":1,"scheme":"exact","network":"base-sepolia","payload":{"signature":"0x","authorization":{"from":"0x","value":"1"}}}"#,
        r#"{"x402Version":1,"error":"","accepts":[{"scheme":"exact","network":"base","maxAmountRequired":"1","resource":"http://127.0.0.1/","description":"","mimeType":"","payTo":"0x209693Bc6afc0C5328bA36FaF03C514EF312287C","maxTimeoutSeconds":60,"asset":"0x036CbD53842c5426634e7929541eC2318f3dCF7e"}]}"#,
    ];
    let object = proptest::sample::select(objects.to_vec());
    let at = any::<proptest::sample::Index>();
    (object, at, any::<u8>(), 0..4u8).prop_map(|(object, at, byte, how)| {
        let mut bytes = object.as_bytes().to_vec();
        let at = at.index(bytes.len());
        match how {
            0 => bytes[at] = byte,
            1 => bytes.truncate(at),
            2 => bytes.insert(at, byte),
            _ => {}
        }
        bytes
    })
}

fn header(name: &HeaderName, value: &[u8]) -> HeaderMap {
    let value = HeaderValue::from_bytes(value).ok();
    HeaderMap::from_iter(value.map(|value| (name.clone(), value)))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2048, ..ProptestConfig::default() })]

    // threats.md P01 to P08, D16: with any bytes for a header's value, or an object that is nearly one.
    #[test]
    fn every_header_gets_an_answer(raw in proptest::collection::vec(any::<u8>(), 0..300), object in nearly()) {
        let encoded = STANDARD.encode(&object).into_bytes();
        for value in [raw, encoded] {
            for name in [PAYMENT_SIGNATURE, X_PAYMENT] {
                if let Ok(Some(Payment::Second(payment))) = find_payment(&header(&name, &value)) {
                    let text = STANDARD.encode(to_json(&payment)).into_bytes();
                    let again = find_payment(&header(&name, &text));
                    prop_assert_eq!(again, Ok(Some(Payment::Second(payment))));
                }
            }
            let _ = find_offer(&header(&PAYMENT_REQUIRED, &value));
            let _ = find_settlement(&header(&PAYMENT_RESPONSE, &value));
        }
    }

    #[test]
    fn version_1_is_read_or_refused(object in nearly()) {
        if let Ok(payment) = first::parse_payment(&object) {
            prop_assert!(payment.payload.len() <= object.len());
        }
        if let Ok(offer) = first::parse_required(&object) {
            let second = offer.to_second();
            prop_assert!(second.accepts.len() <= offer.accepts.len());
        }
    }

    #[test]
    fn events_are_cut_where_they_end(bytes in proptest::collection::vec(proptest::sample::select(b"\r\ndat: {}x".to_vec()), 0..64)) {
        if let Some(len) = sse::event_len(&bytes) {
            let (event, _) = bytes.split_at(len);
            prop_assert!(sse::ends_event(event));
            prop_assert_eq!(sse::event_len(event), Some(len), "the first one ends there");
            let _ = sse::data(event);
        }
    }
}
