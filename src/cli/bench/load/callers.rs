//! Agents that buy the same small thing again and again, and what came of it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bursar::domain::ledger::agent::Token;
use bursar::edge::clock::SystemClock;
use bursar::edge::grpc::{AgentClient, AgentError, Bought, Purchase};
use bursar::ports::clock::Clock;

use super::super::failed;
use super::super::measure::{Round, drive};
use crate::cli::failure::Failure;
use crate::shared::{JSON, SEARCH, SearchRequest, name, order, request_id, to_json};

/// One who buys, at its node.
#[derive(Clone, Debug)]
pub struct Caller {
    /// Its name.
    pub name: Arc<str>,
    /// Its end of the node's door.
    pub client: AgentClient,
}

impl Caller {
    /// One more, over a connection of its own.
    pub async fn connect(endpoint: &str, name: &str, token: &Token) -> Result<Self, AgentError> {
        let client = AgentClient::connect(endpoint, token).await?;
        Ok(Self { name: name.into(), client })
    }
}

/// All of them; each call is the next one's.
#[derive(Clone, Debug)]
pub struct Callers {
    endpoint: Arc<str>,
    all: Arc<[Caller]>,
    turn: Arc<AtomicU64>,
    asked: Arc<AtomicU64>,
}

impl Callers {
    /// Each of `agents`, over a connection of its own.
    pub async fn connect(endpoint: &str, agents: &[(String, Token)]) -> Result<Self, Failure> {
        let mut all = Vec::new();
        for (name, token) in agents {
            let caller = Caller::connect(endpoint, name, token).await;
            all.push(caller.map_err(|problem| failed(&problem))?);
        }
        let endpoint = endpoint.into();
        Ok(Self { endpoint, all: all.into(), turn: Arc::default(), asked: Arc::default() })
    }

    /// Where their node is.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// The next one in turn.
    pub fn next(&self) -> &Caller {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let many = u64::try_from(self.all.len()).unwrap_or(1).max(1);
        let place = usize::try_from(turn.checked_rem(many).unwrap_or(0)).unwrap_or(0);
        self.all.get(place).expect("a remainder is a place")
    }

    /// A purchase that nobody asked for before, from `provider`.
    pub fn purchase(&self, provider: &str) -> Purchase {
        let nth = self.asked.fetch_add(1, Ordering::Relaxed);
        let now = SystemClock.now();
        let ask = SearchRequest { query: "what is held before it is signed".to_owned(), k: 1 };
        let parts: [&[u8]; 2] = [&nth.to_be_bytes(), &now.as_nanos().to_be_bytes()];
        Purchase {
            request: request_id(now.as_millis(), &parts),
            order: order(SEARCH, 64, 1),
            content_type: JSON.to_owned(),
            body: to_json(&ask),
            price_max: None,
            provider: Some(name(provider)),
            session: None,
            streamed: false,
        }
    }

    /// Lets so many buy from `provider`, each as soon as it was answered, for `span`.
    pub async fn closed(&self, callers: u64, span: Duration, provider: &'static str) -> Seen {
        let tally = Arc::new(Tally::default());
        let (all, seen) = (self.clone(), Arc::clone(&tally));
        drive(callers, span, move |_| {
            let (all, seen) = (all.clone(), Arc::clone(&seen));
            async move {
                let (caller, purchase) = (all.next(), all.purchase(provider));
                let began = SystemClock.now();
                let bought = caller.client.buy(purchase).await;
                seen.note(SystemClock.now().since(began), &bought);
            }
        })
        .await;
        tally.take()
    }
}

/// What came of some calls.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// What each took that was paid, in nanoseconds.
    paid: Vec<u64>,
    /// What each took that was not.
    unpaid: Vec<u64>,
    /// Why those were not.
    pub reasons: BTreeMap<String, u64>,
}

impl Seen {
    /// Those that were paid, over `elapsed`.
    pub fn paid(&self, elapsed: Duration) -> Round {
        Round::of(self.paid.clone(), elapsed)
    }

    /// Those that were not.
    pub fn unpaid(&self, elapsed: Duration) -> Round {
        Round::of(self.unpaid.clone(), elapsed)
    }
}

/// Counts calls as they are answered.
#[derive(Debug, Default)]
pub struct Tally(Mutex<Seen>);

impl Tally {
    /// Counts one more.
    pub fn note(&self, took: Duration, bought: &Result<Bought, AgentError>) {
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        let mut seen = self.0.lock().expect("no holder of the counts panics");
        match bought {
            Ok(_) => seen.paid.push(nanos),
            Err(error) => {
                seen.unpaid.push(nanos);
                let count = seen.reasons.entry(error.reason.clone()).or_default();
                *count = count.saturating_add(1);
            }
        }
    }

    /// How many were paid since the last [`Tally::take`].
    pub fn paid(&self) -> u64 {
        let seen = self.0.lock().expect("no holder of the counts panics");
        u64::try_from(seen.paid.len()).unwrap_or(u64::MAX)
    }

    /// What was counted so far; it begins anew.
    pub fn take(&self) -> Seen {
        std::mem::take(&mut *self.0.lock().expect("no holder of the counts panics"))
    }
}
