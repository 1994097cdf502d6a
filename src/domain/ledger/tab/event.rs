//! What happened on a payee's tabs. Variants are only ever added at the end.

use alloy::primitives::{B256, Signature};
use serde::{Deserialize, Serialize};

use crate::domain::asset::Asset;
use crate::domain::channel::{ChannelId, ChannelTerms};
use crate::domain::id::{Fingerprint, Name, PaymentId};
use crate::domain::ledger::claim::Delivery;
use crate::domain::ledger::tab::state::{Standing, Voucher};
use crate::domain::money::{Amount, Money};

/// A call that was charged: what it cost, and the voucher that stands for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Charged {
    /// On which channel.
    pub channel: ChannelId,
    /// In what.
    pub asset: Asset,
    /// What had been charged before it: another sum than the tab's refuses it.
    pub base: Amount,
    /// What it cost.
    pub amount: Amount,
    /// What the voucher says.
    pub ceiling: Amount,
    /// By the payer's authorizer.
    pub signature: Signature,
    /// What the call said, condensed.
    pub fingerprint: Fingerprint,
    /// The payer's name for the payment, where it gave one.
    pub payment: Option<PaymentId>,
    /// Who sold.
    pub provider: Name,
    /// What kind of work.
    pub capability: Name,
    /// With which model.
    pub model: Name,
    /// What was delivered.
    pub delivery: Delivery,
}

/// A call that is paid while it flows: the voucher that stands for it from now on, durable before
/// anything leaves that it pays for, and what was delivered until then.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stepped {
    /// The call as a whole, so far.
    pub call: Charged,
    /// What was charged of it since the step before.
    pub taken: Amount,
    /// Whether it is the call's first step.
    pub first: bool,
    /// Whether nothing more comes.
    pub ended: bool,
}

/// What the newest block showed of a channel, counted at once: journals had that until their format 3.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TabSeen {
    /// Of which channel.
    pub channel: ChannelId,
    /// What came in less what went back.
    pub balance: Amount,
    /// What was claimed in all.
    pub claimed: Amount,
    /// When what the payer asked to have back may be taken out, in seconds since the epoch.
    pub withdrawable_at_s: Option<u64>,
    /// By which transaction, where one of ours did it.
    pub transaction: Option<B256>,
    /// What was claimed since it was seen last, of what was charged.
    pub gained: Money,
    /// What was claimed and never charged here: this ledger is older than that.
    pub stray: Money,
    /// What was charged and can never be claimed.
    pub lost: Money,
}

/// What the newest block showed of a channel.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TabLooked {
    /// Of which channel.
    pub channel: ChannelId,
    /// What it showed.
    pub newest: Standing,
    /// When what the payer asked to have back may be taken out, in seconds since the epoch.
    pub withdrawable_at_s: Option<u64>,
}

/// What a final block showed of a channel, and what that says of the money.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TabCounted {
    /// Of which channel.
    pub channel: ChannelId,
    /// What it showed.
    pub counted: Standing,
    /// What was claimed since it was counted last, of what was charged.
    pub gained: Money,
    /// What was claimed and never charged here: this ledger is older than that.
    pub stray: Money,
    /// What was charged and can never be claimed.
    pub lost: Money,
}

impl TabSeen {
    /// What calls are served on from then on.
    pub(super) const fn looked(&self) -> TabLooked {
        let Self { channel, balance, claimed, withdrawable_at_s, .. } = *self;
        TabLooked { channel, newest: Standing { balance, claimed }, withdrawable_at_s }
    }

    pub(super) const fn counted(&self) -> TabCounted {
        let Self { channel, balance, claimed, gained, stray, lost, .. } = *self;
        TabCounted { channel, counted: Standing { balance, claimed }, gained, stray, lost }
    }
}

/// One fact about a payee's tab.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TabEvent {
    /// A channel is known from now on; nothing was charged on it.
    /// On restart: it is known.
    Opened {
        /// Its name.
        channel: ChannelId,
        /// Its terms.
        terms: ChannelTerms,
    },
    /// A call was charged, before its answer left.
    /// On restart: charged; the same call again gets the kept answer.
    Charged(Box<Charged>),
    /// The chain showed what lies in a channel and what was claimed. No longer written.
    /// On restart: as if it had been looked at and counted.
    Seen(Box<TabSeen>),
    /// A call that flows went on, or ended.
    /// On restart: charged for what was delivered by then. What left after the last step and was not
    /// written down is this payee's loss: less than one portion.
    Stepped(Box<Stepped>),
    /// The newest block showed what lies in a channel and what was claimed.
    /// On restart: calls are served on that until it is looked at again.
    Looked(Box<TabLooked>),
    /// A final block showed what lies in a channel and what was claimed.
    /// On restart: counted.
    Counted(Box<TabCounted>),
    /// A call was charged on credit, before its answer left: the voucher that it names is the newest, and
    /// does not cover it.
    /// On restart: charged, and owed until a voucher covers it.
    ChargedOnCredit(Box<Charged>),
    /// A voucher came with no call: it covers what was owed.
    /// On restart: it stands for what was charged.
    Covered {
        /// In which channel.
        channel: ChannelId,
        /// The voucher.
        voucher: Box<Voucher>,
    },
    /// Some of what lies in a channel was about to go back.
    /// On restart: nothing is charged on it until a block shows one refund more.
    GivingBack {
        /// Which channel.
        channel: ChannelId,
        /// How many refunds of it the newest block had shown before.
        refunds: u64,
    },
    /// What was to go back is gone, or was never sent, and what is left was looked at.
    /// On restart: calls are served on what is left.
    GivenBack {
        /// Which channel.
        channel: ChannelId,
    },
}

impl TabEvent {
    /// Its kind, for readable tables and logs.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Opened { .. } => "tab_opened",
            Self::Charged(_) => "tab_charged",
            Self::Seen(_) => "tab_seen",
            Self::Stepped(_) => "tab_stepped",
            Self::Looked(_) => "tab_looked",
            Self::Counted(_) => "tab_counted",
            Self::ChargedOnCredit(_) => "tab_charged_on_credit",
            Self::Covered { .. } => "tab_covered",
            Self::GivingBack { .. } => "tab_giving_back",
            Self::GivenBack { .. } => "tab_given_back",
        }
    }

    /// Whose it is.
    pub const fn channel(&self) -> ChannelId {
        match self {
            Self::Charged(call) | Self::ChargedOnCredit(call) => call.channel,
            Self::Stepped(stepped) => stepped.call.channel,
            Self::Seen(seen) => seen.channel,
            Self::Looked(looked) => looked.channel,
            Self::Counted(counted) => counted.channel,
            Self::Opened { channel, .. }
            | Self::Covered { channel, .. }
            | Self::GivingBack { channel, .. }
            | Self::GivenBack { channel } => *channel,
        }
    }

    /// What it says calls are served on, where it says that.
    pub fn looked(&self) -> Option<TabLooked> {
        match self {
            Self::Seen(seen) => Some(seen.looked()),
            Self::Looked(looked) => Some(**looked),
            _ => None,
        }
    }

    /// What it says was earned and lost, where it says that.
    pub fn counted(&self) -> Option<TabCounted> {
        match self {
            Self::Seen(seen) => Some(seen.counted()),
            Self::Counted(counted) => Some(**counted),
            _ => None,
        }
    }
}
