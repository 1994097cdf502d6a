//! The error codes that x402 programs say to each other. Three vocabularies are in use; the
//! specification's is spoken here, and all three are understood.

use crate::domain::fault::Class;
use crate::domain::x402::batch::code::BatchCode;

/// What was wrong with a payment, by its code on the wire.
///
/// Source: x402 v2 section 9; scheme `exact` on EVM; threats.md section 2.0.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PaymentCode {
    /// The payment is not in its form.
    Payload,
    /// Another version of the protocol.
    Version,
    /// The scheme is not taken.
    Scheme,
    /// The network is not taken.
    Network,
    /// The requirements are not in their form, or not those that were offered.
    Requirements,
    /// Paid to somebody else.
    Recipient,
    /// Not the amount that was asked.
    Value,
    /// Its time has not come.
    ValidAfter,
    /// Its time has passed, or nearly.
    ValidBefore,
    /// The signature is not the payer's.
    Signature,
    /// The payer has less than the amount.
    InsufficientFunds,
    /// The nonce was used before.
    NonceUsed,
    /// The same payment is being settled already.
    Duplicate,
    /// A transaction was sent, and nobody knows yet.
    Pending,
    /// The transaction failed, or was refused.
    TransactionState,
    /// The payer has not allowed Permit2 to move the token.
    AllowanceRequired,
    /// More than was authorized was to be settled.
    ExceedsAuthorized,
    /// Signed for another spender than the scheme's.
    Spender,
    /// Signed for another facilitator than was offered.
    Facilitator,
    /// The facilitator failed while it verified.
    VerifyFailed,
    /// The facilitator failed while it settled: the outcome is open.
    SettleFailed,
    /// Too much was asked about one payer's payments: nothing was looked at.
    TooMany,
    /// The payer's wallet is not there, and what would make it is not called here.
    FactoryNotAllowed,
    /// The payer's wallet is not there, and was not made.
    WalletNotMade,
    /// Something about a channel.
    Batch(BatchCode),
}

/// Every code with its name in the specification and its names elsewhere. Where the specification has
/// none, the name that its authors' own programs use comes first.
const NAMES: [(PaymentCode, &str, &[&str]); 24] = {
    use PaymentCode::*;
    [
        (Payload, "invalid_payload", &["invalid_format", "unsupported_payload_type"]),
        (Version, "invalid_x402_version", &["unsupported_x402_version"]),
        (Scheme, "unsupported_scheme", &["invalid_scheme", "invalid_exact_evm_scheme"]),
        (
            Network,
            "invalid_network",
            &["invalid_exact_evm_network_mismatch", "chain_id_mismatch", "unsupported_chain"],
        ),
        (
            Requirements,
            "invalid_payment_requirements",
            &[
                "accepted_requirements_mismatch",
                "asset_mismatch",
                "invalid_exact_evm_missing_eip712_domain",
                "invalid_exact_evm_token_name_mismatch",
                "invalid_exact_evm_token_version_mismatch",
                "extension_echo_mismatch",
            ],
        ),
        (
            Recipient,
            "invalid_exact_evm_payload_recipient_mismatch",
            &[
                "invalid_exact_evm_recipient_mismatch",
                "invalid_permit2_recipient_mismatch",
                "recipient_mismatch",
            ],
        ),
        (
            Value,
            "invalid_exact_evm_payload_authorization_value_mismatch",
            &[
                "invalid_exact_evm_authorization_value",
                "invalid_exact_evm_payload_authorization_value",
                "invalid_payment_amount",
                "permit2_amount_mismatch",
                "permit2_invalid_amount",
            ],
        ),
        (
            ValidAfter,
            "invalid_exact_evm_payload_authorization_valid_after",
            &["invalid_payment_early", "permit2_not_yet_valid"],
        ),
        (
            ValidBefore,
            "invalid_exact_evm_payload_authorization_valid_before",
            &["invalid_payment_expired", "permit2_deadline_expired"],
        ),
        (
            Signature,
            "invalid_exact_evm_payload_signature",
            &["invalid_exact_evm_signature", "invalid_permit2_signature", "invalid_signature"],
        ),
        (
            InsufficientFunds,
            "insufficient_funds",
            &["invalid_exact_evm_insufficient_balance", "permit2_insufficient_balance"],
        ),
        (
            NonceUsed,
            "invalid_exact_evm_nonce_already_used",
            &["nonce_already_used", "permit2_invalid_nonce"],
        ),
        (Duplicate, "duplicate_settlement", &[]),
        (Pending, "settlement_pending", &[]),
        (
            TransactionState,
            "invalid_transaction_state",
            &["transaction_simulation", "invalid_exact_evm_transaction_failed"],
        ),
        (AllowanceRequired, "permit2_allowance_required", &["PERMIT2_ALLOWANCE_REQUIRED"]),
        (ExceedsAuthorized, "invalid_upto_evm_payload_settlement_exceeds_amount", &[]),
        (Spender, "invalid_permit2_spender", &[]),
        (Facilitator, "upto_facilitator_mismatch", &["upto_unauthorized_facilitator"]),
        (VerifyFailed, "unexpected_verify_error", &[]),
        (SettleFailed, "unexpected_settle_error", &["unexpected_error"]),
        (TooMany, "too_many_requests", &[]),
        (FactoryNotAllowed, "eip6492_factory_not_allowed", &[]),
        (
            WalletNotMade,
            "smart_wallet_deployment_failed",
            &["invalid_exact_evm_payload_undeployed_smart_wallet"],
        ),
    ]
};

