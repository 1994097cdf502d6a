//! The room's tests, on real files.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "tests fail by panicking"
)]

mod archived;
mod channels;
mod durable;
mod historic;
mod projected;
mod samples;
mod snapshotted;
mod verified;

use std::path::PathBuf;
use std::sync::Arc;

use tempfile::TempDir;

use super::{Options, Store};
use crate::domain::ledger::Event;
use crate::domain::time::Timestamp;
use crate::ports::journal::Entry;

/// A folder that goes away, and the journal's path in it.
fn place() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.db");
    (folder, path)
}

fn open(path: &std::path::Path) -> Store {
    Store::open(path, Options::default()).unwrap()
}

/// `events` as the entries from `seq` on, a millisecond apart.
fn entries(seq: u64, events: impl IntoIterator<Item = Event>) -> Arc<[Entry]> {
    (seq..).zip(events).map(|(seq, event)| Entry { seq, at: samples::at(seq), event }).collect()
}

/// `count` entries from `seq` on, holds all of them.
fn holds(seq: u64, count: u64) -> Arc<[Entry]> {
    entries(seq, (seq..seq + count).map(samples::held))
}

/// Changes the file behind the journal's back, as no SQL of ours can.
fn tamper(path: &std::path::Path, sql: &str) {
    let conn = rusqlite::Connection::open(path).unwrap();
    conn.execute_batch(
        "DROP TRIGGER events_are_never_changed; DROP TRIGGER events_are_never_removed;",
    )
    .unwrap();
    conn.execute_batch(sql).unwrap();
}

fn later(seconds: u64) -> Timestamp {
    Timestamp::from_secs(1_700_000_000 + seconds)
}
