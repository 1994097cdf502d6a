//! Refusals as HTTP: what has to be paid, what was wrong with a payment, and what is no refusal at all.
//!
//! Nothing of a payment or of a request's body is repeated in any of them.

use axum::body::Body;
use axum::http::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use axum::http::{HeaderName, StatusCode};
use axum::response::Response;
use serde_json::{Value, json};

use super::body::BodyError;
use super::first::FirstRequired;
use super::header::{self, HeaderError, PAYMENT_REQUIRED};
use super::limits::OFFER_TEXT_MAX;
use super::sell::Version;
use super::tell;
use crate::domain::fault::Fault;
use crate::domain::x402::PaymentCode;
use crate::domain::x402::identifier;
use crate::domain::x402::offer_receipt;
use crate::domain::x402::read::to_json;
use crate::domain::x402::wire::{PaymentRequired, SettlementResponse};
use crate::ports::engine::EngineError;
use crate::ports::paid_service::ServiceError;

/// Tells a client's own retrying whether it helps: a payment is never tried again by itself.
const X_SHOULD_RETRY: HeaderName = HeaderName::from_static("x-should-retry");

/// What has to be paid. The body says the same in version 1, where that has words for it.
pub fn offer(
    offer: &PaymentRequired,
    version: Version,
    failed: Option<&SettlementResponse>,
) -> Response {
    let allowance = PaymentCode::AllowanceRequired.as_str();
    let status = match offer.error.as_deref() {
        Some(code) if code == allowance => StatusCode::PRECONDITION_FAILED,
        _ => StatusCode::PAYMENT_REQUIRED,
    };
    let body = FirstRequired::of(offer).map_or_else(|| b"{}".to_vec(), |first| to_json(&first));
    let mut response = json_response(status, body);
    let headers = response.headers_mut();
    if version == Version::Second && put_offer(headers, offer).is_err() {
        tracing::error!("an offer is too long for a header");
        return problem(StatusCode::INTERNAL_SERVER_ERROR, "http.offer_too_long", Value::Null);
    }
    if let Some(failed) = failed {
        tell::settled(headers, failed, version);
    }
    response
}

/// An offer that is too long goes without what proves it, and then without what describes it.
fn put_offer(
    headers: &mut axum::http::HeaderMap,
    offer: &PaymentRequired,
) -> Result<(), HeaderError> {
    let without = |keys: &[&str]| {
        let mut shorter = offer.clone();
        if let Some(extensions) = &mut shorter.extensions {
            extensions.retain(|key, _| !keys.contains(&key.as_str()));
        }
        shorter
    };
    let put = |headers: &mut axum::http::HeaderMap, offer: &PaymentRequired| {
        header::put(headers, PAYMENT_REQUIRED, offer, OFFER_TEXT_MAX)
    };
    put(headers, offer)
        .or_else(|_| put(headers, &without(&[offer_receipt::KEY])))
        .or_else(|_| put(headers, &without(&[offer_receipt::KEY, super::bazaar::KEY])))
}

/// A payment header that is none.
pub fn header(error: &HeaderError) -> Response {
    let code = PaymentCode::Payload.as_str();
    problem(StatusCode::BAD_REQUEST, code, json!({ "problem": error.to_string() }))
}

/// A body that is not read.
pub fn body(error: &BodyError) -> Response {
    problem(error.status(), error.code(), json!({ "problem": error.to_string() }))
}

/// A payment without the name that is asked for. Source: x402 extension payment-identifier.
pub fn nameless() -> Response {
    let wanted = format!("extensions.{}.info.id", identifier::KEY);
    problem(StatusCode::BAD_REQUEST, PaymentCode::Payload.as_str(), json!({ "field": wanted }))
}

/// Everything else: each says by its status whether money may have been taken.
pub fn other(error: &ServiceError, version: Version, network: &str) -> Response {
    let code = error.code();
    match error {
        ServiceError::Malformed { field, problem: words } => {
            let payment = field == "payment-signature";
            let code = if payment { PaymentCode::Payload.as_str() } else { code };
            problem(StatusCode::BAD_REQUEST, code, json!({ "field": field, "problem": words }))
        }
        // Also what the extension payment-identifier asks for. Source: threats.md A25.
        ServiceError::Bound => {
            problem(StatusCode::CONFLICT, PaymentCode::Payload.as_str(), Value::Null)
        }
        ServiceError::RateLimited { retry_after_ms } => {
            let mut response = problem(StatusCode::TOO_MANY_REQUESTS, code, Value::Null);
            let seconds = retry_after_ms.div_ceil(1000);
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
            response
        }
        ServiceError::Unavailable(_) => problem(StatusCode::SERVICE_UNAVAILABLE, code, Value::Null),
        ServiceError::Engine(engine) => {
            let words = json!({ "problem": engine.to_string() });
            let (status, words) = match engine {
                EngineError::BadRequest { .. }
                | EngineError::InputAboveOrder { .. }
                | EngineError::BodyAboveOrder { .. } => (StatusCode::UNPROCESSABLE_ENTITY, words),
                EngineError::AnswerAboveOrder { .. } => (StatusCode::UNPROCESSABLE_ENTITY, words),
                EngineError::Busy { .. } => (StatusCode::SERVICE_UNAVAILABLE, Value::Null),
                EngineError::Failed(_) | EngineError::Declined { .. } => {
                    (StatusCode::BAD_GATEWAY, Value::Null)
                }
            };
            problem(status, code, words)
        }
        // The same payment again gets what is owed for it; another one would be a second.
        ServiceError::Due => still_open(StatusCode::BAD_GATEWAY, code),
        ServiceError::Unknown(_) => {
            let mut response = still_open(StatusCode::BAD_GATEWAY, code);
            tell::settled(response.headers_mut(), &pending(network), version);
            response
        }
        ServiceError::PaymentRequired(required) => offer(required, version, None),
        ServiceError::SettlementFailed { offer: required, response } => {
            offer(required, version, Some(response))
        }
    }
}

/// What is said of a settlement of which nobody knows the outcome.
fn pending(network: &str) -> SettlementResponse {
    SettlementResponse {
        success: false,
        error_reason: Some(PaymentCode::Pending.as_str().to_owned()),
        payer: None,
        transaction: String::new(),
        network: network.to_owned(),
        amount: None,
        extra: None,
        extensions: None,
    }
}

fn still_open(status: StatusCode, code: &str) -> Response {
    let mut response = problem(status, code, Value::Null);
    response.headers_mut().insert(X_SHOULD_RETRY, HeaderValue::from_static("false"));
    response
}

/// A refusal in JSON: its code, and what is known beside it.
pub fn problem(status: StatusCode, code: &str, more: Value) -> Response {
    let mut words = json!({ "error": code });
    if let (Some(words), Value::Object(more)) = (words.as_object_mut(), more) {
        words.extend(more);
    }
    json_response(status, to_json(&words))
}

fn json_response(status: StatusCode, body: Vec<u8>) -> Response {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(CONTENT_TYPE, json);
    tell::private(response)
}
