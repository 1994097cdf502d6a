//! The budgets, from the policies and the holds alone: which apply, what counts in each, and whether
//! there was room. Shares no code with what the ledger decides by.

use std::collections::{BTreeMap, BTreeSet};

use crate::domain::id::{
    AgentId, DelegationId, GroupId, Name, PaymentId, ProviderId, RoleId, SessionId,
};
use crate::domain::ledger::agent::{Delegation, Scope};
use crate::domain::ledger::budget::{
    AccountKey, BudgetCheck, BudgetDef, BudgetNo, Per, Seat, Selector, Subject,
};
use crate::domain::ledger::channel::{Extended, Turn};
use crate::domain::ledger::hold::Held;
use crate::domain::ledger::window::{CalendarUnit, WindowSpec};
use crate::domain::ledger::{Event, Ledger};
use crate::domain::policy::{PolicyDocument, Role};
use crate::domain::time::Timestamp;
use crate::sim::oracle::Look;

/// What one hold counts in one account.
struct Counted {
    payment: PaymentId,
    at: Timestamp,
    seat: Seat,
    held: u64,
    spent: u64,
}

struct Who {
    name: Name,
    role: Name,
    group: Name,
    delegation: Option<DelegationId>,
}

/// What is in force, and what counts.
#[derive(Default)]
pub(super) struct Budgets {
    version: u32,
    in_force: Vec<BudgetNo>,
    known: BTreeMap<BudgetNo, BudgetDef>,
    roles: BTreeMap<Name, Role>,
    agents: BTreeMap<AgentId, Who>,
    delegations: BTreeMap<DelegationId, Delegation>,
    paused: BTreeSet<Scope>,
    counted: BTreeMap<AccountKey, Vec<Counted>>,
    newest: BTreeMap<AccountKey, Timestamp>,
}

impl Budgets {
    /// I20: policies only grow in version, and say what they say.
    pub fn read(&mut self, event: &Event, look: &Look<'_>) {
        match event {
            Event::PolicyApplied { version, budgets, document, .. } => {
                let next = version.checked_sub(1) == Some(self.version);
                look.check(next, || format!("I20: policy {version} after {}", self.version));
                self.version = *version;
                self.in_force = budgets.iter().map(|(no, _)| *no).collect();
                self.known.extend(budgets.iter().cloned());
                let document = PolicyDocument::from_json(document);
                self.roles = document.map(|document| document.roles).unwrap_or_default();
            }
            Event::AgentAdded { agent, .. } => {
                let (role, group) = (agent.role.clone(), agent.group.clone());
                let who = Who { name: agent.name.clone(), role, group, delegation: None };
                self.agents.insert(AgentId::named(&agent.name), who);
            }
            Event::Delegated { delegation, terms, name, .. } => {
                let Some(parent) = self.agents.get(&terms.parent) else {
                    look.check(false, || "I20: nobody delegated".to_owned());
                    return;
                };
                let (role, group) = (parent.role.clone(), parent.group.clone());
                let who = Who { name: name.clone(), role, group, delegation: Some(*delegation) };
                self.agents.insert(terms.child, who);
                self.delegations.insert(*delegation, terms.clone());
            }
            Event::Paused { scope, .. } => {
                self.paused.insert(scope.clone());
            }
            Event::Resumed { scope, .. } => {
                self.paused.remove(scope);
            }
            _ => {}
        }
    }

