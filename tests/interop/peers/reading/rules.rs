//! Where the two readers differ, who is the stricter, and why. docs/x402-http.md says the same in words.

use bursar::domain::x402::PaymentError;
use serde_json::Value;

use super::readers::{Kind, Way};
use super::tree::{Did, Edit, Tree};

/// Who refuses what the other reads.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Stricter {
    We,
    They,
}

/// One way in which the two differ.
pub struct Rule {
    pub name: &'static str,
    stricter: Stricter,
    is: fn(&Seen<'_>) -> bool,
}

/// A document that one of the two refuses.
pub struct Seen<'s> {
    pub kind: Kind,
    pub edits: &'s [Edit],
    /// Why we refuse it, where it is we.
    pub refused: Option<&'s PaymentError>,
}

impl Rule {
    pub fn explains(&self, seen: &Seen<'_>) -> bool {
        let stricter = if seen.refused.is_some() { Stricter::We } else { Stricter::They };
        self.stricter == stricter && (self.is)(seen)
    }
}

impl Seen<'_> {
    fn some(&self, is: impl Fn(&Edit) -> bool) -> bool {
        self.edits.iter().any(is)
    }

    /// Whether something was changed at a place that ends so.
    fn at(&self, ends: &[&str]) -> bool {
        self.some(|edit| ends.iter().any(|end| edit.place.ends_with(end)))
    }

    /// Whether a value became such a one, at a place that ends so.
    fn became(&self, ends: &[&str], is: fn(&Value) -> bool) -> bool {
        self.some(|edit| match &edit.did {
            Did::Became { to: Tree::Leaf(to), .. }
            | Did::Twice(Tree::Leaf(to))
            | Did::Added(Tree::Leaf(to)) => {
                is(to) && ends.iter().any(|end| edit.place.ends_with(end))
            }
            _ => false,
        })
    }

    fn is_misshapen(&self) -> bool {
        matches!(self.refused, Some(PaymentError::Malformed { .. } | PaymentError::Field { .. }))
    }

    fn is_field(&self) -> bool {
        matches!(self.refused, Some(PaymentError::Field { .. }))
    }
}

/// Where money is counted: decimal digits, as text.
const NUMBERS: [&str; 7] = [
    "/amount",
    "/maxAmountRequired",
    "/value",
    "/validAfter",
    "/validBefore",
    "/deadline",
    "/nonce",
];

/// Addresses and hashes.
const BYTES: [&str; 9] = [
    "/asset",
    "/payTo",
    "/from",
    "/to",
    "/token",
    "/spender",
    "/facilitator",
    "/nonce",
    "/facilitatorAddress",
];

/// Objects of which each field is known: what one reader passes over could mean something to another.
const CLOSED: [&str; 8] = [
    "/accepts/*",
    "/accepted",
    "/paymentRequirements",
    "/payload",
    "/authorization",
    "/permit2Authorization",
    "/permitted",
    "/witness",
];

fn is_closed(kind: Kind, edit: &Edit) -> bool {
    let parent = edit.place.rsplit_once('/').map_or("", |(parent, _)| parent);
    let first = kind == Kind::FirstPayment && parent.is_empty();
    first || CLOSED.iter().any(|end| parent.ends_with(end))
}

