//! What a payee tells its facilitator about channels: claims, sweeps and refunds. The signatures of the
//! receiver's authorizer are left out where the facilitator is that itself.
//!
//! Source: x402 scheme `batch-settlement` on EVM, payloads of type `claim`, `settle` and `refund`.

use alloy::primitives::{Address, B256, Signature, hex};
use serde_json::{Map, Value};

use crate::domain::asset::{Asset, Network};
use crate::domain::channel::{Ceiling, ChannelTerms, ClaimRow};
use crate::domain::commitment::PayerWord;
use crate::domain::money::Amount;
use crate::domain::x402::batch::authorized::{claim_digest, refund_digest};
use crate::domain::x402::batch::code::BatchCode;
use crate::domain::x402::batch::payload::{
    BatchPayload, ClaimPayload, RefundPayload, SettlePayload, SignedVoucher, VoucherClaim,
    VoucherTerms,
};
use crate::domain::x402::batch::read::{VoucherWord, read_terms, voucher_digest};
use crate::domain::x402::batch::refund::{RefundWord, read_wish, to_map};
use crate::domain::x402::batch::taken::{Signer, Taken};
use crate::domain::x402::batch::typed::{batch_domain, id_of};
use crate::domain::x402::batch::word::channel;
use crate::domain::x402::error::PaymentError;
use crate::domain::x402::payload::read_time;
use crate::domain::x402::requirements::read_address;
use crate::domain::x402::signature::{from_text, is_signed_by, to_text};

/// Rows that are read of one payload at most; a claim on the rail takes fewer.
pub const ROWS_READ_MAX: usize = 1_000;

/// Something that a payee asks of its facilitator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Relayed {
    /// To claim vouchers.
    Claim(RelayedClaim),
    /// To pay out what was claimed.
    Settle {
        /// To whom.
        receiver: Address,
        /// In what.
        asset: Asset,
    },
    /// To give back what was not claimed.
    Refund(Box<RelayedRefund>),
}

/// Vouchers to claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RelayedClaim {
    /// One row for each channel.
    pub rows: Vec<ClaimRow>,
    /// Over all of them; none where the facilitator is their authorizer.
    pub signature: Option<Signature>,
}

/// What goes back to a payer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RelayedRefund {
    /// The payer's wish.
    pub wish: RefundWord<PayerWord>,
    /// At most so much.
    pub amount: Amount,
    /// The channel's next.
    pub nonce: u64,
    /// What is claimed first, in the same transaction.
    pub claims: RelayedClaim,
    /// Over the refund; none where the facilitator is the channel's authorizer.
    pub signature: Option<Signature>,
}

/// The payload of a claim.
pub fn claim_payload(claim: &RelayedClaim) -> Map<String, Value> {
    to_map(&BatchPayload::Claim(ClaimPayload {
        claims: claim.rows.iter().map(row_to_wire).collect(),
        claim_authorizer_signature: claim.signature.as_ref().map(to_text),
    }))
}

/// The payload of a sweep.
pub fn settle_payload(receiver: Address, asset: Asset) -> Map<String, Value> {
    let (receiver, token) = (receiver.to_string(), asset.contract.to_string());
    to_map(&BatchPayload::Settle(SettlePayload { receiver, token }))
}

/// The payload of a refund: the payer's wish, with all that a facilitator needs beside it.
pub fn refund_payload(refund: &RelayedRefund) -> Map<String, Value> {
    let RelayedRefund { wish, amount, nonce, claims, signature } = refund;
    to_map(&BatchPayload::Refund(RefundPayload {
        channel_config: channel(&wish.terms),
        voucher: SignedVoucher {
            channel_id: wish.channel.to_string(),
            max_claimable_amount: wish.voucher.ceiling.amount.to_string(),
            signature: hex::encode_prefixed(wish.voucher.signature.to_bytes()),
        },
        amount: Some(amount.to_string().into()),
        refund_nonce: Some(nonce.to_string()),
        claims: Some(claims.rows.iter().map(row_to_wire).collect()),
        refund_authorizer_signature: signature.as_ref().map(to_text),
        claim_authorizer_signature: claims.signature.as_ref().map(to_text),
    }))
}

