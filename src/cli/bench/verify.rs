//! A payee's check of an `exact` payment, all that needs no chain, beside bare public key recovery.

use std::hint::black_box;
use std::time::Duration;

use alloy::primitives::{Address, B256, keccak256};
use alloy::signers::SignerSync;
use alloy::signers::local::PrivateKeySigner;
use bursar::domain::commitment::{Authorization, Commitment, Scheme, TransferMethod};
use bursar::domain::money::Amount;
use bursar::domain::order::{Order, Units};
use bursar::domain::quote::{PayBy, PriceTerms, Quote};
use bursar::domain::time::Timestamp;
use bursar::domain::x402::TokenDomains;
use bursar::domain::x402::check::{Demand, check_payment};
use bursar::domain::x402::error::Message;
use bursar::domain::x402::payload::{grpc_resource, payment_payload};
use bursar::domain::x402::read::{decode_text, encode_text, parse_payment_payload};
use bursar::domain::x402::requirements::Requirement;
use bursar::node::sandbox_assets;

use super::holds::usdc;
use super::holds::{START_S, name};
use super::measure::timed;

/// Who is paid: nobody has the key.
const PAY_TO: Address = Address::repeat_byte(9);

const RESOURCE: &str = "http://127.0.0.1:1/bursar.v1.InferenceService/Infer";

/// Payments that are checked round and round: so many that none is warm by chance alone.
const PAYMENTS: u64 = 64;

/// What so many payments took, each way.
#[derive(Copy, Clone, Debug, Default)]
pub struct Verified {
    /// Bare recovery of the signer from a digest that is known.
    pub bare: Duration,
    /// The check of a payment that was read.
    pub parsed: Duration,
    /// The same from the text of a header.
    pub text: Duration,
}

/// Checks `rounds` of [`PAYMENTS`] payments each way, in turn.
pub fn verify(rounds: u64) -> Verified {
    let tokens = TokenDomains::new(&sandbox_assets());
    let (order, quote) = (order(), quote());
    let offered = Requirement::of_quote(&quote, &order, &tokens).expect("the price fits");
    let demand = Demand { resource: RESOURCE, offered: &offered, now_s: START_S };
    let accepted = offered.first().expect("the sandbox's token is registered").to_wire();
    let secret = keccak256("bursar bench: a key that guards nothing");
    let payer = PrivateKeySigner::from_bytes(&secret).expect("a hash is a key").into_secp256k1();
    let signed: Vec<_> = (0..PAYMENTS)
        .map(|number| {
            let commitment = Commitment {
                scheme: Scheme::Exact,
                method: TransferMethod::Eip3009,
                asset: usdc(),
                payer: payer.address(),
                pay_to: PAY_TO,
                amount_max: Amount::new(100),
                valid_after_s: 0,
                valid_before_s: START_S.saturating_add(60),
                nonce: B256::left_padding_from(&number.to_be_bytes()),
            };
            let token = tokens.find(usdc()).expect("the sandbox's token is registered");
            let digest = token.transfer_digest(&commitment);
            let signature = payer.sign_hash_sync(&digest).expect("a key signs every digest");
            let authorization = Authorization { commitment, signature };
            let resource = Some(grpc_resource(RESOURCE));
            let payload = payment_payload(resource, accepted.clone(), &authorization, None, None);
            (digest, authorization.signature, encode_text(&payload), payload)
        })
        .collect();
    let mut sums = Verified::default();
    for _ in 0..rounds {
        add(&mut sums.bare, || {
            for (digest, signature, ..) in &signed {
                let signer = signature.recover_address_from_prehash(digest);
                assert_eq!(signer.ok(), Some(payer.address()), "the payer signed it");
            }
        });
        add(&mut sums.parsed, || {
            for (.., payload) in &signed {
                black_box(check_payment(payload, &demand)).expect("the payment does");
            }
        });
        add(&mut sums.text, || {
            for (_, _, text, _) in &signed {
                let json = decode_text(text.as_bytes(), Message::Payload);
                let payload = parse_payment_payload(&json.expect("it is base64"));
                let payload = payload.expect("it is a payment");
                black_box(check_payment(&payload, &demand)).expect("the payment does");
            }
        });
    }
    sums
}

/// Adds how long `work` takes to `sum`.
fn add(sum: &mut Duration, work: impl FnOnce()) {
    *sum = sum.saturating_add(timed(work));
}

fn order() -> Order {
    Order {
        capability: name("text.generate"),
        model: Some(name("bench")),
        input_max: Units(1),
        output_max: Units(1),
        maxima: Default::default(),
    }
}

fn quote() -> Quote {
    Quote {
        provider: name("bench"),
        resource: RESOURCE.to_owned(),
        capability: name("text.generate"),
        model: name("bench"),
        terms: PriceTerms { flat: Amount::new(100), ..PriceTerms::default() },
        pay_by: vec![PayBy {
            scheme: Scheme::Exact,
            method: TransferMethod::Eip3009,
            asset: usdc(),
            pay_to: PAY_TO,
            timeout_s: 60,
        }],
        output_max: 1,
        valid_until: Timestamp::from_secs(START_S.saturating_add(60)),
        rounds: 0,
        standing: None,
        stride: None,
    }
}
