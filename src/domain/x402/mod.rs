//! x402: requirements, payloads, receipts, EIP-712 digests, and every check in order.

pub mod receipt;
pub mod wire;
