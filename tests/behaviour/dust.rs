//! Payments that are worth less than they cost, and payloads without end. Row C13 of the threat model.

use std::sync::atomic::Ordering;

use alloy::primitives::{B256, U256};
use alloy::providers::Provider;
use bursar::domain::commitment::{Authorization, Commitment, Scheme, TransferMethod};
use bursar::domain::ledger::books::{BookAccount, Commodity};
use bursar::domain::money::Amount;
use bursar::domain::x402::payload::payment_payload;
use bursar::ports::paid_service::{PaidCall, PaidService, ServiceError};
use serde_json::json;

use crate::chain::{Chain, gas};
use crate::channels::{call, offer, stranger_key};
use crate::evm_faults::Proxy;
use crate::facilitator::{World, exact};
use crate::facilitator_rows::count;
use crate::market::{Market, PRICE, key, usdc};

const FLOOD: u64 = 10_000;

/// What `market`'s provider has paid for gas, by its own books.
async fn gas_spent(market: &Market) -> u128 {
    let treasury = &market.provider.as_ref().unwrap().treasury;
    let spent = treasury.read(|ledger| {
        ledger.books().find(Commodity::Native(usdc().network), BookAccount::Fees).debits
    });
    spent.await.unwrap()
}

/// A payee's price is the least that it takes: what is beneath is refused by itself, each from another payer.
#[tokio::test(flavor = "multi_thread")]
async fn c13_ten_thousand_payments_beneath_the_price_cost_a_payee_no_gas_and_no_entry() {
    let market = Market::open().await;
    let offer = offer(&market, "dust").await;
    let provider = market.provider.as_ref().unwrap();
    let now_s = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs();
    let before = provider.store.end();
    for number in 1..=FLOOD {
        let nonce = B256::from(U256::from(number));
        let commitment = Commitment {
            scheme: Scheme::Exact,
            method: TransferMethod::Eip3009,
            asset: usdc(),
            payer: alloy::primitives::Address::from_word(nonce),
            pay_to: key("payee").address(),
            amount_max: Amount::new(u128::from(number) % (PRICE - 1) + 1),
            valid_after_s: 0,
            valid_before_s: now_s + 60,
            nonce,
        };
        let signature = alloy::primitives::Signature::test_signature();
        let authorization = Authorization { commitment, signature };
        let accepted = offer.accepts[0].clone();
        let resource = Some(offer.resource.clone());
        let payment = payment_payload(resource, accepted, &authorization, None, None);
        let paid = PaidCall { payment: Some(payment), ..call("dust") };
        let Err(ServiceError::PaymentRequired(told)) = provider.payee.infer(paid).await else {
            panic!("{number} was taken")
        };
        let code = "invalid_exact_evm_payload_authorization_value_mismatch";
        assert_eq!(told.error.as_deref(), Some(code), "{number}");
    }
    assert_eq!(provider.store.end(), before, "nothing was written");
    assert_eq!((gas_spent(&market).await, market.earned_on_chain().await), (0, 0));
    assert_eq!(market.engine.served.load(Ordering::SeqCst), 0);
}

/// The same of a voucher, and of a deposit that does not cover it.
#[tokio::test(flavor = "multi_thread")]
async fn c13_a_channel_of_dust_is_not_opened() {
    let shop = crate::market::Shop { by_channel: true, ..Default::default() };
    let market = Market::open_with(shop).await;
    let stranger = crate::channels::Stranger::new(&market).await;
    for amount in [1, PRICE / 2, PRICE - 1] {
        let deposit = stranger.deposit(amount);
        for voucher in [amount, PRICE] {
            let word = stranger.voucher(voucher);
            let told = stranger.call(&market, "dust", word, Some(deposit)).await;
            let told = told.unwrap_err();
            assert!(told.starts_with(crate::channels::PREFIX), "{told}");
        }
    }
    let holder = stranger_key().address();
    let owned = market.evidence.balance(usdc(), holder).await.unwrap().amount;
    assert_eq!(owned, Amount::new(1_000_000), "nothing moved");
    assert_eq!((gas_spent(&market).await, market.engine.served.load(Ordering::SeqCst)), (0, 0));
}

#[tokio::test]
async fn c13_a_payload_without_end_or_beneath_what_was_asked_costs_a_facilitator_no_gas_and_no_question()
 {
    let mut chain = Chain::sandbox().await;
    let proxy = Proxy::before(&mut chain).await;
    let world = World::on(&chain).await;
    let funds = chain.client(gas()).get_balance(gas().address()).await.unwrap();
    let questions = count(&proxy);
    let good = exact(&chain, 1_000, 1);
    for size in [64 * 1024, 256 * 1024, 2 * 1024 * 1024] {
        let long = json!("a".repeat(size));
        let (mut signature, mut extension) = (good.clone(), good.clone());
        signature["paymentPayload"]["payload"]["signature"] = long.clone();
        extension["paymentPayload"]["payload"]["calldata"] = long;
        for bad in [signature, extension] {
            let (_, verified) = world.ask("/verify", &bad).await;
            assert_eq!(verified["isValid"], false, "{size}");
            let (_, settled) = world.ask("/settle", &bad).await;
            assert_eq!(settled["success"], false, "{size}");
        }
    }
    for (nonce, dust) in (2..).zip([1, 10, 999]) {
        let mut bad = good.clone();
        let dust = exact(&chain, dust, nonce);
        bad["paymentPayload"]["payload"] = dust["paymentPayload"]["payload"].clone();
        let (_, settled) = world.ask("/settle", &bad).await;
        assert_eq!(settled["success"], false, "{settled}");
    }
    assert_eq!(questions.load(Ordering::SeqCst), 0);
    let left = chain.client(gas()).get_balance(gas().address()).await.unwrap();
    assert_eq!((world.paid().await, left), (0, funds));
    // What is as it was asked is looked into, and costs gas.
    let (_, settled) = world.ask("/settle", &good).await;
    assert_eq!(settled["success"], true, "{settled}");
    assert!(questions.load(Ordering::SeqCst) > 0);
    assert!(chain.client(gas()).get_balance(gas().address()).await.unwrap() < funds);
}
