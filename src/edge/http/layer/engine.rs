//! The router beneath the layer, as the engine of a payee.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use axum::body::Body;
use axum::extract::Request;
use axum::http::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use axum::http::{Method, StatusCode};
use axum::response::Response;
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use http_body_util::{BodyExt, Limited};
use serde::{Deserialize, Serialize};
use tower::ServiceExt;
use tower::util::BoxCloneSyncService;

use super::route::{PaidRoute, forms};
use crate::domain::id::Name;
use crate::domain::negotiation::{PayeeTerms, VolumeDiscount};
use crate::domain::order::{Maxima, Order, Units, Usage};
use crate::domain::policy::Rates;
use crate::domain::pricing::Tiers;
use crate::domain::quote::PayBy;
use crate::edge::http::sell::WHOLE_ANSWER_LEN_MAX;
use crate::ports::engine::{Engine, EngineError, Step, Work};
use crate::runtime::payee::{OfferedWare, Offering};

/// What a paid route is sold as.
pub const CAPABILITY: &str = "http.call";

/// How long an offer at the list price stands.
const QUOTE_LIFE: Duration = Duration::from_secs(300);

/// Calls that run at once.
const CONCURRENCY_MAX: u32 = 256;

/// Longest answer that a handler gives with a refusal, in bytes.
const DECLINED_LEN_MAX: usize = 64 * 1024;

/// How many units a metered handler used: put into its response's extensions. Where it says nothing, all
/// that was authorized counts as used.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Used(pub u64);

/// The router, or any other service, beneath the layer.
pub(super) type Beneath = BoxCloneSyncService<Request, Response, Infallible>;

/// What a payment is bound to.
#[derive(Serialize, Deserialize)]
pub(super) struct Carried {
    pub method: String,
    pub target: String,
    pub headers: Vec<(String, Vec<u8>)>,
    pub body: Bytes,
}

/// What an answer is made of, as the payee keeps it.
#[derive(Serialize, Deserialize)]
struct Answered {
    status: u16,
    headers: Vec<(String, Vec<u8>)>,
    body: Bytes,
}

/// What a request is, before anybody looks at its payment.
pub(super) enum Found<'r> {
    /// Nobody pays for it.
    Free,
    /// It is paid for.
    Paid(&'r PaidRoute),
    /// The path is paid for, and not with this method.
    OtherMethod(Vec<Method>),
}

/// The paid routes of one service. They are the engine of their payee, and work once a layer is put above
/// the router that has them.
pub struct PaidRoutes {
    base: String,
    routes: Vec<PaidRoute>,
    beneath: Mutex<Option<Beneath>>,
}

impl PaidRoutes {
    /// These routes of the service at `base` (`http://host:port`).
    pub fn new(base: &str, routes: Vec<PaidRoute>) -> Arc<Self> {
        let base = base.trim_end_matches('/').to_owned();
        Arc::new(Self { base, routes, beneath: Mutex::default() })
    }

    /// Where they are.
    pub fn base(&self) -> &str {
        &self.base
    }

    /// What a payee offers who sells these routes.
    pub fn offering(&self, provider: Name, pay_by: Vec<PayBy>) -> Offering {
        let ware = |route: &PaidRoute| OfferedWare {
            capability: capability(),
            model: route.name.clone(),
            terms: PayeeTerms {
                list: route.terms,
                floor: route.terms,
                volume_discount: VolumeDiscount::default(),
                rounds_max: 0,
            },
            tiers: Tiers::default(),
        };
        let units_max = self.routes.iter().map(|route| route.units_max).max();
        Offering {
            provider,
            resource: self.base.clone(),
            wares: self.routes.iter().map(ware).collect(),
            pay_by,
            quote_ttl: QUOTE_LIFE,
            input_max: Units(0),
            output_max: Units(units_max.unwrap_or(0)),
            concurrency_max: CONCURRENCY_MAX,
            payer_rates: Rates::default(),
            peer_rates: Rates::default(),
            free: None,
            serve_first: None,
            credit: None,
        }
    }

    /// What a call of `route` orders.
    pub(super) fn order(route: &PaidRoute) -> Order {
        Order {
            capability: capability(),
            model: Some(route.name.clone()),
            input_max: Units(0),
            output_max: Units(route.units_max),
            maxima: Maxima::default(),
        }
    }

    pub(super) fn find(&self, method: &Method, path: &str) -> Found<'_> {
        // What the router beneath takes it for; else whatever it could be read as, which is no paid handler's.
        let mut found: Vec<_> =
            self.routes.iter().filter(|route| route.is_just_for(path)).collect();
        if found.is_empty() {
            let forms = forms(path);
            let is_for = |route: &&PaidRoute| forms.iter().any(|form| route.is_for(form));
            found = self.routes.iter().filter(is_for).collect();
        }
        found.sort_by(|a, b| a.says_more(b));
        // A router takes one pattern, whatever its methods.
        let first = found.first().map(|route| route.pattern.clone());
        found.retain(|route| Some(&route.pattern) == first.as_ref());
        let mut others = Vec::new();
        for route in found {
            let as_get = *method == Method::HEAD && route.method == Method::GET;
            if route.method == *method || as_get {
                return Found::Paid(route);
            }
            others.push(route.method.clone());
        }
        if others.is_empty() { Found::Free } else { Found::OtherMethod(others) }
    }

    pub(super) fn put_beneath(&self, service: Beneath) {
        let mut beneath = self.beneath.lock().expect("no holder of the service panics");
        *beneath = Some(service);
    }
}

