//! The decision that everything else is for: whether money may be set aside.

use crate::domain::id::{AgentId, DelegationId, ProviderId, SessionId};
use crate::domain::ledger::agent::{Agent, Scope};
use crate::domain::ledger::budget::{AccountKey, BudgetCheck, BudgetDef, Per, Seat};
use crate::domain::ledger::caps::Spender;
use crate::domain::ledger::command::HoldAsk;
use crate::domain::ledger::decide::{Decided, Refusal};
use crate::domain::ledger::event::Event;
use crate::domain::ledger::hold::Held;
use crate::domain::ledger::rejection::Rejection;
use crate::domain::ledger::requests::RequestState;
use crate::domain::ledger::state::{DELEGATION_DEPTH_MAX, Ledger, delegation_name};
use crate::domain::ledger::window::WindowSpec;
use crate::domain::money::Amount;
use crate::domain::time::Timestamp;

/// The agent, its ancestors, and the delegated budgets between them.
struct Line {
    /// The agent first, the root last.
    agents: Vec<AgentId>,
    /// Whose budget each but the root spends from.
    delegations: Vec<DelegationId>,
}

impl Line {
    fn root(&self) -> AgentId {
        *self.agents.last().expect("a line begins with the agent itself")
    }
}

/// What the budgets of a path said so far.
#[derive(Default)]
struct Checked {
    checks: Vec<BudgetCheck>,
    seats: Vec<Seat>,
    /// Whether a budget applies that is neither a session's nor delegated.
    capped: bool,
    session_ended: Option<Timestamp>,
}

impl Ledger {
    pub(super) fn decide_hold(&self, now: Timestamp, ask: HoldAsk) -> Result<Decided, Refusal> {
        let unknown = Rejection::UnknownAgent(ask.agent);
        let agent = self.find_agent(ask.agent).ok_or(unknown)?;
        self.check_request(now, &ask)?;
        if ask.policy_version != self.policy.version {
            let (current, asked) = (self.policy.version, ask.policy_version);
            return Err(Rejection::StalePolicy { current, asked }.into());
        }
        let line = self.line(ask.agent, agent);
        self.check_paused(agent, &line)?;
        self.check_amounts(&ask)?;
        self.check_wallet(agent, &ask)?;
        if self.holds.contains_key(&ask.payment) {
            return Err(Rejection::PaymentTaken(ask.payment).into());
        }
        if self.holds.len() >= self.bounds.holds_max {
            return Err(full("open holds", self.bounds.holds_max).into());
        }
        let checked = self.check_budgets(now, agent, &line, &ask)?;
        let HoldAsk { agent: id, payment, request, attempt, fingerprint, commitment, nano, .. } =
            ask;
        let held = Held {
            payment,
            agent: id,
            request,
            attempt,
            fingerprint,
            wallet: agent.wallet_id(),
            commitment,
            nano,
            seats: checked.seats,
            session: ask.session,
            provider: ask.provider,
            capability: ask.capability,
            model: ask.model,
            quote: ask.quote,
            policy_version: ask.policy_version,
            boot: ask.boot,
        };
        Ok(Decided { event: Event::Held(Box::new(held)), checks: checked.checks })
    }

    /// The same request again is the same payment; another content under its id is a conflict.
    fn check_request(&self, now: Timestamp, ask: &HoldAsk) -> Result<(), Rejection> {
        let request = ask.request;
        let (from, to) = self.requests.span(now, self.bounds.request_memory);
        let made_at = request.made_at_ms().map(Timestamp::from_millis);
        if !made_at.is_some_and(|made_at| from <= made_at && made_at <= to) {
            return Err(Rejection::RequestOutsideMemory { request, from, to });
        }
        let next = match self.requests.find(ask.agent, request) {
            None => 0,
            Some(seen) if seen.fingerprint != ask.fingerprint => {
                return Err(Rejection::RequestConflict { request, payment: seen.payment });
            }
            Some(seen) => match seen.state {
                RequestState::Taken => {
                    return Err(Rejection::Exists { request, payment: seen.payment });
                }
                RequestState::Free { next } => next,
            },
        };
        if ask.attempt == next {
            Ok(())
        } else {
            Err(Rejection::WrongAttempt { request, next, asked: ask.attempt })
        }
    }

    fn check_amounts(&self, ask: &HoldAsk) -> Result<(), Rejection> {
        let amount = ask.commitment.amount_max;
        if amount.is_zero() || amount > Amount::MAX {
            return Err(Rejection::AmountOutOfRange { amount });
        }
        if ask.nano.is_zero() || ask.nano > crate::domain::money::Nano::MAX {
            return Err(Rejection::NanoOutOfRange { nano: ask.nano });
        }
        Ok(())
    }

    fn check_wallet(&self, agent: &Agent, ask: &HoldAsk) -> Result<(), Rejection> {
        let name = || agent.wallet.clone();
        let wallet =
            self.find_wallet(agent.wallet_id()).ok_or_else(|| Rejection::UnknownWallet(name()))?;
        if wallet.address != ask.commitment.payer {
            return Err(Rejection::ForeignWallet { wallet: name() });
        }
        let (asset, asked) = (ask.commitment.asset, ask.commitment.amount_max);
        let available = wallet.available(asset);
        if asked > available {
            return Err(Rejection::InsufficientFunds { wallet: name(), asset, available, asked });
        }
        Ok(())
    }

