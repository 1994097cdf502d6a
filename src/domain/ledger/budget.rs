//! What a budget is: a cap over a window, on a selector, for each of something.

use std::hash::{Hash, Hasher};

use serde::{Deserialize, Serialize};

use crate::domain::id::{AgentId, GroupId, ID_LEN, Name, ProviderId, RoleId};
use crate::domain::ledger::window::{Bounds, WindowSpec};
use crate::domain::money::Nano;
use crate::domain::time::Timestamp;

/// A budget's number: given at its first appearance in a policy, never given again.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct BudgetNo(pub u32);

/// Whose payments a budget counts.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Selector {
    /// Every payment.
    Fleet,
    /// Those of a group.
    Group(GroupId),
    /// Those of a role's agents.
    Role(RoleId),
    /// Those of one agent, with its sub-agents.
    Agent(AgentId),
    /// Those to a provider.
    Provider(ProviderId),
    /// Those for models of this name; one `*` at the end matches any rest.
    Model(String),
}

/// For each of what a budget has an account of its own.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Per {
    /// One account for all that the selector matches.
    All,
    /// One for each group.
    Group,
    /// One for each role.
    Role,
    /// One for each agent; sub-agents count in their root agent's.
    Agent,
    /// One for each session of an agent. It only narrows: a payment needs another budget as well.
    Session,
}

/// A budget as the policy states it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct BudgetDef {
    /// Its name; a later policy changes the budget of the same name and keeps what was spent.
    pub name: Name,
    /// Whose payments it counts.
    pub selector: Selector,
    /// For each of what.
    pub per: Per,
    /// How much, in the unit of account.
    pub limit: Nano,
    /// Over which window.
    pub window: WindowSpec,
}

/// Whose account it is, in sixteen bytes: a group's, role's, agent's or session's id, or nothing.
pub type Subject = [u8; ID_LEN];

/// One account: a budget, or a delegated budget, and whose.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct AccountKey {
    /// Which budget; [`AccountKey::DELEGATION`] for delegated ones.
    pub budget: BudgetNo,
    /// Whose.
    pub subject: Subject,
}

impl Hash for AccountKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u32(self.budget.0);
        state.write_u128(u128::from_ne_bytes(self.subject));
    }
}

impl AccountKey {
    /// The number under which delegated budgets count, each with its delegation as the subject.
    pub const DELEGATION: BudgetNo = BudgetNo(u32::MAX);
}

/// What an account is held to: a budget's cap, or a delegated one's.
#[derive(Clone, Debug)]
pub(super) struct Terms<'a> {
    /// What it is called in refusals and tables.
    pub name: &'a Name,
    /// The cap.
    pub limit: Nano,
    /// Over which window.
    pub window: &'a WindowSpec,
    /// The newest window that any account of the budget has seen.
    pub newest: Option<Bounds>,
}

/// A place that a hold takes in an account: the account, and the window that it counts in for life.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Seat {
    /// Where.
    pub account: AccountKey,
    /// The window's bounds; for rolling windows the bucket's.
    pub from: Timestamp,
    /// Its end, exclusive.
    pub until: Timestamp,
}

impl Seat {
    /// The window.
    pub const fn bounds(&self) -> Bounds {
        Bounds { from: self.from, until: self.until }
    }
}

/// What one account said to a hold: the numbers at that instant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BudgetCheck {
    /// The budget's name, or `delegation`.
    pub budget: Name,
    /// Whose account.
    pub account: AccountKey,
    /// The cap.
    pub limit: Nano,
    /// Captured in this window.
    pub spent: Nano,
    /// Held in this window.
    pub held: Nano,
    /// What the hold asked for.
    pub asked: Nano,
    /// When the window gives room again by itself; `None` for lifetime and session budgets.
    pub resets_at: Option<Timestamp>,
}

impl BudgetCheck {
    /// What is left: never below zero, also where a cap was lowered beneath what is spent.
    pub const fn left(&self) -> Nano {
        self.limit.saturating_sub(self.spent).saturating_sub(self.held)
    }

    /// Whether the hold fits.
    pub fn fits(&self) -> bool {
        if planted!("cap_one_above") {
            return self.asked.saturating_sub(Nano::new(1)) <= self.left();
        }
        if planted!("cap_not_at_equality") {
            return self.asked < self.left();
        }
        self.asked <= self.left()
    }
}
