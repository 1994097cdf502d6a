//! A payer's wish to have back what was not charged: read, checked and made.
//!
//! Source: x402 scheme `batch-settlement` on EVM, payload of type `refund`.

use alloy::primitives::Signature;
use serde_json::{Map, Value};

use crate::domain::asset::Network;
use crate::domain::channel::{Ceiling, ChannelId, ChannelTerms};
use crate::domain::money::Amount;
use crate::domain::x402::batch::check::{check_terms, check_voucher};
use crate::domain::x402::batch::code::BatchCode;
use crate::domain::x402::batch::payload::{BatchPayload, RefundPayload, SignedVoucher};
use crate::domain::x402::batch::read::{VoucherWord, read_terms, read_voucher};
use crate::domain::x402::batch::taken::Taken;
use crate::domain::x402::batch::typed::id_of;
use crate::domain::x402::batch::word::channel;
use crate::domain::x402::check::{Demand, find_accepted};
use crate::domain::x402::error::PaymentError;
use crate::domain::x402::signature::to_text;
use crate::domain::x402::wire::{PaymentPayload, X402_VERSION};

/// A payer's wish to have back what was not charged.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct RefundWord<S = Signature> {
    /// The channel's terms, as it says.
    pub terms: ChannelTerms,
    /// The name that follows from them.
    pub channel: ChannelId,
    /// A voucher for what was charged already: the proof that the payer wants it.
    pub voucher: VoucherWord<S>,
    /// How much; all where it is left out.
    pub amount: Option<Amount>,
}

/// The payload of a wish.
pub fn refund_wish(
    terms: &ChannelTerms,
    ceiling: &Ceiling,
    signature: &Signature,
    amount: Option<Amount>,
) -> Map<String, Value> {
    to_map(&BatchPayload::Refund(RefundPayload {
        channel_config: channel(terms),
        voucher: SignedVoucher {
            channel_id: ceiling.channel.to_string(),
            max_claimable_amount: ceiling.amount.to_string(),
            signature: to_text(signature),
        },
        amount: amount.map(|amount| amount.to_string().into()),
        refund_nonce: None,
        claims: None,
        refund_authorizer_signature: None,
        claim_authorizer_signature: None,
    }))
}

/// Whether a payload is a wish of this kind: it is told by its `type` alone.
pub fn is_refund(payload: &PaymentPayload) -> bool {
    payload.payload.get("type").and_then(Value::as_str) == Some("refund")
}

/// The wish in a payment that meets `demand`, whose price plays no part.
///
/// # Errors
/// The first [`PaymentError`] in the order of cost; the voucher's signature is looked at last, and
/// always (threats.md E19).
pub fn check_refund<S: Taken>(
    payload: &PaymentPayload,
    demand: &Demand<'_>,
) -> Result<RefundWord<S>, PaymentError> {
    if payload.x402_version != X402_VERSION {
        return Err(PaymentError::Version { found: Some(payload.x402_version.into()) });
    }
    let requirement = find_accepted(payload, demand.offered)?;
    let word = read_refund(&payload.payload, requirement.pay_by.asset.network)?;
    check_terms(&word.terms, requirement)?;
    let voucher = check_voucher(&word.terms, word.voucher, requirement.token)?;
    Ok(RefundWord { voucher, ..word })
}

/// The wish in a payload of type `refund`, on `network`.
///
/// # Errors
/// [`BatchCode::RefundPayload`] for what is not in its form; [`BatchCode::RefundAmount`] for nothing and for
/// what is no number (threats.md C14); [`BatchCode::ChannelId`] where the voucher names another channel than its config.
pub fn read_refund<S: Taken>(
    payload: &Map<String, Value>,
    network: Network,
) -> Result<RefundWord<S>, PaymentError> {
    let wrong = PaymentError::Batch(BatchCode::RefundPayload);
    let read = serde_json::from_value(Value::Object(payload.clone())).map_err(|_| wrong.clone())?;
    let BatchPayload::Refund(wish) = read else { return Err(wrong) };
    read_wish(&wish, network)
}

pub(super) fn read_wish<S: Taken>(
    wish: &RefundPayload,
    network: Network,
) -> Result<RefundWord<S>, PaymentError> {
    let terms = read_terms(&wish.channel_config, network)?;
    let channel = id_of(&terms);
    let voucher = read_voucher(&wish.voucher)?;
    if voucher.ceiling.channel != channel {
        return Err(PaymentError::Batch(BatchCode::ChannelId));
    }
    let amount: Option<Amount> = match &wish.amount {
        None => None,
        Some(said) => {
            let amount = said.as_str().and_then(|text| text.parse().ok());
            let amount = amount.filter(|amount: &Amount| !amount.is_zero());
            Some(amount.ok_or(PaymentError::Batch(BatchCode::RefundAmount))?)
        }
    };
    Ok(RefundWord { terms, channel, voucher, amount })
}

/// A payload as JSON has it.
pub(super) fn to_map(payload: &BatchPayload) -> Map<String, Value> {
    match serde_json::to_value(payload) {
        Ok(Value::Object(map)) => map,
        _ => unreachable!("a payload has text keys and no failing values"),
    }
}
