//! The sandbox: an Ethereum chain in this process, with money of our own.
//!
//! A real EVM (revm) runs a token with EIP-3009, keeps every block and every former state in one
//! SQLite file, and answers on loopback the part of Ethereum's JSON-RPC that a rail uses, so that
//! nothing above it knows whether it pays here or on a public chain.
//!
//! - One thread owns the EVM and the file. What it answers is durable first.
//! - A transaction is mined at once; those that wait together share a block. Where nothing is
//!   waiting, an empty block is mined each second of the clock that was passed in.
//! - The latest block is final, and `latest`, `safe`, `finalized` and `pending` are one, until somebody
//!   asks for a depth: then so many of the newest blocks are not, and `sandbox_reorg` takes them back.
//! - The contracts of x402 are there from the start, at the addresses of the public chains.
//! - A block's state root is a chain of hashes over the changes, not a Merkle root.
//!
//! It never talks to another node, never reorganises, and its money is worth nothing.

mod answers;
mod block;
mod chain;
mod contracts;
mod error;
mod execution;
mod genesis;
mod logs;
mod methods;
mod rpc;
mod server;
mod state;
mod store;
mod token;
mod transaction;
mod worker;

pub use error::{SandboxError, StoreError, TxRefusal};
pub use genesis::{CHAIN_ID, Funded, Genesis, TOKEN, faucet};
pub use server::Server;
pub use store::Place;
pub use worker::{GasUsed, NowSeconds, Sandbox};

#[cfg(test)]
mod tests;
