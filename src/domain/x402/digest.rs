//! What is signed, as EIP-712 digests: quotes, receipts, listings and delegations.
//!
//! Each has a domain of its own in the form of x402's offer-receipt extension (name, version 1,
//! chain id 1, no contract), so that no signature can pass for another kind's. The types are written
//! in docs/x402-grpc.md. Source: EIP-712; x402 offer-receipt extension sections 3.2, 4.3 and 5.3.

use std::borrow::Cow;
use std::sync::LazyLock;

use alloy::primitives::{Address, B256, Keccak256, keccak256};

use crate::domain::commitment::{Scheme, TransferMethod};
use crate::domain::listing::{Listing, Ware};
use crate::domain::quote::{PayBy, PriceTerms, Quote, QuoteHash};
use crate::domain::x402::extended;
use crate::domain::x402::receipt::Receipt;

const DOMAIN_TYPE: &str = "EIP712Domain(string name,string version,uint256 chainId)";
const PRICE_TERMS: &str = "PriceTerms(uint256 flat,uint256 per1kInput,uint256 per1kOutput)";
pub(super) const PAY_BY: &str = "PayBy(string scheme,string method,string network,address asset,\
    address payTo,uint256 timeoutSeconds)";
const WARE: &str = "Ware(string capability,string model,PriceTerms terms)";
const QUOTE: &str = "Quote(string provider,string resource,string capability,string model,\
    PriceTerms terms,PayBy[] payBy,uint256 outputMax,uint256 validUntilNanos,uint256 rounds)";
const RECEIPT: &str = "Receipt(string payment,string provider,string resource,address payer,\
    string network,address asset,uint256 amount,uint256 inputUnits,uint256 outputUnits,\
    uint256 bytes,uint256 computeMs,string transaction,uint256 issuedAt)";
const LISTING: &str = "Listing(string provider,string endpoint,Ware[] wares,PayBy[] payBy,\
    uint256 issuedAtNanos,uint256 validUntilNanos)";
const DELEGATION: &str = "Delegation(address payTo,address serviceKey)";
const ORDER: &str = "Order(bytes32 quote,string capability,string model,uint256 inputMax,\
    uint256 outputMax,uint256 bytesMax,uint256 computeMsMax,uint256 storedMax,string contentType,\
    bytes32 body,address payer,address payee,string payment,uint256 issuedAt)";
const X402_OFFER: &str = "Offer(uint256 version,string resourceUrl,string scheme,string network,\
    string asset,string payTo,string amount,uint256 validUntil)";
const X402_RECEIPT: &str = "Receipt(uint256 version,string network,string resourceUrl,string payer,\
    uint256 issuedAt,string transaction)";

/// Each type's hash, computed once: of its own text, then those it refers to in alphabetical order.
macro_rules! types {
    ($($name:ident = $($part:expr),+;)+) => {
        $(pub(super) static $name: LazyLock<B256> = LazyLock::new(|| keccak256([$($part),+].concat()));)+
    };
}

types! {
    DOMAIN_T = DOMAIN_TYPE;
    PRICE_TERMS_T = PRICE_TERMS;
    PAY_BY_T = PAY_BY;
    WARE_T = WARE, PRICE_TERMS;
    QUOTE_T = QUOTE, PAY_BY, PRICE_TERMS;
    RECEIPT_T = RECEIPT;
    LISTING_T = LISTING, PAY_BY, PRICE_TERMS, WARE;
    DELEGATION_T = DELEGATION;
    ORDER_T = ORDER;
    X402_OFFER_T = X402_OFFER;
    X402_RECEIPT_T = X402_RECEIPT;
}

/// A domain of words that are signed off chain, hashed once.
pub(super) struct WordDomain(LazyLock<B256>);

macro_rules! domains {
    ($($static:ident = $name:literal;)+) => {
        $(pub(super) static $static: WordDomain =
            WordDomain(LazyLock::new(|| word_domain($name)));)+
    };
}

domains! {
    QUOTE_DOMAIN = "bursar quote";
    RECEIPT_DOMAIN = "bursar receipt";
    LISTING_DOMAIN = "bursar listing";
    DELEGATION_DOMAIN = "bursar delegation";
    ORDER_DOMAIN = "bursar order";
    X402_OFFER_DOMAIN = "x402 offer";
    X402_RECEIPT_DOMAIN = "x402 receipt";
}

fn word_domain(name: &str) -> B256 {
    Fields::new(*DOMAIN_T).text(name).text("1").number(1u64).hash()
}

impl WordDomain {
    /// The digest of a struct in this domain.
    pub(super) fn digest(&self, hash_struct: B256) -> B256 {
        signing_hash(*self.0, hash_struct)
    }
}

/// EIP-712's last step.
pub(super) fn signing_hash(separator: B256, hash_struct: B256) -> B256 {
    let mut bytes = [0; 66];
    let (prefix, rest) = bytes.split_at_mut(2);
    prefix.copy_from_slice(&[0x19, 0x01]);
    let (domain, message) = rest.split_at_mut(32);
    domain.copy_from_slice(separator.as_slice());
    message.copy_from_slice(hash_struct.as_slice());
    keccak256(bytes)
}

/// A struct's fields, hashed as they come.
pub(super) struct Fields(Keccak256);

impl Fields {
    /// A struct of this type.
    pub(super) fn new(type_hash: B256) -> Self {
        Self(Keccak256::new()).word(type_hash)
    }

