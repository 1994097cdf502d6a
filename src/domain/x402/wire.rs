//! The objects of x402 version 2 as JSON has them. Shapes only; the checks are elsewhere.
//!
//! Source: x402 v2 section 5.

use serde::{Deserialize, Serialize};

/// The version of the protocol that is spoken.
pub const X402_VERSION: u32 = 2;

/// What is sold, by its URL.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Resource {
    /// `grpc://host:port/package.Service/Method` for gRPC.
    pub url: String,
    /// For people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// `application/grpc` for gRPC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mime_type: Option<String>,
    /// What else is said of it, kept as it came: `serviceName`, `tags`.
    #[serde(flatten)]
    pub more: serde_json::Map<String, serde_json::Value>,
}

/// One way to pay. A field that is not known here is refused: it could change the price for a reader
/// that knows it. Source: threats.md P06.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PaymentRequirements {
    /// `exact`.
    pub scheme: String,
    /// CAIP-2.
    pub network: String,
    /// Atomic units, a decimal string.
    pub amount: String,
    /// The token contract.
    pub asset: String,
    /// Who is paid.
    pub pay_to: String,
    /// Longest life of an authorization.
    pub max_timeout_seconds: u64,
    /// By scheme; `exact` by EIP-3009 has the token's `name` and `version`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extra: Option<serde_json::Map<String, serde_json::Value>>,
}

/// The answer to a call without a payment, or with one that did not do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PaymentRequired {
    /// Always [`X402_VERSION`].
    pub x402_version: u32,
    /// Why, by a code of the specification.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// What is sold.
    pub resource: Resource,
    /// How it may be paid.
    pub accepts: Vec<PaymentRequirements>,
    /// Extensions, kept as they came.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extensions: Option<serde_json::Map<String, serde_json::Value>>,
}

/// A payment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PaymentPayload {
    /// Always [`X402_VERSION`].
    pub x402_version: u32,
    /// What is paid for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource: Option<Resource>,
    /// Which of the offered ways.
    pub accepted: PaymentRequirements,
    /// By scheme.
    pub payload: serde_json::Map<String, serde_json::Value>,
    /// Extensions, kept as they came.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extensions: Option<serde_json::Map<String, serde_json::Value>>,
}

/// What came of a settlement.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SettlementResponse {
    /// Only a JSON true is success.
    pub success: bool,
    /// Why not, by a code of the specification.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_reason: Option<String>,
    /// Who paid.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payer: Option<String>,
    /// The transfer; empty where there is none.
    pub transaction: String,
    /// CAIP-2.
    pub network: String,
    /// What was charged, in atomic units.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub amount: Option<String>,
    /// By scheme; `batch-settlement` has the charge and the channel.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extra: Option<serde_json::Map<String, serde_json::Value>>,
    /// Extensions, kept as they came.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extensions: Option<serde_json::Map<String, serde_json::Value>>,
}

/// What a facilitator is asked, to verify or to settle.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AskedPayment {
    /// Always [`X402_VERSION`].
    pub x402_version: u32,
    /// The payment.
    pub payment_payload: PaymentPayload,
    /// What the payee asked for it; when it settles, what it charges.
    pub payment_requirements: PaymentRequirements,
}

/// What a facilitator says of a payment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VerifyResponse {
    /// Only a JSON true is valid.
    pub is_valid: bool,
    /// Why not, by a code of the specification.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub invalid_reason: Option<String>,
    /// The same for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub invalid_message: Option<String>,
    /// Who pays.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payer: Option<String>,
    /// By scheme; `batch-settlement` has the channel.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extra: Option<serde_json::Map<String, serde_json::Value>>,
}

/// One thing that a facilitator does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SupportedKind {
    /// In which version of the protocol.
    pub x402_version: u32,
    /// Which scheme.
    pub scheme: String,
    /// On which network, in that version's spelling.
    pub network: String,
    /// By scheme.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extra: Option<serde_json::Map<String, serde_json::Value>>,
}

/// What a facilitator does.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Supported {
    /// Scheme by scheme and network by network.
    pub kinds: Vec<SupportedKind>,
    /// Extensions that it acts on.
    #[serde(default)]
    pub extensions: Vec<String>,
    /// Who sends its transactions, by a pattern of networks: `eip155:*`.
    #[serde(default)]
    pub signers: std::collections::BTreeMap<String, Vec<String>>,
}
