//! `bursar-embed-1`: passages and questions as directions in a small space (weighted words, truncated
//! singular value decomposition), and a search that adds a lexical score to the cosine, because a
//! code or a name that stands in the question should count. It answers with passages, never with
//! words of its own.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, OnceLock};

use super::bytes::{BadWeights, Sink, Source, sha256_hex};
use super::corpus::{self, Passage};
use super::maths::ln;
use super::words::{terms, words};

/// The model's name; it changes with what the model can do.
pub const NAME: &str = "bursar-embed-1";

/// The committed weights.
pub static WEIGHTS: &[u8] = include_bytes!("weights/bursar-embed-1.bin");

/// Share of the cosine in the score; the rest is lexical.
const COSINE_SHARE: f64 = 0.3;

/// A passage's title counts as often as this in its words.
const TITLE_TIMES: u32 = 2;

/// How fast the weight of a repeated word levels off (the lexical score's k1 and b).
const SATURATION: f64 = 1.2;
const LENGTH_SHARE: f64 = 0.6;

/// A row of numbers in one byte each, with one scale.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// The numbers, from -127 to 127.
    pub steps: Vec<i8>,
    /// What a step is worth.
    pub scale: f32,
}

impl Row {
    /// The nearest row of bytes: the largest number becomes 127.
    pub fn quantise(values: &[f64]) -> Self {
        let largest = values.iter().fold(0.0f64, |m, v| m.max(v.abs()));
        let scale = if largest > 0.0 { largest / 127.0 } else { 1.0 };
        let steps = values.iter().map(|v| (v / scale).round() as i8).collect();
        Self { steps, scale: scale as f32 }
    }

    fn read(source: &mut Source<'_>, dimensions: usize) -> Result<Self, BadWeights> {
        let scale = source.f32()?;
        let steps = source.raw(dimensions)?.iter().map(|&b| i8::from_le_bytes([b])).collect();
        Ok(Self { steps, scale })
    }

    fn write(&self, sink: &mut Sink) {
        sink.f32(self.scale);
        self.steps.iter().for_each(|s| sink.raw(&s.to_le_bytes()));
    }
}

/// What training gives: a direction for each term and for each passage.
#[derive(Debug)]
pub struct Table {
    /// Numbers in a row.
    pub dimensions: usize,
    /// Each term with the number of passages it occurs in and its direction.
    pub terms: BTreeMap<String, (u16, Row)>,
    /// The directions of the passages, in the corpus's order.
    pub passages: Vec<Row>,
}

/// One passage that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hit {
    /// The passage's name.
    pub id: &'static str,
    /// Its heading.
    pub title: &'static str,
    /// The file and the name, for citing.
    pub source: String,
    /// Its text, word for word.
    pub passage: &'static str,
    /// How well it fits, in thousandths, at most 1000.
    pub score_milli: u32,
}

#[derive(Debug)]
struct Model {
    table: Table,
    directions: Vec<Vec<f64>>,
    postings: HashMap<String, Vec<(usize, u32)>>,
    lengths: Vec<f64>,
    length_mean: f64,
    hash: String,
}

/// The search. Cloning it is cheap.
#[derive(Debug, Clone)]
pub struct Search(Arc<Model>);

impl Search {
    /// The committed model, read once in a process.
    pub fn load() -> Self {
        static LOADED: OnceLock<Search> = OnceLock::new();
        let read = || Self::from_weights(WEIGHTS).expect("the committed weights are tested");
        LOADED.get_or_init(read).clone()
    }

    /// A model from the bytes of a weights file.
    /// # Errors  [`BadWeights`] when they are not this model's, trained on this corpus.
    pub fn from_weights(weights: &[u8]) -> Result<Self, BadWeights> {
        let mut source = Source::open(weights, NAME, corpus::hash())?;
        let dimensions = usize::from(source.u16()?);
        let mut terms = BTreeMap::new();
        for _ in 0..source.count(dimensions)? {
            let term = source.text()?.to_owned();
            terms.insert(term, (source.u16()?, Row::read(&mut source, dimensions)?));
        }
        let n = source.count(dimensions)?;
        let passages: Vec<Row> =
            (0..n).map(|_| Row::read(&mut source, dimensions)).collect::<Result<_, _>>()?;
        source.end()?;
        if n != corpus::passages().len() {
            return Err(BadWeights);
        }
        let directions = passages.iter().map(direction).collect();
        let table = Table { dimensions, terms, passages };
        Ok(Self(Arc::new(index(table, directions, sha256_hex(weights)))))
    }

