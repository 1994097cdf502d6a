//! What is counted for whoever watches: decisions, events, spending by role, and how long things take.
//!
//! Memory only, and from the start of the process on: the ledger is what is true. Every label is of a
//! fixed set (phases, kinds of events, codes) or an operator's own word (roles); never a caller's.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::domain::fault::Fault;
use crate::domain::id::Name;
use crate::domain::ledger::Event;
use crate::domain::money::Nano;
use crate::ports::clock::Clock;

/// A part of a payment's way that is timed.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Payer: providers are found and asked for quotes.
    Quote,
    /// Payer: policy, and the durable hold.
    Authorize,
    /// Payer: the signature.
    Sign,
    /// Payer: the paid call, until its answer has ended.
    Call,
    /// Payer: the durable capture.
    Capture,
    /// Payee: the rail verifies.
    Verify,
    /// Payee: the payment is bound to its request, durably.
    Accept,
    /// Payee: the engine works.
    Serve,
    /// Payee: the rail settles.
    Settle,
    /// Either: one batch of the journal is written and synced.
    Sync,
}

impl Phase {
    /// Every phase, in the order of its number.
    pub const ALL: [Self; 10] = [
        Self::Quote,
        Self::Authorize,
        Self::Sign,
        Self::Call,
        Self::Capture,
        Self::Verify,
        Self::Accept,
        Self::Serve,
        Self::Settle,
        Self::Sync,
    ];

    /// Its label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Quote => "quote",
            Self::Authorize => "authorize",
            Self::Sign => "sign",
            Self::Call => "call",
            Self::Capture => "capture",
            Self::Verify => "verify",
            Self::Accept => "accept",
            Self::Serve => "serve",
            Self::Settle => "settle",
            Self::Sync => "sync",
        }
    }
}

/// Upper bounds of a histogram's buckets, in microseconds; one more bucket takes the rest.
pub const BUCKETS_US: [u64; 16] = [
    25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000,
    1_000_000, 5_000_000, 30_000_000,
];

/// How often something took how long.
#[derive(Debug, Default)]
struct Histogram {
    counts: [AtomicU64; BUCKETS_US.len() + 1],
    sum_us: AtomicU64,
}

/// A histogram at one moment.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct Timings {
    /// In each of [`BUCKETS_US`], and beyond the last.
    pub counts: [u64; BUCKETS_US.len() + 1],
    /// All of them together, in microseconds.
    pub sum_us: u64,
}

impl Histogram {
    fn add(&self, took: Duration) {
        let took_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let place = BUCKETS_US.partition_point(|bound| *bound < took_us);
        if let Some(count) = self.counts.get(place) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        self.sum_us.fetch_add(took_us, Ordering::Relaxed);
    }

    fn read(&self) -> Timings {
        let counts = self.counts.each_ref().map(|count| count.load(Ordering::Relaxed));
        Timings { counts, sum_us: self.sum_us.load(Ordering::Relaxed) }
    }
}

/// What is counted by a word.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Wishes by what was decided: `allowed`, `repeated`, or the code of what refused them.
    pub decisions: BTreeMap<&'static str, u64>,
    /// Ledger events by kind.
    pub events: BTreeMap<&'static str, u64>,
    /// Captured, in nano-units of account, by role.
    pub spent: BTreeMap<Name, u64>,
    /// Captures that were taken back, in nano-units of account, by role.
    pub reversed: BTreeMap<Name, u64>,
}

/// The counters of one ledger's process.
#[derive(Debug, Default)]
pub struct Meters {
    phases: [Histogram; Phase::ALL.len()],
    counts: Mutex<Counts>,
}

impl Meters {
    /// Awaits `work`, and counts how long it took.
    pub fn time<T>(
        &self,
        phase: Phase,
        clock: &dyn Clock,
        work: impl Future<Output = T>,
    ) -> impl Future<Output = T> {
        // Boxed: who waits for a future that it was given has room for it twice, and these are long.
        let work = Box::pin(work);
        async move {
            let began = clock.now();
            let done = work.await;
            let place = Phase::ALL.iter().position(|known| *known == phase);
            if let Some(histogram) = place.and_then(|place| self.phases.get(place)) {
                histogram.add(clock.now().since(began));
            }
            done
        }
    }

    /// Counts what became of a wish.
    pub fn decided<E: Fault>(&self, decision: Result<&'static str, &E>) {
        let word = decision.unwrap_or_else(|refused| refused.code());
        self.change(|counts| add(&mut counts.decisions, word, 1));
    }

    /// Counts an event, and what it spent of which role's money.
    pub(super) fn happened(&self, event: &Event, role: Option<&Name>) {
        self.change(|counts| {
            add(&mut counts.events, event.kind(), 1);
            match (event, role) {
                (Event::Captured { nano, .. }, Some(role)) => spend(&mut counts.spent, role, *nano),
                (Event::CaptureReversed { nano, .. }, Some(role)) => {
                    spend(&mut counts.reversed, role, *nano);
                }
                (Event::PaymentClosed(closed), Some(role)) => {
                    let less = |one: Nano, other| one.checked_sub(other).unwrap_or(Nano::ZERO);
                    let (captured, moved) = (closed.captured_nano, closed.moved_nano);
                    spend(&mut counts.spent, role, less(moved, captured));
                    spend(&mut counts.reversed, role, less(captured, moved));
                }
                (Event::Channel(event), Some(role)) => {
                    let taken = event.turns().iter().map(|turn| turn.taken_nano).sum();
                    spend(&mut counts.spent, role, taken);
                }
                _ => {}
            }
        });
    }

    /// How long each phase took.
    pub fn timings(&self) -> impl Iterator<Item = (Phase, Timings)> {
        Phase::ALL.into_iter().zip(self.phases.iter().map(Histogram::read))
    }

    /// What was counted so far.
    pub fn counts(&self) -> Counts {
        self.counts.lock().expect("nobody who counts panics").clone()
    }

    fn change(&self, change: impl FnOnce(&mut Counts)) {
        change(&mut self.counts.lock().expect("nobody who counts panics"));
    }
}

fn add(counts: &mut BTreeMap<&'static str, u64>, word: &'static str, more: u64) {
    let count = counts.entry(word).or_default();
    *count = count.saturating_add(more);
}

fn spend(sums: &mut BTreeMap<Name, u64>, role: &Name, nano: Nano) {
    match sums.get_mut(role) {
        Some(sum) => *sum = sum.saturating_add(nano.get()),
        None => {
            sums.insert(role.clone(), nano.get());
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

    use super::*;

    #[test]
    fn each_time_is_in_the_first_bucket_that_holds_it() {
        let histogram = Histogram::default();
        for us in [0, 25, 26, 1_000, 40_000_000] {
            histogram.add(Duration::from_micros(us));
        }
        let read = histogram.read();
        let filled: Vec<usize> =
            (0..read.counts.len()).filter(|place| read.counts.get(*place) != Some(&0)).collect();
        assert_eq!(filled, [0, 1, 5, 16]);
        assert_eq!((read.counts.iter().sum::<u64>(), read.sum_us), (5, 40_001_051));
    }

    #[test]
    fn every_phase_has_a_number_and_a_word_of_its_own() {
        let words: std::collections::BTreeSet<_> =
            Phase::ALL.iter().map(|phase| phase.as_str()).collect();
        assert_eq!(words.len(), Phase::ALL.len());
        let meters = Meters::default();
        assert_eq!(meters.timings().count(), Phase::ALL.len());
    }
}
