//! The payloads of scheme `batch-settlement` as JSON has them. Amounts and times are decimal strings,
//! in atomic units and in seconds since the epoch.

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use crate::domain::x402::batch::deposit::Deposit;

/// A payload, told apart by its `type`. The first three come from a payer, the last two from a payee,
/// for its facilitator; a refund goes both ways.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum BatchPayload {
    /// A deposit, with the first voucher on it.
    Deposit(DepositPayload),
    /// A voucher on what was deposited.
    Voucher(VoucherPayload),
    /// A wish to have back what was not charged.
    Refund(RefundPayload),
    /// Vouchers to claim.
    Claim(ClaimPayload),
    /// What was claimed, to be paid out.
    Settle(SettlePayload),
}

/// A channel's config.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Channel {
    /// Whose money it is.
    pub payer: String,
    /// Who signs vouchers; the zero address where the payer does.
    pub payer_authorizer: String,
    /// Who is paid.
    pub receiver: String,
    /// Who signs claims and refunds.
    pub receiver_authorizer: String,
    /// The token contract.
    pub token: String,
    /// Seconds; within `WITHDRAW_DELAY_S`.
    pub withdraw_delay: u64,
    /// 32 bytes.
    pub salt: String,
}

/// A voucher with its signature.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SignedVoucher {
    /// The channel's name: 32 bytes.
    pub channel_id: String,
    /// So much may be claimed in all.
    pub max_claimable_amount: String,
    /// By the payer's authorizer.
    pub signature: String,
}

/// A deposit, with the first voucher on it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DepositPayload {
    /// The channel.
    pub channel_config: Channel,
    /// The voucher.
    pub voucher: SignedVoucher,
    /// The money.
    pub deposit: Deposit,
}

/// A voucher on what was deposited.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct VoucherPayload {
    /// The channel.
    pub channel_config: Channel,
    /// The voucher.
    pub voucher: SignedVoucher,
}

/// A wish to have back what was not charged. The payee adds all below `amount` before it goes to a
/// facilitator, the signatures only where the receiver's authorizer is its own key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RefundPayload {
    /// The channel.
    pub channel_config: Channel,
    /// A voucher for what was charged already, and no more.
    pub voucher: SignedVoucher,
    /// How much; all where a payer leaves it out, and nowhere else. Of any type, so that what is no number
    /// has the amount's own code.
    #[serde(default, deserialize_with = "there", skip_serializing_if = "Option::is_none")]
    pub amount: Option<Value>,
    /// The channel's next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refund_nonce: Option<String>,
    /// What is claimed first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claims: Option<Vec<VoucherClaim>>,
    /// Over `Refund`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refund_authorizer_signature: Option<String>,
    /// Over `ClaimBatch`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claim_authorizer_signature: Option<String>,
}

/// Vouchers to claim.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ClaimPayload {
    /// One for each channel.
    pub claims: Vec<VoucherClaim>,
    /// Over `ClaimBatch`; left out where the facilitator is the authorizer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claim_authorizer_signature: Option<String>,
}

/// One voucher in a claim.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct VoucherClaim {
    /// What was signed.
    pub voucher: VoucherTerms,
    /// By the payer's authorizer.
    pub signature: String,
    /// What was charged in all: at most what the voucher allows.
    pub total_claimed: String,
}

/// A voucher with its channel written out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct VoucherTerms {
    /// The channel.
    pub channel: Channel,
    /// So much may be claimed in all.
    pub max_claimable_amount: String,
}

/// What was claimed, to be paid out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SettlePayload {
    /// To whom.
    pub receiver: String,
    /// In which token.
    pub token: String,
}

/// What is there, `null` too: to serde that would be the same as what was left out.
fn there<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}
