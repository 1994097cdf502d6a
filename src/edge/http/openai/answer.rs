//! From a purchase to a response: whole or as it comes, with what it cost and what is left.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;

use axum::body::Body;
use axum::response::Response;
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use http::HeaderMap;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue};
use serde_json::value::RawValue;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use crate::domain::id::{AgentId, Name, PaymentId};
use crate::domain::ledger::Ledger;
use crate::domain::money::Nano;
use crate::edge::http::openai::events::Events;
use crate::edge::http::openai::refusal::Refusal;
use crate::edge::http::openai::repeats::Paying;
use crate::ports::clock::Clock;
use crate::runtime::payer::{Bill, Bought, Outcome, PayError};
use crate::runtime::treasury::Treasury;

/// Pieces of a streamed answer that may wait for a slow client.
const PIECES_MAX: usize = 64;

/// Longest answer that what it cost is written into, in bytes; a longer one passes as it is.
const PRICED_LEN_MAX: usize = 16 * 1024 * 1024;

type Pieces = mpsc::Receiver<Result<Bought, PayError>>;

/// Answers one purchase.
pub(super) struct Answering {
    pub treasury: Treasury,
    pub clock: Arc<dyn Clock>,
    pub agent: AgentId,
    pub session: Option<Name>,
    pub payment: PaymentId,
}

/// What an answer cost, and what is left.
pub(super) struct Cost {
    payment: PaymentId,
    provider: Name,
    charged: Nano,
    is_known: bool,
    repeated: bool,
    left: Option<Nano>,
}

impl Cost {
    /// One for tests.
    #[cfg(test)]
    pub(super) fn example(payment: PaymentId) -> Self {
        let provider = "scribe".parse().expect("a literal name");
        let (charged, left) = (Nano::new(200_000), Some(Nano::ONE));
        Self { payment, provider, charged, is_known: true, repeated: false, left }
    }

    /// As it stands beside what was used.
    pub(super) fn json(&self) -> Value {
        json!({
            "payment": self.payment.to_string(),
            "provider": self.provider.as_str(),
            "charged_nano_usd": self.charged.get(),
            "charged_usd": self.charged.to_string(),
            "outcome": if self.is_known { "captured" } else { "unknown" },
            "repeated": self.repeated,
            "budget_remaining_usd": self.left.map(|left| left.to_string()),
        })
    }
}

impl Answering {
    /// The response: its head once the answer begins, so that a refusal still has a status.
    pub(super) async fn answer(
        self,
        mut pieces: Pieces,
        paying: Paying,
    ) -> Result<Response, Refusal> {
        let (provider, content_type, model, flows) = match pieces.recv().await {
            Some(Ok(Bought::Begin { provider, content_type, model, flows })) => {
                (provider, content_type, model, flows)
            }
            Some(Ok(Bought::Chunk(_) | Bought::Done(_))) | None => {
                return Err(self.broken_off().into());
            }
            Some(Err(error)) => {
                paying.cut(&error);
                return Err(error.into());
            }
        };
        let mut headers = HeaderMap::new();
        put(&mut headers, "x-bursar-payment", &self.payment.to_string());
        put(&mut headers, "x-bursar-provider", provider.as_str());
        put(&mut headers, "x-bursar-model", &model);
        let of_events = content_type.starts_with("text/event-stream");
        headers.insert(
            CONTENT_TYPE,
            HeaderValue::from_str(&content_type)
                .unwrap_or(HeaderValue::from_static("application/octet-stream")),
        );
        if !of_events {
            return self.whole(pieces, paying, headers).await;
        }
        let (held, left) = self.standing().await;
        if let Some(held) = held {
            put(&mut headers, "x-bursar-held-usd", &held.to_string());
        }
        if let Some(left) = left {
            put(&mut headers, "x-bursar-budget-remaining-usd", &left.to_string());
        }
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        let (sender, receiver) = mpsc::channel(PIECES_MAX);
        // Goes on when the client is gone: what it asked for is paid, and asked for again it is there.
        // Only where it is paid while it flows, nothing more is paid for.
        tokio::spawn(self.pass_on((pieces, flows), paying, sender));
        let stream = ReceiverStream::new(receiver).map(Ok::<Bytes, Infallible>);
        let mut response = Response::new(Body::from_stream(stream));
        *response.headers_mut() = headers;
        Ok(response)
    }

