//! A payee's tab.

use alloy::primitives::Signature;
use serde::{Deserialize, Serialize};

use crate::domain::channel::{ChannelId, ChannelTerms};
use crate::domain::id::{Fingerprint, PaymentId};
use crate::domain::money::Amount;
use crate::domain::time::Timestamp;

/// The newest voucher of a channel.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Voucher {
    /// So much may be claimed in all.
    pub ceiling: Amount,
    /// By the payer's authorizer.
    pub signature: Signature,
}

/// The last call that a channel paid: the same again is answered, and not charged.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct LastCharge {
    /// What had been charged before it.
    pub base: Amount,
    /// What it cost.
    pub amount: Amount,
    /// What it said, condensed.
    pub fingerprint: Fingerprint,
    /// The payer's name for it, where it gave one.
    pub payment: Option<PaymentId>,
    /// Whether more of it may come: it is paid while it flows.
    pub flows: bool,
}

/// What one block shows of a channel.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Standing {
    /// What came in less what went back.
    pub balance: Amount,
    /// What was claimed in all.
    pub claimed: Amount,
}

/// What the newest block shows of a channel.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Sight {
    /// What lies there.
    pub newest: Standing,
    /// When what the payer asked to have back may be taken out, in seconds since the epoch.
    pub withdrawable_at_s: Option<u64>,
}

impl Standing {
    /// Nothing came in.
    pub const EMPTY: Self = Self { balance: Amount::ZERO, claimed: Amount::ZERO };
}

/// A channel as its payee's ledger knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tab {
    /// The channel's name on the rail.
    pub id: ChannelId,
    /// Its terms.
    pub terms: ChannelTerms,
    /// As the newest block showed it.
    pub newest: Standing,
    /// As a final block showed it.
    pub counted: Standing,
    /// What was charged in all.
    pub charged: Amount,
    /// What of it was neither claimed on a final block nor lost.
    pub unearned: Amount,
    /// What was charged and can never be claimed.
    pub lost: Amount,
    /// What stands for it.
    pub voucher: Option<Voucher>,
    /// What had been charged before the call that the voucher came with, or what the one before it said where
    /// it came with none; nothing once a block showed more than that claimed: anybody can read the voucher
    /// then, and it lends nothing any more.
    pub voucher_base: Option<Amount>,
    /// What was lost of what was charged on credit; nothing more is lent until a voucher covers it.
    pub credit_lost: Amount,
    /// The last call.
    pub last: Option<LastCharge>,
    /// When what the payer asked to have back may be taken out, in seconds since the epoch.
    pub withdrawable_at_s: Option<u64>,
    /// When it was charged first since the last claim.
    pub unclaimed_since: Option<Timestamp>,
    /// When it paid a call last, or was opened.
    pub used_at: Timestamp,
    /// How many calls it paid.
    pub calls: u64,
    /// Where something of it may be on its way back: how many refunds the newest block had shown before.
    pub giving_back: Option<u64>,
}

impl Tab {
    /// A channel of which nothing is known but its terms.
    pub const fn new(id: ChannelId, terms: ChannelTerms, used_at: Timestamp) -> Self {
        let zero = Amount::ZERO;
        Self {
            id,
            terms,
            newest: Standing::EMPTY,
            counted: Standing::EMPTY,
            charged: zero,
            unearned: zero,
            lost: zero,
            voucher: None,
            voucher_base: None,
            credit_lost: zero,
            last: None,
            withdrawable_at_s: None,
            unclaimed_since: None,
            used_at,
            calls: 0,
            giving_back: None,
        }
    }

    /// As the newest block showed it, as far as anybody looked.
    pub const fn sight(&self) -> Sight {
        Sight { newest: self.newest, withdrawable_at_s: self.withdrawable_at_s }
    }

    /// Up to which sum a claim may go: what was charged, lies there still, and is signed for.
    pub fn claimable(&self) -> Amount {
        let signed = self.voucher.map_or(Amount::ZERO, |voucher| voucher.ceiling);
        self.charged.min(self.newest.balance).min(signed)
    }

    /// What was charged on credit, and neither signed for since nor lost.
    pub fn owed(&self) -> Amount {
        self.owed_at(self.charged)
    }

    /// The same if so much were charged in all.
    pub(super) fn owed_at(&self, charged: Amount) -> Amount {
        let signed = self.voucher.map_or(self.charged, |voucher| voucher.ceiling);
        less(less(charged, signed.max(self.newest.claimed)), self.credit_lost)
    }

    /// Whether the voucher was shown to nobody but its payee.
    pub fn is_voucher_secret(&self) -> bool {
        self.voucher_base.is_some_and(|base| self.newest.claimed <= base)
    }

    /// What can be claimed now and is not.
    pub fn due(&self) -> Amount {
        less(self.claimable(), self.newest.claimed)
    }

    /// What was charged, is not lost, and was not claimed by the newest block.
    pub fn unclaimed(&self) -> Amount {
        less(less(self.charged, self.lost), self.newest.claimed)
    }

    /// What lies there and was not charged.
    pub fn rest(&self) -> Amount {
        less(self.newest.balance, self.charged)
    }

    /// Whether something of it may be on its way back: what lies there is not known then.
    pub fn is_going_back(&self) -> bool {
        self.giving_back.is_some() && !planted!("served_while_it_goes_back")
    }

    /// Whether nothing is left that a later block could change the books by.
    pub fn is_settled(&self) -> bool {
        self.unclaimed().is_zero() && self.unearned.is_zero() && self.newest == self.counted
    }
}

/// What is left of `amount`, or nothing.
pub(super) fn less(amount: Amount, part: Amount) -> Amount {
    amount.checked_sub(part).unwrap_or(Amount::ZERO)
}
