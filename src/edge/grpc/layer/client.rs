//! The client's layer: a call that is answered with an offer is paid, and made once more.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use alloy::primitives::keccak256;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::header::HeaderMap;
use http_body::Frame;
use http_body_util::Full;
use tonic::body::Body;
use tonic::metadata::MetadataMap;
use tonic::{Code, Status};
use tower::{Layer, Service, ServiceExt};

use super::purse::{Purse, Signed, Unpaid};
use super::read_whole;
use crate::domain::id::RequestId;
use crate::domain::x402::wire::{PaymentRequired, SettlementResponse};
use crate::edge::grpc::convert::Malformed;
use crate::edge::grpc::status::{Sent, read_service_error};
use crate::edge::grpc::x402;
use crate::ports::paid_service::ServiceError;

/// Request metadata that never leaves the client: the caller's name for a call (`req_…`). The same name
/// again is the same payment, however often it is tried.
pub const REQUEST_ID: &str = "bursar-request-id";

/// Pays for calls to one authority.
#[derive(Clone)]
pub struct PayingLayer {
    purse: Arc<dyn Purse>,
    authority: Arc<str>,
}

impl PayingLayer {
    /// Pays from `purse` for calls to `authority` (`host:port`), and for nothing that names another.
    pub fn new(purse: Arc<dyn Purse>, authority: &str) -> Self {
        Self { purse, authority: authority.into() }
    }
}

impl<S> Layer<S> for PayingLayer {
    type Service = PayingService<S>;

    fn layer(&self, inner: S) -> PayingService<S> {
        PayingService { inner, paying: self.clone() }
    }
}

/// A channel that pays.
#[derive(Clone)]
pub struct PayingService<S> {
    inner: S,
    paying: PayingLayer,
}

impl<S> Service<http::Request<Body>> for PayingService<S>
where
    S: Service<http::Request<Body>, Response = http::Response<Body>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Send,
{
    type Response = http::Response<Body>;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<Self::Response, S::Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        // The clone that was polled ready is the one that is called.
        let fresh = self.inner.clone();
        let inner = std::mem::replace(&mut self.inner, fresh);
        Box::pin(paid_call(inner, self.paying.clone(), request))
    }
}

async fn paid_call<S>(
    mut inner: S,
    paying: PayingLayer,
    request: http::Request<Body>,
) -> Result<http::Response<Body>, S::Error>
where
    S: Service<http::Request<Body>, Response = http::Response<Body>> + Clone,
{
    let (mut parts, body) = request.into_parts();
    let named = parts.headers.remove(REQUEST_ID);
    let request_id = match named.map(|name| name.to_str().ok()?.parse::<RequestId>().ok()) {
        Some(None) => {
            let error = Malformed::new(REQUEST_ID, "expected req_…");
            return Ok(Status::from(&error).into_http());
        }
        named => named.flatten(),
    };
    let message = match read_whole(body).await {
        Ok(message) => message,
        Err(status) => return Ok(status.into_http()),
    };
    let again = inner.clone();
    let first = rebuild(&parts, &message, None);
    let response = inner.call(first).await?;
    // A call that brought its own payment is the caller's business.
    let paid_already = parts.headers.contains_key(x402::PAYMENT_SIGNATURE);
    let offer = find_offer(&response).filter(|_| !paid_already);
    let Some(offer) = offer else { return Ok(response) };
    let unpaid = Unpaid {
        request: request_id,
        authority: paying.authority.to_string(),
        path: parts.uri.path().to_owned(),
        message: keccak256(&message),
        offer,
    };
    let Signed { payload, conclude } = match paying.purse.pay(unpaid).await {
        Ok(signed) => signed,
        Err(status) => return Ok(status.into_http()),
    };
    let mut payment = MetadataMap::new();
    if let Err(error) = x402::put_payment(&mut payment, &payload) {
        return Ok(Status::from(&error).into_http());
    }
    let second = rebuild(&parts, &message, Some(payment));
    let response = again.oneshot(second).await?;
    let head = x402::find_settlement(&MetadataMap::from_headers(response.headers().clone()));
    let heard = Heard { conclude: Some(conclude), head };
    Ok(response.map(|body| Body::new(Listened { body, heard })))
}

fn rebuild(
    parts: &http::request::Parts,
    message: &Bytes,
    payment: Option<MetadataMap>,
) -> http::Request<Body> {
    let mut request = http::Request::new(Body::new(Full::new(message.clone())));
    *request.method_mut() = parts.method.clone();
    *request.uri_mut() = parts.uri.clone();
    *request.version_mut() = parts.version;
    *request.headers_mut() = parts.headers.clone();
    *request.extensions_mut() = parts.extensions.clone();
    if let Some(payment) = payment {
        request.headers_mut().extend(payment.into_headers());
    }
    request
}

/// The offer in a response that is nothing else: it came without a message.
fn find_offer(response: &http::Response<Body>) -> Option<PaymentRequired> {
    let status = Status::from_header_map(response.headers())?;
    match (status.code(), read_service_error(&status, Sent::NoPayment)) {
        (Code::ResourceExhausted, ServiceError::PaymentRequired(offer)) => Some(*offer),
        _ => None,
    }
}

/// Waits for the payee's word on the settlement and passes it on, once.
struct Heard {
    conclude: Option<Box<dyn FnOnce(Option<SettlementResponse>) + Send + Sync>>,
    head: Option<SettlementResponse>,
}

impl Heard {
    fn hear(&mut self, trailers: Option<&HeaderMap>) {
        let Some(conclude) = self.conclude.take() else { return };
        let said = trailers.map(|trailers| MetadataMap::from_headers(trailers.clone()));
        let said = said.and_then(|trailers| x402::find_settlement(&trailers));
        conclude(said.or_else(|| self.head.take()));
    }
}

impl Drop for Heard {
    fn drop(&mut self) {
        self.hear(None);
    }
}

/// A body whose trailers are listened to.
struct Listened {
    body: Body,
    heard: Heard,
}

impl http_body::Body for Listened {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let frame = Pin::new(&mut self.body).poll_frame(cx);
        if let Poll::Ready(Some(Ok(frame))) = &frame
            && let Some(trailers) = frame.trailers_ref()
        {
            self.heard.hear(Some(trailers));
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }
}
