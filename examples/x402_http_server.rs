//! An axum router whose weather costs 0.001 USDC a call, on a real EVM in this process. Any x402 client
//! pays it; `curl -i http://127.0.0.1:4021/weather/rome` shows the price.

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::{error::Error, net::SocketAddr, sync::Arc};

use axum::{Router, extract::Path, http::Method, routing::get};
use bursar::domain::asset::{Asset, Network};
use bursar::domain::money::Amount;
use bursar::edge::clock::SystemClock;
use bursar::edge::http::layer::{PaidRoute, PaidRoutes, X402Layer};
use bursar::edge::keys::SigningKey;
use bursar::edge::sandbox::TOKEN;
use bursar::node::{RailPlan, RouteTillPlan, SandboxChain, Till, connect_rail, sandbox_assets};
use bursar::ports::clock::Clock;
use tokio::net::TcpListener;

// Development keys that anvil prints at every start: known to everybody, fit for no money.
const GAS: &str = "59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d";
const SELLS: &str = "5de4111afa1a4b94908f83103eb1f1706367c2e68ca870fc3fb9a804cdab365a";

const URL: &str = "http://127.0.0.1:4021";

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let gas = SigningKey::from_hex(GAS, "the example")?;
    let chain = SandboxChain::start(None, "127.0.0.1:8545".parse()?, clock.clone()).await?;
    chain.fund(gas.address(), Amount::ZERO).await?;
    let rail = RailPlan::sandbox(chain.url());
    let (evidence, settler) = connect_rail(&rail, Some(&gas), clock.clone()).await?;

    let weather = PaidRoute::new(Method::GET, "/weather/{city}", Amount::new(1000));
    let routes = PaidRoutes::new(URL, vec![weather.described("The weather of a city")]);
    let folder = tempfile::tempdir()?;
    let till = Till::open_routes(RouteTillPlan {
        ledger: folder.path().join("till.db"),
        provider: "weather".parse()?,
        routes: routes.clone(),
        asset: Asset { network: Network::SANDBOX, contract: TOKEN },
        key: SigningKey::from_hex(SELLS, "the example")?,
        assets: sandbox_assets(),
        settler: settler.ok_or("a gas account settles")?,
        genesis: evidence.genesis(),
        evidence,
        clock,
    });
    let forecast = get(|Path(city): Path<String>| async move { format!("{city}: foggy") });
    let router = Router::new().route("/weather/{city}", forecast);
    let paid = X402Layer::new(routes, till.await?.door()).over(router);
    println!("the weather costs 0.001 USDC at {URL}, settled on {}", chain.url());
    // Who is at the other end of a connection bounds how fast it may ask.
    let service = paid.into_make_service_with_connect_info::<SocketAddr>();
    Ok(axum::serve(TcpListener::bind("127.0.0.1:4021").await?, service).await?)
}
