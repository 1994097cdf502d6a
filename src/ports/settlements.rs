//! What a facilitator remembers of what it was asked to settle: durable before anything is sent, so that
//! neither a restart nor a second caller makes two grants of one payment.
//!
//! A ledger has no place for it: nothing is held here, bound to a request or served, and a facilitator's
//! own money is never moved. It is one row an authorization, forgotten some time after that has ended.

use std::collections::BTreeMap;
use std::sync::Mutex;

use async_trait::async_trait;

use crate::domain::commitment::AuthorizationKey;
use crate::domain::fault::{Class, Fault};
use crate::domain::money::Amount;
use crate::ports::rail::Settlement;

/// What is known of an authorization that was handed in to be settled.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Recorded {
    /// For how much: the first asker's charge stands.
    pub charge: Amount,
    /// What came of it and was told, or is not known yet.
    pub outcome: Option<Settlement>,
}

/// Why nothing was remembered or found.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the settlements' journal does not answer: {0}")]
pub struct SettlementsError(pub String);

impl Fault for SettlementsError {
    fn code(&self) -> &'static str {
        "settlements.unavailable"
    }

    fn class(&self) -> Class {
        Class::Later
    }
}

/// Remembers what was settled.
#[async_trait]
pub trait Settlements: Send + Sync {
    /// Writes down that `key` is to settle for `charge`, unless it is there: then what is there. Durable
    /// when it answers. The row may be forgotten once `ends_s`, in seconds since the epoch, is long past.
    ///
    /// # Errors
    /// [`SettlementsError`]; nothing may be sent then.
    async fn begin(
        &self,
        key: AuthorizationKey,
        charge: Amount,
        ends_s: u64,
    ) -> Result<Option<Recorded>, SettlementsError>;

    /// Writes down what came of it. Durable when it answers.
    ///
    /// # Errors
    /// [`SettlementsError`].
    async fn end(&self, key: AuthorizationKey, outcome: Settlement)
    -> Result<(), SettlementsError>;

    /// Takes back what was begun for `key`, of which nothing was sent, or of which all that was sent moves
    /// nothing. What was settled stays.
    ///
    /// # Errors
    /// [`SettlementsError`].
    async fn forget(&self, key: AuthorizationKey) -> Result<(), SettlementsError>;

    /// What is known of `key`.
    ///
    /// # Errors
    /// [`SettlementsError`].
    async fn find(&self, key: AuthorizationKey) -> Result<Option<Recorded>, SettlementsError>;
}

/// Remembers as long as it lives: the in-memory twin.
#[derive(Default)]
pub struct MemorySettlements(Mutex<BTreeMap<AuthorizationKey, Recorded>>);

#[async_trait]
impl Settlements for MemorySettlements {
    async fn begin(
        &self,
        key: AuthorizationKey,
        charge: Amount,
        _ends_s: u64,
    ) -> Result<Option<Recorded>, SettlementsError> {
        let mut rows = self.0.lock().expect("no holder of the rows panics");
        if let Some(there) = rows.get(&key) {
            return Ok(Some(*there));
        }
        rows.insert(key, Recorded { charge, outcome: None });
        Ok(None)
    }

    async fn end(
        &self,
        key: AuthorizationKey,
        outcome: Settlement,
    ) -> Result<(), SettlementsError> {
        let mut rows = self.0.lock().expect("no holder of the rows panics");
        if let Some(row) = rows.get_mut(&key) {
            row.outcome = Some(outcome);
        }
        Ok(())
    }

    async fn forget(&self, key: AuthorizationKey) -> Result<(), SettlementsError> {
        let mut rows = self.0.lock().expect("no holder of the rows panics");
        if rows.get(&key).is_some_and(|row| row.outcome.is_none()) {
            rows.remove(&key);
        }
        Ok(())
    }

    async fn find(&self, key: AuthorizationKey) -> Result<Option<Recorded>, SettlementsError> {
        Ok(self.0.lock().expect("no holder of the rows panics").get(&key).copied())
    }
}
