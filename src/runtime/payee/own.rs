//! Quotes of our own that came back and were found to be ours: who pays by one a hundred times has its
//! signature looked at once.

use std::collections::VecDeque;
use std::sync::Mutex;

use crate::domain::quote::SignedQuote;

/// Quotes that are known at most; the oldest goes first.
const KNOWN_MAX: usize = 256;

/// Quotes whose signatures were found to be ours.
#[derive(Default)]
pub(super) struct OwnQuotes(Mutex<VecDeque<SignedQuote>>);

impl OwnQuotes {
    /// Whether this very quote, to the last bit, was found to be ours before.
    pub(super) fn knows(&self, signed: &SignedQuote) -> bool {
        let known = self.0.lock().expect("no holder of the quotes panics");
        // Their signatures differ where anything does, and are compared first: the rest is for safety.
        known.iter().any(|one| one.signature == signed.signature && one == signed)
    }

    pub(super) fn remember(&self, signed: &SignedQuote) {
        let mut known = self.0.lock().expect("no holder of the quotes panics");
        if known.len() >= KNOWN_MAX {
            known.pop_front();
        }
        known.push_back(signed.clone());
    }
}
