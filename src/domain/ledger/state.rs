//! What the ledger knows, and how it is looked at.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use alloy::primitives::{Address, B256};
use serde::{Deserialize, Serialize};

use crate::domain::asset::Network;
use crate::domain::channel::ChannelId;
use crate::domain::commitment::AuthorizationKey;
use crate::domain::id::{AgentId, DelegationId, Name, PaymentId, SessionId, WalletId};
use crate::domain::ledger::account::Account;
use crate::domain::ledger::agent::{Agent, Delegation, Scope, TokenHash};
use crate::domain::ledger::agents::Agents;
use crate::domain::ledger::books::Books;
use crate::domain::ledger::budget::{AccountKey, BudgetCheck, Per, Terms};
use crate::domain::ledger::caps::Caps;
use crate::domain::ledger::channel::Channels;
use crate::domain::ledger::claim::Claim;
use crate::domain::ledger::credit::Credit;
use crate::domain::ledger::grants::Grants;
use crate::domain::ledger::hold::Hold;
use crate::domain::ledger::requests::Requests;
use crate::domain::ledger::tab::Tab;
use crate::domain::ledger::table::Table;
use crate::domain::ledger::wallet::{Wallet, Wallets};
use crate::domain::ledger::window::{Bounds as WindowBounds, WindowSpec};
use crate::domain::money::Nano;
use crate::domain::time::Timestamp;

/// How much the ledger holds at most. Reached, it refuses; it never forgets money.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Open holds.
    pub holds_max: usize,
    /// Remembered requests.
    pub requests_max: usize,
    /// How long requests are remembered.
    pub request_memory: Duration,
    /// Remembered claims.
    pub claims_max: usize,
    /// Agents.
    pub agents_max: usize,
    /// Budget accounts.
    pub accounts_max: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            holds_max: 4_000_000,
            requests_max: 4_000_000,
            request_memory: Duration::from_secs(30 * 24 * 3600),
            claims_max: 4_000_000,
            agents_max: 4_000_000,
            accounts_max: 16_000_000,
        }
    }
}

/// How deep delegations nest.
pub const DELEGATION_DEPTH_MAX: usize = 8;

/// The ledger. A value: cloning it is a snapshot, and equal ledgers decide alike.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Ledger {
    #[serde(skip)]
    pub(super) bounds: Bounds,
    pub(super) now: Timestamp,
    pub(super) rails: BTreeMap<Network, B256>,
    pub(super) policy: Policy,
    pub(super) caps: Caps,
    pub(super) accounts: Table<AccountKey, Account>,
    pub(super) agents: Agents,
    pub(super) delegations: BTreeMap<DelegationId, Delegation>,
    pub(super) wallets: Wallets,
    pub(super) pauses: BTreeMap<Scope, String>,
    pub(super) holds: Table<PaymentId, Hold>,
    pub(super) requests: Requests,
    pub(super) channels: Channels,
    pub(super) tabs: BTreeMap<ChannelId, Tab>,
    pub(super) claims: BTreeMap<AuthorizationKey, Claim>,
    /// When each claim may be forgotten, in seconds: after its time limit, once it has ended.
    pub(super) forgettable: BTreeSet<(u64, AuthorizationKey)>,
    pub(super) books: Books,
    pub(super) grants: Grants,
    pub(super) credit: Credit,
}

/// The policy in force.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    /// 0 before the first.
    pub version: u32,
    /// The whole checked policy as JSON.
    pub document: String,
}

impl Ledger {
    /// An empty ledger.
    pub fn new(bounds: Bounds) -> Self {
        Self { bounds, ..Self::default() }
    }

    /// A ledger read from a snapshot: puts back what a snapshot does not carry.
    pub fn restored(mut self, bounds: Bounds) -> Self {
        self.bounds = bounds;
        self.caps.reindex();
        self.accounts.reindex();
        self.holds.reindex();
        self.wallets.reindex();
        self.agents.reindex(&self.wallets);
        self
    }

