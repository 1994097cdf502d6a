//! Agents that try to pass their caps in every way that a node's door has.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bursar::domain::id::Name;
use bursar::domain::ledger::agent::Token;
use bursar::domain::money::Nano;
use bursar::edge::clock::SystemClock;
use bursar::edge::grpc::{AgentClient, AgentError, Bought, Purchase};
use bursar::ports::clock::Clock;
use futures_util::future::join_all;

use super::super::closing::{Told, Tried};
use super::super::house::chance::Chance;
use crate::shared::{
    GENERATE, GenerateRequest, JSON, SEARCH, SearchRequest, name, order, request_id, to_json,
};

/// How long an agent waits for an answer before it walks away.
const PATIENCE: Duration = Duration::from_secs(20);

/// How long it waits where it means to walk away.
const IMPATIENCE: Duration = Duration::from_millis(40);

/// How long it rests between two things.
const REST: Duration = Duration::from_millis(50);

/// Calls of one rush.
const RUSH: u64 = 16;

/// Sub-agents of one agent at most.
const CHILDREN_MAX: u64 = 12;

/// Finished requests that an agent remembers to ask for again.
const REMEMBERED_MAX: usize = 64;

/// One agent, and what it has seen.
struct Agent {
    client: AgentClient,
    chance: Chance,
    children: Vec<(Arc<str>, AgentClient)>,
    endpoint: String,
    label: Arc<str>,
    asked: u64,
    done: Vec<Purchase>,
    tried: Tried,
}

/// Tries until `stop` is set.
pub async fn try_all(
    endpoint: String,
    (label, token): (String, Token),
    chance: Chance,
    stop: Arc<AtomicBool>,
) -> Tried {
    let clock = SystemClock;
    let client = loop {
        match AgentClient::connect(&endpoint, &token).await {
            Ok(client) => break client,
            Err(_) if stop.load(Ordering::Relaxed) => return Tried::default(),
            Err(_) => clock.sleep_until(clock.now().after(REST)).await,
        }
    };
    let (children, done, tried, asked) = (Vec::new(), Vec::new(), Tried::default(), 0);
    let label = label.into();
    let mut agent = Agent { client, chance, children, endpoint, label, asked, done, tried };
    while !stop.load(Ordering::Relaxed) {
        match agent.chance.within(0, 8) {
            0 | 1 => agent.rush(None).await,
            2 => agent.repeat_at_once().await,
            3 => agent.walk_away().await,
            4 => agent.hide_in_sessions().await,
            5 => agent.multiply().await,
            6 => agent.ask_again().await,
            _ => agent.confuse().await,
        }
        clock.sleep_until(clock.now().after(REST)).await;
    }
    agent.tried
}

impl Agent {
    fn purchase(&mut self) -> Purchase {
        self.asked = self.asked.saturating_add(1);
        let (asked, now) = (self.asked, SystemClock.now().as_millis());
        let seed = self.chance.next();
        let text = self.chance.one_of(&["the budget", "a channel", "what is held", "the ledger"]);
        let (order, body) = if self.chance.within(0, 2) == 0 {
            let ask = GenerateRequest { prompt: text.to_owned(), seed };
            (order(GENERATE, 32, 16), to_json(&ask))
        } else {
            let ask = SearchRequest { query: text.to_owned(), k: 2 };
            (order(SEARCH, 32, 1), to_json(&ask))
        };
        let parts: [&[u8]; 3] = [self.label.as_bytes(), &asked.to_be_bytes(), &seed.to_be_bytes()];
        Purchase {
            request: request_id(now, &parts),
            order,
            content_type: JSON.to_owned(),
            body,
            price_max: None,
            provider: None,
            session: None,
            streamed: false,
        }
    }

    /// Many new requests at once.
    async fn rush(&mut self, session: Option<Name>) {
        let purchases: Vec<Purchase> =
            (0..RUSH).map(|_| Purchase { session: session.clone(), ..self.purchase() }).collect();
        let (client, label) = (self.client.clone(), self.label.clone());
        self.buy_all((&label, &client), purchases).await;
    }

    async fn buy_all(
        &mut self,
        (label, client): (&Arc<str>, &AgentClient),
        purchases: Vec<Purchase>,
    ) {
        let bought = join_all(purchases.iter().map(|purchase| buy(client, purchase))).await;
        for (purchase, bought) in purchases.into_iter().zip(bought) {
            self.note(label, purchase, bought);
        }
    }

