//! What happened. Each event's documentation says what a restart makes of it.
//!
//! Variants are only ever added at the end: their position is their name in the journal.

use std::sync::Arc;

use alloy::primitives::{Address, B256};
use serde::{Deserialize, Serialize};

use crate::domain::asset::{Asset, Network};
use crate::domain::commitment::AuthorizationKey;
use crate::domain::id::{DelegationId, Name, PaymentId};
use crate::domain::ledger::agent::{Agent, Delegation, Principal, Scope, TokenHash};
use crate::domain::ledger::budget::{BudgetDef, BudgetNo};
use crate::domain::ledger::channel::ChannelEvent;
use crate::domain::ledger::claim::{Accepted, Delivery};
use crate::domain::ledger::grants::Grant;
use crate::domain::ledger::hold::{CaptureProof, Closed, FinalBlock, Held, VoidProof, shared};
use crate::domain::ledger::metered::Metered;
use crate::domain::ledger::tab::TabEvent;
use crate::domain::money::{Amount, Money, Nano};

/// One fact.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Event {
    /// A rail was pinned: this ledger's money lives on that chain and on no other of its name.
    /// On restart: another genesis under the same network is refused.
    RailPinned {
        /// The network.
        network: Network,
        /// Hash of its first block.
        genesis: B256,
    },
    /// A policy took effect.
    /// On restart: the last one is in force; `document` gives roles and permissions back.
    PolicyApplied {
        /// 1 first.
        version: u32,
        /// Every budget, with its number for life.
        budgets: Vec<(BudgetNo, BudgetDef)>,
        /// The whole checked policy as JSON.
        document: String,
        /// Why, in the operator's words.
        reason: String,
        /// Who.
        by: Principal,
    },
    /// An agent was added.
    /// On restart: it is there, with its token's hash.
    AgentAdded {
        /// The agent.
        agent: Agent,
        /// Who added it.
        by: Principal,
    },
    /// An agent's token was replaced: the old one proves nothing any more.
    /// On restart: the new one counts.
    TokenReplaced {
        /// Whose.
        agent: Name,
        /// The new token's hash.
        token: TokenHash,
        /// Who replaced it.
        by: Principal,
    },
    /// A wallet was opened.
    /// On restart: it is there; its key is the signer's business.
    WalletOpened {
        /// Its name.
        wallet: Name,
        /// Its address.
        address: Address,
    },
    /// A rail showed money entering or leaving a wallet by no payment of this ledger.
    /// On restart: counted again, from the same block on.
    FundsSeen {
        /// Whose wallet.
        wallet: Name,
        /// What.
        asset: Asset,
        /// Into the wallet.
        entered: Amount,
        /// Out of the wallet.
        left: Amount,
        /// Up to which final block everything was counted.
        up_to: u64,
    },
    /// An agent carved out a budget for a sub-agent.
    /// On restart: it is in force until its end.
    Delegated {
        /// The delegated budget.
        delegation: DelegationId,
        /// Its terms.
        terms: Delegation,
        /// The sub-agent's name; its role, group and wallet are the parent's.
        name: Name,
        /// What proves that it is itself.
        token: TokenHash,
    },
    /// Signing stopped for a scope. Holds stay.
    /// On restart: still stopped.
    Paused {
        /// What.
        scope: Scope,
        /// Why, in the operator's words.
        reason: String,
        /// Who.
        by: Principal,
    },
    /// Signing goes on for a scope.
    /// On restart: it goes on.
    Resumed {
        /// What.
        scope: Scope,
        /// Who.
        by: Principal,
    },
    /// Money was set aside, in every budget that applies, before anything was signed.
    /// On restart: counted as LIVE, because the signature may have left.
    Held(#[serde(with = "shared")] Arc<Held>),
    /// A signature left and no word came.
    /// On restart: stays held until the rail speaks.
    Doubted {
        /// Which payment.
        payment: PaymentId,
    },
    /// Money was taken: what was held above it returned. A receipt for less than the maximum of a payment
    /// takes what it says, and the rest stays held until a final block shows what moved.
    /// On restart: spent; a capture by receipt still waits for the rail's confirmation.
    Captured {
        /// Which payment.
        payment: PaymentId,
        /// What was charged.
        amount: Amount,
        /// What that counts in budgets.
        nano: Nano,
        /// The transfer.
        transaction: B256,
        /// On whose word.
        proof: CaptureProof,
        /// What is held no more by it.
        held: Money,
    },
    /// A final block showed the transfer that a capture by receipt named.
    /// On restart: nothing is left to do for it.
    PaymentVerified {
        /// Which payment.
        payment: PaymentId,
        /// The transfer.
        transaction: B256,
        /// The block.
        block: FinalBlock,
    },
    /// Money was given back, because nothing was signed or a cancel is final.
    /// On restart: free.
    Voided {
        /// Which payment.
        payment: PaymentId,
        /// How that is known.
        proof: VoidProof,
        /// What was held.
        held: Money,
    },
    /// Money was given back, because a final block after the time limit shows the nonce unused.
    /// On restart: free.
    Expired {
        /// Which payment.
        payment: PaymentId,
        /// The block.
        block: FinalBlock,
        /// What was held.
        held: Money,
    },
    /// A capture by receipt was taken back: a final block after the time limit shows the nonce unused,
    /// so the receipt lied and nothing moved.
    /// On restart: free, in the window of its hold.
    CaptureReversed {
        /// Which payment.
        payment: PaymentId,
        /// The block.
        block: FinalBlock,
        /// What had been captured.
        captured: Money,
        /// What that counted in budgets.
        nano: Nano,
    },
    /// A payee bound an authorization to a request.
    /// On restart: settled or dropped by the rail's word; never bound to another request.
    Accepted(Box<Accepted>),
    /// A settlement's outcome is open.
    /// On restart: the rail is asked again, with the same authorization.
    ClaimDoubted {
        /// Which claim.
        claim: AuthorizationKey,
        /// The transaction, where one was sent.
        transaction: Option<B256>,
    },
    /// The rail moved the money to the payee.
    /// On restart: a claim that is not served is due.
    ClaimSettled {
        /// Which claim.
        claim: AuthorizationKey,
        /// What moved.
        amount: Amount,
        /// The transfer.
        transaction: B256,
    },
    /// The answer was given.
    /// On restart: the same request gets the kept answer, or this receipt.
    Served {
        /// Which claim.
        claim: AuthorizationKey,
        /// What was delivered.
        delivery: Delivery,
        /// What was charged.
        amount: Amount,
    },
    /// The payee gave a claim up before anything was settled.
    /// On restart: the same request may come again with it.
    ClaimReleased {
        /// Which claim.
        claim: AuthorizationKey,
    },
    /// The rail showed that a claim can never settle. What was served for it is a loss.
    /// On restart: dead.
    ClaimDied {
        /// Which claim.
        claim: AuthorizationKey,
        /// What was served without being paid.
        loss: Amount,
    },
    /// A due claim was paid back.
    /// On restart: nothing is owed for it.
    Refunded {
        /// Which claim.
        claim: AuthorizationKey,
        /// The transfer back.
        transaction: B256,
        /// What was paid back.
        amount: Amount,
    },
    /// A settlement cost gas.
    /// On restart: counted.
    GasSpent {
        /// On which network.
        network: Network,
        /// In the native unit's atoms.
        amount: Amount,
        /// For which transaction.
        transaction: B256,
    },
    /// A due claim is being paid back.
    /// On restart: it is paid back by the same authorization, and not served.
    RefundBegun {
        /// Which claim.
        claim: AuthorizationKey,
    },
    /// Something about a payer's channel; see there for what a restart makes of it.
    Channel(ChannelEvent),
    /// Something about a payee's tab; see there for what a restart makes of it.
    Tab(TabEvent),
    /// A call was metered, on the side that bought it or on the one that sold it.
    /// On restart: a grant that was metered is served, and a free call's request is taken; calls of wares
    /// with tiers are counted.
    UsageMetered(Box<Metered>),
    /// A call was given away, by an order that its payer signed.
    /// On restart: counted; the same order is served by it, and another under its name is not.
    Granted(Box<Grant>),
    /// An answer was given before its payment was settled.
    /// On restart: settled by the rail's word, or a loss; counted against the payer's credit till then.
    ServedOnCredit {
        /// Which claim.
        claim: AuthorizationKey,
        /// What was delivered.
        delivery: Delivery,
        /// What is owed for it.
        amount: Amount,
    },
    /// The rail moved the money for what was served on credit.
    /// On restart: paid and served.
    CreditPaid {
        /// Which claim.
        claim: AuthorizationKey,
        /// What moved.
        amount: Amount,
        /// The transfer.
        transaction: B256,
        /// What of it had been booked as lost.
        lost: Amount,
    },
    /// A final block showed what a capture by receipt of a payment with a maximum came to: what moved is
    /// spent, whatever the receipt said, and the rest returned.
    /// On restart: nothing is left to do for it.
    PaymentClosed(Box<Closed>),
    /// What is charged for a claim with a maximum is known. Nothing else is ever settled for it.
    /// On restart: settled for this amount.
    ClaimCharged {
        /// Which claim.
        claim: AuthorizationKey,
        /// What is charged; at most what was authorized.
        amount: Amount,
    },
}

