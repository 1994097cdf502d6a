//! What a call used, as the ledger keeps it.

use alloy::primitives::B256;

use crate::domain::id::Name;
use crate::domain::ledger::Command;
use crate::domain::ledger::metered::{Metered, Whose};
use crate::domain::order::Usage;
use crate::domain::quote::Quote;
use crate::ports::engine::Work;
use crate::runtime::payee::Desk;
use crate::runtime::payee::check::{Job, stored};

impl Desk {
    /// Counts what a sold call used. Money does not depend on it, so that nobody waits for a second try.
    pub(super) async fn meter(&self, job: &Job, usage: Usage, transaction: Option<B256>) {
        let accepted = &job.accepted;
        let (payer, payment) = (accepted.payer(), accepted.payment);
        let tiered = self.has_tiers(&accepted.capability, &accepted.model);
        let metered = Metered {
            whose: Whose::Sold { payer, payment, tiered },
            provider: accepted.provider.clone(),
            capability: accepted.capability.clone(),
            model: accepted.model.clone(),
            usage,
            stored: kept(&job.quote, &job.work),
            asset: accepted.commitment.asset,
            amount: accepted.amount,
            transaction,
        };
        if let Err(refused) = self.parts.treasury.execute(Command::Meter(Box::new(metered))).await {
            tracing::warn!(%refused, "usage not counted");
        }
    }

    fn has_tiers(&self, capability: &Name, model: &Name) -> bool {
        let mut wares = self.offering.wares.iter();
        wares.any(|ware| {
            ware.capability == *capability && ware.model == *model && !ware.tiers.is_none()
        })
    }
}

/// Bytes that are kept for a call: those of its body, where the quote has a price for keeping them.
pub(super) fn kept(quote: &Quote, work: &Work) -> u64 {
    if quote.terms.per_gb_stored.is_zero() { 0 } else { stored(work) }
}
