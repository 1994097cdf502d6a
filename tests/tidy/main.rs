//! The laws of the house, read from the sources themselves.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "tests fail by panicking"
)]

mod codes;
mod floors;
mod planted;
mod shape;
mod source;
mod words;
