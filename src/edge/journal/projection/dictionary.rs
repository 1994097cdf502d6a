//! The words that rows share, by the numbers that stand for them.

use std::collections::HashMap;

use foldhash::fast::RandomState;
use rusqlite::{OptionalExtension, Transaction};

/// Words that are remembered; then the remembering begins anew.
const WORDS_MAX: usize = 100_000;

/// Numbers of words, as the tables have them.
#[derive(Default)]
pub(super) struct Dictionary(HashMap<String, i64, RandomState>);

impl Dictionary {
    /// Forgets them: some may never have been written.
    pub(super) fn forget(&mut self) {
        self.0.clear();
    }

    /// The number of `word`, which gets one where it has none.
    pub(super) fn number(&mut self, tx: &Transaction<'_>, word: &str) -> rusqlite::Result<i64> {
        if let Some(known) = self.0.get(word) {
            return Ok(*known);
        }
        let found = tx
            .prepare_cached("SELECT no FROM words WHERE word = ?1")?
            .query_row([word], |row| row.get(0))
            .optional()?;
        let number = match found {
            Some(number) => number,
            None => tx.prepare_cached("INSERT INTO words (word) VALUES (?1)")?.insert([word])?,
        };
        if self.0.len() >= WORDS_MAX {
            self.0.clear();
        }
        self.0.insert(word.to_owned(), number);
        Ok(number)
    }
}
