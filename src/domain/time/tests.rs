//! Spans, and how an instant is written.

use super::*;

#[test]
fn a_span_ends_where_it_began_and_is_nothing_where_it_would_be_negative() {
    let (early, late) = (Timestamp::from_nanos(3), Timestamp::from_nanos(10));
    assert_eq!(late.since(early), Duration::from_nanos(7));
    assert_eq!(early.after(late.since(early)), late);
    assert_eq!(early.since(early), Duration::ZERO);
    assert_eq!(early.since(late), Duration::ZERO);
    assert_eq!(Timestamp::MAX.since(Timestamp::ZERO), Duration::from_nanos(u64::MAX));
}

/// Source: RFC 3339, section 5.6, with milliseconds.
#[test]
fn an_instant_is_written_in_utc_with_milliseconds() {
    for (millis, written) in [
        (0, "1970-01-01T00:00:00.000Z"),
        (1, "1970-01-01T00:00:00.001Z"),
        (951_782_400_000, "2000-02-29T00:00:00.000Z"),
        (1_788_264_000_123, "2026-09-01T12:00:00.123Z"),
    ] {
        assert_eq!(Timestamp::from_millis(millis).to_string(), written);
    }
}
