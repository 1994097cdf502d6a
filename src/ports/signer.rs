//! Keys never leave the signer: it is asked by payment id, not by digest.

use alloy::primitives::{Address, Signature};
use async_trait::async_trait;

use crate::domain::commitment::Commitment;
use crate::domain::fault::{Class, Fault};
use crate::domain::id::{PaymentId, WalletId};
use crate::domain::quote::{Quote, SignedQuote};
use crate::domain::x402::receipt::{Receipt, SignedReceipt};
use crate::ports::holds::NotSignable;

/// Why nothing was signed.
#[derive(Copy, Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignerError {
    /// The ledger does not allow it.
    #[error(transparent)]
    NotSignable(#[from] NotSignable),
    /// No key of ours belongs to this wallet.
    #[error("no key for {0}")]
    NoKey(WalletId),
    /// The asset's EIP-712 domain is not pinned, so its message cannot be built.
    #[error("the asset of {0} is not in the registry")]
    UnknownAsset(PaymentId),
}

impl Fault for SignerError {
    fn code(&self) -> &'static str {
        match self {
            Self::NotSignable(inner) => inner.code(),
            Self::NoKey(_) => "signer.no_key",
            Self::UnknownAsset(_) => "signer.unknown_asset",
        }
    }

    fn class(&self) -> Class {
        match self {
            Self::NotSignable(inner) => inner.class(),
            Self::NoKey(_) | Self::UnknownAsset(_) => Class::Final,
        }
    }
}

/// Signs authorizations for wallets.
#[async_trait]
pub trait Signer: Send + Sync {
    /// The signature over what the durable hold of `payment` commits to. Deterministic (RFC 6979):
    /// the same hold gives the same bytes, so that nothing needs storing.
    ///
    /// # Errors
    /// [`SignerError`], and then nothing was signed.
    async fn authorize(&self, payment: PaymentId) -> Result<(Commitment, Signature), SignerError>;

    /// The address of `wallet` on EVM networks.
    fn address(&self, wallet: WalletId) -> Option<Address>;

    /// The on-chain nonce for `payment`: a keyed function that only this signer can compute.
    fn nonce(&self, wallet: WalletId, payment: PaymentId) -> alloy::primitives::B256;
}

/// Signs what a provider says: quotes and receipts, by the service key.
pub trait ServiceSigner: Send + Sync {
    /// The service key's address.
    fn address(&self) -> Address;
    /// The quote under the service key.
    fn sign_quote(&self, quote: Quote) -> SignedQuote;
    /// The receipt under the service key.
    fn sign_receipt(&self, receipt: Receipt) -> SignedReceipt;
}
