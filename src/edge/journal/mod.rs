//! The journal, the archive and the readable tables: one SQLite file that anyone can open.
//!
//! Events are append-only, each bound to all before it by a hash, and durable before they are
//! answered for. Everything else in the file can be lost or made again from them: snapshots, the
//! readable tables, decisions and answers. This room decides nothing about money; it never repairs,
//! never retries a write that failed, and never changes or removes an event.
//!
//! One thread writes, through one connection: events with a sync, all the rest in small chores in
//! between, without a sync of its own. Another thread checkpoints, so that no append has to.
//!
//! The readable tables stand in the same file because that was measured to cost little this way. A
//! second connection that wrote them would cost much more: each of its commits empties the page cache
//! of the other.

mod archive;
mod chain;
mod checkpoints;
mod chores;
mod file;
mod history;
mod inbox;
mod projection;
mod snapshots;
mod store;
mod usage;
mod verify;
mod views;
mod writer;

pub use store::{Options, Store};
pub use usage::{MeteredRow, UsageBy, UsageFilter, UsageRow};
pub use verify::{BookRow, Damage, SnapshotCheck, VerifyReport, verify};
pub use views::{
    BudgetRow, ClaimRow, PAGE_MAX, Page, PaymentFilter, PaymentRow, RefusalRow, Views,
};

#[cfg(test)]
mod tests;
