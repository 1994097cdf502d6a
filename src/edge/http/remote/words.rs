//! What is said to a facilitator, and what its answers mean: in the specification's words, in those of its
//! authors' programs, and in those of x402-rs. Source: threats.md 2.0.

use alloy::primitives::Address;
use serde_json::{Value, json};

use crate::domain::asset::Network;
use crate::domain::commitment::TransferMethod;
use crate::domain::money::Amount;
use crate::domain::quote::PayBy;
use crate::domain::x402::PaymentCode;
use crate::domain::x402::TokenDomains;
use crate::domain::x402::payload::payment_payload;
use crate::domain::x402::requirements::Requirement;
use crate::domain::x402::wire::X402_VERSION;
use crate::ports::rail::{Authorization, RefusedBy};

/// What a facilitator says of a settlement: never more than a hint of how long to look at the chain.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// That it is settled.
    Settled,
    /// That it sent something, and does not know.
    Pending,
    /// That it does not settle.
    Refused,
    /// Nothing that can be read.
    Nothing,
}

/// The request that hands `authorization` in for `charge`; nothing where its token is not registered.
pub(super) fn asked(
    authorization: &Authorization,
    charge: Amount,
    tokens: &TokenDomains,
    now_s: u64,
) -> Option<Value> {
    let commitment = &authorization.commitment;
    let method = match commitment.method {
        TransferMethod::Permit2By(_) => TransferMethod::Permit2Sponsored,
        other => other,
    };
    let pay_by = PayBy {
        scheme: commitment.scheme,
        method,
        asset: commitment.asset,
        pay_to: commitment.pay_to,
        timeout_s: commitment.valid_before_s.saturating_sub(now_s).max(1),
    };
    let token = tokens.find(commitment.asset)?;
    let accepted = Requirement { pay_by, amount: commitment.amount_max, token }.to_wire();
    let mut requirements = accepted.clone();
    requirements.amount = charge.to_string();
    let payload = payment_payload(None, accepted, authorization, None, None);
    Some(json!({
        "x402Version": X402_VERSION,
        "paymentPayload": payload,
        "paymentRequirements": requirements,
    }))
}

/// Whether it settles `exact` on `network` by what it says it supports; and by which account, where it says
/// so.
pub(super) fn account_of(said: &Value, network: Network) -> Option<Option<Address>> {
    let kinds = said.get("kinds")?.as_array()?;
    let is = |kind: &&Value, scheme: &str| {
        kind.get("x402Version").and_then(Value::as_u64) == Some(u64::from(X402_VERSION))
            && kind.get("scheme").and_then(Value::as_str) == Some(scheme)
            && kind.get("network").and_then(Value::as_str) == Some(network.to_string().as_str())
    };
    kinds.iter().find(|kind| is(kind, "exact"))?;
    let upto = kinds.iter().find(|kind| is(kind, "upto"));
    let account = upto.and_then(|kind| kind.pointer("/extra/facilitatorAddress")?.as_str());
    Some(account.and_then(|text| text.parse().ok()))
}

/// What it says of a payment that it was asked to verify; nothing where it says neither. Only a JSON true is
/// valid. Source: threats.md A23.
pub(super) fn read_verified(said: &Value) -> Option<Result<(), RefusedBy>> {
    if said.get("isValid")?.as_bool()? {
        return Some(Ok(()));
    }
    let reason = said.get("invalidReason").and_then(Value::as_str);
    let code = reason.and_then(PaymentCode::from_any);
    match code {
        // It says that it could not look: another may.
        Some(PaymentCode::VerifyFailed | PaymentCode::SettleFailed | PaymentCode::TooMany) => None,
        Some(code) => Some(Err(refused_by(code))),
        None => Some(Err(RefusedBy::Reverted)),
    }
}

/// What it says of a payment that it was asked to settle.
pub(super) fn read_settled(said: &Value) -> Said {
    let reason = said.get("errorReason").and_then(Value::as_str);
    match said.get("success").and_then(Value::as_bool) {
        Some(true) => Said::Settled,
        Some(false) => match reason.and_then(PaymentCode::from_any) {
            Some(
                PaymentCode::Pending
                | PaymentCode::Duplicate
                | PaymentCode::NonceUsed
                | PaymentCode::SettleFailed
                | PaymentCode::TooMany
                | PaymentCode::TransactionState,
            )
            | None => Said::Pending,
            Some(_) => Said::Refused,
        },
        None => Said::Nothing,
    }
}

const fn refused_by(code: PaymentCode) -> RefusedBy {
    match code {
        PaymentCode::InsufficientFunds => RefusedBy::InsufficientFunds,
        PaymentCode::NonceUsed | PaymentCode::Duplicate => RefusedBy::NonceUsed,
        PaymentCode::ValidBefore => RefusedBy::Expired,
        PaymentCode::ValidAfter => RefusedBy::NotYetValid,
        PaymentCode::Signature => RefusedBy::BadSignature,
        PaymentCode::AllowanceRequired => RefusedBy::AllowanceRequired,
        PaymentCode::ExceedsAuthorized => RefusedBy::ExceedsAuthorized,
        PaymentCode::FactoryNotAllowed => RefusedBy::FactoryNotAllowed,
        PaymentCode::WalletNotMade => RefusedBy::WalletNotMade,
        _ => RefusedBy::Reverted,
    }
}
