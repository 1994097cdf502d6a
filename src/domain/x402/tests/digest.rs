//! EIP-712 digests against known values.

use alloy::primitives::{Address, B256, U256, keccak256};
use alloy::sol;
use alloy::sol_types::{Eip712Domain, SolStruct, eip712_domain};

use super::*;
use crate::domain::pricing::{Step, Tiers};
use crate::domain::quote::Standing;
use crate::domain::x402::offer_receipt::{OfferPayload, ReceiptPayload};
use crate::domain::x402::order::{Ordered, order_digest};
use crate::domain::x402::signature::{from_text, recover, to_text};

/// The same types once more, as another implementation hashes them.
mod ours {
    use super::sol;
    sol! {
        struct TransferWithAuthorization {
            address from; address to; uint256 value;
            uint256 validAfter; uint256 validBefore; bytes32 nonce;
        }
        struct PriceTerms { uint256 flat; uint256 per1kInput; uint256 per1kOutput; }
        struct PayBy {
            string scheme; string method; string network; address asset; address payTo;
            uint256 timeoutSeconds;
        }
        struct Quote {
            string provider; string resource; string capability; string model; PriceTerms terms;
            PayBy[] payBy; uint256 outputMax; uint256 validUntilNanos; uint256 rounds;
        }
        struct Receipt {
            string payment; string provider; string resource; address payer; string network;
            address asset; uint256 amount; uint256 inputUnits; uint256 outputUnits; uint256 bytes;
            uint256 computeMs; string transaction; uint256 issuedAt;
        }
        struct Ware { string capability; string model; PriceTerms terms; }
        struct Listing {
            string provider; string endpoint; Ware[] wares; PayBy[] payBy;
            uint256 issuedAtNanos; uint256 validUntilNanos;
        }
        struct Delegation { address payTo; address serviceKey; }
    }
}

/// The types of a price with more in it.
mod more {
    use super::sol;
    sol! {
        struct PriceTerms {
            uint256 flat; uint256 per1kInput; uint256 per1kOutput;
            uint256 perGigabyte; uint256 perGigabyteStored; uint256 perSecond;
        }
        struct PayBy {
            string scheme; string method; string network; address asset; address payTo;
            uint256 timeoutSeconds;
        }
        struct Quote {
            string provider; string resource; string capability; string model; PriceTerms terms;
            PayBy[] payBy; uint256 outputMax; uint256 validUntilNanos; uint256 rounds;
            address payer; uint256 freeLeft;
        }
        struct Step { uint256 afterCalls; uint256 flat; }
        struct Ware {
            string capability; string model; PriceTerms terms; uint256 freeCalls; Step[] steps;
        }
        struct Listing {
            string provider; string endpoint; Ware[] wares; PayBy[] payBy;
            uint256 issuedAtNanos; uint256 validUntilNanos;
        }
        struct Order {
            bytes32 quote; string capability; string model; uint256 inputMax; uint256 outputMax;
            uint256 bytesMax; uint256 computeMsMax; uint256 storedMax; string contentType;
            bytes32 body; address payer; address payee; string payment; uint256 issuedAt;
        }
    }
}

mod theirs {
    use super::sol;
    sol! {
        struct Offer {
            uint256 version; string resourceUrl; string scheme; string network; string asset;
            string payTo; string amount; uint256 validUntil;
        }
        struct Receipt {
            uint256 version; string network; string resourceUrl; string payer; uint256 issuedAt;
            string transaction;
        }
    }
}

fn domain(name: &'static str) -> Eip712Domain {
    eip712_domain! { name: name, version: "1", chain_id: 1, }
}

fn sol_terms(terms: &PriceTerms) -> ours::PriceTerms {
    ours::PriceTerms {
        flat: U256::from(terms.flat.get()),
        per1kInput: U256::from(terms.per_1k_input.get()),
        per1kOutput: U256::from(terms.per_1k_output.get()),
    }
}

fn sol_pay_by(way: &PayBy) -> ours::PayBy {
    ours::PayBy {
        scheme: "exact".to_owned(),
        method: "eip3009".to_owned(),
        network: way.asset.network.to_string(),
        asset: way.asset.contract,
        payTo: way.pay_to,
        timeoutSeconds: U256::from(way.timeout_s),
    }
}

