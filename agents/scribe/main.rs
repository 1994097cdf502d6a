//! `scribe`: sells text, written token by token by a language model of the project's own.

mod engine;
#[path = "../models/mod.rs"]
mod models;
mod openai;
#[path = "../shared/mod.rs"]
mod shared;

use std::sync::Arc;
use std::time::Duration;

use bursar::node::StartError;
use clap::Parser;

use crate::engine::Scribe;
use crate::shared::GENERATE;
use crate::shared::openai::{CHAT, COMPLETIONS, RESPONSES};
use crate::shared::provider::{Goods, ProviderFlags, sell};

/// Sells text, written token by token by a language model of the project's own.
#[derive(Debug, Parser)]
#[command(version)]
struct Flags {
    #[command(flatten)]
    provider: ProviderFlags,
    /// How long it takes over each token, in milliseconds.
    #[arg(long, default_value_t = 0)]
    pace_ms: u64,
}

#[tokio::main]
async fn main() -> Result<(), StartError> {
    let flags = Flags::parse();
    let engine = Scribe::new(Duration::from_millis(flags.pace_ms));
    let goods = Goods {
        name: "scribe",
        capabilities: &[GENERATE, CHAT, COMPLETIONS, RESPONSES],
        model: engine.model().to_owned(),
        price: 200,
        engine: Arc::new(engine),
    };
    sell(&flags.provider, goods).await
}
