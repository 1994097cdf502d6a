//! Clients and servers that nobody here wrote, at ours: real processes, on loopback.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::print_stderr,
    clippy::as_conversions,
    reason = "tests fail by panicking"
)]

mod facilitator;
mod openai;
mod x402;
