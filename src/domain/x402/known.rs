//! Signers that are known already: of the seeded world alone, which spends most of its time on the curve.
//!
//! While [`Remembering`] lives, a signature that was made or recovered on this thread is not recovered
//! again: the same bytes over the same digest have the same signer. Anything else goes to the curve as
//! ever, and so does one in many of those that are known, so that both keep saying the same.

use std::cell::RefCell;
use std::collections::BTreeMap;

use alloy::primitives::{Address, B256, Signature};

/// Of those that are known one in so many is recovered all the same.
const RECOVERED_EVERY: u64 = 64;

/// Signatures that are remembered at most.
const KNOWN_MAX: usize = 65_536;

#[derive(Default)]
struct Known {
    signers: BTreeMap<(B256, [u8; 65]), Address>,
    found: u64,
}

thread_local! {
    static KNOWN: RefCell<Option<Known>> = const { RefCell::new(None) };
}

/// Has signers remembered on this thread for as long as it lives.
pub struct Remembering(());

impl Remembering {
    /// Remembers from here on, and nothing of before.
    pub fn begin() -> Self {
        KNOWN.set(Some(Known::default()));
        Self(())
    }
}

impl Drop for Remembering {
    fn drop(&mut self) {
        KNOWN.set(None);
    }
}

/// `signer` signed `digest`.
pub fn note(digest: B256, signature: &Signature, signer: Address) {
    KNOWN.with_borrow_mut(|known| {
        if let Some(known) = known.as_mut().filter(|known| known.signers.len() < KNOWN_MAX) {
            known.signers.insert((digest, signature.as_bytes()), signer);
        }
    });
}

/// Who signed `digest`, as `curve` says.
pub(super) fn recover(
    digest: B256,
    signature: &Signature,
    curve: impl FnOnce() -> Option<Address>,
) -> Option<Address> {
    let known = KNOWN.with_borrow_mut(|known| {
        let known = known.as_mut()?;
        let signer = known.signers.get(&(digest, signature.as_bytes())).copied()?;
        known.found = known.found.wrapping_add(1);
        Some((signer, known.found.is_multiple_of(RECOVERED_EVERY)))
    });
    if let Some((signer, false)) = known {
        return Some(signer);
    }
    let recovered = curve();
    match (known, recovered) {
        (Some((signer, _)), _) => assert!(recovered == Some(signer), "a signature has one signer"),
        (None, Some(signer)) => note(digest, signature, signer),
        (None, None) => {}
    }
    recovered
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIGNER: Address = Address::repeat_byte(1);

    fn ask(digest: u8) -> (Option<Address>, u64) {
        let mut asked = 0;
        let found = recover(B256::repeat_byte(digest), &Signature::test_signature(), || {
            asked = 1;
            (digest == 7).then_some(SIGNER)
        });
        (found, asked)
    }

    #[test]
    fn only_what_is_remembered_spares_the_curve_and_now_and_then_not_even_that() {
        assert_eq!((ask(7), ask(7)), ((Some(SIGNER), 1), (Some(SIGNER), 1)), "nobody remembers");
        let remembering = Remembering::begin();
        assert_eq!((ask(7), ask(7)), ((Some(SIGNER), 1), (Some(SIGNER), 0)));
        assert_eq!((ask(8), ask(8)), ((None, 1), (None, 1)), "other words, the same signature");
        let recovered: u64 = (0..RECOVERED_EVERY).map(|_| ask(7).1).sum();
        assert_eq!(recovered, 1);
        drop(remembering);
        assert_eq!(ask(7), (Some(SIGNER), 1));
    }

    #[test]
    #[should_panic(expected = "a signature has one signer")]
    fn a_signer_that_the_curve_denies_is_a_bug() {
        let _remembering = Remembering::begin();
        note(B256::repeat_byte(8), &Signature::test_signature(), SIGNER);
        for _ in 0..RECOVERED_EVERY {
            ask(8);
        }
    }
}
