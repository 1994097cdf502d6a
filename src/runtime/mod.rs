//! Acts: keeps the ledger, pays, serves, limits, reconciles. Async over ports, and nothing else.

pub mod channels;
pub mod directory;
pub mod facilitator;
pub mod landing;
pub mod limits;
pub mod meters;
pub mod operator;
pub mod payee;
pub mod payer;
pub mod reconcile;
pub mod rules;
pub mod shelf;
pub mod tasks;
pub mod treasury;