#[test]
fn a_transfer_is_hashed_in_the_tokens_own_domain() {
    let commitment = commitment();
    let message = ours::TransferWithAuthorization {
        from: commitment.payer,
        to: commitment.pay_to,
        value: U256::from(commitment.amount_max.get()),
        validAfter: U256::from(commitment.valid_after_s),
        validBefore: U256::from(commitment.valid_before_s),
        nonce: commitment.nonce,
    };
    let domain = eip712_domain! {
        name: "USDC", version: "2", chain_id: 84_532, verifying_contract: USDC.contract,
    };
    let token = TOKENS.find(USDC).unwrap();
    assert_eq!(token.separator(), domain.separator());
    assert_eq!(token.transfer_digest(&commitment), message.eip712_signing_hash(&domain));
}

#[test]
fn a_quote_is_hashed_as_eip_712_says() {
    let mut quote = quote();
    quote.pay_by.push(PayBy { timeout_s: 61, ..pay_by() });
    for ways in [2, 1, 0] {
        quote.pay_by.truncate(ways);
        let message = ours::Quote {
            provider: quote.provider.to_string(),
            resource: quote.resource.clone(),
            capability: quote.capability.to_string(),
            model: quote.model.to_string(),
            terms: sol_terms(&quote.terms),
            payBy: quote.pay_by.iter().map(sol_pay_by).collect(),
            outputMax: U256::from(quote.output_max),
            validUntilNanos: U256::from(quote.valid_until.as_nanos()),
            rounds: U256::from(quote.rounds),
        };
        assert_eq!(quote_hash(&quote), message.eip712_signing_hash(&domain("bursar quote")));
    }
}

fn more_terms(terms: &PriceTerms) -> more::PriceTerms {
    let [flat, input, output, gb, stored, second] =
        terms.parts().map(|part| U256::from(part.get()));
    more::PriceTerms {
        flat,
        per1kInput: input,
        per1kOutput: output,
        perGigabyte: gb,
        perGigabyteStored: stored,
        perSecond: second,
    }
}

fn more_pay_by(way: &PayBy) -> more::PayBy {
    let ours::PayBy { scheme, method, network, asset, payTo, timeoutSeconds } = sol_pay_by(way);
    more::PayBy { scheme, method, network, asset, payTo, timeoutSeconds }
}

#[test]
fn a_quote_with_more_in_it_is_hashed_by_types_of_its_own() {
    let standing = Standing { payer: PAYER, free_left: 3 };
    let by_time = PriceTerms { per_s: Amount::new(5), ..terms() };
    let quotes = [
        Quote { terms: by_time, ..quote() },
        Quote { standing: Some(standing), ..quote() },
        Quote { terms: by_time, standing: Some(standing), ..quote() },
    ];
    for quote in &quotes {
        let (payer, free_left) = quote.standing.map_or_else(Default::default, |standing| {
            (standing.payer, U256::from(standing.free_left))
        });
        let message = more::Quote {
            provider: quote.provider.to_string(),
            resource: quote.resource.clone(),
            capability: quote.capability.to_string(),
            model: quote.model.to_string(),
            terms: more_terms(&quote.terms),
            payBy: quote.pay_by.iter().map(more_pay_by).collect(),
            outputMax: U256::from(quote.output_max),
            validUntilNanos: U256::from(quote.valid_until.as_nanos()),
            rounds: U256::from(quote.rounds),
            payer,
            freeLeft: free_left,
        };
        assert_eq!(quote_hash(quote), message.eip712_signing_hash(&domain("bursar quote")));
    }
    // Whose quote it is, and how much is free, are signed like the rest.
    let other = Standing { free_left: 4, ..standing };
    assert_ne!(quote_hash(&quotes[1]), quote_hash(&Quote { standing: Some(other), ..quote() }));
}

