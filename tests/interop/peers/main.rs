//! x402's crates in Rust, as peers and as a second reader: their payer pays our gateway, our payer pays their
//! server, which settles by our facilitator, and what one of us reads is held against what the other does.
//!
//! `npm ci` in contracts/ brings anvil. Where it is not there only reading is tested and the tests say so,
//! unless `BURSAR_TEST_ANVIL=required` says that it must be there. This is a package of its own, because
//! those crates bring reqwest with its own TLS: `cargo test -p bursar-peers`.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::print_stderr,
    clippy::as_conversions,
    reason = "tests fail by panicking"
)]

#[allow(dead_code, reason = "the official clients' tests use the rest")]
#[path = "../x402/chain.rs"]
mod chain;
#[allow(dead_code, reason = "the official clients' tests use the rest")]
#[path = "../x402/ours.rs"]
mod ours;
mod paying;
mod reading;
mod selling;
#[allow(dead_code, reason = "the official clients' tests use the rest")]
#[path = "../x402/shop.rs"]
mod shop;

/// Whether anvil is there; without it the test passes by, unless it is required.
fn has_anvil() -> bool {
    let found = chain::anvil().exists();
    let required = std::env::var("BURSAR_TEST_ANVIL").is_ok_and(|it| it == "required");
    assert!(found || !required, "anvil is not installed");
    if !found {
        eprintln!("passed by: anvil is not installed");
    }
    found
}
