//! Who signed a digest. Signing itself happens elsewhere, where the keys are.

use alloy::consensus::crypto::secp256k1::recover_signer;
use alloy::primitives::{Address, B256, Bytes, Signature, hex};
use alloy::sol_types::SolValue;

use crate::domain::commitment::WalletMaking;

/// Characters of a signature on the wire: `0x` and 65 bytes in hexadecimal digits.
const TEXT_LEN: usize = 132;

/// Who signed `digest`. Only a low `s` counts, so that a signature has one form; `None` where it is
/// no signature at all. Source: EIP-2.
pub fn recover(digest: B256, signature: &Signature) -> Option<Address> {
    let curve = || recover_signer(signature, digest).ok();
    #[cfg(feature = "sim")]
    return crate::domain::x402::known::recover(digest, signature, curve);
    #[cfg(not(feature = "sim"))]
    curve()
}

/// Whether `signer` signed `digest`.
pub fn is_signed_by(signer: Address, digest: B256, signature: &Signature) -> bool {
    recover(digest, signature) == Some(signer)
}

/// A signature by its text: `0x`, then r, s and v (0, 1, 27 or 28).
pub fn from_text(text: &str) -> Option<Signature> {
    if text.len() != TEXT_LEN {
        return None;
    }
    let mut raw = [0; 65];
    hex::decode_to_slice(text.strip_prefix("0x")?, &mut raw).ok()?;
    from_bytes(&raw)
}

/// A signature by its 65 bytes.
pub fn from_bytes(raw: &[u8]) -> Option<Signature> {
    let raw: &[u8; 65] = raw.try_into().ok()?;
    let [.., v] = raw;
    matches!(v, 0 | 1 | 27 | 28).then(|| Signature::from_raw_array(raw).ok())?
}

/// Longest signature that a contract is shown, in bytes.
pub const CONTRACT_SIGNATURE_LEN_MAX: usize = 4_096;

/// What a signature ends with whose wallet may not be there yet. Source: EIP-6492.
const WRAPPED: [u8; 32] =
    alloy::primitives::b256!("6492649264926492649264926492649264926492649264926492649264926492").0;

/// What a contract is shown as its signature: bytes of any form, within a length, and how its wallet is made where
/// the signature says so. Source: EIP-1271, EIP-6492; threats.md A12.
pub fn of_contract(text: &str) -> Option<(Bytes, Option<WalletMaking>)> {
    let digits = text.strip_prefix("0x").filter(|digits| !digits.is_empty())?;
    if digits.len() > CONTRACT_SIGNATURE_LEN_MAX.saturating_mul(2) {
        return None;
    }
    let raw = Bytes::from(hex::decode(digits).ok()?);
    match raw.strip_suffix(&WRAPPED) {
        None => Some((raw, None)),
        Some(wrapped) => {
            let (factory, call, inner) =
                <(Address, Bytes, Bytes)>::abi_decode_params(wrapped).ok()?;
            Some((inner, Some(WalletMaking { factory, call })))
        }
    }
}

/// A signature's text, with v of 27 or 28.
pub fn to_text(signature: &Signature) -> String {
    hex::encode_prefixed(signature.as_bytes())
}
