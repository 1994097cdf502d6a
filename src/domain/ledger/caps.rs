//! The caps in force, and which of them a payment comes under.

use std::collections::{BTreeMap, HashMap};

use foldhash::fast::FixedState;
use serde::{Deserialize, Serialize};

use crate::domain::id::{AgentId, GroupId, ID_LEN, Name, ProviderId, RoleId, SessionId};
use crate::domain::ledger::budget::{AccountKey, BudgetDef, BudgetNo, Per, Seat, Selector, Terms};
use crate::domain::ledger::window::{Bounds, WindowSpec};

/// Whose payment it is, in all the ways a selector may ask.
#[derive(Clone, Debug)]
pub(super) struct Spender<'a> {
    /// The agent at the root of the delegations: per-agent budgets are its.
    pub root: AgentId,
    /// The agent itself.
    pub agent: AgentId,
    /// Whom it spends for, its parent first.
    pub ancestors: &'a [AgentId],
    /// The role.
    pub role: RoleId,
    /// The group.
    pub group: GroupId,
    /// The session, where the agent named one.
    pub session: Option<SessionId>,
    /// Who sells, where that is known.
    pub provider: Option<&'a Name>,
    /// With which model, where that is known.
    pub model: Option<&'a Name>,
}

/// A budget, and the newest window that any of its accounts has seen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Cap {
    /// As the policy states it.
    pub def: BudgetDef,
    /// So that a calendar is asked once a window, and not once an account.
    newest: Option<Bounds>,
}

impl Cap {
    /// What its accounts are held to.
    pub fn terms(&self) -> Terms<'_> {
        let BudgetDef { name, limit, window, .. } = &self.def;
        Terms { name, limit: *limit, window, newest: self.newest }
    }
}

/// Every budget that a policy ever named, and those in force.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Caps {
    /// By number; never shrinks, so that old holds find their windows.
    known: BTreeMap<BudgetNo, Cap>,
    /// In force.
    active: Vec<BudgetNo>,
    #[serde(skip)]
    index: Index,
}

/// The budgets in force by what their selectors name: a payment looks at its own, never at all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Index {
    fleet: Vec<BudgetNo>,
    groups: HashMap<GroupId, Vec<BudgetNo>, FixedState>,
    roles: HashMap<RoleId, Vec<BudgetNo>, FixedState>,
    agents: HashMap<AgentId, Vec<BudgetNo>, FixedState>,
    providers: HashMap<ProviderId, Vec<BudgetNo>, FixedState>,
    models: Vec<(String, BudgetNo)>,
}

impl Caps {
    /// The budget of this number.
    pub fn find(&self, no: BudgetNo) -> Option<&BudgetDef> {
        self.known.get(&no).map(|cap| &cap.def)
    }

    /// The budget of this number, and its newest window.
    pub(super) fn find_cap(&self, no: BudgetNo) -> Option<&Cap> {
        self.known.get(&no)
    }

    /// The window of the budget of this number; delegated budgets last for life.
    pub(super) fn window(&self, no: BudgetNo) -> &WindowSpec {
        self.find(no).map_or(&WindowSpec::Lifetime, |def| &def.window)
    }

    /// Sees the window that a hold takes its seat in.
    pub(super) fn see_window(&mut self, seat: &Seat) {
        if let Some(cap) = self.known.get_mut(&seat.account.budget)
            && cap.newest.is_none_or(|newest| newest.from < seat.from)
        {
            cap.newest = Some(seat.bounds());
        }
    }

    /// The budgets in force.
    pub fn active(&self) -> impl Iterator<Item = (BudgetNo, &BudgetDef)> {
        self.active.iter().filter_map(|no| self.find(*no).map(|def| (*no, def)))
    }

