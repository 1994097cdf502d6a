//! One private key, which signs through libsecp256k1.

use std::env;
use std::fmt;
use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use alloy::network::TxSigner;
use alloy::primitives::{Address, B256, Signature};
use alloy::signers::SignerSync;
use alloy::signers::local::{PrivateKeySigner, Secp256k1Signer};
use zeroize::Zeroizing;

use crate::domain::x402::digest::{Delegation, delegation_digest};
use crate::edge::keys::error::KeyError;
use crate::edge::keys::file;
use crate::ports::entropy::Entropy;

/// Signatures that this process has made.
static SIGNATURES: AtomicU64 = AtomicU64::new(0);

/// How many signatures this process has made so far, of all keys: what they cost is most of a payment.
pub fn signatures_made() -> u64 {
    SIGNATURES.load(Ordering::Relaxed)
}

/// A private key. It signs, it says its address, and that is all that can be had of it.
pub struct SigningKey {
    /// In one place from the start, so that dropping it can wipe that place.
    signer: Box<Secp256k1Signer>,
}

impl SigningKey {
    /// The key of these bytes; `None` where they are zero or above the curve's order.
    pub fn from_bytes(bytes: &[u8; 32]) -> Option<Self> {
        // Not alloy's default: its own curve code is many times slower.
        let signer = PrivateKeySigner::from_slice(bytes).ok()?.into_secp256k1();
        Some(Self { signer: Box::new(signer) })
    }

    /// The key in 64 hexadecimal digits, with or without `0x`, from what is called `source_name`.
    ///
    /// # Errors
    /// [`KeyError::NotAKey`], which names the source only.
    pub fn from_hex(text: &str, source_name: &str) -> Result<Self, KeyError> {
        file::parse_bytes(text.trim().as_bytes())
            .and_then(|bytes| Self::from_bytes(&bytes))
            .ok_or_else(|| KeyError::NotAKey { source_name: source_name.to_owned() })
    }

    /// The key in an environment variable. Only for what the configuration says is there.
    ///
    /// # Errors
    /// [`KeyError::NoVariable`], [`KeyError::NotAKey`].
    pub fn from_env(variable: &str) -> Result<Self, KeyError> {
        let missing = || KeyError::NoVariable(variable.to_owned());
        let text = Zeroizing::new(env::var(variable).map_err(|_| missing())?);
        Self::from_hex(&text, variable)
    }

    /// A new key in a file of its own, without a passphrase: the service key, which guards no money.
    ///
    /// # Errors
    /// [`KeyError::Exists`], [`KeyError::Io`].
    pub fn create_file(path: &Path, entropy: &dyn Entropy) -> Result<Self, KeyError> {
        let (key, bytes) = Self::generate(entropy);
        file::write_bytes(path, &bytes, entropy)?;
        Ok(key)
    }

    /// The key in such a file.
    ///
    /// # Errors
    /// Every [`KeyError`] but those of the environment and of passphrases.
    pub fn open_file(path: &Path) -> Result<Self, KeyError> {
        let bytes = file::read_bytes(path)?;
        let source_name = || path.display().to_string();
        Self::from_bytes(&bytes).ok_or_else(|| KeyError::NotAKey { source_name: source_name() })
    }

    /// A new key and its bytes.
    pub(super) fn generate(entropy: &dyn Entropy) -> (Self, Zeroizing<[u8; 32]>) {
        loop {
            let mut bytes = Zeroizing::new([0; 32]);
            entropy.fill(bytes.as_mut_slice());
            // Fails once in 2^128: above the curve's order.
            if let Some(key) = Self::from_bytes(&bytes) {
                return (key, bytes);
            }
        }
    }

    /// Its address on EVM networks.
    pub fn address(&self) -> Address {
        self.signer.address()
    }

    /// The account that pays for transactions with this key.
    pub fn gas_account(&self) -> Arc<dyn TxSigner<Signature> + Send + Sync> {
        Arc::new(self.signer.as_ref().clone())
    }

    /// The signature over `digest`: deterministic (RFC 6979), low s.
    pub(super) fn sign(&self, digest: B256) -> Signature {
        SIGNATURES.fetch_add(1, Ordering::Relaxed);
        self.signer.sign_hash_sync(&digest).expect("a checked key signs every digest")
    }

    /// The payTo key's word that `service_key` speaks for it.
    pub fn delegate_to(&self, service_key: Address) -> Signature {
        let delegation = Delegation { pay_to: self.address(), service_key };
        self.sign(delegation_digest(&delegation))
    }
}

impl Drop for SigningKey {
    fn drop(&mut self) {
        let nobody = PrivateKeySigner::from_bytes(&B256::with_last_byte(1))
            .expect("one is a valid key")
            .into_secp256k1();
        *self.signer = nobody;
        // Otherwise the compiler may see that nobody reads it again, and leave the key where it is.
        black_box(&mut self.signer);
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({})", self.address())
    }
}
