//! What may be asked of the ledger.

use alloy::primitives::{Address, B256};

use crate::domain::asset::{Asset, Network};
use crate::domain::commitment::{AuthorizationKey, Commitment};
use crate::domain::id::{AgentId, Fingerprint, Name, PaymentId, RequestId};
use crate::domain::ledger::agent::{Agent, Principal, Scope, TokenHash};
use crate::domain::ledger::budget::BudgetDef;
use crate::domain::ledger::channel::ChannelCommand;
use crate::domain::ledger::claim::{Accepted, Delivery};
use crate::domain::ledger::credit::CreditLimits;
use crate::domain::ledger::grants::{Allowance, Grant};
use crate::domain::ledger::hold::{CaptureProof, FinalBlock, VoidProof};
use crate::domain::ledger::metered::Metered;
use crate::domain::ledger::tab::TabCommand;
use crate::domain::money::{Amount, Nano};
use crate::domain::time::Timestamp;

/// A hold that is asked for. The ledger itself finds the budgets that apply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HoldAsk {
    /// Who spends.
    pub agent: AgentId,
    /// The payment it becomes: derived from agent, request and attempt.
    pub payment: PaymentId,
    /// For which request.
    pub request: RequestId,
    /// Which attempt at it: 0, or the next after one that ended unpaid.
    pub attempt: u32,
    /// What the request says, condensed.
    pub fingerprint: Fingerprint,
    /// What would be signed; its nonce was made from the payment id.
    pub commitment: Commitment,
    /// The worst case in the unit of account.
    pub nano: Nano,
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
    /// The policy that allowed it: a newer one in force refuses it.
    pub policy_version: u32,
    /// The process that asks.
    pub boot: u64,
}

/// One thing asked of the ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Pin a rail's genesis; again with the same hash changes nothing.
    PinRail {
        /// The network.
        network: Network,
        /// Hash of its first block.
        genesis: B256,
    },
    /// Put a policy in force. The same document as the one in force changes nothing.
    ApplyPolicy {
        /// Every budget.
        budgets: Vec<BudgetDef>,
        /// The whole checked policy as JSON.
        document: String,
        /// Why.
        reason: String,
        /// Who.
        by: Principal,
    },
    /// Add an agent. Sub-agents come by [`Command::Delegate`].
    AddAgent {
        /// The agent.
        agent: Agent,
        /// Who.
        by: Principal,
    },
    /// Replace an agent's token.
    ReplaceToken {
        /// Whose.
        agent: Name,
        /// The new token's hash.
        token: TokenHash,
        /// Who.
        by: Principal,
    },
    /// Open a wallet; again with the same address changes nothing.
    OpenWallet {
        /// Its name.
        wallet: Name,
        /// Its address.
        address: Address,
    },
    /// Count money that entered or left a wallet by no payment of this ledger.
    SeeFunds {
        /// Whose wallet.
        wallet: Name,
        /// What.
        asset: Asset,
        /// Into the wallet.
        entered: Amount,
        /// Out of the wallet.
        left: Amount,
        /// After which final block it was counted; `None` at first sight. Another place than the
        /// ledger's refuses it, so that nothing is counted twice.
        after: Option<u64>,
        /// Up to which final block.
        up_to: u64,
    },
    /// Carve out a budget for a new sub-agent, which gets the parent's role, group and wallet.
    Delegate {
        /// Who carves it out.
        parent: AgentId,
        /// The sub-agent's name.
        child: Name,
        /// What proves that it is itself.
        token: TokenHash,
        /// How much.
        limit: Nano,
        /// Until when.
        until: Timestamp,
    },
    /// Stop signing for a scope.
    Pause {
        /// What.
        scope: Scope,
        /// Why.
        reason: String,
        /// Who.
        by: Principal,
    },
    /// Go on signing for a scope.
    Resume {
        /// What.
        scope: Scope,
        /// Who.
        by: Principal,
    },
    /// Set money aside.
    Hold(Box<HoldAsk>),
    /// Something about a payer's channel.
    Channel(ChannelCommand),
    /// Something about a payee's tab.
    Tab(TabCommand),
    /// Say that a signature left and no word came.
    Doubt {
        /// Which payment.
        payment: PaymentId,
    },
    /// Take what was held, or less.
    Capture {
        /// Which payment.
        payment: PaymentId,
        /// What was charged.
        amount: Amount,
        /// The transfer.
        transaction: B256,
        /// On whose word.
        proof: CaptureProof,
    },
    /// Confirm a capture by receipt from a final block.
    Verify {
        /// Which payment.
        payment: PaymentId,
        /// The transfer that the block shows.
        transaction: B256,
        /// What it moved.
        amount: Amount,
        /// The block.
        block: FinalBlock,
    },
    /// Give money back that nothing can draw.
    Void {
        /// Which payment.
        payment: PaymentId,
        /// How that is known.
        proof: VoidProof,
        /// The process that asks.
        boot: u64,
    },
    /// Give money back: the block is final, after the time limit, and shows the nonce unused.
    Expire {
        /// Which payment.
        payment: PaymentId,
        /// The block.
        block: FinalBlock,
    },
    /// Bind an authorization to a request.
    Accept(Box<Accepted>),
    /// Say that a settlement's outcome is open.
    DoubtClaim {
        /// Which claim.
        claim: AuthorizationKey,
        /// The transaction, where one was sent.
        transaction: Option<B256>,
    },
    /// Say what is charged for a claim with a maximum, before the rail is asked to settle it.
    ChargeClaim {
        /// Which claim.
        claim: AuthorizationKey,
        /// What is charged, at most what was authorized; nothing where nothing was used.
        amount: Amount,
    },
    /// Count what the rail moved to the payee.
    SettleClaim {
        /// Which claim.
        claim: AuthorizationKey,
        /// What moved.
        amount: Amount,
        /// The transfer.
        transaction: B256,
        /// The time of its block, in seconds since the epoch.
        moved_at_s: u64,
    },
    /// Say that the answer was given.
    Serve {
        /// Which claim.
        claim: AuthorizationKey,
        /// What was delivered.
        delivery: Delivery,
    },
    /// Say that the answer was given, before it is paid.
    ServeOnCredit {
        /// Which claim.
        claim: AuthorizationKey,
        /// What was delivered.
        delivery: Delivery,
        /// How much may be owed.
        limits: CreditLimits,
    },
    /// Give a call away. An order that was granted before changes nothing.
    Grant {
        /// The call.
        grant: Box<Grant>,
        /// What may be given away.
        allowance: Allowance,
    },
    /// Count what a call used.
    Meter(Box<Metered>),
    /// Give a claim up before anything was asked of the rail.
    ReleaseClaim {
        /// Which claim.
        claim: AuthorizationKey,
    },
    /// Say that a claim can never settle.
    KillClaim {
        /// Which claim.
        claim: AuthorizationKey,
    },
    /// Pay a due claim back from now on, and serve it no more.
    BeginRefund {
        /// Which claim.
        claim: AuthorizationKey,
    },
    /// Say that it was paid back.
    Refund {
        /// Which claim.
        claim: AuthorizationKey,
        /// The transfer back.
        transaction: B256,
    },
    /// Count gas.
    SpendGas {
        /// On which network.
        network: Network,
        /// In the native unit's atoms.
        amount: Amount,
        /// For which transaction.
        transaction: B256,
    },
}
