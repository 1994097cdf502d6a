//! Refusals of ledger, policy and treasury. Each names the rule and the numbers at that instant.

use tonic::{Code, Status};

use super::{Told, reason};
use crate::domain::fault::Fault;
use crate::domain::ledger::Rejection;
use crate::domain::ledger::budget::BudgetCheck;
use crate::domain::policy::Denial;
use crate::runtime::treasury::Refused;

impl From<&Refused> for Status {
    fn from(error: &Refused) -> Self {
        refused(error).status()
    }
}

impl From<&Denial> for Status {
    fn from(error: &Denial) -> Self {
        denial(error).status()
    }
}

impl From<&Rejection> for Status {
    fn from(error: &Rejection) -> Self {
        rejection(error).status()
    }
}

pub(super) fn refused(error: &Refused) -> Told {
    match error {
        Refused::Rejected(refusal) => rejection(&refusal.rejection),
        Refused::Stopped { .. } => Told::new(Code::DataLoss, error, []),
    }
}

pub(super) fn denial(error: &Denial) -> Told {
    let facts = match error {
        Denial::Denied { role, list, pattern, found } => vec![
            ("role", role.to_string()),
            ("list", list.to_string()),
            ("rule", pattern.to_string()),
            ("found", found.clone()),
        ],
        Denial::NotAllowed { role, list, found } => {
            vec![("role", role.to_string()), ("list", list.to_string()), ("found", found.clone())]
        }
        Denial::AbovePerCall { role, per_call_max, asked } => vec![
            ("role", role.to_string()),
            ("per_call_max_nano", per_call_max.get().to_string()),
            ("asked_nano", asked.get().to_string()),
        ],
        Denial::AboveOutput { role, output_max, asked } => vec![
            ("role", role.to_string()),
            ("output_max", output_max.0.to_string()),
            ("asked", asked.0.to_string()),
        ],
        Denial::NoDelegation { role } => vec![("role", role.to_string())],
    };
    Told::new(Code::PermissionDenied, error, facts)
}

/// A budget without room carries QuotaFailure and `resets_at`, and no RetryInfo, so that no client runs
/// against a cap by itself.
pub(super) fn rejection(error: &Rejection) -> Told {
    let code = code(error);
    let told = Told::new(code, error, facts(error));
    match (error, code) {
        (Rejection::OverBudget(check), _) => {
            told.quota(format_args!("budgets/{}", check.budget), error)
        }
        (Rejection::RequestOutsideMemory { .. }, _) => told.bad_field("request_id", error),
        (_, Code::InvalidArgument) => told.bad_field("amount", error),
        (_, Code::FailedPrecondition) => told.state(&reason(error.code()), subject(error), error),
        (_, _) => told,
    }
}

fn code(error: &Rejection) -> Code {
    match error {
        Rejection::OverBudget(_)
        | Rejection::Full { .. }
        | Rejection::AllowanceSpent { .. }
        | Rejection::NoCredit { .. } => Code::ResourceExhausted,
        Rejection::NoBudget { .. } => Code::PermissionDenied,
        Rejection::UnknownAgent(_)
        | Rejection::UnknownWallet(_)
        | Rejection::UnknownPayment(_)
        | Rejection::UnknownClaim(_)
        | Rejection::UnknownGrant(_)
        | Rejection::UnknownChannel(_) => Code::NotFound,
        Rejection::RequestOutsideMemory { .. }
        | Rejection::AmountOutOfRange { .. }
        | Rejection::NanoOutOfRange { .. } => Code::InvalidArgument,
        Rejection::Exists { .. }
        | Rejection::RequestConflict { .. }
        | Rejection::NameTaken(_)
        | Rejection::AddressTaken(_)
        | Rejection::TokenTaken
        | Rejection::GrantedElsewhere(_)
        | Rejection::BoundElsewhere(_) => Code::AlreadyExists,
        Rejection::StalePolicy { .. } => Code::Unavailable,
        Rejection::InsufficientFunds { .. }
        | Rejection::Paused { .. }
        | Rejection::SessionEnded { .. }
        | Rejection::DelegationEnded { .. }
        | Rejection::TooDeep { .. }
        | Rejection::WrongAttempt { .. }
        | Rejection::WrongState { .. }
        | Rejection::ExceedsHold { .. }
        | Rejection::StillLive { .. }
        | Rejection::WrongClaimState { .. }
        | Rejection::AmountMismatch { .. }
        | Rejection::MovedBefore { .. }
        | Rejection::WrongGenesis { .. }
        | Rejection::ChannelBusy { .. }
        | Rejection::ChannelCrowded { .. }
        | Rejection::ChannelFrozen { .. }
        | Rejection::ChannelEmpty { .. }
        | Rejection::OverChannelCap { .. }
        | Rejection::DepositLive { .. }
        | Rejection::DepositOver { .. }
        | Rejection::Unchanged => Code::FailedPrecondition,
        // Callers never choose these: the node made a name, a commitment or a policy, or read a chain,
        // that does not fit its own ledger.
        Rejection::ForeignWallet { .. }
        | Rejection::OtherChannel { .. }
        | Rejection::ChannelMismatch { .. }
        | Rejection::FundsBelowZero { .. }
        | Rejection::PaymentTaken(_)
        | Rejection::BadWindow { .. } => Code::Internal,
    }
}

