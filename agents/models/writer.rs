//! `bursar-scribe-1`: a small language model that counts. It continues a prompt in the words of the
//! corpus, token by token; what it writes is plausible and not true, and must be marked as generated.

use std::collections::BTreeSet;
use std::sync::{Arc, OnceLock};

pub use super::bpe::TokenId;
use super::bpe::Tokenizer;
use super::bytes::{BadWeights, Sink, Source, sha256_hex};
use super::corpus;
use super::maths::{Chance, exp2, log2};
use super::ngram::Tree;

/// The model's name; it changes with what the model can do.
pub const NAME: &str = "bursar-scribe-1";

/// The committed weights.
pub static WEIGHTS: &[u8] = include_bytes!("weights/bursar-scribe-1.bin");

/// Of how many tokens, the most probable ones, the next is drawn.
const CANDIDATES_MAX: usize = 30;

/// Below one the probable becomes more probable.
const TEMPERATURE: f64 = 0.6;

/// A text does not end before it has so many tokens, unless its maximum is smaller.
const TOKENS_MIN: usize = 24;

/// How much likelier a word of the prompt is than it would be by itself: keeps to the subject.
const TOPIC_PULL: f64 = 3.0;

/// Shortest token, in letters, that counts as a word of the prompt's subject.
const TOPIC_LETTERS_MIN: usize = 4;

/// Tokens that are more frequent than this are everybody's words and nobody's subject.
const TOPIC_CHANCE_MAX: f64 = 0.002;

#[derive(Debug)]
struct Model {
    tokenizer: Tokenizer,
    tree: Tree,
    hash: String,
}

/// The generator. Cloning it is cheap.
#[derive(Debug, Clone)]
pub struct Writer(Arc<Model>);

impl Writer {
    /// The committed model, read once in a process.
    pub fn load() -> Self {
        static LOADED: OnceLock<Writer> = OnceLock::new();
        let read = || Self::from_weights(WEIGHTS).expect("the committed weights are tested");
        LOADED.get_or_init(read).clone()
    }

    /// A model from the bytes of a weights file.
    /// # Errors  [`BadWeights`] when they are not this model's, trained on this corpus.
    pub fn from_weights(weights: &[u8]) -> Result<Self, BadWeights> {
        let mut source = Source::open(weights, NAME, corpus::hash())?;
        let tokenizer = Tokenizer::read(&mut source)?;
        let tree = Tree::read(&mut source)?;
        source.end()?;
        if tree.vocabulary() != tokenizer.len() + 1 {
            return Err(BadWeights);
        }
        Ok(Self(Arc::new(Model { tokenizer, tree, hash: sha256_hex(weights) })))
    }

    /// The bytes of a weights file.
    pub fn to_weights(tokenizer: &Tokenizer, tree: &Tree) -> Vec<u8> {
        let mut sink = Sink::new(NAME, corpus::hash());
        tokenizer.write(&mut sink);
        tree.write(&mut sink);
        sink.finish()
    }

    /// The model's name.
    pub fn name(&self) -> &'static str {
        NAME
    }

    /// SHA-256 of the weights file, in hexadecimal.
    pub fn weights_hash(&self) -> &str {
        &self.0.hash
    }

    /// The tokens of a text; [`Writer::detokenize`] gives the text back.
    pub fn tokens(&self, text: &str) -> Vec<TokenId> {
        self.0.tokenizer.encode(text)
    }

    /// The text of tokens.
    pub fn detokenize(&self, tokens: &[TokenId]) -> String {
        self.0.tokenizer.decode(tokens)
    }

    /// How many tokens a text is: what the meter counts.
    pub fn count(&self, text: &str) -> usize {
        self.tokens(text).len()
    }

    /// Continues `prompt` by at most `max_tokens` tokens; ends earlier where a passage would end.
    /// The same prompt, maximum and seed give the same text everywhere. Each item is one token.
    pub fn generate(&self, prompt: &str, max_tokens: usize, seed: u64) -> Generation {
        let mut context = vec![self.end()];
        context.extend(self.tokens(prompt));
        let chances = self.0.tree.after(&[]);
        let special = |&t: &TokenId| {
            let letters = self.0.tokenizer.text(t).iter().filter(|b| b.is_ascii_alphabetic());
            letters.count() >= TOPIC_LETTERS_MIN && chances[usize::from(t)] < TOPIC_CHANCE_MAX
        };
        let topic = context.iter().copied().filter(special).collect();
        Generation {
            writer: self.clone(),
            context,
            topic,
            written: 0,
            tokens_max: max_tokens,
            chance: Chance::new(seed),
        }
    }

    /// How many equally likely tokens the model is as unsure as, on average, at each token of the
    /// passage `text` and at its end.
    pub fn perplexity(&self, text: &str) -> f64 {
        let (bits, tokens) = self.surprise(text);
        exp2(bits / tokens as f64)
    }

    /// The bits by which the passage `text` surprises the model, and the number of tokens, its end
    /// included.
    pub fn surprise(&self, text: &str) -> (f64, usize) {
        let mut context = vec![self.end()];
        let mut bits = 0.0;
        for token in self.tokens(text).into_iter().chain([self.end()]) {
            bits -= log2(self.0.tree.after(&context)[usize::from(token)]);
            context.push(token);
        }
        (bits, context.len() - 1)
    }

    /// Number of stored sequences of each length.
    pub fn sizes(&self) -> Vec<usize> {
        self.0.tree.sizes()
    }

    /// The token that begins and ends a passage.
    fn end(&self) -> TokenId {
        self.0.tokenizer.len() as TokenId
    }
}

/// A text on its way: an iterator of tokens.
#[derive(Debug)]
pub struct Generation {
    writer: Writer,
    context: Vec<TokenId>,
    topic: BTreeSet<TokenId>,
    written: usize,
    tokens_max: usize,
    chance: Chance,
}

impl Iterator for Generation {
    type Item = String;

    fn next(&mut self) -> Option<String> {
        if self.written >= self.tokens_max {
            return None;
        }
        let token = self.draw();
        if token == self.writer.end() {
            self.tokens_max = self.written;
            return None;
        }
        self.written += 1;
        self.context.push(token);
        Some(self.writer.detokenize(&[token]))
    }
}

impl Generation {
    /// Draws the next token among the most probable ones.
    fn draw(&mut self) -> TokenId {
        let model = &self.writer.0;
        let mut candidates: Vec<(f64, TokenId)> = Vec::new();
        for (token, p) in model.tree.after(&self.context).into_iter().enumerate() {
            let token = token as TokenId;
            let pull = if self.topic.contains(&token) { TOPIC_PULL } else { 1.0 };
            // Single bytes of foreign letters would be no text by themselves.
            let too_early = token == self.writer.end() && self.written < TOKENS_MIN;
            if model.tokenizer.text(token).is_ascii() && !too_early {
                candidates.push((p * pull, token));
            }
        }
        let order =
            |a: &(f64, TokenId), b: &(f64, TokenId)| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1));
        if candidates.len() > CANDIDATES_MAX {
            candidates.select_nth_unstable_by(CANDIDATES_MAX, order);
            candidates.truncate(CANDIDATES_MAX);
        }
        candidates.sort_by(order);
        for (p, _) in &mut candidates {
            *p = exp2(log2(*p) / TEMPERATURE);
        }
        let mut point = self.chance.unit() * candidates.iter().map(|c| c.0).sum::<f64>();
        for &(p, token) in &candidates {
            point -= p;
            if point < 0.0 {
                return token;
            }
        }
        candidates.last().map_or(self.writer.end(), |c| c.1)
    }
}
