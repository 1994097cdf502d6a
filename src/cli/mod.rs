//! The command line, above all rooms: it parses, wires and shows, and decides nothing about money. One
//! file for each command.

mod args;
mod check;
mod config;
mod demo;
mod exit;
mod failure;
mod ledger;
mod output;
mod passphrase;
#[cfg(test)]
mod tests;
mod wallet;

use std::process::ExitCode;

use clap::Parser;

use args::{Args, Command};
use exit::Exit;
use failure::Failure;
use output::Output;

/// Runs the command that the process was started with.
pub fn run() -> ExitCode {
    // clap ends the process itself with [`Exit::Usage`] where the words make no sense.
    let args = Args::parse();
    let output = Output::new(args.format);
    let done = match &args.command {
        Command::Wallet(command) => wallet::run(&args, command, &output),
        Command::Demo(demo) => demo::run(demo),
        Command::Check => check::run(&args, &output),
        Command::Ledger(command) => ledger::run(&args, command, &output),
        _ => Err(Failure::new(Exit::Failed, "cli.not_built_in", "this build does not have it")),
    };
    match done {
        Ok(exit) => exit.into(),
        Err(failure) => {
            output.fail(&failure);
            failure.exit.into()
        }
    }
}
