//! When asking again with the very same request can help. Never after a refusal for money.
//!
//! A purchase in doubt is asked for again by its own request and by no other one: that never pays twice. The
//! node may be away by then, so that one that cannot be reached is waited for as well.

use std::time::Duration;

use bursar::domain::time::Timestamp;
use bursar::edge::grpc::AgentError;

/// The longest wait between two tries.
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// Whether the same request again can help.
pub fn may_retry(error: &AgentError) -> bool {
    const FOR_A_WHILE: [&str; 5] = [
        "PAYER_NO_QUOTE",
        "PAYER_NO_PROVIDER",
        "LIMITS_CONCURRENCY",
        "PAYER_NO_DIRECTORY",
        "AGENT_NODE_UNREACHABLE",
    ];
    error.in_doubt || error.retry_after.is_some() || FOR_A_WHILE.contains(&error.reason.as_str())
}

/// When to ask again.
pub fn pause(now: Timestamp, error: &AgentError, tries: u32) -> Timestamp {
    let step = Duration::from_millis(25).saturating_mul(tries);
    now.after(error.retry_after.unwrap_or(step).min(PAUSE_MAX))
}
