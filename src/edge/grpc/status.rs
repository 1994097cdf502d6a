//! Our errors as gRPC status, and back: the only place that chooses a status code.
//!
//! Every status carries `google.rpc` details: always ErrorInfo with the stable code and the numbers
//! at that instant, QuotaFailure for budgets, RetryInfo for rates and nothing else, BadRequest for
//! what is malformed, PreconditionFailure where a state is in the way. A client that meets
//! RESOURCE_EXHAUSTED so never takes a price for a rate limit, nor a spent budget for either.

mod ledger;
mod read;
mod runtime;

use std::collections::HashMap;
use std::fmt::Display;
use std::time::Duration;

use tonic::metadata::MetadataMap;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

pub(super) use read::was_never_sent;
pub use read::{Sent, read_directory_error, read_service_error};

use crate::domain::fault::Fault;
use crate::domain::id::PaymentId;
use crate::domain::x402::wire::{PaymentRequired, SettlementResponse};
use crate::edge::grpc::convert::Malformed;
use crate::edge::grpc::limits::TEXT_LEN_MAX;
use crate::edge::grpc::x402;
use crate::ports::directory::DirectoryError;
use crate::ports::engine::EngineError;
use crate::ports::journal::JournalError;
use crate::ports::paid_service::ServiceError;

/// The ErrorInfo domain of every refusal of ours.
pub const DOMAIN: &str = "bursar.dev";

/// The ErrorInfo domain of what x402 says.
pub const X402_DOMAIN: &str = "x402.org";

/// The ErrorInfo reason of an offer. Source: docs/x402-grpc.md.
pub const PAYMENT_REQUIRED_REASON: &str = "PAYMENT_REQUIRED";

/// A status under construction: its code, its words and its details.
struct Told {
    code: Code,
    message: String,
    reason: String,
    facts: HashMap<String, String>,
    details: ErrorDetails,
}

