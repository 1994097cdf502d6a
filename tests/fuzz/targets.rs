//! What is fuzzed: bytes in, and a panic where something is so that must not be. The fuzzer's programs run
//! these, and so do the tests, on what is in `kept`.

use std::str::FromStr;

use bursar::domain::asset::Network;
use bursar::domain::money::Amount;
use bursar::domain::x402::error::Message;
use bursar::domain::x402::read::{
    decode_text, parse_asked, parse_payment_payload, parse_payment_required, parse_settlement,
    to_json,
};
use bursar::domain::x402::wire::AskedPayment;
use bursar::sim::plan::Plan;
use bursar::sim::world::World;

/// A script of the whole world: payers' node, payee and chain, each with a store or a journal of its own.
/// Each byte is one thing that is drawn: what people do, what goes wrong and when. Whatever it says, no
/// invariant breaks and everything ends. threats.md FZ7, FZ8.
pub fn consistency(script: &[u8]) {
    let plan = Plan::scripted(script);
    let report = World::new(plan.clone()).run();
    assert!(report.broken.is_empty(), "{plan:?}\n{report:#?}");
    assert_eq!(report.ends.values().sum::<u64>(), u64::try_from(plan.wishes).unwrap());
}

/// What a stranger sends: whatever is taken is written back the same. threats.md FZ1, FZ2, FZ10.
pub fn wire(bytes: &[u8]) {
    let decoded = decode_text(bytes, Message::Payload);
    for json in [Some(bytes), decoded.as_deref().ok()].into_iter().flatten() {
        if let Ok(read) = parse_payment_payload(json) {
            assert_eq!(parse_payment_payload(&to_json(&read)), Ok(read));
        }
        if let Ok(read) = parse_payment_required(json) {
            assert_eq!(parse_payment_required(&to_json(&read)), Ok(read));
        }
        if let Ok(read) = parse_settlement(json) {
            assert_eq!(parse_settlement(&to_json(&read)), Ok(read));
        }
        let _ = parse_asked::<AskedPayment>(json);
    }
    if let Ok(text) = std::str::from_utf8(bytes) {
        if let Ok(amount) = Amount::from_str(text) {
            assert_eq!(amount.to_string(), text, "an amount has one spelling");
        }
        if let Ok(network) = Network::from_str(text) {
            assert_eq!(network.to_string(), text, "a network has one name");
        }
    }
}
