//! Acts: keeps the ledger, pays, serves, limits, reconciles. Async over ports, and nothing else.

pub mod treasury;
