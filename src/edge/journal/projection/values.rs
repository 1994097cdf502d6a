//! How values stand in the readable tables.

use rusqlite::ToSql;
use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSqlOutput, Value, ValueRef};

use alloy::primitives::Address;

use crate::domain::ledger::agent::Principal;
use crate::domain::money::Amount;

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
