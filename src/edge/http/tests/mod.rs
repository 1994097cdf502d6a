#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "tests fail by panicking"
)]

//! The HTTP doors, over real sockets and a rail in memory.

mod fuzzed;
mod headers;
mod paying;
mod rows;
mod selling;
mod world;
