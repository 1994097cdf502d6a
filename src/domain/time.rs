//! Time as an argument. Only `edge/clock.rs` reads a clock.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Nanoseconds since the Unix epoch. Ledger timestamps strictly increase, so nanoseconds leave room
/// for every event of a busy second.
#[derive(
    Copy, Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Timestamp(u64);

impl Timestamp {
    /// The beginning of time.
    pub const ZERO: Self = Self(0);
    /// The end of time: what never comes.
    pub const MAX: Self = Self(u64::MAX);

    /// `nanos` nanoseconds since the epoch.
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// `secs` seconds since the epoch, saturating.
    pub const fn from_secs(secs: u64) -> Self {
        Self(secs.saturating_mul(1_000_000_000))
    }

    /// `millis` milliseconds since the epoch, saturating.
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis.saturating_mul(1_000_000))
    }

    /// Nanoseconds since the epoch.
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// Whole milliseconds since the epoch.
    pub fn as_millis(self) -> u64 {
        self.0.checked_div(1_000_000).unwrap_or(0)
    }

    /// Whole seconds since the epoch.
    pub fn as_secs(self) -> u64 {
        self.0.checked_div(1_000_000_000).unwrap_or(0)
    }

    /// Later by `span`, saturating.
    pub fn after(self, span: Duration) -> Self {
        let nanos = u64::try_from(span.as_nanos()).unwrap_or(u64::MAX);
        Self(self.0.saturating_add(nanos))
    }

    /// Earlier by `span`, saturating.
    pub fn before(self, span: Duration) -> Self {
        let nanos = u64::try_from(span.as_nanos()).unwrap_or(u64::MAX);
        Self(self.0.saturating_sub(nanos))
    }

    /// The next instant: ledger time never repeats.
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }

    /// How long since `earlier`; nothing if it is later.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl fmt::Display for Timestamp {
    /// RFC 3339 in UTC with milliseconds.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = i64::try_from(self.as_millis()).unwrap_or(i64::MAX);
        match jiff::Timestamp::from_millisecond(millis) {
            Ok(time) => f.pad(&format!("{time:.3}")),
            Err(_) => f.pad("never"),
        }
    }
}

#[cfg(test)]
mod tests;
