//! Pays back what was paid and not served in time.
//!
//! That it is paid back is durable before anything is signed, and from then on it is not served. The
//! refund's nonce follows from the claim, so that however often it is sent, also after a crash, it moves
//! at most once.

use std::sync::Arc;
use std::time::Duration;

use crate::domain::ledger::Command;
use crate::domain::ledger::claim::{Claim, ClaimState};
use crate::ports::rail::{RailError, Settlement};
use crate::ports::signer::RefundSigner;
use crate::runtime::payee::Desk;
use crate::runtime::treasury::Refused;

/// How long a refund's authorization lives.
const REFUND_LIFE: Duration = Duration::from_secs(300);

/// How and when a payee pays back.
#[derive(Clone)]
pub struct Refunds {
    /// Has the payTo key.
    pub signer: Arc<dyn RefundSigner>,
    /// How long after its binding a paid call may wait to be served.
    pub after: Duration,
}

impl Desk {
    /// Whether `claim` has waited long enough to be paid back.
    pub(super) fn is_overdue(&self, claim: &Claim) -> bool {
        let age = self.parts.clock.now().since(claim.accepted_at);
        self.refunds.as_ref().is_some_and(|refunds| age >= refunds.after)
    }

    /// Pays `claim` back, or goes on with it. Whether it is paid back now; an error says that the rail
    /// was silent.
    pub(super) async fn refund(&self, claim: &Claim) -> Result<Result<bool, RailError>, Refused> {
        let Some(refunds) = &self.refunds else { return Ok(Ok(false)) };
        let key = claim.accepted.key();
        if matches!(claim.state, ClaimState::Due { .. })
            && self.book(Command::BeginRefund { claim: key }).await?.is_none()
        {
            // Served a moment ago.
            return Ok(Ok(false));
        }
        let begun =
            self.parts.treasury.read(move |ledger| ledger.find_claim(&key).cloned()).await?;
        let valid_before_s = self.parts.clock.now().after(REFUND_LIFE).as_secs();
        let signed = begun.and_then(|claim| refunds.signer.sign_refund(&claim, valid_before_s));
        let Some(authorization) = signed else {
            tracing::error!(payer = %key.payer, "refund not signed: the payTo key is elsewhere");
            return Ok(Ok(false));
        };
        let (payer, amount) = (key.payer, authorization.commitment.amount_max);
        match self.ask_to_settle(&authorization, amount).await {
            Ok(Settlement::Settled { transaction, .. }) => {
                let refund = Command::Refund { claim: key, transaction };
                let refunded = self.book(refund).await?.is_some();
                tracing::warn!(%payer, %amount, %transaction, "paid and not served: paid back");
                Ok(Ok(refunded))
            }
            Ok(Settlement::Unknown { .. }) => Ok(Ok(false)),
            Ok(Settlement::Refused(by)) => {
                tracing::error!(%payer, %amount, ?by, "refund refused by the rail");
                Ok(Ok(false))
            }
            Err(problem) => Ok(Err(problem)),
        }
    }

    /// Does `command`; `None` where the ledger refuses it.
    async fn book(&self, command: Command) -> Result<Option<()>, Refused> {
        match self.parts.treasury.execute(command).await {
            Ok(_) => Ok(Some(())),
            Err(Refused::Rejected(refusal)) => {
                tracing::warn!(rejection = %refusal.rejection, "refund not booked");
                Ok(None)
            }
            Err(stopped) => Err(stopped),
        }
    }
}
