//! A payee's signed offer: what it sells, by which price terms, until when, and how to pay.

use alloy::primitives::{Address, B256, Signature};
use serde::{Deserialize, Serialize};

use crate::domain::asset::Asset;
use crate::domain::commitment::{Scheme, TransferMethod};
use crate::domain::id::{Name, ProviderId};
use crate::domain::money::Amount;
use crate::domain::time::Timestamp;

/// How a price is made, in atomic units of the quote's asset.
/// `price = flat + ceil((input * per_1k_input + output * per_1k_output) / 1000)`.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PriceTerms {
    /// For the call itself.
    pub flat: Amount,
    /// For each thousand input tokens.
    pub per_1k_input: Amount,
    /// For each thousand output tokens.
    pub per_1k_output: Amount,
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
}

impl Quote {
    /// The provider's id.
    pub fn provider_id(&self) -> ProviderId {
        ProviderId::named(&self.provider)
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
