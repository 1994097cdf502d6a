//! Scheme `upto`: what a payer signs, and the payload that carries it. Shapes only; the checks are
//! elsewhere.
//!
//! The signature is for the most that may be charged. When a payment is verified, the amount of its
//! requirements is that maximum; when it is settled, it is the charge, which may be anything from
//! nothing to the maximum. A charge of nothing is not handed in: the contract refuses it, and the
//! signature lapses by its deadline. Source: x402 scheme `upto` on EVM.

use alloy::primitives::{Address, address};
use serde::{Deserialize, Serialize};

use crate::domain::x402::permit2::Permitted;

/// The spender of scheme `upto`, at the same address on every chain. It moves what its caller says, at
/// most the permitted amount, to `witness.to`; the caller has to be `witness.facilitator`.
pub const UPTO_PROXY: Address = address!("4020A4f3b7b90ccA423B9fabCc0CE57C6C240002");

alloy::sol! {
    /// Which token, and the most of it, in atomic units.
    #[derive(Debug, PartialEq, Eq)]
    struct TokenPermissions {
        address token;
        uint256 amount;
    }

    /// The witness of scheme `upto`: who is paid, who alone may settle, and from which second on
    /// (inclusive, by the chain's clock).
    #[derive(Debug, PartialEq, Eq)]
    struct Witness {
        address to;
        address facilitator;
        uint256 validAfter;
    }

    /// What an owner signs in Permit2's domain for scheme `upto`. `nonce` is any number that the
    /// owner did not use before, in any order; `deadline` is the last second in which it holds.
    #[derive(Debug, PartialEq, Eq)]
    struct PermitWitnessTransferFrom {
        TokenPermissions permitted;
        address spender;
        uint256 nonce;
        uint256 deadline;
        Witness witness;
    }
}

/// The payload of scheme `upto`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct UptoPayload {
    /// By `from`, over [`PermitWitnessTransferFrom`].
    pub signature: String,
    /// What was signed.
    pub permit2_authorization: UptoAuthorization,
}

/// What was signed, and by whom.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct UptoAuthorization {
    /// Who pays.
    pub from: String,
    /// The token, and the most that may be charged.
    pub permitted: Permitted,
    /// [`UPTO_PROXY`].
    pub spender: String,
    /// A decimal string; 256 bits.
    pub nonce: String,
    /// Seconds since the epoch, a decimal string; inclusive.
    pub deadline: String,
    /// Who is paid, and who settles.
    pub witness: UptoWitness,
}

/// The witness of scheme `upto`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct UptoWitness {
    /// Who is paid.
    pub to: String,
    /// Who alone may settle: the offer's `extra.facilitatorAddress`.
    pub facilitator: String,
    /// Seconds since the epoch, a decimal string; inclusive.
    pub valid_after: String,
}
