//! How values stand in the readable tables.

use rusqlite::ToSql;
use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSqlOutput, Value, ValueRef};

use alloy::primitives::Address;

use super::payments::asset_columns;
use crate::domain::asset::Asset;
use crate::domain::ledger::agent::Principal;
use crate::domain::money::Amount;
use crate::domain::time::Timestamp;

/// An amount: an integer, so that the shell can add it up, or text where 64 bits are too few.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(in crate::edge::journal) struct SqlAmount(pub(in crate::edge::journal) Amount);

impl ToSql for SqlAmount {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        let value = i64::try_from(self.0.get())
            .map_or_else(|_| Value::Text(self.0.to_string()), Value::Integer);
        Ok(ToSqlOutput::Owned(value))
    }
}

impl FromSql for SqlAmount {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        let units = match value {
            ValueRef::Integer(units) => u128::try_from(units).ok(),
            ValueRef::Text(_) => value.as_str()?.parse().ok(),
            ValueRef::Null | ValueRef::Real(_) | ValueRef::Blob(_) => None,
        };
        units.map(|units| Self(Amount::new(units))).ok_or(FromSqlError::InvalidType)
    }
}

/// Who asked, in words.
pub(super) fn principal(by: &Principal) -> String {
    match by {
        Principal::Operator => "operator".to_owned(),
        Principal::Node => "node".to_owned(),
        Principal::Agent(agent) => agent.to_string(),
    }
}

/// An address in lower case: the mixed case of EIP-55 costs a hash for each.
pub(super) fn lower(address: &Address) -> String {
    format!("{address:#x}")
}

/// An asset's two columns: asked again and again for the same asset, they are made once.
#[derive(Default)]
pub(super) struct AssetWords(Option<(Asset, [String; 2])>);

impl AssetWords {
    pub(super) fn of(&mut self, asset: Asset) -> &[String; 2] {
        if self.0.as_ref().is_none_or(|(last, _)| *last != asset) {
            self.0 = None;
        }
        &self.0.get_or_insert_with(|| (asset, asset_columns(asset))).1
    }
}

/// Times in words: those of one second differ in three digits.
#[derive(Default)]
pub(super) struct Words {
    second: Option<u64>,
    text: String,
}

impl Words {
    /// The same as `at.to_string()`.
    pub(super) fn of(&mut self, at: Timestamp) -> &str {
        let second = Some(at.as_millis() / 1000);
        let millis = format!(".{:03}Z", at.as_millis() % 1000);
        let before = self.text.len().saturating_sub(millis.len());
        if self.second == second && self.text.ends_with('Z') {
            self.text.replace_range(before.., &millis);
        } else {
            self.second = second;
            self.text = at.to_string();
        }
        &self.text
    }
}

/// Rows after which the tables' thread lets others go first. It works for long at a time, and whoever
/// answers for money should wait for it no longer than that.
const ROWS_AT_ONCE: u32 = 64;

/// Keeps the tables' thread from holding a core while others want it.
#[derive(Default)]
pub(super) struct Pace(u32);

impl Pace {
    /// One row more is written.
    pub(super) fn step(&mut self) {
        self.0 = self.0.saturating_add(1);
        if self.0 >= ROWS_AT_ONCE {
            self.0 = 0;
            std::thread::yield_now();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_in_words_are_those_of_each_alone() {
        let mut words = Words::default();
        for millis in [0, 1, 999, 1_000, 1_800_000_000_000, 1_800_000_000_017, 1_800_000_001_017] {
            let at = Timestamp::from_millis(millis);
            assert_eq!(words.of(at), at.to_string());
        }
        for at in [Timestamp::from_nanos(u64::MAX), Timestamp::ZERO] {
            assert_eq!(words.of(at), at.to_string());
        }
    }
}
