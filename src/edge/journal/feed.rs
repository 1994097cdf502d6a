//! What waits for the readable tables: events as soon as they are durable, decisions, and who asks
//! that the tables know them.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::Semaphore;

use super::chain::Link;
use super::inbox::{Done, permit};
use crate::ports::archive::Decision;
use crate::ports::journal::Entry;

/// Entries that may wait; more are left to be read from the journal's file, which costs more than they
/// do: most are holds, which the ledger keeps anyway.
const ENTRIES_WAITING_MAX: usize = 256 * 1024;
/// Decisions that may wait; more are dropped and counted.
const NOTES_WAITING_MAX: usize = 4096;
/// Who may wait for an answer; who comes then waits to ask.
const ASKS_WAITING_MAX: usize = 256;

/// Durable entries, and the chain's link at the last of them.
pub(super) struct Batch {
    pub(super) entries: Arc<[Entry]>,
    pub(super) end: Link,
}

/// What somebody asks of the tables.
pub(super) struct Ask {
    /// The entry that they shall know.
    pub(super) seq: u64,
    /// Whether they are to be dropped and made again first.
    pub(super) again: bool,
    pub(super) done: Done<u64>,
}

/// What waits for the tables' thread.
pub(super) struct Feed {
    waiting: Mutex<Fed>,
    came: Condvar,
    room_for_asks: Arc<Semaphore>,
    dropped: AtomicU64,
}

/// What waits, or was taken.
#[derive(Default)]
pub(super) struct Fed {
    pub(super) batches: Vec<Batch>,
    entries: usize,
    pub(super) notes: VecDeque<Decision>,
    pub(super) asks: Vec<Ask>,
    pub(super) closed: bool,
}

impl Feed {
    pub(super) fn new() -> Self {
        Self {
            waiting: Mutex::default(),
            came: Condvar::new(),
            room_for_asks: Arc::new(Semaphore::new(ASKS_WAITING_MAX)),
            dropped: AtomicU64::new(0),
        }
    }

    /// Brings what is durable, unless too much waits. The thread is not woken for it.
    pub(super) fn bring(&self, batches: impl IntoIterator<Item = Batch>) {
        let mut waiting = self.waiting();
        for batch in batches {
            if !batch.entries.is_empty() && waiting.entries < ENTRIES_WAITING_MAX {
                waiting.entries = waiting.entries.saturating_add(batch.entries.len());
                waiting.batches.push(batch);
            }
        }
    }

    /// Brings a decision, unless too many wait. The thread is not woken for it.
    pub(super) fn note(&self, decision: Decision) {
        let mut waiting = self.waiting();
        if waiting.notes.len() >= NOTES_WAITING_MAX {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        } else {
            waiting.notes.push_back(decision);
        }
    }

    /// Asks, waiting for room. After [`Feed::close`] it is dropped, which its asker sees.
    pub(super) async fn ask(&self, ask: Ask) {
        let _room = permit(&self.room_for_asks).await;
        let mut waiting = self.waiting();
        if !waiting.closed {
            waiting.asks.push(ask);
            drop(waiting);
            self.came.notify_one();
        }
    }

    /// How many decisions were dropped.
    pub(super) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Takes nothing more but what is durable already.
    pub(super) fn close(&self) {
        self.waiting().closed = true;
        self.came.notify_one();
    }

    /// Takes nothing more and drops what waits, which its askers see.
    pub(super) fn stop(&self) {
        *self.waiting() = Fed { closed: true, ..Fed::default() };
    }

    /// Whether nothing more comes.
    pub(super) fn is_closed(&self) -> bool {
        self.waiting().closed
    }

    /// Waits for `rest`, or until somebody asks, and takes all there is.
    pub(super) fn take(&self, rest: Duration) -> Fed {
        let waiting = self.waiting();
        let (mut waiting, _) = self
            .came
            .wait_timeout_while(waiting, rest, |w| w.asks.is_empty() && !w.closed)
            .expect("no holder of the feed panics");
        let closed = waiting.closed;
        std::mem::replace(&mut *waiting, Fed { closed, ..Fed::default() })
    }

    fn waiting(&self) -> MutexGuard<'_, Fed> {
        self.waiting.lock().expect("no holder of the feed panics")
    }
}
