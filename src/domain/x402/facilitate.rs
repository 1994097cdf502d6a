//! What a facilitator is asked, held against itself: the payment, what it says that it accepted, and the
//! payee's requirements have to be one and the same. No chain is asked here.
//!
//! A facilitator offers nothing. Whoever asks brings the requirements, so that what is pinned (the token's
//! domain) is checked, and the rest only has to fit. Source: x402 v2 section 7.

use crate::domain::asset::Network;
use crate::domain::commitment::{
    Authorization, Commitment, ContractAuthorization, Scheme, TransferMethod,
};
use crate::domain::money::Amount;
use crate::domain::x402::check::{check_signed, check_terms};
use crate::domain::x402::error::{Message, PaymentError};
use crate::domain::x402::payload::read_signed;
use crate::domain::x402::requirements::{Requirement, read_requirements};
use crate::domain::x402::signature;
use crate::domain::x402::token::TokenDomains;
use crate::domain::x402::wire::{PaymentPayload, PaymentRequirements, X402_VERSION};

/// What is done with the payment next.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// The payee wants to know whether it would settle.
    Verify,
    /// It is to settle.
    Settle,
}

/// A payer's word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Presented {
    /// Signed by the payer's own key.
    Key(Authorization),
    /// By no key of that address: where the payer is a contract, it may say that it signed all the same.
    Contract(ContractAuthorization),
}

impl Presented {
    /// What was signed, or is said to be.
    pub const fn commitment(&self) -> &Commitment {
        match self {
            Self::Key(authorization) => &authorization.commitment,
            Self::Contract(authorization) => &authorization.commitment,
        }
    }
}

/// A payment that is as good as can be seen without a chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// What the payer signed.
    pub authorization: Presented,
    /// What moves of it: all, but for schemes with a maximum.
    pub charge: Amount,
}

/// The payment in `payload`, where it is one for `requirements`.
///
/// Only `upto` settles for another amount than was signed: its signature is held against what the payer
/// accepted, and the charge, which may be nothing, has to be within it. Source: x402 scheme `upto`;
/// threats.md C09, C10.
///
/// # Errors
/// The first [`PaymentError`] in the order of cost: version, scheme, network, asset, the token's name and
/// version, the accepted requirements against the payee's, the form of the payload, and then as
/// [`check_authorization`](crate::domain::x402::check::check_authorization), but that of a wrong signature the
/// chain has the last word; [`PaymentError::Refused`] for a charge above the maximum.
pub fn check_asked(
    payload: &PaymentPayload,
    requirements: &PaymentRequirements,
    tokens: &TokenDomains,
    step: Step,
    now_s: u64,
) -> Result<Asked, PaymentError> {
    if payload.x402_version != X402_VERSION {
        return Err(PaymentError::Version { found: Some(payload.x402_version.into()) });
    }
    let accepted = &payload.accepted;
    if accepted.scheme != requirements.scheme {
        return Err(PaymentError::Scheme);
    }
    let requirement = requirement_of(accepted, tokens)?;
    let charge = charge_of(requirements, &requirement, step)?;
    let as_asked = PaymentRequirements { amount: accepted.amount.clone(), ..requirements.clone() };
    if !requirement.is_accepted(&as_asked) {
        let network = requirements.network.parse::<Network>();
        return Err(match network {
            Ok(network) if network == requirement.pay_by.asset.network => PaymentError::NotOffered,
            _ => PaymentError::Network,
        });
    }
    let (commitment, text) = read_signed(payload, &requirement.pay_by)?;
    check_terms(&commitment, &requirement, now_s)?;
    let authorization = presented(commitment, text, &requirement, now_s)?;
    Ok(Asked { authorization, charge })
}

/// Whose word it is. A permit at the token is a key's to give.
fn presented(
    commitment: Commitment,
    text: &str,
    requirement: &Requirement<'_>,
    now_s: u64,
) -> Result<Presented, PaymentError> {
    let none = PaymentError::Signature { from: commitment.payer, recovered: None };
    let signed = signature::from_text(text).ok_or(none).and_then(|signature| {
        let authorization = Authorization { commitment, signature };
        check_signed(&authorization, requirement, now_s).map(|()| authorization)
    });
    let is_plain = matches!(commitment.method, TransferMethod::Eip3009 | TransferMethod::Permit2);
    match (signed, signature::of_contract(text)) {
        (Ok(authorization), _) => Ok(Presented::Key(authorization)),
        (Err(PaymentError::Signature { .. }), Some((signature, making))) if is_plain => {
            // Permit2 has no allowance of a wallet that is not there.
            let making = making.filter(|_| !commitment.method.is_permit2());
            Ok(Presented::Contract(ContractAuthorization { commitment, signature, making }))
        }
        (Err(error), _) => Err(error),
    }
}

/// What `accepted` says, in a token whose domain is pinned and named as it is.
///
/// # Errors
/// As [`read_requirements`]; [`PaymentError::UnknownAsset`], [`PaymentError::TokenDomain`].
pub fn requirement_of<'t>(
    accepted: &PaymentRequirements,
    tokens: &'t TokenDomains,
) -> Result<Requirement<'t>, PaymentError> {
    let (mut pay_by, amount) = read_requirements(accepted, Message::Required)?;
    if pay_by.method == TransferMethod::Permit2 {
        // A payer's own permit is handed in wherever one comes along.
        pay_by.method = TransferMethod::Permit2Sponsored;
    }
    let token = tokens.find(pay_by.asset).ok_or(PaymentError::UnknownAsset(pay_by.asset))?;
    let requirement = Requirement { pay_by, amount, token };
    // Two things may be wrong of what it says of itself, and only one of them is left to be: its domain.
    if requirement.is_accepted(accepted) {
        Ok(requirement)
    } else {
        Err(PaymentError::TokenDomain(pay_by.asset))
    }
}

fn charge_of(
    requirements: &PaymentRequirements,
    requirement: &Requirement<'_>,
    step: Step,
) -> Result<Amount, PaymentError> {
    let wrong = PaymentError::Field { message: Message::Required, field: "amount" };
    let charge: Amount = requirements.amount.parse().map_err(|_| wrong)?;
    let most = requirement.amount;
    match (requirement.pay_by.scheme, step) {
        (Scheme::Upto { .. }, Step::Settle) if charge <= most => Ok(charge),
        (Scheme::Upto { .. }, Step::Settle) => {
            Err(PaymentError::Refused(crate::domain::x402::code::PaymentCode::ExceedsAuthorized))
        }
        _ if charge == most => Ok(charge),
        _ => Err(PaymentError::Value { expected: charge, found: most }),
    }
}
