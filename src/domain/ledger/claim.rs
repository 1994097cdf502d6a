//! Claims: the payee's side of a hold.

use std::time::Duration;

use alloy::primitives::{Address, B256, Signature, keccak256};
use serde::{Deserialize, Serialize};

use crate::domain::commitment::{AuthorizationKey, Commitment, Scheme, TransferMethod};
use crate::domain::id::{Fingerprint, Name, PaymentId};
use crate::domain::money::Amount;
use crate::domain::order::Usage;
use crate::domain::time::Timestamp;

/// How long an ended claim is remembered after its time limit: the rail's finality, amply. Also how old
/// a transfer may be when it is bound: an older one may have paid a claim that is forgotten by now.
pub const CLAIM_MEMORY: Duration = Duration::from_secs(3600);

/// An authorization bound to one request, before anything is served: binding is the accept.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Accepted {
    /// What was signed.
    pub commitment: Commitment,
    /// By the payer: kept, so that a crash loses no money that can still be settled.
    pub signature: Signature,
    /// The request that it pays, condensed; another request never gets this authorization.
    pub fingerprint: Fingerprint,
    /// The payer's name for the payment, where it gave one.
    pub payment: Option<PaymentId>,
    /// Who sells.
    pub provider: Name,
    /// What kind of work.
    pub capability: Name,
    /// With which model.
    pub model: Name,
    /// The price; where a maximum was authorized that maximum, until it is known what is charged.
    pub amount: Amount,
}

impl Accepted {
    /// The authorization's name on the rail.
    pub const fn key(&self) -> AuthorizationKey {
        self.commitment.key()
    }

    /// Who pays.
    pub const fn payer(&self) -> Address {
        self.commitment.payer
    }

    /// What pays it back: the same amount the other way, before `valid_before_s`. Its nonce follows
    /// from the claim's name, so that however often it is signed it moves at most once. What came by
    /// Permit2 goes back by it, which the payee has to have approved for that.
    pub fn refund(&self, valid_before_s: u64) -> Commitment {
        let AuthorizationKey { asset, payer, nonce } = self.key();
        let name = [
            b"bursar refund".as_slice(),
            &asset.network.chain_id().to_be_bytes(),
            asset.contract.as_slice(),
            payer.as_slice(),
            nonce.as_slice(),
        ];
        let method = match self.commitment.method {
            TransferMethod::Eip3009 => TransferMethod::Eip3009,
            TransferMethod::Permit2
            | TransferMethod::Permit2Sponsored
            | TransferMethod::Permit2By(_) => TransferMethod::Permit2,
        };
        Commitment {
            scheme: Scheme::Exact,
            method,
            payer: self.commitment.pay_to,
            pay_to: payer,
            amount_max: self.amount,
            valid_after_s: 0,
            valid_before_s,
            nonce: keccak256(name.concat()),
            ..self.commitment
        }
    }
}

/// Where a claim stands. Settling and serving are two facts, in either order.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ClaimState {
    /// Bound; nothing was asked of the rail.
    Accepted,
    /// The rail was asked and nobody knows: the money may be ours.
    Unknown,
    /// The money is ours, and the answer is owed: a `due` item until it is served or refunded.
    Due {
        /// The transfer.
        transaction: B256,
    },
    /// Paid and served.
    Served {
        /// The transfer.
        transaction: B256,
    },
    /// Given up before anything was settled; the same request may come again with it.
    Released,
    /// It can never settle.
    Dead,
    /// Paid, not served, and being paid back: it is not served any more.
    Refunding {
        /// The transfer that paid it.
        transaction: B256,
    },
    /// Paid, not served, and paid back.
    Refunded,
    /// Served, and not paid yet.
    Credited,
    /// Served, and never paid: a loss, until it is paid after all.
    Lost,
    /// What is charged of the maximum is known; nothing was asked of the rail.
    Charged,
}

impl ClaimState {
    /// Its name in refusals and tables.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Unknown => "unknown",
            Self::Due { .. } => "due",
            Self::Served { .. } => "served",
            Self::Released => "released",
            Self::Dead => "dead",
            Self::Refunding { .. } => "refunding",
            Self::Refunded => "refunded",
            Self::Credited => "credited",
            Self::Lost => "lost",
            Self::Charged => "charged",
        }
    }
}

/// A claim as the ledger knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    /// As it was bound.
    pub accepted: Accepted,
    /// When it was bound first.
    pub accepted_at: Timestamp,
    /// Where it stands.
    pub state: ClaimState,
    /// What was delivered.
    pub delivery: Option<Delivery>,
}

impl Claim {
    /// Whether a transfer at `moved_at_s` (seconds since the epoch, by the chain's clock) may be what
    /// pays this claim. The chain moves money before a time limit only, and no claim is forgotten within
    /// [`CLAIM_MEMORY`] after its limit: a transfer that old when this claim was bound may have paid
    /// another one, that was served.
    pub fn may_be_paid_by(&self, moved_at_s: u64) -> bool {
        moved_at_s.saturating_add(CLAIM_MEMORY.as_secs()) > self.accepted_at.as_secs()
    }

    /// Whether something is left to do: settle, serve, pay back, or find out.
    pub const fn is_open(&self) -> bool {
        match self.state {
            ClaimState::Accepted
            | ClaimState::Charged
            | ClaimState::Unknown
            | ClaimState::Due { .. }
            | ClaimState::Refunding { .. }
            | ClaimState::Credited => true,
            ClaimState::Served { .. }
            | ClaimState::Released
            | ClaimState::Dead
            | ClaimState::Refunded
            | ClaimState::Lost => false,
        }
    }
}

/// What a claim's answer was, by its numbers.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Delivery {
    /// What was used.
    pub usage: Usage,
    /// SHA-256 of the answer's bytes.
    pub answer: B256,
}
