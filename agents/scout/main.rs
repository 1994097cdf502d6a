//! `scout`: buys answers of analysts, itself and through sub-agents with budgets of their own.

mod program;
#[path = "../shared/mod.rs"]
mod shared;

use bursar::domain::money::Nano;
use clap::Parser;

use crate::program::Mission;
use crate::shared::payer::{PayerFlags, connect, line};
use crate::shared::provider::announce;
use crate::shared::{AnswerBody, name};

/// Buys answers of analysts, itself and through sub-agents with budgets of their own.
#[derive(Debug, Parser)]
#[command(version)]
struct Flags {
    #[command(flatten)]
    payer: PayerFlags,
    /// Its own name, which its sub-agents' names begin with.
    #[arg(long, default_value = "scout-1")]
    name: String,
    /// What each sub-agent may spend, in billionths of a dollar.
    #[arg(long, default_value_t = 7_000_000)]
    delegation_nano: u64,
    /// Sub-agents, each of which asks every question again.
    #[arg(long, default_value_t = 1)]
    sub_agents: usize,
    /// What to ask.
    #[arg(default_values_t = ["What is a hold?".to_owned(), "Who pays for gas?".to_owned()])]
    questions: Vec<String>,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let flags = Flags::parse();
    let client = connect(&flags.payer).await?;
    let mission = Mission {
        scout: name(&flags.name),
        questions: flags.questions.clone(),
        delegated: vec![flags.questions; flags.sub_agents],
        delegation: Nano::new(flags.delegation_nano),
    };
    let told = |bought: &bursar::edge::grpc::Bought| {
        let cost = bursar::edge::grpc::charged(&bought.done);
        match serde_json::from_slice::<AnswerBody>(&bought.body) {
            Ok(answer) => {
                let source = answer.extracted.first().map_or("nothing found", |p| &p.source);
                announce(&format!("{cost} USD  {}  [{source}]", answer.question));
            }
            Err(problem) => announce(&format!("{cost} USD  unreadable: {problem}")),
        }
    };
    for (agent, tally) in program::run(&flags.payer.node, &client, &mission, told).await {
        announce(&line(agent.as_str(), &tally));
    }
    Ok(())
}
