//! Bursar: a payment runtime for AI agents.
//!
//! Agents hold budgeted wallets, discover paid inference services over gRPC, negotiate x402 quotes
//! and pay per inference. The money is held before anything is signed, so a cap cannot be passed.
//!
//! Four floors, and imports go down only: [`edge`] touches the world, [`runtime`] acts, [`ports`]
//! name what the runtime needs, [`domain`] decides.

#[macro_use]
mod planted;

pub mod domain;
pub mod edge;
pub mod node;
pub mod ports;
pub mod runtime;
#[cfg(feature = "sim")]
pub mod sim;