impl Event {
    /// Its kind, for readable tables and logs.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::RailPinned { .. } => "rail_pinned",
            Self::PolicyApplied { .. } => "policy_applied",
            Self::AgentAdded { .. } => "agent_added",
            Self::TokenReplaced { .. } => "token_replaced",
            Self::WalletOpened { .. } => "wallet_opened",
            Self::FundsSeen { .. } => "funds_seen",
            Self::Delegated { .. } => "delegated",
            Self::Paused { .. } => "paused",
            Self::Resumed { .. } => "resumed",
            Self::Held(_) => "held",
            Self::Doubted { .. } => "doubted",
            Self::Captured { .. } => "captured",
            Self::PaymentVerified { .. } => "payment_verified",
            Self::Voided { .. } => "voided",
            Self::Expired { .. } => "expired",
            Self::CaptureReversed { .. } => "capture_reversed",
            Self::Accepted(_) => "accepted",
            Self::ClaimDoubted { .. } => "claim_doubted",
            Self::ClaimSettled { .. } => "claim_settled",
            Self::Served { .. } => "served",
            Self::ClaimReleased { .. } => "claim_released",
            Self::ClaimDied { .. } => "claim_died",
            Self::Refunded { .. } => "refunded",
            Self::GasSpent { .. } => "gas_spent",
            Self::RefundBegun { .. } => "refund_begun",
            Self::Channel(event) => event.kind(),
            Self::Tab(event) => event.kind(),
            Self::UsageMetered(_) => "usage_metered",
            Self::Granted(_) => "granted",
            Self::ServedOnCredit { .. } => "served_on_credit",
            Self::CreditPaid { .. } => "credit_paid",
            Self::PaymentClosed(_) => "payment_closed",
            Self::ClaimCharged { .. } => "claim_charged",
        }
    }
}
