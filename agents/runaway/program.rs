//! The runaway's program: a retry loop gone wrong. Hundreds of calls at once, each a new request, until
//! not one more fits under its cap.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bursar::domain::id::Name;
use bursar::edge::clock::SystemClock;
use bursar::edge::grpc::{AgentClient, AgentError, Bought, Purchase};
use bursar::ports::clock::Clock;
use futures_util::future::join_all;

use crate::shared::retry::pause;
use crate::shared::tally::Tally;
use crate::shared::{GENERATE, GenerateRequest, JSON, order, request_id, to_json};

/// The most input and output of one call.
const INPUT_MAX: u64 = 32;
const OUTPUT_MAX: u64 = 24;

/// Calls in all at most: the loop is bounded even where a cap is not.
const CALLS_MAX: u64 = 20_000;

/// Tries at one request.
const TRIES_MAX: u32 = 40;

/// Refusals for money in a row, while nothing of its own is under way, before it believes that not one
/// more call fits.
const REFUSALS_MAX: u64 = 3;

/// How it runs away.
#[derive(Clone, Debug)]
pub struct Frenzy {
    /// The agent's name.
    pub agent: Name,
    /// Calls at once.
    pub at_once: u64,
    /// What it asks for, over and over.
    pub prompts: Vec<String>,
    /// Seeds what is written.
    pub seed: u64,
}

/// What all its loops share.
struct Shared {
    calls: AtomicU64,
    refusals: AtomicU64,
    stop: Arc<AtomicBool>,
}

/// Runs away until the cap stops it, or `stop` is set. Counts everything.
pub async fn run(client: &AgentClient, frenzy: &Frenzy, stop: Arc<AtomicBool>) -> Tally {
    let shared = Shared { calls: AtomicU64::new(0), refusals: AtomicU64::new(0), stop };
    let loops = (0..frenzy.at_once).map(|_| run_one(client, frenzy, &shared));
    let mut tally = Tally::default();
    for one in join_all(loops).await {
        tally.add(one);
    }
    tally
}

async fn run_one(client: &AgentClient, frenzy: &Frenzy, shared: &Shared) -> Tally {
    let clock = SystemClock;
    let mut tally = Tally::default();
    while !shared.stop.load(Ordering::Relaxed)
        && shared.refusals.load(Ordering::Relaxed) < REFUSALS_MAX.saturating_mul(frenzy.at_once)
    {
        let number = shared.calls.fetch_add(1, Ordering::Relaxed);
        if number >= CALLS_MAX {
            return tally;
        }
        let began = clock.now();
        match buy(client, purchase(frenzy, number, began.as_millis())).await {
            Ok(_) => {
                shared.refusals.store(0, Ordering::Relaxed);
                tally.answered(clock.now().since(began));
            }
            Err(error) => {
                tally.refused(&error);
                if is_for_money(&error) {
                    shared.refusals.fetch_add(1, Ordering::Relaxed);
                }
                clock.sleep_until(pause(clock.now(), &error, 1)).await;
            }
        }
    }
    tally
}

/// Buys; again with the very same request while nobody knows what became of it, because that never
/// pays twice.
async fn buy(client: &AgentClient, purchase: Purchase) -> Result<Bought, AgentError> {
    let clock = SystemClock;
    let mut tried = client.buy(purchase.clone()).await;
    for tries in 1..TRIES_MAX {
        match tried {
            Err(error) if is_open(&error) => {
                clock.sleep_until(pause(clock.now(), &error, tries)).await;
            }
            tried => return tried,
        }
        tried = client.buy(purchase.clone()).await;
    }
    tried
}

/// Whether a signature is out: the same request presents it again.
fn is_open(error: &AgentError) -> bool {
    error.in_doubt || error.reason == "PAYER_PROVIDER_REFUSED"
}

/// Whether the refusal says that the cap has no room. While calls are under way their holds may fill
/// it for a moment, so one refusal is not the end.
fn is_for_money(error: &AgentError) -> bool {
    error.reason == "LEDGER_OVER_BUDGET"
}

fn purchase(frenzy: &Frenzy, number: u64, now_ms: u64) -> Purchase {
    let prompts = u64::try_from(frenzy.prompts.len()).unwrap_or(1).max(1);
    let place = usize::try_from(number.checked_rem(prompts).unwrap_or(0)).unwrap_or(0);
    let prompt = frenzy.prompts.get(place).cloned().unwrap_or_default();
    let ask = GenerateRequest { prompt, seed: frenzy.seed.wrapping_add(number) };
    let agent = frenzy.agent.as_str().as_bytes();
    Purchase {
        request: request_id(now_ms, &[agent, &number.to_be_bytes(), &frenzy.seed.to_be_bytes()]),
        order: order(GENERATE, INPUT_MAX, OUTPUT_MAX),
        content_type: JSON.to_owned(),
        body: to_json(&ask),
        price_max: None,
        provider: None,
        session: None,
        streamed: false,
    }
}
