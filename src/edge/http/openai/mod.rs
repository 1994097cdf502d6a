//! The OpenAI-compatible door of a node: an agent buys inference by changing nothing but `base_url`.
//!
//! The bearer token is the agent's. A request becomes an order and opaque bytes; everything about money
//! is the payer's. Fields that are not read here pass through as they came, and what a provider answers
//! is passed on as it comes, with what it cost added. It decides nothing.

mod answer;
mod asked;
mod events;
mod models;
mod refusal;
mod repeats;

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use bytes::Bytes;
use http::header::{AUTHORIZATION, HeaderMap};

use crate::domain::id::{AgentId, Name};
use crate::domain::ledger::agent::Token;
use crate::domain::money::Nano;
use crate::edge::http::body::{BodyError, read_whole};
use crate::ports::clock::Clock;
use crate::runtime::limits::Tarpit;
use crate::runtime::payer::{BODY_LEN_MAX, Payer, Wish};
use crate::runtime::treasury::Treasury;

use answer::Answering;
use repeats::{Named, Repeats};

pub use asked::Face;
pub(super) use asked::{Answers, Asked, CHOICES_MAX};
pub(super) use refusal::Refusal;

/// Longest `authorization` that is read, in bytes.
const AUTHORIZATION_LEN_MAX: usize = 256;

/// Longest of any other header that is read here, in bytes.
const HEADER_LEN_MAX: usize = 256;

/// What the door is made of.
pub struct OpenAi {
    /// Pays.
    pub payer: Payer,
    /// Where refused agents wait.
    pub tarpit: Arc<Tarpit>,
    /// Knows whose a token is, and what is left.
    pub treasury: Treasury,
    /// The time.
    pub clock: Arc<dyn Clock>,
}

impl OpenAi {
    /// Its routes, all beneath `/v1`.
    pub fn router(self) -> Router {
        let Self { payer, tarpit, treasury, clock } = self;
        let door = Arc::new(Door { payer, tarpit, treasury, clock, repeats: Arc::default() });
        Face::ALL
            .into_iter()
            .fold(Router::new(), |router, face| {
                let buy = move |State(door): State<Arc<Door>>, request: Request| async move {
                    door.buy(face, request).await.unwrap_or_else(IntoResponse::into_response)
                };
                router.route(face.path(), post(buy))
            })
            .route("/v1/models", get(models::list))
            .route("/v1/models/{*model}", get(models::one))
            .with_state(door)
    }
}

struct Door {
    payer: Payer,
    tarpit: Arc<Tarpit>,
    treasury: Treasury,
    clock: Arc<dyn Clock>,
    repeats: Arc<Repeats>,
}

impl Door {
    async fn buy(&self, face: Face, request: Request) -> Result<Response, Refusal> {
        let (parts, body) = request.into_parts();
        let headers = parts.headers;
        let agent = identify(&self.treasury, &headers).await?;
        let body = read_body(body).await?;
        let asked = Asked::read(face, &body)?;
        let output_max = self.payer.output_max_of(agent).await?;
        let session = session(&headers)?;
        let price_max =
            find(&headers, MAX_PRICE)?.map(|text| price(MAX_PRICE, text)).transpose()?;
        let order = asked.order(face, body.len(), output_max);
        let terms = (session.as_ref(), price_max);
        let named = self.name(agent, face, &headers, (&body, terms)).await?;
        let wish = Wish {
            agent,
            request: named.request(),
            session: session.clone(),
            order,
            content_type: "application/json".to_owned(),
            body,
            price_max,
            provider: asked.provider.clone(),
            not_from: find(&headers, VIA)?.map(via).transpose()?.unwrap_or_default(),
            streamed: asked.streamed,
        };
        let purchase = match self.payer.pay(wish).await {
            Ok(purchase) => purchase,
            Err(error) => {
                named.refused(&error);
                self.tarpit.hold_up(agent).await;
                return Err(error.into());
            }
        };
        let (treasury, clock) = (self.treasury.clone(), Arc::clone(&self.clock));
        let answering = Answering { treasury, clock, agent, session, payment: purchase.payment };
        answering.answer(purchase.pieces, named.paying()).await
    }

