//! The wire, read strictly.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "tests fail by panicking"
)]

mod asked;
mod batch;
mod bazaar;
mod check;
mod corrective;
mod deposited;
mod deposits;
mod digest;
mod fuzzed;
mod ordered;
mod payer;
mod permitted;
mod read;
mod relayed;
mod said;
mod schemes;
mod signed;
mod vectors;

use std::sync::LazyLock;

use alloy::primitives::{Address, B256, Signature, address, b256};
use alloy::signers::SignerSync;
use alloy::signers::local::PrivateKeySigner;

use super::digest::{Delegation, delegation_digest, listing_digest, quote_hash, receipt_digest};
use super::payload::{grpc_resource, payment_payload};
use super::receipt::{Receipt, SignedReceipt};
use super::requirements::Requirement;
use super::token::TokenDomains;
use super::wire::PaymentPayload;
use crate::domain::asset::{Asset, AssetInfo, AssetRegistry, Network};
use crate::domain::channel::ChannelTerms;
use crate::domain::commitment::{Authorization, Commitment, Scheme, TransferMethod};
use crate::domain::id::{Name, PaymentId};
use crate::domain::listing::{Listing, SignedListing, Ware};
use crate::domain::money::{Amount, Rate};
use crate::domain::order::{Order, Units, Usage};
use crate::domain::quote::{PayBy, PriceTerms, Quote, SignedQuote};
use crate::domain::time::Timestamp;

/// The first three development keys that anvil prints at every start: known to everybody.
pub(super) const PAYER_KEY: B256 =
    b256!("ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80");
pub(super) const PAY_TO_KEY: B256 =
    b256!("59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d");
pub(super) const SERVICE_KEY: B256 =
    b256!("5de4111afa1a4b94908f83103eb1f1706367c2e68ca870fc3fb9a804cdab365a");

pub(super) const PAYER: Address = address!("f39Fd6e51aad88F6F4ce6aB8827279cffFb92266");
pub(super) const PAY_TO: Address = address!("70997970C51812dc3A010C7d01b50e0d17dc79C8");
pub(super) const SERVICE: Address = address!("3C44CdDdB6a900fa2b585dd299e03d12FA4293BC");

pub(super) const USDC: Asset = Asset {
    network: Network::Eip155(84_532),
    contract: address!("036CbD53842c5426634e7929541eC2318f3dCF7e"),
};
pub(super) const RESOURCE: &str = "grpc://127.0.0.1:8403/bursar.v1.InferenceService/Infer";
pub(super) const NOW_S: u64 = 1_760_000_000;

pub(super) static TOKENS: LazyLock<TokenDomains> =
    LazyLock::new(|| TokenDomains::new(&AssetRegistry::new([usdc_info()])));

pub(super) fn usdc_info() -> AssetInfo {
    AssetInfo {
        asset: USDC,
        symbol: "USDC".to_owned(),
        decimals: 6,
        eip712_name: "USDC".to_owned(),
        eip712_version: "2".to_owned(),
        rate: Rate { nano: 1_000_000_000, per: 1_000_000 },
    }
}

pub(super) fn name(text: &str) -> Name {
    text.parse().unwrap()
}

pub(super) fn sign(key: B256, digest: B256) -> Signature {
    PrivateKeySigner::from_bytes(&key).unwrap().sign_hash_sync(&digest).unwrap()
}

pub(super) fn order() -> Order {
    Order {
        capability: name("text.generate"),
        model: Some(name("bursar-scribe")),
        input_max: Units(1500),
        output_max: Units(250),
        maxima: Default::default(),
    }
}

pub(super) fn pay_by() -> PayBy {
    PayBy {
        scheme: Scheme::Exact,
        method: TransferMethod::Eip3009,
        asset: USDC,
        pay_to: PAY_TO,
        timeout_s: 60,
    }
}

pub(super) fn quote() -> Quote {
    Quote {
        provider: name("scribe"),
        resource: RESOURCE.to_owned(),
        capability: name("text.generate"),
        model: name("bursar-scribe"),
        terms: terms(),
        pay_by: vec![pay_by()],
        output_max: 1000,
        valid_until: Timestamp::from_secs(NOW_S + 300),
        rounds: 1,
        standing: None,
        stride: None,
    }
}

