//! What a facilitator answers, and how it came to it.

use alloy::primitives::{Address, B256};

use crate::domain::money::Amount;
use crate::domain::x402::code::PaymentCode;
use crate::domain::x402::error::PaymentError;
use crate::domain::x402::wire::{SettlementResponse, VerifyResponse};
use crate::runtime::limits::Limited;

/// An answer of x402, and what kind of answer it is: doors say it in their own way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer<T> {
    /// What is said.
    pub body: T,
    /// How it came to it.
    pub standing: Standing,
}

/// How an answer came about.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// What was asked was looked into.
    Said,
    /// What was asked does not read.
    Malformed,
    /// Trouble of ours: asking again may help.
    Trouble,
    /// Too much was asked about one payer's payments, and nothing was looked into.
    Limited(Limited),
}

/// Why a payment does not do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) code: PaymentCode,
    pub(super) message: Option<String>,
    pub(super) payer: Option<Address>,
    /// The transaction that it speaks of.
    pub(super) transaction: Option<B256>,
    pub(super) standing: Standing,
}

impl Refusal {
    pub(super) fn new(code: PaymentCode, payer: Option<Address>) -> Self {
        let standing = match code {
            PaymentCode::VerifyFailed | PaymentCode::SettleFailed => Standing::Trouble,
            _ => Standing::Said,
        };
        Self { code, message: None, payer, transaction: None, standing }
    }

    pub(super) fn of(error: &PaymentError, payer: Option<Address>) -> Self {
        let standing = if error.is_malformed() { Standing::Malformed } else { Standing::Said };
        Self { standing, message: Some(error.to_string()), ..Self::new(error.wire(), payer) }
    }

    pub(super) fn limited(limited: Limited, payer: Address) -> Self {
        let refusal = Self::new(PaymentCode::TooMany, Some(payer));
        Self { standing: Standing::Limited(limited), message: Some(limited.to_string()), ..refusal }
    }

    pub(super) fn verified(self) -> Answer<VerifyResponse> {
        let body = VerifyResponse {
            is_valid: false,
            invalid_reason: Some(self.code.as_str().to_owned()),
            invalid_message: self.message,
            payer: self.payer.map(|payer| payer.to_string()),
            extra: None,
        };
        Answer { body, standing: self.standing }
    }

    pub(super) fn settled(self, network: &str) -> Answer<SettlementResponse> {
        let body = SettlementResponse {
            success: false,
            error_reason: Some(self.code.as_str().to_owned()),
            payer: self.payer.map(|payer| payer.to_string()),
            transaction: self.transaction.map(|hash| hash.to_string()).unwrap_or_default(),
            network: network.to_owned(),
            amount: None,
            extra: None,
            extensions: None,
        };
        Answer { body, standing: self.standing }
    }
}

/// A payment that would settle.
pub(super) fn valid(payer: Address) -> Answer<VerifyResponse> {
    let body = VerifyResponse {
        is_valid: true,
        invalid_reason: None,
        invalid_message: None,
        payer: Some(payer.to_string()),
        extra: None,
    };
    Answer { body, standing: Standing::Said }
}

/// A payment that settled; of nothing where nothing was charged, and then no transaction was sent.
pub(super) fn settled(
    payer: Address,
    network: &str,
    transaction: Option<B256>,
    amount: Amount,
) -> Answer<SettlementResponse> {
    let body = SettlementResponse {
        success: true,
        error_reason: None,
        payer: Some(payer.to_string()),
        transaction: transaction.map(|hash| hash.to_string()).unwrap_or_default(),
        network: network.to_owned(),
        amount: Some(amount.to_string()),
        extra: None,
        extensions: None,
    };
    Answer { body, standing: Standing::Said }
}
