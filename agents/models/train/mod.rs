//! Trains the models from the frozen corpus: single-threaded, in fixed order, with a fixed seed, to
//! the same bytes on every machine. The agents do not take it in; the example and the tests do,
//! beside `models`, on which it stands.
#![allow(
    clippy::float_arithmetic,
    clippy::as_conversions,
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    reason = "statistics over a frozen corpus and never money; indices come from the loops' own bounds"
)]
#![allow(dead_code, reason = "each program that takes this in by path uses a part of it")]

pub mod kneser_ney;
pub mod lsa;
pub mod measure;
pub mod merges;

use crate::models::bpe::{TokenId, Tokenizer};
use crate::models::corpus::{is_held_out, passages};
use crate::models::{Search, Writer};

/// The weights file of the search, trained on every passage.
pub fn search() -> Vec<u8> {
    Search::to_weights(&lsa::train(passages()))
}

/// The weights file of the writer, trained on every passage that is not held out.
pub fn writer() -> Vec<u8> {
    let texts: Vec<&str> = training_texts();
    let tokenizer = Tokenizer::new(merges::learn(&texts)).expect("merges use earlier tokens only");
    let tree = kneser_ney::train(&streams(&tokenizer, &texts), tokenizer.len() + 1);
    Writer::to_weights(&tokenizer, &tree)
}

/// The passages that the writer learns from.
pub fn training_texts() -> Vec<&'static str> {
    let all = passages().iter().enumerate();
    all.filter(|(i, _)| !is_held_out(*i)).map(|(_, p)| p.text).collect()
}

/// The passages that measure the writer.
pub fn held_out_texts() -> Vec<&'static str> {
    let all = passages().iter().enumerate();
    all.filter(|(i, _)| is_held_out(*i)).map(|(_, p)| p.text).collect()
}

/// Each text as tokens, between two ends.
fn streams(tokenizer: &Tokenizer, texts: &[&str]) -> Vec<Vec<TokenId>> {
    let end = tokenizer.len() as TokenId;
    let stream = |text: &&str| [vec![end], tokenizer.encode(text), vec![end]].concat();
    texts.iter().map(stream).collect()
}
