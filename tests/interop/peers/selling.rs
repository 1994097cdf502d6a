//! Their payer, our gateway.

use std::sync::Arc;

use alloy::primitives::{Address, U256};
use alloy::providers::{Provider, ProviderBuilder, RootProvider};
use alloy::signers::local::PrivateKeySigner;
use alloy::sol_types::SolCall;
use bursar::domain::ledger::books::{BookAccount, Commodity};
use bursar::domain::x402::permit2::PERMIT2;
use reqwest::{Response, Url};
use serde_json::{Value, json};
use x402_chain_eip155::{V1Eip155ExactClient, V2Eip155ExactClient, V2Eip155UptoClient};
use x402_reqwest::{ReqwestWithPayments, ReqwestWithPaymentsBuild, X402Client};
use x402_types::scheme::client::FirstMatch;
use x402_types::util::Base64Bytes;

use crate::chain::{Chain, FUNDS, PAYER, USDC, payee, payer, usdc};
use crate::has_anvil;
use crate::shop::{By, PER_BYTE, PRICE, Shop};

alloy::sol! {
    function approve(address spender, uint256 value) external returns (bool);
}

/// A chain, and our gateway on it.
struct Bench {
    chain: Chain,
    shop: Shop,
}

/// What is in a header of base64 of JSON.
fn read(response: &Response, header: &str) -> Value {
    let text = response.headers().get(header).expect(header).as_bytes();
    serde_json::from_slice(&Base64Bytes::from(text).decode().unwrap()).unwrap()
}

fn signer() -> Arc<PrivateKeySigner> {
    Arc::new(PAYER.parse().unwrap())
}

/// Without a proxy that the environment may name.
fn http() -> reqwest::Client {
    reqwest::Client::builder().no_proxy().build().unwrap()
}

impl Bench {
    async fn open(by: By) -> Self {
        let chain = Chain::start().await;
        let shop = Shop::open(&chain, by).await;
        Self { chain, shop }
    }

    /// Their payer, by every scheme that it has in version 2.
    fn client(&self) -> X402Client<FirstMatch> {
        let node: Url = self.chain.url.parse().unwrap();
        X402Client::new()
            .register(V2Eip155ExactClient::new(signer()))
            .register(V2Eip155UptoClient::new(signer()).with_provider(node))
    }

    /// What it gets for `body`, or why it does not pay.
    async fn pay(&self, body: &'static str) -> Result<Response, String> {
        let http = http().with_payments(self.client()).build();
        let sent = http.post(self.shop.url()).body(body).send().await;
        sent.map_err(|error| format!("{error:?}"))
    }

    /// What the payee has on the chain and in its books, and what is gone from the payer.
    async fn check(&self, earned: u128) {
        assert_eq!(self.chain.owned(payee().address()).await, earned);
        assert_eq!(self.chain.owned(payer().address()).await, FUNDS - earned);
        let booked = self.shop.provider.treasury.read(|ledger| {
            let asset = Commodity::Asset(usdc());
            let found = |account| {
                let sides = ledger.books().find(asset, account);
                (sides.debits, sides.credits)
            };
            (found(BookAccount::Earned), found(BookAccount::Due), found(BookAccount::Loss))
        });
        let (earned_then, due, loss) = booked.await.unwrap();
        assert_eq!(earned_then.0.abs_diff(earned_then.1), earned);
        assert_eq!((due.0.abs_diff(due.1), loss), (0, (0, 0)));
    }

    /// Lets Permit2 move what is the payer's, in a transaction that it pays for itself.
    async fn approve(&self) {
        let node: RootProvider =
            ProviderBuilder::default().connect_http(self.chain.url.parse().unwrap());
        let data = approveCall { spender: PERMIT2, value: U256::MAX }.abi_encode();
        let from: Address = payer().address();
        let sent =
            json!({ "from": from, "to": USDC, "data": alloy::primitives::Bytes::from(data) });
        let hash = node.raw_request("eth_sendTransaction".into(), [sent]).await.unwrap();
        while node.get_transaction_receipt(hash).await.unwrap().is_none() {
            tokio::task::yield_now().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn their_payer_pays_our_gateway_by_exact() {
    if !has_anvil() {
        return;
    }
    let bench = Bench::open(By::Exact).await;
    let answer = bench.pay("ping").await.unwrap();
    let settled = read(&answer, "payment-response");
    assert_eq!(answer.status(), 200, "{settled}");
    assert_eq!((&settled["success"], &settled["network"]), (&json!(true), &json!("eip155:84532")));
    // Their own type reads what ours wrote.
    let typed: x402_types::proto::v2::SettleResponse = serde_json::from_value(settled).unwrap();
    assert!(matches!(typed, x402_types::proto::v2::SettleResponse::Success { payer: who, .. }
        if who == payer().address().to_string()));
    assert_eq!(answer.text().await.unwrap(), "ping");
    bench.check(PRICE).await;
    // What is not served is not paid.
    assert_eq!(bench.pay("fail").await.unwrap().status(), 502);
    bench.check(PRICE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn their_payer_pays_our_gateway_by_permit2_once_it_approved() {
    if !has_anvil() {
        return;
    }
    let bench = Bench::open(By::ExactPermit2).await;
    // For `exact` it makes no permit at the token, and so it has to approve first.
    let answer = bench.pay("ping").await.unwrap();
    assert_eq!(answer.status(), 412);
    assert_eq!(read(&answer, "payment-required")["error"], "permit2_allowance_required");
    bench.check(0).await;
    bench.approve().await;
    let answer = bench.pay("ping").await.unwrap();
    assert_eq!(answer.status(), 200);
    bench.check(PRICE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn their_payer_pays_our_gateway_by_upto_without_gas_of_its_own() {
    if !has_anvil() {
        return;
    }
    let bench = Bench::open(By::Upto).await;
    let answer = bench.pay("measured").await.unwrap();
    let settled = read(&answer, "payment-response");
    assert_eq!(answer.status(), 200, "{settled}");
    assert_eq!(settled["amount"], (8 * PER_BYTE).to_string());
    bench.check(8 * PER_BYTE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn their_payer_of_version_1_pays_our_gateway_in_kind() {
    if !has_anvil() {
        return;
    }
    let bench = Bench::open(By::Exact).await;
    let asked = http().post(bench.shop.url()).body("ping").send().await.unwrap();
    assert_eq!(asked.status(), 402);
    // It reads the offer of version 1 only where none of version 2 is there.
    let body = asked.bytes().await.unwrap();
    let offer = axum::http::Response::builder().status(402).body(body).unwrap();
    let client = X402Client::new().register(V1Eip155ExactClient::new(signer()));
    let headers = client.make_payment_headers(offer.into()).await.unwrap();
    let paid = http().post(bench.shop.url()).body("ping").headers(headers).send().await.unwrap();
    assert_eq!(paid.status(), 200);
    assert_eq!(read(&paid, "x-payment-response")["network"], "base-sepolia");
    bench.check(PRICE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn their_payer_signs_nothing_where_we_sell_by_channel_alone() {
    if !has_anvil() {
        return;
    }
    let bench = Bench::open(By::Channel).await;
    let said = bench.pay("ping").await.unwrap_err();
    assert!(said.contains("No matching payment option found"), "{said}");
    bench.check(0).await;
}
