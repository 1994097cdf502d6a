//! The fields that a hold stores and a signature covers: the one description of a payment that
//! ledger, signer and x402 share.

use alloy::primitives::{Address, B256, Bytes, Signature};
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
    /// One authorization for a maximum, of which what was used is charged; nothing, where nothing was.
    Upto {
        /// Who alone may settle: it is signed.
        facilitator: Address,
    },
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
            Self::Upto { .. } => "upto",
        }
    }

    /// Whether less than was authorized may be charged.
    pub const fn has_maximum(self) -> bool {
        match self {
            Self::Exact => false,
            Self::BatchSettlement(_) | Self::Upto { .. } => true,
        }
    }
}

/// How a scheme moves the asset.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TransferMethod {
    /// The token's own `transferWithAuthorization`. Source: EIP-3009.
    Eip3009,
    /// Permit2, which the payer has approved for the token before.
    Permit2,
    /// In an offer: Permit2, and whoever settles hands in the payer's own permit first, where it sends
    /// one. Source: x402 extension `eip2612GasSponsoring`.
    Permit2Sponsored,
    /// In a commitment: Permit2, by the allowance that this permit gives when it is handed in first.
    Permit2By(TokenPermit),
}

/// A payer's permit at the token itself, for Permit2 and for just the maximum of its commitment.
/// Source: EIP-2612; `settleWithPermit` takes no other value.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct TokenPermit {
    /// The payer's next nonce at the token.
    pub nonce: u64,
    /// The last second in which it holds, by the chain's clock.
    pub deadline_s: u64,
    /// By the payer; `None` in a hold, which is made before anything is signed.
    pub signature: Option<Signature>,
}

impl TransferMethod {
    /// Its name on the wire. Source: x402 scheme `exact` on EVM, `assetTransferMethod`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Eip3009 => "eip3009",
            Self::Permit2 | Self::Permit2Sponsored | Self::Permit2By(_) => "permit2",
        }
    }

    /// Whether Permit2 moves the asset, in whichever way it came to its allowance.
    pub const fn is_permit2(self) -> bool {
        match self {
            Self::Eip3009 => false,
            Self::Permit2 | Self::Permit2Sponsored | Self::Permit2By(_) => true,
        }
    }

    /// Whether what is signed by this method may be paid where `offered` is asked.
    pub const fn pays(self, offered: Self) -> bool {
        match (self, offered) {
            (Self::Eip3009, Self::Eip3009)
            | (Self::Permit2, Self::Permit2 | Self::Permit2Sponsored)
            | (Self::Permit2By(_), Self::Permit2Sponsored) => true,
            (
                Self::Eip3009 | Self::Permit2 | Self::Permit2Sponsored | Self::Permit2By(_),
                Self::Eip3009 | Self::Permit2 | Self::Permit2Sponsored | Self::Permit2By(_),
            ) => false,
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
    /// Valid strictly after, in seconds since the epoch by the chain's clock; by Permit2 from it on.
    pub valid_after_s: u64,
    /// Valid strictly before, in seconds since the epoch by the chain's clock.
    pub valid_before_s: u64,
    /// The on-chain nonce, at the token or at Permit2: a keyed function of the payment id, so that even a second signature for
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

/// The same of a payer that is a contract: whether it signed is the contract's own word. Source: EIP-1271.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ContractAuthorization {
    /// What is said to be signed.
    pub commitment: Commitment,
    /// What its contract is shown.
    pub signature: Bytes,
    /// How the contract is made where it is not there yet.
    pub making: Option<WalletMaking>,
}

/// A call that makes a wallet. It is a stranger's word, and nobody's duty. Source: EIP-6492.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct WalletMaking {
    /// What is called.
    pub factory: Address,
    /// With what.
    pub call: Bytes,
}

/// By whose word a payer's side signed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum PayerWord {
    /// A key's.
    Key(Signature),
    /// By no key that is known: a contract is shown these bytes, and says whether it signed. Source: EIP-1271.
    Contract(Bytes),
}

impl PayerWord {
    /// What a contract is shown of it.
    pub fn to_bytes(&self) -> Bytes {
        match self {
            Self::Key(signature) => Bytes::from(signature.as_bytes()),
            Self::Contract(shown) => shown.clone(),
        }
    }
}

impl From<Signature> for PayerWord {
    fn from(signature: Signature) -> Self {
        Self::Key(signature)
    }
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

#[cfg(test)]
mod tests;
