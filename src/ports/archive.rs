//! What is remembered beside the ledger: answers for a day, and why each decision fell as it did.
//! Losing it loses no money: nothing here is part of what the ledger decides by.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::domain::commitment::AuthorizationKey;
use crate::domain::id::{AgentId, Name, PaymentId, RequestId};
use crate::domain::ledger::budget::BudgetCheck;
use crate::domain::money::{Money, Nano};
use crate::domain::order::Usage;
use crate::domain::policy::RuleCheck;
use crate::domain::time::Timestamp;
use crate::domain::x402::receipt::SignedReceipt;

/// Largest answer that is kept, in bytes.
pub const ANSWER_LEN_MAX: usize = 64 * 1024;

/// Why a payment was allowed or refused: every rule looked at, with the numbers at that instant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision {
    /// The payment; a refusal has one too.
    pub payment: PaymentId,
    /// Whose.
    pub agent: AgentId,
    /// For which request.
    pub request: RequestId,
    /// When.
    pub at: Timestamp,
    /// By which policy.
    pub policy_version: u32,
    /// The refusal's code; `None` where it was allowed.
    pub refused: Option<String>,
    /// The refusal in words.
    pub reason: Option<String>,
    /// The rules of the role, in the order they were looked at.
    pub rules: Vec<RuleCheck>,
    /// The budgets that applied.
    pub budgets: Vec<BudgetCheck>,
}

/// Which side's answer is meant.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum AnswerKey {
    /// The payer's: by its payment.
    Bought(PaymentId),
    /// The payee's: by the authorization that paid it.
    Sold(AuthorizationKey),
}

/// An answer that is kept so that the same request gets the same answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptAnswer {
    /// Its content type.
    pub content_type: String,
    /// Model name and weights' hash.
    pub model: String,
    /// The bytes; `None` where it was too large or a day has passed.
    pub body: Option<Bytes>,
    /// What was used.
    pub usage: Usage,
    /// The payee's signed word.
    pub receipt: Option<SignedReceipt>,
    /// What it cost, where a channel paid and no receipt says so.
    pub charge: Option<KeptCharge>,
}

/// What a call cost that a channel paid.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptCharge {
    /// Who was paid.
    pub provider: Name,
    /// How much.
    pub charged: Money,
    /// What that counts in budgets.
    pub nano: Nano,
}

/// Keeps what is worth remembering. Writes are best effort and never hold a payment up.
#[async_trait]
pub trait Archive: Send + Sync {
    /// Remembers a decision, in a bounded table.
    fn note(&self, decision: Decision);

    /// Keeps an answer for a day, its receipt for as long as requests are remembered. Waits until it
    /// is written.
    async fn keep_answer(&self, key: AnswerKey, answer: KeptAnswer, at: Timestamp);

    /// The kept answer.
    async fn find_answer(&self, key: AnswerKey) -> Option<KeptAnswer>;

    /// Why a payment was allowed or refused.
    async fn find_decision(&self, payment: PaymentId) -> Option<Decision>;
}

/// Remembers in memory: the in-memory twin.
#[derive(Clone, Default)]
pub struct MemoryArchive {
    answers: Arc<Mutex<HashMap<AnswerKey, KeptAnswer>>>,
    decisions: Arc<Mutex<HashMap<PaymentId, Decision>>>,
}

#[async_trait]
impl Archive for MemoryArchive {
    fn note(&self, decision: Decision) {
        self.decisions
            .lock()
            .expect("no holder of the decisions panics")
            .insert(decision.payment, decision);
    }

    async fn keep_answer(&self, key: AnswerKey, answer: KeptAnswer, _at: Timestamp) {
        self.answers.lock().expect("no holder of the answers panics").insert(key, answer);
    }

    async fn find_answer(&self, key: AnswerKey) -> Option<KeptAnswer> {
        self.answers.lock().expect("no holder of the answers panics").get(&key).cloned()
    }

    async fn find_decision(&self, payment: PaymentId) -> Option<Decision> {
        self.decisions.lock().expect("no holder of the decisions panics").get(&payment).cloned()
    }
}
