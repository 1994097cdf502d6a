//! The command line, above all rooms: it parses, wires and shows, and decides nothing about money. One
//! file for each command.

mod agent;
mod args;
mod bench;
mod channels;
mod check;
mod client;
mod closing;
mod config;
mod demo;
mod doctor;
mod exit;
mod facilitator;
mod failure;
mod fetch;
mod folder;
mod house;
mod keyring;
mod ledger;
mod networks;
mod output;
mod passphrase;
mod payments;
mod prove;
mod provider;
mod resale;
mod running;
mod sandbox;
mod scope;
mod search;
mod show;
mod signals;
mod telemetry;
#[cfg(test)]
mod tests;
mod up;
mod usage;
mod wallet;

use std::process::ExitCode;

use clap::Parser;

use args::{Args, Command};
use output::Output;

/// Runs the command that the process was started with.
pub fn run() -> ExitCode {
    // clap ends the process itself with [`Exit::Usage`] where the words make no sense.
    let args = Args::parse();
    let output = Output::new(args.format);
    let done = match &args.command {
        Command::Up(command) => up::run(&args, command, &output),
        Command::Demo(demo) => demo::run(demo),
        Command::Wallet(command) => wallet::run(&args, command, &output),
        Command::Agent(command) => agent::run(&args, command, &output),
        Command::Budget { name } => show::budgets(&args, name.as_ref(), &output),
        Command::Payments(command) => payments::run(&args, command, &output),
        Command::Networks(command) => networks::run(&args, command, &output),
        Command::Usage(command) => usage::run(&args, command, &output),
        Command::Channels { command } => channels::run(&args, command.as_ref(), &output),
        Command::Why { payment } => show::why(&args, *payment, &output),
        Command::Pause { scope, reason } => scope::pause(&args, scope, reason, &output),
        Command::Resume { scope } => scope::resume(&args, scope, &output),
        Command::Apply { reason, dry_run } => scope::apply(&args, reason, *dry_run, &output),
        Command::Sandbox(command) => sandbox::run(&args, command, &output),
        Command::Prove(command) => prove::run(command, &output),
        Command::Check => check::run(&args, &output),
        Command::Ledger(command) => ledger::run(&args, command, &output),
        Command::Provider(asked) => provider::run(&args, asked, &output),
        Command::Fetch(asked) => fetch::run(&args, asked, &output),
        Command::Search(asked) => search::run(&args, asked, &output),
        Command::Doctor(command) => doctor::run(&args, command, &output),
        Command::Directory { listen } => provider::directory(&args, *listen, &output),
        Command::Facilitator { listen } => facilitator::run(&args, *listen, &output),
        Command::Bench(command) => bench::run(command, &output),
        Command::BenchPart { part, workers } => bench::run_part(*part, *workers),
    };
    match done {
        Ok(exit) => exit.into(),
        Err(failure) => {
            output.fail(&failure);
            failure.exit.into()
        }
    }
}
