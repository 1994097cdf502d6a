//! Role and order in, allowed or a named denial out. Nothing is allowed by default; deny beats allow.

use serde::{Deserialize, Serialize};

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
