//! What a provider announces: what it sells, where, at which list price, and by whose key.

use alloy::primitives::{Address, Signature};
use serde::{Deserialize, Serialize};

use crate::domain::asset::Network;
use crate::domain::id::Name;
use crate::domain::money::Nano;
use crate::domain::pricing::Tiers;
use crate::domain::quote::{PayBy, PriceTerms};
use crate::domain::time::Timestamp;

/// One model on offer. A listed price is a ceiling hint: a quote above it is refused.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Ware {
    /// What kind of work.
    pub capability: Name,
    /// The model.
    pub model: Name,
    /// The list price: what a payer of whom nothing is known pays at most.
    pub terms: PriceTerms,
    /// What is free, and what grows cheaper.
    pub tiers: Tiers,
}

/// What a provider says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Listing {
    /// Its name; the first key to announce it keeps it while its lease runs.
    pub provider: Name,
    /// Where it answers: `http://127.0.0.1:8403` or `unix:/path`.
    pub endpoint: String,
    /// What it sells; at most [`WARES_MAX`].
    pub wares: Vec<Ware>,
    /// How it may be paid.
    pub pay_by: Vec<PayBy>,
    /// When it was made: a later listing of the same key replaces an earlier one.
    pub issued_at: Timestamp,
    /// When it ends unless renewed.
    pub valid_until: Timestamp,
}

/// Most wares in one listing.
pub const WARES_MAX: usize = 64;

/// A listing under its service key, with the payTo key's word that the service key speaks for it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SignedListing {
    /// What was signed.
    pub listing: Listing,
    /// The service key.
    pub service_key: Address,
    /// By the payTo key, over `domain::x402`'s digest of the delegation to the service key.
    pub delegation: Signature,
    /// By the service key, over `domain::x402`'s digest of the listing.
    pub signature: Signature,
}

/// What a payer looks for.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Query {
    /// What kind of work.
    pub capability: Name,
    /// Which model; `None` takes any.
    pub model: Option<Name>,
    /// Only at or below this list price of a thousand tokens in and a thousand out.
    pub price_max: Option<Nano>,
    /// Only where one of these networks is taken; empty takes any.
    pub networks: Vec<Network>,
}