    fn note(
        &mut self,
        label: &Arc<str>,
        purchase: Purchase,
        bought: Option<Result<Bought, AgentError>>,
    ) {
        match bought {
            None => self.tried.left = self.tried.left.saturating_add(1),
            Some(Err(error)) => self.tried.refuse(&error),
            Some(Ok(bought)) => {
                self.tried.told.push(Told::of(label, purchase.request, &bought));
                // A request's name is its agent's own: another agent may use the same.
                if *label == self.label && self.done.len() < REMEMBERED_MAX {
                    self.done.push(purchase);
                }
            }
        }
    }

    /// One request, many times at once: the books say whether more than one of its payments was taken.
    async fn repeat_at_once(&mut self) {
        let purchase = self.purchase();
        let client = self.client.clone();
        let copies = vec![purchase; 6];
        let bought = join_all(copies.iter().map(|purchase| buy(&client, purchase))).await;
        let label = self.label.clone();
        for (purchase, bought) in copies.into_iter().zip(bought) {
            self.note(&label, purchase, bought);
        }
    }

    /// Asks, and goes before the answer is there.
    async fn walk_away(&mut self) {
        let label = self.label.clone();
        for streamed in [true, false] {
            let purchase = Purchase { streamed, ..self.purchase() };
            let asking = self.client.buy(purchase.clone());
            match tokio::time::timeout(IMPATIENCE, asking).await {
                Ok(bought) => self.note(&label, purchase, Some(bought)),
                Err(_) => self.note(&label, purchase, None),
            }
        }
    }

    /// A session of a new name for each rush: it only narrows.
    async fn hide_in_sessions(&mut self) {
        let session = name(&format!("s{}", self.chance.next()));
        self.rush(Some(session)).await;
    }

    /// Carves out more than it has for a sub-agent, and lets that one rush.
    async fn multiply(&mut self) {
        let born = u64::try_from(self.children.len()).unwrap_or(u64::MAX);
        if born < CHILDREN_MAX {
            let label = format!("{}-{born}-{}", self.label, self.chance.within(0, 1_000_000));
            let child = name(&label);
            let until = SystemClock.now().after(Duration::from_mins(10));
            let limit = Nano::new(1_000_000_000_000);
            match self.client.delegate(&child, limit, until).await {
                Ok(token) => {
                    if let Ok(client) = AgentClient::connect(&self.endpoint, &token).await {
                        self.children.push((label.into(), client));
                    }
                }
                Err(error) => self.tried.refuse(&error),
            }
        }
        for (label, child) in self.children.clone() {
            let purchases: Vec<Purchase> = (0..4).map(|_| self.purchase()).collect();
            self.buy_all((&label, &child), purchases).await;
        }
    }

    /// A request that was answered is asked for again: it is the same payment, or the chain forgot that.
    async fn ask_again(&mut self) {
        if self.done.is_empty() {
            return;
        }
        let most = u64::try_from(self.done.len()).unwrap_or(1);
        let place = usize::try_from(self.chance.within(0, most)).unwrap_or(0);
        let Some(purchase) = self.done.get(place).cloned() else { return };
        if let Some(Ok(bought)) = buy(&self.client, &purchase).await {
            self.tried.told.push(Told::of(&self.label, purchase.request, &bought));
        }
    }

    /// The name of a request that was answered, for another one: refused.
    async fn confuse(&mut self) {
        let Some(old) = self.done.last().cloned() else { return };
        // No other purchase asks for three: the content is another one for sure.
        let ask = SearchRequest { query: "another question".to_owned(), k: 3 };
        let (order, body) = (order(SEARCH, 32, 1), to_json(&ask));
        let purchase = Purchase { request: old.request, order, body, ..self.purchase() };
        match buy(&self.client, &purchase).await {
            None => self.tried.left = self.tried.left.saturating_add(1),
            Some(Err(error)) => self.tried.refuse(&error),
            Some(Ok(_)) => self.tried.confused = self.tried.confused.saturating_add(1),
        }
    }
}

async fn buy(client: &AgentClient, purchase: &Purchase) -> Option<Result<Bought, AgentError>> {
    tokio::time::timeout(PATIENCE, client.buy(purchase.clone())).await.ok()
}
