//! Trailers on a good answer: what came of the settlement is only known once the answer is made.
//!
//! A method leaves [`Trailers`] in its response's extensions and fills them before its last byte;
//! [`WithTrailers`] adds them to those that gRPC sends. It changes nothing else.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http_body::Frame;
use tonic::body::Body;
use tonic::metadata::MetadataMap;
use tonic::server::NamedService;
use tonic::{Response, Status};
use tower::Service;

/// What a method wants in its trailers; clones fill the same ones.
#[derive(Clone, Default)]
pub struct Trailers(Arc<Mutex<MetadataMap>>);

impl Trailers {
    /// Adds to the trailers of `response`; what is filled in later, before its end, counts too.
    pub fn of<T>(response: &mut Response<T>) -> Self {
        response.extensions_mut().get_or_insert_default::<Self>().clone()
    }

    /// Lets `fill` write into them.
    pub fn fill<R>(&self, fill: impl FnOnce(&mut MetadataMap) -> R) -> R {
        fill(&mut self.0.lock().expect("no filler of trailers panics"))
    }

    fn take(&self) -> http::HeaderMap {
        std::mem::take(&mut *self.0.lock().expect("no filler of trailers panics")).into_headers()
    }
}

/// A service whose methods may leave [`Trailers`].
#[derive(Clone, Debug)]
pub struct WithTrailers<S>(pub(super) S);

impl<S: NamedService> NamedService for WithTrailers<S> {
    const NAME: &'static str = S::NAME;
}

impl<S, B> Service<http::Request<B>> for WithTrailers<S>
where
    S: Service<http::Request<B>, Response = http::Response<Body>, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        let answer = self.0.call(request);
        Box::pin(async move {
            let mut response = answer.await?;
            let trailers = response.extensions_mut().remove::<Trailers>();
            Ok(match trailers {
                Some(trailers) => response.map(|body| Body::new(Trailed { body, trailers })),
                None => response,
            })
        })
    }
}

/// A body that ends with more trailers than gRPC gave it.
struct Trailed {
    body: Body,
    trailers: Trailers,
}

impl http_body::Body for Trailed {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let frame = Pin::new(&mut self.body).poll_frame(cx);
        frame.map_ok(|mut frame| {
            if let Some(trailers) = frame.trailers_mut() {
                trailers.extend(self.trailers.take());
            }
            frame
        })
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }
}
