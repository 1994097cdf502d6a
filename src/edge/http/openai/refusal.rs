//! Refusals in the form that OpenAI's clients read: a status, and an `error` with type and code.
//!
//! Those clients try again by themselves on 408, 409, 429 and from 500 up, unless `x-should-retry` says
//! otherwise. So a budget is a 403, rates alone are a 429, and what may have been paid says that it must
//! not be asked for anew. Nothing of a payment, a prompt or a key is in any of them.

use std::fmt::Display;
use std::time::Duration;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER};
use http::{HeaderMap, StatusCode};
use serde_json::{Map, Value, json};

use crate::domain::fault::Fault;
use crate::domain::id::PaymentId;
use crate::domain::ledger::Rejection;
use crate::domain::ledger::budget::BudgetCheck;
use crate::domain::policy::Denial;
use crate::edge::http::client::FetchError;
use crate::ports::holds::NotSignable;
use crate::ports::paid_service::ServiceError;
use crate::ports::signer::SignerError;
use crate::runtime::limits::Limited;
use crate::runtime::payer::{PayError, QuoteProblem};
use crate::runtime::treasury::Refused;

/// How long to wait for a provider, a directory or a channel that was not to be had.
const AGAIN_AFTER: Duration = Duration::from_secs(1);

/// Longest message, in bytes.
const MESSAGE_LEN_MAX: usize = 512;

/// Whether a client may try again by itself.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
enum Retry {
    Never,
    After(Duration),
}

/// A refusal.
#[derive(Debug)]
pub(in crate::edge::http) struct Refusal(Box<Told>);

#[derive(Debug)]
struct Told {
    status: StatusCode,
    kind: &'static str,
    code: &'static str,
    message: String,
    retry: Retry,
    /// Ours: the stable code, and the numbers at that instant.
    facts: Map<String, Value>,
    headers: HeaderMap,
}

impl Refusal {
    fn new(status: StatusCode, kind: &'static str, code: &'static str, what: impl Display) -> Self {
        let mut message = what.to_string();
        let mut end = MESSAGE_LEN_MAX.min(message.len());
        while !message.is_char_boundary(end) {
            end = end.saturating_sub(1);
        }
        message.truncate(end);
        let (facts, headers) = (Map::new(), HeaderMap::new());
        let retry = Retry::Never;
        Self(Box::new(Told { status, kind, code, message, retry, facts, headers }))
    }

    fn forbidden(code: &'static str, what: impl Display) -> Self {
        Self::new(StatusCode::FORBIDDEN, "permission_error", code, what)
    }

    fn unavailable(code: &'static str, what: impl Display) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "server_error", code, what).after(AGAIN_AFTER)
    }

    fn open(code: &'static str, what: impl Display) -> Self {
        Self::new(StatusCode::BAD_GATEWAY, "server_error", code, what)
    }

    fn after(mut self, wait: Duration) -> Self {
        self.0.retry = Retry::After(wait);
        self
    }

    fn fact(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.0.facts.insert(name.to_owned(), value.into());
        self
    }

