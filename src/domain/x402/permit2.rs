//! Permit2: where it is, what an owner signs for it, and the payload of scheme `exact` that carries
//! the signature. Shapes only; the checks are elsewhere.
//!
//! An owner approves Permit2 for a token once, by a transaction or by the token's own permit
//! (EIP-2612) that somebody else hands in. From then on each signature lets the spender that it names
//! move up to an amount, one time.
//!
//! Source: Uniswap Permit2, `SignatureTransfer`; x402 scheme `exact` on EVM section 2; x402 extension
//! `eip2612GasSponsoring`; EIP-2612.

use std::borrow::Cow;

use alloy::primitives::{Address, U256, address};
use alloy::sol_types::Eip712Domain;
use serde::{Deserialize, Serialize};

use crate::domain::asset::Network;

/// Permit2, at the same address on every chain.
pub const PERMIT2: Address = address!("000000000022D473030F116dDEE9F6B43aC78BA3");

/// The spender of scheme `exact`, at the same address on every chain. It moves the whole permitted
/// amount to `witness.to`, whoever calls it.
pub const EXACT_PROXY: Address = address!("402085c248EeA27D92E8b30b2C58ed07f9E20001");

alloy::sol! {
    /// Which token, and the most of it, in atomic units.
    #[derive(Debug, PartialEq, Eq)]
    struct TokenPermissions {
        address token;
        uint256 amount;
    }

    /// The witness of scheme `exact`: who is paid, and from which second on (inclusive, by the
    /// chain's clock).
    #[derive(Debug, PartialEq, Eq)]
    struct Witness {
        address to;
        uint256 validAfter;
    }

    /// What an owner signs in [`permit2_domain`] for scheme `exact`. `nonce` is any number that the
    /// owner did not use before, in any order; `deadline` is the last second in which it holds.
    #[derive(Debug, PartialEq, Eq)]
    struct PermitWitnessTransferFrom {
        TokenPermissions permitted;
        address spender;
        uint256 nonce;
        uint256 deadline;
        Witness witness;
    }

    /// What an owner signs in the token's own domain to give Permit2 an allowance of `value` atomic
    /// units. `nonce` is the owner's next at the token; `deadline` is inclusive.
    #[derive(Debug, PartialEq, Eq)]
    struct Permit {
        address owner;
        address spender;
        uint256 value;
        uint256 nonce;
        uint256 deadline;
    }
}

/// Permit2's own EIP-712 domain on `network`: it has no version.
pub fn permit2_domain(network: Network) -> Eip712Domain {
    Eip712Domain::new(
        Some(Cow::Borrowed("Permit2")),
        None,
        Some(U256::from(network.chain_id())),
        Some(PERMIT2),
        None,
    )
}

/// The payload of scheme `exact` by Permit2.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Permit2Payload {
    /// By `from`, over [`PermitWitnessTransferFrom`].
    pub signature: String,
    /// What was signed.
    pub permit2_authorization: Permit2Authorization,
}

/// What was signed, and by whom.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Permit2Authorization {
    /// Who pays.
    pub from: String,
    /// What may be moved.
    pub permitted: Permitted,
    /// [`EXACT_PROXY`].
    pub spender: String,
    /// A decimal string; 256 bits.
    pub nonce: String,
    /// Seconds since the epoch, a decimal string; inclusive.
    pub deadline: String,
    /// Who is paid.
    pub witness: ExactWitness,
}

/// A token, and the most of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Permitted {
    /// The token contract.
    pub token: String,
    /// Atomic units, a decimal string.
    pub amount: String,
}

/// The witness of scheme `exact`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ExactWitness {
    /// Who is paid.
    pub to: String,
    /// Seconds since the epoch, a decimal string; inclusive.
    pub valid_after: String,
}

/// The `info` of extension `eip2612GasSponsoring` in a payment: a [`Permit`] for Permit2 that the
/// facilitator hands in with the settlement. `settleWithPermit` wants it for just the permitted amount.
///
/// What the payee declared beside it, a description say, comes back with it from clients that merge the
/// two, and they may add more: none of that is signed, and none of it is read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Eip2612Sponsoring {
    /// The owner.
    pub from: String,
    /// The token contract, whose domain it is signed in.
    pub asset: String,
    /// [`PERMIT2`].
    pub spender: String,
    /// Atomic units, a decimal string.
    pub amount: String,
    /// The owner's next nonce at the token, a decimal string.
    pub nonce: String,
    /// Seconds since the epoch, a decimal string; inclusive.
    pub deadline: String,
    /// By `from`: 65 bytes.
    pub signature: String,
    /// The extension's version: `1`.
    pub version: String,
}
