//! Deposits that Permit2 moves: their JSON and the typed word, and the payer's permit at the token that may
//! come with one.
//!
//! Source: x402 scheme `batch-settlement` on EVM, deposit by Permit2; extension eip2612GasSponsoring.

use alloy::primitives::{B256, U256};
use serde_json::{Map, Value};

use crate::domain::channel::{ChannelId, ChannelTerms, Incoming};
use crate::domain::commitment::{Commitment, Scheme, TransferMethod};
use crate::domain::money::Amount;
use crate::domain::x402::batch::code::BatchCode;
use crate::domain::x402::batch::deposit::{DepositChannel, Permit2Deposit};
use crate::domain::x402::batch::funding::deposit_deadline_s;
use crate::domain::x402::batch::read::DepositWord;
use crate::domain::x402::batch::taken::Taken;
use crate::domain::x402::batch::typed::{BATCH_SETTLEMENT, ERC3009_COLLECTOR, PERMIT2_COLLECTOR};
use crate::domain::x402::error::{Message, PaymentError};
use crate::domain::x402::payload::{read_hash, read_time};
use crate::domain::x402::permit2::Permitted;
use crate::domain::x402::permitted::read_nonce;
use crate::domain::x402::requirements::read_address;
use crate::domain::x402::wire::PaymentPayload;
use crate::domain::x402::{signature, sponsoring};

/// How a deposit's money moves, as any payment's does: by what its nonce's evidence is asked for, and what a
/// permit at the token is held against. EIP-3009 brings it to its collector first, Permit2 right into the
/// contract.
pub const fn movement(terms: &ChannelTerms, incoming: &Incoming) -> Commitment {
    let Incoming { deposit, method } = *incoming;
    Commitment {
        scheme: Scheme::Exact,
        method,
        asset: terms.asset,
        payer: terms.payer,
        pay_to: if method.is_permit2() { BATCH_SETTLEMENT } else { ERC3009_COLLECTOR },
        amount_max: deposit.amount,
        valid_after_s: 0,
        valid_before_s: deposit.valid_before_s,
        nonce: deposit.nonce,
    }
}

/// The word of a deposit of `amount` into `channel`.
pub(super) fn read<S: Taken>(
    by: &Permit2Deposit,
    amount: Amount,
    terms: &ChannelTerms,
    channel: ChannelId,
) -> Result<DepositWord<S>, PaymentError> {
    let prefix = "payload.deposit.authorization.permit2Authorization";
    let wrong = PaymentError::Field { message: Message::Payload, field: prefix };
    let refuse = |code| Err(PaymentError::Batch(code));
    let address = |text: &str| read_address(text).ok_or(wrong.clone());
    if address(&by.from)? != terms.payer {
        return refuse(BatchCode::Permit2Signature);
    }
    if address(&by.permitted.token)? != terms.asset.contract {
        return refuse(BatchCode::Token);
    }
    if by.permitted.amount.parse::<Amount>().map_err(|_| wrong.clone())? != amount {
        return refuse(BatchCode::Permit2Amount);
    }
    if address(&by.spender)? != PERMIT2_COLLECTOR {
        return refuse(BatchCode::Permit2Spender);
    }
    if read_hash(&by.witness.channel_id).ok_or(wrong.clone())? != channel.0 {
        return refuse(BatchCode::ChannelId);
    }
    let deadline_s = read_time(&by.deadline).ok_or(wrong.clone())?;
    let signature = S::read(&by.signature);
    Ok(DepositWord {
        amount,
        method: TransferMethod::Permit2,
        valid_before_s: deadline_s.checked_add(1).ok_or(wrong.clone())?,
        salt: read_nonce(&by.nonce).ok_or(wrong)?,
        signature: signature.ok_or(PaymentError::Batch(BatchCode::Permit2Signature))?,
    })
}

/// The same as JSON.
pub(super) fn write(
    terms: &ChannelTerms,
    channel: ChannelId,
    word: &DepositWord,
) -> Permit2Deposit {
    Permit2Deposit {
        from: terms.payer.to_string(),
        permitted: Permitted {
            token: terms.asset.contract.to_string(),
            amount: word.amount.to_string(),
        },
        spender: PERMIT2_COLLECTOR.to_string(),
        nonce: nonce_text(word.salt),
        deadline: deposit_deadline_s(word.valid_before_s).to_string(),
        witness: DepositChannel { channel_id: channel.to_string() },
        signature: signature::to_text(&word.signature),
    }
}

fn nonce_text(nonce: B256) -> String {
    U256::from_be_bytes(nonce.0).to_string()
}

/// The word of a deposit by Permit2 with the permit at the token that came with it, if one did. Whose it
/// is, is checked with the rest.
///
/// # Errors
/// The scheme's own codes for one that is not in its form, or is for something else than the deposit.
pub(super) fn with_permit<S>(
    payment: &PaymentPayload,
    terms: &ChannelTerms,
    channel: ChannelId,
    word: DepositWord<S>,
) -> Result<DepositWord<S>, PaymentError> {
    let moved = movement(terms, &word.incoming(channel));
    let permit = sponsoring::find_permit(payment, &moved);
    let permit = permit.map_err(|error| PaymentError::Batch(code_of(&error)))?;
    let method = permit.map_or(word.method, TransferMethod::Permit2By);
    Ok(DepositWord { method, ..word })
}

/// What is wrong of a permit, in the scheme's words.
fn code_of(error: &PaymentError) -> BatchCode {
    match error {
        PaymentError::Value { .. } | PaymentError::ValueTooLarge => BatchCode::PermitAmount,
        PaymentError::Signature { .. } => BatchCode::PermitSignature,
        PaymentError::Field { field, .. } => match field.rsplit('.').next() {
            Some("from") => BatchCode::PermitOwner,
            Some("asset") => BatchCode::PermitAsset,
            Some("spender") => BatchCode::PermitSpender,
            _ => BatchCode::PermitFormat,
        },
        _ => BatchCode::PermitFormat,
    }
}

/// A payment's extensions with the permit at the token that goes with its deposit, where one does.
pub fn extensions(
    terms: &ChannelTerms,
    channel: ChannelId,
    deposit: Option<&DepositWord>,
    given: Option<Map<String, Value>>,
) -> Option<Map<String, Value>> {
    let Some(word) = deposit else { return given };
    let TransferMethod::Permit2By(permit) = word.method else { return given };
    let moved = movement(terms, &word.incoming(channel));
    Some(sponsoring::with_permit(given.unwrap_or_default(), &moved, &permit))
}
