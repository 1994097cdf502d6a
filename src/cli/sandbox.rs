//! `bursar sandbox`: a chain that runs alone, and its money.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use bursar::domain::money::Amount;
use bursar::edge::clock::SystemClock;
use bursar::edge::grpc::pb;
use bursar::edge::grpc::pb::operator_service_client::OperatorServiceClient;
use bursar::node::SandboxChain;
use serde::Serialize;

use super::args::{Args, SandboxCommand};
use super::client::{refused, with_node};
use super::exit::Exit;
use super::failure::Failure;
use super::output::Output;
use super::signals::Signals;
use super::up::system;

/// Decimals of the sandbox's USDC.
const DECIMALS: usize = 6;

/// Runs a chain, or mints its money.
pub fn run(args: &Args, command: &SandboxCommand, output: &Output) -> Result<Exit, Failure> {
    match command {
        SandboxCommand::Run { listen, file, final_after } => {
            run_alone(*listen, file.as_deref(), *final_after, output)
        }
        SandboxCommand::Fund { address, amount } => {
            fund(args, &address.to_string(), amount, output)
        }
    }
}

fn run_alone(
    listen: SocketAddr,
    file: Option<&Path>,
    final_after: u64,
    output: &Output,
) -> Result<Exit, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|problem| system("starting the runtime", &problem))?;
    runtime.block_on(async {
        let signals = Signals::catch()?;
        let chain = SandboxChain::start(file, listen, Arc::new(SystemClock)).await;
        let chain = chain.map_err(|error| Failure::of(&error))?;
        let set = chain.chain().final_after(final_after).await;
        set.map_err(|error| Failure::of(&error))?;
        let rpc = chain.url();
        output.show(&serde_json::json!({ "rpc": rpc }), || {
            format!("sandbox chain at {rpc}\n  next      rpc = \"{rpc}\" in a [network] section")
        });
        signals.wait().await;
        chain.stop().await;
        Ok(Exit::Done)
    })
}

#[derive(Serialize)]
struct Funded {
    address: String,
    amount_atomic: String,
    transaction: String,
}

fn fund(args: &Args, address: &str, amount: &str, output: &Output) -> Result<Exit, Failure> {
    let atomic = atomic(amount).ok_or_else(|| {
        let message =
            format!("`{amount}` is not an amount: expected 25 or 0.5, six decimals at most");
        Failure::new(Exit::Refused, "cli.bad_amount", message)
    })?;
    let message =
        pb::FundSandboxRequest { address: address.to_owned(), amount: atomic.to_string() };
    let funded = with_node(args, async |client, _| {
        let mut operator = OperatorServiceClient::new(client.channel.clone());
        operator.fund_sandbox(client.request(message)).await.map_err(|status| refused(&status))
    })?;
    let transaction = funded.into_inner().transaction;
    let shown =
        Funded { address: address.to_owned(), amount_atomic: atomic.to_string(), transaction };
    output.show(&shown, || format!("{amount} USDC to {address} in {}", shown.transaction));
    Ok(Exit::Done)
}

/// Whole units with at most six decimals, in atomic units.
fn atomic(text: &str) -> Option<Amount> {
    let (whole, rest) = text.split_once('.').unwrap_or((text, ""));
    if rest.len() > DECIMALS || (text.contains('.') && rest.is_empty()) {
        return None;
    }
    let digits = format!("{whole}{rest:0<DECIMALS$}");
    let trimmed = digits.trim_start_matches('0');
    if trimmed.is_empty() { None } else { trimmed.parse().ok() }
}
