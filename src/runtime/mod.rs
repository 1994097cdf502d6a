//! Acts: keeps the ledger, pays, serves, limits, reconciles. Async over ports, and nothing else.

pub mod operator;
pub mod reconcile;
pub mod rules;
pub mod tasks;
pub mod treasury;
