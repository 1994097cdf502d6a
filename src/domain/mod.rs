//! The ground on which everything stands: values, rules and decisions.
//!
//! Pure: no async, I/O, clock, randomness or hash-map order decides anything here. Time is an
//! argument; money is integers.

pub mod asset;
pub mod channel;
pub mod commitment;
pub mod fault;
pub mod host;
pub mod id;
pub mod ledger;
pub mod listing;
pub mod money;
pub mod negotiation;
pub mod order;
pub mod policy;
pub mod pricing;
pub mod quote;
pub mod time;
pub mod x402;
