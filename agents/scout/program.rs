//! The scout's program: asks questions of analysts, first itself, then through sub-agents that spend
//! from budgets carved out of its own.

use std::time::Duration;

use bursar::domain::id::Name;
use bursar::domain::money::Nano;
use bursar::edge::clock::SystemClock;
use bursar::edge::grpc::{AgentClient, AgentError, Bought, Purchase};
use bursar::ports::clock::Clock;
use futures_util::future::join_all;

use crate::shared::retry::{may_retry, pause};
use crate::shared::tally::Tally;
use crate::shared::{ANSWER, AnswerRequest, JSON, name, order, request_id, to_json};

/// The most input and output of one answer.
const INPUT_MAX: u64 = 64;
const OUTPUT_MAX: u64 = 64;

/// How long a sub-agent's budget lives.
const DELEGATION_LIFE: Duration = Duration::from_secs(3600);

/// Tries at one question.
const TRIES_MAX: u32 = 20;

/// What a scout is to do.
#[derive(Clone, Debug)]
pub struct Mission {
    /// The scout's own name: its sub-agents' names begin with it.
    pub scout: Name,
    /// Asked by the scout itself.
    pub questions: Vec<String>,
    /// Asked by sub-agents, a list each.
    pub delegated: Vec<Vec<String>>,
    /// What each sub-agent may spend.
    pub delegation: Nano,
}

/// Does it, and counts, for the scout and for each of its sub-agents. `told` hears of each answer.
pub async fn run(
    node: &str,
    client: &AgentClient,
    mission: &Mission,
    told: impl Fn(&Bought),
) -> Vec<(Name, Tally)> {
    let mut own = Tally::default();
    ask_all(client, &mission.scout, &mission.questions, &mut own, &told).await;
    let children = mission.delegated.iter().enumerate().map(|(number, questions)| {
        let told = &told;
        async move {
            let child = name(&format!("{}-{}", mission.scout, number.saturating_add(1)));
            let mut tally = Tally::default();
            match delegate(node, client, &child, mission.delegation).await {
                Ok(client) => ask_all(&client, &child, questions, &mut tally, told).await,
                Err(error) => tally.refused(&error),
            }
            (child, tally)
        }
    });
    let children = join_all(children).await;
    std::iter::once((mission.scout.clone(), own)).chain(children).collect()
}

/// A client for a new sub-agent with a budget of its own, carved out of the scout's.
async fn delegate(
    node: &str,
    client: &AgentClient,
    child: &Name,
    limit: Nano,
) -> Result<AgentClient, AgentError> {
    let until = SystemClock.now().after(DELEGATION_LIFE);
    let token = client.delegate(child, limit, until).await?;
    AgentClient::connect(node, &token).await
}

async fn ask_all(
    client: &AgentClient,
    agent: &Name,
    questions: &[String],
    tally: &mut Tally,
    told: &impl Fn(&Bought),
) {
    for question in questions {
        ask(client, agent, question, tally, told).await;
    }
}

/// Asks once; again with the same request where the first try was refused for a while only.
async fn ask(
    client: &AgentClient,
    agent: &Name,
    question: &str,
    tally: &mut Tally,
    told: &impl Fn(&Bought),
) {
    let clock = SystemClock;
    let began = clock.now();
    let parts = [agent.as_str().as_bytes(), question.as_bytes(), &began.as_nanos().to_be_bytes()];
    let purchase = Purchase {
        request: request_id(began.as_millis(), &parts),
        order: order(ANSWER, INPUT_MAX, OUTPUT_MAX),
        content_type: JSON.to_owned(),
        body: to_json(&AnswerRequest { question: question.to_owned() }),
        price_max: None,
        provider: None,
        session: Some(name("mission")),
        streamed: false,
    };
    for tries in 1..=TRIES_MAX {
        match client.buy(purchase.clone()).await {
            Ok(bought) => {
                tally.answered(clock.now().since(began));
                told(&bought);
                return;
            }
            Err(error) => {
                if tries == TRIES_MAX || !may_retry(&error) {
                    tally.refused(&error);
                    return;
                }
                clock.sleep_until(pause(clock.now(), &error, tries)).await;
            }
        }
    }
}
