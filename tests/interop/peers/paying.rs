//! Our payer, their server, which settles by our facilitator.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;
use bursar::domain::money::Nano;
use bursar::edge::http::client::FetchError;
use bursar::node::FacilitatorNode;
use serde_json::Value;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use x402_axum::X402Middleware;
use x402_chain_eip155::chain::{AssetTransferMethod, Eip155TokenDeployment};
use x402_chain_eip155::eip2612_gas_sponsoring::Eip2612GasSponsoring;
use x402_chain_eip155::{KnownNetworkEip155, V1Eip155Exact, V2Eip155Exact, V2Eip155Upto};
use x402_types::networks::USDC;

use crate::chain::{Chain, FUNDS, payee, payer};
use crate::has_anvil;
use crate::ours::Payer;

/// What a call costs, in atomic units.
const PRICE: u64 = 1_000;

/// Every way that their server sells by.
const EVERY_WAY: &str = r#"["exact", "upto"]"#;

/// A chain, our facilitator on it, and their server that settles by it.
struct Bench {
    chain: Chain,
    url: String,
    server: JoinHandle<()>,
    _facilitator: FacilitatorNode,
    _folder: TempDir,
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// What their server sells.
fn shop(facilitator: &str) -> Router {
    let gate = X402Middleware::new(facilitator);
    let usdc = USDC::base_sepolia();
    let method = AssetTransferMethod::Permit2 { name: "USDC".into(), version: "2".into() };
    let permit2 = Eip155TokenDeployment { transfer_method: method, ..usdc.clone() };
    let to = payee().address();
    let exact = || gate.with_price_tag(V2Eip155Exact::price_tag(to, usdc.amount(PRICE)));
    let first = gate.with_price_tag(V1Eip155Exact::price_tag(to, usdc.amount(PRICE)));
    let dear = gate.with_price_tag(V2Eip155Exact::price_tag(to, usdc.amount(3 * PRICE)));
    let sponsors = Eip2612GasSponsoring::server;
    let by_permit2 = gate
        .with_price_tag(V2Eip155Exact::price_tag(to, permit2.amount(PRICE)))
        .with_extension(sponsors());
    let upto = gate
        .with_price_tag(V2Eip155Upto::price_tag(to, usdc.amount(PRICE)))
        .with_extension(sponsors());
    let early = gate.settle_before_execution();
    let early = early.with_price_tag(V2Eip155Exact::price_tag(to, usdc.amount(PRICE)));
    let rain = || get(|| async { "rain" });
    Router::new()
        .route("/exact", rain().layer(exact()))
        .route("/fail", get(|| async { StatusCode::INTERNAL_SERVER_ERROR }).layer(exact()))
        .route("/early", rain().layer(early))
        .route("/dear", rain().layer(dear))
        .route("/permit2", rain().layer(by_permit2))
        .route("/upto", rain().layer(upto))
        .route("/v1", rain().layer(first))
}

impl Bench {
    async fn open() -> Self {
        let chain = Chain::start().await;
        let evm = chain.evm().await;
        let folder = tempfile::tempdir().unwrap();
        let facilitator = chain.facilitator(&evm, folder.path()).await;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let app = shop(&facilitator.url);
        let server = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { chain, url, server, _facilitator: facilitator, _folder: folder }
    }

    /// What our payer gets at `path`, and the settlement that it was told of.
    async fn buy(&self, payer: &Payer, path: &str) -> Value {
        let fetched = payer.fetch(&format!("{}{path}", self.url)).await;
        assert_eq!(
            (fetched.status.as_u16(), &*fetched.body),
            (200, &b"rain"[..]),
            "{path}: {fetched:?}"
        );
        let told =
            fetched.paid.expect("it was paid").settlement.expect("it is told what came of it");
        assert!(told.success, "{path}: {told:?}");
        serde_json::to_value(told).unwrap()
    }

    /// What lies with the payee and is gone from the payer, which is all that its ledger says is spent.
    async fn check(&self, of: &Payer, earned: u64, held: u64) {
        assert_eq!(self.chain.owned(payee().address()).await, u128::from(earned));
        assert_eq!(self.chain.owned(payer().address()).await, FUNDS - u128::from(earned));
        // One atomic unit is a thousand nano.
        let counted = (Nano::new(earned * 1_000), Nano::new(held * 1_000));
        for check in of.purse.budgets().await.unwrap() {
            assert_eq!((check.spent, check.held), counted, "{check:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn our_payer_pays_their_server_by_exact_and_counts_it() {
    if !has_anvil() {
        return;
    }
    let bench = Bench::open().await;
    let payer = Payer::open(&bench.chain, "1 USD", EVERY_WAY).await;
    let told = bench.buy(&payer, "/exact").await;
    assert_eq!(told["network"], "eip155:84532");
    bench.check(&payer, PRICE, 0).await;
    bench.buy(&payer, "/early").await;
    bench.check(&payer, 2 * PRICE, 0).await;
    // A handler that fails is not paid; what was signed stays held until the chain speaks.
    let fetched = payer.fetch(&format!("{}/fail", bench.url)).await;
    assert_eq!(fetched.status, 500);
    bench.check(&payer, 2 * PRICE, PRICE).await;
    assert!(payer.purse.drain(Duration::from_secs(10)).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn our_payer_pays_their_server_by_permit2_and_by_upto_without_gas_of_its_own() {
    if !has_anvil() {
        return;
    }
    let bench = Bench::open().await;
    let payer = Payer::open(&bench.chain, "1 USD", EVERY_WAY).await;
    bench.buy(&payer, "/permit2").await;
    bench.check(&payer, PRICE, 0).await;
    // It has no way to charge less than the maximum.
    let told = bench.buy(&payer, "/upto").await;
    assert_eq!(told["amount"], PRICE.to_string());
    bench.check(&payer, 2 * PRICE, 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn our_payer_pays_their_server_by_version_1() {
    if !has_anvil() {
        return;
    }
    let bench = Bench::open().await;
    let payer = Payer::open(&bench.chain, "1 USD", EVERY_WAY).await;
    let told = bench.buy(&payer, "/v1").await;
    assert_eq!(told["network"], "eip155:84532");
    bench.check(&payer, PRICE, 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_caps_do_not_allow_is_refused_before_anything_is_signed() {
    if !has_anvil() {
        return;
    }
    let bench = Bench::open().await;
    let payer = Payer::open(&bench.chain, "0.0015 USD", r#"["exact"]"#).await;
    let refused = async |path: &str| match payer.try_fetch(&format!("{}{path}", bench.url)).await {
        Err(FetchError::Pay(error)) => error,
        other => panic!("{path}: {other:?}"),
    };
    // Above what one call may cost, by no scheme of the role's, and then above what is left.
    refused("/dear").await;
    refused("/upto").await;
    bench.check(&payer, 0, 0).await;
    bench.buy(&payer, "/exact").await;
    refused("/exact").await;
    bench.check(&payer, PRICE, 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_calls_at_once_do_not_pass_the_cap_at_their_server() {
    if !has_anvil() {
        return;
    }
    let bench = Bench::open().await;
    let payer = Arc::new(Payer::open(&bench.chain, "0.003 USD", EVERY_WAY).await);
    let url = format!("{}/exact", bench.url);
    let calls = futures_util::future::join_all((0..8).map(|_| payer.try_fetch(&url))).await;
    let paid = calls.iter().filter(|call| call.as_ref().is_ok_and(|it| it.status == 200)).count();
    assert_eq!(paid, 3, "{calls:?}");
    bench.check(&payer, 3 * PRICE, 0).await;
}
