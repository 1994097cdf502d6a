//! Logs and metrics. Never keys, signatures or prompts; labels come from fixed sets and from the
//! operator's own names, never from a caller.

mod metrics;
mod numbers;

pub use metrics::{Listener, Scrape, Server};
pub use numbers::scrape;

use tracing_subscriber::EnvFilter;

/// Writes logs to standard error: what passes `filter` (in the words of `RUST_LOG`), as JSON or as text.
/// Whether they are written: a process starts them once.
pub fn start_logs(filter: &str, json: bool) -> bool {
    let filter = EnvFilter::try_new(filter).unwrap_or_else(|_| EnvFilter::new("warn"));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    if json { builder.json().try_init().is_ok() } else { builder.try_init().is_ok() }
}