    /// The request's name: the same again is the same payment.
    async fn name(
        &self,
        agent: AgentId,
        face: Face,
        headers: &HeaderMap,
        (body, (session, price_max)): (&Bytes, (Option<&Name>, Option<Nano>)),
    ) -> Result<Named, Refusal> {
        if let Some(id) = find(headers, "x-bursar-request-id")? {
            let id =
                id.parse().map_err(|problem| Refusal::header("x-bursar-request-id", problem))?;
            return Ok(Named::explicit(id));
        }
        let key = find(headers, "idempotency-key")?;
        let again = find(headers, "x-stainless-retry-count")?.is_some_and(|count| count != "0");
        let path = face.path();
        let asked = repeats::Asking { agent, path, key, body, session, price_max, again };
        let (treasury, now) = (&self.treasury, self.clock.now());
        let named = self.repeats.name(treasury, asked, now).await;
        named.map_err(|refused| Refusal::of_ledger(&refused))
    }
}

/// Whose token it is.
///
/// # Errors
/// [`Refusal`] for no token, for several, and for one that is nobody's.
pub(super) async fn identify(treasury: &Treasury, headers: &HeaderMap) -> Result<AgentId, Refusal> {
    let mut shown = headers.get_all(AUTHORIZATION).iter();
    let (first, second) = (shown.next(), shown.next());
    let text = first.filter(|_| second.is_none()).and_then(|text| text.to_str().ok());
    let token = text
        .filter(|text| text.len() <= AUTHORIZATION_LEN_MAX)
        .and_then(|text| text.strip_prefix("Bearer "))
        .ok_or_else(Refusal::unauthenticated)?;
    let hash = Token::shown(token).hash();
    let found = treasury.peek(move |ledger| ledger.find_token(&hash).map(|a| a.id())).await;
    found.map_err(|refused| Refusal::of_ledger(&refused))?.ok_or_else(Refusal::unauthenticated)
}

/// One header's text.
///
/// # Errors
/// [`Refusal`] where it is no short text.
fn find<'h>(headers: &'h HeaderMap, name: &'static str) -> Result<Option<&'h str>, Refusal> {
    let Some(value) = headers.get(name) else { return Ok(None) };
    let text = value.to_str().ok().filter(|text| text.len() <= HEADER_LEN_MAX);
    text.map(Some).ok_or_else(|| Refusal::header(name, "expected a short text"))
}

/// The span of work that the agent names; what LiteLLM's clients send is taken too.
fn session(headers: &HeaderMap) -> Result<Option<Name>, Refusal> {
    if let Some(session) = find(headers, "x-bursar-session")? {
        let name =
            session.parse().map_err(|problem| Refusal::header("x-bursar-session", problem))?;
        return Ok(Some(name));
    }
    Ok(find(headers, "x-litellm-trace-id")?.and_then(|trace| trace.parse().ok()))
}

/// The header in which providers say that a request comes through them: none of them is bought from for
/// it, or a provider whose upstream is this door would be asked by itself without end.
pub(super) const VIA: &str = "x-bursar-via";

/// `my-llama`, or several with commas between them.
fn via(text: &str) -> Result<Vec<Name>, Refusal> {
    let named = text.split(',').map(|name| name.trim().parse::<Name>());
    named.collect::<Result<_, _>>().map_err(|problem| Refusal::header(VIA, problem))
}

/// The header by which a request bounds its own price.
const MAX_PRICE: &str = "x-bursar-max-price";

/// `0.05` in the unit of account, which came under this name.
///
/// # Errors
/// [`Refusal`].
pub(super) fn price(name: &'static str, text: &str) -> Result<Nano, Refusal> {
    let wrong = || Refusal::header(name, "expected a price such as 0.05");
    let (units, decimals) = text.split_once('.').unwrap_or((text, ""));
    let digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
    if units.is_empty() || !digits(units) || !digits(decimals) || decimals.len() > 9 {
        return Err(wrong());
    }
    let units: u64 = units.parse().map_err(|_| wrong())?;
    let rest: u64 = format!("{decimals:0<9}").parse().map_err(|_| wrong())?;
    let nano = units.checked_mul(Nano::ONE.get()).and_then(|whole| whole.checked_add(rest));
    nano.map(Nano::new).filter(|nano| *nano <= Nano::MAX).ok_or_else(wrong)
}

async fn read_body(body: Body) -> Result<Bytes, Refusal> {
    read_whole(body, BODY_LEN_MAX).await.map_err(|error| match error {
        BodyError::TooLong { max } => Refusal::too_large(max),
        BodyError::Slow | BodyError::Broken => Refusal::malformed(error),
    })
}

#[cfg(test)]
mod tests;
