//! Accounts: what is spent and held of one budget by one subject, window by window.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::domain::ledger::window::{Bounds, WindowSpec};
use crate::domain::money::Nano;
use crate::domain::time::Timestamp;

/// What one window has seen.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// Captured.
    pub spent: Nano,
    /// Held.
    pub held: Nano,
}

impl Tally {
    fn hold(&mut self, nano: Nano) {
        self.held = self.held.checked_add(nano).expect("a hold was checked against the cap");
    }

    fn release(&mut self, nano: Nano) {
        self.held = self.held.checked_sub(nano).expect("what is released was held in this window");
    }

    fn spend(&mut self, nano: Nano) {
        self.spent = self.spent.checked_add(nano).expect("what is spent was held under the cap");
    }

    fn unspend(&mut self, nano: Nano) {
        self.spent =
            self.spent.checked_sub(nano).expect("what is reversed was spent in this window");
    }

    const fn is_empty(&self) -> bool {
        self.spent.is_zero() && self.held.is_zero()
    }
}

/// How a hold changes its window.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// Set aside.
    Hold(Nano),
    /// Give back what was held.
    Release(Nano),
    /// Take: what was held returns, what was charged is spent.
    Capture {
        /// What was held.
        held: Nano,
        /// What was charged.
        spent: Nano,
    },
    /// Take a capture back.
    Reverse(Nano),
    /// Put what moved in the place of what a receipt said, and return the rest: one change, because a
    /// window with nothing in it is forgotten.
    Close {
        /// What was still held.
        rest: Nano,
        /// What was captured.
        captured: Nano,
        /// What moved.
        moved: Nano,
    },
}

impl Change {
    fn apply(self, tally: &mut Tally) {
        match self {
            Self::Hold(nano) => tally.hold(nano),
            Self::Release(nano) => tally.release(nano),
            Self::Capture { held, spent } => {
                tally.release(held);
                tally.spend(spent);
            }
            Self::Reverse(nano) => tally.unspend(nano),
            Self::Close { rest, captured, moved } => {
                tally.release(rest);
                tally.unspend(captured);
                tally.spend(moved);
            }
        }
    }
}

/// One account. Its current window, and older ones for as long as something is held in them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    bounds: Bounds,
    tally: Tally,
    /// Oldest first. For a rolling window its buckets; else former windows that still hold something.
    #[expect(
        clippy::box_collection,
        reason = "eight bytes in each of millions of accounts, not 24"
    )]
    older: Option<Box<Vec<(Bounds, Tally)>>>,
}

impl Account {
    /// An account that has seen nothing, in its first window.
    pub(super) const fn new(bounds: Bounds) -> Self {
        Self { bounds, tally: Tally { spent: Nano::ZERO, held: Nano::ZERO }, older: None }
    }

    /// The current window.
    pub const fn bounds(&self) -> Bounds {
        self.bounds
    }

    /// What counts against the cap at `now`, in the window of `bounds`.
    pub fn counted(&self, spec: &WindowSpec, bounds: Bounds, now: Timestamp) -> Tally {
        match spec {
            WindowSpec::Rolling { span } => {
                let mut sum = Tally::default();
                for (bucket, tally) in self.windows() {
                    // A bucket counts whole while any instant of it is within the span.
                    let leaves = match planted!("bucket_leaves_early") {
                        true => bucket.from.after(*span),
                        false => bucket.until.after(*span),
                    };
                    if leaves > now {
                        sum.spent = [sum.spent, tally.spent].into_iter().sum();
                        sum.held = [sum.held, tally.held].into_iter().sum();
                        if planted!("only_captures_counted_rolling") {
                            sum.held = Nano::ZERO;
                        }
                    }
                }
                sum
            }
            WindowSpec::Calendar { .. } | WindowSpec::Session { .. } | WindowSpec::Lifetime => {
                if planted!("only_captures_counted") {
                    Tally { held: Nano::ZERO, ..self.tally }
                } else if bounds == self.bounds {
                    self.tally
                } else {
                    Tally::default()
                }
            }
        }
    }

    /// When a rolling window's oldest bucket leaves the span; `None` while it holds nothing.
    pub fn oldest_leaves(&self, span: Duration, now: Timestamp) -> Option<Timestamp> {
        self.windows()
            .map(|(bucket, tally)| (bucket.until.after(span), tally))
            .find(|(leaves, tally)| !tally.is_empty() && *leaves > now)
            .map(|(leaves, _)| leaves)
    }

    fn windows(&self) -> impl Iterator<Item = (Bounds, Tally)> {
        let older = self.older.iter().flat_map(|older| older.iter().copied());
        older.chain(std::iter::once((self.bounds, self.tally)))
    }

    /// Opens the window of `bounds` where it is a newer one, and forgets what counts no more.
    fn enter(&mut self, spec: &WindowSpec, bounds: Bounds, now: Timestamp) {
        if bounds == self.bounds || bounds.from < self.bounds.from {
            return;
        }
        let former = (self.bounds, self.tally);
        self.bounds = bounds;
        self.tally = Tally::default();
        let rolling = match spec {
            WindowSpec::Rolling { span } => Some(*span),
            WindowSpec::Calendar { .. } | WindowSpec::Session { .. } | WindowSpec::Lifetime => None,
        };
        let keep = |(bounds, tally): &(Bounds, Tally)| match rolling {
            Some(span) => bounds.until.after(span) > now && !tally.is_empty(),
            None => !tally.held.is_zero(),
        };
        let mut older = self.older.take().map_or_else(Vec::new, |older| *older);
        older.push(former);
        older.retain(keep);
        self.older = (!older.is_empty()).then(|| Box::new(older));
    }

    /// Changes the window of `bounds`: a hold's window is its own for its whole life. A rolling bucket
    /// that has left the span is gone, and nothing is left to change.
    pub(super) fn change(
        &mut self,
        spec: &WindowSpec,
        bounds: Bounds,
        now: Timestamp,
        change: Change,
    ) {
        self.enter(spec, bounds, now);
        if bounds == self.bounds || planted!("settled_in_the_window_of_now") {
            change.apply(&mut self.tally);
            return;
        }
        // Stopping is better than a hold that no cap counts.
        assert!(!matches!(change, Change::Hold(_)), "a hold counts in its account's newest window");
        let Some(older) = self.older.as_mut() else { return };
        if let Some((_, tally)) = older.iter_mut().find(|(kept, _)| *kept == bounds) {
            change.apply(tally);
        }
        let rolling = matches!(spec, WindowSpec::Rolling { .. });
        older.retain(|(_, tally)| if rolling { !tally.is_empty() } else { !tally.held.is_zero() });
        if older.is_empty() {
            self.older = None;
        }
    }
}
