//! x402-rs's own check of `exact`, on the chain at `RPC_URL`, with the key in `GAS_KEY`.

use std::error::Error;
use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use axum::{Json, Router};
use serde_json::json;
use x402_chain_eip155::V2Eip155Exact;
use x402_chain_eip155::chain::config::Eip155ChainConfig;
use x402_chain_eip155::chain::{Eip155ChainProvider, Eip155ChainReference};
use x402_types::chain::FromConfig;
use x402_types::proto::{VerifyRequest, VerifyResponse};
use x402_types::scheme::{X402SchemeFacilitator, X402SchemeFacilitatorBuilder};

type Facilitator = Arc<Box<dyn X402SchemeFacilitator>>;

async fn verify(
    State(facilitator): State<Facilitator>,
    Json(asked): Json<VerifyRequest>,
) -> Result<Json<VerifyResponse>, (StatusCode, String)> {
    let said = facilitator.verify(&asked).await;
    said.map(Json).map_err(|error| (StatusCode::BAD_REQUEST, format!("{error:?}")))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let (rpc, key) = (std::env::var("RPC_URL")?, std::env::var("GAS_KEY")?);
    let chain = Eip155ChainConfig {
        chain_reference: Eip155ChainReference::new(84532),
        inner: serde_json::from_value(json!({ "signers": [key], "rpc": [{ "http": rpc }] }))?,
    };
    let provider = Arc::new(Eip155ChainProvider::from_config(&chain).await?);
    let facilitator: Facilitator = Arc::new(V2Eip155Exact.build(provider, None)?);
    let routes = Router::new().route("/verify", post(verify)).with_state(facilitator);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    println!("listening http://{}", listener.local_addr()?);
    axum::serve(listener, routes).await?;
    Ok(())
}
