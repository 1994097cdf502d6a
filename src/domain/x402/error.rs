//! Why an x402 object is refused: one variant for each check, with the values that it compared.

use alloy::primitives::Address;

use crate::domain::asset::Asset;
use crate::domain::fault::{Class, Fault};
use crate::domain::money::Amount;
use crate::domain::x402::batch::code::BatchCode;
use crate::domain::x402::code::PaymentCode;

/// Which object.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
pub enum Message {
    /// `PaymentRequired`.
    Required,
    /// `PaymentPayload`.
    Payload,
    /// `SettlementResponse`.
    Settlement,
    /// What a facilitator is asked.
    Asked,
}

impl std::fmt::Display for Message {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Required => "PaymentRequired",
            Self::Payload => "PaymentPayload",
            Self::Settlement => "SettlementResponse",
            Self::Asked => "facilitator request",
        })
    }
}

/// Why a payment, an offer or a settlement does not do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PaymentError {
    /// Longer than anything that is read.
    #[error("{message} has {len} bytes, at most {max} are read")]
    TooLarge {
        /// Which object.
        message: Message,
        /// How long.
        len: usize,
        /// How long it may be.
        max: usize,
    },
    /// Not base64 of the standard alphabet, padded and canonical.
    #[error("{0} is not padded base64 of the standard alphabet")]
    NotBase64(Message),
    /// Not JSON, or not of the object's shape.
    #[error("{message} is not of its shape, seen at column {column}")]
    Malformed {
        /// Which object.
        message: Message,
        /// Where it was seen.
        column: usize,
    },
    /// A key is there twice: two readers could see two payments.
    #[error("{0} has a key twice in one object")]
    DuplicateKey(Message),
    /// Nested deeper than anything that is read.
    #[error("{message} is nested deeper than {max}")]
    TooDeep {
        /// Which object.
        message: Message,
        /// How deep it may be.
        max: usize,
    },
    /// Another version, or none.
    #[error("x402Version is {}, expected 2", .found.map_or_else(|| "no version".to_owned(), |v| v.to_string()))]
    Version {
        /// What was found, where it was a whole number.
        found: Option<u64>,
    },
    /// A field is missing or not in its one spelling.
    #[error("{message}: `{field}` is missing or not in its one spelling")]
    Field {
        /// In which object.
        message: Message,
        /// Which field, with the path to it.
        field: &'static str,
    },
    /// No such scheme, or transfer method, is offered.
    #[error("the scheme is not one that is taken here")]
    Scheme,
    /// The network is not one of those offered.
    #[error("the network is not one that is taken here")]
    Network,
    /// The asset is not in the registry.
    #[error("{0} is not in the registry")]
    UnknownAsset(Asset),
    /// The token's EIP-712 name or version is not the pinned one.
    #[error("the EIP-712 name or version of {0} is not the pinned one")]
    TokenDomain(Asset),
    /// What was accepted is not what was offered.
    #[error("the accepted requirements are not among those offered")]
    NotOffered,
    /// The object speaks of another resource.
    #[error("the resource is not the one that was asked for")]
    Resource,
    /// Paid to somebody else.
    #[error("paid to {found}, not to {expected}")]
    Recipient {
        /// As offered.
        expected: Address,
        /// As signed.
        found: Address,
    },
    /// Another amount: above is refused as below is.
    #[error("{found} authorized, {expected} asked")]
    Value {
        /// As offered.
        expected: Amount,
        /// As signed.
        found: Amount,
    },
    /// More than any ledger takes.
    #[error("the authorized value is above what a ledger takes")]
    ValueTooLarge,
    /// Nothing is no payment.
    #[error("a payment of nothing")]
    Zero,
    /// Its time has not come.
    #[error("valid after {valid_after_s}, it is {now_s}")]
    Early {
        /// As signed, in seconds since the epoch.
        valid_after_s: u64,
        /// The time of the check.
        now_s: u64,
    },
    /// Its time has passed, or too little is left to settle in.
    #[error("valid before {valid_before_s}, it is {now_s} and a margin is needed")]
    Expired {
        /// As signed, in seconds since the epoch.
        valid_before_s: u64,
        /// The time of the check.
        now_s: u64,
    },
    /// It lives longer than was asked.
    #[error("valid before {valid_before_s}, at the latest {latest_s} was asked")]
    TooLong {
        /// As signed, in seconds since the epoch.
        valid_before_s: u64,
        /// The latest that is taken.
        latest_s: u64,
    },
    /// A time limit that nobody signs.
    #[error("maxTimeoutSeconds is {found}")]
    Timeout {
        /// As asked.
        found: u64,
    },
    /// Not the payer's signature.
    #[error("the signature is not that of {from}")]
    Signature {
        /// Who should have signed.
        from: Address,
        /// Who did, where the signature is one at all.
        recovered: Option<Address>,
    },
    /// Something about a channel.
    #[error("channel: {}", .0.as_str())]
    Batch(BatchCode),
    /// Signed for a spender that is not the scheme's.
    #[error("the spender is {found}, not {expected}")]
    Spender {
        /// The scheme's.
        expected: Address,
        /// As signed.
        found: Address,
    },
    /// Signed for a facilitator that was not offered: nobody here could settle it.
    #[error("{found} alone may settle, not {expected}")]
    Facilitator {
        /// As offered.
        expected: Address,
        /// As signed.
        found: Address,
    },
    /// The other side says so.
    #[error("refused: {}", .0.as_str())]
    Refused(PaymentCode),
}

