//! `librarian`: sells embeddings and semantic search, over a frozen text from the project's beginnings, which is
//! not its documentation.

mod engine;
#[path = "../models/mod.rs"]
mod models;
#[path = "../shared/mod.rs"]
mod shared;

use std::sync::Arc;

use bursar::node::StartError;
use clap::Parser;

use crate::engine::Librarian;
use crate::shared::openai::EMBEDDINGS;
use crate::shared::provider::{Goods, ProviderFlags, sell};
use crate::shared::{EMBED, SEARCH};

/// Sells embeddings and semantic search, over a frozen text from the project's beginnings, which is not its
/// documentation.
#[derive(Debug, Parser)]
#[command(version)]
struct Flags {
    #[command(flatten)]
    provider: ProviderFlags,
}

#[tokio::main]
async fn main() -> Result<(), StartError> {
    let flags = Flags::parse();
    let engine = Librarian::new();
    let goods = Goods {
        name: "librarian",
        capabilities: &[SEARCH, EMBED, EMBEDDINGS],
        model: engine.model().to_owned(),
        price: 300,
        engine: Arc::new(engine),
    };
    sell(&flags.provider, goods).await
}
