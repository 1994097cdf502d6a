//! A tonic client that pays: it searches the directory of `x402_server` until its budget says no.

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::{error::Error, path::Path, sync::Arc, time::Duration};

use bursar::edge::clock::{SystemClock, SystemEntropy};
use bursar::edge::config::Config;
use bursar::edge::grpc::pb::FindRequest;
use bursar::edge::grpc::pb::directory_service_client::DirectoryServiceClient;
use bursar::edge::keys::{NonceSecret, SigningKey};
use bursar::node::{LocalPurse, PursePlan, RailPlan, connect_rail};
use tonic::transport::Channel;
use tower::Layer;

// A development key that anvil prints at every start: known to everybody, fit for no money.
const KEY: &str = "ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80";

// What it may spend, on what, and to whom.
const POLICY: &str = include_str!("x402_client.toml");

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let config = Config::load(Path::new("policy"), POLICY).map_err(|wrong| format!("{wrong:?}"))?;
    let rail = RailPlan::sandbox("http://127.0.0.1:8545".to_owned());
    let (evidence, _) = connect_rail(&rail, None, Arc::new(SystemClock)).await?;
    let folder = tempfile::tempdir()?;
    let purse = LocalPurse::open(PursePlan {
        ledger: folder.path().join("purse.db"),
        agent: "searcher".parse()?,
        role: "searcher".parse()?,
        key: SigningKey::from_hex(KEY, "the example")?,
        secret: NonceSecret::create(&folder.path().join("secret"), &SystemEntropy)?,
        policy: config.policy,
        genesis: evidence.genesis(),
        evidence,
        price_max: None,
        settings: Default::default(),
        clock: Arc::new(SystemClock),
        entropy: Arc::new(SystemEntropy),
    })
    .await?;
    let channel = Channel::from_static("http://127.0.0.1:50051").connect().await?;
    let paying = purse.layer("127.0.0.1:50051").layer(channel);
    let mut directory = DirectoryServiceClient::new(paying);
    let search = FindRequest { capability: "text.embed".to_owned(), ..FindRequest::default() };
    loop {
        match directory.find(search.clone()).await {
            Ok(found) => println!("paid; {} providers found", found.get_ref().listings.len()),
            Err(status) => break println!("{:?}: {}", status.code(), status.message()),
        }
    }
    purse.drain(Duration::from_secs(10)).await;
    Ok(())
}
