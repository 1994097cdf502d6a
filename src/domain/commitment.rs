//! The fields that a hold stores and a signature covers: the one description of a payment that
//! ledger, signer and x402 share.

use alloy::primitives::{Address, B256, Signature};
use serde::{Deserialize, Serialize};

use crate::domain::asset::Asset;
use crate::domain::money::Amount;

/// An x402 scheme.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scheme {
    /// One authorization for exactly the price.
    Exact,
    /// One deposit, then a voucher for each call.
    BatchSettlement(ChannelOffer),
}

/// On what terms a payee takes a channel.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ChannelOffer {
    /// Who signs claims and refunds.
    pub receiver_authorizer: Address,
    /// How long the payer waits for what was not claimed, in seconds.
    pub withdraw_delay_s: u64,
    /// The least that a deposit may be, in atomic units.
    pub deposit_min: Amount,
}

impl Scheme {
    /// Its name on the wire and in configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Exact => "exact",
            Self::BatchSettlement(_) => "batch-settlement",
        }
    }
}

/// How a scheme moves the asset.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TransferMethod {
    /// The token's own `transferWithAuthorization`. Source: EIP-3009.
    Eip3009,
}

impl TransferMethod {
    /// Its name on the wire. Source: x402 scheme `exact` on EVM, `assetTransferMethod`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Eip3009 => "eip3009",
        }
    }
}

/// What a signature covers. Everything the signer needs, so that a crash changes no byte of it.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Commitment {
    /// The scheme.
    pub scheme: Scheme,
    /// How the asset is moved.
    pub method: TransferMethod,
    /// The asset.
    pub asset: Asset,
    /// Who pays on the rail.
    pub payer: Address,
    /// Who is paid on the rail.
    pub pay_to: Address,
    /// The most that can move, in atomic units; for `exact` just what will move.
    pub amount_max: Amount,
    /// Valid strictly after, in seconds since the epoch by the chain's clock.
    pub valid_after_s: u64,
    /// Valid strictly before, in seconds since the epoch by the chain's clock.
    pub valid_before_s: u64,
    /// The on-chain nonce: a keyed function of the payment id, so that even a second signature for
    /// the same payment collides on chain.
    pub nonce: B256,
}

/// A signed commitment, as the payer sends it and the payee presents it to the rail.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Authorization {
    /// What was signed.
    pub commitment: Commitment,
    /// By the payer.
    pub signature: Signature,
}

/// An authorization's name on the rail: what can settle at most once.
/// Source: threats.md section 3.1, kappa.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct AuthorizationKey {
    /// The asset, with its network.
    pub asset: Asset,
    /// Who pays.
    pub payer: Address,
    /// The nonce.
    pub nonce: B256,
}

impl Commitment {
    /// The authorization's name on the rail.
    pub const fn key(&self) -> AuthorizationKey {
        AuthorizationKey { asset: self.asset, payer: self.payer, nonce: self.nonce }
    }
}
