//! The readable tables' thread, with the one connection that writes their file. It gathers what
//! happened for a moment and writes it at once, so that a row that changed often is written once.
//! Nothing waits for it but who asks; what it loses it makes again from the journal.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rusqlite::Connection;

use super::feed::{Batch, Fed, Feed};
use super::projection::Projection;
use super::store::Shared;
use super::{archive, chain, file};
use crate::ports::journal::{Entry, JournalError};

/// How long it gathers: the tables are at most a second behind, and writing takes its time too.
const REST: Duration = Duration::from_millis(400);
/// Entries that one transaction projects, about.
const ENTRIES_A_STEP: usize = 32 * 1024;
/// Entries that are read from the journal at a time.
const PAGE: u32 = 4 * 1024;

/// How far its thread stands back: at the worst it has a quarter of a core to itself.
#[cfg(target_os = "linux")]
const NICE: i32 = 5;

/// Owns the connection that writes the tables.
pub(super) struct Tables {
    conn: Connection,
    /// Where the journal is, for what did not come by the feed.
    journal: PathBuf,
    projection: Projection,
    shared: Arc<Shared>,
    feed: Arc<Feed>,
    /// Whether the tables stand still, and that has been said.
    stuck: bool,
}

impl Tables {
    pub(super) const fn new(
        conn: Connection,
        journal: PathBuf,
        projection: Projection,
        shared: Arc<Shared>,
        feed: Arc<Feed>,
    ) -> Self {
        Self { conn, journal, projection, shared, feed, stuck: false }
    }

    /// Writes what comes until the feed is closed.
    pub(super) fn run(mut self) {
        give_way();
        let mut rest = Duration::ZERO;
        loop {
            let fed = self.feed.take(rest);
            rest = REST;
            let closed = fed.closed;
            self.step(fed);
            if closed {
                return;
            }
        }
    }

    fn step(&mut self, mut fed: Fed) {
        if !fed.notes.is_empty() {
            let notes = fed.notes.drain(..);
            if let Err(problem) =
                archive::keep_decisions(&mut self.conn, notes, &self.shared.options)
            {
                tracing::warn!(error = %problem, "decisions were not kept");
            }
        }
        let wanted = fed.asks.iter().map(|ask| ask.seq).max();
        let again = fed.asks.iter().any(|ask| ask.again);
        let result = self.project(&fed.batches, wanted, again);
        if let Err(problem) = &result
            && !self.stuck
        {
            tracing::error!(error = %problem, "readable tables stand still");
        }
        self.stuck = result.is_err();
        let known = self.projection.end().seq;
        for ask in fed.asks {
            // Who no longer waits for the answer finds it in the file.
            let _ = ask.done.send(result.clone().map(|()| known));
        }
    }

    fn project(
        &mut self,
        batches: &[Batch],
        wanted: Option<u64>,
        again: bool,
    ) -> Result<(), JournalError> {
        if again {
            self.projection.restart(&mut self.conn)?;
        }
        let mut rest = batches;
        while let Some(first) = rest.first() {
            let before = first.entries.first().map_or(0, |entry| entry.seq.saturating_sub(1));
            self.read_up_to(before)?;
            if self.projection.end().seq < before {
                // The store closes: what was not read is made up for at the next start, and what came
                // after it must not be written before it.
                return Ok(());
            }
            let mut entries: usize = 0;
            let mut end = first.end;
            let in_step = rest.iter().take_while(|batch| {
                let follows = batch
                    .entries
                    .first()
                    .is_some_and(|entry| entries == 0 || entry.seq == end.seq.saturating_add(1));
                let taken = follows && entries < ENTRIES_A_STEP;
                if taken {
                    entries = entries.saturating_add(batch.entries.len());
                    end = batch.end;
                }
                taken
            });
            let (now, later) = rest.split_at(in_step.count());
            self.write(now.iter().flat_map(|batch| batch.entries.iter()), end)?;
            rest = later;
        }
        // What came while too much waited, or before this process, is in the file only.
        let missed = batches.is_empty().then(|| self.shared.end.load(Ordering::Acquire));
        self.read_up_to(wanted.max(missed).unwrap_or(0))
    }

    fn write<'a>(
        &mut self,
        entries: impl Iterator<Item = &'a Entry>,
        end: chain::Link,
    ) -> Result<(), JournalError> {
        let known = self.projection.end().seq;
        if end.seq <= known {
            return Ok(());
        }
        self.projection.go_on(&mut self.conn, entries.filter(|entry| entry.seq > known), end)
    }

    /// Projects what the journal's file has, up to entry `seq`; less where the store closes.
    fn read_up_to(&mut self, seq: u64) -> Result<(), JournalError> {
        if self.projection.end().seq >= seq {
            return Ok(());
        }
        let journal = file::open_to_read(&self.journal)?;
        while self.projection.end().seq < seq && !self.feed.is_closed() {
            let mut entries = Vec::new();
            let end = chain::walk(&journal, *self.projection.end(), PAGE, |e| entries.push(e))?;
            if entries.is_empty() {
                let problem = &"there is no such entry";
                return Err(chain::damaged(seq, problem));
            }
            self.write(entries.iter(), end)?;
        }
        Ok(())
    }
}

/// Lets those go first who answer for money, where there are too few cores for all. Linux alone knows a
/// thread's priority; elsewhere it stays as it is.
fn give_way() {
    #[cfg(target_os = "linux")]
    if let Err(problem) = rustix::process::nice(NICE) {
        tracing::debug!(error = %problem, "the tables' thread keeps its priority");
    }
}

impl Drop for Tables {
    fn drop(&mut self) {
        // Also when it ends by a panic: nobody may wait for an answer that never comes.
        self.feed.stop();
    }
}
