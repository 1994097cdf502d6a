//! The decision that everything else is for: whether money may be set aside.

use std::sync::Arc;

use crate::domain::id::{AgentId, DelegationId, PaymentId, SessionId};
use crate::domain::ledger::agent::{Agent, Scope};
use crate::domain::ledger::agents::Found;
use crate::domain::ledger::budget::{AccountKey, BudgetCheck, Per, Seat};
use crate::domain::ledger::caps::{Cap, Spender};
use crate::domain::ledger::channel::{Channel, Turn};
use crate::domain::ledger::command::HoldAsk;
use crate::domain::ledger::decide::{Decided, Refusal};
use crate::domain::ledger::event::Event;
use crate::domain::ledger::hold::Held;
use crate::domain::ledger::rejection::Rejection;
use crate::domain::ledger::requests::RequestState;
use crate::domain::ledger::state::{DELEGATION_DEPTH_MAX, Ledger, Looked};
use crate::domain::ledger::wallet::Wallet;
use crate::domain::ledger::window::WindowSpec;
use crate::domain::money::{Amount, Nano};
use crate::domain::time::Timestamp;

/// The agent, its ancestors, and the delegated budgets between them.
struct Line {
    /// The agent itself.
    agent: AgentId,
    /// Its parent first, the root last; nobody for an agent that the operator added.
    ancestors: Vec<AgentId>,
    /// Whose budget each but the root spends from.
    delegations: Vec<DelegationId>,
}

impl Line {
    /// The agent first, the root last.
    fn agents(&self) -> impl Iterator<Item = AgentId> + use<'_> {
        std::iter::once(self.agent).chain(self.ancestors.iter().copied())
    }

    fn root(&self) -> AgentId {
        *self.ancestors.last().unwrap_or(&self.agent)
    }
}

/// What the budgets of a path said so far.
#[derive(Default)]
struct Checked<'a> {
    /// What a voucher gives back while it takes.
    relief: &'a [(Seat, Nano)],
    checks: Vec<BudgetCheck>,
    seats: Vec<Seat>,
    /// Whether a budget applies that is neither a session's nor delegated.
    capped: bool,
    session_ended: Option<Timestamp>,
    /// How many of the accounts have seen nothing yet.
    fresh: usize,
}

impl Checked<'_> {
    fn add(&mut self, looked: Looked) {
        let Looked { mut check, bounds, fresh } = looked;
        let account = check.account;
        // Only what counts in the very window of the hold: a former one gives nothing to this.
        for (_, nano) in self
            .relief
            .iter()
            .filter(|(seat, _)| seat.account == account && seat.bounds() == bounds)
        {
            check.held = check.held.saturating_sub(*nano);
        }
        self.checks.push(check);
        self.seats.push(Seat { account, from: bounds.from, until: bounds.until });
        self.fresh = self.fresh.saturating_add(usize::from(fresh));
    }
}

impl Ledger {
    pub(super) fn decide_hold(&self, now: Timestamp, ask: HoldAsk) -> Result<Decided, Refusal> {
        let (held, checks) = self.check_hold(now, ask, Source::Wallet)?;
        Ok(Decided { event: Event::Held(held), checks })
    }

