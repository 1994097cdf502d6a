//! gRPC status as our errors: what a client makes of a refusal, and of silence.
//!
//! After a payment left, everything that is not the payee's own clear word is an unknown outcome: a
//! proxy's UNAVAILABLE or a lost connection says nothing about the money.

use std::error::Error as _;

use tonic::{Code, ConnectError, Status};
use tonic_types::{ErrorInfo, StatusExt};

use super::{DOMAIN, PAYMENT_REQUIRED_REASON, X402_DOMAIN, short};
use crate::domain::time::Timestamp;
use crate::edge::grpc::x402;
use crate::ports::directory::DirectoryError;
use crate::ports::engine::EngineError;
use crate::ports::paid_service::ServiceError;

/// What a failed call had sent.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Sent {
    /// Nothing that money moves by.
    NoPayment,
    /// A signed payment.
    Payment,
}

/// Why a service gave no answer.
pub fn read_service_error(status: &Status, sent: Sent) -> ServiceError {
    if let Some(error) = read_offer(status) {
        return error;
    }
    let info = status.get_details_error_info();
    let ours = info.filter(|info| info.domain == DOMAIN);
    if let Some(error) = ours.and_then(|info| read_reason(status, &info)) {
        return error;
    }
    let words = short(format_args!("{:?}: {}", status.code(), status.message()));
    let never_left = was_never_sent(status);
    match (sent, status.code()) {
        (Sent::Payment, _) if !never_left => ServiceError::Unknown(words),
        (Sent::NoPayment, Code::InvalidArgument | Code::Unimplemented | Code::OutOfRange) => {
            ServiceError::Malformed { field: "call".to_owned(), problem: words }
        }
        (Sent::Payment | Sent::NoPayment, _) => ServiceError::Unavailable(words),
    }
}

/// Why a directory refused or gave no answer.
pub fn read_directory_error(status: &Status) -> DirectoryError {
    let info = status.get_details_error_info().filter(|info| info.domain == DOMAIN);
    let read = |info: ErrorInfo| {
        let number = |name: &str| info.metadata.get(name).and_then(|text| text.parse().ok());
        let provider = info.metadata.get("provider").cloned();
        match info.reason.as_str() {
            "DIRECTORY_REFUSED" => {
                Some(DirectoryError::Refused { provider: provider?, problem: violation(status)? })
            }
            "DIRECTORY_NAME_TAKEN" => Some(DirectoryError::NameTaken {
                provider: provider?,
                until: Timestamp::from_nanos(number("until_ns")?),
            }),
            "DIRECTORY_FULL" => Some(DirectoryError::Full { bound: number("bound")? }),
            "DIRECTORY_CURSOR_TOO_OLD" => Some(DirectoryError::CursorTooOld),
            "DIRECTORY_TOO_SLOW" => Some(DirectoryError::TooSlow { bound: number("bound")? }),
            "DIRECTORY_TOO_MANY_WATCHERS" => {
                Some(DirectoryError::TooManyWatchers { bound: number("bound")? })
            }
            "DIRECTORY_UNAVAILABLE" => {
                Some(DirectoryError::Unavailable(info.metadata.get("problem")?.clone()))
            }
            "GRPC_MALFORMED" => Some(DirectoryError::Refused {
                provider: provider.unwrap_or_default(),
                problem: short(status.message()),
            }),
            _ => None,
        }
    };
    info.and_then(read).unwrap_or_else(|| {
        DirectoryError::Unavailable(short(format_args!(
            "{:?}: {}",
            status.code(),
            status.message()
        )))
    })
}

/// The offer, where the status is one. Only RESOURCE_EXHAUSTED is, and only with x402's ErrorInfo or,
/// from payees that send no details, with an offer that reads as one.
fn read_offer(status: &Status) -> Option<ServiceError> {
    if status.code() != Code::ResourceExhausted {
        return None;
    }
    let other = status
        .get_details_error_info()
        .is_some_and(|info| info.domain != X402_DOMAIN || info.reason != PAYMENT_REQUIRED_REASON);
    if other {
        return None;
    }
    let offer = Box::new(x402::find_offer(status.metadata(), status.message())?);
    let failed = x402::find_settlement(status.metadata()).filter(|settled| !settled.success);
    Some(match failed {
        Some(response) => ServiceError::SettlementFailed { offer, response: Box::new(response) },
        None => ServiceError::PaymentRequired(offer),
    })
}

/// A refusal by a service of ours.
fn read_reason(status: &Status, info: &ErrorInfo) -> Option<ServiceError> {
    let number = |name: &str| info.metadata.get(name).and_then(|text| text.parse().ok());
    let problem = || info.metadata.get("problem").cloned();
    let error = match info.reason.as_str() {
        "SERVICE_MALFORMED" | "GRPC_MALFORMED" => {
            let details = status.get_details_bad_request()?;
            let violation = details.field_violations.into_iter().next()?;
            ServiceError::Malformed { field: violation.field, problem: violation.description }
        }
        "SERVICE_BOUND" => ServiceError::Bound,
        "SERVICE_RATE_LIMITED" => {
            ServiceError::RateLimited { retry_after_ms: number("retry_after_ms")? }
        }
        "SERVICE_UNAVAILABLE" => ServiceError::Unavailable(problem()?),
        "SERVICE_DUE" => ServiceError::Due,
        "SERVICE_UNKNOWN" => ServiceError::Unknown(problem()?),
        "ENGINE_BAD_REQUEST" => ServiceError::Engine(EngineError::BadRequest {
            capability: info.metadata.get("capability")?.clone(),
            problem: violation(status)?,
        }),
        "ENGINE_INPUT_ABOVE_ORDER" => ServiceError::Engine(EngineError::InputAboveOrder {
            counted: number("counted")?,
            covered: number("covered")?,
        }),
        "ENGINE_BODY_ABOVE_ORDER" => ServiceError::Engine(EngineError::BodyAboveOrder {
            counted: number("counted")?,
            covered: number("covered")?,
        }),
        "ENGINE_ANSWER_ABOVE_ORDER" => {
            ServiceError::Engine(EngineError::AnswerAboveOrder { covered: number("covered")? })
        }
        "ENGINE_FAILED" => ServiceError::Engine(EngineError::Failed(problem()?)),
        "ENGINE_BUSY" => ServiceError::Engine(EngineError::Busy { running: number("running")? }),
        _ => return None,
    };
    Some(error)
}

fn violation(status: &Status) -> Option<String> {
    let details = status.get_details_bad_request()?;
    details.field_violations.into_iter().next().map(|violation| violation.description)
}

/// Whether the connection was never made, so that nothing can have left.
pub(in crate::edge::grpc) fn was_never_sent(status: &Status) -> bool {
    let mut source = status.source();
    while let Some(error) = source {
        if error.is::<ConnectError>() {
            return true;
        }
        source = error.source();
    }
    false
}