impl PaymentCode {
    /// Every code.
    pub fn all() -> impl Iterator<Item = Self> {
        NAMES.iter().map(|(code, ..)| *code).chain(BatchCode::all().map(Self::Batch))
    }

    /// Its name on the wire.
    pub fn as_str(self) -> &'static str {
        if let Self::Batch(code) = self {
            return code.as_str();
        }
        NAMES
            .iter()
            .find(|(code, ..)| *code == self)
            .map(|(_, name, _)| *name)
            .expect("every code has a name")
    }

    /// The code that is called `text` in any of the three vocabularies.
    pub fn from_any(text: &str) -> Option<Self> {
        NAMES
            .iter()
            .find(|(_, name, others)| *name == text || others.contains(&text))
            .map(|(code, ..)| *code)
            .or_else(|| BatchCode::from_text(text).map(Self::Batch))
    }

    /// What others call it.
    pub fn aliases(self) -> &'static [&'static str] {
        NAMES.iter().find(|(code, ..)| *code == self).map_or(&[], |(.., others)| others)
    }

    /// Whether trying again can help, for the one who paid.
    pub const fn class(self) -> Class {
        match self {
            Self::ValidAfter
            | Self::InsufficientFunds
            | Self::VerifyFailed
            | Self::TooMany
            | Self::Batch(
                BatchCode::ChannelBusy
                | BatchCode::StateUnavailable
                | BatchCode::InsufficientBalance,
            ) => Class::Later,
            Self::Batch(BatchCode::DepositFailed) => Class::InDoubt,
            // Something may have been sent: the rail has to be asked before anything else is paid.
            Self::NonceUsed
            | Self::Duplicate
            | Self::Pending
            | Self::TransactionState
            | Self::SettleFailed => Class::InDoubt,
            Self::Payload
            | Self::Version
            | Self::Scheme
            | Self::Network
            | Self::Requirements
            | Self::Recipient
            | Self::Value
            | Self::ValidBefore
            | Self::Signature
            | Self::AllowanceRequired
            | Self::ExceedsAuthorized
            | Self::Spender
            | Self::Facilitator
            | Self::FactoryNotAllowed
            | Self::WalletNotMade
            | Self::Batch(_) => Class::Final,
        }
    }
}