/// What a payload of type `claim`, `settle` or `refund` asks of a facilitator, on `network`. Nothing of
/// it is checked but its form: [`check_relayed`] does the rest.
///
/// # Errors
/// [`BatchCode::ClaimPayload`], [`BatchCode::SettlePayload`], [`BatchCode::RefundPayload`] for what is
/// not in its form; [`BatchCode::PayloadType`] for another type.
pub fn read_relayed(
    payload: &Map<String, Value>,
    network: Network,
) -> Result<Relayed, PaymentError> {
    let wrong = match payload.get("type").and_then(Value::as_str) {
        Some("claim") => BatchCode::ClaimPayload,
        Some("settle") => BatchCode::SettlePayload,
        Some("refund") => BatchCode::RefundPayload,
        _ => BatchCode::PayloadType,
    };
    let refuse = || PaymentError::Batch(wrong);
    let read = serde_json::from_value(Value::Object(payload.clone())).map_err(|_| refuse())?;
    match read {
        BatchPayload::Claim(claim) => {
            let signature = claim.claim_authorizer_signature.as_deref();
            read_claims(&claim.claims, signature, network).map(Relayed::Claim).ok_or_else(refuse)
        }
        BatchPayload::Settle(SettlePayload { receiver, token }) => {
            let receiver = read_address(&receiver).ok_or_else(refuse)?;
            let contract = read_address(&token).ok_or_else(refuse)?;
            Ok(Relayed::Settle { receiver, asset: Asset { network, contract } })
        }
        BatchPayload::Refund(refund) => {
            let wish = read_wish(&refund, network)?;
            let relayed = read_refund(&refund, wish, network).ok_or_else(refuse)?;
            Ok(Relayed::Refund(Box::new(relayed)))
        }
        BatchPayload::Deposit(_) | BatchPayload::Voucher(_) => Err(refuse()),
    }
}

/// What a payee asks for, where all of it is signed as it has to be: each voucher by its payer's side, and
/// the claim and the refund by the receiver's authorizer, or by nobody where that is `own`. A voucher that a
/// contract has to answer for is left for it to say.
///
/// # Errors
/// [`BatchCode::VoucherSignature`]; [`BatchCode::Authorizer`] where an authorizer's word is missing, or
/// is somebody else's, or the rows have several; [`BatchCode::ClaimPayload`] where there are none;
/// [`BatchCode::ChargeExceeds`] for a row above its voucher.
pub fn check_relayed(relayed: Relayed, own: Option<Address>) -> Result<Relayed, PaymentError> {
    match relayed {
        Relayed::Settle { .. } => Ok(relayed),
        Relayed::Claim(claim) => {
            if claim.rows.is_empty() {
                return Err(PaymentError::Batch(BatchCode::ClaimPayload));
            }
            check_claims(claim, own).map(Relayed::Claim)
        }
        Relayed::Refund(mut refund) => {
            let terms = &refund.wish.terms;
            let digest = refund_digest(terms, refund.nonce, refund.amount);
            check_word(refund.signature.as_ref(), digest, terms.receiver_authorizer, own)?;
            let separator = batch_domain(terms.asset.network).separator();
            let VoucherWord { ceiling, signature } = refund.wish.voucher;
            let signature = signed(terms, separator, &ceiling, signature)?;
            refund.wish.voucher = VoucherWord { ceiling, signature };
            if refund.claims.rows.iter().any(|row| id_of(&row.terms) != refund.wish.channel) {
                return Err(PaymentError::Batch(BatchCode::ChannelId));
            }
            refund.claims = check_claims(refund.claims, own)?;
            Ok(Relayed::Refund(refund))
        }
    }
}

