//! A node's door for agents that fetch: `POST /v1/fetch` makes a request to any server, and pays what it
//! asks for within the agent's budgets.
//!
//! The bearer token is the agent's. The node makes the request, so that what is held, signed, shown and
//! heard of a payment is in one place, and the agent sees an answer and what it cost. It decides nothing.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use super::body::read_whole;
use super::client::{Connector, FetchError, Fetched, HttpCall, PayerPurse, Reach};
use super::openai::{Refusal, identify, price};
use super::tell;
use crate::domain::id::Name;
use crate::domain::x402::wire::SettlementResponse;
use crate::ports::clock::Clock;
use crate::ports::entropy::Entropy;
use crate::runtime::limits::Tarpit;
use crate::runtime::payer::{OfferedPreview, Payer};
use crate::runtime::treasury::Treasury;

/// Longest request, in bytes: the body within it is text, or base64.
const ASKED_LEN_MAX: usize = 8 * 1024 * 1024;

/// Requests that are made at once: each may hold a whole answer.
const AT_ONCE_MAX: usize = 64;

/// Most headers of one request.
const HEADERS_MAX: usize = 64;

/// What the door is made of.
pub struct FetchDoor {
    /// Pays.
    pub payer: Payer,
    /// Where refused agents wait.
    pub tarpit: Arc<Tarpit>,
    /// Knows whose a token is.
    pub treasury: Treasury,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Randomness, for requests that bring no name.
    pub entropy: Arc<dyn Entropy>,
    /// What may be connected to.
    pub reach: Reach,
}

impl FetchDoor {
    /// Its route.
    pub fn router(self) -> Router {
        let connector = Connector::new(self.reach.clone());
        let door = Arc::new(Door { own: self, connector, room: Semaphore::new(AT_ONCE_MAX) });
        let fetch = |State(door): State<Arc<Door>>, request: Request| async move {
            door.answer(request).await.unwrap_or_else(IntoResponse::into_response)
        };
        Router::new().route("/v1/fetch", post(fetch)).with_state(door)
    }
}

struct Door {
    own: FetchDoor,
    connector: Connector,
    room: Semaphore,
}

/// What an agent asks for.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    url: String,
    #[serde(default)]
    method: Option<String>,
    #[serde(default)]
    headers: Vec<(String, String)>,
    #[serde(default)]
    body: Option<String>,
    #[serde(default)]
    body_base64: Option<String>,
    /// The request's name (`req_…`): the same again is the same payment.
    #[serde(default)]
    request: Option<String>,
    #[serde(default)]
    session: Option<String>,
    /// In the unit of account: `0.05`.
    #[serde(default)]
    price_max: Option<String>,
    /// Only what it would cost, and what would be decided.
    #[serde(default)]
    dry_run: bool,
}

impl Door {
    async fn answer(&self, request: Request) -> Result<Response, Refusal> {
        let (parts, body) = request.into_parts();
        let agent = identify(&self.own.treasury, &parts.headers).await?;
        let body = read_whole(body, ASKED_LEN_MAX).await.map_err(Refusal::malformed)?;
        let asked: Asked = serde_json::from_slice(&body)
            .map_err(|problem| Refusal::malformed(format_args!("the body: {problem}")))?;
        let session = asked.session.as_deref().map(str::parse::<Name>).transpose();
        let purse = PayerPurse {
            payer: self.own.payer.clone(),
            agent,
            session: session.map_err(|problem| field("session", problem))?,
            price_max: asked
                .price_max
                .as_deref()
                .map(|text| price("price_max", text))
                .transpose()?,
            clock: Arc::clone(&self.own.clock),
            entropy: Arc::clone(&self.own.entropy),
        };
        let client = self.connector.payer(purse);
        let dry_run = asked.dry_run;
        let call = asked.into_call()?;
        let _place = self.room.try_acquire().map_err(|_| Refusal::busy())?;
        if dry_run {
            let seen = client.preview(call).await?;
            return Ok(say(&seen.map_or_else(|| json!({ "free": true }), |seen| decision(&seen))));
        }
        // A task of its own: an agent that hangs up changes nothing of what became of the payment.
        let fetching = tokio::spawn(async move { client.fetch(call).await });
        let fetched = fetching.await.expect("no fetch panics, and nobody ends one");
        if matches!(fetched, Err(FetchError::Pay(_) | FetchError::Denied(_))) {
            self.own.tarpit.hold_up(agent).await;
        }
        let fetched = fetched?;
        Ok(say(&shown(&fetched)))
    }
}