    /// The last event's time.
    pub const fn now(&self) -> Timestamp {
        self.now
    }

    /// The policy in force.
    pub const fn policy(&self) -> &Policy {
        &self.policy
    }

    /// The budgets, in force and former.
    pub const fn caps(&self) -> &Caps {
        &self.caps
    }

    /// The double-entry sums.
    pub const fn books(&self) -> &Books {
        &self.books
    }

    /// The remembered requests.
    pub const fn requests(&self) -> &Requests {
        &self.requests
    }

    /// The genesis that a network is pinned to.
    pub fn find_rail(&self, network: Network) -> Option<B256> {
        self.rails.get(&network).copied()
    }

    /// An agent by its id.
    pub fn find_agent(&self, agent: AgentId) -> Option<&Agent> {
        self.agents.find(agent).map(|found| found.agent)
    }

    /// The agent that a token proves.
    pub fn find_token(&self, token: &TokenHash) -> Option<&Agent> {
        self.agents.find_token(token)
    }

    /// All agents, by name.
    pub fn agents(&self) -> Vec<&Agent> {
        let mut agents: Vec<&Agent> = self.agents.iter().collect();
        agents.sort_by(|a, b| a.name.cmp(&b.name));
        agents
    }

    /// A delegated budget.
    pub fn find_delegation(&self, delegation: DelegationId) -> Option<&Delegation> {
        self.delegations.get(&delegation)
    }

    /// A wallet by its id.
    pub fn find_wallet(&self, wallet: WalletId) -> Option<&Wallet> {
        self.wallets.find(wallet)
    }

    /// The wallet of an address.
    pub fn find_wallet_at(&self, address: Address) -> Option<&Wallet> {
        self.wallets.find_address(&address)
    }

    /// All wallets, by name.
    pub fn wallets(&self) -> Vec<&Wallet> {
        let mut wallets: Vec<&Wallet> = self.wallets.iter().collect();
        wallets.sort_by(|a, b| a.name.cmp(&b.name));
        wallets
    }

    /// What is paused, and why.
    pub fn pauses(&self) -> impl Iterator<Item = (&Scope, &str)> {
        self.pauses.iter().map(|(scope, reason)| (scope, reason.as_str()))
    }

    /// An open payment: held, in doubt, or captured and not yet confirmed by the rail.
    pub fn find_hold(&self, payment: PaymentId) -> Option<&Hold> {
        self.holds.find(&payment)
    }

    /// The open payments, oldest first by when they were placed.
    pub fn holds(&self) -> Vec<&Hold> {
        let mut holds: Vec<&Hold> = self.holds.iter().map(|(_, hold)| hold).collect();
        holds.sort_by_key(|hold| (hold.placed_at, hold.held.payment));
        holds
    }

    /// How many payments are open.
    pub fn holds_len(&self) -> usize {
        self.holds.len()
    }

    /// A claim.
    pub fn find_claim(&self, claim: &AuthorizationKey) -> Option<&Claim> {
        self.claims.get(claim)
    }

    /// The claims that are remembered, in the order of their keys.
    pub fn claims(&self) -> impl Iterator<Item = &Claim> {
        self.claims.values()
    }

    /// The claims that have not ended, oldest first.
    pub fn open_claims(&self) -> Vec<&Claim> {
        let mut open: Vec<&Claim> = self.claims.values().filter(|claim| claim.is_open()).collect();
        open.sort_by_key(|claim| (claim.accepted_at, claim.accepted.key()));
        open
    }

