//! The payee's word on what was charged, and the payer's check of it.

use alloy::primitives::{Address, B256, Signature};
use serde::{Deserialize, Serialize};

use crate::domain::asset::Asset;
use crate::domain::commitment::{Commitment, Scheme};
use crate::domain::fault::{Class, Fault};
use crate::domain::id::{Name, PaymentId};
use crate::domain::money::Amount;
use crate::domain::order::Usage;
use crate::domain::x402::digest::receipt_digest;
use crate::domain::x402::signature::is_signed_by;

/// What a payee states about one paid call.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Receipt {
    /// The payment, by the payer's name for it, where the payer gave one.
    pub payment: Option<PaymentId>,
    /// Who was paid.
    pub provider: Name,
    /// What was paid for: the x402 `resource.url`.
    pub resource: String,
    /// Who paid.
    pub payer: Address,
    /// In what.
    pub asset: Asset,
    /// What was charged.
    pub amount: Amount,
    /// What was used.
    pub usage: Usage,
    /// The transfer; `None` while its outcome is unknown.
    pub transaction: Option<B256>,
    /// When it was issued, in seconds since the epoch.
    pub issued_at_s: u64,
}

/// A receipt under the service key.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SignedReceipt {
    /// What was signed.
    pub receipt: Receipt,
    /// The service key.
    pub service_key: Address,
    /// Over `domain::x402`'s digest of the receipt.
    pub signature: Signature,
}

/// What a receipt has to say, as the payer knows it.
#[derive(Copy, Clone, Debug)]
pub struct Expected<'a> {
    /// The payment.
    pub payment: PaymentId,
    /// What was authorized.
    pub commitment: &'a Commitment,
    /// Who was paid.
    pub provider: &'a Name,
    /// What was paid for.
    pub resource: &'a str,
    /// The service key, as listed.
    pub service_key: Address,
}

/// Why a receipt is not the payee's word on this payment.
#[derive(Copy, Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReceiptError {
    /// Signed by another key than the listed service key.
    #[error("the receipt is signed for {found}, not for {expected}")]
    ServiceKey {
        /// As listed.
        expected: Address,
        /// As signed.
        found: Address,
    },
    /// Not a signature of the service key.
    #[error("the receipt's signature is not that of {0}")]
    Signature(Address),
    /// It speaks of another payment.
    #[error("the receipt is for {0}")]
    Payment(PaymentId),
    /// Another provider's.
    #[error("the receipt is another provider's")]
    Provider,
    /// For something else.
    #[error("the receipt is for another resource")]
    Resource,
    /// Another payer's.
    #[error("the receipt is for what {0} paid")]
    Payer(Address),
    /// In another asset.
    #[error("the receipt is in {0}")]
    Asset(Asset),
    /// Another amount than was authorized.
    #[error("{charged} charged, {authorized} authorized")]
    Amount {
        /// What was signed for.
        authorized: Amount,
        /// What the receipt says.
        charged: Amount,
    },
}

impl Fault for ReceiptError {
    fn code(&self) -> &'static str {
        match self {
            Self::ServiceKey { .. } => "receipt.service_key",
            Self::Signature(_) => "receipt.signature",
            Self::Payment(_) => "receipt.payment",
            Self::Provider => "receipt.provider",
            Self::Resource => "receipt.resource",
            Self::Payer(_) => "receipt.payer",
            Self::Asset(_) => "receipt.asset",
            Self::Amount { .. } => "receipt.amount",
        }
    }

    /// A receipt that does not do says nothing of the money: the rail has to be asked.
    fn class(&self) -> Class {
        Class::InDoubt
    }
}

/// Whether `signed` is the payee's word on what was expected; `exact` charges just what was
/// authorized, other schemes at most that.
///
/// # Errors
/// [`ReceiptError`], the signature last.
pub fn check_receipt(signed: &SignedReceipt, expected: &Expected<'_>) -> Result<(), ReceiptError> {
    let (receipt, commitment) = (&signed.receipt, expected.commitment);
    if signed.service_key != expected.service_key {
        let found = signed.service_key;
        return Err(ReceiptError::ServiceKey { expected: expected.service_key, found });
    }
    if let Some(other) = receipt.payment.filter(|payment| *payment != expected.payment) {
        return Err(ReceiptError::Payment(other));
    }
    if receipt.provider != *expected.provider {
        return Err(ReceiptError::Provider);
    }
    if receipt.resource != expected.resource {
        return Err(ReceiptError::Resource);
    }
    if receipt.payer != commitment.payer && !planted!("receipt_of_another_payer") {
        return Err(ReceiptError::Payer(receipt.payer));
    }
    if receipt.asset != commitment.asset {
        return Err(ReceiptError::Asset(receipt.asset));
    }
    let (authorized, charged) = (commitment.amount_max, receipt.amount);
    let charge_stands = match commitment.scheme {
        Scheme::Exact => charged == authorized || planted!("receipt_amount_unchecked"),
        Scheme::BatchSettlement(_) | Scheme::Upto { .. } => charged <= authorized,
    };
    if !charge_stands {
        return Err(ReceiptError::Amount { authorized, charged });
    }
    if is_signed_by(expected.service_key, receipt_digest(receipt), &signed.signature) {
        Ok(())
    } else {
        Err(ReceiptError::Signature(expected.service_key))
    }
}
