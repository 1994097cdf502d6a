//! `analyst`: sells answers, made of passages that it buys of a librarian and text of a scribe.

mod engine;
#[path = "../models/mod.rs"]
mod models;
#[path = "../shared/mod.rs"]
mod shared;

use std::sync::Arc;

use clap::Parser;

use crate::engine::{Analyst, MODEL};
use crate::shared::ANSWER;
use crate::shared::payer::{PayerFlags, connect};
use crate::shared::provider::{Goods, ProviderFlags, sell};

/// Sells answers, made of passages that it buys of a librarian and text of a scribe.
#[derive(Debug, Parser)]
#[command(version)]
struct Flags {
    #[command(flatten)]
    provider: ProviderFlags,
    #[command(flatten)]
    payer: PayerFlags,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let flags = Flags::parse();
    let client = connect(&flags.payer).await?;
    let goods = Goods {
        name: "analyst",
        capabilities: &[ANSWER],
        model: MODEL.to_owned(),
        price: 2000,
        engine: Arc::new(Analyst::new(client)),
    };
    sell(&flags.provider, goods).await?;
    Ok(())
}
