//! The payer's side of an offer: which of the ways to pay it names may be signed for.

use std::ops::Deref;
use std::sync::Arc;

use alloy::primitives::{B256, keccak256};

use crate::domain::commitment::TransferMethod;
use crate::domain::money::Amount;
use crate::domain::x402::error::{Message, PaymentError};
use crate::domain::x402::read::to_json;
use crate::domain::x402::requirements::{Requirement, read_requirements};
use crate::domain::x402::sponsoring;
use crate::domain::x402::token::{TokenDomain, TokenDomains};
use crate::domain::x402::wire::{PaymentRequired, PaymentRequirements, X402_VERSION};

/// An offer as it was heard, and its digest. Many calls may be paid by one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeardOffer(Arc<(PaymentRequired, B256)>);

impl From<PaymentRequired> for HeardOffer {
    fn from(offer: PaymentRequired) -> Self {
        let digest = keccak256(to_json(&offer));
        Self(Arc::new((offer, digest)))
    }
}

impl Deref for HeardOffer {
    type Target = PaymentRequired;

    fn deref(&self) -> &PaymentRequired {
        &self.0.0
    }
}

impl HeardOffer {
    /// The digest of its JSON: what a hold names as its quote.
    pub fn digest(&self) -> B256 {
        self.0.1
    }
}

/// What a payer asked for, and the bounds within which it signs.
#[derive(Copy, Clone, Debug)]
pub struct Asked<'a> {
    /// The resource that was called.
    pub resource: &'a str,
    /// The longest life of an authorization that is signed, in seconds; a longer one is cut to it.
    pub timeout_max_s: u64,
    /// What the payer computed itself from the signed quote, where it has one.
    pub amount: Option<Amount>,
}

/// A way to pay that may be signed for.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Payable<'a> {
    /// What to sign; its time limit is already cut to the payer's own.
    pub requirement: Requirement<'a>,
    /// Which of the offer's `accepts`: what the payment repeats, verbatim.
    pub index: usize,
}

/// The ways of `offer` that may be signed for, in the payee's order of preference; never empty.
///
/// # Errors
/// [`PaymentError::Version`], [`PaymentError::Resource`] where the offer speaks of something else, and
/// where no way is left what was wrong with the first of them: [`PaymentError::Scheme`],
/// [`PaymentError::Network`], [`PaymentError::UnknownAsset`], [`PaymentError::TokenDomain`] for a
/// name or version that is not the pinned one, [`PaymentError::Zero`], [`PaymentError::Timeout`],
/// [`PaymentError::Value`] for an amount that is not the quoted one, [`PaymentError::Field`].
/// Source: threats.md A02, B04, B05, C06.
pub fn check_offer<'a>(
    offer: &PaymentRequired,
    asked: &Asked<'_>,
    tokens: &'a TokenDomains,
) -> Result<Vec<Payable<'a>>, PaymentError> {
    if offer.x402_version != X402_VERSION {
        return Err(PaymentError::Version { found: Some(offer.x402_version.into()) });
    }
    if offer.resource.url != asked.resource {
        return Err(PaymentError::Resource);
    }
    let extensions = offer.extensions.as_ref();
    let sponsored = extensions.is_some_and(|all| all.contains_key(sponsoring::KEY));
    let (mut payable, mut first) = (Vec::new(), None);
    for (index, wire) in offer.accepts.iter().enumerate() {
        match check_way(wire, asked, tokens) {
            Ok(mut requirement) => {
                if sponsored && requirement.pay_by.method == TransferMethod::Permit2 {
                    requirement.pay_by.method = TransferMethod::Permit2Sponsored;
                }
                payable.push(Payable { requirement, index });
            }
            Err(error) => first = first.or(Some(error)),
        }
    }
    if payable.is_empty() {
        let field = PaymentError::Field { message: Message::Required, field: "accepts" };
        return Err(first.unwrap_or(field));
    }
    Ok(payable)
}

fn check_way<'a>(
    wire: &PaymentRequirements,
    asked: &Asked<'_>,
    tokens: &'a TokenDomains,
) -> Result<Requirement<'a>, PaymentError> {
    let (mut pay_by, amount) = read_requirements(wire, Message::Required)?;
    let token = tokens.find(pay_by.asset).ok_or(PaymentError::UnknownAsset(pay_by.asset))?;
    check_domain(wire, token, pay_by.method)?;
    if let Some(expected) = asked.amount.filter(|expected| *expected != amount) {
        return Err(PaymentError::Value { expected, found: amount });
    }
    pay_by.timeout_s = pay_by.timeout_s.min(asked.timeout_max_s);
    Ok(Requirement { pay_by, amount, token })
}

/// A payer signs in the pinned domain in any case; one that the payee names otherwise could only make
/// a signature that is worth nothing here and something elsewhere.
fn check_domain(
    wire: &PaymentRequirements,
    token: &TokenDomain,
    method: TransferMethod,
) -> Result<(), PaymentError> {
    let said = |key: &str| wire.extra.as_ref().and_then(|extra| extra.get(key)?.as_str());
    // Permit2 has a domain of its own, so that a token without one need not be told of.
    if method.is_permit2() && (!token.is_named() || said("name").is_none()) {
        return Ok(());
    }
    if token.is_named()
        && said("name") == Some(token.name())
        && said("version") == Some(token.version())
    {
        Ok(())
    } else {
        Err(PaymentError::TokenDomain(token.asset()))
    }
}
