//! The generator's memory: a tree of token sequences, each with the probability of its last token
//! after the others, and with the weight that is left for shorter contexts. Both are kept in one
//! byte, as twelfths of a halving. It cannot be wrong about money: it only counts words.

use super::bpe::TokenId;
use super::bytes::{BadWeights, Sink, Source};
use super::maths::exp2;

/// Steps of the stored logarithm for each factor of two.
pub const STEPS: f64 = 12.0;

/// Longest sequence that can be stored.
const ORDER_MAX: u8 = 8;

/// All sequences of one length, sorted, the children of one sequence side by side.
#[derive(Debug, Default)]
pub struct Level {
    /// Last token of each sequence.
    pub tokens: Vec<TokenId>,
    /// Its probability after the tokens before it, as `-log2 * STEPS`.
    pub chances: Vec<u8>,
    /// What is left for shorter contexts when this sequence is the context, likewise; empty on the
    /// last level.
    pub rests: Vec<u8>,
    /// Where the children begin on the next level; one more entry than tokens, empty on the last.
    pub children: Vec<u32>,
}

/// The tree. Level 0 holds every token, so a token is its own place there.
#[derive(Debug)]
pub struct Tree {
    levels: Vec<Level>,
    powers: Vec<f64>,
}

impl Tree {
    /// Checks the levels against each other.
    /// # Errors  [`BadWeights`] when a child is missing, a token unknown or unsorted.
    pub fn new(levels: Vec<Level>) -> Result<Self, BadWeights> {
        let vocabulary = levels.first().ok_or(BadWeights)?.tokens.len();
        for (depth, level) in levels.iter().enumerate() {
            let n = level.tokens.len();
            let next = levels.get(depth + 1).map(|l| l.tokens.len());
            let known = level.tokens.iter().all(|&t| usize::from(t) < vocabulary);
            let sized = level.chances.len() == n
                && next.is_none_or(|_| level.rests.len() == n && level.children.len() == n + 1);
            let linked = level.children.is_sorted()
                && next.is_none_or(|m| level.children.last() == u32::try_from(m).ok().as_ref());
            if !known || !sized || !linked {
                return Err(BadWeights);
            }
        }
        let places = levels[0].tokens.iter().enumerate();
        if places.into_iter().any(|(i, &t)| usize::from(t) != i) {
            return Err(BadWeights);
        }
        let powers = (0..=255).map(|q| exp2(-f64::from(q) / STEPS)).collect();
        Ok(Self { levels, powers })
    }

    /// Writes the levels.
    pub fn write(&self, sink: &mut Sink) {
        sink.u8(self.levels.len() as u8);
        for (depth, level) in self.levels.iter().enumerate() {
            sink.u32(level.tokens.len() as u32);
            level.tokens.iter().for_each(|&t| sink.u16(t));
            sink.raw(&level.chances);
            if depth + 1 < self.levels.len() {
                sink.raw(&level.rests);
                level.children.windows(2).for_each(|w| sink.varint(w[1] - w[0]));
            }
        }
    }

    /// Reads what [`Tree::write`] wrote.
    /// # Errors  [`BadWeights`]
    pub fn read(source: &mut Source<'_>) -> Result<Self, BadWeights> {
        let order = source.u8()?;
        if order == 0 || order > ORDER_MAX {
            return Err(BadWeights);
        }
        let mut levels = Vec::new();
        for depth in 1..=order {
            let n = source.count(3)?;
            let tokens = (0..n).map(|_| source.u16()).collect::<Result<_, _>>()?;
            let mut level = Level { tokens, chances: source.raw(n)?.to_vec(), ..Level::default() };
            if depth < order {
                level.rests = source.raw(n)?.to_vec();
                level.children.push(0);
                for i in 0..n {
                    let begin = level.children[i];
                    level.children.push(begin.checked_add(source.varint()?).ok_or(BadWeights)?);
                }
            }
            levels.push(level);
        }
        Self::new(levels)
    }

    /// Longest sequence that the tree knows.
    pub fn order(&self) -> usize {
        self.levels.len()
    }

    /// Number of different tokens, the end of a passage among them.
    pub fn vocabulary(&self) -> usize {
        self.levels[0].tokens.len()
    }

    /// Number of stored sequences of each length.
    pub fn sizes(&self) -> Vec<usize> {
        self.levels.iter().map(|level| level.tokens.len()).collect()
    }

    /// The probability of every token after `context`, of which the tail is looked at. Sums to one.
    pub fn after(&self, context: &[TokenId]) -> Vec<f64> {
        let root = &self.levels[0];
        let mut chances: Vec<f64> =
            root.chances.iter().map(|&q| self.powers[usize::from(q)]).collect();
        let longest = context.len().min(self.order() - 1);
        for n in 1..=longest {
            let Some(place) = self.find(&context[context.len() - n..]) else { continue };
            let rest = self.powers[usize::from(self.levels[n - 1].rests[place])];
            chances.iter_mut().for_each(|p| *p *= rest);
            let (next, range) = (&self.levels[n], self.range(n - 1, place));
            for i in range {
                chances[usize::from(next.tokens[i])] = self.powers[usize::from(next.chances[i])];
            }
        }
        let sum: f64 = chances.iter().sum();
        chances.iter_mut().for_each(|p| *p /= sum);
        chances
    }

    /// The place of a sequence on the level of its length.
    fn find(&self, sequence: &[TokenId]) -> Option<usize> {
        let (&first, others) = sequence.split_first()?;
        let mut place = usize::from(first);
        if place >= self.vocabulary() {
            return None;
        }
        for (depth, token) in others.iter().enumerate() {
            let range = self.range(depth, place);
            let begin = range.start;
            place = begin + self.levels[depth + 1].tokens[range].binary_search(token).ok()?;
        }
        Some(place)
    }

    fn range(&self, depth: usize, place: usize) -> std::ops::Range<usize> {
        let children = &self.levels[depth].children;
        children[place] as usize..children[place + 1] as usize
    }
}
