//! What a bought call used, as the ledger keeps it.

use alloy::primitives::B256;

use crate::domain::id::{Fingerprint, PaymentId};
use crate::domain::ledger::Command;
use crate::domain::ledger::metered::{Metered, Whose};
use crate::domain::money::Amount;
use crate::ports::paid_service::Closing;
use crate::runtime::payer::offers::Candidate;
use crate::runtime::payer::pay::Standing;
use crate::runtime::payer::{Payer, Wish};

/// What a call was charged, as far as it is known.
#[derive(Copy, Clone, Debug)]
pub(super) struct Charge {
    /// How much.
    pub amount: Amount,
    /// By which transfer.
    pub transaction: Option<B256>,
    /// What the request says, where nothing was to be charged.
    pub free: Option<Fingerprint>,
}

impl Payer {
    /// Counts what a paid call used. Money does not depend on it, so that nobody waits for a second try.
    pub(super) async fn meter(&self, standing: &Standing, closing: &Closing, charge: Charge) {
        let Standing { wish, payment, candidate, .. } = standing;
        let metered = metered(wish, *payment, candidate, closing, charge);
        if let Err(refused) = self.parts.treasury.execute(Command::Meter(Box::new(metered))).await {
            tracing::warn!(%payment, %refused, "usage not counted");
        }
    }
}

/// The usage of `wish` by `candidate`.
pub(super) fn metered(
    wish: &Wish,
    payment: PaymentId,
    candidate: &Candidate,
    closing: &Closing,
    charge: Charge,
) -> Metered {
    let quote = &candidate.quote.quote;
    Metered {
        whose: Whose::Bought {
            agent: wish.agent,
            payment,
            request: wish.request,
            free: charge.free,
        },
        provider: quote.provider.clone(),
        capability: quote.capability.clone(),
        model: quote.model.clone(),
        usage: closing.usage,
        stored: candidate.stored(&wish.body),
        asset: candidate.pay_by.asset,
        amount: charge.amount,
        transaction: charge.transaction,
    }
}
