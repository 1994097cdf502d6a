//! Windows: which one an instant lies in, and that a hold counts in its own for life.

use std::time::Duration;

use proptest::prelude::*;

use super::fixture::*;
use crate::domain::id::PaymentId;
use crate::domain::ledger::budget::{BudgetDef, Per, Selector};
use crate::domain::ledger::hold::CaptureProof;
use crate::domain::ledger::window::{CalendarUnit, ROLLING_BUCKETS, WindowError, WindowSpec};
use crate::domain::ledger::{Bounds, Rejection};
use crate::domain::time::Timestamp;

fn at(text: &str) -> Timestamp {
    let time: jiff::Timestamp = text.parse().unwrap();
    Timestamp::from_secs(time.as_second().try_into().unwrap())
}

fn fleet(limit: u64, window: WindowSpec) -> BudgetDef {
    budget("fleet", Selector::Fleet, Per::All, limit, window)
}

#[test]
fn calendar_windows_follow_the_wall_clock_through_both_changes_of_the_year() {
    use CalendarUnit::{Day, Hour, Month, Week};
    let (berlin, utc) = ("Europe/Berlin", "UTC");
    let table = [
        // Clocks go forward at 2026-03-29T01:00Z: a day of 23 hours.
        (Day, berlin, "2026-03-28T23:00:00Z", "2026-03-28T23:00:00Z", "2026-03-29T22:00:00Z"),
        (Day, berlin, "2026-03-29T21:59:59Z", "2026-03-28T23:00:00Z", "2026-03-29T22:00:00Z"),
        (Day, berlin, "2026-03-29T22:00:00Z", "2026-03-29T22:00:00Z", "2026-03-30T22:00:00Z"),
        (Hour, berlin, "2026-03-29T00:59:59Z", "2026-03-29T00:00:00Z", "2026-03-29T01:00:00Z"),
        (Hour, berlin, "2026-03-29T01:00:00Z", "2026-03-29T01:00:00Z", "2026-03-29T02:00:00Z"),
        (Week, berlin, "2026-03-29T12:00:00Z", "2026-03-22T23:00:00Z", "2026-03-29T22:00:00Z"),
        (Month, berlin, "2026-03-29T12:00:00Z", "2026-02-28T23:00:00Z", "2026-03-31T22:00:00Z"),
        // Clocks go back at 2026-10-25T01:00Z: a day of 25 hours, an hour that comes twice.
        (Day, berlin, "2026-10-24T22:00:00Z", "2026-10-24T22:00:00Z", "2026-10-25T23:00:00Z"),
        (Day, berlin, "2026-10-25T22:59:59Z", "2026-10-24T22:00:00Z", "2026-10-25T23:00:00Z"),
        (Hour, berlin, "2026-10-25T00:30:00Z", "2026-10-25T00:00:00Z", "2026-10-25T01:00:00Z"),
        (Hour, berlin, "2026-10-25T01:30:00Z", "2026-10-25T01:00:00Z", "2026-10-25T02:00:00Z"),
        (Week, berlin, "2026-10-25T12:00:00Z", "2026-10-18T22:00:00Z", "2026-10-25T23:00:00Z"),
        (Month, berlin, "2026-10-25T12:00:00Z", "2026-09-30T22:00:00Z", "2026-10-31T23:00:00Z"),
        // Months of every length, and a year's end.
        (Month, utc, "2028-02-29T23:59:59Z", "2028-02-01T00:00:00Z", "2028-03-01T00:00:00Z"),
        (Month, utc, "2027-02-28T23:59:59Z", "2027-02-01T00:00:00Z", "2027-03-01T00:00:00Z"),
        (Month, utc, "2026-12-31T23:59:59Z", "2026-12-01T00:00:00Z", "2027-01-01T00:00:00Z"),
        (Month, utc, "2027-01-01T00:00:00Z", "2027-01-01T00:00:00Z", "2027-02-01T00:00:00Z"),
        (Week, utc, "2027-01-01T00:00:00Z", "2026-12-28T00:00:00Z", "2027-01-04T00:00:00Z"),
        // A zone of 45 minutes, and one that left out a whole day (2011-12-30).
        (
            Hour,
            "Asia/Kathmandu",
            "2026-09-01T12:20:00Z",
            "2026-09-01T12:15:00Z",
            "2026-09-01T13:15:00Z",
        ),
        (
            Day,
            "Pacific/Apia",
            "2011-12-30T09:59:59Z",
            "2011-12-29T10:00:00Z",
            "2011-12-30T10:00:00Z",
        ),
        (
            Day,
            "Pacific/Apia",
            "2011-12-30T10:00:00Z",
            "2011-12-30T10:00:00Z",
            "2011-12-31T10:00:00Z",
        ),
    ];
    for (unit, zone, now, from, until) in table {
        let bounds = calendar(unit, zone).bounds(at(now));
        assert_eq!((bounds.from, bounds.until), (at(from), at(until)), "{unit:?} {zone} {now}");
    }
}

