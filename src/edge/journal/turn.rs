//! Whose turn it is to write: SQLite takes one writer at a time, and its own waiting is a poll that
//! knows no order. Here who came first goes first, and nobody waits longer than one turn of another.

use std::sync::{Condvar, Mutex, MutexGuard};

/// Hands out turns in the order they were asked for.
#[derive(Default)]
pub(super) struct Turn {
    tickets: Mutex<Tickets>,
    moved: Condvar,
}

#[derive(Default)]
struct Tickets {
    next: u64,
    served: u64,
}

/// A turn; dropping it ends it.
pub(super) struct Guard<'a>(&'a Turn);

impl Turn {
    /// Waits for a turn.
    pub(super) fn take(&self) -> Guard<'_> {
        let mut tickets = self.tickets();
        let mine = tickets.next;
        tickets.next = mine.wrapping_add(1);
        while tickets.served != mine {
            tickets = self.moved.wait(tickets).expect("no holder of the tickets panics");
        }
        drop(tickets);
        Guard(self)
    }

    fn tickets(&self) -> MutexGuard<'_, Tickets> {
        self.tickets.lock().expect("no holder of the tickets panics")
    }
}

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        let mut tickets = self.0.tickets();
        tickets.served = tickets.served.wrapping_add(1);
        drop(tickets);
        self.0.moved.notify_all();
    }
}
