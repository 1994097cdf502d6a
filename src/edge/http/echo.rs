//! Whether what a payer repeats of an offer's extensions is what was offered.

use serde_json::{Map, Value};

use crate::domain::x402::{offer_receipt, sponsoring};

/// What a changed repetition is called.
pub const MISMATCH: &str = "extension_echo_mismatch";

/// What came of the comparison.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Echo {
    /// Everything that was repeated is there as it was declared.
    Same,
    /// Something of it was changed or taken out.
    Changed,
}

/// Compares what a payer repeats with what was `declared`: it may add to an extension's `info`, and
/// neither change nor take out. An extension that it leaves out altogether it does not use.
///
/// Signed offers are new with every offer, and a permit has rules of its own; both are checked elsewhere.
/// Source: x402 version 2, section 5.1.2.
pub fn check<'d>(
    declared: impl Fn(&str) -> Option<&'d Value>,
    echoed: Option<&Map<String, Value>>,
) -> Echo {
    let Some(echoed) = echoed else { return Echo::Same };
    let kept = |(key, value): (&String, &Value)| {
        let own = key == offer_receipt::KEY || key == sponsoring::KEY;
        let Some(ours) = declared(key).filter(|_| !own) else { return true };
        fn info(value: &Value) -> &Value {
            value.get("info").unwrap_or(&Value::Null)
        }
        let same_schema =
            value.get("schema").is_none_or(|schema| ours.get("schema") == Some(schema));
        same_schema && holds(info(value), info(ours))
    };
    if echoed.iter().all(kept) { Echo::Same } else { Echo::Changed }
}

/// Whether `whole` has everything of `part`. Both were read within a bounded depth.
fn holds(whole: &Value, part: &Value) -> bool {
    match (whole, part) {
        (Value::Object(whole), Value::Object(part)) => {
            part.iter().all(|(key, part)| whole.get(key).is_some_and(|whole| holds(whole, part)))
        }
        (whole, part) => whole == part,
    }
}