    /// What of `scopes` covers `agent`: all, its group, its role, itself, or whom it spends for.
    pub fn find_scope<'s>(&self, scopes: &'s BTreeSet<Scope>, agent: AgentId) -> Option<&'s Scope> {
        let line = self.line(agent);
        scopes.iter().find(|scope| match scope {
            Scope::All => true,
            Scope::Group(name) => line.first().is_some_and(|who| who.group == *name),
            Scope::Role(name) => line.first().is_some_and(|who| who.role == *name),
            Scope::Agent(name) => line.iter().any(|who| who.name == *name),
        })
    }

    /// The scopes that are paused by the events.
    pub const fn paused(&self) -> &BTreeSet<Scope> {
        &self.paused
    }

    /// The agent, whom it spends for, and so on.
    fn line(&self, agent: AgentId) -> Vec<&Who> {
        let mut line = Vec::new();
        let mut next = self.agents.get(&agent);
        while let Some(who) = next {
            line.push(who);
            let terms = who.delegation.and_then(|id| self.delegations.get(&id));
            next = terms.and_then(|terms| self.agents.get(&terms.parent));
        }
        line
    }

    /// I1, I2, I18, I20, I21: a hold is allowed by the policy in force, by nobody's pause, counts in
    /// every budget that applies and in no other, each in its window of now, and each has room for it.
    pub fn hold(&mut self, at: Timestamp, held: &Held, look: &Look<'_>) {
        self.check_authority(at, held, look);
        let payment = held.payment;
        let expected = self.path(held);
        let actual: BTreeSet<AccountKey> = held.seats.iter().map(|seat| seat.account).collect();
        let once = actual.len() == held.seats.len();
        look.check(once && actual == expected, || {
            format!("I2: {payment} counts in {actual:?}, not in {expected:?}")
        });
        for seat in &held.seats {
            let newest = self.newest.entry(seat.account).or_default();
            let forward = seat.from >= *newest;
            look.check(forward, || format!("I18: {payment} went back to an older window"));
            *newest = seat.from;
            let counted = Counted { payment, at, seat: *seat, held: held.nano.get(), spent: 0 };
            self.counted.entry(seat.account).or_default().push(counted);
            self.check_window(at, seat, look);
            self.check_room(at, seat, look);
        }
    }

    fn check_authority(&self, at: Timestamp, held: &Held, look: &Look<'_>) {
        let payment = held.payment;
        let current = held.policy_version == self.version;
        look.check(current, || format!("I20: {payment} by policy {}", held.policy_version));
        let line = self.line(held.agent);
        let role = line.first().and_then(|who| self.roles.get(&who.role));
        let allowed = role.is_some_and(|role| {
            let denied = |pattern: &crate::domain::policy::Pattern| {
                pattern.as_str() == held.provider.as_str()
            };
            held.nano <= role.per_call_max && !role.deny.providers.iter().any(denied)
        });
        look.check(allowed, || format!("I20: no role allows {payment}"));
        let paused = self.find_scope(&self.paused, held.agent);
        look.check(paused.is_none(), || format!("I21: {payment} was held while {paused:?} paused"));
        for who in line {
            let terms = who.delegation.and_then(|id| self.delegations.get(&id));
            let ended = terms.is_some_and(|terms| at >= terms.until);
            look.check(!ended, || format!("I20: {payment} by a delegation that has ended"));
        }
    }

    /// Every account that a hold has to count in.
    fn path(&self, held: &Held) -> BTreeSet<AccountKey> {
        let line = self.line(held.agent);
        let (Some(who), Some(root)) = (line.first(), line.last()) else { return BTreeSet::new() };
        let mut path = BTreeSet::new();
        for no in &self.in_force {
            let Some(def) = self.known.get(no) else { continue };
            let applies = match &def.selector {
                Selector::Fleet => true,
                Selector::Group(id) => GroupId::named(&who.group) == *id,
                Selector::Role(id) => RoleId::named(&who.role) == *id,
                Selector::Agent(id) => line.iter().any(|who| AgentId::named(&who.name) == *id),
                Selector::Provider(id) => ProviderId::named(&held.provider) == *id,
                Selector::Model(pattern) => pattern == held.model.as_str() || pattern == "*",
            };
            let subject: Option<Subject> = match def.per {
                Per::All => Some(Default::default()),
                Per::Group => Some(*GroupId::named(&who.group).as_bytes()),
                Per::Role => Some(*RoleId::named(&who.role).as_bytes()),
                Per::Agent => Some(*AgentId::named(&root.name).as_bytes()),
                Per::Session => held
                    .session
                    .as_ref()
                    .map(|name| *SessionId::of_agent(held.agent, name).as_bytes()),
            };
            if let (true, Some(subject)) = (applies, subject) {
                path.insert(AccountKey { budget: *no, subject });
            }
        }
        for delegation in line.iter().filter_map(|who| who.delegation) {
            let subject = *delegation.as_bytes();
            path.insert(AccountKey { budget: AccountKey::DELEGATION, subject });
        }
        path
    }

    fn terms(&self, account: AccountKey) -> (u64, &WindowSpec) {
        if account.budget == AccountKey::DELEGATION {
            let id = DelegationId::from_bytes(account.subject);
            let limit = self.delegations.get(&id).map_or(0, |terms| terms.limit.get());
            return (limit, &WindowSpec::Lifetime);
        }
        let def = self.known.get(&account.budget);
        def.map_or((0, &WindowSpec::Lifetime), |def| (def.limit.get(), &def.window))
    }

    /// I18: the window is the one of this instant.
    fn check_window(&self, at: Timestamp, seat: &Seat, look: &Look<'_>) {
        let (_, window) = self.terms(seat.account);
        let right = match window {
            WindowSpec::Lifetime => seat.from == Timestamp::ZERO && seat.until == Timestamp::MAX,
            WindowSpec::Rolling { span } => {
                let width = u64::try_from(span.as_nanos().div_ceil(60)).unwrap_or(u64::MAX);
                seat.from.as_nanos().checked_rem(width) == Some(0)
                    && seat.until.as_nanos() == seat.from.as_nanos().saturating_add(width)
            }
            WindowSpec::Calendar { unit: CalendarUnit::Hour, .. } => {
                seat.from.as_secs().checked_rem(3600) == Some(0)
                    && seat.until.as_secs() == seat.from.as_secs().saturating_add(3600)
            }
            WindowSpec::Session { span } => {
                let first = self.counted.get(&seat.account).and_then(|all| all.first());
                let same = first.is_some_and(|first| first.seat.from == seat.from);
                same && seat.until == seat.from.after(*span)
            }
            WindowSpec::Calendar { .. } => true,
        };
        let now = seat.from <= at && at < seat.until;
        look.check(right && now, || format!("I18: at {at} a hold sits in {seat:?} of {window:?}"));
    }

    /// I1: everything held and spent in the window, this hold with it, is at most the cap of now. For a
    /// rolling window that is every hold of the span that ends now, to the nanosecond.
    fn check_room(&self, at: Timestamp, seat: &Seat, look: &Look<'_>) {
        let (limit, window) = self.terms(seat.account);
        let all = self.counted.get(&seat.account).map_or(&[][..], Vec::as_slice);
        let within = all.iter().filter(|counted| match window {
            WindowSpec::Rolling { span } => counted.at.after(*span) > at,
            WindowSpec::Calendar { .. } => counted.seat.from == seat.from,
            WindowSpec::Session { .. } | WindowSpec::Lifetime => true,
        });
        let sum = within.fold(0_u64, |sum, counted| {
            sum.saturating_add(counted.held).saturating_add(counted.spent)
        });
        look.check(sum <= limit, || format!("I1: {sum} in {seat:?} of {limit} over {window:?}"));
    }

    /// What was held is spent.
    pub fn spend(&mut self, held: &Held) {
        for seat in &held.seats {
            let all = self.counted.entry(seat.account).or_default();
            for counted in all.iter_mut().filter(|counted| counted.payment == held.payment) {
                counted.spent = counted.spent.saturating_add(std::mem::take(&mut counted.held));
            }
        }
    }

    /// I1, I22: a call that flows is held anew as a whole: what it held until then leaves the windows that it
    /// was held in, and all of it counts in those of now.
    pub fn extend(&mut self, at: Timestamp, extended: &Extended, look: &Look<'_>) {
        let (payment, mut left) = (extended.held.payment, extended.before.get());
        for all in self.counted.values_mut() {
            for counted in all.iter_mut().filter(|counted| counted.payment == payment) {
                let held = std::mem::take(&mut counted.held);
                let same = held == 0 || held == extended.before.get();
                look.check(same, || format!("I22: {payment} held {held}: {extended:?}"));
                left = left.saturating_sub(held);
            }
            all.retain(|counted| counted.held > 0 || counted.spent > 0);
        }
        look.check(left == 0, || format!("I22: {payment} never held {left} of {extended:?}"));
        self.hold(at, &extended.held, look);
    }

    /// I22: what a channel takes and gives back of a call leaves what was held for it, in the windows that
    /// it was held in, and nothing is left where nothing is held any more.
    pub fn turn(&mut self, held: &Held, turn: &Turn, look: &Look<'_>) {
        let (taken, freed) = (turn.taken_nano.get(), turn.freed_nano.get());
        for seat in &held.seats {
            let all = self.counted.entry(seat.account).or_default();
            let of =
                |counted: &&mut Counted| counted.payment == held.payment && counted.seat == *seat;
            // What flowed may sit there twice: what was taken of it, and what it holds since.
            let Some(counted) = all.iter_mut().rfind(of) else {
                look.check(false, || format!("I22: {} was not in {seat:?}", held.payment));
                continue;
            };
            let left = counted.held.checked_sub(taken.saturating_add(freed));
            let ended = left.is_some_and(|left| (left == 0) == turn.ended);
            look.check(ended, || format!("I22: {turn:?} of {}", counted.held));
            counted.held = left.unwrap_or(0);
            counted.spent = counted.spent.saturating_add(taken);
            all.retain(|counted| counted.held > 0 || counted.spent > 0);
        }
    }

    /// I22: what is given back leaves the window that it was held in, and no other.
    pub fn free(&mut self, held: &Held, look: &Look<'_>) {
        for seat in &held.seats {
            let all = self.counted.entry(seat.account).or_default();
            let before = all.len();
            all.retain(|counted| counted.payment != held.payment || counted.seat != *seat);
            let one = before.checked_sub(all.len()) == Some(1);
            look.check(one, || format!("I22: {} was not in {seat:?}", held.payment));
        }
    }

    /// I1: the ledger's own counters of the accounts that `held` comes under are what the events say.
    pub fn compare(&self, ledger: &Ledger, held: &Held, at: Timestamp, look: &Look<'_>) {
        for check in ledger.accounts_of(held.agent, held.session.as_ref(), at) {
            let BudgetCheck { account, limit, spent, held, .. } = check;
            let (cap, window) = self.terms(account);
            let all = self.counted.get(&account).map_or(&[][..], Vec::as_slice);
            let mut sums = (0_u64, 0_u64);
            for counted in all {
                let counts = match window {
                    // A bucket counts whole while any instant of it is within the span.
                    WindowSpec::Rolling { span } => counted.seat.until.after(*span) > at,
                    _ => counted.seat.from <= at && at < counted.seat.until,
                };
                let ended = matches!(window, WindowSpec::Session { .. });
                if counts || ended {
                    sums.0 = sums.0.saturating_add(counted.spent);
                    sums.1 = sums.1.saturating_add(counted.held);
                }
            }
            let same = cap == limit.get() && sums == (spent.get(), held.get());
            look.check(same, || {
                format!("I1: {account:?} has {spent} and {held} of {limit}, not {sums:?} of {cap}")
            });
        }
    }
}
