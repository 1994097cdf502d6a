//! Measures trained models on what they were not trained on: held-out passages, and questions that
//! were written by hand in other words than the passages'.

use std::collections::BTreeMap;

use super::{held_out_texts, training_texts};
use crate::models::maths::{exp2, log2};
use crate::models::{Search, TokenId, Writer};

/// Held-out questions, each with the passages that answer it: written after the search was settled.
pub const QUESTIONS: &str = include_str!("../corpus/questions.tsv");

/// Questions by which the search's constants and its synonyms were settled; harder on purpose.
pub const TUNING: &str = include_str!("../corpus/questions_tuning.tsv");

/// How surprised a model is by the held-out passages.
#[derive(Debug, Clone, Copy)]
pub struct Surprise {
    /// Tokens that were foretold, each passage's end included.
    pub tokens: usize,
    /// The writer's perplexity.
    pub perplexity: f64,
    /// That of a model which only knows how often each token occurs.
    pub unigram: f64,
}

impl Surprise {
    /// The writer's perplexity as a share of the unigram model's.
    pub fn ratio(&self) -> f64 {
        self.perplexity / self.unigram
    }
}

/// What a question found.
#[derive(Debug, Clone)]
pub struct Found {
    /// The question.
    pub question: &'static str,
    /// The names of the first three passages found.
    pub first: Vec<&'static str>,
    /// Whether one of the expected ones is among them.
    pub hit: bool,
}

/// The writer against the unigram model, with the same tokens and on the same passages.
pub fn surprise(writer: &Writer) -> Surprise {
    let mut counts: BTreeMap<TokenId, f64> = BTreeMap::new();
    let texts = training_texts();
    for token in texts.iter().flat_map(|text| writer.tokens(text)) {
        *counts.entry(token).or_default() += 1.0;
    }
    let ends = texts.len() as f64;
    let vocabulary = writer.sizes()[0] as f64;
    let all = counts.values().sum::<f64>() + ends + vocabulary;
    let unigram_bits = |times: f64| -log2((times + 1.0) / all);
    let (mut bits, mut plain_bits, mut tokens) = (0.0, 0.0, 0);
    for text in held_out_texts() {
        let (own, n) = writer.surprise(text);
        bits += own;
        tokens += n;
        plain_bits += unigram_bits(ends);
        for token in writer.tokens(text) {
            plain_bits += unigram_bits(counts.get(&token).copied().unwrap_or(0.0));
        }
    }
    let n = tokens as f64;
    Surprise { tokens, perplexity: exp2(bits / n), unigram: exp2(plain_bits / n) }
}

/// What each question finds.
pub fn questions(search: &Search, questions: &'static str) -> Vec<Found> {
    let lines = questions.lines().filter_map(|line| line.split_once('\t'));
    lines
        .map(|(question, expected)| {
            let first: Vec<&str> = search.query(question, 3).iter().map(|hit| hit.id).collect();
            let hit = expected.split(',').any(|id| first.contains(&id));
            Found { question, first, hit }
        })
        .collect()
}

/// The share of questions, in thousandths, that found an expected passage among the first three.
pub fn recall_milli(found: &[Found]) -> usize {
    found.iter().filter(|f| f.hit).count() * 1000 / found.len().max(1)
}
