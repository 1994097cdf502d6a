//! The journal, the archive and the readable tables: one SQLite file that anyone can open.
//!
//! Events are append-only, each bound to all before it by a hash, and durable before they are
//! answered for. Everything else in the file can be lost or made again from them: snapshots, the
//! readable tables, decisions and answers. This room decides nothing about money; it never repairs,
//! never retries a write that failed, and never changes or removes an event.
//!
//! Two threads write, in turns: the writer appends events and syncs, the keeper does all the rest
//! without a sync of its own.

mod archive;
mod chain;
mod file;
mod history;
mod keeper;
mod projection;
mod snapshots;
mod store;
mod turn;
mod verify;
mod views;
mod writer;

pub use store::{Options, Store};
pub use verify::{BookRow, Damage, SnapshotCheck, VerifyReport, verify};
pub use views::{
    BudgetRow, ClaimRow, PAGE_MAX, Page, PaymentFilter, PaymentRow, RefusalRow, Views,
};

#[cfg(test)]
mod tests;
