//! What a call would cost and what would be decided. Nothing is held, noted or signed.

use crate::domain::id::PaymentId;
use crate::domain::ledger::Rejection;
use crate::domain::ledger::budget::BudgetCheck;
use crate::domain::money::{Amount, Nano};
use crate::domain::policy::{self, Denial, RuleCheck};
use crate::domain::quote::SignedQuote;
use crate::runtime::limits::Key;
use crate::runtime::payer::offers::ways_looked_at;
use crate::runtime::payer::pay::{find_role, rejected, to_offer};
use crate::runtime::payer::{PayError, Payer, Wish};

/// The offer that would be taken, and what rules and budgets say to it at this instant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Preview {
    /// The best offer that is allowed, or else the best.
    pub quote: SignedQuote,
    /// What it would cost at most.
    pub amount: Amount,
    /// The same in budgets.
    pub nano: Nano,
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
    /// What paying for `wish` would cost and what would be decided; its request id and body are not
    /// looked at. It counts in the agent's and the role's rate like a call: providers are asked.
    ///
    /// # Errors
    /// [`PayError`] where there is no offer to decide about.
    pub async fn preview(&self, wish: &Wish) -> Result<Preview, PayError> {
        let id = wish.agent;
        let payment = PaymentId::derive(id, wish.request, 0);
        let refuse = |refused| PayError::Refused { payment, refused: Box::new(refused) };
        let rules = self.rules.current().await.map_err(refuse)?;
        let agent = self.parts.treasury.read(move |ledger| ledger.find_agent(id).cloned());
        let unknown = || refuse(rejected(Rejection::UnknownAgent(id)));
        let agent = agent.await.map_err(refuse)?.ok_or_else(unknown)?;
        let role = find_role(&rules, &agent)?;
        let keys = [(Key::Agent(id), role.rates), (Key::Role(agent.role_id()), role.role_rates)];
        let _admission = self.parts.limits.admit(&keys)?;
        let offers = self.find_offers(wish, agent.wallet_id(), &rules.policy.assets).await?;
        let decided =
            offers.iter().map(|offer| (offer, policy::decide(role, &to_offer(wish, offer))));
        let mut first = None;
        let mut best = None;
        for (offer, decision) in decided {
            let fits = wish.price_max.is_none_or(|max| offer.cost() <= max);
            match decision {
                Ok(mut checks) if fits => {
                    checks.extend(ways_looked_at(&offers, offer));
                    best = Some((offer, checks, None));
                    break;
                }
                Ok(checks) => first = first.or(Some((offer, checks, None))),
                Err(denied) => {
                    first = first.or(Some((offer, denied.rules, Some(denied.denial))));
                }
            }
        }
        let (offer, checks, denial) =
            best.or(first).expect("offers that were found are never none");
        let (nano, session, now) = (offer.cost(), wish.session.clone(), self.parts.clock.now());
        let look = move |ledger: &crate::domain::ledger::Ledger| {
            ledger.accounts_of(id, session.as_ref(), now)
        };
        let accounts = self.parts.treasury.read(look).await.map_err(refuse)?;
        let budgets = accounts.into_iter().map(|check| BudgetCheck { asked: nano, ..check });
        Ok(Preview {
            quote: offer.quote.as_ref().clone(),
            amount: offer.amount,
            nano,
            policy_version: rules.version,
            rules: checks,
            denial,
            budgets: budgets.collect(),
        })
    }
}
