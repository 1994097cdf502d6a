//! A tonic service that costs money: a directory that takes 0.001 USDC for each search, on a real EVM
//! in this process. Run it, and `cargo run --example x402_client` beside it.

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::{error::Error, sync::Arc};

use bursar::domain::asset::{Asset, Network};
use bursar::domain::money::{Amount, Money};
use bursar::edge::clock::SystemClock;
use bursar::edge::grpc::layer::{PaidMethod, X402Layer};
use bursar::edge::grpc::serve_directory;
use bursar::edge::keys::SigningKey;
use bursar::edge::sandbox::TOKEN;
use bursar::node::{RailPlan, SandboxChain, Till, TillPlan, connect_rail, sandbox_assets};
use bursar::ports::clock::Clock;
use bursar::runtime::directory::Registry;
use tonic::transport::Server;

// Development keys that anvil prints at every start: known to everybody, fit for no money.
const GAS: &str = "59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d";
const SELLS: &str = "5de4111afa1a4b94908f83103eb1f1706367c2e68ca870fc3fb9a804cdab365a";
const CUSTOMER: &str = "f39fd6e51aad88f6f4ce6ab8827279cfffb92266";

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let gas = SigningKey::from_hex(GAS, "the example")?;
    let chain = SandboxChain::start(None, "127.0.0.1:8545".parse()?, clock.clone()).await?;
    chain.fund(gas.address(), Amount::ZERO).await?;
    chain.fund(CUSTOMER.parse()?, Amount::new(5_000_000)).await?;
    let rail = RailPlan::sandbox(chain.url());
    let (evidence, settler) = connect_rail(&rail, Some(&gas), clock.clone()).await?;

    let folder = tempfile::tempdir()?;
    let find = PaidMethod::new("/bursar.v1.DirectoryService/Find");
    let asset = Asset { network: Network::SANDBOX, contract: TOKEN };
    let till = Till::open(TillPlan {
        ledger: folder.path().join("till.db"),
        provider: "paid-directory".parse()?,
        authority: "127.0.0.1:50051".to_owned(),
        method: find.clone(),
        price: Money { amount: Amount::new(1000), asset },
        key: SigningKey::from_hex(SELLS, "the example")?,
        assets: sandbox_assets(),
        settler: settler.ok_or("a gas account settles")?,
        genesis: evidence.genesis(),
        evidence,
        clock: clock.clone(),
    });
    let layer = X402Layer::default().with(find, till.await?.payee());
    let directory = serve_directory(Arc::new(Registry::new(clock, sandbox_assets())));
    println!("each search costs 0.001 USDC at 127.0.0.1:50051, settled on {}", chain.url());
    let server = Server::builder().layer(layer).add_service(directory);
    Ok(server.serve("127.0.0.1:50051".parse()?).await?)
}
