//! What is said of a payment that was not signed now: that nothing ever was, and what was held is given
//! back; or, where a signature had left before, that its outcome is open, or what it came to.
//!
//! It never says that nothing was signed where something was: whoever hears that pays somebody else.

use crate::domain::fault::Fault;
use crate::domain::id::{AgentId, PaymentId, RequestId};
use crate::domain::ledger::hold::{HoldState, VoidProof};
use crate::domain::ledger::requests::RequestState;
use crate::domain::ledger::{Command, Ledger};
use crate::ports::signer::SignerError;
use crate::runtime::payer::call::Pieces;
use crate::runtime::payer::pay::Standing;
use crate::runtime::payer::{PayError, Payer};

/// A payment that was not signed now.
#[derive(Copy, Clone)]
pub(super) struct Unsigned {
    pub agent: AgentId,
    pub request: RequestId,
    pub payment: PaymentId,
    /// What the signer says.
    pub error: SignerError,
    /// Whether what was held is given back: nothing was ever signed.
    pub voided: bool,
}

impl Payer {
    /// Gives a hold back that the signer never saw; whether it did. Where the signer saw it, the ledger
    /// refuses, and the hold waits for the chain like any other.
    pub(super) async fn void(&self, payment: PaymentId) -> bool {
        let (proof, boot) = (VoidProof::NeverSigned, self.parts.treasury.boot());
        let voided = self.parts.treasury.execute(Command::Void { payment, proof, boot }).await;
        if let Err(refused) = &voided {
            tracing::warn!(%payment, code = refused.code(), "hold not voided");
        }
        voided.is_ok()
    }

    /// What a caller hears of it: [`PayError::NotSigned`] where nothing was ever signed,
    /// [`PayError::AnswerGone`] where it is paid, else [`PayError::InDoubt`].
    pub(super) async fn unsigned(&self, it: Unsigned) -> PayError {
        let Unsigned { payment, error, voided, .. } = it;
        if voided {
            return PayError::NotSigned { payment, error };
        }
        match self.parts.treasury.read(move |ledger| is_paid(ledger, &it)).await {
            Ok(true) => PayError::AnswerGone { payment },
            Ok(false) | Err(_) => PayError::InDoubt { payment, problem: error.to_string() },
        }
    }

    /// Tells whoever listens; where it is paid, with the answer that is kept.
    pub(super) async fn tell_unsigned(
        &self,
        standing: &mut Standing,
        (error, voided): (SignerError, bool),
        pieces: &Pieces,
    ) {
        let (payment, wish) = (standing.payment, &standing.wish);
        let it = Unsigned { agent: wish.agent, request: wish.request, payment, error, voided };
        let told = self.unsigned(it).await;
        let kept = match told {
            PayError::AnswerGone { .. } => {
                let hold =
                    self.parts.treasury.read(move |ledger| ledger.find_hold(payment).cloned());
                self.read_back(payment, hold.await.ok().flatten()).await
            }
            told => Err(told),
        };
        match kept {
            Ok(mut kept) => {
                standing.admissions.clear();
                while let Some(piece) = kept.pieces.recv().await {
                    if !self.hand_on(piece, pieces).await {
                        return;
                    }
                }
            }
            Err(told) => self.hand_last(standing, Err(told), pieces).await,
        }
    }
}

/// Whether the ledger says that it is paid: captured, or closed without leave for another attempt.
fn is_paid(ledger: &Ledger, it: &Unsigned) -> bool {
    if let Some(hold) = ledger.find_hold(it.payment) {
        return matches!(hold.state, HoldState::Captured { .. });
    }
    let open =
        ledger.find_draw(it.payment).is_some_and(|(found, _)| found.last == Some(it.payment));
    let seen = ledger.requests().find(it.agent, it.request);
    !open
        && seen.is_some_and(|seen| seen.payment == it.payment && seen.state == RequestState::Taken)
}