    /// Everything that has to be so before money is set aside, in its order.
    pub(in crate::domain::ledger) fn check_hold(
        &self,
        now: Timestamp,
        ask: HoldAsk,
        source: Source<'_>,
    ) -> Result<(Arc<Held>, Vec<BudgetCheck>), Refusal> {
        let found = self.agents.find(ask.agent).ok_or(Rejection::UnknownAgent(ask.agent))?;
        let agent = found.agent;
        if !source.is_extension() {
            self.check_request(now, &ask)?;
        }
        if ask.policy_version != self.policy.version && !planted!("old_policy_decides") {
            let (current, asked) = (self.policy.version, ask.policy_version);
            return Err(Rejection::StalePolicy { current, asked }.into());
        }
        let line = self.line(ask.agent, agent);
        self.check_paused(agent, &line)?;
        self.check_amounts(&ask)?;
        let wallet = self.wallets.at(found.wallet);
        check_wallet(wallet, &ask, source)?;
        let taken =
            || self.holds.find_row(&ask.payment).is_some() || self.find_draw(ask.payment).is_some();
        if !source.is_extension() && taken() {
            return Err(Rejection::PaymentTaken(ask.payment).into());
        }
        if self.holds.len() >= self.bounds.holds_max {
            return Err(full("open holds", self.bounds.holds_max).into());
        }
        let relief = source.relief();
        let checked = self.check_budgets(now, &found, &line, &ask, &relief)?;
        let HoldAsk { agent: id, payment, request, attempt, fingerprint, commitment, nano, .. } =
            ask;
        let held = Arc::new(Held {
            payment,
            agent: id,
            request,
            attempt,
            fingerprint,
            wallet: self.wallets.id_at(found.wallet),
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
        });
        Ok((held, checked.checks))
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
            Some(seen)
                if seen.fingerprint != ask.fingerprint && !planted!("request_conflict_unseen") =>
            {
                return Err(Rejection::RequestConflict { request, payment: seen.payment });
            }
            Some(seen) => match seen.state {
                RequestState::Taken if planted!("request_held_again") => ask.attempt,
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
        if ask.nano.is_zero() || ask.nano > Nano::MAX {
            return Err(Rejection::NanoOutOfRange { nano: ask.nano });
        }
        Ok(())
    }

    /// Whether anything above the agent is paused: everything, its group, its role, itself, or an
    /// agent that it spends for.
    fn check_paused(&self, agent: &Agent, line: &Line) -> Result<(), Rejection> {
        if self.pauses.is_empty() {
            return Ok(());
        }
        let above = if planted!("pause_of_the_parent_ignored") { 1 } else { usize::MAX };
        let names = line.agents().take(above).filter_map(|id| self.find_agent(id));
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
        let mut line = Line { agent: id, ancestors: Vec::new(), delegations: Vec::new() };
        let mut next = agent.delegation;
        // Delegations are checked for depth when they are made; the bound here is a second lock.
        while let Some(delegation) = next
            && line.delegations.len() < DELEGATION_DEPTH_MAX
        {
            let terms =
                self.find_delegation(delegation).expect("a sub-agent's delegation is known");
            line.delegations.push(delegation);
            if !planted!("ancestors_forgotten") {
                line.ancestors.push(terms.parent);
            }
            next = self.find_agent(terms.parent).and_then(|parent| parent.delegation);
        }
        line
    }

    fn check_budgets<'a>(
        &self,
        now: Timestamp,
        found: &Found<'_>,
        line: &Line,
        ask: &HoldAsk,
        relief: &'a [(Seat, Nano)],
    ) -> Result<Checked<'a>, Refusal> {
        let spender = Spender {
            root: line.root(),
            agent: line.agent,
            ancestors: &line.ancestors,
            role: found.role,
            group: found.group,
            session: ask.session.as_ref().map(|name| SessionId::of_agent(ask.agent, name)),
            provider: Some(&ask.provider),
            model: Some(&ask.model),
        };
        let mut checked = Checked { relief, ..Checked::default() };
        self.caps
            .path(&spender, |account, cap| self.check_cap(now, account, cap, ask, &mut checked));
        if let (Some(ended), Some(session)) = (checked.session_ended, ask.session.clone()) {
            return Err(Rejection::SessionEnded { session, ended }.into());
        }
        if !checked.capped {
            return Err(Rejection::NoBudget { agent: ask.agent }.into());
        }
        let delegations = if planted!("delegated_budgets_forgotten") { 0 } else { usize::MAX };
        for (delegation, child) in line.delegations.iter().zip(line.agents()).take(delegations) {
            self.check_delegation(now, *delegation, child, ask, &mut checked)?;
        }
        // The smallest room explains the refusal.
        let smallest =
            checked.checks.iter().filter(|check| !check.fits()).min_by_key(|check| check.left());
        let one_is_enough = planted!("one_budget_with_room_is_enough")
            && checked.checks.iter().any(BudgetCheck::fits);
        if let Some(check) = smallest.filter(|_| !one_is_enough) {
            let rejection = Rejection::OverBudget(Box::new(check.clone()));
            return Err(Refusal { rejection, checks: checked.checks });
        }
        if self.accounts.len().saturating_add(checked.fresh) > self.bounds.accounts_max {
            return Err(full("budget accounts", self.bounds.accounts_max).into());
        }
        Ok(checked)
    }

    fn check_cap(
        &self,
        now: Timestamp,
        account: AccountKey,
        cap: &Cap,
        ask: &HoldAsk,
        checked: &mut Checked<'_>,
    ) {
        let looked = self.look(account, &cap.terms(), ask.nano, now);
        let bounds = looked.bounds;
        if matches!(cap.def.window, WindowSpec::Session { .. }) && !bounds.contain(now) {
            checked.session_ended = Some(bounds.until);
        }
        checked.capped |= cap.def.per != Per::Session || planted!("session_budget_is_enough");
        checked.add(looked);
    }

    fn check_delegation(
        &self,
        now: Timestamp,
        delegation: DelegationId,
        child: AgentId,
        ask: &HoldAsk,
        checked: &mut Checked<'_>,
    ) -> Result<(), Rejection> {
        let terms = self.find_delegation(delegation).expect("a line names known delegations");
        if now >= terms.until && !planted!("delegation_never_ends") {
            return Err(Rejection::DelegationEnded { agent: child, ended: terms.until });
        }
        let account =
            AccountKey { budget: AccountKey::DELEGATION, subject: *delegation.as_bytes() };
        checked.add(self.look(account, &terms.terms(), ask.nano, now));
        Ok(())
    }

    /// The accounts that any payment of `agent` comes under, provider and model aside.
    pub(in crate::domain::ledger) fn general_path(
        &self,
        id: AgentId,
        session: Option<SessionId>,
    ) -> Vec<AccountKey> {
        let Some(found) = self.agents.find(id) else { return Vec::new() };
        let line = self.line(id, found.agent);
        let spender = Spender {
            root: line.root(),
            agent: line.agent,
            ancestors: &line.ancestors,
            role: found.role,
            group: found.group,
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

/// Where a payment's money lies.
#[derive(Copy, Clone, Debug)]
pub(in crate::domain::ledger) enum Source<'a> {
    /// In the wallet.
    Wallet,
    /// In a channel; and what its voucher gives back of former ones.
    Channel(&'a Channel, &'a [Turn]),
    /// In a channel, for a call that holds some of it already, and holds it anew with the rest.
    Extension {
        /// Which.
        channel: &'a Channel,
        /// What the voucher gives back of other payments.
        turns: &'a [Turn],
        /// The call.
        payment: PaymentId,
    },
}

impl Source<'_> {
    const fn is_extension(self) -> bool {
        matches!(self, Self::Extension { .. })
    }

    /// What is given back, by the seats that it was held in.
    fn relief(self) -> Vec<(Seat, Nano)> {
        let mut relief = Vec::new();
        let (channel, turns) = match self {
            Self::Wallet => return relief,
            Self::Channel(channel, turns) => (channel, turns),
            Self::Extension { channel, turns, payment } => {
                if let Some(own) = channel.find(payment) {
                    relief.extend(own.held.seats.iter().map(|seat| (*seat, own.nano)));
                }
                (channel, turns)
            }
        };
        for turn in turns.iter().filter(|turn| !turn.freed_nano.is_zero()) {
            let portion =
                channel.find(turn.payment).expect("a turn names a payment of its channel");
            relief.extend(portion.held.seats.iter().map(|seat| (*seat, turn.freed_nano)));
        }
        relief
    }
}

fn check_wallet(wallet: &Wallet, ask: &HoldAsk, source: Source<'_>) -> Result<(), Rejection> {
    let name = || wallet.name.clone();
    if wallet.address != ask.commitment.payer {
        return Err(Rejection::ForeignWallet { wallet: name() });
    }
    if !matches!(source, Source::Wallet) {
        return Ok(());
    }
    let (asset, asked) = (ask.commitment.asset, ask.commitment.amount_max);
    let available = wallet.available(asset);
    if asked > available && !planted!("wallet_overdrawn") {
        return Err(Rejection::InsufficientFunds { wallet: name(), asset, available, asked });
    }
    Ok(())
}

pub(in crate::domain::ledger) fn full(what: &'static str, bound: usize) -> Rejection {
    Rejection::Full { what, bound: u64::try_from(bound).unwrap_or(u64::MAX) }
}
