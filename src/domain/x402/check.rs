//! Every check of a payment by `exact` or `upto` that needs no chain, cheapest first.

use crate::domain::commitment::{Authorization, Commitment, TokenPermit, TransferMethod};
use crate::domain::x402::error::PaymentError;
use crate::domain::x402::payload::read_paid;
use crate::domain::x402::requirements::Requirement;
use crate::domain::x402::signature::recover;
use crate::domain::x402::wire::{PaymentPayload, X402_VERSION};

/// An authorization that ends sooner than this is refused, in seconds: it could end before it settles.
/// Source: threats.md B01 (what the reference programs do).
pub const SETTLE_MARGIN_S: u64 = 6;

/// How far a payer's clock may run ahead, in seconds, before its authorizations look too long.
pub const CLOCK_SKEW_MAX_S: u64 = 60;

/// What a payee asked for, at the time of the check.
#[derive(Copy, Clone, Debug)]
pub struct Demand<'a> {
    /// The resource that is paid for.
    pub resource: &'a str,
    /// The ways in which it may be paid: what was offered, and nothing else.
    pub offered: &'a [Requirement<'a>],
    /// Seconds since the epoch.
    pub now_s: u64,
}

/// The authorization of a payment that meets `demand`: what remains is the chain's to say (balance,
/// nonce), and the payee's own memory (bound to which request).
///
/// # Errors
/// The first [`PaymentError`] in the order of cost: version, scheme, network, the accepted requirements
/// as a whole, the resource, the form of the payload, recipient, value, times, and the signature last.
/// Source: x402 v2 section 6.1.2.
pub fn check_payment(
    payload: &PaymentPayload,
    demand: &Demand<'_>,
) -> Result<Authorization, PaymentError> {
    if payload.x402_version != X402_VERSION {
        return Err(PaymentError::Version { found: Some(payload.x402_version.into()) });
    }
    let requirement = find_accepted(payload, demand.offered)?;
    if requirement.amount.is_zero() {
        return Err(PaymentError::Zero);
    }
    if payload.resource.as_ref().is_some_and(|resource| resource.url != demand.resource) {
        return Err(PaymentError::Resource);
    }
    let authorization = read_paid(payload, &requirement.pay_by)?;
    check_authorization(&authorization, requirement, demand.now_s)?;
    Ok(authorization)
}

/// Whether `authorization` pays what `requirement` asks, now and by the payer's own signature.
///
/// # Errors
/// [`PaymentError::Recipient`], [`PaymentError::Value`] above as below, [`PaymentError::Zero`],
/// [`PaymentError::Expired`] within [`SETTLE_MARGIN_S`], [`PaymentError::TooLong`],
/// [`PaymentError::Early`], [`PaymentError::Signature`].
pub fn check_authorization(
    authorization: &Authorization,
    requirement: &Requirement<'_>,
    now_s: u64,
) -> Result<(), PaymentError> {
    check_terms(&authorization.commitment, requirement, now_s)?;
    check_signed(authorization, requirement, now_s)
}

/// Whether what is said to be signed pays what `requirement` asks, now.
pub(super) fn check_terms(
    signed: &Commitment,
    requirement: &Requirement<'_>,
    now_s: u64,
) -> Result<(), PaymentError> {
    let asked = &requirement.pay_by;
    if signed.asset != asked.asset || !signed.method.pays(asked.method) {
        return Err(PaymentError::NotOffered);
    }
    if signed.pay_to != asked.pay_to && !planted!("recipient_unchecked") {
        return Err(PaymentError::Recipient { expected: asked.pay_to, found: signed.pay_to });
    }
    let other = signed.amount_max != requirement.amount;
    if other && !(planted!("value_above_taken") && signed.amount_max > requirement.amount) {
        let (expected, found) = (requirement.amount, signed.amount_max);
        return Err(PaymentError::Value { expected, found });
    }
    if signed.amount_max.is_zero() {
        return Err(PaymentError::Zero);
    }
    let valid_before_s = signed.valid_before_s;
    let margin_s = if planted!("no_margin_to_settle") { 0 } else { SETTLE_MARGIN_S };
    if valid_before_s < now_s.saturating_add(margin_s) {
        return Err(PaymentError::Expired { valid_before_s, now_s });
    }
    let latest_s = now_s.saturating_add(asked.timeout_s).saturating_add(CLOCK_SKEW_MAX_S);
    if valid_before_s > latest_s && !planted!("lives_too_long") {
        return Err(PaymentError::TooLong { valid_before_s, latest_s });
    }
    // The token wants `now > validAfter`: equal is early; x402's spenders take it. Source: EIP-3009.
    let early = match signed.method.is_permit2() {
        true => signed.valid_after_s > now_s,
        false => signed.valid_after_s >= now_s,
    };
    if early {
        return Err(PaymentError::Early { valid_after_s: signed.valid_after_s, now_s });
    }
    Ok(())
}

/// Whether the payer's own key signed it.
pub(super) fn check_signed(
    authorization: &Authorization,
    requirement: &Requirement<'_>,
    now_s: u64,
) -> Result<(), PaymentError> {
    let signed = &authorization.commitment;
    let digest = requirement.token.authorization_digest(signed);
    let recovered = recover(digest, &authorization.signature);
    if recovered != Some(signed.payer) && !planted!("signature_unchecked") {
        return Err(PaymentError::Signature { from: signed.payer, recovered });
    }
    match &signed.method {
        TransferMethod::Permit2By(permit) => check_permit(signed, permit, requirement, now_s),
        _ => Ok(()),
    }
}

/// Whether the payer's permit at the token is its own, and good for as long as a settlement takes.
fn check_permit(
    signed: &Commitment,
    permit: &TokenPermit,
    requirement: &Requirement<'_>,
    now_s: u64,
) -> Result<(), PaymentError> {
    if permit.deadline_s < now_s.saturating_add(SETTLE_MARGIN_S) {
        let valid_before_s = permit.deadline_s.saturating_add(1);
        return Err(PaymentError::Expired { valid_before_s, now_s });
    }
    let digest = requirement.token.permit_digest(signed, permit);
    let recovered = permit.signature.and_then(|signature| recover(digest, &signature));
    if recovered == Some(signed.payer) {
        Ok(())
    } else {
        Err(PaymentError::Signature { from: signed.payer, recovered })
    }
}

/// The offered requirement that the payer accepted; the closest miss says what was wrong.
pub(super) fn find_accepted<'a>(
    payload: &PaymentPayload,
    offered: &'a [Requirement<'a>],
) -> Result<&'a Requirement<'a>, PaymentError> {
    let accepted = &payload.accepted;
    if let Some(found) = offered.iter().find(|requirement| requirement.is_accepted(accepted)) {
        return Ok(found);
    }
    if !offered.iter().any(|requirement| requirement.pay_by.scheme.as_str() == accepted.scheme) {
        return Err(PaymentError::Scheme);
    }
    let network = accepted.network.parse();
    if !offered.iter().any(|requirement| Ok(requirement.pay_by.asset.network) == network) {
        return Err(PaymentError::Network);
    }
    Err(PaymentError::NotOffered)
}
