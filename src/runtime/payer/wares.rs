//! What an agent may buy: the listings that its role lets pass, before anybody is asked for a quote.

use crate::domain::id::{AgentId, Name, PaymentId, RequestId};
use crate::domain::ledger::Rejection;
use crate::domain::ledger::agent::Agent;
use crate::domain::listing::{Query, Ware};
use crate::domain::money::{Amount, Nano};
use crate::domain::order::{Maxima, Order, Units};
use crate::domain::policy::{self, Denial, List, Offer, Role};
use crate::domain::quote::PayBy;
use crate::domain::time::Timestamp;
use crate::runtime::payer::pay::{find_role, rejected};
use crate::runtime::payer::{PayError, Payer};
use crate::runtime::rules::InForce;

/// One ware in one way of paying.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForSale {
    /// Who sells it.
    pub provider: Name,
    /// When its listing was made.
    pub listed_at: Timestamp,
    /// What is sold, at its list price.
    pub ware: Ware,
    /// The first way of paying that the role allows.
    pub pay_by: PayBy,
}

impl Payer {
    /// What `agent` may buy of `capabilities`, by its role's lists; prices and budgets are not looked at.
    ///
    /// # Errors
    /// [`PayError`].
    pub async fn for_sale(
        &self,
        agent: AgentId,
        capabilities: &[Name],
    ) -> Result<Vec<ForSale>, PayError> {
        let (rules, role) = self.role_of(agent).await?;
        let mut sold = Vec::new();
        for capability in capabilities {
            let query = Query {
                capability: capability.clone(),
                model: None,
                price_max: None,
                networks: Vec::new(),
            };
            let found = self.parts.book.find(&query).await;
            for signed in found.map_err(|error| PayError::NoDirectory(error.to_string()))? {
                let listing = &signed.listing;
                let wares = listing.wares.iter().filter(|ware| ware.capability == *capability);
                for ware in wares {
                    let mut ways = listing.pay_by.iter().filter(|way| {
                        self.is_payable(way) && rules.policy.assets.find(way.asset).is_some()
                    });
                    let order = order_of(ware);
                    let way = ways.find(|way| {
                        policy::decide(&role, &to_offer(&order, &listing.provider, ware, way))
                            .is_ok()
                    });
                    sold.extend(way.map(|way| ForSale {
                        provider: listing.provider.clone(),
                        listed_at: listing.issued_at,
                        ware: ware.clone(),
                        pay_by: *way,
                    }));
                }
            }
        }
        Ok(sold)
    }

    /// The most output that `agent` may order in one call, where its role bounds it.
    ///
    /// # Errors
    /// [`PayError`].
    pub async fn output_max_of(&self, agent: AgentId) -> Result<Option<Units>, PayError> {
        self.role_of(agent).await.map(|(_, role)| role.output_max)
    }

    /// Why the agent's role lets nothing of the kind pass, whatever it would cost; nothing where it does.
    ///
    /// # Errors
    /// [`PayError`] where there is no such agent or role.
    pub async fn find_denial(
        &self,
        agent: AgentId,
        found: &[(List, &Name)],
    ) -> Result<Option<Denial>, PayError> {
        self.role_of(agent).await.map(|(_, role)| role.check_lists(found).err())
    }

    async fn role_of(&self, id: AgentId) -> Result<(InForce, Role), PayError> {
        let payment = PaymentId::derive(id, RequestId::from_bytes([0; 16]), 0);
        let refuse = |refused| PayError::Refused { payment, refused: Box::new(refused) };
        let rules = self.rules.current().await.map_err(refuse)?;
        let found = self.parts.treasury.peek(move |ledger| ledger.find_agent(id).cloned());
        let unknown = || refuse(rejected(Rejection::UnknownAgent(id)));
        let agent: Agent = found.await.map_err(refuse)?.ok_or_else(unknown)?;
        let role = find_role(&rules, &agent)?.clone();
        Ok((rules, role))
    }
}

/// The smallest order of a ware: only a role's lists are held against it.
fn order_of(ware: &Ware) -> Order {
    Order {
        capability: ware.capability.clone(),
        model: Some(ware.model.clone()),
        input_max: Units(0),
        output_max: Units(0),
        maxima: Maxima::default(),
    }
}

fn to_offer<'a>(order: &'a Order, provider: &'a Name, ware: &'a Ware, way: &'a PayBy) -> Offer<'a> {
    Offer {
        order,
        provider,
        model: &ware.model,
        pay_to: way.pay_to,
        asset: way.asset,
        scheme: way.scheme,
        amount: Amount::ZERO,
        nano: Nano::ZERO,
    }
}
