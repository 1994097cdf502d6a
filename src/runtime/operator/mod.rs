//! What an operator may do: put policies in force, add agents, pause and resume. And what an agent may
//! do about its own: look at its budgets, carve out one for a sub-agent. Never signs, never pays.

use crate::domain::fault::{Class, Fault};
use crate::domain::id::{AgentId, Name};
use crate::domain::ledger::agent::{Agent, Principal, Scope, TokenHash};
use crate::domain::ledger::budget::BudgetCheck;
use crate::domain::ledger::window::WindowError;
use crate::domain::ledger::{Command, Event, Rejection};
use crate::domain::money::Nano;
use crate::domain::policy::{Denial, PolicyDocument};
use crate::domain::time::Timestamp;
use crate::runtime::rules::Rules;
use crate::runtime::treasury::{Refused, Treasury};

/// Why an operator's act was not done; nothing changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OperatorError {
    /// The ledger refused.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// The role is not in the policy in force.
    #[error("no role is called {role}: the policy in force has {known}")]
    UnknownRole {
        /// As asked.
        role: Name,
        /// Those there are.
        known: String,
    },
    /// The agent's role does not let it delegate.
    #[error(transparent)]
    Denied(#[from] Denial),
    /// A budget's window cannot be computed.
    #[error("budget {budget}: {error}")]
    BadWindow {
        /// Which budget.
        budget: Name,
        /// What is wrong with its window.
        error: WindowError,
    },
}

impl Fault for OperatorError {
    fn code(&self) -> &'static str {
        match self {
            Self::Refused(refused) => refused.code(),
            Self::UnknownRole { .. } => "operator.unknown_role",
            Self::Denied(denial) => denial.code(),
            Self::BadWindow { .. } => "operator.bad_window",
        }
    }

    fn class(&self) -> Class {
        match self {
            Self::Refused(refused) => refused.class(),
            Self::UnknownRole { .. } | Self::Denied(_) | Self::BadWindow { .. } => Class::Final,
        }
    }
}

/// An agent to be added.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewAgent {
    /// Its name.
    pub name: Name,
    /// Its role.
    pub role: Name,
    /// Its group.
    pub group: Name,
    /// The wallet it pays from.
    pub wallet: Name,
    /// What proves that it is itself.
    pub token: TokenHash,
}

/// A budget to be carved out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewDelegation {
    /// Who carves it out.
    pub parent: AgentId,
    /// The sub-agent's name.
    pub child: Name,
    /// What proves that it is itself.
    pub token: TokenHash,
    /// How much.
    pub limit: Nano,
    /// Until when.
    pub until: Timestamp,
}

/// Changes what is not a payment.
#[derive(Clone)]
pub struct Operator {
    treasury: Treasury,
    rules: Rules,
}

impl Operator {
    /// The operator's desk at this treasury.
    pub fn new(treasury: Treasury) -> Self {
        Self { rules: Rules::new(treasury.clone()), treasury }
    }

    /// Puts a policy in force. The version in force afterwards, and whether it is a new one: the same
    /// document again changes nothing.
    ///
    /// # Errors
    /// [`OperatorError`]; then the policy before stays in force.
    pub async fn apply(
        &self,
        policy: &PolicyDocument,
        reason: String,
        by: Principal,
    ) -> Result<(u32, bool), OperatorError> {
        let budgets = policy.all_budgets();
        for def in &budgets {
            let bad = |error| OperatorError::BadWindow { budget: def.name.clone(), error };
            def.window.check().map_err(bad)?;
        }
        let document = policy.to_json();
        let command = Command::ApplyPolicy { budgets, document, reason, by };
        match self.treasury.execute(command).await {
            Ok(done) => match done.event {
                Event::PolicyApplied { version, .. } => Ok((version, true)),
                event => unreachable!("a policy becomes its event, not {}", event.kind()),
            },
            Err(refused) if refused.rejection() == Some(&Rejection::Unchanged) => {
                Ok((self.treasury.read(|ledger| ledger.policy().version).await?, false))
            }
            Err(refused) => Err(refused.into()),
        }
    }