fn capability() -> Name {
    CAPABILITY.parse().expect("a literal name")
}

fn failed(error: impl std::fmt::Display) -> EngineError {
    EngineError::Failed(error.to_string())
}

fn request(carried: Carried) -> Result<Request, EngineError> {
    let mut request = Request::builder()
        .method(carried.method.as_str())
        .uri(carried.target.as_str())
        .body(Body::from(carried.body))
        .map_err(failed)?;
    *request.headers_mut() = headers(carried.headers)?;
    Ok(request)
}

fn headers(pairs: Vec<(String, Vec<u8>)>) -> Result<HeaderMap, EngineError> {
    let mut headers = HeaderMap::with_capacity(pairs.len());
    for (name, value) in pairs {
        let name = HeaderName::try_from(name).map_err(failed)?;
        headers.append(name, HeaderValue::try_from(value).map_err(failed)?);
    }
    Ok(headers)
}

/// What of a handler's headers is the answer's, and not its connection's.
fn kept(headers: &HeaderMap) -> Vec<(String, Vec<u8>)> {
    const NOT_OURS: [&str; 9] = [
        "connection",
        "keep-alive",
        "transfer-encoding",
        "content-length",
        "te",
        "trailer",
        "upgrade",
        "payment-required",
        "payment-response",
    ];
    let ours = headers.iter().filter(|(name, _)| !NOT_OURS.contains(&name.as_str()));
    ours.map(|(name, value)| (name.as_str().to_owned(), value.as_bytes().to_vec())).collect()
}

async fn read_answer(response: Response) -> Result<(Answered, Option<Used>), EngineError> {
    let (parts, body) = response.into_parts();
    let declined = is_declined(parts.status);
    let max = if declined { DECLINED_LEN_MAX } else { WHOLE_ANSWER_LEN_MAX };
    let body = Limited::new(body, max).collect().await.map_err(failed)?.to_bytes();
    let used = parts.extensions.get::<Used>().copied();
    Ok((Answered { status: parts.status.as_u16(), headers: kept(&parts.headers), body }, used))
}

/// Whether nothing is paid for an answer of this status.
fn is_declined(status: StatusCode) -> bool {
    status.is_client_error() || status.is_server_error()
}

fn encode(answered: &Answered) -> Bytes {
    postcard::to_stdvec(answered).expect("bytes and texts encode").into()
}

/// An answer that was kept, as a response.
pub(super) fn unfold(_content_type: &str, body: Bytes) -> Response {
    let read = || {
        let answered: Answered = postcard::from_bytes(&body).ok()?;
        let mut response = Response::new(Body::from(answered.body));
        *response.status_mut() = StatusCode::from_u16(answered.status).ok()?;
        *response.headers_mut() = headers(answered.headers).ok()?;
        Some(response)
    };
    read().unwrap_or_else(|| {
        let mut broken = Response::new(Body::empty());
        *broken.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
        broken
    })
}

#[async_trait]
impl Engine for PaidRoutes {
    /// A call is counted by its handler, when it is done.
    fn count_input(&self, _work: &Work) -> Result<Units, EngineError> {
        Ok(Units(0))
    }

    async fn run(
        &self,
        work: Work,
    ) -> Result<BoxStream<'static, Result<Step, EngineError>>, EngineError> {
        let beneath = self.beneath.lock().expect("no holder of the service panics").clone();
        let beneath = beneath.ok_or_else(|| failed("no layer stands above the service"))?;
        let carried: Carried = postcard::from_bytes(&work.body).map_err(failed)?;
        let response = match beneath.oneshot(request(carried)?).await {
            Ok(response) => response,
            Err(never) => match never {},
        };
        let declined = is_declined(response.status());
        let (answered, used) = read_answer(response).await?;
        if declined {
            return Err(EngineError::Declined { answer: encode(&answered) });
        }
        let content_type = answered.headers.iter().find(|(name, _)| name == CONTENT_TYPE.as_str());
        let content_type = content_type.map(|(_, value)| String::from_utf8_lossy(value).into());
        let model = work.order.model.as_ref().map(Name::to_string).unwrap_or_default();
        let most = work.order.output_max;
        let output = used.map_or(most, |used| Units(used.0).min(most));
        let steps = [
            Step::Begin { content_type: content_type.unwrap_or_default(), model },
            Step::Chunk(encode(&answered)),
            Step::Done(Usage { output, ..Usage::default() }),
        ];
        Ok(stream::iter(steps.map(Ok)).boxed())
    }
}
