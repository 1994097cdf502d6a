//! The operator of the payers' node, who changes what is in force while money moves, and puts it all
//! right once nothing goes wrong any more.

use std::time::Duration;

use crate::domain::ledger::agent::{Principal, Scope};
use crate::domain::ledger::budget::BudgetDef;
use crate::domain::ledger::window::WindowSpec;
use crate::domain::money::Nano;
use crate::domain::policy::PolicyDocument;
use crate::ports::clock::Clock as _;
use crate::runtime::operator::{Operator, OperatorError};
use crate::runtime::treasury::Treasury;
use crate::sim::fate::Fault;
use crate::sim::founding::{self, AGENTS};
use crate::sim::plan::Plan;
use crate::sim::roles::{Ground, PRICE, name};

/// How long the operator thinks between two rounds, in milliseconds at most.
const ROUND_MS_MAX: u64 = 20_000;

/// No cap is raised above that.
const LIMIT_MAX: u64 = 1_000_000;

/// What an operator may do.
const ACTS: [Fault; 7] = [
    Fault::Paused,
    Fault::Resumed,
    Fault::CapLowered,
    Fault::CapRaised,
    Fault::RoleTightened,
    Fault::RoleLoosened,
    Fault::WindowChanged,
];

/// The operator.
pub struct Acting {
    ground: Ground,
    plan: Plan,
    treasury: Treasury,
    desk: Operator,
}

impl Acting {
    /// The operator of this treasury's node.
    pub fn new(ground: Ground, plan: Plan, treasury: Treasury) -> Self {
        Self { ground, plan, desk: Operator::new(treasury.clone()), treasury }
    }

    /// Round after round; ends with the process, or when all is right again.
    pub async fn run(self) {
        if !ACTS.iter().any(|act| self.plan.knows(*act)) {
            return;
        }
        loop {
            let later = self.ground.clock.now().after(self.ground.fate.millis(ROUND_MS_MAX));
            self.ground.clock.sleep_until(later).await;
            let healed = self.ground.fate.is_healed();
            let done = if healed { self.put_right().await } else { self.round().await };
            if healed || done.is_err() {
                return;
            }
        }
    }

    async fn round(&self) -> Result<(), OperatorError> {
        for act in ACTS {
            if self.ground.fate.draws(act) && self.act(act).await? {
                self.ground.fate.count(act);
            }
        }
        Ok(())
    }

    /// Resumes everything, and puts the first policy in force.
    async fn put_right(&self) -> Result<(), OperatorError> {
        let paused = |ledger: &crate::domain::ledger::Ledger| {
            ledger.pauses().map(|(scope, _)| scope.clone()).collect::<Vec<Scope>>()
        };
        for scope in self.treasury.read(paused).await? {
            self.resume(scope).await?;
        }
        let policy = founding::policy(&self.plan);
        self.desk.apply(&policy, "all is right again".to_owned(), Principal::Operator).await?;
        Ok(())
    }

    /// Whether anything changed.
    async fn act(&self, act: Fault) -> Result<bool, OperatorError> {
        let fate = &self.ground.fate;
        match act {
            Fault::Paused => {
                let scope = self.draw_scope();
                let reason = format!("reason {}", fate.below(2));
                let changed = self.desk.pause(scope.clone(), reason, Principal::Operator).await?;
                self.ground.oracle.freeze(scope);
                Ok(changed)
            }
            Fault::Resumed => {
                let first = |ledger: &crate::domain::ledger::Ledger| {
                    ledger.pauses().next().map(|(scope, _)| scope.clone())
                };
                match self.treasury.read(first).await? {
                    Some(scope) => self.resume(scope).await,
                    None => Ok(false),
                }
            }
            Fault::CapLowered => self.change_limit(|limit| limit / 2).await,
            Fault::CapRaised => {
                self.change_limit(|limit| limit.saturating_mul(2).clamp(PRICE, LIMIT_MAX)).await
            }
            Fault::WindowChanged => self.change_policy(change_window).await,
            Fault::RoleTightened => {
                let (role, how) = (fate.below(2), fate.below(3));
                self.change_policy(|policy| tighten(policy, role, how)).await
            }
            _ => {
                let roles = founding::policy(&self.plan).roles;
                self.change_policy(|policy| policy.roles = roles).await
            }
        }
    }

    fn draw_scope(&self) -> Scope {
        let fate = &self.ground.fate;
        let agents = u64::try_from(AGENTS.len()).unwrap_or(u64::MAX);
        let drawn = usize::try_from(fate.below(agents)).unwrap_or(0);
        let (agent, role, group) = AGENTS.get(drawn).copied().unwrap_or_default();
        match fate.below(4) {
            0 => Scope::All,
            1 => Scope::Group(name(group)),
            2 => Scope::Role(name(role)),
            _ => Scope::Agent(name(agent)),
        }
    }

    async fn resume(&self, scope: Scope) -> Result<bool, OperatorError> {
        self.ground.oracle.thaw(&scope);
        self.desk.resume(scope, Principal::Operator).await
    }

    async fn change_limit(&self, change: impl FnOnce(u64) -> u64) -> Result<bool, OperatorError> {
        let drawn = self.ground.fate.below(8);
        self.change_policy(|policy| {
            let len = u64::try_from(policy.budgets.len()).unwrap_or(u64::MAX);
            let at = usize::try_from(drawn.checked_rem(len).unwrap_or(0)).unwrap_or(0);
            if let Some(budget) = policy.budgets.get_mut(at) {
                budget.limit = Nano::new(change(budget.limit.get()));
            }
        })
        .await
    }

    async fn change_policy(
        &self,
        change: impl FnOnce(&mut PolicyDocument),
    ) -> Result<bool, OperatorError> {
        let document = self.treasury.read(|ledger| ledger.policy().document.clone()).await?;
        let policy = PolicyDocument::from_json(&document);
        let mut policy = policy.expect("the policy in force was written by this program");
        change(&mut policy);
        let why = "by draw".to_owned();
        let (version, changed) = self.desk.apply(&policy, why, Principal::Operator).await?;
        self.ground.fate.note(format_args!("policy {version} is in force"));
        Ok(changed)
    }
}

/// A rolling budget counts over another span.
fn change_window(policy: &mut PolicyDocument) {
    let rolling = |budget: &&mut BudgetDef| matches!(budget.window, WindowSpec::Rolling { .. });
    if let Some(budget) = policy.budgets.iter_mut().find(rolling) {
        let short = WindowSpec::Rolling { span: Duration::from_secs(60) };
        let long = WindowSpec::Rolling { span: Duration::from_secs(97) };
        budget.window = if budget.window == short { long } else { short };
    }
}

fn tighten(policy: &mut PolicyDocument, role: u64, how: u64) {
    let role = usize::try_from(role).unwrap_or(0);
    let Some(role) = policy.roles.values_mut().nth(role) else { return };
    match how {
        0 => role.per_call_max = Nano::new(PRICE.saturating_sub(1)),
        1 => role.deny.providers = vec!["echoer".parse().expect("a literal pattern")],
        _ => role.can_delegate = false,
    }
}
