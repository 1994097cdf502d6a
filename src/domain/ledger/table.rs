//! Tables: millions of rows, found by what they hold.
//!
//! A hash map keeps room for twice its rows at worst, and here there are millions of them: so the rows
//! stand in one vector, in the order they came, and what is hashed is their numbers, four bytes each.

use std::hash::{BuildHasher, Hash};

use foldhash::fast::FixedState;
use hashbrown::HashTable;
use serde::{Deserialize, Serialize};

/// A row's number: for life, in a table that nothing is taken out of.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Row(u32);

impl Row {
    fn at(self) -> usize {
        usize::try_from(self.0).expect("a usize has 32 bits at least")
    }
}

/// Rows found by one of their values, of which it keeps no copy. Its order decides nothing.
#[derive(Clone, Debug, Default)]
pub(super) struct Index(HashTable<u32>);

impl Index {
    /// The row whose value is `value`, where `value_of` gives each row's.
    pub fn find<'a, T: Hash + Eq + 'a>(
        &self,
        value: &T,
        value_of: impl Fn(Row) -> &'a T,
    ) -> Option<Row> {
        self.0.find(hash(value), |row| value_of(Row(*row)) == value).copied().map(Row)
    }

    /// The row whose value is `value`, most likely: no row is looked at, so that now and then it is
    /// another's. For reading ahead only.
    pub fn guess<T: Hash>(&self, value: &T) -> Option<Row> {
        self.0.find(hash(value), |_| true).copied().map(Row)
    }

    /// The row whose value is `value`, or `new`, which is kept under it from now on.
    pub fn find_or_insert<'a, T: Hash + Eq + 'a>(
        &mut self,
        value: &T,
        new: Row,
        value_of: impl Fn(Row) -> &'a T,
    ) -> Row {
        let same = |row: &u32| value_of(Row(*row)) == value;
        let found_by = |row: &u32| hash(value_of(Row(*row)));
        Row(*self.0.entry(hash(value), same, found_by).or_insert(new.0).get())
    }

    /// Adds a row, under the value that `value_of` gives.
    pub fn insert<'a, T: Hash + 'a>(&mut self, row: Row, value_of: impl Fn(Row) -> &'a T) {
        let found_by = |row: &u32| hash(value_of(Row(*row)));
        self.0.insert_unique(found_by(&row.0), row.0, found_by);
    }

    /// Takes a row out, that has the value still.
    pub fn remove<T: Hash>(&mut self, row: Row, value: &T) {
        if let Ok(found) = self.0.find_entry(hash(value), |other| *other == row.0) {
            found.remove();
        }
    }
}

/// The same in every run: the ledger is a function of its events.
fn hash<T: Hash>(value: &T) -> u64 {
    FixedState::default().hash_one(value)
}

/// Rows by key. A snapshot carries the rows; [`Table::reindex`] makes the index from them.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Table<K, V> {
    rows: Vec<(K, V)>,
    #[serde(skip)]
    index: Index,
}

impl<K, V> Default for Table<K, V> {
    fn default() -> Self {
        Self { rows: Vec::new(), index: Index::default() }
    }
}

impl<K: PartialEq, V: PartialEq> PartialEq for Table<K, V> {
    fn eq(&self, other: &Self) -> bool {
        self.rows == other.rows
    }
}

impl<K: Hash + Eq, V> Table<K, V> {
    /// The number of the row of `key`.
    pub fn find_row(&self, key: &K) -> Option<Row> {
        self.index.find(key, |row| &self.row(row).0)
    }

    /// The number of the row of `key`, most likely: see [`Index::guess`].
    pub fn guess_row(&self, key: &K) -> Option<Row> {
        self.index.guess(key)
    }

    /// What is kept under `key`.
    pub fn find(&self, key: &K) -> Option<&V> {
        self.find_row(key).map(|row| self.at(row))
    }

    /// What is kept under `key`, to be changed.
    pub fn find_mut(&mut self, key: &K) -> Option<&mut V> {
        self.find_row(key).map(|row| self.at_mut(row))
    }

    /// The key of a row of this table.
    pub fn key_at(&self, row: Row) -> &K {
        &self.row(row).0
    }

    /// What is kept in a row of this table.
    pub fn at(&self, row: Row) -> &V {
        &self.row(row).1
    }

    /// What is kept in a row of this table, to be changed.
    pub fn at_mut(&mut self, row: Row) -> &mut V {
        &mut self.rows.get_mut(row.at()).expect("a row that was found is there").1
    }

    /// What is kept under `key`, or `new` from now on.
    pub fn find_or_insert(&mut self, key: K, new: impl FnOnce() -> V) -> &mut V {
        let row = self.place(&key);
        if row.at() == self.rows.len() {
            self.rows.push((key, new()));
        }
        self.at_mut(row)
    }

    /// Keeps `value` under a new key.
    pub fn add(&mut self, key: K, value: V) -> Row {
        let row = self.place(&key);
        assert!(row.at() == self.rows.len(), "what is added is not there yet");
        self.rows.push((key, value));
        row
    }

    /// Takes out what is kept under `key`. The last row gets its number: not for a table whose rows
    /// somebody remembers.
    pub fn remove(&mut self, key: &K) -> Option<V> {
        let row = self.find_row(key)?;
        let last = number(self.rows.len().checked_sub(1)?);
        self.index.remove(row, key);
        let (_, value) = self.rows.swap_remove(row.at());
        if let Some((moved, _)) = self.rows.get(row.at()) {
            self.index.remove(last, moved);
            self.index_row(row);
        }
        Some(value)
    }

    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// The rows, in the order they came.
    pub fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.rows.iter().map(|(key, value)| (key, value))
    }

    /// The rows' numbers, in the order they came.
    pub fn numbers(&self) -> impl Iterator<Item = Row> + use<K, V> {
        (0..self.rows.len()).map(number)
    }

    /// Makes the index again: a snapshot does not carry it.
    pub fn reindex(&mut self) {
        let mut index = Index::default();
        for row in self.numbers() {
            index.insert(row, |row| &self.row(row).0);
        }
        self.index = index;
    }

    /// The row of `key`; where there is none, the one after the last, which has to be pushed then.
    fn place(&mut self, key: &K) -> Row {
        let rows = &self.rows;
        let key_of = |row: Row| &rows.get(row.at()).expect("an indexed row is there").0;
        self.index.find_or_insert(key, number(rows.len()), key_of)
    }

    fn index_row(&mut self, row: Row) {
        let rows = &self.rows;
        self.index.insert(row, |row| &rows.get(row.at()).expect("an indexed row is there").0);
    }

    fn row(&self, row: Row) -> &(K, V) {
        self.rows.get(row.at()).expect("a row that was found is there")
    }
}

fn number(at: usize) -> Row {
    Row(u32::try_from(at).expect("the ledger's bounds keep its tables below 2^32 rows"))
}