    /// Adds an agent with a role that the policy in force knows.
    ///
    /// # Errors
    /// [`OperatorError`].
    pub async fn add_agent(&self, new: NewAgent, by: Principal) -> Result<(), OperatorError> {
        let rules = self.rules.current().await?;
        if rules.policy.find_role(&new.role).is_none() {
            let known: Vec<&str> = rules.policy.roles.keys().map(Name::as_str).collect();
            return Err(OperatorError::UnknownRole { role: new.role, known: known.join(", ") });
        }
        let NewAgent { name, role, group, wallet, token } = new;
        let agent = Agent { name, role, group, wallet, token, delegation: None };
        self.treasury.execute(Command::AddAgent { agent, by }).await?;
        Ok(())
    }

    /// Replaces an agent's token; the old one proves nothing from then on.
    ///
    /// # Errors
    /// [`OperatorError`].
    pub async fn replace_token(
        &self,
        agent: Name,
        token: TokenHash,
        by: Principal,
    ) -> Result<(), OperatorError> {
        self.treasury.execute(Command::ReplaceToken { agent, token, by }).await?;
        Ok(())
    }

    /// Stops every new signature of a scope. Once this returns, none leaves any more; holds stay.
    /// Whether anything changed.
    ///
    /// # Errors
    /// [`OperatorError`].
    pub async fn pause(
        &self,
        scope: Scope,
        reason: String,
        by: Principal,
    ) -> Result<bool, OperatorError> {
        self.change(Command::Pause { scope, reason, by }).await
    }

    /// Lets signing go on. Whether anything changed.
    ///
    /// # Errors
    /// [`OperatorError`].
    pub async fn resume(&self, scope: Scope, by: Principal) -> Result<bool, OperatorError> {
        self.change(Command::Resume { scope, by }).await
    }

    /// Carves out a budget for a new sub-agent.
    ///
    /// # Errors
    /// [`OperatorError`]; [`Denial::NoDelegation`] where the parent's role does not delegate.
    pub async fn delegate(&self, new: NewDelegation) -> Result<(), OperatorError> {
        let parent = new.parent;
        let found = self.treasury.read(move |ledger| ledger.find_agent(parent).cloned()).await?;
        if let Some(agent) = found {
            let rules = self.rules.current().await?;
            match rules.policy.find_role(&agent.role) {
                Some(role) => role.check_delegation()?,
                None => return Err(Denial::NoDelegation { role: agent.role }.into()),
            }
        }
        let NewDelegation { parent, child, token, limit, until } = new;
        self.treasury.execute(Command::Delegate { parent, child, token, limit, until }).await?;
        Ok(())
    }

    /// Every account of every budget as it stands at `now`.
    ///
    /// # Errors
    /// [`OperatorError`].
    pub async fn budgets(&self, now: Timestamp) -> Result<Vec<BudgetCheck>, OperatorError> {
        Ok(self.treasury.read(move |ledger| ledger.accounts(now)).await?)
    }

    /// The accounts that a payment of `agent` comes under, provider and model aside.
    ///
    /// # Errors
    /// [`OperatorError`].
    pub async fn budgets_of(
        &self,
        agent: AgentId,
        session: Option<Name>,
        now: Timestamp,
    ) -> Result<Vec<BudgetCheck>, OperatorError> {
        let look =
            self.treasury.read(move |ledger| ledger.accounts_of(agent, session.as_ref(), now));
        Ok(look.await?)
    }

    async fn change(&self, command: Command) -> Result<bool, OperatorError> {
        match self.treasury.execute(command).await {
            Ok(_) => Ok(true),
            Err(refused) if refused.rejection() == Some(&Rejection::Unchanged) => Ok(false),
            Err(refused) => Err(refused.into()),
        }
    }
}
