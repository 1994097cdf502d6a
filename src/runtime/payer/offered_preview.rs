//! What paying a stranger's offer would cost, and what would be decided. Nothing is held, noted or signed.

use crate::domain::id::PaymentId;
use crate::domain::ledger::Rejection;
use crate::domain::ledger::budget::BudgetCheck;
use crate::domain::money::{Amount, Nano};
use crate::domain::policy::{self, Denial, Offer, RuleCheck};
use crate::domain::quote::PayBy;
use crate::runtime::limits::Key;
use crate::runtime::payer::offered::to_wish;
use crate::runtime::payer::pay::{find_role, rejected};
use crate::runtime::payer::{OfferedCall, PayError, Payer};

/// The way that would be taken, and what rules and budgets say to it at this instant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OfferedPreview {
    /// The cheapest way that is allowed, or else the cheapest.
    pub pay_by: PayBy,
    /// What it would cost at most.
    pub amount: Amount,
    /// The same in budgets.
    pub nano: Nano,
    /// Whether it is above what the caller would pay.
    pub too_dear: bool,
    /// By which policy.
    pub policy_version: u32,
    /// Every rule that was looked at.
    pub rules: Vec<RuleCheck>,
    /// The rule that says no.
    pub denial: Option<Denial>,
    /// The accounts that it would count in, provider and model aside.
    pub budgets: Vec<BudgetCheck>,
}

impl Payer {
    /// What paying an offer would cost and what would be decided. It counts in the agent's and the role's
    /// rate like a call.
    ///
    /// # Errors
    /// [`PayError`] where there is nothing to decide about.
    pub async fn preview_offer(&self, call: OfferedCall) -> Result<OfferedPreview, PayError> {
        let (id, wish) = (call.agent, to_wish(&call));
        let payment = PaymentId::derive(id, call.request, 0);
        let refuse = |refused| PayError::Refused { payment, refused: Box::new(refused) };
        let rules = self.rules.current().await.map_err(refuse)?;
        let agent = self.parts.treasury.read(move |ledger| ledger.find_agent(id).cloned());
        let unknown = || refuse(rejected(Rejection::UnknownAgent(id)));
        let agent = agent.await.map_err(refuse)?.ok_or_else(unknown)?;
        let role = find_role(&rules, &agent)?;
        let keys = [(Key::Agent(id), role.rates), (Key::Role(agent.role_id()), role.role_rates)];
        let _admission = self.parts.limits.admit(&keys)?;
        let mut best: Option<OfferedPreview> = None;
        for (nano, way) in self.find_ways(&call, &rules)? {
            let (pay_by, amount) = (way.requirement.pay_by, way.requirement.amount);
            let offer = Offer {
                order: &wish.order,
                provider: &call.provider,
                model: &call.model,
                pay_to: pay_by.pay_to,
                asset: pay_by.asset,
                scheme: pay_by.scheme,
                amount,
                nano,
            };
            let too_dear = call.price_max.is_some_and(|max| nano > max);
            let (checks, denial) = match policy::decide(role, &offer) {
                Ok(checks) => (checks, None),
                Err(denied) => (denied.rules, Some(denied.denial)),
            };
            let does = !too_dear && denial.is_none();
            let seen = OfferedPreview {
                pay_by,
                amount,
                nano,
                too_dear,
                policy_version: rules.version,
                rules: checks,
                denial,
                budgets: Vec::new(),
            };
            if does {
                best = Some(seen);
                break;
            }
            best = best.or(Some(seen));
        }
        let best = best.expect("an offer that checks out has a way to pay");
        let (nano, session, now) = (best.nano, call.session, self.parts.clock.now());
        let look = move |ledger: &crate::domain::ledger::Ledger| {
            ledger.accounts_of(id, session.as_ref(), now)
        };
        let accounts = self.parts.treasury.read(look).await.map_err(refuse)?;
        let budgets = accounts.into_iter().map(|check| BudgetCheck { asked: nano, ..check });
        Ok(OfferedPreview { budgets: budgets.collect(), ..best })
    }
}
