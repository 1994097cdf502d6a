//! The contracts of x402, by what they do: the same sentences on the sandbox and on anvil.

mod claims;
mod clients;
mod deposits;
mod gas;
mod interface;
mod issuer;
mod model;
mod permit2;
pub(crate) mod scene;
mod spenders;
mod ways_out;
