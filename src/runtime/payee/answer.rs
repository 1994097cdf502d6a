//! What a served caller gets: receipt, settlement and pieces, also from what was kept.

use alloy::primitives::B256;
use bytes::Bytes;
use futures_util::{StreamExt, stream};

use crate::domain::ledger::claim::Accepted;
use crate::domain::order::Usage;
use crate::domain::x402::PaymentCode;
use crate::domain::x402::receipt::{Receipt, SignedReceipt};
use crate::domain::x402::settlement::{Settled, not_settled, settled};
use crate::domain::x402::wire::SettlementResponse;
use crate::ports::archive::{ANSWER_LEN_MAX, AnswerKey, KeptAnswer};
use crate::ports::paid_service::{Answer, Closing, Piece, ServiceError};
use crate::runtime::payee::Desk;

/// An answer that was made, whole.
pub(super) struct Produced {
    pub content_type: String,
    pub model: String,
    pub body: Bytes,
    pub usage: Usage,
    /// SHA-256 of the body.
    pub digest: B256,
}

impl Produced {
    /// What is kept of it: its bytes where they are few enough.
    pub(super) fn to_keep(&self, receipt: Option<SignedReceipt>) -> KeptAnswer {
        KeptAnswer {
            content_type: self.content_type.clone(),
            model: self.model.clone(),
            body: (self.body.len() <= ANSWER_LEN_MAX).then(|| self.body.clone()),
            usage: self.usage,
            receipt,
            charge: None,
        }
    }
}

impl Desk {
    /// The end of an answer that `transaction` paid, or that is not paid yet.
    pub(super) fn closing(
        &self,
        accepted: &Accepted,
        transaction: Option<B256>,
        usage: Usage,
    ) -> Closing {
        let receipt = Receipt {
            payment: accepted.payment,
            provider: accepted.provider.clone(),
            resource: self.offering.resource.clone(),
            payer: accepted.payer(),
            asset: accepted.commitment.asset,
            amount: accepted.amount,
            usage,
            // Nothing was sent for a charge of nothing.
            transaction: transaction.filter(|_| !accepted.amount.is_zero()),
            issued_at_s: self.parts.clock.now().as_secs(),
        };
        let receipt = Some(self.parts.signer.sign_receipt(receipt));
        let response = match transaction {
            Some(transaction) => response(accepted, transaction),
            None => not_settled(&accepted.commitment, PaymentCode::Pending, None),
        };
        Closing { usage, response, receipt }
    }

    /// Keeps an answer, so that the same payment gets it again.
    pub(super) async fn keep(&self, accepted: &Accepted, answer: KeptAnswer) {
        let (key, at) = (AnswerKey::Sold(accepted.key()), self.parts.clock.now());
        self.parts.archive.keep_answer(key, answer, at).await;
    }

    /// The answer to a payment that was served before. Served once is served: an answer that is no
    /// longer kept is not made again.
    ///
    /// # Errors
    /// [`ServiceError::Unavailable`] where nothing of it is kept.
    pub(super) async fn answer_again(
        &self,
        accepted: &Accepted,
        transaction: B256,
    ) -> Result<Answer, ServiceError> {
        let unavailable = || ServiceError::Unavailable(GONE.to_owned());
        let key = AnswerKey::Sold(accepted.key());
        let kept = self.parts.archive.find_answer(key).await.ok_or_else(unavailable)?;
        Ok(kept_answer(kept, response(accepted, transaction)))
    }
}

/// An answer that was kept, and what was said of its payment.
pub(super) fn kept_answer(kept: KeptAnswer, response: SettlementResponse) -> Answer {
    let KeptAnswer { content_type, model, body, usage, receipt, .. } = kept;
    // An answer without its bytes would pass for an empty one. What was paid is said all the same.
    let pieces = match body {
        Some(body) => {
            let closing = Closing { usage, response: response.clone(), receipt };
            vec![Ok(Piece::Chunk(body)), Ok(Piece::Done(Box::new(closing)))]
        }
        None => vec![Err(ServiceError::Unavailable(GONE.to_owned()))],
    };
    let pieces = stream::iter(pieces).boxed();
    Answer { content_type, model, settled: Some(response), pieces }
}

/// What is said of an answer that is kept no more: what was charged for it.
pub(super) fn cut_answer(response: SettlementResponse) -> Answer {
    let settled = Some(response.clone());
    let closing = Closing { usage: Usage::default(), response, receipt: None };
    let pieces = stream::iter([Ok(Piece::Cut(Box::new(closing)))]).boxed();
    Answer { content_type: String::new(), model: String::new(), settled, pieces }
}

/// Why an answer that was given before is not given again.
const GONE: &str = "it was served before, and the answer is no longer kept";

/// An answer in one piece.
pub(super) fn whole(produced: Produced, closing: Closing) -> Answer {
    let Produced { content_type, model, body, .. } = produced;
    let settled = Some(closing.response.clone());
    let pieces = [Ok(Piece::Chunk(body)), Ok(Piece::Done(Box::new(closing)))];
    Answer { content_type, model, settled, pieces: stream::iter(pieces).boxed() }
}

/// What is said of a settlement that succeeded.
pub(super) fn response(accepted: &Accepted, transaction: B256) -> SettlementResponse {
    let amount = accepted.amount;
    settled(&accepted.commitment, &Settled { transaction, amount })
}
