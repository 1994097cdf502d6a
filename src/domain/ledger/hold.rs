//! Holds: the payer's side of a payment.

use std::sync::Arc;

use alloy::primitives::B256;
use serde::{Deserialize, Serialize};

use crate::domain::commitment::Commitment;
use crate::domain::id::{AgentId, Fingerprint, Name, PaymentId, RequestId, WalletId};
use crate::domain::ledger::budget::Seat;
use crate::domain::money::{Amount, Money, Nano};
use crate::domain::time::Timestamp;

/// A hold as it is placed: SIGNABLE from its first instant, one sync. After a crash it is treated as
/// LIVE, because the signature may have left.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Held {
    /// The payment.
    pub payment: PaymentId,
    /// Who spends.
    pub agent: AgentId,
    /// For which request.
    pub request: RequestId,
    /// Which attempt at it, 0 first.
    pub attempt: u32,
    /// What the request says, condensed.
    pub fingerprint: Fingerprint,
    /// From which wallet.
    pub wallet: WalletId,
    /// What may be signed.
    pub commitment: Commitment,
    /// The worst case in the unit of account.
    pub nano: Nano,
    /// Where it counts: every budget that applies.
    pub seats: Vec<Seat>,
    /// The session, where the agent named one.
    pub session: Option<Name>,
    /// Who sells.
    pub provider: Name,
    /// What kind of work.
    pub capability: Name,
    /// With which model.
    pub model: Name,
    /// The quote it goes by.
    pub quote: B256,
    /// The policy that allowed it.
    pub policy_version: u32,
    /// The process that placed it: a later process cannot know that nothing was signed.
    pub boot: u64,
}

/// Where a payment stands.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum HoldState {
    /// Durable, in every budget; a signature may exist and may have left.
    Signable,
    /// A signature left and no word came: counts as spent until the rail speaks.
    Unknown,
    /// Captured on the payee's signed word; the rail has not confirmed it yet.
    Captured {
        /// What was charged.
        amount: Amount,
        /// What that counts in budgets.
        nano: Nano,
        /// The transfer that the receipt names.
        transaction: B256,
    },
}

/// An open payment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    /// As it was placed; the event's own.
    #[serde(with = "shared")]
    pub held: Arc<Held>,
    /// When.
    pub placed_at: Timestamp,
    /// Where it stands.
    pub state: HoldState,
}

impl Hold {
    /// What is held of the asset.
    pub fn money(&self) -> Money {
        Money { amount: self.held.commitment.amount_max, asset: self.held.commitment.asset }
    }
}

impl HoldState {
    /// Its name in refusals and tables.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Signable => "signable",
            Self::Unknown => "unknown",
            Self::Captured { .. } => "captured",
        }
    }
}

/// Why nothing can be drawn any more: what the rail showed on a final block.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct FinalBlock {
    /// Its hash.
    pub hash: B256,
    /// Its time, in seconds since the epoch.
    pub time_s: u64,
}

/// Why a hold was voided.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum VoidProof {
    /// This very process placed it and never released it to the signer.
    NeverSigned,
    /// A final block shows its nonce cancelled.
    Canceled {
        /// The cancelling transaction.
        transaction: B256,
        /// The block.
        block: FinalBlock,
    },
}

/// On whose word a capture stands.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum CaptureProof {
    /// The payee's signed receipt; the rail confirms it later.
    Receipt,
    /// A final block.
    Chain(FinalBlock),
}

/// What a final block made of a capture by receipt of a payment with a maximum.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Closed {
    /// Which payment.
    pub payment: PaymentId,
    /// The transfer; `None` where the time limit passed and nothing had moved.
    pub transaction: Option<B256>,
    /// The block.
    pub block: FinalBlock,
    /// What the receipt had said.
    pub captured: Money,
    /// What that counted in budgets.
    pub captured_nano: Nano,
    /// What moved.
    pub moved: Amount,
    /// What that counts in budgets.
    pub moved_nano: Nano,
    /// What was still held beside what was captured.
    pub rest: Amount,
    /// What that counted in budgets.
    pub rest_nano: Nano,
}

impl Closed {
    /// Whether the receipt told of a transfer that never came: the payment ended unpaid.
    pub const fn is_unpaid(&self) -> bool {
        self.moved.is_zero() && !self.captured.amount.is_zero()
    }
}

/// A shared hold is written as the hold itself.
pub(super) mod shared {
    use std::sync::Arc;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::Held;

    pub(in super::super) fn serialize<S: Serializer>(
        held: &Arc<Held>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        held.as_ref().serialize(serializer)
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Arc<Held>, D::Error> {
        Held::deserialize(deserializer).map(Arc::new)
    }
}
