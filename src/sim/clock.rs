//! The world's own time: it moves to the next instant that somebody waits for, one waiter at a time.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use async_trait::async_trait;

use crate::domain::time::Timestamp;
use crate::ports::clock::Clock;

struct State {
    now: Timestamp,
    /// By time, then by who asked first: no order is left to chance.
    waiting: BTreeMap<(Timestamp, u64), Waker>,
    asked: u64,
}

/// The clock. Clones show the same time.
#[derive(Clone)]
pub struct SimClock(Arc<Mutex<State>>);

impl SimClock {
    /// A clock that shows `now`.
    pub fn at(now: Timestamp) -> Self {
        Self(Arc::new(Mutex::new(State { now, waiting: BTreeMap::new(), asked: 0 })))
    }

    /// Moves to the next instant that somebody waits for, and wakes who waits for it. Whether anybody
    /// did.
    pub fn move_on(&self) -> bool {
        let woken = self.with(|state| {
            let ((at, _), waker) = state.waiting.pop_first()?;
            state.now = state.now.max(at);
            Some(waker)
        });
        let waited = woken.is_some();
        if let Some(waker) = woken {
            waker.wake();
        }
        waited
    }

    /// The same, where somebody waits for an instant before `at`; else it is `at`, and nobody is
    /// woken. Always moves.
    pub fn move_on_before(&self, at: Timestamp) -> bool {
        let first = self.with(|state| state.waiting.keys().next().map(|(first, _)| *first));
        if first.is_some_and(|first| first < at) {
            return self.move_on();
        }
        self.with(|state| state.now = state.now.max(at));
        true
    }

    fn with<R>(&self, look: impl FnOnce(&mut State) -> R) -> R {
        look(&mut self.0.lock().expect("no holder of the clock panics"))
    }
}

#[async_trait]
impl Clock for SimClock {
    fn now(&self) -> Timestamp {
        self.with(|state| state.now)
    }

    async fn sleep_until(&self, until: Timestamp) {
        Sleep { clock: self.clone(), until, place: None }.await;
    }
}

struct Sleep {
    clock: SimClock,
    until: Timestamp,
    place: Option<u64>,
}

impl Sleep {
    fn leave(&mut self) {
        if let Some(place) = self.place.take() {
            let key = (self.until, place);
            let left = self.clock.with(|state| state.waiting.remove(&key));
            // Dropped here, outside of the clock's own lock.
            drop(left);
        }
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        self.leave();
        let until = self.until;
        let waker = context.waker().clone();
        let place = self.clock.with(|state| {
            if state.now >= until {
                return None;
            }
            state.asked = state.asked.saturating_add(1);
            let place = state.asked;
            state.waiting.insert((until, place), waker);
            Some(place)
        });
        self.place = place;
        if place.is_some() { Poll::Pending } else { Poll::Ready(()) }
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        self.leave();
    }
}
