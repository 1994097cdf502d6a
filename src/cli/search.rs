//! `bursar search`: looks for x402 resources in a directory, and shows what strangers say of them.

use bursar::edge::http::search::search;

use super::args::Args;
use super::config;
use super::exit::Exit;
use super::failure::Failure;
use super::output::{Output, table};
use super::provider::runtime;
use super::up::web_reach;

/// What is looked for, and where.
#[derive(Debug, clap::Args)]
pub struct SearchArgs {
    /// Words: `'weather forecast'`.
    pub words: String,
    /// The directory: `http://127.0.0.1:8404`, a node, a facilitator, or one of others.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8402")]
    pub at: String,
    /// So many at most.
    #[arg(long, default_value_t = 20)]
    pub limit: usize,
}

/// Looks, and shows what was found.
pub fn run(args: &Args, asked: &SearchArgs, output: &Output) -> Result<Exit, Failure> {
    let reach = web_reach(&config::load(args)?)?;
    let found = runtime()?.block_on(search(&asked.at, &asked.words, asked.limit, &reach));
    let found = found.map_err(|error| Failure::of(&error))?;
    output.show(&serde_json::json!(found), || {
        let rows = found.iter().map(|found| {
            [
                found.method.clone().unwrap_or_else(|| found.kind.clone()),
                found.url.clone(),
                found.description.clone().unwrap_or_default(),
                found.ways.join(", "),
            ]
        });
        table(["how", "where", "what strangers say", "ways to pay"], rows)
    });
    output.note("what one costs is what it asks for: bursar fetch --dry-run URL");
    Ok(if found.is_empty() { Exit::NotFound } else { Exit::Done })
}
