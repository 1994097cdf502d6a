//! Weighted words and their truncated singular value decomposition, by subspace iteration: a block
//! of random directions is multiplied by the table of passages and terms and its transpose, and made
//! orthogonal, until it has turned into the leading ones.

use std::collections::BTreeMap;

use crate::models::corpus::Passage;
use crate::models::maths::Chance;
use crate::models::search::{Row, Table, passage_terms, unit, weight};

/// Directions that are kept.
const DIMENSIONS: usize = 112;

/// Rounds of the iteration; with four times as many the search answers no better.
const ROUNDS: usize = 12;

/// A term is kept when it occurs in at least so many passages.
const PASSAGES_MIN: u16 = 2;

/// Seed of the first directions.
const SEED: u64 = 402;

/// A passage as terms (by place) with weights; of length one.
type Sparse = Vec<(usize, f64)>;

/// Trains the table on these passages.
pub fn train(passages: &[Passage]) -> Table {
    let counted: Vec<BTreeMap<String, u32>> = passages.iter().map(passage_terms).collect();
    let mut spread: BTreeMap<&str, u16> = BTreeMap::new();
    for term in counted.iter().flat_map(|c| c.keys()) {
        *spread.entry(term).or_default() += 1;
    }
    spread.retain(|_, n| *n >= PASSAGES_MIN);
    let places: BTreeMap<&str, usize> =
        spread.keys().enumerate().map(|(place, term)| (*term, place)).collect();
    let rows: Vec<Sparse> = counted
        .iter()
        .map(|counts| {
            let known = counts.iter().filter_map(|(term, times)| {
                let place = *places.get(term.as_str())?;
                Some((place, weight(*times, spread[term.as_str()], passages.len())))
            });
            normal(known.collect())
        })
        .collect();
    let terms = directions(&rows, places.len());
    let passages = rows.iter().map(|row| Row::quantise(&project(row, &terms))).collect();
    let quantised = terms.iter().map(|row| Row::quantise(row));
    let terms = spread.iter().zip(quantised).map(|((t, n), row)| ((*t).to_owned(), (*n, row)));
    Table { dimensions: DIMENSIONS, terms: terms.collect(), passages }
}

/// The row brought to length one.
fn normal(row: Sparse) -> Sparse {
    let (places, mut weights): (Vec<usize>, Vec<f64>) = row.into_iter().unzip();
    unit(&mut weights);
    places.into_iter().zip(weights).collect()
}

/// For each term its place along the leading directions: the right singular vectors.
fn directions(rows: &[Sparse], terms: usize) -> Vec<Vec<f64>> {
    let mut chance = Chance::new(SEED);
    let mut block: Vec<Vec<f64>> =
        rows.iter().map(|_| (0..DIMENSIONS).map(|_| chance.unit() - 0.5).collect()).collect();
    orthogonalise(&mut block);
    for _ in 0..ROUNDS {
        let turned = transposed(rows, &block, terms);
        block = rows.iter().map(|row| project(row, &turned)).collect();
        orthogonalise(&mut block);
    }
    let mut leading = transposed(rows, &block, terms);
    orthogonalise(&mut leading);
    leading
}

/// The passage's row times the terms' directions.
fn project(row: &Sparse, terms: &[Vec<f64>]) -> Vec<f64> {
    let mut sum = vec![0.0; DIMENSIONS];
    for (place, weight) in row {
        add(&mut sum, &terms[*place], *weight);
    }
    sum
}

/// The transposed table times the passages' directions.
fn transposed(rows: &[Sparse], block: &[Vec<f64>], terms: usize) -> Vec<Vec<f64>> {
    let mut sums = vec![vec![0.0; DIMENSIONS]; terms];
    for (row, direction) in rows.iter().zip(block) {
        for (place, weight) in row {
            add(&mut sums[*place], direction, *weight);
        }
    }
    sums
}

fn add(to: &mut [f64], what: &[f64], times: f64) {
    to.iter_mut().zip(what).for_each(|(t, w)| *t += w * times);
}

/// Makes the columns of a block orthogonal and of length one, from the left (Gram-Schmidt).
fn orthogonalise(block: &mut [Vec<f64>]) {
    let mut columns: Vec<Vec<f64>> =
        (0..DIMENSIONS).map(|j| block.iter().map(|row| row[j]).collect()).collect();
    for j in 0..DIMENSIONS {
        let (done, rest) = columns.split_at_mut(j);
        let own = &mut rest[0];
        for before in done {
            let along: f64 = own.iter().zip(before.iter()).map(|(a, b)| a * b).sum();
            add(own, before, -along);
        }
        unit(own);
    }
    for (i, row) in block.iter_mut().enumerate() {
        row.iter_mut().zip(&columns).for_each(|(value, column)| *value = column[i]);
    }
}