    /// Numbers for `budgets`: a budget keeps its number while only its limit changes. One of another
    /// selector, window or `per` counts other things, so it is another budget.
    pub(super) fn number(&self, budgets: Vec<BudgetDef>) -> Vec<(BudgetNo, BudgetDef)> {
        let mut next = self.known.keys().next_back().map_or(0, |last| last.0.saturating_add(1));
        let mut numbered = Vec::with_capacity(budgets.len());
        for def in budgets {
            let same = self.known.iter().find(|(_, Cap { def: old, .. })| {
                old.name == def.name
                    && old.selector == def.selector
                    && old.per == def.per
                    && old.window == def.window
            });
            let no = same.map_or_else(
                || {
                    let fresh = BudgetNo(next);
                    next = next.saturating_add(1);
                    fresh
                },
                |(no, _)| *no,
            );
            numbered.push((no, def));
        }
        numbered
    }

    pub(super) fn apply(&mut self, numbered: &[(BudgetNo, BudgetDef)]) {
        self.active = numbered.iter().map(|(no, _)| *no).collect();
        for (no, def) in numbered {
            let newest = self.known.get(no).and_then(|cap| cap.newest);
            self.known.insert(*no, Cap { def: def.clone(), newest });
        }
        self.reindex();
    }

    /// Makes the index again: after a policy, and after a snapshot, which does not carry it.
    pub(super) fn reindex(&mut self) {
        let mut index = Index::default();
        for (no, def) in self.active() {
            match &def.selector {
                Selector::Fleet => index.fleet.push(no),
                Selector::Group(id) => index.groups.entry(*id).or_default().push(no),
                Selector::Role(id) => index.roles.entry(*id).or_default().push(no),
                Selector::Agent(id) => index.agents.entry(*id).or_default().push(no),
                Selector::Provider(id) => index.providers.entry(*id).or_default().push(no),
                Selector::Model(pattern) => index.models.push((pattern.clone(), no)),
            }
        }
        self.index = index;
    }

    /// Calls `each` with every account in force that the spender's payment comes under, in a fixed
    /// order: fleet, group, role, agents, provider, models.
    pub(super) fn path(&self, spender: &Spender<'_>, mut each: impl FnMut(AccountKey, &Cap)) {
        let index = &self.index;
        let mut visit = |numbers: &[BudgetNo]| {
            for no in numbers {
                let cap = self.known.get(no).expect("a budget in force is known");
                if let Some(subject) = subject(cap.def.per, spender) {
                    each(AccountKey { budget: *no, subject }, cap);
                }
            }
        };
        visit(&index.fleet);
        visit(index.groups.get(&spender.group).map_or(&[], Vec::as_slice));
        visit(index.roles.get(&spender.role).map_or(&[], Vec::as_slice));
        for agent in std::iter::once(&spender.agent).chain(spender.ancestors) {
            visit(index.agents.get(agent).map_or(&[], Vec::as_slice));
        }
        if let Some(provider) = spender.provider
            && !index.providers.is_empty()
        {
            visit(index.providers.get(&ProviderId::named(provider)).map_or(&[], Vec::as_slice));
        }
        if let Some(model) = spender.model {
            for (pattern, no) in &index.models {
                if matches_pattern(pattern, model.as_str()) {
                    visit(std::slice::from_ref(no));
                }
            }
        }
    }
}

/// Whose account a budget's payment counts in; `None` where the budget does not apply.
fn subject(per: Per, spender: &Spender<'_>) -> Option<[u8; ID_LEN]> {
    match per {
        Per::All => Some([0; ID_LEN]),
        Per::Group => Some(*spender.group.as_bytes()),
        Per::Role => Some(*spender.role.as_bytes()),
        Per::Agent => Some(*spender.root.as_bytes()),
        Per::Session => spender.session.map(|session| *session.as_bytes()),
    }
}

/// Whether `name` matches: the same, or the same up to a `*` at the pattern's end.
pub fn matches_pattern(pattern: &str, name: &str) -> bool {
    pattern.strip_suffix('*').map_or(pattern == name, |start| name.starts_with(start))
}
