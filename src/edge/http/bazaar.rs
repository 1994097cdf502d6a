//! The `bazaar` extension as routes declare it, and directories of others that are searched.
//!
//! Source: x402 extension bazaar.

pub use crate::domain::x402::bazaar::{Discovery, KEY};
