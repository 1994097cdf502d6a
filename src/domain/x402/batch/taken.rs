//! What is taken for a payer's signature: by a payee that of a key, by a facilitator what a contract may vouch
//! for as well. No contract is asked here.
//!
//! Source: x402 scheme `batch-settlement` on EVM, facilitator rule 6.

use alloy::primitives::{Address, B256, Signature};

use crate::domain::channel::ChannelTerms;
use crate::domain::commitment::PayerWord;
use crate::domain::x402::signature::{from_bytes, from_text, is_signed_by, of_contract};

/// Whose signature something needs.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Signer {
    /// A key's, and nobody else's.
    Key(Address),
    /// An account's: of its key, or of the contract that it is.
    Account(Address),
    /// An account's that the chain asks when its vouchers are claimed: a key's as long as no code is there, which
    /// may come at any time. Source: EIP-7702.
    Asked(Address),
}

impl Signer {
    /// Who signs the vouchers of a channel.
    pub fn of_vouchers(terms: &ChannelTerms) -> Self {
        if terms.payer_authorizer.is_zero() {
            Self::Asked(terms.payer)
        } else {
            Self::Key(terms.payer_authorizer)
        }
    }
}

/// A payer's signature, as one side takes it.
pub trait Taken: Sized {
    /// What `text` is, where it may be one.
    fn read(text: &str) -> Option<Self>;

    /// The same, where `signer` signed `digest`, as far as it can be seen without asking anybody.
    fn signed_by(self, signer: Signer, digest: B256) -> Option<Self>;
}

impl Taken for Signature {
    fn read(text: &str) -> Option<Self> {
        from_text(text)
    }

    fn signed_by(self, signer: Signer, digest: B256) -> Option<Self> {
        match signer {
            Signer::Key(address) | Signer::Account(address) => {
                is_signed_by(address, digest, &self).then_some(self)
            }
            // What is good now may be denied when it is claimed.
            Signer::Asked(_) => None,
        }
    }
}

impl Taken for PayerWord {
    /// Nobody's yet. How a wallet is made that is not there plays no part: one that fills a channel is there.
    fn read(text: &str) -> Option<Self> {
        of_contract(text).map(|(shown, _)| Self::Contract(shown))
    }

    /// A key's where it is; an account's that is not its key's is left for its contract to say.
    fn signed_by(self, signer: Signer, digest: B256) -> Option<Self> {
        let (Signer::Key(address) | Signer::Account(address) | Signer::Asked(address)) = signer;
        let by_key = match &self {
            Self::Key(signature) => Some(*signature),
            Self::Contract(shown) => from_bytes(shown),
        };
        let by_key = by_key.filter(|signature| is_signed_by(address, digest, signature));
        match (by_key, signer) {
            (Some(signature), _) => Some(Self::Key(signature)),
            (None, Signer::Account(_) | Signer::Asked(_)) => Some(Self::Contract(self.to_bytes())),
            (None, Signer::Key(_)) => None,
        }
    }
}
