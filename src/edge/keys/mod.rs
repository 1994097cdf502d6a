//! Keys and secrets: keystore files, the service key, the nonce secret, tokens, and the signers that
//! hold them. A key never leaves this room, and no error here prints one.

mod error;
mod file;
mod key;
mod keystore;
mod node;
mod nonce;
mod passphrase;
mod signer;
mod token;

pub use error::KeyError;
pub use key::{SigningKey, signatures_made};
pub use keystore::{Cost, Keystore};
pub use node::NodeSecrets;
pub use nonce::NonceSecret;
pub use passphrase::{create_passphrase, read_passphrase};
pub use signer::{LocalRefundSigner, LocalServiceSigner, LocalSigner};
pub use token::{create_operator_token, open_operator_token};

#[cfg(test)]
mod tests;
