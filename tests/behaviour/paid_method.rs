//! Any tonic service can be paid: its server by a layer and a till, its client by a layer and a purse.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bursar::domain::asset::{Asset, Network};
use bursar::domain::money::{Amount, Money};
use bursar::edge::clock::{SystemClock, SystemEntropy};
use bursar::edge::config::Config;
use bursar::edge::grpc::layer::{PaidMethod, X402Layer};
use bursar::edge::grpc::pb::FindRequest;
use bursar::edge::grpc::pb::directory_service_client::DirectoryServiceClient;
use bursar::edge::grpc::{Address, Doors, Listener, Reach, connect_one, serve_directory};
use bursar::edge::keys::{NonceSecret, SigningKey};
use bursar::edge::sandbox::TOKEN;
use bursar::node::{
    LocalPurse, PursePlan, RailPlan, SandboxChain, Till, TillPlan, connect_rail, sandbox_assets,
};
use bursar::ports::clock::Clock;
use bursar::ports::rail::Evidence;
use bursar::runtime::directory::Registry;
use sha2::{Digest, Sha256};
use tonic::Code;
use tonic_types::StatusExt;
use tower::Layer;

const POLICY: &str = r#"
version = 1
[network.sandbox]
kind = "sandbox"
gas_account = "searcher"
[wallet.searcher]
key = "keystore:searcher"
[budget.searches]
applies_to = "*"
limit = "0.003 USD"
window = "lifetime"
[role.searcher]
per_call_max = "0.002 USD"
allow_any = true
allow = { capabilities = ["grpc.call"], models = ["bursar.v1.DirectoryService:Find"], providers = ["*"], payees = ["*"], networks = ["sandbox"], assets = ["USDC"], schemes = ["exact"] }
"#;

/// A key from a public label: it guards nothing.
fn key(label: &str) -> SigningKey {
    SigningKey::from_bytes(&Sha256::digest(label).into()).unwrap()
}

const USDC: Asset = Asset { network: Network::SANDBOX, contract: TOKEN };

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_tonic_service_is_paid_for_call_by_call_until_the_budget_says_no() {
    let folder = tempfile::tempdir().unwrap();
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let chain =
        SandboxChain::start(None, "127.0.0.1:0".parse().unwrap(), clock.clone()).await.unwrap();
    chain.fund(key("gas").address(), Amount::ZERO).await.unwrap();
    chain.fund(key("searcher").address(), Amount::new(1_000_000)).await.unwrap();
    let rail = RailPlan::sandbox(chain.url());
    let (evm, settler) = connect_rail(&rail, Some(&key("gas")), clock.clone()).await.unwrap();

    let any = Address::Tcp(([127, 0, 0, 1], 0).into());
    let listener = Listener::bind(&any, "--listen").await.unwrap();
    let endpoint = listener.address().to_string();
    let authority = endpoint.strip_prefix("http://").unwrap();
    let find = PaidMethod::new("/bursar.v1.DirectoryService/Find");
    let till = Till::open(TillPlan {
        ledger: folder.path().join("till.db"),
        provider: "paid-directory".parse().unwrap(),
        authority: authority.to_owned(),
        method: find.clone(),
        price: Money { amount: Amount::new(1000), asset: USDC },
        key: key("shop"),
        assets: sandbox_assets(),
        settler: settler.unwrap(),
        genesis: evm.genesis(),
        evidence: evm.clone(),
        clock: clock.clone(),
    });
    let till = till.await.unwrap();
    let layer = X402Layer::default().with(find, till.payee());
    let directory = serve_directory(Arc::new(Registry::new(clock.clone(), sandbox_assets())));
    let doors = Doors::default().with(layer.layer(directory));
    let server = doors.serve(vec![listener], std::future::pending(), Duration::ZERO);
    let server = tokio::spawn(server);

    let purse = LocalPurse::open(PursePlan {
        ledger: folder.path().join("purse.db"),
        agent: "searcher".parse().unwrap(),
        role: "searcher".parse().unwrap(),
        key: key("searcher"),
        secret: NonceSecret::create(&folder.path().join("secret"), &SystemEntropy).unwrap(),
        policy: Config::load(Path::new("policy"), POLICY).unwrap().policy,
        genesis: evm.genesis(),
        evidence: evm.clone(),
        price_max: None,
        settings: Default::default(),
        clock: clock.clone(),
        entropy: Arc::new(SystemEntropy),
    });
    let purse = purse.await.unwrap();
    let channel = connect_one(&endpoint, Reach::Loopback).await.unwrap();
    let mut client = DirectoryServiceClient::new(purse.layer(authority).layer(channel));
    let search = FindRequest { capability: "embed".to_owned(), ..FindRequest::default() };
    for _ in 0..3 {
        client.find(search.clone()).await.unwrap();
    }
    let status = client.find(search).await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted);
    assert_eq!(status.get_details_error_info().unwrap().reason, "LEDGER_OVER_BUDGET");
    let left: Vec<u64> =
        purse.budgets().await.unwrap().iter().map(|check| check.left().get()).collect();
    assert_eq!(left, [0]);

    assert!(purse.drain(Duration::from_secs(10)).await);
    assert!(till.drain(Duration::from_secs(10)).await);
    server.abort();
    let earned = evm.balance(USDC, key("shop").address()).await.unwrap();
    assert_eq!(earned.amount, Amount::new(3000));
}