    /// Every account of every budget in force as it stands at `now`, `asked` being nothing; by
    /// budget and subject. For one agent: see [`Ledger::accounts_of`].
    pub fn accounts(&self, now: Timestamp) -> Vec<BudgetCheck> {
        let keys = self.accounts.iter().map(|(key, _)| *key);
        let mut checks: Vec<BudgetCheck> =
            keys.filter_map(|key| self.check(key, Nano::ZERO, now)).collect();
        // A pool that nothing was spent from yet has no account: it is shown all the same.
        for (no, def) in self.caps.active() {
            let key = AccountKey { budget: no, subject: Default::default() };
            if def.per == Per::All && self.accounts.find(&key).is_none() {
                checks.extend(self.check(key, Nano::ZERO, now));
            }
        }
        checks.sort_by_key(|check| check.account);
        checks
    }

    /// The accounts that a payment of `agent` would come under, provider and model aside.
    pub fn accounts_of(
        &self,
        agent: AgentId,
        session: Option<&Name>,
        now: Timestamp,
    ) -> Vec<BudgetCheck> {
        let session = session.map(|name| SessionId::of_agent(agent, name));
        let keys = self.general_path(agent, session);
        keys.into_iter().filter_map(|key| self.check(key, Nano::ZERO, now)).collect()
    }

    /// An account's numbers at `now`, for a hold that asks for `asked`.
    fn check(&self, account: AccountKey, asked: Nano, now: Timestamp) -> Option<BudgetCheck> {
        if account.budget == AccountKey::DELEGATION {
            let delegation = self.delegations.get(&DelegationId::from_bytes(account.subject))?;
            return Some(self.look(account, &delegation.terms(), asked, now).check);
        }
        let cap = self.caps.find_cap(account.budget)?;
        Some(self.look(account, &cap.terms(), asked, now).check)
    }

    /// What an account under `terms` says to a hold that asks for `asked` at `now`.
    pub(super) fn look(
        &self,
        account: AccountKey,
        terms: &Terms<'_>,
        asked: Nano,
        now: Timestamp,
    ) -> Looked {
        let found = self.accounts.find(&account);
        let bounds = current_bounds(found, terms, now);
        let counted = found.map(|seen| seen.counted(terms.window, bounds, now)).unwrap_or_default();
        let resets_at = match terms.window {
            WindowSpec::Calendar { .. } => Some(bounds.until),
            WindowSpec::Rolling { span } => found.and_then(|seen| seen.oldest_leaves(*span, now)),
            WindowSpec::Session { .. } | WindowSpec::Lifetime => None,
        };
        let check = BudgetCheck {
            budget: terms.name.clone(),
            account,
            limit: terms.limit,
            spent: counted.spent,
            held: counted.held,
            asked,
            resets_at,
        };
        Looked { check, bounds, fresh: found.is_none() }
    }
}

/// What an account said.
pub(super) struct Looked {
    /// Its numbers.
    pub check: BudgetCheck,
    /// The window that a hold would count in.
    pub bounds: WindowBounds,
    /// Whether the account has seen nothing yet.
    pub fresh: bool,
}

/// The window in which `now` lies: the account's own while it lasts, else the newest that any account
/// of the budget has seen, and computed only at its edge. A session's account keeps its one window
/// for ever.
pub(super) fn current_bounds(
    account: Option<&Account>,
    terms: &Terms<'_>,
    now: Timestamp,
) -> WindowBounds {
    let fresh = || match (terms.window, terms.newest) {
        (WindowSpec::Calendar { .. }, Some(newest)) if newest.contain(now) => newest,
        _ => terms.window.bounds(now),
    };
    match account {
        Some(seen) if seen.bounds().contain(now) => seen.bounds(),
        Some(seen) if matches!(terms.window, WindowSpec::Session { .. }) => seen.bounds(),
        Some(seen) => {
            let fresh = fresh();
            // A new window begins where the last one ended, at the earliest: one that reached back, by
            // a change of clocks or of the time zone's rules, would not be an account's newest.
            let ended = seen.bounds().until;
            let from = if ended <= now { fresh.from.max(ended) } else { fresh.from };
            WindowBounds { from, ..fresh }
        }
        None => fresh(),
    }
}