#[test]
fn a_listing_with_tiers_and_an_order_are_hashed_as_eip_712_says() {
    let mut listing = listing();
    let plain = Ware { model: name("plain"), ..listing.wares[0].clone() };
    listing.wares[0].tiers = Tiers {
        free_calls: 1000,
        steps: vec![Step { after_calls: 11_000, flat: Amount::new(50) }],
    };
    listing.wares.push(plain);
    let step = |step: &Step| more::Step {
        afterCalls: U256::from(step.after_calls),
        flat: U256::from(step.flat.get()),
    };
    let ware = |ware: &Ware| more::Ware {
        capability: ware.capability.to_string(),
        model: ware.model.to_string(),
        terms: more_terms(&ware.terms),
        freeCalls: U256::from(ware.tiers.free_calls),
        steps: ware.tiers.steps.iter().map(step).collect(),
    };
    let message = more::Listing {
        provider: listing.provider.to_string(),
        endpoint: listing.endpoint.clone(),
        wares: listing.wares.iter().map(ware).collect(),
        payBy: listing.pay_by.iter().map(more_pay_by).collect(),
        issuedAtNanos: U256::from(listing.issued_at.as_nanos()),
        validUntilNanos: U256::from(listing.valid_until.as_nanos()),
    };
    assert_eq!(listing_digest(&listing), message.eip712_signing_hash(&domain("bursar listing")));

    let (quote, order) = (quote(), order());
    let ordered =
        Ordered { quote: &quote, order: &order, content_type: "text/plain", body: b"hello" };
    let payment = PaymentId::from_bytes([7; 16]);
    let message = more::Order {
        quote: quote_hash(&quote),
        capability: order.capability.to_string(),
        model: "bursar-scribe".to_owned(),
        inputMax: U256::from(order.input_max.0),
        outputMax: U256::from(order.output_max.0),
        bytesMax: U256::ZERO,
        computeMsMax: U256::ZERO,
        storedMax: U256::ZERO,
        contentType: "text/plain".to_owned(),
        body: keccak256(b"hello"),
        payer: PAYER,
        payee: PAY_TO,
        payment: payment.to_string(),
        issuedAt: U256::from(NOW_S),
    };
    let expected = message.eip712_signing_hash(&domain("bursar order"));
    assert_eq!(order_digest(&ordered, PAYER, payment, NOW_S), expected);
}

#[test]
fn a_receipt_is_hashed_as_eip_712_says() {
    let whole = receipt();
    let bare = Receipt { payment: None, transaction: None, ..receipt() };
    for receipt in [whole, bare] {
        let message = ours::Receipt {
            payment: receipt.payment.map(|id| id.to_string()).unwrap_or_default(),
            provider: receipt.provider.to_string(),
            resource: receipt.resource.clone(),
            payer: receipt.payer,
            network: receipt.asset.network.to_string(),
            asset: receipt.asset.contract,
            amount: U256::from(receipt.amount.get()),
            inputUnits: U256::from(receipt.usage.input.0),
            outputUnits: U256::from(receipt.usage.output.0),
            bytes: U256::from(receipt.usage.bytes),
            computeMs: U256::from(receipt.usage.compute_ms),
            transaction: receipt.transaction.map(|id| id.to_string()).unwrap_or_default(),
            issuedAt: U256::from(receipt.issued_at_s),
        };
        let expected = message.eip712_signing_hash(&domain("bursar receipt"));
        assert_eq!(receipt_digest(&receipt), expected);
    }
}

#[test]
fn a_listing_and_a_delegation_are_hashed_as_eip_712_says() {
    let listing = listing();
    let message = ours::Listing {
        provider: listing.provider.to_string(),
        endpoint: listing.endpoint.clone(),
        wares: listing
            .wares
            .iter()
            .map(|ware| ours::Ware {
                capability: ware.capability.to_string(),
                model: ware.model.to_string(),
                terms: sol_terms(&ware.terms),
            })
            .collect(),
        payBy: listing.pay_by.iter().map(sol_pay_by).collect(),
        issuedAtNanos: U256::from(listing.issued_at.as_nanos()),
        validUntilNanos: U256::from(listing.valid_until.as_nanos()),
    };
    assert_eq!(listing_digest(&listing), message.eip712_signing_hash(&domain("bursar listing")));
    let delegation = Delegation { pay_to: PAY_TO, service_key: SERVICE };
    let message = ours::Delegation { payTo: PAY_TO, serviceKey: SERVICE };
    let expected = message.eip712_signing_hash(&domain("bursar delegation"));
    assert_eq!(delegation_digest(&delegation), expected);
}

