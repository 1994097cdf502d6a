//! Who signed a digest. Signing itself happens elsewhere, where the keys are.

use alloy::consensus::crypto::secp256k1::recover_signer;
use alloy::primitives::{Address, B256, Signature, hex};

/// Characters of a signature on the wire: `0x` and 65 bytes in hexadecimal digits.
const TEXT_LEN: usize = 132;

/// Who signed `digest`. Only a low `s` counts, so that a signature has one form; `None` where it is
/// no signature at all. Source: EIP-2.
pub fn recover(digest: B256, signature: &Signature) -> Option<Address> {
    recover_signer(signature, digest).ok()
}

/// Whether `signer` signed `digest`.
pub fn is_signed_by(signer: Address, digest: B256, signature: &Signature) -> bool {
    recover(digest, signature) == Some(signer)
}

/// A signature by its text: `0x`, then r, s and v (0, 1, 27 or 28). Contract wallets' longer ones are
/// not read: nobody here asks a contract what it thinks of a signature.
pub fn from_text(text: &str) -> Option<Signature> {
    if text.len() != TEXT_LEN {
        return None;
    }
    let mut raw = [0; 65];
    hex::decode_to_slice(text.strip_prefix("0x")?, &mut raw).ok()?;
    let [.., v] = raw;
    matches!(v, 0 | 1 | 27 | 28).then(|| Signature::from_raw_array(&raw).ok())?
}

/// A signature's text, with v of 27 or 28.
pub fn to_text(signature: &Signature) -> String {
    hex::encode_prefixed(signature.as_bytes())
}
