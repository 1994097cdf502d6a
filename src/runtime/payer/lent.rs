//! Calls that a payee serves on credit: held and drawn as any, with no signature of their own, until what
//! it lends is used up. The next voucher covers all of them.

use crate::domain::channel::Ceiling;
use crate::domain::money::Amount;
use crate::domain::x402::batch::read::{CreditWord, VoucherWord};
use crate::domain::x402::batch::word::find_credit;
use crate::ports::paid_service::ServiceError;
use crate::runtime::channels::Lease;
use crate::runtime::payer::call::{Ended, Pieces, call_with};
use crate::runtime::payer::flow::Signed;
use crate::runtime::payer::pay::Standing;
use crate::runtime::payer::told::{Saying, Trust};
use crate::runtime::payer::{PayError, Payer};

impl Payer {
    /// Calls on credit, where the payee gives enough of it, and tells whoever listens; the lease comes back
    /// where a voucher has to pay.
    pub(super) async fn carry_on_credit(
        &self,
        standing: &mut Standing,
        lease: Lease,
        pieces: &Pieces,
    ) -> Option<Lease> {
        let Some(granted) = self.word_on_credit(standing, &lease).await else {
            return Some(lease);
        };
        Box::pin(self.call_on_credit(standing, lease, granted, pieces)).await
    }

    async fn call_on_credit(
        &self,
        standing: &mut Standing,
        lease: Lease,
        (ceiling, word): (Ceiling, CreditWord),
        pieces: &Pieces,
    ) -> Option<Lease> {
        let call = Saying::OnCredit(call_with(standing, None), word);
        let ended = self.call(standing, call, pieces).await;
        if is_refused(&ended) {
            // It wants a voucher, with everything said anew.
            self.told.forget(lease.channel);
            return Some(lease);
        }
        let signed = Signed { base: word.charged, ceiling, held: standing.drawn };
        let settled = self.settle_by_channel(standing, lease, signed, &ended).await;
        self.finish_by_channel(standing, (ended, None), settled, pieces).await;
        None
    }

    /// What the call says on credit, and up to what it may be charged; nothing where what is owed with it at
    /// its worst would pass what the payee lends.
    async fn word_on_credit(
        &self,
        standing: &Standing,
        lease: &Lease,
    ) -> Option<(Ceiling, CreditWord)> {
        // What comes in has to be said with a voucher.
        let may = lease.takes_credit()
            && !lease.is_filling()
            && !lease.is_again()
            && standing.plan.is_none();
        if !may || !self.is_brief(standing, lease) {
            return None;
        }
        let Trust { voucher, credit } = self.told.trust_of(lease.channel)?;
        let ceiling = lease.let_charge(standing.payment).await.ok()?;
        let owed = ceiling.amount.checked_sub(voucher.ceiling.amount).unwrap_or(Amount::ZERO);
        let charged = ceiling.amount.checked_sub(standing.drawn)?;
        (owed <= credit).then_some((ceiling, CreditWord { voucher, charged }))
    }

    /// Remembers what the payee lends above a voucher that paid.
    pub(super) fn remember_credit(&self, lease: &Lease, voucher: VoucherWord, ended: &Ended) {
        let Ended::Whole { closing, .. } = ended else { return };
        if let Some(credit) = find_credit(&closing.response).filter(|_| lease.takes_credit()) {
            self.told.trust(Trust { voucher, credit });
        }
    }
}

/// Whether the payee wants to be paid otherwise, and took nothing.
fn is_refused(ended: &Ended) -> bool {
    match ended {
        Ended::Broken(PayError::Provider { error, .. }) => {
            matches!(**error, ServiceError::PaymentRequired(_) | ServiceError::Malformed { .. })
        }
        Ended::Broken(_) | Ended::Whole { .. } | Ended::Cut { .. } => false,
    }
}
