//! The generator's tokens: byte pairs, so that any text has exactly one list of tokens and is
//! recovered from it byte by byte. It knows nothing of meaning.

use std::collections::BTreeMap;

use super::bytes::{BadWeights, Sink, Source};

/// Names one token; below 256 a single byte, above it a merged pair.
pub type TokenId = u16;

/// Longest piece that is merged inside, in bytes; it bounds the work for any input.
const PIECE_BYTES_MAX: usize = 24;

/// Merges in the order in which they were learned.
#[derive(Debug)]
pub struct Tokenizer {
    /// The two parts of token `256 + i`.
    merges: Vec<(TokenId, TokenId)>,
    ranks: BTreeMap<(TokenId, TokenId), TokenId>,
    texts: Vec<Vec<u8>>,
}

impl Tokenizer {
    /// From merges, each of which uses only bytes and earlier merges.
    /// # Errors  [`BadWeights`] when one does not, or when there are too many.
    pub fn new(merges: Vec<(TokenId, TokenId)>) -> Result<Self, BadWeights> {
        let mut texts: Vec<Vec<u8>> = (0..=255u8).map(|b| vec![b]).collect();
        let mut ranks = BTreeMap::new();
        for &(a, b) in &merges {
            let id = TokenId::try_from(texts.len()).map_err(|_| BadWeights)?;
            let (left, right) = (texts.get(usize::from(a)), texts.get(usize::from(b)));
            let text = [left.ok_or(BadWeights)?.as_slice(), right.ok_or(BadWeights)?].concat();
            texts.push(text);
            ranks.insert((a, b), id);
        }
        if texts.len() >= usize::from(TokenId::MAX) {
            Err(BadWeights)
        } else {
            Ok(Self { merges, ranks, texts })
        }
    }

    /// Reads what [`Tokenizer::write`] wrote.
    /// # Errors  [`BadWeights`]
    pub fn read(source: &mut Source<'_>) -> Result<Self, BadWeights> {
        let n = source.count(4)?;
        let merges = (0..n).map(|_| Ok((source.u16()?, source.u16()?)));
        Self::new(merges.collect::<Result<_, BadWeights>>()?)
    }

    /// Writes the merges.
    pub fn write(&self, sink: &mut Sink) {
        sink.u32(self.merges.len() as u32);
        for &(a, b) in &self.merges {
            sink.u16(a);
            sink.u16(b);
        }
    }

    /// Number of different tokens, the end of a passage not among them.
    pub fn len(&self) -> usize {
        self.texts.len()
    }

    /// The tokens of a text. Linear in its length.
    pub fn encode(&self, text: &str) -> Vec<TokenId> {
        pieces(text.as_bytes()).flat_map(|piece| self.merge(piece)).collect()
    }

    /// The bytes of a token; none for an unknown one.
    pub fn text(&self, token: TokenId) -> &[u8] {
        self.texts.get(usize::from(token)).map_or(&[], Vec::as_slice)
    }

    /// The text of the tokens; bytes that are no text are replaced.
    pub fn decode(&self, tokens: &[TokenId]) -> String {
        let bytes: Vec<u8> = tokens.iter().flat_map(|&t| self.text(t)).copied().collect();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Merges the pair that was learned first, again and again.
    fn merge(&self, piece: &[u8]) -> Vec<TokenId> {
        let mut tokens: Vec<TokenId> = piece.iter().map(|&b| TokenId::from(b)).collect();
        loop {
            let pairs = tokens.windows(2).filter_map(|w| self.ranks.get(&(w[0], w[1])));
            let Some(&first) = pairs.min() else { return tokens };
            let (a, b) = self.merges[usize::from(first) - 256];
            replace_pair(&mut tokens, (a, b), first);
        }
    }
}

/// Replaces each occurrence of a pair by one token, from the left.
pub fn replace_pair(tokens: &mut Vec<TokenId>, pair: (TokenId, TokenId), with: TokenId) {
    let (mut from, mut to) = (0, 0);
    while from < tokens.len() {
        let hit = tokens[from] == pair.0 && tokens.get(from + 1) == Some(&pair.1);
        tokens[to] = if hit { with } else { tokens[from] };
        from += if hit { 2 } else { 1 };
        to += 1;
    }
    tokens.truncate(to);
}

/// What kind of piece a byte belongs to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Letter,
    Digit,
    Space,
    Sign,
}

fn kind(byte: u8) -> Kind {
    match byte {
        b'A'..=b'Z' | b'a'..=b'z' | 0x80.. => Kind::Letter,
        b'0'..=b'9' => Kind::Digit,
        b' ' | b'\t' | b'\n' | b'\r' => Kind::Space,
        _ => Kind::Sign,
    }
}

/// Cuts bytes into the pieces inside which pairs are merged: a run of letters, of at most three
/// digits, or of signs, each with the single space before it; white space else byte by byte.
pub fn pieces(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let &first = rest.first()?;
        let lead = usize::from(first == b' ');
        let inner = rest.get(lead).map_or(Kind::Space, |&b| kind(b));
        let bound = if inner == Kind::Digit { 3 } else { PIECE_BYTES_MAX };
        let run = rest[lead..].iter().take(bound).take_while(|&&b| kind(b) == inner).count();
        let (piece, tail) = rest.split_at(if inner == Kind::Space { 1 } else { lead + run });
        rest = tail;
        Some(piece)
    })
}
