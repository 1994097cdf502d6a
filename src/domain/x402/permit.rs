//! What a payer signs where Permit2 moves its asset, as EIP-712 digests: type hashes hashed once, and
//! every domain once for each token.
//!
//! Source: Uniswap Permit2, `SignatureTransfer`; x402 schemes `exact` and `upto` on EVM; EIP-2612.

use std::sync::LazyLock;

use alloy::primitives::{Address, B256, keccak256};

use crate::domain::asset::Network;
use crate::domain::commitment::{Commitment, Scheme, TokenPermit};
use crate::domain::x402::digest::{Fields, signing_hash};
use crate::domain::x402::permit2::{EXACT_PROXY, PERMIT2};
use crate::domain::x402::upto::UPTO_PROXY;

const DOMAIN: &str = "EIP712Domain(string name,uint256 chainId,address verifyingContract)";
const TOKEN_PERMISSIONS: &str = "TokenPermissions(address token,uint256 amount)";
const EXACT_WITNESS: &str = "Witness(address to,uint256 validAfter)";
const UPTO_WITNESS: &str = "Witness(address to,address facilitator,uint256 validAfter)";
const TRANSFER: &str = "PermitWitnessTransferFrom(TokenPermissions permitted,address spender,\
    uint256 nonce,uint256 deadline,Witness witness)";
const PERMIT: &str = "Permit(address owner,address spender,uint256 value,uint256 nonce,\
    uint256 deadline)";

macro_rules! types {
    ($($name:ident = $($part:expr),+;)+) => {
        $(static $name: LazyLock<B256> = LazyLock::new(|| keccak256([$($part),+].concat()));)+
    };
}

types! {
    DOMAIN_T = DOMAIN;
    TOKEN_PERMISSIONS_T = TOKEN_PERMISSIONS;
    EXACT_WITNESS_T = EXACT_WITNESS;
    UPTO_WITNESS_T = UPTO_WITNESS;
    EXACT_T = TRANSFER, TOKEN_PERMISSIONS, EXACT_WITNESS;
    UPTO_T = TRANSFER, TOKEN_PERMISSIONS, UPTO_WITNESS;
    PERMIT_T = PERMIT;
}

/// Who moves the asset by Permit2 for `scheme`.
pub const fn spender(scheme: Scheme) -> Address {
    match scheme {
        Scheme::Upto { .. } => UPTO_PROXY,
        Scheme::Exact | Scheme::BatchSettlement(_) => EXACT_PROXY,
    }
}

/// The last second in which a commitment by Permit2 holds: a deadline is inclusive, a time limit of ours
/// is not.
pub const fn deadline_s(commitment: &Commitment) -> u64 {
    commitment.valid_before_s.saturating_sub(1)
}

/// Permit2's own domain on `network`, hashed.
pub(super) fn permit2_separator(network: Network) -> B256 {
    Fields::new(*DOMAIN_T).text("Permit2").number(network.chain_id()).address(PERMIT2).hash()
}

/// What a payer signs for Permit2 to move what `commitment` says, in the domain of `separator`.
pub(super) fn transfer_digest(separator: B256, commitment: &Commitment) -> B256 {
    let Commitment { scheme, asset, pay_to, amount_max, valid_after_s, nonce, .. } = *commitment;
    let permitted =
        Fields::new(*TOKEN_PERMISSIONS_T).address(asset.contract).number(amount_max.get()).hash();
    let (kind, witness) = match scheme {
        Scheme::Upto { facilitator } => {
            (*UPTO_T, Fields::new(*UPTO_WITNESS_T).address(pay_to).address(facilitator))
        }
        Scheme::Exact | Scheme::BatchSettlement(_) => {
            (*EXACT_T, Fields::new(*EXACT_WITNESS_T).address(pay_to))
        }
    };
    let content = Fields::new(kind)
        .word(permitted)
        .address(spender(scheme))
        .word(nonce)
        .number(deadline_s(commitment))
        .word(witness.number(valid_after_s).hash())
        .hash();
    signing_hash(separator, content)
}

/// The same where the domain is at nobody's hand.
pub fn permit2_digest(commitment: &Commitment) -> B256 {
    transfer_digest(permit2_separator(commitment.asset.network), commitment)
}

/// What a payer signs at the token for Permit2's allowance, in the token's domain: just the maximum of
/// `commitment`, because `settleWithPermit` takes no other value.
pub(super) fn permit_digest(
    separator: B256,
    commitment: &Commitment,
    permit: &TokenPermit,
) -> B256 {
    let content = Fields::new(*PERMIT_T)
        .address(commitment.payer)
        .address(PERMIT2)
        .number(commitment.amount_max.get())
        .number(permit.nonce)
        .number(permit.deadline_s)
        .hash();
    signing_hash(separator, content)
}
