//! What the two sides of a channel tell each other about it, as JSON has it. Amounts are decimal
//! strings of atomic units.

use serde::{Deserialize, Serialize};

/// `extra` of an offer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BatchTerms {
    /// Who signs claims and refunds.
    pub receiver_authorizer: String,
    /// Seconds; within `WITHDRAW_DELAY_S`.
    pub withdraw_delay: u64,
    /// The token's EIP-712 name.
    pub name: String,
    /// The token's EIP-712 version.
    pub version: String,
    /// `eip3009` where it is left out, or `permit2`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asset_transfer_method: Option<String>,
    /// The least that a deposit may be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_deposit: Option<String>,
    /// Only in a corrective offer: how the payee sees the channel.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channel_state: Option<ChannelState>,
    /// Only in a corrective offer: the proof of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub voucher_state: Option<VoucherState>,
}

/// A channel, as the payee or its facilitator sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ChannelState {
    /// The channel's name: 32 bytes.
    pub channel_id: String,
    /// What came in, less what went back.
    pub balance: String,
    /// What was claimed on the rail.
    pub total_claimed: String,
    /// When the payer asked for its money back, in seconds since the epoch; 0 where it did not.
    pub withdraw_requested_at: u64,
    /// The next refund's nonce.
    pub refund_nonce: String,
    /// What was charged, claimed or not; a facilitator does not know it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub charged_cumulative_amount: Option<String>,
}

/// The newest voucher that a payee holds: a payer believes a figure only with its own signature.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VoucherState {
    /// So much may be claimed in all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signed_max_claimable: Option<String>,
    /// By the payer's authorizer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signature: Option<String>,
}

/// `extra` of a settlement response.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BatchResponse {
    /// What this request cost; left out for a refund.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub charged_amount: Option<String>,
    /// The channel afterwards.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channel_state: Option<ChannelState>,
}