    fn header_out(mut self, name: &'static str, value: &str) -> Self {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.0.headers.insert(HeaderName::from_static(name), value);
        }
        self
    }

    /// No token, or one that proves nothing.
    pub(in crate::edge::http) fn unauthenticated() -> Self {
        let what = "expected one `Authorization: Bearer` header with an agent's token in force";
        Self::new(StatusCode::UNAUTHORIZED, "authentication_error", "invalid_api_key", what)
    }

    /// No such request.
    pub(in crate::edge::http) fn malformed(what: impl Display) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid_request_error", "malformed", what)
    }

    /// A header that does not read.
    pub(in crate::edge::http) fn header(name: &'static str, problem: impl Display) -> Self {
        Self::malformed(format_args!("`{name}`: {problem}"))
    }

    /// A model that nobody sells.
    pub(in crate::edge::http) fn no_model(model: impl Display) -> Self {
        let what = format_args!("nobody sells `{model}` here; GET /v1/models says what is sold");
        Self::new(StatusCode::NOT_FOUND, "invalid_request_error", "model_not_found", what)
    }

    /// More at once than is done here.
    pub(in crate::edge::http) fn busy() -> Self {
        Self::unavailable("busy", "too many requests are being made at this moment")
    }

    /// A body above the bound.
    pub(in crate::edge::http) fn too_large(bound: usize) -> Self {
        let what = format_args!("the body is larger than {bound} bytes");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "invalid_request_error", "body_too_large", what)
    }

    /// The ledger says no, or cannot be asked.
    pub(in crate::edge::http) fn of_ledger(refused: &Refused) -> Self {
        match refused {
            Refused::Stopped { .. } => Self::unavailable("ledger_unavailable", refused),
            Refused::Rejected(refusal) => rejected(&refusal.rejection),
        }
        .fact("reason", refused.code())
    }

    /// As an event of a stream that has begun.
    pub(super) fn event(self) -> bytes::Bytes {
        format!("data: {}\n\n", self.body()).into()
    }

    fn body(&self) -> Value {
        let told = &self.0;
        json!({ "error": {
            "message": told.message,
            "type": told.kind,
            "param": null,
            "code": told.code,
            "bursar": told.facts,
        }})
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut response = Response::new(Body::from(self.body().to_string()));
        let told = *self.0;
        *response.status_mut() = told.status;
        let headers = response.headers_mut();
        headers.extend(told.headers);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let retries = match told.retry {
            Retry::Never => "false",
            Retry::After(wait) => {
                let wait_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
                headers.insert(RETRY_AFTER, wait_ms.div_ceil(1000).max(1).into());
                headers.insert("retry-after-ms", wait_ms.into());
                "true"
            }
        };
        headers.insert("x-should-retry", HeaderValue::from_static(retries));
        response
    }
}

impl From<FetchError> for Refusal {
    fn from(error: FetchError) -> Self {
        let code = error.code();
        let told = match error {
            FetchError::Pay(error) => return error.into(),
            FetchError::Denied(denial) => denied_by(&denial),
            FetchError::Origin(_) => Self::forbidden("url_not_allowed", error),
            FetchError::OwnPayment(_) | FetchError::BodyTooLong { .. } => Self::malformed(error),
            FetchError::Unreachable { .. } => Self::unavailable("server_unavailable", error),
            FetchError::Offer { .. } => Self::open("offer_unreadable", error),
            FetchError::InDoubt { payment, .. } => {
                Self::open("settlement_unknown", error).payment(payment)
            }
        };
        told.fact("reason", code)
    }
}

impl From<PayError> for Refusal {
    fn from(error: PayError) -> Self {
        let told = pay(&error).fact("reason", error.code());
        match error.payment() {
            Some(payment) => told.payment(payment),
            None => told,
        }
    }
}

impl Refusal {
    /// The payment that it is about, for asking why.
    fn payment(self, payment: PaymentId) -> Self {
        let text = payment.to_string();
        self.header_out("x-bursar-payment", &text).fact("payment", text)
    }
}

fn pay(error: &PayError) -> Refusal {
    match error {
        PayError::UnknownRole { .. } => Refusal::forbidden("role_not_allowed", error),
        PayError::Denied { denied, .. } => denied_by(&denied.denial),
        PayError::Refused { refused, .. } => Refusal::of_ledger(refused),
        PayError::Limited(limited) => limit(limited),
        PayError::NoProvider { capability, model } => match model {
            Some(model) => Refusal::no_model(model),
            None => Refusal::no_model(capability),
        },
        PayError::BodyTooLarge { max, .. } => Refusal::too_large(*max),
        PayError::NoQuote {
            problem: QuoteProblem::Service(ServiceError::Malformed { .. }),
            ..
        } => Refusal::malformed(error),
        PayError::NoDirectory(_)
        | PayError::NoQuote { .. }
        | PayError::ChannelsBusy { .. }
        | PayError::Draining => Refusal::unavailable("provider_unavailable", error),
        PayError::TooDear { price, price_max } => Refusal::forbidden("price_above_cap", error)
            .fact("price_usd", price.to_string())
            .fact("price_max_usd", price_max.to_string()),
        PayError::Allowance { .. } => Refusal::forbidden("wallet_allowance", error),
        PayError::NotSigned { error: not_signed, .. } => match not_signed {
            SignerError::NotSignable(NotSignable::Paused(_) | NotSignable::ChannelPaused(_)) => {
                Refusal::forbidden("paused", error)
            }
            SignerError::NotSignable(NotSignable::Stopped) => {
                Refusal::unavailable("ledger_unavailable", error)
            }
            _ => Refusal::forbidden("not_signed", error),
        },
        PayError::Provider { error: inner, .. } => {
            Refusal::open("upstream_payment_rejected", error).fact("inner", inner.code())
        }
        PayError::StrideTooLong { .. } => Refusal::forbidden("stride_too_long", error),
        PayError::Cut { .. } => {
            Refusal::new(StatusCode::BAD_GATEWAY, "server_error", "stream_cut", error)
        }
        PayError::InDoubt { .. } => Refusal::open("settlement_unknown", error),
        PayError::AnswerGone { .. } => {
            Refusal::new(StatusCode::GONE, "server_error", "answer_gone", error)
        }
    }
}

