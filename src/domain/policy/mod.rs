//! Role and order in, allowed or a named denial out. Nothing is allowed by default; deny beats allow.
//!
//! Policy knows rules, never numbers that change: what is left of a budget is the ledger's word, and a
//! role's session and spend-per-minute rules become budgets before they reach it.

mod decide;
mod document;
mod pattern;
mod role;

use serde::{Deserialize, Serialize};

pub use decide::{Denial, Denied, List, Offer, decide};
pub use document::{PolicyDocument, PolicyError};
pub use pattern::{PATTERN_LEN_MAX, Pattern, PatternError};
pub use role::{Lists, Rates, Role, SessionRule};

/// One rule that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleCheck {
    /// Which: `allow.models`, `per_call_max`.
    pub rule: String,
    /// What the rule says: `bursar-*`, `0.05`.
    pub says: String,
    /// What it was held against: `gpt-9`, `0.07`.
    pub found: String,
    /// Whether it let the payment pass.
    pub passed: bool,
}

#[cfg(test)]
mod tests;