impl Asked {
    fn into_call(self) -> Result<HttpCall, Refusal> {
        let body = match (self.body, self.body_base64) {
            (Some(_), Some(_)) => return Err(field("body", "given twice")),
            (Some(text), None) => Some(Bytes::from(text)),
            (None, Some(text)) => {
                let read =
                    STANDARD.decode(text).map_err(|problem| field("body_base64", problem))?;
                Some(read.into())
            }
            (None, None) => None,
        };
        let default = if body.is_some() { "POST" } else { "GET" };
        let method = self.method.as_deref().unwrap_or(default);
        let method: Method = method.parse().map_err(|problem| field("method", problem))?;
        if self.headers.len() > HEADERS_MAX {
            return Err(field("headers", format_args!("expected at most {HEADERS_MAX}")));
        }
        let mut headers = HeaderMap::new();
        for (name, value) in self.headers {
            let name: HeaderName = name.parse().map_err(|problem| field("headers", problem))?;
            let value =
                HeaderValue::from_str(&value).map_err(|problem| field("headers", problem))?;
            headers.append(name, value);
        }
        let request = self.request.as_deref().map(str::parse).transpose();
        let request = request.map_err(|problem| field("request", problem))?;
        let (url, body) = (self.url, body.unwrap_or_default());
        Ok(HttpCall { request, method, url, headers, body })
    }
}

fn field(name: &'static str, problem: impl std::fmt::Display) -> Refusal {
    Refusal::malformed(format_args!("`{name}`: {problem}"))
}

/// An answer, with what was paid for it. What is no text is base64.
#[derive(Serialize)]
struct Shown<'f> {
    status: u16,
    headers: Vec<(&'f str, std::borrow::Cow<'f, str>)>,
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<&'f str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    body_base64: Option<String>,
    payment: Option<String>,
    /// Whether the payee says that it was settled; nothing where it does not say.
    settled: Option<bool>,
    amount: Option<&'f str>,
    transaction: Option<&'f str>,
    network: Option<&'f str>,
}

fn shown(fetched: &Fetched) -> Shown<'_> {
    let text = std::str::from_utf8(&fetched.body).ok();
    let settlement = fetched.paid.as_ref().and_then(|paid| paid.settlement.as_ref());
    Shown {
        status: fetched.status.as_u16(),
        headers: fetched
            .headers
            .iter()
            .map(|(name, value)| (name.as_str(), String::from_utf8_lossy(value.as_bytes())))
            .collect(),
        body: text,
        body_base64: text.is_none().then(|| STANDARD.encode(&fetched.body)),
        payment: fetched.paid.as_ref().map(|paid| paid.payment.to_string()),
        settled: settlement.map(|said| said.success),
        amount: settlement.and_then(taken),
        transaction: settlement.map(|said| said.transaction.as_str()),
        network: settlement.map(|said| said.network.as_str()),
    }
}

/// What a payee says that it took. By channel the amount beside it is a deposit's, or none.
fn taken(said: &SettlementResponse) -> Option<&str> {
    let charged = said.extra.as_ref().and_then(|extra| extra.get("chargedAmount")?.as_str());
    charged.or(said.amount.as_deref()).filter(|amount| !amount.is_empty())
}

/// What would be decided now; the numbers can change before the call.
fn decision(seen: &OfferedPreview) -> Value {
    let over = seen.budgets.iter().any(|check| check.left() < check.asked);
    let allowed = seen.denial.is_none() && !seen.too_dear && !over && !seen.budgets.is_empty();
    let rule = |rule: &crate::domain::policy::RuleCheck| {
        json!({
            "rule": rule.rule,
            "says": rule.says,
            "found": rule.found,
            "passed": rule.passed,
        })
    };
    let budget = |check: &crate::domain::ledger::budget::BudgetCheck| json!({ "budget": check.budget.to_string(), "left": check.left().to_string() });
    json!({
        "free": false,
        "allowed": allowed,
        "scheme": seen.pay_by.scheme.as_str(),
        "network": seen.pay_by.asset.network.to_string(),
        "asset": seen.pay_by.asset.to_string(),
        "pay_to": seen.pay_by.pay_to.to_string(),
        "amount": seen.amount.to_string(),
        "counts": seen.nano.to_string(),
        "too_dear": seen.too_dear,
        "denied": seen.denial.as_ref().map(ToString::to_string),
        "policy_version": seen.policy_version,
        "rules": seen.rules.iter().map(rule).collect::<Vec<_>>(),
        "budgets": seen.budgets.iter().map(budget).collect::<Vec<_>>(),
    })
}

fn say(answer: &impl Serialize) -> Response {
    let text = serde_json::to_vec(answer).expect("an answer has text keys and no floats");
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = StatusCode::OK;
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(CONTENT_TYPE, json);
    tell::private(response)
}