pub const RULES: [Rule; 24] = [
    // We are the stricter.
    Rule {
        name: "a key that comes twice",
        stricter: Stricter::We,
        is: |seen| {
            matches!(seen.refused, Some(PaymentError::DuplicateKey(_)))
                && seen.some(|edit| matches!(edit.did, Did::Twice(_)))
        },
    },
    Rule {
        name: "more than 64 KiB",
        stricter: Stricter::We,
        is: |seen| matches!(seen.refused, Some(PaymentError::TooLarge { .. })),
    },
    Rule {
        name: "nesting deeper than 32",
        stricter: Stricter::We,
        is: |seen| {
            matches!(seen.refused, Some(PaymentError::TooDeep { .. })) && seen.at(&["/nested"])
        },
    },
    Rule {
        name: "a field that nobody knows, of terms or of what was signed",
        stricter: Stricter::We,
        is: |seen| {
            seen.is_misshapen()
                && seen.some(|edit| {
                    matches!(edit.did, Did::Added(_) | Did::Renamed(_))
                        && is_closed(seen.kind, edit)
                })
        },
    },
    Rule {
        name: "an amount that is no text",
        stricter: Stricter::We,
        is: |seen| seen.is_misshapen() && seen.became(&NUMBERS, Value::is_number),
    },
    Rule {
        name: "a second spelling of a number",
        stricter: Stricter::We,
        is: |seen| seen.is_field() && seen.became(&NUMBERS, Value::is_string),
    },
    Rule {
        name: "an amount above what a ledger takes",
        stricter: Stricter::We,
        is: |seen| {
            matches!(seen.refused, Some(PaymentError::ValueTooLarge | PaymentError::Field { .. }))
                && seen.became(&["/amount", "/value", "/maxAmountRequired"], |value| {
                    value.as_str().is_some_and(|text| text.len() > 30)
                })
        },
    },
    Rule {
        name: "an address or a hash that does not begin with 0x",
        stricter: Stricter::We,
        is: |seen| {
            let other = |value: &Value| value.as_str().is_some_and(|text| !text.starts_with("0x"));
            seen.is_field() && seen.became(&BYTES, other)
        },
    },
    Rule {
        name: "a network's second spelling",
        stricter: Stricter::We,
        is: |seen| matches!(seen.refused, Some(PaymentError::Network)) && seen.at(&["/network"]),
    },
    Rule {
        name: "a URL that is not printable ASCII",
        stricter: Stricter::We,
        is: |seen| seen.is_field() && seen.at(&["/resource/url"]),
    },
    Rule {
        name: "an offer that names no resource",
        stricter: Stricter::We,
        is: |seen| {
            matches!(seen.kind, Kind::Offer(_)) && seen.is_misshapen() && seen.at(&["/resource"])
        },
    },
    Rule {
        name: "terms of `upto` that name nobody who may settle",
        stricter: Stricter::We,
        is: |seen| {
            let upto = matches!(seen.kind, Kind::Payment(Way::Upto) | Kind::Asked(Way::Upto));
            upto && seen.is_misshapen() && seen.at(&["/extra", "/extra/facilitatorAddress"])
        },
    },
    Rule {
        name: "terms of nothing, or of no time",
        stricter: Stricter::We,
        is: |seen| matches!(seen.refused, Some(PaymentError::Zero | PaymentError::Timeout { .. })),
    },
    Rule {
        name: "a way to move the asset that is not known",
        stricter: Stricter::We,
        is: |seen| {
            matches!(seen.refused, Some(PaymentError::Scheme))
                && seen.at(&["/extra/assetTransferMethod"])
        },
    },
    Rule {
        name: "a payload that is not of the terms that it accepted",
        stricter: Stricter::We,
        is: |seen| match seen.refused {
            Some(
                PaymentError::NotOffered
                | PaymentError::Spender { .. }
                | PaymentError::Facilitator { .. },
            ) => seen.at(&["/asset", "/token", "/spender", "/facilitator", "/facilitatorAddress"]),
            Some(PaymentError::Field { .. }) => {
                seen.at(&["/extra/assetTransferMethod", "/scheme", "/extra"])
            }
            _ => false,
        },
    },
    Rule {
        name: "a signature that is not of 65 bytes in hexadecimal digits",
        stricter: Stricter::We,
        is: |seen| {
            matches!(
                seen.refused,
                Some(PaymentError::Signature { .. } | PaymentError::Field { .. })
            ) && seen.at(&["/signature"])
        },
    },
    Rule {
        name: "a settlement with a field of another type",
        stricter: Stricter::We,
        is: |seen| {
            let fields = ["/amount", "/extra", "/extensions", "/errorReason"];
            seen.kind == Kind::Settlement && seen.is_misshapen() && seen.at(&fields)
        },
    },
    // They are the stricter.
    Rule {
        name: "terms that do not name the token",
        stricter: Stricter::They,
        is: |seen| seen.at(&["/extra/name", "/extra/version", "/extra"]),
    },
    Rule {
        name: "a settlement that names no payer",
        stricter: Stricter::They,
        is: |seen| seen.kind == Kind::Settlement && seen.at(&["/payer"]),
    },
    Rule {
        name: "a settlement that failed without `error_reason`",
        stricter: Stricter::They,
        is: |seen| seen.kind == Kind::Settlement && seen.at(&["/success"]),
    },
    Rule {
        name: "a list of extensions in the terms of `upto`",
        stricter: Stricter::They,
        is: |seen| {
            let upto = matches!(seen.kind, Kind::Offer(Way::Upto) | Kind::Asked(Way::Upto));
            upto && seen.at(&["/extra/extensions"])
        },
    },
    Rule {
        name: "null for no extensions",
        stricter: Stricter::They,
        is: |seen| seen.became(&["/extensions"], Value::is_null),
    },
    Rule {
        name: "a request that says its version in its payment alone",
        stricter: Stricter::They,
        is: |seen| {
            let places = |edit: &Edit| edit.place == "/x402Version";
            matches!(seen.kind, Kind::Asked(_)) && seen.some(places)
        },
    },
    Rule {
        name: "an offer of version 1 without a description",
        stricter: Stricter::They,
        is: |seen| seen.kind == Kind::FirstOffer && seen.at(&["/accepts/*/description"]),
    },
];
