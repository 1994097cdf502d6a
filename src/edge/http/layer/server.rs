//! The layer: a paid route's request goes to its payee, every other passes.

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::header::{ALLOW, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use axum::http::request::Parts;
use axum::http::{Method, StatusCode};
use axum::response::Response;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use serde_json::Value;
use tower::util::BoxCloneSyncService;
use tower::{Layer, Service};

use super::engine::{Carried, Found, PaidRoutes, unfold};
use super::route::PaidRoute;
use crate::edge::http::body::read_whole;
use crate::edge::http::caller::peer;
use crate::edge::http::limits::{BODY_LEN_MAX, TARGET_LEN_MAX};
use crate::edge::http::sell::{PaidDoor, Shown};
use crate::edge::http::{header, refuse, tell};
use crate::ports::paid_service::PaidCall;

/// Makes routes of the service beneath cost something. One layer stands above one whole router.
#[derive(Clone)]
pub struct X402Layer {
    routes: Arc<PaidRoutes>,
    door: PaidDoor,
    passed: Arc<[HeaderName]>,
}

impl X402Layer {
    /// These routes, sold at `door`, whose payee's engine they are. Of a request's headers a handler gets
    /// its content type and what it accepts.
    pub fn new(routes: Arc<PaidRoutes>, door: PaidDoor) -> Self {
        let passed = [CONTENT_TYPE, axum::http::header::ACCEPT].into();
        Self { routes, door, passed }
    }

    /// The same, that passes `name` on to paid routes too. A payment is bound to it as it is to the body:
    /// the same request again has to bring the same.
    pub fn passing(mut self, name: HeaderName) -> Self {
        self.passed = self.passed.iter().cloned().chain([name]).collect();
        self
    }

    /// Above a router: all of it, which `Router::layer` would not be.
    pub fn over(self, router: Router) -> Router {
        Router::new().fallback_service(self.layer(router))
    }
}

impl<S> Layer<S> for X402Layer
where
    S: Service<Request, Response = Response, Error = Infallible> + Clone + Send + Sync + 'static,
    S::Future: Send,
{
    type Service = X402Service<S>;

    fn layer(&self, inner: S) -> X402Service<S> {
        self.routes.put_beneath(BoxCloneSyncService::new(inner.clone()));
        X402Service { inner, layer: self.clone() }
    }
}

/// A service of which some routes are paid for.
#[derive(Clone)]
pub struct X402Service<S> {
    inner: S,
    layer: X402Layer,
}

impl<S> Service<Request> for X402Service<S>
where
    S: Service<Request, Response = Response, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send + 'static,
{
    type Response = Response;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response, Infallible>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        match self.layer.routes.find(request.method(), request.uri().path()) {
            Found::Free => Box::pin(self.inner.call(request)),
            Found::OtherMethod(allowed) => {
                let response = other_method(request.method(), &allowed);
                Box::pin(async { Ok(response) })
            }
            Found::Paid(route) => {
                let (layer, route) = (self.layer.clone(), route.clone());
                Box::pin(async move { Ok(layer.serve(&route, request).await) })
            }
        }
    }
}

/// A method that a paid path does not have never reaches its handler.
fn other_method(method: &Method, allowed: &[Method]) -> Response {
    let mut names: Vec<&str> = allowed.iter().map(Method::as_str).collect();
    if names.contains(&"GET") {
        names.push("HEAD");
    }
    names.push("OPTIONS");
    let mut response = Response::new(Body::empty());
    *response.status_mut() = match *method {
        Method::OPTIONS => StatusCode::NO_CONTENT,
        _ => StatusCode::METHOD_NOT_ALLOWED,
    };
    let allow = HeaderValue::try_from(names.join(", ")).expect("methods are tokens");
    response.headers_mut().insert(ALLOW, allow);
    tell::private(response)
}

impl X402Layer {
    async fn serve(&self, route: &PaidRoute, request: Request) -> Response {
        let (parts, body) = request.into_parts();
        let target = parts.uri.path_and_query().map_or("/", |target| target.as_str()).to_owned();
        if target.len() > TARGET_LEN_MAX {
            let code = "http.target_too_long";
            return refuse::problem(StatusCode::URI_TOO_LONG, code, Value::Null);
        }
        let payment = match header::find_payment(&parts.headers) {
            Ok(payment) => payment,
            Err(error) => return refuse::header(&error),
        };
        let shown = self.shown(route, &target);
        let Some(payment) = payment else {
            // Who has not paid is told the price before anything is read.
            let call = self.call(route, &parts, &target, Bytes::new());
            return self.door.ask(&shown, call).await;
        };
        let body = match read_whole(body, BODY_LEN_MAX).await {
            Ok(body) => body,
            Err(error) => return refuse::body(&error),
        };
        let call = self.call(route, &parts, &target, body);
        self.door.sell(payment, &shown, call, unfold).await
    }

    fn shown(&self, route: &PaidRoute, target: &str) -> Shown {
        Shown {
            url: format!("{}{target}", self.routes.base()),
            description: route.description.clone(),
            mime_type: route.mime_type.clone(),
            declared: Arc::clone(&route.declared),
        }
    }

    fn call(&self, route: &PaidRoute, parts: &Parts, target: &str, body: Bytes) -> PaidCall {
        let carried = Carried {
            method: parts.method.to_string(),
            target: target.to_owned(),
            headers: pick(&parts.headers, &self.passed),
            body,
        };
        PaidCall {
            order: PaidRoutes::order(route),
            quote: None,
            content_type: "message/http".to_owned(),
            body: postcard::to_stdvec(&carried).expect("bytes and texts encode").into(),
            payment: None,
            signed_order: None,
            peer: peer(&parts.extensions),
            streamed: false,
        }
    }
}

fn pick(headers: &HeaderMap, passed: &[HeaderName]) -> Vec<(String, Vec<u8>)> {
    let values = |name: &HeaderName| {
        let values = headers.get_all(name).iter();
        values.map(|value| (name.to_string(), value.as_bytes().to_vec())).collect::<Vec<_>>()
    };
    passed.iter().flat_map(values).collect()
}
