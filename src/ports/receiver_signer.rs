//! The receiver's authorizer as a key of its own: it signs claims and refunds of a payee's channels, and
//! somebody else sends them.

use alloy::primitives::{Address, Signature};
use alloy::signers::SignerSync;
use alloy::signers::local::Secp256k1Signer;

use crate::domain::asset::Network;
use crate::domain::channel::{ChannelTerms, ClaimRow, SignedRefund};
use crate::domain::money::Amount;
use crate::domain::x402::batch::authorized::{claim_digest, refund_digest};

/// Signs what a payee asks of a contract. It builds each message itself, and signs for channels that
/// name it only.
pub trait ReceiverSigner: Send + Sync {
    /// The authorizer's address.
    fn address(&self) -> Address;

    /// Its word over just these rows on `network`; nothing where one of them names another authorizer.
    fn sign_claim(&self, rows: &[ClaimRow], network: Network) -> Option<Signature>;

    /// Its word that so much goes back; nothing where the channel names another authorizer.
    fn sign_refund(&self, terms: &ChannelTerms, nonce: u64, amount: Amount)
    -> Option<SignedRefund>;
}

impl ReceiverSigner for Secp256k1Signer {
    fn address(&self) -> Address {
        alloy::signers::Signer::address(self)
    }

    fn sign_claim(&self, rows: &[ClaimRow], network: Network) -> Option<Signature> {
        let own = ReceiverSigner::address(self);
        let is_ours = |row: &ClaimRow| {
            row.terms.receiver_authorizer == own && row.terms.asset.network == network
        };
        rows.iter().all(is_ours).then(|| self.sign_hash_sync(&claim_digest(rows, network)).ok())?
    }

    fn sign_refund(
        &self,
        terms: &ChannelTerms,
        nonce: u64,
        amount: Amount,
    ) -> Option<SignedRefund> {
        if terms.receiver_authorizer != ReceiverSigner::address(self) {
            return None;
        }
        let signature = self.sign_hash_sync(&refund_digest(terms, nonce, amount)).ok()?;
        Some(SignedRefund { terms: *terms, amount, nonce, signature })
    }
}