/// What stands in the way, for PreconditionFailure.
fn subject(error: &Rejection) -> String {
    match error {
        Rejection::Paused { scope, .. } => scope.to_string(),
        Rejection::InsufficientFunds { wallet, .. } => format!("wallets/{wallet}"),
        Rejection::SessionEnded { session, .. } => format!("sessions/{session}"),
        Rejection::DelegationEnded { agent, .. } => format!("agents/{agent}"),
        _ => String::new(),
    }
}

/// The numbers at that instant, where the rejection has some.
fn facts(error: &Rejection) -> Vec<(&'static str, String)> {
    match error {
        Rejection::OverBudget(check) => over_budget(check),
        Rejection::NoBudget { agent } => vec![("agent", agent.to_string())],
        Rejection::InsufficientFunds { wallet, asset, available, asked } => vec![
            ("wallet", wallet.to_string()),
            ("asset", asset.to_string()),
            ("available", available.to_string()),
            ("asked", asked.to_string()),
        ],
        Rejection::Paused { scope, reason } => {
            vec![("scope", scope.to_string()), ("paused_because", reason.clone())]
        }
        Rejection::Exists { request, payment }
        | Rejection::RequestConflict { request, payment } => {
            vec![("request", request.to_string()), ("payment", payment.to_string())]
        }
        Rejection::RequestOutsideMemory { request, from, to } => vec![
            ("request", request.to_string()),
            ("from", from.to_string()),
            ("to", to.to_string()),
        ],
        Rejection::StalePolicy { current, asked } => {
            vec![("current", current.to_string()), ("asked", asked.to_string())]
        }
        Rejection::SessionEnded { session, ended } => {
            vec![("session", session.to_string()), ("ended", ended.to_string())]
        }
        Rejection::DelegationEnded { agent, ended } => {
            vec![("agent", agent.to_string()), ("ended", ended.to_string())]
        }
        Rejection::AmountOutOfRange { amount } => vec![("asked", amount.to_string())],
        Rejection::NanoOutOfRange { nano } => vec![("asked_nano", nano.get().to_string())],
        Rejection::Full { what, bound } => {
            vec![("what", (*what).to_owned()), ("bound", bound.to_string())]
        }
        Rejection::AllowanceSpent { what, bound } => {
            vec![("what", (*what).to_owned()), ("bound", bound.to_string())]
        }
        Rejection::NoCredit { owed, limit } => {
            vec![("owed", owed.to_string()), ("limit", limit.to_string())]
        }
        Rejection::TooDeep { bound } => vec![("bound", bound.to_string())],
        _ => Vec::new(),
    }
}

fn over_budget(check: &BudgetCheck) -> Vec<(&'static str, String)> {
    vec![
        ("budget", check.budget.to_string()),
        ("limit_nano", check.limit.get().to_string()),
        ("spent_nano", check.spent.get().to_string()),
        ("held_nano", check.held.get().to_string()),
        ("left_nano", check.left().get().to_string()),
        ("asked_nano", check.asked.get().to_string()),
        ("resets_at", check.resets_at.map_or_else(|| "never".to_owned(), |at| at.to_string())),
    ]
}
