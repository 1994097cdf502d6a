//! What a node has of its own: the nonce secret, the service key and the operator's token. The first
//! start makes them; later ones find them.

use std::path::{Path, PathBuf};

use crate::domain::ledger::agent::Token;
use crate::edge::keys::error::KeyError;
use crate::edge::keys::key::SigningKey;
use crate::edge::keys::nonce::NonceSecret;
use crate::edge::keys::token::{create_operator_token, open_operator_token};
use crate::ports::entropy::Entropy;

/// A node's own secrets.
#[derive(Debug)]
pub struct NodeSecrets {
    /// Behind every on-chain nonce.
    pub nonce: NonceSecret,
    /// Signs listings, quotes and receipts.
    pub service_key: SigningKey,
    /// Proves that its bearer is the operator.
    pub operator: Token,
    /// The files that were made just now.
    pub made: Vec<PathBuf>,
}

impl NodeSecrets {
    /// The secrets in `folder` and the token in `token_file`; what is not there is made. With
    /// `holds_open` a nonce secret that is not there is lost: another one would give the open payments
    /// other nonces, and a second signature for one of them could settle beside the first.
    ///
    /// # Errors
    /// [`KeyError::Missing`] for a lost nonce secret, and those of reading and writing files.
    pub fn open_or_create(
        folder: &Path,
        token_file: &Path,
        holds_open: bool,
        entropy: &dyn Entropy,
    ) -> Result<Self, KeyError> {
        let mut made = Vec::new();
        let nonce_file = folder.join("nonce.secret");
        let nonce = match NonceSecret::open(&nonce_file) {
            Err(KeyError::Missing(path)) if !holds_open => {
                made.push(path);
                NonceSecret::create(&nonce_file, entropy)?
            }
            opened => opened?,
        };
        let key_file = folder.join("service.key");
        let service_key = match SigningKey::open_file(&key_file) {
            Err(KeyError::Missing(path)) => {
                made.push(path);
                SigningKey::create_file(&key_file, entropy)?
            }
            opened => opened?,
        };
        let operator = match open_operator_token(token_file) {
            Err(KeyError::Missing(path)) => {
                made.push(path);
                create_operator_token(token_file, entropy)?
            }
            opened => opened?,
        };
        Ok(Self { nonce, service_key, operator, made })
    }
}
