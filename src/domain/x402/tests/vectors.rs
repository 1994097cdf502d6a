//! The vectors that docs/x402-grpc.md points to, computed again from the code.

use serde_json::{Value, json};

use super::*;
use crate::domain::x402::code::PaymentCode;
use crate::domain::x402::offer_receipt::{OfferPayload, ReceiptPayload};
use crate::domain::x402::read::{encode_text, to_json};
use crate::domain::x402::requirements::payment_required;
use crate::domain::x402::settlement::{Settled, not_settled, settled};
use crate::domain::x402::signature::to_text;

const WRITTEN: &str = include_str!("../../../../tests/vectors/x402-grpc.json");

const PAGE: &str = include_str!("../../../../docs/x402-grpc.md");

fn word(digest: B256, key: B256, message: Value) -> Value {
    json!({ "message": message, "digest": digest, "signature": to_text(&sign(key, digest)) })
}

fn object<T: serde::Serialize>(object: &T) -> Value {
    let json: Value = serde_json::from_slice(&to_json(object)).unwrap();
    json!({ "json": json, "base64": encode_text(object) })
}

fn pay_by_message(way: &PayBy) -> Value {
    json!({
        "scheme": way.scheme.as_str(), "method": way.method.as_str(),
        "network": way.asset.network.to_string(), "asset": way.asset.contract.to_string(),
        "payTo": way.pay_to.to_string(), "timeoutSeconds": way.timeout_s,
    })
}

fn terms_message(terms: &PriceTerms) -> Value {
    json!({
        "flat": terms.flat, "per1kInput": terms.per_1k_input, "per1kOutput": terms.per_1k_output,
    })
}

fn quote_message(quote: &Quote) -> Value {
    json!({
        "provider": quote.provider, "resource": quote.resource, "capability": quote.capability,
        "model": quote.model, "terms": terms_message(&quote.terms),
        "payBy": quote.pay_by.iter().map(pay_by_message).collect::<Vec<_>>(),
        "outputMax": quote.output_max, "validUntilNanos": quote.valid_until.as_nanos().to_string(),
        "rounds": quote.rounds,
    })
}

fn receipt_message(receipt: &Receipt) -> Value {
    json!({
        "payment": receipt.payment, "provider": receipt.provider, "resource": receipt.resource,
        "payer": receipt.payer.to_string(), "network": receipt.asset.network.to_string(),
        "asset": receipt.asset.contract.to_string(), "amount": receipt.amount,
        "inputUnits": receipt.usage.input, "outputUnits": receipt.usage.output,
        "bytes": receipt.usage.bytes, "computeMs": receipt.usage.compute_ms,
        "transaction": receipt.transaction, "issuedAt": receipt.issued_at_s,
    })
}

fn listing_message(listing: &Listing) -> Value {
    let ware = |ware: &Ware| {
        json!({
            "capability": ware.capability, "model": ware.model,
            "terms": terms_message(&ware.terms),
        })
    };
    json!({
        "provider": listing.provider, "endpoint": listing.endpoint,
        "wares": listing.wares.iter().map(ware).collect::<Vec<_>>(),
        "payBy": listing.pay_by.iter().map(pay_by_message).collect::<Vec<_>>(),
        "issuedAtNanos": listing.issued_at.as_nanos().to_string(),
        "validUntilNanos": listing.valid_until.as_nanos().to_string(),
    })
}

fn computed() -> Value {
    let token = TOKENS.find(USDC).unwrap();
    let transfer = Settled { transaction: B256::repeat_byte(0xab), amount: Amount::new(1000) };
    let offer = OfferPayload::of_quote(&quote(), &requirement());
    let received = ReceiptPayload::of_receipt(&receipt());
    let delegation = Delegation { pay_to: PAY_TO, service_key: SERVICE };
    json!({
        "about": "Test vectors of docs/x402-grpc.md. The keys are the first three development keys \
            that anvil prints at every start: everybody knows them. Never pay to them.",
        "now_s": NOW_S,
        "keys": {
            "payer": { "private": PAYER_KEY, "address": PAYER.to_string() },
            "payTo": { "private": PAY_TO_KEY, "address": PAY_TO.to_string() },
            "service": { "private": SERVICE_KEY, "address": SERVICE.to_string() },
        },
        "token": {
            "network": USDC.network, "asset": USDC.contract.to_string(),
            "name": token.name(), "version": token.version(),
            "domainSeparator": token.separator(),
        },
        "order": order(),
        "amount": requirement().amount,
        "transferWithAuthorization": word(
            token.transfer_digest(&commitment()), PAYER_KEY,
            payload().payload["authorization"].clone(),
        ),
        "quote": word(quote_hash(&quote()), SERVICE_KEY, quote_message(&quote())),
        "receipt": word(receipt_digest(&receipt()), SERVICE_KEY, receipt_message(&receipt())),
        "listing": word(listing_digest(&listing()), SERVICE_KEY, listing_message(&listing())),
        "delegation": word(
            delegation_digest(&delegation), PAY_TO_KEY,
            json!({ "payTo": PAY_TO.to_string(), "serviceKey": SERVICE.to_string() }),
        ),
        "x402Offer": word(offer.digest(), SERVICE_KEY, json!(offer)),
        "x402Receipt": word(received.digest(), SERVICE_KEY, json!(received)),
        "payment-required": object(&payment_required(&quote(), &order(), &TOKENS, None).unwrap()),
        "payment-required after a refusal": object(
            &payment_required(&quote(), &order(), &TOKENS, Some(PaymentCode::Value)).unwrap(),
        ),
        "payment-signature": object(&payload()),
        "payment-response": object(&settled(&commitment(), &transfer)),
        "payment-response of a failure": object(
            &not_settled(&commitment(), PaymentCode::InsufficientFunds, None),
        ),
        "payment-response of an open outcome": object(
            &not_settled(&commitment(), PaymentCode::Pending, Some(transfer.transaction)),
        ),
    })
}

#[test]
fn the_vectors_are_what_the_code_computes() {
    let computed = serde_json::to_string_pretty(&computed()).unwrap();
    assert!(computed == WRITTEN.trim_end(), "tests/vectors/x402-grpc.json should be:\n{computed}");
}

#[test]
fn the_page_names_every_code_as_the_code_does() {
    for code in PaymentCode::all() {
        let row = format!("\n| `{}` | ", code.as_str());
        let row = PAGE.split(&row).nth(1).and_then(|rest| rest.lines().next()).unwrap();
        let aliases: Vec<_> = row.split('`').skip(1).step_by(2).collect();
        assert_eq!(aliases, code.aliases(), "{}", code.as_str());
    }
}
