//! Drives callers side by side, and says what it took them.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures_util::{Stream, StreamExt};
use serde::{Deserialize, Serialize};

/// What a round of one measurement gave.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Round {
    /// How long each operation took, in nanoseconds.
    taken: Vec<u64>,
    /// How long the round took.
    elapsed: Duration,
}

impl Round {
    /// Operations that took so many nanoseconds each, in a round that took `elapsed`.
    pub const fn of(taken: Vec<u64>, elapsed: Duration) -> Self {
        Self { taken, elapsed }
    }

    /// Adds another round of the same.
    pub fn add(&mut self, other: Self) {
        self.taken.extend(other.taken);
        self.elapsed = self.elapsed.saturating_add(other.elapsed);
    }

    /// Operations done.
    pub fn count(&self) -> u64 {
        u64::try_from(self.taken.len()).unwrap_or(u64::MAX)
    }

    /// Operations a second.
    pub fn rate(&self) -> u64 {
        let nanos = self.elapsed.as_nanos().max(1);
        let scaled = u128::from(self.count()).saturating_mul(1_000_000_000);
        u64::try_from(scaled.checked_div(nanos).unwrap_or(0)).unwrap_or(u64::MAX)
    }

    /// What so many of a thousand operations took at most, in microseconds.
    pub fn at_permille(&self, permille: u64) -> u64 {
        let mut taken = self.taken.clone();
        taken.sort_unstable();
        let place = self.count().saturating_sub(1).saturating_mul(permille) / 1000;
        let nanos = usize::try_from(place).ok().and_then(|place| taken.get(place));
        nanos.copied().unwrap_or(0) / 1_000
    }
}

/// `a` of `b` in thousandths.
pub fn permille(a: u64, b: u64) -> u64 {
    a.saturating_mul(1000).checked_div(b).unwrap_or(0)
}

/// Thousandths as people read them: `0.930`.
pub fn shown(permille: u64) -> String {
    format!("{}.{:03}", permille / 1000, permille % 1000)
}

/// Lets `callers` repeat `call`, each as soon as its last one was answered, for `span`.
///
/// # Panics
/// Where a caller does.
pub async fn drive<C, F>(callers: u64, span: Duration, call: C) -> Round
where
    C: Fn(u64) -> F + Send + Sync + 'static,
    F: Future<Output = ()> + Send,
{
    let (call, nth) = (Arc::new(call), Arc::new(AtomicU64::new(0)));
    let began = now();
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..callers {
        let (call, nth) = (Arc::clone(&call), Arc::clone(&nth));
        tasks.spawn(async move {
            let mut taken = Vec::new();
            while began.elapsed() < span {
                let at = now();
                call(nth.fetch_add(1, Ordering::Relaxed)).await;
                taken.push(u64::try_from(at.elapsed().as_nanos()).unwrap_or(u64::MAX));
            }
            taken
        });
    }
    let taken = tasks.join_all().await.concat();
    Round { taken, elapsed: began.elapsed() }
}

/// Lets `callers` open streams, one after another, for `span`: each item is one operation, and takes as
/// long as it is waited for. What is left of a stream then is not waited for.
///
/// # Panics
/// Where a caller does.
pub async fn drive_streams<C, F, S>(callers: u64, span: Duration, open: C) -> Round
where
    C: Fn() -> F + Send + Sync + 'static,
    F: Future<Output = S> + Send,
    S: Stream + Send + Unpin,
    S::Item: Send,
{
    let open = Arc::new(open);
    let began = now();
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..callers {
        let open = Arc::clone(&open);
        tasks.spawn(async move {
            let mut taken = Vec::new();
            while began.elapsed() < span {
                let mut at = now();
                let mut items = open().await;
                while began.elapsed() < span && items.next().await.is_some() {
                    taken.push(u64::try_from(at.elapsed().as_nanos()).unwrap_or(u64::MAX));
                    at = now();
                }
            }
            taken
        });
    }
    let taken = tasks.join_all().await.concat();
    Round { taken, elapsed: began.elapsed() }
}

/// How long `work` takes one core.
pub fn timed(work: impl FnOnce()) -> Duration {
    let began = now();
    work();
    began.elapsed()
}

#[expect(clippy::disallowed_methods, reason = "a measurement reads the clock")]
fn now() -> Instant {
    Instant::now()
}
