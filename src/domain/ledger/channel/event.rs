//! What happened in a payer's channels. Variants are only ever added at the end.

use std::sync::Arc;

use alloy::primitives::B256;
use serde::{Deserialize, Serialize};

use crate::domain::channel::{ChannelId, Deposit};
use crate::domain::id::PaymentId;
use crate::domain::ledger::channel::state::{ChannelState, Frozen, Opened, Turn};
use crate::domain::ledger::hold::{FinalBlock, Held, shared};
use crate::domain::money::{Amount, Money, Nano};

/// A call's worst case was held in every budget that applies, and a voucher may be signed for it. With
/// it comes what the channel's last call cost.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drawn {
    /// The call, as any hold.
    #[serde(with = "shared")]
    pub held: Arc<Held>,
    /// From which channel.
    pub channel: ChannelId,
    /// What was charged in all before it.
    pub charged: Amount,
    /// What the voucher says.
    pub ceiling: Amount,
    /// What was charged since the voucher before.
    pub taken: Amount,
    /// What it took and gave back of the payments before.
    pub turns: Vec<Turn>,
}

/// One more portion of a call was held, and its next voucher may be signed. The call is held anew as a
/// whole, where it counts as of now: what it held before goes into the place of the portion.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Extended {
    /// The call: its worst case is what it may still draw, with the new portion.
    #[serde(with = "shared")]
    pub held: Arc<Held>,
    /// From which channel.
    pub channel: ChannelId,
    /// What the voucher says.
    pub ceiling: Amount,
    /// What the call held until then.
    pub before: Nano,
    /// What it gave back of other payments.
    pub turns: Vec<Turn>,
}

/// A call's worst case was held in its budgets, and with it what has to be put into its channel first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Funded {
    /// What is put in, and by which authorization.
    pub deposit: Deposit,
    /// The same as money.
    pub money: Money,
    /// The call.
    pub drawn: Drawn,
}

/// What a final block showed of a channel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// Of which channel.
    pub channel: ChannelId,
    /// What came in less what went back.
    pub balance: Amount,
    /// What was claimed in all.
    pub claimed: Amount,
    /// The block.
    pub block: FinalBlock,
    /// What that took and gave back.
    pub turns: Vec<Turn>,
    /// What was taken.
    pub taken: Money,
    /// What came back into the wallet.
    pub returned: Money,
    /// What of that had been charged, and was never claimed.
    pub unclaimed: Money,
    /// Whether it is drawn on from now on.
    pub state: ChannelState,
}

/// One fact about a payer's channel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ChannelEvent {
    /// A channel was opened; nothing lies in it yet.
    /// On restart: it is known, and never opened again.
    Opened(Box<Opened>),
    /// Money was set aside for a channel, before its authorization was signed.
    /// On restart: on its way, until the chain says otherwise.
    DepositHeld {
        /// For which channel.
        channel: ChannelId,
        /// How much, and by which authorization.
        deposit: Box<Deposit>,
        /// The same as money.
        money: Money,
    },
    /// A deposit arrived.
    /// On restart: it lies in the channel.
    Deposited {
        /// In which channel.
        channel: ChannelId,
        /// How much.
        money: Money,
        /// The transaction.
        transaction: B256,
        /// The block that shows it.
        block: FinalBlock,
    },
    /// A deposit can arrive no more.
    /// On restart: free.
    DepositExpired {
        /// For which channel.
        channel: ChannelId,
        /// How much.
        money: Money,
        /// What was charged of it all the same: it was never paid.
        unclaimed: Box<Money>,
        /// The block.
        block: FinalBlock,
    },
    /// A voucher may be signed.
    /// On restart: counted as signed.
    Drawn(Drawn),
    /// What the last call cost is known, and no next one came.
    /// On restart: spent; what was held above it may be drawn still.
    Charged {
        /// In which channel.
        channel: ChannelId,
        /// What was charged in all.
        charged: Amount,
        /// What that took.
        turns: Vec<Turn>,
        /// The same as money.
        taken: Money,
    },
    /// The last call's voucher was never signed.
    /// On restart: free, but for what former vouchers cover.
    DrawVoided {
        /// In which channel.
        channel: ChannelId,
        /// Whose call.
        payment: PaymentId,
        /// What that gave back.
        turn: Turn,
    },
    /// A final block showed what was claimed and what came back.
    /// On restart: counted.
    Seen(Box<Seen>),
    /// Nothing more is signed for a channel.
    /// On restart: so it stays.
    Frozen {
        /// Which.
        channel: ChannelId,
        /// Why.
        why: Frozen,
    },
    /// The last call's next voucher may be signed.
    /// On restart: counted as signed.
    Extended(Extended),
    /// Money was set aside for a channel, and a voucher may be signed on it: both, before either is.
    /// On restart: the money is on its way, and the voucher counts as signed.
    Funded(Box<Funded>),
    /// The payee showed a voucher of ours that this ledger did not know.
    /// On restart: charged as it says; what may be drawn above that counts with the next voucher.
    Resynced {
        /// In which channel.
        channel: ChannelId,
        /// What was charged in all.
        charged: Amount,
        /// What the voucher says.
        ceiling: Amount,
        /// What that took.
        turns: Vec<Turn>,
        /// The same as money.
        taken: Money,
    },
}

impl ChannelEvent {
    /// Its kind, for readable tables and logs.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Opened(_) => "channel_opened",
            Self::DepositHeld { .. } => "deposit_held",
            Self::Deposited { .. } => "deposited",
            Self::DepositExpired { .. } => "deposit_expired",
            Self::Drawn(_) => "drawn",
            Self::Charged { .. } => "charged",
            Self::DrawVoided { .. } => "draw_voided",
            Self::Seen(_) => "channel_seen",
            Self::Frozen { .. } => "channel_frozen",
            Self::Extended(_) => "draw_extended",
            Self::Funded(_) => "funded",
            Self::Resynced { .. } => "channel_resynced",
        }
    }

    /// Whose it is.
    pub const fn channel(&self) -> ChannelId {
        match self {
            Self::Opened(opened) => opened.id,
            Self::Drawn(drawn) => drawn.channel,
            Self::Seen(seen) => seen.channel,
            Self::Extended(extended) => extended.channel,
            Self::Funded(funded) => funded.drawn.channel,
            Self::DepositHeld { channel, .. }
            | Self::Deposited { channel, .. }
            | Self::DepositExpired { channel, .. }
            | Self::Charged { channel, .. }
            | Self::DrawVoided { channel, .. }
            | Self::Resynced { channel, .. }
            | Self::Frozen { channel, .. } => *channel,
        }
    }

    /// The call that a voucher may be signed for by it.
    pub fn drawn(&self) -> Option<&Drawn> {
        match self {
            Self::Drawn(drawn) => Some(drawn),
            Self::Funded(funded) => Some(&funded.drawn),
            _ => None,
        }
    }

    /// What became of payments by it.
    pub fn turns(&self) -> &[Turn] {
        match self {
            Self::Drawn(Drawn { turns, .. })
            | Self::Charged { turns, .. }
            | Self::Resynced { turns, .. } => turns,
            Self::Funded(funded) => &funded.drawn.turns,
            Self::Seen(seen) => &seen.turns,
            Self::Extended(extended) => &extended.turns,
            Self::DrawVoided { turn, .. } => std::slice::from_ref(turn),
            Self::Opened(_)
            | Self::DepositHeld { .. }
            | Self::Deposited { .. }
            | Self::DepositExpired { .. }
            | Self::Frozen { .. } => &[],
        }
    }
}
