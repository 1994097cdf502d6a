//! Why the ledger refuses. Refused means unchanged.

use alloy::primitives::B256;

use crate::domain::asset::{Asset, Network};
use crate::domain::channel::ChannelId;
use crate::domain::commitment::AuthorizationKey;
use crate::domain::fault::{Class, Fault};
use crate::domain::id::{AgentId, Name, PaymentId, RequestId};
use crate::domain::ledger::agent::Scope;
use crate::domain::ledger::budget::BudgetCheck;
use crate::domain::ledger::window::WindowError;
use crate::domain::money::{Amount, Nano};
use crate::domain::time::Timestamp;

/// A refusal, with the numbers at that instant.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// A budget has no room for the worst case.
    #[error("budget {} has {} left of {}, {} asked", .0.budget, .0.left(), .0.limit, .0.asked)]
    OverBudget(Box<BudgetCheck>),
    /// No budget but a session's applies: no cap, no payment.
    #[error("no budget applies to {agent}: a payment needs a cap above it")]
    NoBudget {
        /// Whose payment.
        agent: AgentId,
    },
    /// The wallet has less than is asked.
    #[error("wallet {wallet} has {available} atomic units of {asset} available, {asked} asked")]
    InsufficientFunds {
        /// Which wallet.
        wallet: Name,
        /// Of what.
        asset: Asset,
        /// Neither spent nor held.
        available: Amount,
        /// What was asked.
        asked: Amount,
    },
    /// No agent has this id.
    #[error("no agent has the id {0}")]
    UnknownAgent(AgentId),
    /// No wallet has this name.
    #[error("no wallet is called {0}")]
    UnknownWallet(Name),
    /// Signing is paused.
    #[error("{scope} is paused: {reason}")]
    Paused {
        /// What is paused.
        scope: Scope,
        /// Why, in the operator's words.
        reason: String,
    },
    /// Another policy is in force by now.
    #[error("the policy in force is version {current}, not {asked}")]
    StalePolicy {
        /// In force.
        current: u32,
        /// That the hold was allowed by.
        asked: u32,
    },
    /// The same request was seen before: its payment answers for it.
    #[error("the request {request} has the payment {payment}")]
    Exists {
        /// The request.
        request: RequestId,
        /// Its payment.
        payment: PaymentId,
    },
    /// The same request id came with other content.
    #[error("the request {request} was made before with other content, as {payment}")]
    RequestConflict {
        /// The request.
        request: RequestId,
        /// Its payment.
        payment: PaymentId,
    },
    /// The attempt is not the next one.
    #[error("the next attempt at {request} is {next}, not {asked}")]
    WrongAttempt {
        /// The request.
        request: RequestId,
        /// The next.
        next: u32,
        /// That was asked.
        asked: u32,
    },
    /// The request id is older than requests are remembered, or not a UUIDv7, or from the future.
    #[error(
        "the request id {request} is outside what is remembered, from {from} to {to}: make a fresh UUIDv7"
    )]
    RequestOutsideMemory {
        /// The request.
        request: RequestId,
        /// The oldest that is taken.
        from: Timestamp,
        /// The newest that is taken.
        to: Timestamp,
    },
    /// Another open payment has this id.
    #[error("{0} is another open payment's id")]
    PaymentTaken(PaymentId),
    /// A policy's budget has a window that cannot be computed.
    #[error("budget {budget}: {why}")]
    BadWindow {
        /// Which budget.
        budget: Name,
        /// What is wrong with it.
        why: WindowError,
    },
    /// The session's time is over.
    #[error("the session {session} ended at {ended}")]
    SessionEnded {
        /// Which.
        session: Name,
        /// When.
        ended: Timestamp,
    },
    /// The delegated budget's time is over.
    #[error("the delegated budget of {agent} ended at {ended}")]
    DelegationEnded {
        /// Whose.
        agent: AgentId,
        /// When.
        ended: Timestamp,
    },
    /// Zero, or more than the ledger counts in.
    #[error("the amount {amount} is outside 1 to {}", Amount::MAX)]
    AmountOutOfRange {
        /// What was asked.
        amount: Amount,
    },
    /// The worst case in the unit of account is zero or too large.
    #[error("the worst case {nano} is outside what a budget counts")]
    NanoOutOfRange {
        /// What was asked.
        nano: Nano,
    },
    /// The commitment pays from another address than the agent's wallet.
    #[error("the commitment does not pay from wallet {wallet}")]
    ForeignWallet {
        /// The agent's wallet.
        wallet: Name,
    },
    /// A bound of the ledger is reached.
    #[error("the ledger holds {bound} {what}, its bound")]
    Full {
        /// Of what.
        what: &'static str,
        /// How many at most.
        bound: u64,
    },
    /// No open payment has this id.
    #[error("no open payment has the id {0}")]
    UnknownPayment(PaymentId),
    /// The payment is past that.
    #[error("{payment} is {state}, so it cannot be {asked}")]
    WrongState {
        /// Which payment.
        payment: PaymentId,
        /// Where it stands.
        state: &'static str,
        /// What was asked.
        asked: &'static str,
    },
    /// More than was authorized, or for `exact` not just that.
    #[error("{payment} authorized {authorized}, {asked} asked")]
    ExceedsHold {
        /// Which payment.
        payment: PaymentId,
        /// What was authorized.
        authorized: Amount,
        /// What was asked.
        asked: Amount,
    },
    /// The block is not after the time limit: the authorization can still settle.
    #[error("{payment} can settle before {valid_before_s}, the block is of {block_time_s}")]
    StillLive {
        /// Which payment.
        payment: PaymentId,
        /// Its time limit, in seconds.
        valid_before_s: u64,
        /// The block's time, in seconds.
        block_time_s: u64,
    },
    /// The authorization is bound to another request.
    #[error("the authorization {} is bound to another request", .0.nonce)]
    BoundElsewhere(AuthorizationKey),
    /// No claim has this name.
    #[error("no claim is known for {}", .0.nonce)]
    UnknownClaim(AuthorizationKey),
    /// The claim is past that.
    #[error("the claim is {state}, so it cannot be {asked}")]
    WrongClaimState {
        /// Where it stands.
        state: &'static str,
        /// What was asked.
        asked: &'static str,
    },
    /// The rail moved, or the payer authorized, something else than was claimed.
    #[error("{claimed} was claimed, not {moved}")]
    AmountMismatch {
        /// What was claimed.
        claimed: Amount,
        /// What moved, or may.
        moved: Amount,
    },
    /// The rail's transfer is so much older than the claim that it may have paid another one, which is
    /// forgotten by now.
    #[error("what moved at {moved_at_s} is too old for what was bound at {accepted_at_s}")]
    MovedBefore {
        /// When the claim was bound, in seconds since the epoch.
        accepted_at_s: u64,
        /// The time of the transfer's block, in seconds since the epoch.
        moved_at_s: u64,
    },
    /// The free calls are used up.
    #[error("the {what} are used up: {bound} at most")]
    AllowanceSpent {
        /// Which of the bounds.
        what: &'static str,
        /// How many.
        bound: u64,
    },
    /// Another order was granted under this name.
    #[error("another order was granted as {0}")]
    GrantedElsewhere(PaymentId),
    /// No grant of this name waits to be served.
    #[error("no grant called {0} waits to be served")]
    UnknownGrant(PaymentId),
    /// No more is served to the payer before it pays.
    #[error("{owed} is owed of {limit} that may be")]
    NoCredit {
        /// What the payer owes.
        owed: Amount,
        /// The limit that stands in the way; nothing for who has not paid before.
        limit: Amount,
    },
    /// The name is taken by another.
    #[error("the name {0} is taken")]
    NameTaken(Name),
    /// Another wallet has this address: one key, one wallet.
    #[error("wallet {0} has this address already")]
    AddressTaken(Name),
    /// The token belongs to another agent.
    #[error("the token belongs to another agent")]
    TokenTaken,
    /// Delegations nest at most this deep.
    #[error("delegations nest at most {bound} deep")]
    TooDeep {
        /// The bound.
        bound: u32,
    },
    /// The chain behind a network is another than before.
    #[error(
        "{network} began with {pinned}, not with {found}: this ledger belongs to another chain"
    )]
    WrongGenesis {
        /// The network.
        network: Network,
        /// As pinned.
        pinned: B256,
        /// As found.
        found: B256,
    },
    /// Nothing would change.
    #[error("nothing would change")]
    Unchanged,
    /// More left a wallet than was in it: the books do not match the chain.
    #[error("{left} left wallet {wallet}, which had {had}")]
    FundsBelowZero {
        /// Which wallet.
        wallet: Name,
        /// What it had.
        had: Amount,
        /// What left.
        left: Amount,
    },
    /// No channel of ours has this name.
    #[error("no channel is called {0}")]
    UnknownChannel(ChannelId),
    /// The channel's last call, a deposit for it, or a refund of it is not concluded.
    #[error("the channel {channel} is busy: one thing at a time")]
    ChannelBusy {
        /// Which channel.
        channel: ChannelId,
    },
    /// Too many calls signed for more than they took, and a voucher for so little covers none of them.
    #[error(
        "the channel {channel} has {bound} calls that took less than was signed for: one for more than {asked} \
         covers some of them"
    )]
    ChannelCrowded {
        /// Which channel.
        channel: ChannelId,
        /// How many such calls it may have.
        bound: usize,
        /// For how much it was asked.
        asked: Amount,
    },
    /// Nothing more is signed for the channel.
    #[error("the channel {channel} is drawn on no more: {state}")]
    ChannelFrozen {
        /// Which channel.
        channel: ChannelId,
        /// Why.
        state: &'static str,
    },
    /// The channel serves another wallet, role or provider, or has other terms.
    #[error("the channel {channel} is for another wallet, role, provider or asset")]
    OtherChannel {
        /// Which channel.
        channel: ChannelId,
    },
    /// Less lies in the channel than is asked: it needs a deposit.
    #[error("the channel {channel} has room for {room} atomic units, {asked} asked")]
    ChannelEmpty {
        /// Which channel.
        channel: ChannelId,
        /// What may still be signed away.
        room: Amount,
        /// What was asked.
        asked: Amount,
    },
    /// More would lie locked than may.
    #[error("{locked} of {limit} lie locked for {provider}, {asked} more asked")]
    OverChannelCap {
        /// Where it would lie.
        provider: Name,
        /// What lies locked there, or in all.
        locked: Nano,
        /// What may.
        limit: Nano,
        /// What was asked.
        asked: Nano,
    },
    /// The deposit can still arrive.
    #[error("the deposit for {channel} can still arrive at that block")]
    DepositLive {
        /// For which channel.
        channel: ChannelId,
    },
    /// The deposit's time limit has passed.
    #[error("the deposit for {channel} has a time limit that has passed")]
    DepositOver {
        /// For which channel.
        channel: ChannelId,
    },
    /// The chain shows more than was put in, or less claimed than before: not what the books say.
    #[error("the channel {channel} shows {balance} with {claimed} claimed: not what the books say")]
    ChannelMismatch {
        /// Which channel.
        channel: ChannelId,
        /// What came in less what went back.
        balance: Amount,
        /// What was claimed.
        claimed: Amount,
    },
}

