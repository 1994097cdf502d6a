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
use crate::domain::money::Nano;
use crate::domain::time::Timestamp;
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

/// One of many keys.
fn key(number: usize) -> Key {
    let mut id = [0; 16];
    id[..8].copy_from_slice(&number.to_be_bytes());
    Key::Provider(ProviderId::from_bytes(id))
}

#[test]
fn memory_is_bounded_and_what_runs_or_comes_again_is_not_forgotten() {
    let (limits, _) = limits();
    let (bound, slow) = ([(ONE, rates(None, Some(1)))], [(OTHER, rates(Some(2), None))]);
    let running = limits.admit(&bound).unwrap();
    limits.admit(&slow).unwrap();
    for number in 0..3 * KEYS_MAX {
        limits.admit(&[(key(number), rates(Some(1), None))]).unwrap();
        if number == KEYS_MAX / 2 {
            limits.admit(&slow).unwrap();
        }
        if number % 1000 == 0 && number > KEYS_MAX / 2 {
            assert!(limits.admit(&slow).is_err(), "it is remembered, and over its limit");
        }
    }
    let memory = limits.memory.lock().unwrap();
    assert_eq!((memory.kept.len(), memory.turns.len()), (KEYS_MAX, KEYS_MAX));
    drop(memory);
    assert!(limits.admit(&bound).is_err());
    drop(running);
    limits.admit(&bound).unwrap();
}

/// Each new key had looked at all of them, where there was no rate for any.
#[test]
fn nothing_is_remembered_of_a_key_that_no_rate_applies_to() {
    let (limits, _) = limits();
    let spends = Rates { nano_per_minute: Some(Nano::ONE), ..Rates::default() };
    for number in 0..100 {
        let _running = limits.admit(&[(key(number), Rates::default()), (ONE, spends)]).unwrap();
    }
    assert!(limits.memory.lock().unwrap().kept.is_empty());
}

#[test]
fn new_keys_beyond_the_bound_go_past_those_that_came_again_once() {
    let (limits, _) = limits();
    let once = |number| limits.admit(&[(key(number), rates(Some(60), None))]).unwrap();
    for number in (0..KEYS_MAX).chain(0..KEYS_MAX) {
        once(number);
    }
    let front = || *limits.memory.lock().unwrap().turns.front().unwrap();
    once(KEYS_MAX);
    // All of them had come again: once around, the first is forgotten and the second is next.
    assert_eq!(front(), key(1));
    for number in 1..=100 {
        once(KEYS_MAX + number);
        assert_eq!(front(), key(number + 1), "one key is forgotten at one look");
    }
}

#[test]
fn a_peer_is_the_network_that_it_calls_from() {
    let peer = |text: &str| Key::peer(text.parse().unwrap());
    assert_eq!(peer("2001:db8:1:2::1"), peer("2001:db8:1:2:ffff:ffff:ffff:ffff"));
    assert_ne!(peer("2001:db8:1:2::1"), peer("2001:db8:1:3::1"));
    assert_eq!(peer("::ffff:192.0.2.7"), peer("192.0.2.7"));
    assert_ne!(peer("192.0.2.7"), peer("192.0.2.8"));
    let (limits, _) = limits();
    let of = |text| [(peer(text), rates(Some(1), None))];
    limits.admit(&of("2001:db8:1:2::1")).unwrap();
    assert!(limits.admit(&of("2001:db8:1:2::2")).is_err());
    limits.admit(&of("2001:db8:1:3::1")).unwrap();
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
