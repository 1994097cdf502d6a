//! Asks a payee how a channel stands of which the last charge is not known.
//!
//! It is asked with a voucher for what was charged already and no more: no call can be charged to that,
//! so that the answer is a refusal that says how the channel stands there.

use std::time::Duration;

use bytes::Bytes;

use crate::domain::x402::batch::corrective::{Correction, read_correction};
use crate::domain::x402::batch::word;
use crate::domain::x402::payload::{grpc_resource, voucher_payload};
use crate::ports::paid_service::{PaidCall, ServiceError};
use crate::runtime::channels::Doubted;
use crate::runtime::payer::Payer;
use crate::runtime::payer::offers::Candidate;
use crate::runtime::payer::pay::Prepared;
use crate::runtime::treasury::Refused;

/// How long a payee may take to say how a channel stands.
const ANSWER_WAIT_MAX: Duration = Duration::from_secs(10);

impl Payer {
    /// Finds out how a channel stands, and gives it back. Whether it is lent again.
    pub(super) async fn recover(
        &self,
        prepared: &Prepared,
        candidate: &Candidate,
        doubted: Doubted,
    ) -> Result<bool, Refused> {
        let until = self.parts.clock.now().after(ANSWER_WAIT_MAX);
        let said = tokio::select! {
            biased;
            said = self.ask_standing(prepared, candidate, &doubted) => said,
            () = self.parts.clock.sleep_until(until) => None,
        };
        match said {
            Some(correction) => doubted.answered(&correction).await,
            None => {
                doubted.unanswered();
                Ok(false)
            }
        }
    }

    async fn ask_standing(
        &self,
        prepared: &Prepared,
        candidate: &Candidate,
        doubted: &Doubted,
    ) -> Option<Correction> {
        let (ceiling, signature) = doubted.sign().await.ok()?;
        let lease = doubted.lease();
        let payment = voucher_payload(
            grpc_resource(&candidate.quote.quote.resource),
            candidate.requirement().to_wire(),
            word::payload(&lease.terms, &ceiling, &signature, None),
            None,
            // Not the payment's name: a payee that knows less than was charged may take it for a call.
            None,
        );
        let call = PaidCall {
            order: prepared.wish.order.clone(),
            quote: Some(candidate.quote.as_ref().clone()),
            content_type: prepared.wish.content_type.clone(),
            // Nobody works for it, and a call that was served before is not taken for it.
            body: Bytes::new(),
            payment: Some(payment),
            signed_order: None,
            peer: None,
            streamed: false,
        };
        match candidate.service.infer(call).await {
            Err(ServiceError::PaymentRequired(offer)) => read_correction(&offer, lease.channel),
            Err(_) | Ok(_) => None,
        }
    }
}
