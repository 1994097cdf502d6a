//! The `evm` rail: pays by EIP-3009 or Permit2 on a token of an EVM chain, over Ethereum's JSON-RPC, and reads
//! what the chain shows. The sandbox is one more chain to it.
//!
//! - A node is never trusted to be the right one: chain id and genesis are checked at start and
//!   again behind each piece of evidence.
//! - Evidence is read at one final block's hash. Events decide, never the flag that the contract
//!   keeps, and a log that is not found proves nothing.
//! - Channels are the contract's of x402's scheme `batch-settlement`; the gas account is the authorizer of
//!   those that it claims from.
//! - One sender per gas account, many transactions under way at once, their receipts looked for together.
//!   Whatever may have been sent is never answered with an error, only with `Unknown`.
//!
//! It holds no payer's key and signs no payment: only gas transactions, with the key it is given.

mod abi;
mod channels;
mod config;
mod constructors;
pub mod contracts;
mod evidence;
mod fees;
mod judge;
mod moves;
mod node;
mod permit2;
mod post;
mod read;
mod search;
mod sender;
mod settler;
mod trials;
mod wallets;

pub use config::{EvmConfig, Finality, SettlerConfig};
pub use evidence::Evm;
pub use settler::{EvmSettler, GasSigner};
