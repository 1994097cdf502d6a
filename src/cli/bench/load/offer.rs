//! Calls that begin when they are due, whatever became of those before them.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bursar::edge::clock::SystemClock;
use bursar::ports::clock::Clock;
use serde::Serialize;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};

/// How often what is due begins.
const TICK: Duration = Duration::from_millis(1);

/// What was offered.
#[derive(Copy, Clone, Debug, Default, Serialize)]
pub struct Offered {
    /// Calls that began.
    pub begun: u64,
    /// Calls that were due, and did not begin because too many were under way.
    pub withheld: u64,
    /// For how long.
    pub millis: u64,
}

impl Offered {
    /// Calls that began, a second.
    pub fn rate(&self) -> u64 {
        self.begun.saturating_mul(1000).checked_div(self.millis).unwrap_or(0)
    }
}

/// Lets `per_s` calls a second begin until `stop` is set, and so many be under way at once; then waits for
/// those that are.
///
/// # Panics
/// Where a call does.
pub async fn offer<C, F>(per_s: u64, at_once: usize, stop: Arc<AtomicBool>, call: C) -> Offered
where
    C: Fn(u64) -> F + Send + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    let clock = SystemClock;
    let places = Arc::new(Semaphore::new(at_once));
    let (mut calls, mut offered, mut seen) = (JoinSet::new(), Offered::default(), 0_u64);
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let began = clock.now();
    while !stop.load(Ordering::Relaxed) {
        ticks.tick().await;
        let elapsed = clock.now().since(began);
        offered.millis = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX);
        let due = elapsed.as_nanos().saturating_mul(per_s.into()) / 1_000_000_000;
        let due = u64::try_from(due).unwrap_or(u64::MAX);
        for number in seen..due {
            let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
                offered.withheld = offered.withheld.saturating_add(due.saturating_sub(number));
                break;
            };
            offered.begun = offered.begun.saturating_add(1);
            let call = call(number);
            calls.spawn(async move {
                call.await;
                drop(place);
            });
        }
        seen = due;
        while let Some(ended) = calls.try_join_next() {
            ended.expect("no call panics");
        }
    }
    while let Some(ended) = calls.join_next().await {
        ended.expect("no call panics");
    }
    offered
}
