//! What may be asked of a payer's channels.

use alloy::primitives::B256;

use crate::domain::channel::{ChannelId, Deposit};
use crate::domain::id::PaymentId;
use crate::domain::ledger::channel::state::{Frozen, Opened};
use crate::domain::ledger::command::HoldAsk;
use crate::domain::ledger::hold::FinalBlock;
use crate::domain::money::{Amount, Nano};

/// What may lie locked, in the unit of account.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct ChannelCaps {
    /// At one provider.
    pub provider: Nano,
    /// In all.
    pub total: Nano,
}

/// What a payee said that a call cost.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Charge {
    /// Whose call.
    pub payment: PaymentId,
    /// How much; at most what was held for it.
    pub amount: Amount,
}

/// A voucher that is asked for: its sum is what was charged so far and the call's worst case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DrawAsk {
    /// The call, as any payment; its commitment's nonce is the channel's name.
    pub ask: HoldAsk,
    /// From which channel.
    pub channel: ChannelId,
    /// What the channel's last call cost: it has to be known before the next.
    pub last: Option<Charge>,
    /// What has to be put in first: held in the same record, or neither is.
    pub fund: Option<Fund>,
}

/// A deposit that goes with a call. What leaves less room than is wanted makes it smaller: the channel
/// caps, the wallet, and what the call's budgets could still spend at all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fund {
    /// What is wanted.
    pub deposit: Deposit,
    /// The least that does.
    pub least: Amount,
    /// What may lie locked.
    pub caps: ChannelCaps,
}

/// One thing asked of a payer's channels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChannelCommand {
    /// Know a channel from now on.
    Open(Box<Opened>),
    /// Hold money that shall lie in a channel, moved by the token's own EIP-3009. What comes with a call is
    /// moved as its commitment says.
    Deposit {
        /// In which.
        channel: ChannelId,
        /// How much, and by which authorization.
        deposit: Deposit,
        /// What may lie locked.
        caps: ChannelCaps,
        /// The policy that says so: a newer one in force refuses it.
        policy_version: u32,
    },
    /// Say that a deposit arrived.
    ConfirmDeposit {
        /// In which channel.
        channel: ChannelId,
        /// The transaction.
        transaction: B256,
        /// The block that shows it.
        block: FinalBlock,
    },
    /// Give a deposit back: the block is final, after its time limit, and shows its nonce unused.
    ExpireDeposit {
        /// For which channel.
        channel: ChannelId,
        /// The block.
        block: FinalBlock,
    },
    /// Hold a call's worst case in its budgets, and let a voucher be signed for it.
    Draw(Box<DrawAsk>),
    /// Hold one more portion of the last call, and let its next voucher be signed. What is asked for is
    /// that portion alone; it comes to what the call holds already.
    Extend(Box<DrawAsk>),
    /// Take what the last call cost.
    Charge {
        /// In which channel.
        channel: ChannelId,
        /// What it cost.
        charge: Charge,
    },
    /// Give the last call's worst case back: its voucher was never signed.
    Void {
        /// In which channel.
        channel: ChannelId,
        /// Whose call.
        payment: PaymentId,
        /// The process that asks.
        boot: u64,
    },
    /// Count what a final block shows of a channel.
    See {
        /// Which.
        channel: ChannelId,
        /// What came in less what went back.
        balance: Amount,
        /// What was claimed in all.
        claimed: Amount,
        /// The block.
        block: FinalBlock,
    },
    /// Take over how a channel stands from a voucher of ours that this ledger does not know: it is older
    /// than that.
    Resync {
        /// Which.
        channel: ChannelId,
        /// What was charged in all.
        charged: Amount,
        /// What the voucher says.
        ceiling: Amount,
    },
    /// Sign nothing more for a channel.
    Freeze {
        /// Which.
        channel: ChannelId,
        /// Why.
        why: Frozen,
    },
}
