//! Windows: the span over which a cap counts.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The span over which a cap counts. Never a bare duration: `30d` surprises, these words do not.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum WindowSpec {
    /// Hours, days, weeks or months by the wall clock of a time zone. Across an edge, two caps.
    Calendar {
        /// Which.
        unit: CalendarUnit,
        /// An IANA name: `UTC`, `Europe/Berlin`.
        zone: String,
    },
    /// Any span of this length, kept in buckets that count whole: it can refuse early by one bucket,
    /// never late.
    Rolling {
        /// How long.
        span: Duration,
    },
    /// From a session's first payment for at most this long.
    Session {
        /// How long.
        span: Duration,
    },
    /// For ever.
    Lifetime,
}

/// A calendar's units.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CalendarUnit {
    /// From minute 0.
    Hour,
    /// From midnight.
    Day,
    /// From midnight on Monday.
    Week,
    /// From midnight on the 1st.
    Month,
}
