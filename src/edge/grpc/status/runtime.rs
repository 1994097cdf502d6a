//! Refusals of the runtime and of the guard before it.

use std::time::Duration;

use tonic::{Code, Status};

use super::{Told, ledger, reason};
use crate::domain::fault::Fault;
use crate::edge::grpc::guard::GuardError;
use crate::ports::holds::NotSignable;
use crate::ports::signer::SignerError;
use crate::runtime::limits::Limited;
use crate::runtime::operator::OperatorError;
use crate::runtime::payer::{NotClosed, PayError};

impl From<&GuardError> for Status {
    fn from(error: &GuardError) -> Self {
        match error {
            GuardError::Unauthenticated => Told::new(Code::Unauthenticated, error, []).status(),
            GuardError::Forbidden { method, caller } => {
                let facts = [("method", method.clone()), ("caller", (*caller).to_owned())];
                Told::new(Code::PermissionDenied, error, facts).status()
            }
            GuardError::Refused(refused) => refused.into(),
        }
    }
}

impl From<&OperatorError> for Status {
    fn from(error: &OperatorError) -> Self {
        match error {
            OperatorError::Refused(refused) => refused.into(),
            OperatorError::Denied(denial) => denial.into(),
            OperatorError::UnknownRole { role, .. } => {
                Told::new(Code::InvalidArgument, error, [("role", role.to_string())])
                    .bad_field("role", error)
                    .status()
            }
            OperatorError::BadWindow { budget, .. } => {
                Told::new(Code::InvalidArgument, error, [("budget", budget.to_string())])
                    .bad_field("document", error)
                    .status()
            }
        }
    }
}

impl From<&PayError> for Status {
    /// Where money may have moved the code is DEADLINE_EXCEEDED, so that no client takes it for a
    /// refusal; asking again with the same request id never pays twice.
    fn from(error: &PayError) -> Self {
        let told = match error {
            PayError::Denied { denied, .. } => ledger::denial(&denied.denial),
            PayError::Refused { refused, .. } => ledger::refused(refused),
            PayError::Limited(limited) => limit(limited),
            PayError::UnknownRole { role } => {
                Told::new(Code::PermissionDenied, error, [("role", role.to_string())])
            }
            PayError::NoProvider { capability, .. } => {
                Told::new(Code::NotFound, error, [("capability", capability.to_string())])
            }
            PayError::BodyTooLarge { len, max } => {
                let numbers = [("len", len.to_string()), ("max", max.to_string())];
                Told::new(Code::InvalidArgument, error, numbers).bad_field("body", error)
            }
            PayError::NoDirectory(_) | PayError::Draining => {
                Told::new(Code::Unavailable, error, [])
            }
            PayError::NoQuote { provider, .. } | PayError::ChannelsBusy { provider } => {
                Told::new(Code::Unavailable, error, [("provider", provider.to_string())])
            }
            PayError::TooDear { price, price_max } => {
                let numbers = [
                    ("price_nano", price.get().to_string()),
                    ("price_max_nano", price_max.get().to_string()),
                ];
                Told::new(Code::FailedPrecondition, error, numbers).state(
                    &reason(error.code()),
                    "price_max_nano",
                    error,
                )
            }
            PayError::Allowance { asset, payer, allowed, needed } => {
                let facts = [
                    ("asset", asset.to_string()),
                    ("payer", payer.to_string()),
                    ("allowed", allowed.to_string()),
                    ("needed", needed.to_string()),
                ];
                let told = Told::new(Code::FailedPrecondition, error, facts);
                told.state(&reason(error.code()), payer, error)
            }
            PayError::NotSigned { error, .. } => not_signed(error),
            PayError::Provider { provider, error: inner, .. } => {
                let facts = [("provider", provider.to_string()), ("inner", reason(inner.code()))];
                Told::new(Code::DeadlineExceeded, error, facts)
            }
            PayError::InDoubt { .. } => Told::new(Code::DeadlineExceeded, error, []),
            PayError::StrideTooLong { provider, stride, limit } => {
                let facts = [
                    ("provider", provider.to_string()),
                    ("stride", stride.to_string()),
                    ("limit", limit.to_string()),
                ];
                let told = Told::new(Code::FailedPrecondition, error, facts);
                told.state(&reason(error.code()), "stride", error)
            }
            PayError::Cut { provider, charged, .. } => {
                let facts = [("provider", provider.to_string()), ("charged", charged.to_string())];
                Told::new(Code::Aborted, error, facts)
            }
            PayError::AnswerGone { payment } => Told::new(Code::FailedPrecondition, error, [])
                .state(&reason(error.code()), payment, error),
        };
        match error.payment() {
            Some(payment) => told.payment(payment).status(),
            None => told.status(),
        }
    }
}

impl From<&NotClosed> for Status {
    fn from(error: &NotClosed) -> Self {
        let told = match error {
            NotClosed::Unknown(channel) => {
                Told::new(Code::NotFound, error, [("channel", channel.to_string())])
            }
            NotClosed::Closed(channel) => {
                let facts = [("channel", channel.to_string())];
                Told::new(Code::FailedPrecondition, error, facts).state(
                    &reason(error.code()),
                    channel,
                    error,
                )
            }
            NotClosed::Busy(channel) => {
                Told::new(Code::Unavailable, error, [("channel", channel.to_string())])
            }
            NotClosed::Silent { provider, .. } => {
                Told::new(Code::Unavailable, error, [("provider", provider.to_string())])
            }
            NotClosed::NoKeeper | NotClosed::NoWayOut => {
                Told::new(Code::FailedPrecondition, error, [])
            }
            NotClosed::Rail(_) => Told::new(Code::Unavailable, error, []),
            NotClosed::Stopped(refused) => return refused.into(),
            NotClosed::NotSigned(inner) => not_signed(inner),
        };
        told.status()
    }
}

impl From<&Limited> for Status {
    fn from(error: &Limited) -> Self {
        limit(error).status()
    }
}

fn limit(error: &Limited) -> Told {
    let key = ("limit", error.key().kind().to_owned());
    match error {
        Limited::Rate { per_minute, retry_after_ms, .. } => {
            let numbers = [
                key,
                ("per_minute", per_minute.to_string()),
                ("retry_after_ms", retry_after_ms.to_string()),
            ];
            Told::new(Code::ResourceExhausted, error, numbers)
                .retry_after(Duration::from_millis(*retry_after_ms))
        }
        Limited::Concurrency { bound, .. } => {
            Told::new(Code::ResourceExhausted, error, [key, ("bound", bound.to_string())])
        }
    }
}

fn not_signed(error: &SignerError) -> Told {
    match error {
        SignerError::NotSignable(NotSignable::Paused(payment)) => {
            Told::new(Code::FailedPrecondition, error, []).state("PAUSED", payment, error)
        }
        SignerError::NoKey(wallet) => Told::new(
            Code::FailedPrecondition,
            error,
            [("wallet", wallet.to_string())],
        )
        .state(&reason(error.code()), wallet, error),
        SignerError::NotSignable(NotSignable::Stopped) => Told::new(Code::DataLoss, error, []),
        SignerError::NotSignable(NotSignable::ChannelPaused(_)) => {
            Told::new(Code::FailedPrecondition, error, [])
        }
        SignerError::NotSignable(
            NotSignable::NoHold(_)
            | NotSignable::Ended(_)
            | NotSignable::NoDeposit(_)
            | NotSignable::NoChannel(_),
        )
        | SignerError::UnknownAsset(_)
        | SignerError::UnknownToken(_) => Told::new(Code::Internal, error, []),
    }
}
