//! The secret behind on-chain nonces. A payment has one nonce for ever, so that even two signatures for
//! it collide on chain; and nobody who sees nonces can link or guess them.

use std::fmt;
use std::path::Path;

use alloy::primitives::B256;
use hmac::{Hmac, Mac};
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::domain::id::{PaymentId, WalletId};
use crate::edge::keys::error::KeyError;
use crate::edge::keys::file;
use crate::edge::keys::key::SigningKey;
use crate::ports::entropy::Entropy;

/// 32 bytes that must not be lost while a hold is open.
pub struct NonceSecret(Zeroizing<[u8; 32]>);

impl NonceSecret {
    /// The secret of these bytes.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// A new secret, kept at `path`.
    ///
    /// # Errors
    /// [`KeyError::Exists`], [`KeyError::Io`].
    pub fn create(path: &Path, entropy: &dyn Entropy) -> Result<Self, KeyError> {
        let mut bytes = Zeroizing::new([0; 32]);
        entropy.fill(bytes.as_mut_slice());
        file::write_bytes(path, &bytes, entropy)?;
        Ok(Self(bytes))
    }

    /// The secret kept at `path`.
    ///
    /// # Errors
    /// [`KeyError::Missing`], [`KeyError::OpenToOthers`], [`KeyError::Malformed`], [`KeyError::Io`].
    pub fn open(path: &Path) -> Result<Self, KeyError> {
        file::read_bytes(path).map(Self)
    }

    /// The nonce of `payment` from `wallet`. Whoever opens the ledger compares it with those of open
    /// holds: another nonce means another secret, and then nothing may be signed.
    pub fn nonce(&self, wallet: WalletId, payment: PaymentId) -> B256 {
        if planted!("nonce_is_not_of_the_payment") {
            return self.keyed(&[wallet.as_bytes()]);
        }
        self.keyed(&[wallet.as_bytes(), payment.as_bytes()])
    }

    /// What names this secret and does not give it away: the same, the same secret.
    pub fn fingerprint(&self) -> B256 {
        // No pair of ids has this length, so that no nonce is ever the fingerprint.
        self.keyed(&[b"bursar nonce secret"])
    }

    /// The key that signs vouchers: it follows from the secret, and is lost with it.
    pub fn session_key(&self) -> SigningKey {
        let mut part = b"bursar session key 0".to_vec();
        loop {
            if let Some(key) = SigningKey::from_bytes(&self.keyed(&[&part]).0) {
                return key;
            }
            // Once in 2^128: above the curve's order.
            part.push(0);
        }
    }

    fn keyed(&self, parts: &[&[u8]]) -> B256 {
        let mut mac =
            Hmac::<Sha256>::new_from_slice(self.0.as_slice()).expect("any length is a key");
        parts.iter().for_each(|part| mac.update(part));
        B256::from_slice(&mac.finalize().into_bytes())
    }
}

impl fmt::Debug for NonceSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NonceSecret({})", self.fingerprint())
    }
}