#[test]
fn what_strangers_verify_is_hashed_as_the_extension_says() {
    let offer = OfferPayload::of_quote(&quote(), &requirement());
    let message = theirs::Offer {
        version: U256::ONE,
        resourceUrl: RESOURCE.to_owned(),
        scheme: "exact".to_owned(),
        network: "eip155:84532".to_owned(),
        asset: "0x036CbD53842c5426634e7929541eC2318f3dCF7e".to_owned(),
        payTo: "0x70997970C51812dc3A010C7d01b50e0d17dc79C8".to_owned(),
        amount: "1000".to_owned(),
        validUntil: U256::from(NOW_S + 300),
    };
    assert_eq!(offer.digest(), message.eip712_signing_hash(&domain("x402 offer")));
    let received = ReceiptPayload::of_receipt(&receipt());
    let message = theirs::Receipt {
        version: U256::ONE,
        network: "eip155:84532".to_owned(),
        resourceUrl: RESOURCE.to_owned(),
        payer: "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266".to_owned(),
        issuedAt: U256::from(NOW_S + 2),
        transaction: B256::repeat_byte(0xab).to_string(),
    };
    assert_eq!(received.digest(), message.eip712_signing_hash(&domain("x402 receipt")));
}

type Change = fn(&mut Quote);

#[test]
fn every_field_of_a_quote_is_signed() {
    let changes: [Change; 14] = [
        |q| q.provider = name("other"),
        |q| q.resource.push('x'),
        |q| q.capability = name("embed"),
        |q| q.model = name("other"),
        |q| q.terms.flat = Amount::new(101),
        |q| q.terms.per_1k_input = Amount::new(401),
        |q| q.terms.per_1k_output = Amount::new(1201),
        |q| q.pay_by.push(pay_by()),
        |q| q.pay_by[0].asset.network = Network::SANDBOX,
        |q| q.pay_by[0].asset.contract = Address::ZERO,
        |q| q.pay_by[0].pay_to = Address::ZERO,
        |q| q.pay_by[0].timeout_s = 61,
        |q| q.output_max += 1,
        |q| q.valid_until = q.valid_until.next(),
    ];
    let first = quote_hash(&quote());
    for (at, change) in changes.into_iter().enumerate() {
        let mut changed = quote();
        change(&mut changed);
        assert_ne!(quote_hash(&changed), first, "change {at}");
    }
    let mut changed = quote();
    changed.rounds = 0;
    assert_ne!(quote_hash(&changed), first);
}

#[test]
fn a_signature_has_one_form() {
    let digest = B256::repeat_byte(7);
    let signature = sign(PAYER_KEY, digest);
    let text = to_text(&signature);
    assert_eq!(from_text(&text), Some(signature));
    assert_eq!(recover(digest, &signature), Some(PAYER));
    assert_ne!(recover(B256::repeat_byte(8), &signature), Some(PAYER));

    // The same point with the high s: a second form of the same word. Source: EIP-2.
    let order = U256::from_str_radix(
        "FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141",
        16,
    );
    let high = Signature::new(signature.r(), order.unwrap() - signature.s(), !signature.v());
    assert_eq!(recover(digest, &high), None);

    let body = &text[..130];
    for (v, read) in [("00", true), ("01", true), ("1b", true), ("1c", true), ("02", false)] {
        assert_eq!(from_text(&format!("{body}{v}")).is_some(), read, "{v}");
    }
    for wrong in [
        body.to_owned(),
        format!("{body}25"),
        format!("{text}00"),
        format!("0X{}", &text[2..]),
        format!("  {}", &text[2..]),
        text.replace("0x", "0xzz")[..132].to_owned(),
        String::new(),
    ] {
        assert_eq!(from_text(&wrong), None, "{wrong}");
    }
}
