//! Payments that were ever held, for showing: also those that have ended and left the ledger's memory.
//! Nothing is decided by what is read here.

use std::sync::{Arc, Mutex};

use alloy::primitives::B256;
use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::domain::asset::Asset;
use crate::domain::id::{Name, PaymentId, RequestId};
use crate::domain::money::{Amount, Nano};
use crate::domain::time::Timestamp;
use crate::ports::journal::JournalError;
use crate::ports::usage::{UsageBy, UsageFilter, UsageRow};

/// Where a payment stood when it was last heard of.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PaymentState {
    /// Money is set aside; a signature may exist.
    Signable,
    /// A signature left and no word came.
    Unknown,
    /// Taken on the payee's word.
    Captured,
    /// Taken, and a final block shows it.
    Settled,
    /// Given back: nothing was signed, or a cancel is final.
    Void,
    /// Given back: it can no longer settle.
    Expired,
    /// Taken on the payee's word, and given back because the chain showed that nothing moved.
    Reversed,
    /// Charged by voucher: its channel says what is claimed.
    Charged,
}

/// One payment, as the journal's events tell it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PastPayment {
    /// The entry that held it: newer payments have higher ones.
    pub seq: u64,
    /// The payment.
    pub payment: PaymentId,
    /// Where it stands.
    pub state: PaymentState,
    /// Who spent.
    pub agent: Name,
    /// For which request.
    pub request: RequestId,
    /// Which attempt at it.
    pub attempt: u32,
    /// In which session.
    pub session: Option<Name>,
    /// Who sold.
    pub provider: Name,
    /// What kind of work.
    pub capability: Name,
    /// With which model.
    pub model: Name,
    /// In what.
    pub asset: Asset,
    /// The most that could move.
    pub amount_held: Amount,
    /// What was charged.
    pub amount_captured: Option<Amount>,
    /// What was held in budgets.
    pub nano_held: Nano,
    /// What counts as spent in budgets.
    pub nano_captured: Option<Nano>,
    /// The transfer.
    pub transaction: Option<B256>,
    /// When it was held.
    pub held_at: Timestamp,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
}

/// Which payments are asked for, newest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Look {
    /// Only those of these agents; `None` takes all.
    pub agents: Option<Vec<Name>>,
    /// Only those in this state.
    pub state: Option<PaymentState>,
    /// Only those held before this entry; `None` begins with the newest.
    pub before: Option<u64>,
    /// At most so many.
    pub limit: u32,
}

/// Shows payments.
#[async_trait]
pub trait History: Send + Sync {
    /// One payment, as of the last durable event.
    ///
    /// # Errors
    /// [`JournalError`] where the journal cannot be read.
    async fn find_payment(&self, payment: PaymentId) -> Result<Option<PastPayment>, JournalError>;

    /// Payments, newest first, as of the last durable event.
    ///
    /// # Errors
    /// [`JournalError`] where the journal cannot be read.
    async fn list_payments(&self, look: Look) -> Result<Vec<PastPayment>, JournalError>;

    /// Usage summed by `by`, most calls first, as of the last durable event. A bounded number of rows.
    ///
    /// # Errors
    /// [`JournalError`] where the journal cannot be read.
    async fn usage(&self, by: UsageBy, filter: UsageFilter) -> Result<Vec<UsageRow>, JournalError>;
}

/// Payments in memory: the in-memory twin.
#[derive(Clone, Default)]
pub struct MemoryHistory(Arc<Mutex<Vec<PastPayment>>>);

impl MemoryHistory {
    /// Puts a payment in, in the place of what was known of it.
    pub fn put(&self, payment: PastPayment) {
        let mut kept = self.0.lock().expect("no holder of the payments panics");
        kept.retain(|known| known.payment != payment.payment);
        kept.push(payment);
        kept.sort_by_key(|known| std::cmp::Reverse(known.seq));
    }
}

#[async_trait]
impl History for MemoryHistory {
    async fn find_payment(&self, payment: PaymentId) -> Result<Option<PastPayment>, JournalError> {
        let kept = self.0.lock().expect("no holder of the payments panics");
        Ok(kept.iter().find(|known| known.payment == payment).cloned())
    }

    async fn list_payments(&self, look: Look) -> Result<Vec<PastPayment>, JournalError> {
        let kept = self.0.lock().expect("no holder of the payments panics");
        let wanted = |known: &&PastPayment| {
            look.agents.as_ref().is_none_or(|agents| agents.contains(&known.agent))
                && look.state.is_none_or(|state| state == known.state)
                && look.before.is_none_or(|before| known.seq < before)
        };
        let most = usize::try_from(look.limit).unwrap_or(usize::MAX);
        Ok(kept.iter().filter(wanted).take(most).cloned().collect())
    }

    /// Nothing was metered here: payments are put in, and calls are not.
    async fn usage(&self, _: UsageBy, _: UsageFilter) -> Result<Vec<UsageRow>, JournalError> {
        Ok(Vec::new())
    }
}
