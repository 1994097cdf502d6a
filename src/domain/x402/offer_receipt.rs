//! The `offer-receipt` extension: offers and receipts in the form that strangers verify. They say less
//! than a quote and a receipt of ours; both are signed by the same service key.
//!
//! Source: x402 extension offer-receipt, sections 3 to 5. Only `eip712` is made and read, not `jws`.

use alloy::primitives::{Address, B256, Signature};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::domain::quote::Quote;
use crate::domain::x402::digest::{
    Fields, X402_OFFER_DOMAIN, X402_OFFER_T, X402_RECEIPT_DOMAIN, X402_RECEIPT_T,
};
use crate::domain::x402::receipt::Receipt;
use crate::domain::x402::requirements::Requirement;
use crate::domain::x402::signature;
use crate::domain::x402::wire::PaymentRequirements;

/// The extension's key.
pub const KEY: &str = "offer-receipt";

/// The payload version that is spoken.
const VERSION: u64 = 1;

const FORMAT: &str = "eip712";

/// What a payee commits to: one way to pay for one resource.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct OfferPayload {
    /// Always 1.
    pub version: u64,
    /// The paid resource.
    pub resource_url: String,
    /// `exact`.
    pub scheme: String,
    /// CAIP-2.
    pub network: String,
    /// The token contract.
    pub asset: String,
    /// Who is paid.
    pub pay_to: String,
    /// Atomic units, a decimal string.
    pub amount: String,
    /// When the offer ends, in seconds since the epoch; 0 is never.
    #[serde(default)]
    pub valid_until: u64,
}

/// What a payee says it received.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ReceiptPayload {
    /// Always 1.
    pub version: u64,
    /// CAIP-2.
    pub network: String,
    /// The paid resource.
    pub resource_url: String,
    /// Who paid.
    pub payer: String,
    /// When it was issued, in seconds since the epoch.
    pub issued_at: u64,
    /// The transfer; empty where the payee does not say.
    #[serde(default)]
    pub transaction: String,
}

/// A payload under a signature.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Artifact<P> {
    /// `eip712`.
    pub format: String,
    /// Which of the offer's `accepts` it is about: a convenience that proves nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accept_index: Option<u64>,
    /// What was signed.
    pub payload: P,
    /// `0x` and 65 bytes in hexadecimal digits.
    pub signature: String,
}

impl OfferPayload {
    /// The offer of `requirement` that `quote` makes: its part that strangers understand.
    pub fn of_quote(quote: &Quote, requirement: &Requirement<'_>) -> Self {
        Self::of_wire(&requirement.to_wire(), &quote.resource, quote.valid_until.as_secs())
    }

    /// The offer of one way to pay for `resource`, until `valid_until` in seconds since the epoch.
    pub fn of_wire(way: &PaymentRequirements, resource: &str, valid_until: u64) -> Self {
        Self {
            version: VERSION,
            resource_url: resource.to_owned(),
            scheme: way.scheme.clone(),
            network: way.network.clone(),
            asset: way.asset.clone(),
            pay_to: way.pay_to.clone(),
            amount: way.amount.clone(),
            valid_until,
        }
    }

    /// What is signed. Source: section 4.3.
    pub fn digest(&self) -> B256 {
        let hash = Fields::new(*X402_OFFER_T)
            .number(self.version)
            .text(&self.resource_url)
            .text(&self.scheme)
            .text(&self.network)
            .text(&self.asset)
            .text(&self.pay_to)
            .text(&self.amount)
            .number(self.valid_until)
            .hash();
        X402_OFFER_DOMAIN.digest(hash)
    }

    /// Whether it is an offer of these requirements for this resource: by the signed fields, never by
    /// an index. Source: section 4.1; threats.md A24.
    pub fn is_for(&self, requirements: &PaymentRequirements, resource: &str) -> bool {
        self.version == VERSION
            && self.resource_url == resource
            && self.scheme == requirements.scheme
            && self.network == requirements.network
            && self.asset == requirements.asset
            && self.pay_to == requirements.pay_to
            && self.amount == requirements.amount
    }

    /// Whether it has ended. Source: section 4.6.
    pub const fn is_over(&self, now_s: u64) -> bool {
        self.valid_until != 0 && now_s > self.valid_until
    }
}

impl ReceiptPayload {
    /// The part of `receipt` that strangers understand.
    pub fn of_receipt(receipt: &Receipt) -> Self {
        Self {
            version: VERSION,
            network: receipt.asset.network.to_string(),
            resource_url: receipt.resource.clone(),
            payer: receipt.payer.to_string(),
            issued_at: receipt.issued_at_s,
            transaction: receipt.transaction.map(|hash| hash.to_string()).unwrap_or_default(),
        }
    }

    /// What is signed. Source: section 5.3.
    pub fn digest(&self) -> B256 {
        let hash = Fields::new(*X402_RECEIPT_T)
            .number(self.version)
            .text(&self.network)
            .text(&self.resource_url)
            .text(&self.payer)
            .number(self.issued_at)
            .text(&self.transaction)
            .hash();
        X402_RECEIPT_DOMAIN.digest(hash)
    }
}

impl<P> Artifact<P> {
    /// `payload` under `signature`.
    pub fn new(payload: P, signed: &Signature, accept_index: Option<u64>) -> Self {
        let signature = signature::to_text(signed);
        Self { format: FORMAT.to_owned(), accept_index, payload, signature }
    }

    /// Who signed `digest`, which is the payload's.
    fn signer(&self, digest: B256) -> Option<Address> {
        let signed = signature::from_text(&self.signature).filter(|_| self.format == FORMAT)?;
        signature::recover(digest, &signed)
    }
}

impl Artifact<OfferPayload> {
    /// Who signed it; whether that key may speak for the resource, a listing says.
    pub fn offered_by(&self) -> Option<Address> {
        self.signer(self.payload.digest())
    }
}

impl Artifact<ReceiptPayload> {
    /// Who signed it.
    pub fn received_by(&self) -> Option<Address> {
        self.signer(self.payload.digest())
    }
}

/// The extension's value in a `PaymentRequired`.
pub fn offers_extension(offers: &[Artifact<OfferPayload>]) -> Value {
    json!({
        "info": { "offers": offers },
        "schema": {
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "type": "object",
            "properties": { "offers": { "type": "array" } },
            "required": ["offers"]
        }
    })
}

/// The extension's value in a `SettlementResponse`.
pub fn receipt_extension(receipt: &Artifact<ReceiptPayload>) -> Value {
    json!({
        "info": { "receipt": receipt },
        "schema": {
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "type": "object",
            "properties": { "receipt": { "type": "object" } },
            "required": ["receipt"]
        }
    })
}

/// The offers among an object's extensions that are in a form read here.
pub fn find_offers(extensions: &Map<String, Value>) -> Vec<Artifact<OfferPayload>> {
    let offers = extensions.get(KEY).and_then(|own| own.get("info")?.get("offers")?.as_array());
    let read = |offer: &Value| Artifact::deserialize(offer).ok();
    offers.map(|offers| offers.iter().filter_map(read).collect()).unwrap_or_default()
}

/// The receipt among an object's extensions, where it is in a form read here.
pub fn find_receipt(extensions: &Map<String, Value>) -> Option<Artifact<ReceiptPayload>> {
    Artifact::deserialize(extensions.get(KEY)?.get("info")?.get("receipt")?).ok()
}
