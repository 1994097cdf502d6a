//! What an agent wants, before anybody has named a price.

use serde::{Deserialize, Serialize};

use crate::domain::id::Name;

/// What is wanted: the input to a quote, a policy decision and a price.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Order {
    /// What kind of work: `text.generate`, `search.query`, `embed`, `answer`.
    pub capability: Name,
    /// Which model; `None` asks for any that has the capability.
    pub model: Option<Name>,
    /// The most input that will be metered, in the meter's units.
    pub input_max: Units,
    /// The most output that may be produced, in the meter's units.
    pub output_max: Units,
    /// The most of what else may be metered. Left out where nothing is stated, so that an order by
    /// tokens alone says what it always said.
    #[serde(default, skip_serializing_if = "Maxima::is_none")]
    pub maxima: Maxima,
}

/// The most that a call may use of what is not counted in tokens; zero states nothing.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Maxima {
    /// Bytes of the answer.
    pub bytes: u64,
    /// Milliseconds that the engine may work.
    pub compute_ms: u64,
    /// Bytes that the payee is to keep: those of the request's body.
    pub stored: u64,
}

impl Maxima {
    /// Whether nothing is stated.
    pub const fn is_none(&self) -> bool {
        self.bytes == 0 && self.compute_ms == 0 && self.stored == 0
    }
}

/// Metered units: tokens by the model's own count.
#[derive(
    Copy, Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Units(pub u64);

/// What was used, counted by the payee's meter.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Usage {
    /// Input tokens.
    pub input: Units,
    /// Output tokens.
    pub output: Units,
    /// Bytes of the answer.
    pub bytes: u64,
    /// Milliseconds the engine worked.
    pub compute_ms: u64,
}

#[cfg(test)]
mod tests;
