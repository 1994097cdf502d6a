//! What an order leaves out where it states nothing.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use super::*;

fn order(maxima: Maxima) -> Order {
    Order {
        capability: "embed".parse().unwrap(),
        model: None,
        input_max: Units(1),
        output_max: Units(2),
        maxima,
    }
}

#[test]
fn an_order_by_tokens_alone_says_what_it_always_said_and_any_other_maximum_is_stated() {
    let none = Maxima::default();
    let json = serde_json::to_string(&order(none)).unwrap();
    let always = r#"{"capability":"embed","model":null,"input_max":1,"output_max":2}"#;
    assert_eq!(json, always);
    assert_eq!(serde_json::from_str::<Order>(always).unwrap(), order(none));
    for stated in [
        Maxima { bytes: 1, ..none },
        Maxima { compute_ms: 1, ..none },
        Maxima { stored: 1, ..none },
        Maxima { bytes: 1, compute_ms: 1, stored: 0 },
    ] {
        assert!(!stated.is_none(), "{stated:?}");
        let json = serde_json::to_string(&order(stated)).unwrap();
        assert_eq!(serde_json::from_str::<Order>(&json).unwrap(), order(stated), "{json}");
    }
}