pub(super) fn terms() -> PriceTerms {
    PriceTerms {
        flat: Amount::new(100),
        per_1k_input: Amount::new(400),
        per_1k_output: Amount::new(1200),
        ..PriceTerms::default()
    }
}

pub(super) fn signed_quote(quote: Quote) -> SignedQuote {
    let signature = sign(SERVICE_KEY, quote_hash(&quote));
    SignedQuote { quote, service_key: SERVICE, signature }
}

pub(super) fn listing() -> Listing {
    let ware = Ware {
        capability: name("text.generate"),
        model: name("bursar-scribe"),
        terms: PriceTerms { flat: Amount::new(150), ..terms() },
        tiers: Default::default(),
    };
    Listing {
        provider: name("scribe"),
        endpoint: "http://127.0.0.1:8403".to_owned(),
        wares: vec![ware],
        pay_by: vec![pay_by()],
        issued_at: Timestamp::from_secs(NOW_S - 60),
        valid_until: Timestamp::from_secs(NOW_S + 3600),
    }
}

pub(super) fn signed_listing(listing: Listing) -> SignedListing {
    let signature = sign(SERVICE_KEY, listing_digest(&listing));
    let delegation = Delegation { pay_to: PAY_TO, service_key: SERVICE };
    let delegation = sign(PAY_TO_KEY, delegation_digest(&delegation));
    SignedListing { listing, service_key: SERVICE, delegation, signature }
}

pub(super) fn requirement() -> Requirement<'static> {
    Requirement::of_quote(&quote(), &order(), &TOKENS).unwrap()[0]
}

pub(super) fn payment() -> PaymentId {
    "pay_7d5d747be160e280504c099d984bcfe0".parse().unwrap()
}

pub(super) fn commitment() -> Commitment {
    Commitment {
        scheme: Scheme::Exact,
        method: TransferMethod::Eip3009,
        asset: USDC,
        payer: PAYER,
        pay_to: PAY_TO,
        amount_max: Amount::new(1000),
        valid_after_s: NOW_S - 60,
        valid_before_s: NOW_S + 60,
        nonce: b256!("f3746613c2d920b5fdabc0856f2aeb2d4f88ee6037b8cc5d04a71a4462f13480"),
    }
}

pub(super) fn authorize(commitment: Commitment) -> Authorization {
    let digest = TOKENS.find(USDC).unwrap().transfer_digest(&commitment);
    Authorization { commitment, signature: sign(PAYER_KEY, digest) }
}

pub(super) fn payload() -> PaymentPayload {
    pay(&authorize(commitment()))
}

pub(super) fn pay(authorization: &Authorization) -> PaymentPayload {
    let accepted = requirement().to_wire();
    let resource = Some(grpc_resource(RESOURCE));
    payment_payload(resource, accepted, authorization, None, Some(payment()))
}

pub(super) fn receipt() -> Receipt {
    Receipt {
        payment: Some(payment()),
        provider: name("scribe"),
        resource: RESOURCE.to_owned(),
        payer: PAYER,
        asset: USDC,
        amount: Amount::new(1000),
        usage: Usage { input: Units(1432), output: Units(250), bytes: 1180, compute_ms: 41 },
        transaction: Some(B256::repeat_byte(0xab)),
        issued_at_s: NOW_S + 2,
    }
}

pub(super) fn signed_receipt(receipt: Receipt) -> SignedReceipt {
    let signature = sign(SERVICE_KEY, receipt_digest(&receipt));
    SignedReceipt { receipt, service_key: SERVICE, signature }
}

/// The terms of a channel whose voucher the payer's own key signs.
pub(super) fn channel_terms(salt: u8) -> ChannelTerms {
    ChannelTerms {
        asset: USDC,
        payer: PAYER,
        payer_authorizer: PAYER,
        receiver: PAY_TO,
        receiver_authorizer: SERVICE,
        withdraw_delay_s: 900,
        salt: B256::repeat_byte(salt),
    }
}
