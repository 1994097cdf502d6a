//! Windows: the span over which a cap counts.

use std::time::Duration;

use jiff::tz::{TimeZone, TimeZoneDatabase};
use serde::{Deserialize, Serialize};

use crate::domain::time::Timestamp;

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

/// How many buckets a rolling window is kept in: the spender is refused early by at most this share.
pub const ROLLING_BUCKETS: u64 = 60;

/// A window's bounds: from, inclusive, until, exclusive.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Bounds {
    /// Its first instant.
    pub from: Timestamp,
    /// The first instant after it.
    pub until: Timestamp,
}

impl Bounds {
    /// Whether `now` lies in it.
    pub fn contain(&self, now: Timestamp) -> bool {
        self.from <= now && now < self.until
    }
}

/// Why a window cannot be computed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WindowError {
    /// No such time zone in the bundled database.
    #[error("`{0}` is not a time zone: expected an IANA name such as UTC or Europe/Berlin")]
    UnknownZone(String),
    /// A rolling or session span of nothing, or of more than ten years.
    #[error("a window's span is between a second and ten years, not {0:?}")]
    SpanOutOfRange(Duration),
}

/// Longest span of a rolling or session window: ten years.
const SPAN_MAX: Duration = Duration::from_secs(10 * 366 * 24 * 3600);

impl WindowSpec {
    /// Whether the window can be computed at any time.
    ///
    /// # Errors
    /// [`WindowError`] for an unknown time zone or a span out of range.
    pub fn check(&self) -> Result<(), WindowError> {
        match self {
            Self::Calendar { zone, .. } => find_zone(zone).map(|_| ()),
            Self::Rolling { span } | Self::Session { span }
                if *span < Duration::from_secs(1) || *span > SPAN_MAX =>
            {
                Err(WindowError::SpanOutOfRange(*span))
            }
            Self::Rolling { .. } | Self::Session { .. } | Self::Lifetime => Ok(()),
        }
    }

    /// The bounds in which `now` lies; for a rolling window those of its bucket, for a session those
    /// of one that begins now.
    pub fn bounds(&self, now: Timestamp) -> Bounds {
        match self {
            Self::Calendar { unit, zone } => calendar(*unit, zone, now),
            Self::Rolling { span } => {
                let width = bucket_width(*span);
                let past = now.as_nanos().checked_rem(width).unwrap_or(0);
                let from = now.as_nanos().saturating_sub(past);
                Bounds {
                    from: Timestamp::from_nanos(from),
                    until: Timestamp::from_nanos(from.saturating_add(width)),
                }
            }
            Self::Session { span } => Bounds { from: now, until: now.after(*span) },
            Self::Lifetime => Bounds { from: Timestamp::ZERO, until: Timestamp::MAX },
        }
    }
}

/// A rolling window's bucket, in nanoseconds.
fn bucket_width(span: Duration) -> u64 {
    let nanos = u64::try_from(span.as_nanos()).unwrap_or(u64::MAX);
    nanos.div_ceil(ROLLING_BUCKETS).max(1)
}

fn find_zone(zone: &str) -> Result<TimeZone, WindowError> {
    TimeZoneDatabase::bundled().get(zone).map_err(|_| WindowError::UnknownZone(zone.to_owned()))
}

fn calendar(unit: CalendarUnit, zone: &str, now: Timestamp) -> Bounds {
    let zone = find_zone(zone).expect("a policy is checked before it is applied");
    let bounds = calendar_bounds(unit, &zone, now);
    // Beyond the calendar's end (the year 9999) there is one window for ever: it can only refuse more.
    bounds.unwrap_or(Bounds { from: Timestamp::ZERO, until: Timestamp::MAX })
}

fn calendar_bounds(unit: CalendarUnit, zone: &TimeZone, now: Timestamp) -> Option<Bounds> {
    let secs = i64::try_from(now.as_secs()).ok()?;
    let local = jiff::Timestamp::from_second(secs).ok()?.to_zoned(zone.clone());
    let day = |date: jiff::civil::Date| date.to_zoned(zone.clone()).ok();
    let (from, until) = match unit {
        CalendarUnit::Hour => {
            // By elapsed time since the clock showed minute 0 as it runs now: where clocks go back, the
            // hour that comes twice has two windows. Rounding the wall clock itself would find an
            // instant before the change, where clocks go back by half an hour.
            let into = i64::from(local.minute()).checked_mul(60)?;
            let into = into.checked_add(i64::from(local.second()))?;
            let from = local.checked_sub(jiff::SignedDuration::from_secs(into)).ok()?;
            let until = from.checked_add(jiff::SignedDuration::from_hours(1)).ok()?;
            (from, until)
        }
        CalendarUnit::Day => (day(local.date())?, day(local.date().tomorrow().ok()?)?),
        CalendarUnit::Week => {
            let back = i32::from(local.weekday().to_monday_zero_offset());
            let monday = local.date().checked_sub(jiff::Span::new().try_days(back).ok()?).ok()?;
            (day(monday)?, day(monday.checked_add(jiff::Span::new().days(7)).ok()?)?)
        }
        CalendarUnit::Month => {
            let first = local.date().first_of_month();
            (day(first)?, day(first.checked_add(jiff::Span::new().months(1)).ok()?)?)
        }
    };
    let stamp = |at: &jiff::Zoned| u64::try_from(at.timestamp().as_second()).ok();
    let bounds = Bounds {
        from: Timestamp::from_secs(stamp(&from)?),
        until: Timestamp::from_secs(stamp(&until)?),
    };
    bounds.contain(now).then_some(bounds)
}
