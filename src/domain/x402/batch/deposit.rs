//! The money of a deposit as JSON has it: how much, and by what word of the payer.

use serde::{Deserialize, Serialize};

use crate::domain::x402::permit2::Permitted;

/// How much comes into the channel, and by what word of the payer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Deposit {
    /// How much.
    pub amount: String,
    /// By what word.
    pub authorization: DepositAuthorization,
}

/// Just one of the two.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum DepositAuthorization {
    /// By the token's own EIP-3009.
    Erc3009Authorization(Erc3009Deposit),
    /// By Permit2.
    Permit2Authorization(Permit2Deposit),
}

/// A deposit by EIP-3009, signed by the payer over `ReceiveWithAuthorization`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Erc3009Deposit {
    /// Exclusive.
    pub valid_after: String,
    /// Exclusive.
    pub valid_before: String,
    /// 32 bytes; the nonce is made of it and the channel's name.
    pub salt: String,
    /// By the payer.
    pub signature: String,
}

/// A deposit by Permit2, signed by the payer over `PermitWitnessTransferFrom`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Permit2Deposit {
    /// The payer.
    pub from: String,
    /// The token, and just the deposit's amount.
    pub permitted: Permitted,
    /// The Permit2 collector.
    pub spender: String,
    /// 256 bits.
    pub nonce: String,
    /// Inclusive.
    pub deadline: String,
    /// The channel.
    pub witness: DepositChannel,
    /// By the payer.
    pub signature: String,
}

/// What a deposit by Permit2 is for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DepositChannel {
    /// The channel's name: 32 bytes.
    pub channel_id: String,
}
