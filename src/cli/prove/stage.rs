//! What is proved on: caps that agents meet again and again, and two that sell: one settles by the facilitator, and the
//! other takes channels.

use bursar::domain::money::Amount;

use super::super::house::{Plan, Sale};

/// So many of the chain's newest blocks are not final, and may be taken back.
pub const FINAL_AFTER: u64 = 8;

/// Agents that try.
pub const AGENTS: u64 = 6;

/// What the payers' wallet is given: more than any cap, so that only caps can stop them.
const GIFT: Amount = Amount::new(1_000_000_000);

/// How both sell.
const TERMS: &str = r#"price = { call = "0.001 USD" }
concurrency = 32
quote_life = "10s"
authorization_life = "20s"
refund_after = "60s"
"#;

/// What a provider that takes channels says besides. Its vouchers are claimed while there are faults.
const CHANNELS: &str = "withdraw_delay = \"15m\"\nclaim_after = \"15s\"\n";

/// A house with this cap over all agents; one provider takes channels where `channels` says so.
pub fn plan(budget: &str, channels: bool) -> Plan {
    let by_channel = if channels { CHANNELS } else { "" };
    Plan {
        final_after: FINAL_AFTER,
        gift: GIFT,
        ledger: "snapshot_every = 500",
        log: "info",
        rules: rules(budget),
        sales: vec![
            Sale {
                name: "scribe",
                engine: "scribe",
                capability: "text.generate",
                model: "bursar-scribe-1",
                terms: TERMS.to_owned(),
                by_facilitator: true,
            },
            Sale {
                name: "librarian",
                engine: "librarian",
                capability: "search.query",
                model: "bursar-embed-1",
                terms: format!("{TERMS}{by_channel}"),
                by_facilitator: false,
            },
        ],
    }
}

fn rules(budget: &str) -> String {
    format!(
        r#"[channels]
per_provider = "0.4 USD"
total = "0.4 USD"
calls_per_deposit = 20
at_once = 8
[budget.cap]
applies_to = "*"
limit = "{budget} USD"
window = "lifetime"
[budget.minute]
applies_to = "role/prover"
per = "agent"
limit = "0.06 USD"
window = {{ rolling = "1m" }}
[role.prover]
per_call_max = "0.01 USD"
can_delegate = true
rates = {{ calls_per_minute = 100000, concurrency = 64 }}
session = {{ limit = "0.02 USD", span = "2m" }}
allow_any = true
allow = {{ capabilities = ["*"], models = ["*"], providers = ["*"], payees = ["*"], networks = ["sandbox"], assets = ["USDC"], schemes = ["exact", "batch-settlement"] }}
"#
    )
}
