//! A payee's signed offer: what it sells, by which price terms, until when, and how to pay.

use alloy::primitives::{Address, B256, Signature};
use serde::{Deserialize, Serialize};

use crate::domain::asset::Asset;
use crate::domain::commitment::{Scheme, TransferMethod};
use crate::domain::id::{Name, ProviderId};
use crate::domain::money::Amount;
use crate::domain::order::Units;
use crate::domain::time::Timestamp;

/// How a price is made, in atomic units of the quote's asset: see [`crate::domain::pricing::price`].
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PriceTerms {
    /// For the call itself.
    pub flat: Amount,
    /// For each thousand input tokens.
    pub per_1k_input: Amount,
    /// For each thousand output tokens.
    pub per_1k_output: Amount,
    /// For each gigabyte (10^9 bytes) of the answer.
    #[serde(default)]
    pub per_gb: Amount,
    /// For each gigabyte that the payee keeps.
    #[serde(default)]
    pub per_gb_stored: Amount,
    /// For each second (1000 ms) that the engine works.
    #[serde(default)]
    pub per_s: Amount,
}

impl PriceTerms {
    /// Every part of the price.
    pub const fn parts(&self) -> [Amount; 6] {
        let Self { flat, per_1k_input, per_1k_output, per_gb, per_gb_stored, per_s } = *self;
        [flat, per_1k_input, per_1k_output, per_gb, per_gb_stored, per_s]
    }

    /// The terms of these parts, in the order of [`PriceTerms::parts`].
    pub const fn of_parts(parts: [Amount; 6]) -> Self {
        let [flat, per_1k_input, per_1k_output, per_gb, per_gb_stored, per_s] = parts;
        Self { flat, per_1k_input, per_1k_output, per_gb, per_gb_stored, per_s }
    }

    /// Whether the price is made of the call and its tokens alone.
    pub const fn is_by_tokens(&self) -> bool {
        self.per_gb.is_zero() && self.per_gb_stored.is_zero() && self.per_s.is_zero()
    }
}

/// For whom a quote was made, where its price depends on who asks. Its terms are that payer's; who else
/// pays by it is refused.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Standing {
    /// The payer's key on the rail.
    pub payer: Address,
    /// How many of its next calls cost nothing, as of now. The payee counts again when it serves.
    pub free_left: u64,
}

/// How much of a streamed answer a voucher has to pay for at least, unless it pays for all of it; what
/// the price has no part for is zero. Both sides know by it what a portion costs.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Stride {
    /// Output tokens.
    pub output: Units,
    /// Bytes of the answer.
    pub bytes: u64,
    /// Milliseconds that the engine works.
    pub compute_ms: u64,
}

impl Stride {
    /// What a payer lets itself be ahead of a streamed answer, unless it says something else.
    pub const fn ahead() -> Self {
        Self { output: Units(256), bytes: 1 << 20, compute_ms: 1_000 }
    }

    /// Whether an answer by `terms` goes on stride by stride: it has some of everything that is priced.
    pub const fn carries(&self, terms: &PriceTerms) -> bool {
        (terms.per_1k_output.is_zero() || self.output.0 > 0)
            && (terms.per_gb.is_zero() || self.bytes > 0)
            && (terms.per_s.is_zero() || self.compute_ms > 0)
    }
}

/// One way to pay that a quote offers.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PayBy {
    /// The x402 scheme.
    pub scheme: Scheme,
    /// How the asset is moved.
    pub method: TransferMethod,
    /// In what.
    pub asset: Asset,
    /// To whom on the rail.
    pub pay_to: Address,
    /// Longest life of an authorization, in seconds.
    pub timeout_s: u64,
}

/// What a payee offers. The amount of one call is `price(terms, order)`, computed by both sides.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Quote {
    /// Who offers.
    pub provider: Name,
    /// Where the paid call goes: the x402 `resource.url` that the authorization is bound to.
    pub resource: String,
    /// What kind of work.
    pub capability: Name,
    /// With which model.
    pub model: Name,
    /// At which price.
    pub terms: PriceTerms,
    /// How it may be paid, in the payee's order of preference; never empty.
    pub pay_by: Vec<PayBy>,
    /// The most output a call may ask for.
    pub output_max: u64,
    /// When the offer ends.
    pub valid_until: Timestamp,
    /// The counter-offer that led here, if any: how many rounds were played.
    pub rounds: u8,
    /// For whom, where that matters.
    pub standing: Option<Standing>,
    /// How much of a streamed answer is paid at a time by a channel; `None` takes one voucher for all.
    #[serde(default)]
    pub stride: Option<Stride>,
}

impl Quote {
    /// The provider's id.
    pub fn provider_id(&self) -> ProviderId {
        ProviderId::named(&self.provider)
    }

    /// Whether the next call of `payer` by this quote costs nothing.
    pub fn is_free_for(&self, payer: Address) -> bool {
        self.standing.is_some_and(|standing| standing.payer == payer && standing.free_left > 0)
    }

    /// Whether `payer` may pay by this quote: it was made for anybody, or for that payer.
    pub fn is_for(&self, payer: Address) -> bool {
        self.standing.is_none_or(|standing| standing.payer == payer)
    }
}

/// A quote under its service key's signature. Compared and paid as signed, never as displayed.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SignedQuote {
    /// What was signed.
    pub quote: Quote,
    /// The service key, delegated by the payTo key in the provider's listing.
    pub service_key: Address,
    /// Over `domain::x402`'s digest of the quote.
    pub signature: Signature,
}

/// A quote's digest: what a hold remembers of the offer it pays.
pub type QuoteHash = B256;

#[cfg(test)]
mod tests;