    /// The bytes of a weights file.
    pub fn to_weights(table: &Table) -> Vec<u8> {
        let mut sink = Sink::new(NAME, corpus::hash());
        sink.u16(table.dimensions as u16);
        sink.u32(table.terms.len() as u32);
        for (term, (passages, row)) in &table.terms {
            sink.text(term);
            sink.u16(*passages);
            row.write(&mut sink);
        }
        sink.u32(table.passages.len() as u32);
        table.passages.iter().for_each(|row| row.write(&mut sink));
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

    /// Numbers in an embedding.
    pub fn dimensions(&self) -> usize {
        self.0.table.dimensions
    }

    /// How many tokens a text is: what the meter counts. For this model a token is a word.
    pub fn tokens(&self, text: &str) -> usize {
        words(text).count()
    }

    /// The direction of a text, of length one; all zero when the model knows none of its words.
    pub fn embed(&self, text: &str) -> Vec<f32> {
        self.direction_of(text).into_iter().map(|v| v as f32).collect()
    }

    /// The at most `k` passages that fit best, best first; none when the model knows no word of it.
    pub fn query(&self, text: &str, k: usize) -> Vec<Hit> {
        let model = &*self.0;
        let asked = self.direction_of(text);
        let lexical = model.lexical(text);
        let score = |i: usize| {
            let cosine: f64 = asked.iter().zip(&model.directions[i]).map(|(a, b)| a * b).sum();
            COSINE_SHARE * cosine.max(0.0) + (1.0 - COSINE_SHARE) * lexical[i]
        };
        let mut ranked: Vec<(f64, usize)> =
            (0..model.directions.len()).map(|i| (score(i), i)).filter(|s| s.0 > 0.0).collect();
        ranked.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        ranked.truncate(k);
        ranked.into_iter().map(|(score, i)| hit(&corpus::passages()[i], score)).collect()
    }

    /// The weighted sum of the terms' directions, brought to length one.
    fn direction_of(&self, text: &str) -> Vec<f64> {
        let table = &self.0.table;
        let mut sum = vec![0.0; table.dimensions];
        for (term, times) in count(terms(text).map(|t| (t, 1))) {
            let Some((passages, row)) = table.terms.get(&term) else { continue };
            let weight = weight(times, *passages, table.passages.len()) * f64::from(row.scale);
            sum.iter_mut().zip(&row.steps).for_each(|(s, v)| *s += weight * f64::from(*v));
        }
        unit(&mut sum);
        sum
    }
}

impl Model {
    /// The share, from 0 to 1, of the question's weight that each passage answers by its words.
    fn lexical(&self, text: &str) -> Vec<f64> {
        let n = self.lengths.len() as f64;
        let (mut scores, mut best) = (vec![0.0; self.lengths.len()], 0.0);
        for term in count(terms(text).map(|t| (t, 1))).into_keys() {
            let Some(found) = self.postings.get(&term) else { continue };
            let rarity = ln(1.0 + n / found.len() as f64);
            best += rarity * (SATURATION + 1.0);
            for &(i, times) in found {
                let stretch =
                    1.0 - LENGTH_SHARE + LENGTH_SHARE * self.lengths[i] / self.length_mean;
                let times = f64::from(times);
                scores[i] += rarity * times * (SATURATION + 1.0) / (times + SATURATION * stretch);
            }
        }
        if best > 0.0 {
            scores.iter_mut().for_each(|s| *s /= best);
        }
        scores
    }
}

/// How often each term of a passage occurs, its title counted in.
pub fn passage_terms(passage: &Passage) -> BTreeMap<String, u32> {
    let title = terms(passage.title).map(|t| (t, TITLE_TIMES));
    count(title.chain(terms(passage.text).map(|t| (t, 1))))
}

/// The weight of a term: dampened count times rarity.
pub fn weight(times: u32, passages: u16, all: usize) -> f64 {
    (1.0 + ln(f64::from(times))) * ln((all + 1) as f64 / (f64::from(passages) + 0.5))
}

/// Brings a row to length one; a row of zeros stays.
pub fn unit(row: &mut [f64]) {
    let length = row.iter().map(|v| v * v).sum::<f64>().sqrt();
    if length > 0.0 {
        row.iter_mut().for_each(|v| *v /= length);
    }
}

fn count(found: impl Iterator<Item = (String, u32)>) -> BTreeMap<String, u32> {
    let mut counts = BTreeMap::new();
    for (term, times) in found {
        *counts.entry(term).or_insert(0) += times;
    }
    counts
}

fn direction(row: &Row) -> Vec<f64> {
    let mut values: Vec<f64> = row.steps.iter().map(|&s| f64::from(s)).collect();
    unit(&mut values);
    values
}

/// Adds to the trained table what is counted from the corpus anew at each start.
fn index(table: Table, directions: Vec<Vec<f64>>, hash: String) -> Model {
    let mut postings: HashMap<String, Vec<(usize, u32)>> = HashMap::new();
    let mut lengths = Vec::new();
    for (i, passage) in corpus::passages().iter().enumerate() {
        let counts = passage_terms(passage);
        lengths.push(f64::from(counts.values().sum::<u32>()));
        for (term, times) in counts {
            postings.entry(term).or_default().push((i, times));
        }
    }
    let length_mean = lengths.iter().sum::<f64>() / lengths.len().max(1) as f64;
    Model { table, directions, postings, lengths, length_mean, hash }
}

fn hit(passage: &Passage, score: f64) -> Hit {
    Hit {
        id: passage.id,
        title: passage.title,
        source: passage.source(),
        passage: passage.text,
        score_milli: (score.clamp(0.0, 1.0) * 1000.0).round() as u32,
    }
}
