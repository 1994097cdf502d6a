//! A facilitator's door over gRPC: the same as over HTTP, in version 2 of x402 only.
//!
//! What does not read is `INVALID_ARGUMENT`, trouble of ours `UNAVAILABLE`, and too much about one payer's
//! payments `RESOURCE_EXHAUSTED` with when there is room again; everything else is said in the
//! answer.

use std::sync::Arc;

use async_trait::async_trait;
use serde::Serialize;
use tonic::{Request, Response, Status};

use crate::domain::x402::error::PaymentError;
use crate::domain::x402::read::{parse_asked, parse_payment_payload, to_json};
use crate::domain::x402::wire::{PaymentPayload, PaymentRequirements};
use crate::edge::grpc::limits::{REQUEST_LEN_MAX, RESPONSE_LEN_MAX};
use crate::edge::grpc::pb;
use crate::edge::grpc::pb::facilitator_service_server::{
    FacilitatorService, FacilitatorServiceServer,
};
use crate::runtime::facilitator::{Answer, Facilitator, Standing};

/// `facilitator` behind its door, ready to be added to a server.
pub fn serve_facilitator(
    facilitator: Arc<Facilitator>,
) -> FacilitatorServiceServer<FacilitatorDoor> {
    FacilitatorServiceServer::new(FacilitatorDoor(facilitator))
        .max_decoding_message_size(REQUEST_LEN_MAX)
        .max_encoding_message_size(RESPONSE_LEN_MAX)
}

/// A facilitator as the generated server wants it.
pub struct FacilitatorDoor(Arc<Facilitator>);

#[async_trait]
impl FacilitatorService for FacilitatorDoor {
    async fn verify_payment(
        &self,
        request: Request<pb::VerifyPaymentRequest>,
    ) -> Result<Response<pb::VerifyPaymentResponse>, Status> {
        let pb::VerifyPaymentRequest { payment_payload, payment_requirements } =
            request.into_inner();
        let (payload, requirements) = read(&payment_payload, &payment_requirements)?;
        let answer = said(self.0.verify(&payload, &requirements).await, |body| {
            (body.invalid_reason.clone(), body.invalid_message.clone())
        })?;
        Ok(Response::new(pb::VerifyPaymentResponse {
            is_valid: answer.is_valid,
            invalid_reason: answer.invalid_reason.unwrap_or_default(),
            invalid_message: answer.invalid_message.unwrap_or_default(),
            payer: answer.payer.unwrap_or_default(),
            extra: json(answer.extra.as_ref()),
        }))
    }

    async fn settle_payment(
        &self,
        request: Request<pb::SettlePaymentRequest>,
    ) -> Result<Response<pb::SettlePaymentResponse>, Status> {
        let pb::SettlePaymentRequest { payment_payload, payment_requirements } =
            request.into_inner();
        let (payload, requirements) = read(&payment_payload, &payment_requirements)?;
        let facilitator = Arc::clone(&self.0);
        // Whoever asked may hang up: what was begun is brought to its end.
        let settling =
            tokio::spawn(async move { facilitator.settle(&payload, &requirements).await });
        let answer = settling.await.map_err(|_| Status::internal("settling ended early"))?;
        let answer = said(answer, |body| (body.error_reason.clone(), None))?;
        Ok(Response::new(pb::SettlePaymentResponse {
            success: answer.success,
            error_reason: answer.error_reason.unwrap_or_default(),
            payer: answer.payer.unwrap_or_default(),
            transaction: answer.transaction,
            network: answer.network,
            amount: answer.amount.unwrap_or_default(),
            extra: json(answer.extra.as_ref()),
        }))
    }

    async fn get_supported(
        &self,
        _request: Request<pb::GetSupportedRequest>,
    ) -> Result<Response<pb::GetSupportedResponse>, Status> {
        let supported = self.0.supported();
        let kinds = supported.kinds.iter().map(|kind| pb::SupportedKind {
            scheme: kind.scheme.clone(),
            network: kind.network.clone(),
            extra: json(kind.extra.as_ref()),
        });
        Ok(Response::new(pb::GetSupportedResponse {
            kinds: kinds.collect(),
            extensions: supported.extensions,
            signers: supported.signers.into_values().flatten().collect(),
        }))
    }
}

fn read(
    payload: &[u8],
    requirements: &[u8],
) -> Result<(PaymentPayload, PaymentRequirements), Status> {
    let refused = |error: PaymentError| Status::invalid_argument(error.to_string());
    let payload = parse_payment_payload(payload).map_err(refused)?;
    let (requirements, _) = parse_asked(requirements).map_err(refused)?;
    Ok((payload, requirements))
}

/// What was looked into; the rest is a status.
fn said<T>(
    answer: Answer<T>,
    why: impl Fn(&T) -> (Option<String>, Option<String>),
) -> Result<T, Status> {
    let (code, message) = why(&answer.body);
    let text = message.or(code).unwrap_or_default();
    match answer.standing {
        Standing::Said => Ok(answer.body),
        Standing::Malformed => Err(Status::invalid_argument(text)),
        Standing::Trouble => Err(Status::unavailable(text)),
        Standing::Limited(limited) => Err(Status::from(&limited)),
    }
}

fn json<T: Serialize>(object: Option<&T>) -> bytes::Bytes {
    object.map(to_json).unwrap_or_default().into()
}
