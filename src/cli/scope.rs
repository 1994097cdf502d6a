//! `bursar pause`, `resume` and `apply`: what the operator changes on a running node.

use std::fs;

use bursar::domain::ledger::agent::Scope;
use bursar::edge::grpc::pb;
use bursar::edge::grpc::pb::operator_service_client::OperatorServiceClient;
use serde::Serialize;

use super::args::Args;
use super::client::{refused, with_node};
use super::config;
use super::exit::Exit;
use super::failure::Failure;
use super::output::Output;
use super::up::system;

#[derive(Serialize)]
struct Changed {
    scope: String,
    changed: bool,
}

/// Stops every new signature of a scope; returns once none leaves any more.
pub fn pause(args: &Args, scope: &Scope, reason: &str, output: &Output) -> Result<Exit, Failure> {
    let message = pb::PauseRequest { scope: scope.to_string(), reason: reason.to_owned() };
    let paused = with_node(args, async |client, _| {
        let mut operator = OperatorServiceClient::new(client.channel.clone());
        operator.pause(client.request(message)).await.map_err(|status| refused(&status))
    })?;
    let changed = Changed { scope: scope.to_string(), changed: paused.into_inner().changed };
    output.show(&changed, || {
        if changed.changed {
            format!("{scope} is paused: nothing new is signed; holds stay")
        } else {
            format!("{scope} was paused already")
        }
    });
    Ok(Exit::Done)
}

/// Lets signing go on.
pub fn resume(args: &Args, scope: &Scope, output: &Output) -> Result<Exit, Failure> {
    let message = pb::ResumeRequest { scope: scope.to_string() };
    let resumed = with_node(args, async |client, _| {
        let mut operator = OperatorServiceClient::new(client.channel.clone());
        operator.resume(client.request(message)).await.map_err(|status| refused(&status))
    })?;
    let changed = Changed { scope: scope.to_string(), changed: resumed.into_inner().changed };
    output.show(&changed, || {
        let word = if changed.changed { "goes on" } else { "was not paused" };
        format!("{scope} {word}")
    });
    Ok(Exit::Done)
}

#[derive(Serialize)]
struct Applied {
    version: u32,
    changes: Vec<String>,
    dry_run: bool,
}

/// Puts the configuration's roles and budgets in force. A file with a problem changes nothing.
pub fn apply(args: &Args, reason: &str, dry_run: bool, output: &Output) -> Result<Exit, Failure> {
    // Checked here first, so that a problem is shown with its line without a node.
    config::load(args)?;
    let document = fs::read_to_string(&args.config)
        .map_err(|problem| system("reading the configuration", &problem))?;
    let message = pb::ApplyPolicyRequest {
        document,
        file_name: args.config.display().to_string(),
        reason: reason.to_owned(),
        validate_only: dry_run,
    };
    let applied = with_node(args, async |client, _| {
        let mut operator = OperatorServiceClient::new(client.channel.clone());
        operator.apply_policy(client.request(message)).await.map_err(|status| refused(&status))
    })?;
    let pb::ApplyPolicyResponse { version, changes } = applied.into_inner();
    let shown = Applied { version, changes, dry_run };
    output.show(&shown, || {
        let head = if dry_run { "would change, from version" } else { "in force: version" };
        let changes = shown.changes.iter().map(|change| format!("\n  {change}"));
        format!("{head} {version}{}", changes.collect::<String>())
    });
    Ok(Exit::Done)
}
