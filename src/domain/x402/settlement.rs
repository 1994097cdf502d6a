//! What came of a settlement, said and understood.

use alloy::primitives::B256;

use crate::domain::asset::Network;
use crate::domain::commitment::{Commitment, Scheme};
use crate::domain::money::Amount;
use crate::domain::x402::code::PaymentCode;
use crate::domain::x402::error::{Message, PaymentError};
use crate::domain::x402::payload::read_hash;
use crate::domain::x402::requirements::read_address;
use crate::domain::x402::wire::SettlementResponse;

/// A transfer, as the payee says it was made. Its word, and no evidence.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Settled {
    /// In which transaction; zeros where nothing was charged, and nothing sent.
    pub transaction: B256,
    /// How much.
    pub amount: Amount,
}

/// What a payee says of a settlement that succeeded.
pub fn settled(commitment: &Commitment, settled: &Settled) -> SettlementResponse {
    SettlementResponse {
        success: true,
        error_reason: None,
        payer: Some(commitment.payer.to_string()),
        // Nothing is not handed in. Source: x402 scheme `upto` on EVM, zero settlement.
        transaction: match settled.amount.is_zero() {
            true => String::new(),
            false => settled.transaction.to_string(),
        },
        network: commitment.asset.network.to_string(),
        amount: Some(settled.amount.to_string()),
        extra: None,
        extensions: None,
    }
}

/// What a payee says of one that did not: [`PaymentCode::Pending`] is an open outcome, with the
/// transaction where one was sent.
pub fn not_settled(
    commitment: &Commitment,
    reason: PaymentCode,
    transaction: Option<B256>,
) -> SettlementResponse {
    SettlementResponse {
        success: false,
        error_reason: Some(reason.as_str().to_owned()),
        payer: Some(commitment.payer.to_string()),
        transaction: transaction.map(|hash| hash.to_string()).unwrap_or_default(),
        network: commitment.asset.network.to_string(),
        amount: None,
        extra: None,
        extensions: None,
    }
}

/// The transfer that `response` speaks of, where it is one of `commitment`.
///
/// # Errors
/// [`PaymentError::Refused`] with the payee's reason ([`PaymentCode::SettleFailed`] where it gives none
/// that is known), [`PaymentError::Field`], [`PaymentError::Network`], [`PaymentError::Value`] where
/// what it says does not fit what was signed: the outcome is open then.
pub fn read_settlement(
    response: &SettlementResponse,
    commitment: &Commitment,
) -> Result<Settled, PaymentError> {
    let field = |field| PaymentError::Field { message: Message::Settlement, field };
    if !response.success {
        let reason = response.error_reason.as_deref().and_then(PaymentCode::from_any);
        return Err(PaymentError::Refused(reason.unwrap_or(PaymentCode::SettleFailed)));
    }
    let network: Network = response.network.parse().map_err(|_| PaymentError::Network)?;
    if network != commitment.asset.network {
        return Err(PaymentError::Network);
    }
    if let Some(payer) = &response.payer
        && read_address(payer) != Some(commitment.payer)
    {
        return Err(field("payer"));
    }
    // Where it says no amount, it is the one that was signed: `exact` moves nothing else.
    let expected = commitment.amount_max;
    let said = response.amount.as_deref().map(str::parse::<Amount>).transpose();
    let amount = said.map_err(|_| field("amount"))?.unwrap_or(expected);
    let transaction = match amount.is_zero() && response.transaction.is_empty() {
        true => B256::ZERO,
        false => read_hash(&response.transaction).ok_or(field("transaction"))?,
    };
    let fits = match commitment.scheme {
        Scheme::Upto { .. } => amount <= expected,
        Scheme::Exact | Scheme::BatchSettlement(_) => amount == expected,
    };
    if !fits {
        return Err(PaymentError::Value { expected, found: amount });
    }
    Ok(Settled { transaction, amount })
}
