//! Learns which pairs of tokens to merge: again and again the most frequent one.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::models::bpe::{TokenId, pieces, replace_pair};

/// How many tokens are learned beside the 256 bytes.
const MERGES: usize = 4000;

/// A pair that occurs less often is not worth a token.
const COUNT_MIN: i64 = 3;

type Pair = (TokenId, TokenId);

/// A piece of text as the tokens it has now, and how often it occurs.
struct Piece {
    tokens: Vec<TokenId>,
    times: i64,
}

/// The merges in the order in which they are learned. Among pairs of the same count the smallest
/// comes first, so the order of the tables does not matter.
pub fn learn(texts: &[&str]) -> Vec<Pair> {
    let mut pieces = distinct(texts);
    let mut counts: HashMap<Pair, i64> = HashMap::new();
    let mut places: HashMap<Pair, BTreeSet<usize>> = HashMap::new();
    for (i, piece) in pieces.iter().enumerate() {
        for pair in pairs(&piece.tokens) {
            *counts.entry(pair).or_default() += piece.times;
            places.entry(pair).or_default().insert(i);
        }
    }
    let mut merges = Vec::new();
    while merges.len() < MERGES {
        let best = counts.iter().max_by_key(|(pair, n)| (**n, std::cmp::Reverse(**pair)));
        let Some((&pair, _)) = best.filter(|(_, n)| **n >= COUNT_MIN) else { break };
        let with = (256 + merges.len()) as TokenId;
        merges.push(pair);
        for i in places.remove(&pair).unwrap_or_default() {
            let piece = &mut pieces[i];
            for old in pairs(&piece.tokens) {
                if let Some(n) = counts.get_mut(&old) {
                    *n -= piece.times;
                }
            }
            replace_pair(&mut piece.tokens, pair, with);
            for new in pairs(&piece.tokens) {
                *counts.entry(new).or_default() += piece.times;
                places.entry(new).or_default().insert(i);
            }
        }
        counts.remove(&pair);
        counts.retain(|_, n| *n > 0);
    }
    merges
}

/// Every different piece of the texts as bytes.
fn distinct(texts: &[&str]) -> Vec<Piece> {
    let mut times: BTreeMap<&[u8], i64> = BTreeMap::new();
    for text in texts {
        for piece in pieces(text.as_bytes()) {
            *times.entry(piece).or_default() += 1;
        }
    }
    let bytes = |piece: &[u8]| piece.iter().map(|&b| TokenId::from(b)).collect();
    times.into_iter().map(|(piece, times)| Piece { tokens: bytes(piece), times }).collect()
}

fn pairs(tokens: &[TokenId]) -> Vec<Pair> {
    tokens.windows(2).map(|w| (w[0], w[1])).collect()
}
