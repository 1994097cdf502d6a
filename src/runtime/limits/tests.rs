//! Rates refill by the clock that was passed in; counters come back when a call ends.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "tests fail by panicking"
)]

use std::time::Duration;

use futures_util::FutureExt;

use super::*;
use crate::ports::clock::ManualClock;

const ONE: Key = Key::Agent(AgentId::from_bytes([1; 16]));
const OTHER: Key = Key::Agent(AgentId::from_bytes([2; 16]));
const ALL: Key = Key::Role(RoleId::from_bytes([9; 16]));

fn rates(calls_per_minute: Option<u32>, concurrency: Option<u32>) -> Rates {
    Rates { calls_per_minute, concurrency, nano_per_minute: None }
}

fn limits() -> (Limits, ManualClock) {
    let clock = ManualClock::at(Timestamp::from_secs(1_800_000_000));
    (Limits::new(Arc::new(clock.clone())), clock)
}

#[test]
fn the_call_after_the_last_of_a_minute_waits_for_its_share() {
    let (limits, clock) = limits();
    let keys = [(ONE, rates(Some(6), None))];
    for _ in 0..6 {
        limits.admit(&keys).unwrap();
    }
    let limited = limits.admit(&keys).unwrap_err();
    assert_eq!(limited.retry_after_ms(), Some(10_000));
    clock.advance(Duration::from_secs(10));
    limits.admit(&keys).unwrap();
    assert!(limits.admit(&keys).is_err());
}

#[test]
fn as_many_run_at_once_as_allowed_and_the_next_when_one_ends() {
    let (limits, _) = limits();
    let keys = [(ONE, rates(None, Some(2)))];
    let first = limits.admit(&keys).unwrap();
    let _second = limits.admit(&keys).unwrap();
    assert_eq!(limits.admit(&keys).unwrap_err(), Limited::Concurrency { key: ONE, bound: 2 });
    drop(first);
    limits.admit(&keys).unwrap();
}

#[test]
fn who_is_over_its_own_limit_spends_nobody_elses() {
    let (limits, _) = limits();
    let of = |key| [(key, rates(Some(1), None)), (ALL, rates(Some(2), None))];
    limits.admit(&of(ONE)).unwrap();
    for _ in 0..100 {
        assert_eq!(limits.admit(&of(ONE)).unwrap_err().key(), ONE);
    }
    limits.admit(&of(OTHER)).unwrap();
}

#[test]
fn a_limit_of_zero_lets_nothing_pass_and_a_new_limit_counts_at_once() {
    let (limits, _) = limits();
    assert!(limits.admit(&[(ONE, rates(Some(0), None))]).is_err());
    assert!(limits.admit(&[(ONE, rates(None, Some(0)))]).is_err());
    limits.admit(&[(ONE, rates(Some(1), Some(1)))]).unwrap();
}

#[test]
fn memory_is_bounded_and_what_runs_is_not_forgotten() {
    let (limits, clock) = limits();
    let bound = [(ONE, rates(None, Some(1)))];
    let running = limits.admit(&bound).unwrap();
    for number in 0..KEYS_MAX + 10 {
        clock.advance(Duration::from_nanos(1));
        let mut id = [0; 16];
        id[..8].copy_from_slice(&number.to_be_bytes());
        limits.admit(&[(Key::Provider(ProviderId::from_bytes(id)), rates(None, None))]).unwrap();
    }
    assert!(limits.kept.lock().unwrap().len() <= KEYS_MAX);
    assert!(limits.admit(&bound).is_err());
    drop(running);
}

/// Whether a refusal of `agent`'s is answered now; it is waited for no longer.
fn is_answered(tarpit: &Tarpit, agent: AgentId) -> bool {
    tarpit.hold_up(agent).now_or_never().is_some()
}

const AGENT: AgentId = AgentId::from_bytes([1; 16]);

/// A tarpit whose patience with [`AGENT`] has just ended.
fn tarpit() -> (Tarpit, ManualClock) {
    let clock = ManualClock::at(Timestamp::from_secs(1_800_000_000));
    let tarpit = Tarpit::new(Arc::new(clock.clone()));
    for _ in 0..tarpit::AT_ONCE.calls_per_minute.unwrap() {
        assert!(is_answered(&tarpit, AGENT));
    }
    (tarpit, clock)
}

#[test]
fn who_is_refused_again_and_again_is_answered_late_and_nobody_else_is() {
    let (tarpit, clock) = tarpit();
    let mut held_up = Box::pin(tarpit.hold_up(AGENT));
    assert!(held_up.as_mut().now_or_never().is_none());
    assert!(is_answered(&tarpit, AgentId::from_bytes([2; 16])));
    clock.advance(tarpit::LATE - Duration::from_nanos(1));
    assert!(held_up.as_mut().now_or_never().is_none());
    clock.advance(Duration::from_nanos(1));
    assert!(held_up.now_or_never().is_some());
}

#[test]
fn who_has_been_quiet_is_answered_at_once_again() {
    let (tarpit, clock) = tarpit();
    assert!(!is_answered(&tarpit, AGENT));
    clock.advance(Duration::from_millis(500));
    assert!(is_answered(&tarpit, AGENT));
    assert!(!is_answered(&tarpit, AGENT));
}

#[test]
fn beyond_so_many_that_wait_a_refusal_is_answered_at_once() {
    let (tarpit, _clock) = tarpit();
    let mut held_up: Vec<_> =
        (0..tarpit::WAITING_MAX).map(|_| Box::pin(tarpit.hold_up(AGENT))).collect();
    assert!(held_up.iter_mut().all(|waits| waits.as_mut().now_or_never().is_none()));
    assert!(is_answered(&tarpit, AGENT));
    // Who hung up waits no more.
    drop(held_up.pop());
    assert!(!is_answered(&tarpit, AGENT));
}