    /// Whether anything above the agent is paused: everything, its group, its role, itself, or an
    /// agent that it spends for.
    fn check_paused(&self, agent: &Agent, line: &Line) -> Result<(), Rejection> {
        if self.pauses.is_empty() {
            return Ok(());
        }
        let names = line.agents.iter().filter_map(|id| self.find_agent(*id));
        let scopes =
            [Scope::All, Scope::Group(agent.group.clone()), Scope::Role(agent.role.clone())]
                .into_iter()
                .chain(names.map(|agent| Scope::Agent(agent.name.clone())));
        for scope in scopes {
            if let Some(reason) = self.pauses.get(&scope) {
                return Err(Rejection::Paused { scope, reason: reason.clone() });
            }
        }
        Ok(())
    }

    /// Whether `agent` may sign at this instant.
    ///
    /// # Errors
    /// [`Rejection::UnknownAgent`], [`Rejection::Paused`].
    pub fn check_signing(&self, agent: AgentId) -> Result<(), Rejection> {
        let found = self.find_agent(agent).ok_or(Rejection::UnknownAgent(agent))?;
        self.check_paused(found, &self.line(agent, found))
    }

    fn line(&self, id: AgentId, agent: &Agent) -> Line {
        let mut line = Line { agents: vec![id], delegations: Vec::new() };
        let mut next = agent.delegation;
        // Delegations are checked for depth when they are made; the bound here is a second lock.
        while let Some(delegation) = next
            && line.delegations.len() < DELEGATION_DEPTH_MAX
        {
            let terms =
                self.find_delegation(delegation).expect("a sub-agent's delegation is known");
            line.delegations.push(delegation);
            line.agents.push(terms.parent);
            next = self.find_agent(terms.parent).and_then(|parent| parent.delegation);
        }
        line
    }

    fn check_budgets(
        &self,
        now: Timestamp,
        agent: &Agent,
        line: &Line,
        ask: &HoldAsk,
    ) -> Result<Checked, Refusal> {
        let spender = Spender {
            root: line.root(),
            line: &line.agents,
            role: agent.role_id(),
            group: agent.group_id(),
            session: ask.session.as_ref().map(|name| SessionId::of_agent(ask.agent, name)),
            provider: Some(ProviderId::named(&ask.provider)),
            model: Some(&ask.model),
        };
        let mut checked = Checked::default();
        self.caps
            .path(&spender, |account, def| self.check_cap(now, account, def, ask, &mut checked));
        if let (Some(ended), Some(session)) = (checked.session_ended, ask.session.clone()) {
            return Err(Rejection::SessionEnded { session, ended }.into());
        }
        if !checked.capped {
            return Err(Rejection::NoBudget { agent: ask.agent }.into());
        }
        for (delegation, child) in line.delegations.iter().zip(&line.agents) {
            self.check_delegation(now, *delegation, *child, ask, &mut checked)?;
        }
        // The smallest room explains the refusal.
        let smallest =
            checked.checks.iter().filter(|check| !check.fits()).min_by_key(|check| check.left());
        if let Some(check) = smallest {
            let rejection = Rejection::OverBudget(Box::new(check.clone()));
            return Err(Refusal { rejection, checks: checked.checks });
        }
        let fresh = checked.seats.iter().filter(|seat| !self.accounts.contains_key(&seat.account));
        if self.accounts.len().saturating_add(fresh.count()) > self.bounds.accounts_max {
            return Err(full("budget accounts", self.bounds.accounts_max).into());
        }
        Ok(checked)
    }

    fn check_cap(
        &self,
        now: Timestamp,
        account: AccountKey,
        def: &BudgetDef,
        ask: &HoldAsk,
        checked: &mut Checked,
    ) {
        let name = def.name.clone();
        let (check, bounds) = self.check_in(account, name, def.limit, &def.window, ask.nano, now);
        if matches!(def.window, WindowSpec::Session { .. }) && !bounds.contain(now) {
            checked.session_ended = Some(bounds.until);
        }
        checked.capped |= def.per != Per::Session;
        checked.checks.push(check);
        checked.seats.push(Seat { account, from: bounds.from, until: bounds.until });
    }

    fn check_delegation(
        &self,
        now: Timestamp,
        delegation: DelegationId,
        child: AgentId,
        ask: &HoldAsk,
        checked: &mut Checked,
    ) -> Result<(), Rejection> {
        let terms = self.find_delegation(delegation).expect("a line names known delegations");
        if now >= terms.until {
            return Err(Rejection::DelegationEnded { agent: child, ended: terms.until });
        }
        let account =
            AccountKey { budget: AccountKey::DELEGATION, subject: *delegation.as_bytes() };
        let window = WindowSpec::Lifetime;
        let (check, bounds) =
            self.check_in(account, delegation_name(), terms.limit, &window, ask.nano, now);
        checked.checks.push(check);
        checked.seats.push(Seat { account, from: bounds.from, until: bounds.until });
        Ok(())
    }

    /// The accounts that any payment of `agent` comes under, provider and model aside.
    pub(in crate::domain::ledger) fn general_path(
        &self,
        id: AgentId,
        session: Option<SessionId>,
    ) -> Vec<AccountKey> {
        let Some(agent) = self.find_agent(id) else { return Vec::new() };
        let line = self.line(id, agent);
        let spender = Spender {
            root: line.root(),
            line: &line.agents,
            role: agent.role_id(),
            group: agent.group_id(),
            session,
            provider: None,
            model: None,
        };
        let mut path = Vec::new();
        self.caps.path(&spender, |account, _| path.push(account));
        path.extend(line.delegations.iter().map(|delegation| AccountKey {
            budget: AccountKey::DELEGATION,
            subject: *delegation.as_bytes(),
        }));
        path
    }
}

pub(super) fn full(what: &'static str, bound: usize) -> Rejection {
    Rejection::Full { what, bound: u64::try_from(bound).unwrap_or(u64::MAX) }
}