    /// 32 bytes: a struct's hash, or a `bytes32`.
    pub(super) fn word(mut self, word: B256) -> Self {
        self.0.update(word);
        self
    }

    /// A `string`.
    pub(super) fn text(self, text: &str) -> Self {
        self.word(keccak256(text))
    }

    /// An `address`.
    pub(super) fn address(self, address: Address) -> Self {
        self.word(address.into_word())
    }

    /// A `uint256`.
    pub(super) fn number(self, value: impl Into<u128>) -> Self {
        self.word(B256::left_padding_from(&value.into().to_be_bytes()))
    }

    /// An array of structs, by their hashes.
    pub(super) fn array(self, hashes: impl Iterator<Item = B256>) -> Self {
        let mut array = Keccak256::new();
        hashes.for_each(|hash| array.update(hash));
        self.word(array.finalize())
    }

    /// The struct's hash.
    pub(super) fn hash(self) -> B256 {
        self.0.finalize()
    }
}

fn price_terms(terms: &PriceTerms) -> B256 {
    Fields::new(*PRICE_TERMS_T)
        .number(terms.flat.get())
        .number(terms.per_1k_input.get())
        .number(terms.per_1k_output.get())
        .hash()
}

/// A way's scheme and method with everything that they say of themselves, so that nobody puts another
/// facilitator into a signed offer. Those that say no more are their plain names.
fn terms_of(way: &PayBy) -> (Cow<'static, str>, &'static str) {
    let scheme = match way.scheme {
        Scheme::Upto { facilitator } => format!("upto {facilitator}").into(),
        scheme @ (Scheme::Exact | Scheme::BatchSettlement(_)) => scheme.as_str().into(),
    };
    let method = match way.method {
        TransferMethod::Permit2Sponsored => "permit2 eip2612",
        method => method.as_str(),
    };
    (scheme, method)
}

pub(super) fn pay_by(way: &PayBy) -> B256 {
    let (scheme, method) = terms_of(way);
    Fields::new(*PAY_BY_T)
        .text(&scheme)
        .text(method)
        .text(&way.asset.network.to_string())
        .address(way.asset.contract)
        .address(way.pay_to)
        .number(way.timeout_s)
        .hash()
}

fn ware(ware: &Ware) -> B256 {
    Fields::new(*WARE_T)
        .text(ware.capability.as_str())
        .text(ware.model.as_str())
        .word(price_terms(&ware.terms))
        .hash()
}

/// What a service key signs for a quote: every field of it.
pub fn quote_hash(quote: &Quote) -> QuoteHash {
    if extended::has_more(quote) {
        return QUOTE_DOMAIN.digest(extended::quote(quote));
    }
    let hash = Fields::new(*QUOTE_T)
        .text(quote.provider.as_str())
        .text(&quote.resource)
        .text(quote.capability.as_str())
        .text(quote.model.as_str())
        .word(price_terms(&quote.terms))
        .array(quote.pay_by.iter().map(pay_by))
        .number(quote.output_max)
        .number(quote.valid_until.as_nanos())
        .number(quote.rounds)
        .hash();
    QUOTE_DOMAIN.digest(hash)
}

/// What a service key signs for a receipt: every field of it. A payment or a transaction that is not
/// there is an empty string, as the extension has it.
pub fn receipt_digest(receipt: &Receipt) -> B256 {
    let payment = receipt.payment.map(|payment| payment.to_string()).unwrap_or_default();
    let transaction = receipt.transaction.map(|hash| hash.to_string()).unwrap_or_default();
    let hash = Fields::new(*RECEIPT_T)
        .text(&payment)
        .text(receipt.provider.as_str())
        .text(&receipt.resource)
        .address(receipt.payer)
        .text(&receipt.asset.network.to_string())
        .address(receipt.asset.contract)
        .number(receipt.amount.get())
        .number(receipt.usage.input.0)
        .number(receipt.usage.output.0)
        .number(receipt.usage.bytes)
        .number(receipt.usage.compute_ms)
        .text(&transaction)
        .number(receipt.issued_at_s)
        .hash();
    RECEIPT_DOMAIN.digest(hash)
}

/// What a service key signs for a listing: every field of it.
pub fn listing_digest(listing: &Listing) -> B256 {
    if extended::lists_more(listing) {
        return LISTING_DOMAIN.digest(extended::listing(listing));
    }
    let hash = Fields::new(*LISTING_T)
        .text(listing.provider.as_str())
        .text(&listing.endpoint)
        .array(listing.wares.iter().map(ware))
        .array(listing.pay_by.iter().map(pay_by))
        .number(listing.issued_at.as_nanos())
        .number(listing.valid_until.as_nanos())
        .hash();
    LISTING_DOMAIN.digest(hash)
}

/// The payTo key's word that a service key speaks for it.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
pub struct Delegation {
    /// Who is paid, and signs this.
    pub pay_to: Address,
    /// Who signs listings, quotes and receipts from then on.
    pub service_key: Address,
}

/// What a payTo key signs, once, for a delegation.
pub fn delegation_digest(delegation: &Delegation) -> B256 {
    let hash = Fields::new(*DELEGATION_T)
        .address(delegation.pay_to)
        .address(delegation.service_key)
        .hash();
    DELEGATION_DOMAIN.digest(hash)
}
