//! A role: what its agents may buy, from whom and how, and how fast.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::domain::id::{Name, RoleId};
use crate::domain::ledger::budget::{BudgetDef, Per, Selector};
use crate::domain::ledger::window::WindowSpec;
use crate::domain::money::Nano;
use crate::domain::order::Units;
use crate::domain::policy::pattern::Pattern;

/// A minute: the window of every spend-per-minute rule.
const MINUTE: Duration = Duration::from_secs(60);

/// A named set of permissions and limits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Role {
    /// Its name.
    pub name: Name,
    /// For people.
    pub description: String,
    /// What may be bought; each list must match, and an empty one matches nothing.
    pub allow: Lists,
    /// What may not be bought, whatever `allow` says.
    pub deny: Lists,
    /// The most that one call may cost in the worst case.
    pub per_call_max: Nano,
    /// How fast each of its agents may go.
    pub rates: Rates,
    /// How fast all its agents may go together.
    pub role_rates: Rates,
    /// What each session may spend, and for how long.
    pub session: Option<SessionRule>,
    /// The most output that one call may ask for.
    pub output_max: Option<Units>,
    /// Whether its agents may carve budgets for sub-agents out of their own.
    pub can_delegate: bool,
}

/// Patterns, by what they are held against.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lists {
    /// Against the order's capability.
    pub capabilities: Vec<Pattern>,
    /// Against the quote's model.
    pub models: Vec<Pattern>,
    /// Against the provider's name.
    pub providers: Vec<Pattern>,
    /// Against the address that would be paid, upper and lower case alike.
    pub payees: Vec<Pattern>,
    /// Against the network's CAIP-2 name.
    pub networks: Vec<Pattern>,
    /// Against the asset's CAIP-19 name, upper and lower case alike.
    pub assets: Vec<Pattern>,
    /// Against the x402 scheme's name.
    pub schemes: Vec<Pattern>,
}

/// Bounds on speed. `None` sets no bound, zero lets nothing pass.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rates {
    /// Calls that may begin in a minute.
    pub calls_per_minute: Option<u32>,
    /// Calls that may run at once.
    pub concurrency: Option<u32>,
    /// What may be spent in any minute: a budget of the ledger, because only it knows prices.
    pub nano_per_minute: Option<Nano>,
}

/// What a session may spend. It only narrows: the agent needs another budget as well.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SessionRule {
    /// How much.
    pub limit: Nano,
    /// For how long from its first payment.
    pub span: Duration,
}

impl Role {
    /// Its id.
    pub fn id(&self) -> RoleId {
        RoleId::named(&self.name)
    }

    /// The budgets that its rules amount to: `role:NAME:session`, `role:NAME:agent-minute` and
    /// `role:NAME:minute`, each only where there is such a rule.
    pub fn budgets(&self) -> Vec<BudgetDef> {
        let budget = |rule: &str, per, limit, window| BudgetDef {
            name: derived_name("role", &self.name, rule),
            selector: Selector::Role(self.id()),
            per,
            limit,
            window,
        };
        let minute = WindowSpec::Rolling { span: MINUTE };
        let session = self.session.map(|rule| {
            budget("session", Per::Session, rule.limit, WindowSpec::Session { span: rule.span })
        });
        let agent = self
            .rates
            .nano_per_minute
            .map(|limit| budget("agent-minute", Per::Agent, limit, minute.clone()));
        let role = self
            .role_rates
            .nano_per_minute
            .map(|limit| budget("minute", Per::Role, limit, minute.clone()));
        [session, agent, role].into_iter().flatten().collect()
    }
}

impl Rates {
    /// The budget that a provider's spend-per-minute rule amounts to: `provider:NAME:minute`.
    pub fn provider_budget(&self, provider: &Name) -> Option<BudgetDef> {
        Some(BudgetDef {
            name: derived_name("provider", provider, "minute"),
            selector: Selector::Provider(crate::domain::id::ProviderId::named(provider)),
            per: Per::All,
            limit: self.nano_per_minute?,
            window: WindowSpec::Rolling { span: MINUTE },
        })
    }
}

/// `kind:name:rule`; where that is too long for a name, the name's id stands for it, because a name cut
/// short could be another's.
fn derived_name(kind: &str, name: &Name, rule: &str) -> Name {
    format!("{kind}:{name}:{rule}").parse().unwrap_or_else(|_| {
        format!("{kind}:{}:{rule}", RoleId::named(name))
            .parse()
            .expect("an id of 36 bytes and two short words make a name")
    })
}