impl PaymentError {
    /// What the other side's code means, in whichever of the three vocabularies.
    pub fn from_code(text: &str) -> Option<Self> {
        PaymentCode::from_any(text).map(Self::Refused)
    }

    /// The specification's code for it: what goes onto the wire.
    pub const fn wire(&self) -> PaymentCode {
        match self {
            Self::TooLarge { message, .. }
            | Self::NotBase64(message)
            | Self::Malformed { message, .. }
            | Self::DuplicateKey(message)
            | Self::TooDeep { message, .. }
            | Self::Field { message, .. } => match message {
                Message::Required => PaymentCode::Requirements,
                Message::Payload | Message::Settlement | Message::Asked => PaymentCode::Payload,
            },
            Self::Version { .. } => PaymentCode::Version,
            Self::Scheme => PaymentCode::Scheme,
            Self::Network => PaymentCode::Network,
            Self::UnknownAsset(_)
            | Self::TokenDomain(_)
            | Self::NotOffered
            | Self::Timeout { .. } => PaymentCode::Requirements,
            // No code of the specification says it. Source: threats.md A06.
            Self::Resource => PaymentCode::Payload,
            Self::Recipient { .. } => PaymentCode::Recipient,
            Self::Value { .. } | Self::ValueTooLarge | Self::Zero => PaymentCode::Value,
            Self::Early { .. } => PaymentCode::ValidAfter,
            Self::Expired { .. } | Self::TooLong { .. } => PaymentCode::ValidBefore,
            Self::Signature { .. } => PaymentCode::Signature,
            Self::Batch(code) => PaymentCode::Batch(*code),
            Self::Spender { .. } => PaymentCode::Spender,
            Self::Facilitator { .. } => PaymentCode::Facilitator,
            Self::Refused(code) => *code,
        }
    }

    /// Whether the object could not be read at all: malformed, where the rest is refused.
    pub const fn is_malformed(&self) -> bool {
        matches!(
            self,
            Self::TooLarge { .. }
                | Self::NotBase64(_)
                | Self::Malformed { .. }
                | Self::DuplicateKey(_)
                | Self::TooDeep { .. }
                | Self::Field { .. }
                | Self::Version { .. }
        )
    }
}

impl Fault for PaymentError {
    fn code(&self) -> &'static str {
        match self {
            Self::TooLarge { .. } => "x402.too_large",
            Self::NotBase64(_) => "x402.not_base64",
            Self::Malformed { .. } => "x402.malformed",
            Self::DuplicateKey(_) => "x402.duplicate_key",
            Self::TooDeep { .. } => "x402.too_deep",
            Self::Version { .. } => "x402.version",
            Self::Field { .. } => "x402.field",
            Self::Scheme => "x402.scheme",
            Self::Network => "x402.network",
            Self::UnknownAsset(_) => "x402.unknown_asset",
            Self::TokenDomain(_) => "x402.token_domain",
            Self::NotOffered => "x402.not_offered",
            Self::Resource => "x402.resource",
            Self::Recipient { .. } => "x402.recipient",
            Self::Value { .. } => "x402.value",
            Self::ValueTooLarge => "x402.value_too_large",
            Self::Zero => "x402.zero",
            Self::Early { .. } => "x402.early",
            Self::Expired { .. } => "x402.expired",
            Self::TooLong { .. } => "x402.too_long",
            Self::Timeout { .. } => "x402.timeout",
            Self::Signature { .. } => "x402.signature",
            Self::Batch(_) => "x402.batch",
            Self::Spender { .. } => "x402.spender",
            Self::Facilitator { .. } => "x402.facilitator",
            Self::Refused(_) => "x402.refused",
        }
    }

    fn class(&self) -> Class {
        match self {
            Self::Early { .. } => Class::Later,
            Self::Refused(code) => code.class(),
            Self::Batch(code) => PaymentCode::Batch(*code).class(),
            Self::TooLarge { .. }
            | Self::NotBase64(_)
            | Self::Malformed { .. }
            | Self::DuplicateKey(_)
            | Self::TooDeep { .. }
            | Self::Version { .. }
            | Self::Field { .. }
            | Self::Scheme
            | Self::Network
            | Self::UnknownAsset(_)
            | Self::TokenDomain(_)
            | Self::NotOffered
            | Self::Resource
            | Self::Recipient { .. }
            | Self::Value { .. }
            | Self::ValueTooLarge
            | Self::Zero
            | Self::Expired { .. }
            | Self::TooLong { .. }
            | Self::Timeout { .. }
            | Self::Spender { .. }
            | Self::Facilitator { .. }
            | Self::Signature { .. } => Class::Final,
        }
    }
}
