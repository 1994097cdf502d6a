//! A provider's wares over HTTP, for payers that speak x402 and nothing else of ours.
//!
//! What OpenAI's clients send is sold under its own paths (`POST /v1/chat/completions`), and every ware
//! under `POST /{capability}/{model}` with the body that its engine takes. What a call may use at most is
//! what its body says, or its query (`?input_max=100&output_max=50`); the price is for that. Who has not
//! paid is told the price, whatever the body is: a body that is none is the engine's to refuse, and then
//! nothing is taken. Who asks for a stream, as OpenAI's clients do or by `Accept: text/event-stream`, and
//! pays by `exact`, gets the answer as it is made. `GET /` lists what is sold.

use std::sync::{Arc, LazyLock};

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::http::StatusCode;
use axum::http::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderValue};
use axum::http::request::Parts;
use axum::response::Response;
use axum::routing::{get, post};
use bytes::Bytes;
use serde_json::{Map, Value, json};

use super::bazaar::{self, Discovery};
use super::body::read_whole;
use super::caller::peer;
use super::limits::{BODY_LEN_MAX, TARGET_LEN_MAX};
use super::openai::{Asked, Face};
use super::sell::{PaidDoor, Shown};
use super::{header, refuse, tell};
use crate::domain::id::Name;
use crate::domain::order::{Maxima, Order, Units};
use crate::ports::paid_service::PaidCall;

/// One model for one kind of work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sold {
    /// What kind of work.
    pub capability: Name,
    /// With which model.
    pub model: Name,
}

/// What a gateway sells, and at which door.
#[derive(Clone)]
pub struct Gateway {
    /// Where it answers: `http://host:port`.
    pub base: String,
    /// The door.
    pub door: PaidDoor,
    /// What is sold.
    pub wares: Vec<Sold>,
    /// The most input of one call.
    pub input_max: Units,
    /// The most output of one call.
    pub output_max: Units,
}

impl Gateway {
    /// Its routes. A method that a path does not have runs nothing: `HEAD` and `OPTIONS` neither.
    pub fn router(self) -> Router {
        let gateway = Arc::new(self);
        let sells = |face: &Face| gateway.wares.iter().any(|ware| ware.capability == face.name());
        let faces: Vec<Face> = Face::ALL.into_iter().filter(sells).collect();
        let router = Router::new().route("/", get(list)).route("/{capability}/{model}", post(sell));
        let add = |router: Router<Arc<Self>>, face: Face| {
            let sell = move |State(gateway): State<Arc<Self>>, request: Request| async move {
                gateway.serve(request, |gateway, parts, body| gateway.face(face, parts, body)).await
            };
            router.route(face.path(), post(sell))
        };
        faces.into_iter().fold(router, add).with_state(gateway)
    }

    /// Sells what `read` finds in a request.
    async fn serve(
        &self,
        request: Request,
        read: impl FnOnce(&Self, &Parts, &[u8]) -> Result<Wanted, Response>,
    ) -> Response {
        let (parts, body) = request.into_parts();
        let target = parts.uri.path_and_query().map_or("/", |target| target.as_str());
        if target.len() > TARGET_LEN_MAX {
            return refuse::problem(StatusCode::URI_TOO_LONG, "http.target_too_long", Value::Null);
        }
        let payment = match header::find_payment(&parts.headers) {
            Ok(payment) => payment,
            Err(error) => return refuse::header(&error),
        };
        let body = match read_whole(body, BODY_LEN_MAX).await {
            Ok(body) => body,
            Err(error) => return refuse::body(&error),
        };
        let wanted = match read(self, &parts, &body) {
            Ok(wanted) => wanted,
            Err(refused) => return refused,
        };
        let shown = self.shown(&wanted.order, target);
        let call = call(&parts, wanted, body);
        match payment {
            None => self.door.ask(&shown, call).await,
            Some(payment) => self.door.sell(payment, &shown, call, unfold).await,
        }
    }

    /// What a request of OpenAI's clients orders. One that does not read is priced as the shortest one.
    fn face(&self, face: Face, parts: &Parts, body: &[u8]) -> Result<Wanted, Response> {
        let stated = Stated::read(parts.uri.query().unwrap_or_default())?;
        let capability = face.name();
        let read = Asked::read(face, body).ok();
        let mut order = match &read {
            Some(asked) => asked.order(face, body.len(), Some(self.output_max)),
            None => Order {
                capability: capability.clone(),
                model: None,
                input_max: Units(0),
                output_max: self.output_max,
                maxima: Maxima::default(),
            },
        };
        let is_sold = |ware: &Sold| {
            ware.capability == capability
                && order.model.as_ref().is_none_or(|model| *model == ware.model)
        };
        if !self.wares.iter().any(is_sold) {
            return Err(not_sold());
        }
        // No token is shorter than a byte, and an order of nothing would have no price.
        order.input_max = Units(len(body).max(1));
        stated.narrow(&mut order);
        Ok(Wanted { order, streamed: read.is_some_and(|asked| asked.streamed) })
    }

    /// What a request for a ware by its name orders.
    fn ware(
        &self,
        (capability, model): &(String, String),
        parts: &Parts,
        body: &[u8],
    ) -> Result<Wanted, Response> {
        let stated = Stated::read(parts.uri.query().unwrap_or_default())?;
        let is =
            |ware: &&Sold| ware.capability.as_str() == capability && ware.model.as_str() == model;
        let ware = self.wares.iter().find(is).ok_or_else(not_sold)?;
        let mut order = Order {
            capability: ware.capability.clone(),
            model: Some(ware.model.clone()),
            input_max: Units(len(body).max(1)).min(self.input_max),
            output_max: self.output_max,
            maxima: Maxima::default(),
        };
        stated.narrow(&mut order);
        Ok(Wanted { order, streamed: wants_events(&parts.headers) })
    }