    async fn whole(
        self,
        mut pieces: Pieces,
        paying: Paying,
        mut headers: HeaderMap,
    ) -> Result<Response, Refusal> {
        let (sender, ended) = tokio::sync::oneshot::channel();
        // A task of its own: a client that hangs up changes nothing of what became of the payment.
        tokio::spawn(async move {
            let mut body = BytesMut::new();
            let ended = loop {
                match pieces.recv().await {
                    Some(Ok(Bought::Chunk(chunk))) => body.extend_from_slice(&chunk),
                    Some(Ok(Bought::Begin { .. })) => {}
                    Some(Ok(Bought::Done(bill))) => {
                        paying.ended(bill.outcome);
                        break Ok((body.freeze(), bill));
                    }
                    Some(Err(error)) => {
                        paying.cut(&error);
                        break Err(Some(error));
                    }
                    None => break Err(None),
                }
            };
            // Nobody waits any more: then nobody is told.
            let _ = sender.send(ended);
        });
        let (body, bill) = match ended.await {
            Ok(Ok(done)) => done,
            Ok(Err(Some(error))) => return Err(error.into()),
            Ok(Err(None)) | Err(_) => return Err(self.broken_off().into()),
        };
        let cost = self.cost(*bill).await;
        put(&mut headers, "x-bursar-charged-usd", &cost.charged.to_string());
        if let Some(left) = cost.left {
            put(&mut headers, "x-bursar-budget-remaining-usd", &left.to_string());
        }
        let priced = (body.len() <= PRICED_LEN_MAX).then(|| with_cost(&body, &cost)).flatten();
        let mut response = Response::new(priced.map_or(Body::from(body), Body::from));
        *response.headers_mut() = headers;
        Ok(response)
    }

    async fn pass_on(
        self,
        (mut pieces, flows): (Pieces, bool),
        paying: Paying,
        client: mpsc::Sender<Bytes>,
    ) {
        let mut events = Events::default();
        let last = loop {
            match pieces.recv().await {
                Some(Ok(Bought::Chunk(chunk))) => {
                    let out = events.pass(chunk);
                    if !out.is_empty() && client.send(out).await.is_err() && flows {
                        return paying.left();
                    }
                }
                Some(Ok(Bought::Begin { .. })) => {}
                Some(Ok(Bought::Done(bill))) => {
                    paying.ended(bill.outcome);
                    break events.finish(&self.cost(*bill).await);
                }
                Some(Err(error)) => {
                    paying.cut(&error);
                    break Refusal::from(error).event();
                }
                None => break Refusal::from(self.broken_off()).event(),
            }
        };
        let _ = client.send(last).await;
    }

    fn broken_off(&self) -> PayError {
        let problem = "the answer broke off".to_owned();
        PayError::InDoubt { payment: self.payment, problem }
    }

    /// What is held for the payment, and what is left of the narrowest budget.
    async fn standing(&self) -> (Option<Nano>, Option<Nano>) {
        let (agent, session, payment) = (self.agent, self.session.clone(), self.payment);
        let now = self.clock.now();
        let look = move |ledger: &Ledger| {
            let held = ledger.find_hold(payment).map(|hold| hold.held.nano);
            let drawn = || ledger.find_draw(payment).map(|(_, held)| held.nano);
            let checks = ledger.accounts_of(agent, session.as_ref(), now);
            (held.or_else(drawn), checks.iter().map(|check| check.left()).min())
        };
        // A ledger that has stopped tells nothing; the answer is paid all the same.
        self.treasury.read(look).await.unwrap_or_default()
    }

    async fn cost(&self, bill: Bill) -> Cost {
        let (_, left) = self.standing().await;
        Cost {
            payment: bill.payment,
            provider: bill.provider,
            charged: bill.nano,
            is_known: bill.outcome == Outcome::Captured,
            repeated: bill.repeated,
            left,
        }
    }
}

fn put(headers: &mut HeaderMap, name: &'static str, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(HeaderName::from_static(name), value);
    }
}

/// A JSON object with what it cost beside what was used; every other value stays as it was spelled.
/// `None` where it is no object.
pub(super) fn with_cost(json: &[u8], cost: &Cost) -> Option<String> {
    let raw = |value: &Value| serde_json::value::to_raw_value(value).ok();
    let mut answer: BTreeMap<&str, Box<RawValue>> = serde_json::from_slice(json).ok()?;
    let mut usage: BTreeMap<String, Box<RawValue>> = match answer.get("usage") {
        Some(usage) if usage.get() != "null" => serde_json::from_str(usage.get()).ok()?,
        _ => BTreeMap::new(),
    };
    usage.insert("bursar".to_owned(), raw(&cost.json())?);
    let usage = serde_json::value::to_raw_value(&usage).ok()?;
    answer.insert("usage", usage);
    serde_json::to_string(&answer).ok()
}
