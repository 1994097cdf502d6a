//! Counts token sequences and turns the counts into probabilities: interpolated modified
//! Kneser-Ney smoothing, with discounts from the counts of counts.
//! Source: Chen and Goodman, "An Empirical Study of Smoothing Techniques for Language Modeling".

use crate::models::bpe::TokenId;
use crate::models::maths::log2;
use crate::models::ngram::{Level, STEPS, Tree};

/// Longest sequence that is counted.
const ORDER: usize = 5;

/// A sequence with how often it occurs and, for smoothing, in how many ways.
struct Gram<'a> {
    tokens: &'a [TokenId],
    count: u32,
}

/// One sequence's outcome: its probability after the tokens before it.
struct Estimate<'a> {
    tokens: &'a [TokenId],
    p: f64,
}

/// What the followers of one context are worth together.
struct Context<'a> {
    tokens: &'a [TokenId],
    rest: f64,
}

/// The tree of a text given as streams, each between two ends.
pub fn train(streams: &[Vec<TokenId>], vocabulary: usize) -> Tree {
    let grams: Vec<Vec<Gram<'_>>> = counts(streams);
    let end = (vocabulary - 1) as TokenId;
    let mut below = vec![1.0 / vocabulary as f64; vocabulary];
    let (mut levels, mut lower): (Vec<Level>, Vec<Estimate<'_>>) = (Vec::new(), Vec::new());
    for order in 1..=ORDER {
        let grams = &grams[order - 1];
        let (chances, contexts) = smooth(grams, &below, &lower);
        if order == 1 {
            let rest = contexts.first().map_or(1.0, |c| c.rest);
            let mut all: Vec<f64> = below.iter().map(|p| p * rest).collect();
            chances.iter().for_each(|c| all[usize::from(c.tokens[0])] = c.p);
            below = all;
            let tokens = (0..=end).collect();
            let chances = below.iter().map(|&p| step(p)).collect();
            levels.push(Level { tokens, chances, ..Level::default() });
        } else {
            hang(&mut levels, &chances, &contexts);
        }
        lower = chances;
    }
    Tree::new(levels).expect("levels are built in step")
}

/// The sequences of each length in sorted order. Below the longest, a sequence counts in how many
/// different places it stands; one that begins a passage has no place before it and counts by
/// itself.
fn counts(streams: &[Vec<TokenId>]) -> Vec<Vec<Gram<'_>>> {
    let mut all: Vec<Vec<Gram<'_>>> = (1..=ORDER)
        .map(|order| {
            let mut windows: Vec<&[TokenId]> =
                streams.iter().flat_map(|stream| stream.windows(order)).collect();
            windows.sort_unstable();
            tally(&windows).map(|(tokens, count)| Gram { tokens, count }).collect()
        })
        .collect();
    for order in 1..ORDER {
        let mut ends: Vec<&[TokenId]> = all[order].iter().map(|g| &g.tokens[1..]).collect();
        ends.sort_unstable();
        let mut places = tally(&ends).peekable();
        for gram in &mut all[order - 1] {
            while places.next_if(|(tokens, _)| *tokens < gram.tokens).is_some() {}
            if let Some((_, n)) = places.next_if(|(tokens, _)| *tokens == gram.tokens) {
                gram.count = n;
            }
        }
    }
    all
}

/// Runs of equal sequences with their lengths.
fn tally<'s, 'a>(
    sorted: &'s [&'a [TokenId]],
) -> impl Iterator<Item = (&'a [TokenId], u32)> + use<'s, 'a> {
    sorted.chunk_by(|a, b| a == b).map(|run| (run[0], run.len() as u32))
}

/// The three discounts of one length: for counts of one, of two, and of more.
fn discounts(grams: &[Gram<'_>]) -> [f64; 3] {
    let times = |n: u32| grams.iter().filter(|g| g.count == n).count().max(1) as f64;
    let n = [times(1), times(2), times(3), times(4)];
    let share = n[0] / (n[0] + 2.0 * n[1]);
    let discount = |k: usize| {
        let count = (k + 1) as f64;
        (count - (count + 1.0) * share * n[k + 1] / n[k]).clamp(0.1, count - 0.1)
    };
    [discount(0), discount(1), discount(2)]
}

/// The probability of every sequence of one length after its context, and what each context leaves
/// for the shorter one.
fn smooth<'a>(
    grams: &[Gram<'a>],
    unigrams: &[f64],
    lower: &[Estimate<'a>],
) -> (Vec<Estimate<'a>>, Vec<Context<'a>>) {
    let cut = discounts(grams);
    let (mut chances, mut contexts) = (Vec::new(), Vec::new());
    let context = |g: &Gram<'a>| &g.tokens[..g.tokens.len() - 1];
    for group in grams.chunk_by(|a, b| context(a) == context(b)) {
        let sum: f64 = group.iter().map(|g| f64::from(g.count)).sum();
        let saved: f64 = group.iter().map(|g| cut[g.count.min(3) as usize - 1]).sum();
        let rest = saved / sum;
        for gram in group {
            let own = f64::from(gram.count) - cut[gram.count.min(3) as usize - 1];
            let shorter = &gram.tokens[1..];
            let found = lower.binary_search_by(|c| c.tokens.cmp(shorter)).map(|i| lower[i].p);
            let last = usize::from(gram.tokens[gram.tokens.len() - 1]);
            let p = own / sum + rest * found.unwrap_or(unigrams[last]);
            chances.push(Estimate { tokens: gram.tokens, p });
        }
        contexts.push(Context { tokens: context(&group[0]), rest });
    }
    (chances, contexts)
}

/// Hangs the next level below the last one. Both are sorted, so each sequence of the last level finds
/// its followers by going forward.
fn hang(levels: &mut Vec<Level>, chances: &[Estimate<'_>], contexts: &[Context<'_>]) {
    let paths = paths(levels);
    let mut next = Level::default();
    let mut followers = chances.iter().peekable();
    let mut contexts = contexts.iter().peekable();
    let last = levels.last_mut().expect("the level of single tokens comes first");
    last.children.push(0);
    for path in paths {
        let rest = contexts.next_if(|c| c.tokens == path).map_or(1.0, |c| c.rest);
        last.rests.push(step(rest));
        while let Some(chance) = followers.next_if(|c| c.tokens[..path.len()] == path) {
            next.tokens.push(chance.tokens[path.len()]);
            next.chances.push(step(chance.p));
        }
        last.children.push(next.tokens.len() as u32);
    }
    levels.push(next);
}

/// The sequences of the last level, in order.
fn paths(levels: &[Level]) -> Vec<Vec<TokenId>> {
    let mut paths: Vec<Vec<TokenId>> = vec![Vec::new()];
    for (depth, level) in levels.iter().enumerate() {
        let parents = depth.checked_sub(1).map(|d| levels[d].children.as_slice());
        let mut longer = Vec::with_capacity(level.tokens.len());
        for (i, path) in paths.iter().enumerate() {
            let range = parents.map_or(0..level.tokens.len(), |c| c[i] as usize..c[i + 1] as usize);
            longer.extend(level.tokens[range].iter().map(|&t| [path.as_slice(), &[t]].concat()));
        }
        paths = longer;
    }
    paths
}

/// The nearest stored step of a probability.
fn step(p: f64) -> u8 {
    (-log2(p) * STEPS).round().clamp(0.0, 255.0) as u8
}
