//! The payee's word on what was charged.

use alloy::primitives::{Address, B256, Signature};
use serde::{Deserialize, Serialize};

use crate::domain::asset::Asset;
use crate::domain::id::{Name, PaymentId};
use crate::domain::money::Amount;
use crate::domain::order::Usage;

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