fn denied_by(denial: &Denial) -> Refusal {
    let code = match denial {
        Denial::Denied { list, .. } | Denial::NotAllowed { list, .. } => match list.as_str() {
            "capabilities" => "capability_not_allowed",
            "models" => "model_not_allowed",
            "providers" => "provider_not_allowed",
            "payees" => "payee_not_allowed",
            "networks" => "network_not_allowed",
            "assets" => "asset_not_allowed",
            _ => "scheme_not_allowed",
        },
        Denial::AbovePerCall { .. } => "price_above_cap",
        Denial::AboveOutput { .. } => "output_above_cap",
        Denial::NoDelegation { .. } => "not_allowed",
    };
    Refusal::forbidden(code, denial)
}

fn rejected(rejection: &Rejection) -> Refusal {
    match rejection {
        Rejection::OverBudget(check) => over_budget(check, rejection),
        Rejection::NoBudget { .. } => Refusal::forbidden("no_budget", rejection),
        Rejection::InsufficientFunds { .. } => Refusal::forbidden("wallet_empty", rejection),
        Rejection::Paused { .. } => Refusal::forbidden("paused", rejection),
        Rejection::SessionEnded { .. } => Refusal::forbidden("session_ended", rejection),
        Rejection::DelegationEnded { .. } => Refusal::forbidden("delegation_ended", rejection),
        Rejection::RequestConflict { .. } => Refusal::new(
            StatusCode::CONFLICT,
            "invalid_request_error",
            "request_conflict",
            rejection,
        ),
        Rejection::RequestOutsideMemory { .. } => Refusal::malformed(rejection),
        Rejection::OverChannelCap { .. } => Refusal::forbidden("channel_cap", rejection),
        Rejection::Full { .. } | Rejection::StalePolicy { .. } => {
            Refusal::unavailable("ledger_unavailable", rejection)
        }
        _ => Refusal::forbidden("refused", rejection),
    }
}

/// Who is over a budget and when it has room again, with the numbers at that instant.
fn over_budget(check: &BudgetCheck, rejection: &Rejection) -> Refusal {
    let resets = check.resets_at.map(|at| Value::from(at.to_string()));
    Refusal::new(StatusCode::FORBIDDEN, "insufficient_quota", "budget_exhausted", rejection)
        .fact("budget", check.budget.to_string())
        .fact("limit_usd", check.limit.to_string())
        .fact("spent_usd", check.spent.to_string())
        .fact("held_usd", check.held.to_string())
        .fact("left_usd", check.left().to_string())
        .fact("asked_usd", check.asked.to_string())
        .fact("resets_at", resets.unwrap_or(Value::Null))
}

fn limit(limited: &Limited) -> Refusal {
    let told = Refusal::new(
        StatusCode::TOO_MANY_REQUESTS,
        "rate_limit_error",
        "rate_limit_exceeded",
        limited,
    );
    let wait = limited.retry_after_ms().map_or(AGAIN_AFTER, Duration::from_millis);
    let told = told.after(wait).fact("limit", limited.key().kind());
    match limited {
        Limited::Rate { per_minute, retry_after_ms, .. } => told
            .fact("per_minute", *per_minute)
            .header_out("x-ratelimit-limit-requests", &per_minute.to_string())
            .header_out("x-ratelimit-remaining-requests", "0")
            .header_out("x-ratelimit-reset-requests", &format!("{retry_after_ms}ms")),
        Limited::Concurrency { bound, .. } => told.fact("concurrency", *bound),
    }
}