impl Told {
    /// `fault` under `code`, with the numbers at that instant.
    fn new(
        code: Code,
        fault: &impl Fault,
        numbers: impl IntoIterator<Item = (&'static str, String)>,
    ) -> Self {
        let facts = numbers.into_iter().map(|(name, value)| (name.to_owned(), short(value)));
        Self {
            code,
            message: short(fault),
            reason: reason(fault.code()),
            facts: facts.collect(),
            details: ErrorDetails::new(),
        }
    }

    /// The payment that it is about, for asking why.
    fn payment(mut self, payment: PaymentId) -> Self {
        self.facts.insert("payment".to_owned(), payment.to_string());
        self
    }

    /// Which field is malformed, and how.
    fn bad_field(mut self, field: &str, problem: impl Display) -> Self {
        self.details.add_bad_request_violation(short(field), short(problem));
        self
    }

    /// When a rate gives room again. Budgets never say this: clients retry by themselves on it.
    fn retry_after(mut self, wait: Duration) -> Self {
        self.details.set_retry_info(Some(wait));
        self
    }

    /// Which budget has no room.
    fn quota(mut self, subject: impl Display, description: impl Display) -> Self {
        self.details.add_quota_failure_violation(short(subject), short(description));
        self
    }

    /// Which state is in the way.
    fn state(mut self, kind: &str, subject: impl Display, description: impl Display) -> Self {
        self.details.add_precondition_failure_violation(kind, short(subject), short(description));
        self
    }

    fn status(mut self) -> Status {
        self.details.set_error_info(self.reason, DOMAIN, self.facts);
        Status::with_error_details(self.code, self.message, self.details)
    }
}

/// `ledger.over_budget` as ErrorInfo spells it: `LEDGER_OVER_BUDGET`.
fn reason(code: &str) -> String {
    code.replace('.', "_").to_ascii_uppercase()
}

/// At most [`TEXT_LEN_MAX`] bytes of `value`: details ride in metadata, which is bounded.
fn short(value: impl Display) -> String {
    let mut text = value.to_string();
    let mut end = TEXT_LEN_MAX.min(text.len());
    while !text.is_char_boundary(end) {
        end = end.saturating_sub(1);
    }
    text.truncate(end);
    text
}

/// For `map_err`: any refusal that has a status.
pub(super) fn refuse<E>(error: E) -> Status
where
    for<'a> Status: From<&'a E>,
{
    Status::from(&error)
}

/// For `map_err` where the error's type has to be said.
pub(super) fn malformed(error: Malformed) -> Status {
    Status::from(&error)
}

impl From<&Malformed> for Status {
    fn from(error: &Malformed) -> Self {
        Told::new(Code::InvalidArgument, error, []).bad_field(&error.field, &error.problem).status()
    }
}

impl From<&ServiceError> for Status {
    fn from(error: &ServiceError) -> Self {
        match error {
            ServiceError::PaymentRequired(offer) => payment_required(offer, None),
            ServiceError::SettlementFailed { offer, response } => {
                payment_required(offer, Some(response))
            }
            ServiceError::Malformed { field, problem } => {
                Told::new(Code::InvalidArgument, error, []).bad_field(field, problem).status()
            }
            ServiceError::Bound => Told::new(Code::AlreadyExists, error, []).status(),
            ServiceError::RateLimited { retry_after_ms } => {
                let numbers = [("retry_after_ms", retry_after_ms.to_string())];
                Told::new(Code::ResourceExhausted, error, numbers)
                    .retry_after(Duration::from_millis(*retry_after_ms))
                    .status()
            }
            ServiceError::Unavailable(problem) => {
                Told::new(Code::Unavailable, error, [("problem", problem.clone())]).status()
            }
            ServiceError::Engine(inner) => inner.into(),
            ServiceError::Due => Told::new(Code::DeadlineExceeded, error, []).status(),
            ServiceError::Unknown(problem) => {
                Told::new(Code::DeadlineExceeded, error, [("problem", problem.clone())]).status()
            }
        }
    }
}

/// An offer: what would have to be paid, and what came of a payment that did not do.
fn payment_required(offer: &PaymentRequired, failed: Option<&SettlementResponse>) -> Status {
    let mut trailers = MetadataMap::new();
    let mut put = || -> Result<Option<String>, Malformed> {
        if let Some(response) = failed {
            x402::put_settlement(&mut trailers, response)?;
        }
        x402::put_offer(&mut trailers, offer)
    };
    let message = match put() {
        Ok(message) => message,
        // The offer is this side's own: too long to send is a fault of its configuration.
        Err(problem) => return Status::internal(problem.to_string()),
    };
    let mut details = ErrorDetails::new();
    let error: HashMap<_, _> =
        offer.error.iter().map(|error| ("error".to_owned(), short(error))).collect();
    details.set_error_info(PAYMENT_REQUIRED_REASON, X402_DOMAIN, error);
    let message = message.unwrap_or_else(|| "payment required".to_owned());
    Status::with_error_details_and_metadata(Code::ResourceExhausted, message, details, trailers)
}

impl From<&EngineError> for Status {
    fn from(error: &EngineError) -> Self {
        match error {
            EngineError::BadRequest { capability, problem } => {
                let names = [("capability", capability.clone())];
                Told::new(Code::InvalidArgument, error, names).bad_field("body", problem).status()
            }
            EngineError::InputAboveOrder { counted, covered } => {
                let numbers = [("counted", counted.to_string()), ("covered", covered.to_string())];
                Told::new(Code::InvalidArgument, error, numbers)
                    .bad_field("order.input_max", error)
                    .status()
            }
            EngineError::BodyAboveOrder { counted, covered } => {
                let numbers = [("counted", counted.to_string()), ("covered", covered.to_string())];
                Told::new(Code::InvalidArgument, error, numbers)
                    .bad_field("order.stored_max", error)
                    .status()
            }
            EngineError::AnswerAboveOrder { covered } => {
                Told::new(Code::InvalidArgument, error, [("covered", covered.to_string())])
                    .bad_field("order.bytes_max", error)
                    .status()
            }
            EngineError::Failed(problem) => {
                Told::new(Code::Unavailable, error, [("problem", problem.clone())]).status()
            }
            EngineError::Declined { .. } => Told::new(Code::FailedPrecondition, error, []).status(),
            EngineError::Busy { running } => {
                Told::new(Code::ResourceExhausted, error, [("running", running.to_string())])
                    .status()
            }
        }
    }
}

impl From<&DirectoryError> for Status {
    fn from(error: &DirectoryError) -> Self {
        match error {
            DirectoryError::Refused { provider, problem } => {
                Told::new(Code::InvalidArgument, error, [("provider", provider.clone())])
                    .bad_field("listing", problem)
                    .status()
            }
            DirectoryError::NameTaken { provider, until } => {
                let numbers = [
                    ("provider", provider.clone()),
                    ("until", until.to_string()),
                    ("until_ns", until.as_nanos().to_string()),
                ];
                Told::new(Code::AlreadyExists, error, numbers).status()
            }
            DirectoryError::Full { bound } => {
                Told::new(Code::ResourceExhausted, error, [("bound", bound.to_string())]).status()
            }
            DirectoryError::CursorTooOld => Told::new(Code::FailedPrecondition, error, []).status(),
            DirectoryError::TooSlow { bound } | DirectoryError::TooManyWatchers { bound } => {
                Told::new(Code::ResourceExhausted, error, [("bound", bound.to_string())]).status()
            }
            DirectoryError::Unavailable(problem) => {
                Told::new(Code::Unavailable, error, [("problem", problem.clone())]).status()
            }
        }
    }
}

impl From<&JournalError> for Status {
    fn from(error: &JournalError) -> Self {
        match error {
            JournalError::Damaged { seq, .. } => {
                Told::new(Code::DataLoss, error, [("seq", seq.to_string())]).status()
            }
            JournalError::WriteFailed(_) | JournalError::Unfit(_) => {
                Told::new(Code::DataLoss, error, []).status()
            }
            JournalError::InUse(_) => Told::new(Code::Unavailable, error, []).status(),
        }
    }
}

#[cfg(test)]
mod tests;
