//! `runaway`: a retry loop gone wrong, hundreds of calls at once, until its cap stops it.

mod program;
#[path = "../shared/mod.rs"]
mod shared;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use clap::Parser;

use crate::program::Frenzy;
use crate::shared::name;
use crate::shared::payer::{PayerFlags, connect, line};
use crate::shared::provider::announce;

/// A retry loop gone wrong, hundreds of calls at once, until its cap stops it.
#[derive(Debug, Parser)]
#[command(version)]
struct Flags {
    #[command(flatten)]
    payer: PayerFlags,
    /// Its own name.
    #[arg(long, default_value = "runaway")]
    name: String,
    /// Calls at once.
    #[arg(long, default_value_t = 200)]
    at_once: u64,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let flags = Flags::parse();
    let client = connect(&flags.payer).await?;
    let frenzy = Frenzy {
        agent: name(&flags.name),
        at_once: flags.at_once,
        prompts: vec!["The budget".to_owned(), "No cap".to_owned()],
        seed: flags.payer.seed,
    };
    let tally = program::run(&client, &frenzy, Arc::new(AtomicBool::new(false))).await;
    announce(&line(&flags.name, &tally));
    for budget in client.budgets().await? {
        announce(&format!("{}: {} nano-USD left", budget.budget, budget.left_nano));
    }
    Ok(())
}