/// A voucher's signature, by whom it has to be.
fn signed(
    terms: &ChannelTerms,
    separator: B256,
    ceiling: &Ceiling,
    signature: PayerWord,
) -> Result<PayerWord, PaymentError> {
    let digest = voucher_digest(separator, ceiling);
    let signed = signature.signed_by(Signer::of_vouchers(terms), digest);
    signed.ok_or(PaymentError::Batch(BatchCode::VoucherSignature))
}

fn check_claims(claim: RelayedClaim, own: Option<Address>) -> Result<RelayedClaim, PaymentError> {
    let Some(first) = claim.rows.first() else { return Ok(claim) };
    let (network, authorizer) = (first.terms.asset.network, first.terms.receiver_authorizer);
    let separator = batch_domain(network).separator();
    let mut rows = Vec::with_capacity(claim.rows.len());
    for row in claim.rows {
        if row.terms.receiver_authorizer != authorizer {
            return Err(PaymentError::Batch(BatchCode::Authorizer));
        }
        if row.total > row.ceiling {
            return Err(PaymentError::Batch(BatchCode::ChargeExceeds));
        }
        let ceiling = Ceiling { channel: id_of(&row.terms), amount: row.ceiling };
        let signature = signed(&row.terms, separator, &ceiling, row.signature)?;
        rows.push(ClaimRow { signature, ..row });
    }
    let digest = claim_digest(&rows, network);
    check_word(claim.signature.as_ref(), digest, authorizer, own)?;
    Ok(RelayedClaim { rows, ..claim })
}

fn check_word(
    signature: Option<&Signature>,
    digest: B256,
    authorizer: Address,
    own: Option<Address>,
) -> Result<(), PaymentError> {
    let is_good = match signature {
        Some(signature) => is_signed_by(authorizer, digest, signature),
        None => own == Some(authorizer),
    };
    if is_good { Ok(()) } else { Err(PaymentError::Batch(BatchCode::Authorizer)) }
}

fn row_to_wire(row: &ClaimRow) -> VoucherClaim {
    VoucherClaim {
        voucher: VoucherTerms {
            channel: channel(&row.terms),
            max_claimable_amount: row.ceiling.to_string(),
        },
        signature: hex::encode_prefixed(row.signature.to_bytes()),
        total_claimed: row.total.to_string(),
    }
}

fn read_claims(
    claims: &[VoucherClaim],
    signature: Option<&str>,
    network: Network,
) -> Option<RelayedClaim> {
    if claims.len() > ROWS_READ_MAX {
        return None;
    }
    let row = |claim: &VoucherClaim| {
        Some(ClaimRow {
            terms: read_terms(&claim.voucher.channel, network).ok()?,
            ceiling: claim.voucher.max_claimable_amount.parse().ok()?,
            signature: PayerWord::read(&claim.signature)?,
            total: claim.total_claimed.parse().ok()?,
        })
    };
    let rows = claims.iter().map(row).collect::<Option<Vec<_>>>()?;
    Some(RelayedClaim { rows, signature: read_signature(signature)? })
}

fn read_refund(
    refund: &RefundPayload,
    wish: RefundWord<PayerWord>,
    network: Network,
) -> Option<RelayedRefund> {
    let claims = refund.claims.as_deref().unwrap_or(&[]);
    Some(RelayedRefund {
        amount: wish.amount?,
        wish,
        nonce: read_time(refund.refund_nonce.as_deref()?)?,
        claims: read_claims(claims, refund.claim_authorizer_signature.as_deref(), network)?,
        signature: read_signature(refund.refund_authorizer_signature.as_deref())?,
    })
}

/// Nothing for what is no signature; a `None` within for one that was left out.
#[expect(clippy::option_option, reason = "left out and malformed are two things")]
fn read_signature(text: Option<&str>) -> Option<Option<Signature>> {
    text.map_or(Some(None), |text| from_text(text).map(Some))
}
