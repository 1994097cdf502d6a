//! The journal, the archive and the readable tables: two SQLite files that anyone can open.
//!
//! Events are append-only, each bound to all before it by a hash, and durable before they are
//! answered for. Everything else can be lost or made again from them: snapshots and answers in the
//! same file; the readable tables and decisions in `<name>-tables` beside it. This room decides
//! nothing about money; it never repairs, never retries a write that failed, and never changes or
//! removes an event.
//!
//! One thread writes the journal's file, through one connection: events with a sync, all the rest in
//! small chores in between, without a sync of its own. Another thread checkpoints it, so that no
//! append has to. A third writes the readable tables, a moment later: were they in the same file,
//! each sync of an event would wait for their rows too, whose keys are random, and that was measured
//! to be half of the writer's work.

mod archive;
mod chain;
mod checkpoints;
mod chores;
mod feed;
mod file;
mod history;
mod inbox;
mod projection;
mod settled;
mod snapshots;
mod store;
mod tables;
mod usage;
mod verify;
mod views;
mod writer;

pub use settled::SettledRow;
pub use store::{Options, Store};
pub use usage::MeteredRow;
pub use verify::{BookRow, Damage, SnapshotCheck, VerifyReport, verify};
pub use views::{
    BudgetRow, ClaimRow, PAGE_MAX, Page, PaymentFilter, PaymentRow, RefusalRow, Views,
};

#[cfg(test)]
mod tests;
