//! The models that the demo fleet sells: a semantic search and a small text generator, trained by
//! this project from its own text (`corpus/`), shipped as quantised weights (`weights/`).
//!
//! Every answer can name the model and the hash of its weights, every text has exactly one token
//! count, and a seed gives the same text on every machine: nothing here reads a clock, the
//! environment, or a mathematical library whose last digit differs between platforms. There are no
//! canned answers. It uses nothing of `bursar` and is taken into a program by path:
//! `#[path = "../models/mod.rs"] mod models;`.
//!
//! `cargo run --release --example train_models` trains both again, to the same bytes.
#![allow(
    clippy::float_arithmetic,
    clippy::as_conversions,
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    reason = "statistics over frozen tables and never money; indices come from the tables' own bounds"
)]
#![allow(
    dead_code,
    unused_imports,
    reason = "each program that takes this in by path uses a part of it"
)]

pub mod bpe;
pub mod bytes;
pub mod corpus;
pub mod maths;
pub mod ngram;
pub mod search;
pub mod words;
pub mod writer;

pub use search::{Hit, Search};
pub use writer::{Generation, TokenId, Writer};