    fn shown(&self, order: &Order, target: &str) -> Shown {
        let face = Face::ALL.into_iter().find(|face| face.name() == order.capability);
        let by = order.model.as_ref().map(|model| format!(" by {model}")).unwrap_or_default();
        Shown {
            url: format!("{}{target}", self.base),
            description: Some(format!("{}{by}", order.capability)),
            mime_type: None,
            declared: declared(face),
        }
    }
}

/// How a ware is called, as offers declare it.
fn declared(face: Option<Face>) -> Arc<Map<String, Value>> {
    type Declared = (Option<Face>, Arc<Map<String, Value>>);
    static DECLARED: LazyLock<Vec<Declared>> = LazyLock::new(|| {
        let declare = |face: Option<Face>| {
            let discovery = Discovery { body: face.map(Face::example), ..Discovery::default() };
            let declared = discovery.declared("POST", None);
            (face, Arc::new(Map::from_iter([(bazaar::KEY.to_owned(), declared)])))
        };
        Face::ALL.into_iter().map(Some).chain([None]).map(declare).collect()
    });
    let found = DECLARED.iter().find(|(of, _)| *of == face);
    found.map(|(_, declared)| Arc::clone(declared)).unwrap_or_default()
}

/// What a request wants.
struct Wanted {
    order: Order,
    /// Whether it wants the answer as it is made.
    streamed: bool,
}

/// What a query says of the most that a call may use.
#[derive(Default)]
struct Stated {
    input_max: Option<u64>,
    output_max: Option<u64>,
    maxima: Maxima,
}

impl Stated {
    fn read(query: &str) -> Result<Self, Response> {
        let wrong = |problem: String| {
            let words = json!({ "problem": problem });
            refuse::problem(StatusCode::BAD_REQUEST, "http.query", words)
        };
        let mut stated = Self::default();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            let number = || {
                let number = value.parse::<u64>();
                number.map_err(|_| wrong("expected whole numbers".to_owned()))
            };
            match key {
                "input_max" => stated.input_max = Some(number()?),
                "output_max" => stated.output_max = Some(number()?),
                "bytes_max" => stated.maxima.bytes = number()?,
                "compute_ms_max" => stated.maxima.compute_ms = number()?,
                "stored_max" => stated.maxima.stored = number()?,
                // Something that changes nothing would look as if it did.
                _ => {
                    return Err(wrong(
                        "expected input_max, output_max, bytes_max, compute_ms_max or stored_max"
                            .to_owned(),
                    ));
                }
            }
        }
        Ok(stated)
    }

    fn narrow(self, order: &mut Order) {
        order.input_max = self.input_max.map_or(order.input_max, Units);
        order.output_max = self.output_max.map_or(order.output_max, Units);
        order.maxima = self.maxima;
    }
}

/// Whether a request says that it takes an answer event by event.
fn wants_events(headers: &HeaderMap) -> bool {
    let said = headers.get_all(ACCEPT).iter().filter_map(|text| text.to_str().ok());
    said.flat_map(|text| text.split(',')).any(|kind| {
        let kind = kind.split(';').next().unwrap_or_default();
        kind.trim().eq_ignore_ascii_case("text/event-stream")
    })
}

fn len(body: &[u8]) -> u64 {
    u64::try_from(body.len()).unwrap_or(u64::MAX)
}

fn not_sold() -> Response {
    refuse::problem(StatusCode::NOT_FOUND, "http.not_sold", Value::Null)
}

fn call(parts: &Parts, Wanted { order, streamed }: Wanted, body: Bytes) -> PaidCall {
    let content_type = parts.headers.get(CONTENT_TYPE).and_then(|text| text.to_str().ok());
    PaidCall {
        order,
        quote: None,
        content_type: content_type.unwrap_or("application/octet-stream").to_owned(),
        body,
        payment: None,
        signed_order: None,
        peer: peer(&parts.extensions),
        streamed,
    }
}

async fn list(State(gateway): State<Arc<Gateway>>) -> Response {
    let line = |ware: &Sold| {
        let face = Face::ALL.into_iter().find(|face| face.name() == ware.capability);
        let own = format!("/{}/{}", ware.capability, ware.model);
        let path = face.map_or(own, |face| face.path().to_owned());
        json!({
            "capability": ware.capability.as_str(),
            "model": ware.model.as_str(),
            "url": format!("{}{path}", gateway.base),
        })
    };
    let wares: Vec<Value> = gateway.wares.iter().map(line).collect();
    let mut response = Response::new(Body::from(json!({ "wares": wares }).to_string()));
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(CONTENT_TYPE, json);
    response
}

async fn sell(
    State(gateway): State<Arc<Gateway>>,
    Path(named): Path<(String, String)>,
    request: Request,
) -> Response {
    gateway.serve(request, |gateway, parts, body| gateway.ware(&named, parts, body)).await
}

/// An engine's answer is the body, under its own content type.
fn unfold(content_type: &str, body: Bytes) -> Response {
    tell::private(tell::typed(content_type, Body::from(body)))
}
