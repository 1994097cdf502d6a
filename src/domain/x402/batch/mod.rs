//! Scheme `batch-settlement`: one deposit into a channel, then one signed voucher for each inference,
//! each for a greater sum than the last, and now and then a claim of the newest.
//!
//! - `typed`: what is signed for a channel, and where the contracts are.
//! - `funding`: what is signed for a deposit; `permitted`: one that Permit2 moves.
//! - `payload`, `deposit`: what a payer sends, and what a payee sends to its facilitator.
//! - `state`: what the two sides tell each other about a channel.
//!
//! - `read`, `check`: a payer's word, typed, and whether it is as good as it has to be.
//! - `taken`: what a payee, and what a facilitator takes for a payer's signature.
//! - `corrective`: how a payee says that a channel stands, and what of it is believed.
//! - `word`: what a payer sends, made.
//! - `authorized`, `relayed`: what a receiver's authorizer signs, and what a payee tells its facilitator.
//! - `refund`: a payer's wish to have back what was not charged.
//! - `code`: the scheme's error codes.
//!
//! Source: x402 scheme `batch-settlement` on EVM.

pub mod authorized;
pub mod check;
pub mod code;
pub mod corrective;
pub mod deposit;
pub mod funding;
pub mod payload;
pub mod permitted;
pub mod read;
pub mod refund;
pub mod relayed;
pub mod state;
pub mod taken;
pub mod typed;
pub mod word;