#[test]
fn a_window_is_checked_before_a_policy_names_it() {
    let day = |zone| calendar(CalendarUnit::Day, zone).check();
    assert_eq!(day("Europe/Berlin"), Ok(()));
    assert_eq!(day("Mars/Olympus"), Err(WindowError::UnknownZone("Mars/Olympus".to_owned())));
    assert!(day("").is_err());
    let ten_years = 10 * 366 * 24 * 3600;
    for (secs, fits) in [(0, false), (1, true), (ten_years, true), (ten_years + 1, false)] {
        assert_eq!(span(secs).check().is_ok(), fits, "{secs}");
        assert_eq!(session(secs).check().is_ok(), fits, "{secs}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(256) })]

    /// Half-hour changes of the clock, changes at midnight, days left out: a window holds its instant,
    /// and it is never the window for ever that would swallow every later one.
    #[test]
    fn a_calendar_window_holds_its_instant(
        secs in 946_684_800_u64..2_208_988_800,
        zone in prop::sample::select(vec![
            "UTC", "Europe/Berlin", "Australia/Lord_Howe", "America/Sao_Paulo", "Pacific/Apia",
            "America/Havana", "Asia/Kathmandu", "Africa/Cairo", "Atlantic/Azores",
        ]),
    ) {
        let now = Timestamp::from_secs(secs);
        let most = [(CalendarUnit::Hour, 1), (CalendarUnit::Day, 49), (CalendarUnit::Week, 7 * 24 + 25),
            (CalendarUnit::Month, 31 * 24 + 25)];
        for (unit, hours_max) in most {
            let bounds = calendar(unit, zone).bounds(now);
            prop_assert!(bounds.contain(now), "{unit:?} {zone} {secs} {bounds:?}");
            let length = bounds.until.since(bounds.from);
            prop_assert!(length <= Duration::from_secs(hours_max * 3600), "{unit:?} {zone} {secs} {bounds:?}");
        }
    }
}

#[test]
fn f06_a_new_window_gives_the_whole_cap_again() {
    let day = calendar(CalendarUnit::Day, "UTC");
    let mut desk = Desk::new(vec![fleet(10, day)]);
    let midnight = at("2026-09-02T00:00:00Z").as_secs();
    let first = desk.hold("ann", 10).unwrap();
    desk.capture(first).unwrap();
    desk.at(midnight - 1);
    match desk.hold("ann", 1) {
        Err(Rejection::OverBudget(check)) => {
            assert_eq!(check.resets_at, Some(Timestamp::from_secs(midnight)));
        }
        other => panic!("{other:?}"),
    }
    desk.at(midnight);
    desk.hold("ann", 10).unwrap();
    assert_eq!(desk.numbers("fleet"), (0, 10));
}

#[test]
fn b11_a_hold_counts_in_its_own_window_for_life() {
    let day = calendar(CalendarUnit::Day, "UTC");
    let mut desk = Desk::new(vec![fleet(10, day)]);
    let midnight = at("2026-09-02T00:00:00Z").as_secs();
    let taken: Vec<_> = (0..5).map(|_| desk.hold("ann", 2).unwrap()).collect();
    desk.at(midnight);
    assert_eq!(desk.numbers("fleet"), (0, 0));
    let today = desk.hold("ann", 7).unwrap();
    // Whatever becomes of yesterday's, today's numbers are today's.
    desk.capture(taken[0]).unwrap();
    desk.void(taken[1]).unwrap();
    desk.capture(taken[2]).unwrap();
    desk.expire(taken[2], midnight + 1000).unwrap();
    desk.doubt(taken[3]).unwrap();
    assert_eq!(desk.numbers("fleet"), (0, 7));
    desk.wait(24 * 3600);
    desk.hold("ann", 10).unwrap();
    desk.capture(taken[3]).unwrap();
    desk.expire(taken[4], midnight + 1000).unwrap();
    desk.capture(today).unwrap();
    desk.expire(taken[0], midnight + 1000).unwrap();
    assert_eq!(desk.numbers("fleet"), (0, 10));
}

#[test]
fn a_rolling_window_refuses_early_by_one_bucket_at_most() {
    let bucket = 600 / ROLLING_BUCKETS;
    for into_bucket in [0, 1, bucket - 1] {
        let mut desk = Desk::new(vec![fleet(10, span(600))]);
        let base = START_S + 1000;
        let placed = base + into_bucket;
        desk.at(placed);
        desk.hold("ann", 10).unwrap();
        desk.at(placed + 599);
        assert_eq!(code(desk.hold("ann", 1)), "ledger.over_budget");
        desk.at(base + bucket + 600 - 1);
        assert_eq!(code(desk.hold("ann", 1)), "ledger.over_budget");
        desk.at(base + bucket + 600);
        desk.hold("ann", 10).unwrap();
    }
}

#[test]
fn what_leaves_a_rolling_window_late_does_not_come_back() {
    let mut desk = Desk::new(vec![fleet(10, span(600))]);
    let slow = desk.hold("ann", 4).unwrap();
    let lied = desk.hold("ann", 4).unwrap();
    desk.capture(lied).unwrap();
    desk.wait(300);
    let late = desk.hold("ann", 2).unwrap();
    desk.wait(400);
    // The first bucket is out of the span: 10 fit, whatever becomes of what was held in it.
    assert_eq!(desk.numbers("fleet"), (0, 2));
    desk.capture(slow).unwrap();
    desk.expire(lied, START_S + 1000).unwrap();
    assert_eq!(desk.numbers("fleet"), (0, 2));
    desk.hold("ann", 8).unwrap();
    desk.expire(slow, START_S + 1000).unwrap();
    assert_eq!(desk.numbers("fleet"), (0, 10));
    desk.capture(late).unwrap();
    assert_eq!(desk.numbers("fleet"), (2, 8));
}

#[test]
fn a_rolling_window_says_when_the_first_that_counts_leaves_it() {
    let bucket = 600 / ROLLING_BUCKETS;
    let mut desk = Desk::new(vec![fleet(10, span(600))]);
    let base = START_S + 1000;
    desk.at(base);
    let nothing = desk.hold("ann", 4).unwrap();
    desk.at(base + bucket);
    let first = desk.hold("ann", 4).unwrap();
    desk.at(base + 2 * bucket);
    desk.hold("ann", 2).unwrap();
    // What came to nothing is waited for by nobody.
    desk.void(nothing).unwrap();
    let leaves = |buckets| Some(Timestamp::from_secs(base + buckets * bucket + 600));
    assert_eq!(desk.account("fleet").resets_at, leaves(2));
    desk.capture(first).unwrap();
    assert_eq!(desk.account("fleet").resets_at, leaves(2));
    desk.at(base + 2 * bucket + 600);
    assert_eq!((desk.account("fleet").resets_at, desk.numbers("fleet")), (leaves(3), (0, 2)));
    desk.at(base + 3 * bucket + 600);
    assert_eq!((desk.account("fleet").resets_at, desk.numbers("fleet")), (None, (0, 0)));
}

#[test]
fn a_window_that_is_over_is_forgotten_once_nothing_is_held_in_it() {
    for window in [span(600), calendar(CalendarUnit::Hour, "UTC")] {
        let bounds = Bounds { requests_max: 1, ..Bounds::default() };
        let mut desk = Desk::bounded(bounds, vec![fleet(10, window)]);
        let mut lengths = Vec::new();
        for _ in 0..40 {
            desk.wait(7_200);
            let (spent, unspent) = (desk.hold("ann", 3).unwrap(), desk.hold("ann", 3).unwrap());
            desk.wait(60);
            desk.hold("ann", 1).and_then(|in_another| desk.void(in_another)).unwrap();
            let block = block(desk.now.as_secs());
            desk.capture_by(spent, CaptureProof::Chain(block)).unwrap();
            desk.void(unspent).unwrap();
            lengths.push(postcard::to_stdvec(&desk.ledger).unwrap().len());
        }
        // Sums take a digit more now and then; a window takes dozens of bytes.
        assert!(lengths[39] <= lengths[4] + 16, "{lengths:?}");
    }
}

#[test]
fn a_session_begins_with_its_first_payment_and_ends_for_good() {
    let narrow = budget("span", Selector::Fleet, Per::Session, 10, session(60));
    let mut desk = Desk::new(vec![pool(1000), narrow]);
    desk.wait(1_000);
    let began = desk.now.as_secs();
    let first = desk.hold_in("ann", 10, "work").unwrap();
    assert_eq!(code(desk.hold_in("ann", 1, "work")), "ledger.over_budget");
    // Another session, and another agent's of the same name, have their own.
    desk.hold_in("ann", 10, "play").unwrap();
    desk.agent("bob", "scout", "red", "main");
    desk.hold_in("bob", 10, "work").unwrap();
    // Without a session only the pool counts.
    desk.hold("ann", 11).unwrap();
    desk.void(first).unwrap();
    desk.at(began + 59);
    desk.hold_in("ann", 1, "work").unwrap();
    desk.at(began + 61);
    match desk.hold_in("ann", 1, "work") {
        Err(Rejection::SessionEnded { session, ended }) => {
            assert_eq!(session, name("work"));
            assert_eq!(ended.as_secs(), began + 60);
        }
        other => panic!("{other:?}"),
    }
    desk.wait(1_000_000);
    assert_eq!(code(desk.hold_in("ann", 1, "work")), "ledger.session_ended");
    desk.hold_in("ann", 1, "later").unwrap();
}

#[test]
fn a_lifetime_is_never_over() {
    let mut desk = Desk::new(vec![pool(10)]);
    desk.hold("ann", 6).unwrap();
    desk.wait(100 * 366 * 24 * 3600);
    assert_eq!(code(desk.hold("ann", 5)), "ledger.over_budget");
    assert_eq!(desk.account("pool").resets_at, None);
}

/// On Lord Howe Island clocks go back by half an hour. The hour was rounded to an instant after which
/// it had ended already, the window became one for ever that began before the account's, and a hold in
/// it was counted nowhere: for half an hour a year no hourly cap held there.
#[test]
fn a_cap_holds_where_the_clock_goes_back_by_half_an_hour() {
    let hour = calendar(CalendarUnit::Hour, "Australia/Lord_Howe");
    let mut desk = Desk::new(vec![fleet(5, hour)]);
    desk.at(at("2027-04-03T13:00:00Z").as_secs());
    let end = at("2027-04-03T17:00:00Z");
    let mut placed: Vec<Timestamp> = Vec::new();
    while desk.now < end {
        if desk.hold("ann", 1).is_ok() {
            placed.push(desk.now);
            assert_ne!(desk.numbers("fleet").1, 0, "counted at {}", desk.now);
        }
        desk.wait(60);
    }
    // Four hours are four windows, and the half hour that comes twice may be one more.
    assert!((20..=25).contains(&placed.len()), "{}", placed.len());
}

/// The window that a hold counts in.
fn window_of(desk: &Desk, payment: PaymentId) -> (Timestamp, Timestamp) {
    let seat = desk.ledger.find_hold(payment).unwrap().held.seats[0];
    (seat.from, seat.until)
}

/// There the hour of after the change reaches back to before it.
#[test]
fn a_new_window_begins_where_the_last_one_ended_though_the_clock_went_back() {
    let hour = calendar(CalendarUnit::Hour, "Australia/Lord_Howe");
    let mut desk = Desk::new(vec![fleet(5, hour)]);
    for (now, from, until) in [
        ("2027-04-03T14:50:00Z", "2027-04-03T14:00:00Z", "2027-04-03T15:00:00Z"),
        ("2027-04-03T15:05:00Z", "2027-04-03T15:00:00Z", "2027-04-03T15:30:00Z"),
        ("2027-04-03T15:35:00Z", "2027-04-03T15:30:00Z", "2027-04-03T16:30:00Z"),
    ] {
        desk.at(at(now).as_secs());
        let payment = desk.hold("ann", 5).unwrap();
        assert_eq!(window_of(&desk, payment), (at(from), at(until)), "{now}");
    }
}

/// The change of the clock gives two agents two windows, by when each was first seen.
#[test]
fn an_account_keeps_its_own_window_while_it_lasts_whatever_window_others_have() {
    let hour = calendar(CalendarUnit::Hour, "Australia/Lord_Howe");
    let each = budget("each", Selector::Fleet, Per::Agent, 10, hour);
    let mut desk = Desk::new(vec![each]);
    desk.agent("bob", "scout", "red", "main");
    desk.at(at("2027-04-03T14:50:00Z").as_secs());
    desk.hold("bob", 1).unwrap();
    desk.at(at("2027-04-03T15:05:00Z").as_secs());
    desk.hold("ann", 10).unwrap();
    desk.wait(60);
    desk.hold("bob", 1).unwrap();
    desk.wait(60);
    assert_eq!(code(desk.hold("ann", 1)), "ledger.over_budget");
    assert_eq!(code(desk.hold("bob", 10)), "ledger.over_budget");
    desk.hold("bob", 9).unwrap();
}