impl Fault for Rejection {
    fn code(&self) -> &'static str {
        match self {
            Self::OverBudget(_) => "ledger.over_budget",
            Self::NoBudget { .. } => "ledger.no_budget",
            Self::InsufficientFunds { .. } => "ledger.insufficient_funds",
            Self::UnknownAgent(_) => "ledger.unknown_agent",
            Self::UnknownWallet(_) => "ledger.unknown_wallet",
            Self::Paused { .. } => "ledger.paused",
            Self::StalePolicy { .. } => "ledger.stale_policy",
            Self::Exists { .. } => "ledger.exists",
            Self::RequestConflict { .. } => "ledger.request_conflict",
            Self::WrongAttempt { .. } => "ledger.wrong_attempt",
            Self::RequestOutsideMemory { .. } => "ledger.request_outside_memory",
            Self::PaymentTaken(_) => "ledger.payment_taken",
            Self::BadWindow { .. } => "ledger.bad_window",
            Self::SessionEnded { .. } => "ledger.session_ended",
            Self::DelegationEnded { .. } => "ledger.delegation_ended",
            Self::AmountOutOfRange { .. } => "ledger.amount_out_of_range",
            Self::NanoOutOfRange { .. } => "ledger.nano_out_of_range",
            Self::ForeignWallet { .. } => "ledger.foreign_wallet",
            Self::Full { .. } => "ledger.full",
            Self::UnknownPayment(_) => "ledger.unknown_payment",
            Self::WrongState { .. } => "ledger.wrong_state",
            Self::ExceedsHold { .. } => "ledger.exceeds_hold",
            Self::StillLive { .. } => "ledger.still_live",
            Self::BoundElsewhere(_) => "ledger.bound_elsewhere",
            Self::UnknownClaim(_) => "ledger.unknown_claim",
            Self::WrongClaimState { .. } => "ledger.wrong_claim_state",
            Self::AmountMismatch { .. } => "ledger.amount_mismatch",
            Self::MovedBefore { .. } => "ledger.moved_before",
            Self::AllowanceSpent { .. } => "ledger.allowance_spent",
            Self::GrantedElsewhere(_) => "ledger.granted_elsewhere",
            Self::UnknownGrant(_) => "ledger.unknown_grant",
            Self::NoCredit { .. } => "ledger.no_credit",
            Self::NameTaken(_) => "ledger.name_taken",
            Self::AddressTaken(_) => "ledger.address_taken",
            Self::TokenTaken => "ledger.token_taken",
            Self::TooDeep { .. } => "ledger.too_deep",
            Self::WrongGenesis { .. } => "ledger.wrong_genesis",
            Self::Unchanged => "ledger.unchanged",
            Self::FundsBelowZero { .. } => "ledger.funds_below_zero",
            Self::UnknownChannel(_) => "ledger.unknown_channel",
            Self::ChannelBusy { .. } => "ledger.channel_busy",
            Self::ChannelCrowded { .. } => "ledger.channel_crowded",
            Self::ChannelFrozen { .. } => "ledger.channel_frozen",
            Self::OtherChannel { .. } => "ledger.other_channel",
            Self::ChannelEmpty { .. } => "ledger.channel_empty",
            Self::OverChannelCap { .. } => "ledger.over_channel_cap",
            Self::DepositLive { .. } => "ledger.deposit_live",
            Self::DepositOver { .. } => "ledger.deposit_over",
            Self::ChannelMismatch { .. } => "ledger.channel_mismatch",
        }
    }

    fn class(&self) -> Class {
        match self {
            Self::OverBudget(_)
            | Self::InsufficientFunds { .. }
            | Self::Paused { .. }
            | Self::StalePolicy { .. }
            | Self::WrongAttempt { .. }
            | Self::Full { .. }
            | Self::ChannelBusy { .. }
            | Self::ChannelCrowded { .. }
            | Self::ChannelEmpty { .. }
            | Self::OverChannelCap { .. }
            | Self::DepositLive { .. }
            | Self::AllowanceSpent { .. }
            | Self::NoCredit { .. }
            | Self::StillLive { .. } => Class::Later,
            _ => Class::Final,
        }
    }
}
