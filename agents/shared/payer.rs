//! A paying agent as a process of its own: a token in a file, and a node.

use std::path::PathBuf;

use bursar::domain::ledger::agent::Token;
use bursar::edge::grpc::{AgentClient, AgentError};

use crate::shared::tally::Tally;

/// What every paying agent is told.
#[derive(Debug, clap::Args)]
pub struct PayerFlags {
    /// The node: http://127.0.0.1:8402 or unix:/path.
    #[arg(long, default_value = "http://127.0.0.1:8402")]
    pub node: String,
    /// A file with the token that `bursar agent add` showed, and nothing else.
    #[arg(long)]
    pub token_file: PathBuf,
    /// Seeds what it does.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
}

/// Connects to the node with the token.
///
/// # Errors
/// [`AgentError`] where the file cannot be read or nobody answers.
pub async fn connect(flags: &PayerFlags) -> Result<AgentClient, AgentError> {
    let text = std::fs::read_to_string(&flags.token_file).map_err(|problem| AgentError {
        reason: "AGENT_NO_TOKEN".to_owned(),
        message: format!("{}: {problem}", flags.token_file.display()),
        payment: None,
        retry_after: None,
        in_doubt: false,
    })?;
    AgentClient::connect(&flags.node, &Token::shown(text.trim())).await
}

/// A tally in a line.
pub fn line(agent: &str, tally: &Tally) -> String {
    let refused = tally.refused.iter().map(|(reason, count)| format!(", {count} {reason}"));
    format!("{agent}: {} paid{}", tally.paid, refused.collect::<String>())
}
