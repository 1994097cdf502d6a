//! The server's layer: a paid method's call goes to its payee, every other passes.

use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use http::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use http_body::Frame;
use http_body_util::StreamBody;
use tonic::body::Body;
use tonic::metadata::MetadataMap;
use tonic::server::NamedService;
use tonic::transport::server::TcpConnectInfo;
use tonic::{Code, Status};
use tower::util::BoxCloneService;
use tower::{Layer, Service};

use super::engine::{Carried, GRPC, PaidMethod};
use super::read_whole;
use crate::edge::grpc::inference::tell;
use crate::edge::grpc::listen::Peer;
use crate::edge::grpc::x402;
use crate::ports::paid_service::{Answer, PaidCall, PaidService, Piece, ServiceError};

/// A paid method and who is paid for it.
#[derive(Clone)]
struct Priced {
    method: Arc<PaidMethod>,
    payee: Arc<dyn PaidService>,
    streamed: bool,
}

/// Makes methods of the service beneath cost something. One layer is for one server, or one service.
#[derive(Clone, Default)]
pub struct X402Layer {
    priced: Vec<Priced>,
    passed: Vec<String>,
}

impl X402Layer {
    /// A unary method, sold by `payee`, whose engine `method` is. Its answer is settled before it is
    /// released.
    pub fn with(mut self, method: Arc<PaidMethod>, payee: Arc<dyn PaidService>) -> Self {
        self.priced.push(Priced { method, payee, streamed: false });
        self
    }

    /// A method that answers with a stream: it is settled first.
    pub fn with_stream(mut self, method: Arc<PaidMethod>, payee: Arc<dyn PaidService>) -> Self {
        self.priced.push(Priced { method, payee, streamed: true });
        self
    }

    /// Passes this metadata on to paid methods. A payment is bound to it as it is to the message: the
    /// same call again has to bring the same.
    pub fn passing(mut self, key: &str) -> Self {
        self.passed.push(key.to_ascii_lowercase());
        self
    }

    fn find(&self, path: &str) -> Option<&Priced> {
        self.priced.iter().find(|priced| priced.method.path() == path)
    }
}

impl<S> Layer<S> for X402Layer
where
    S: Service<http::Request<Body>, Response = http::Response<Body>, Error = Infallible>
        + Clone
        + Send
        + 'static,
    S::Future: Send,
{
    type Service = X402Service<S>;

    fn layer(&self, inner: S) -> X402Service<S> {
        let beneath = BoxCloneService::new(inner.clone());
        for priced in &self.priced {
            priced.method.put_beneath(&beneath);
        }
        X402Service { inner, layer: self.clone() }
    }
}

/// A service of which some methods are paid for.
#[derive(Clone)]
pub struct X402Service<S> {
    inner: S,
    layer: X402Layer,
}

impl<S: NamedService> NamedService for X402Service<S> {
    const NAME: &'static str = S::NAME;
}

impl<S> Service<http::Request<Body>> for X402Service<S>
where
    S: Service<http::Request<Body>, Response = http::Response<Body>, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let Some(priced) = self.layer.find(request.uri().path()).cloned() else {
            return Box::pin(self.inner.call(request));
        };
        let passed = self.layer.passed.clone();
        Box::pin(async move {
            let answered = async {
                let call = read_call(&priced, &passed, request).await?;
                priced.payee.infer(call).await.map_err(|error| Status::from(&error))
            };
            Ok(match answered.await {
                Ok(answer) => to_response(answer),
                Err(status) => status.into_http(),
            })
        })
    }
}

async fn read_call(
    priced: &Priced,
    passed: &[String],
    request: http::Request<Body>,
) -> Result<PaidCall, Status> {
    let (parts, body) = request.into_parts();
    let encoding = parts.headers.get("grpc-encoding");
    if encoding.is_some_and(|encoding| encoding != "identity") {
        return Err(Status::unimplemented("a paid method takes no compressed messages"));
    }
    let payment = x402::find_payment(&MetadataMap::from_headers(parts.headers.clone()))
        .map_err(|error| Status::from(&error))?;
    // Who has not paid is told the price before anything is read.
    let message = if payment.is_some() { read_whole(body).await? } else { Bytes::new() };
    let carried = Carried { metadata: pick(&parts.headers, passed), message };
    let body = postcard::to_stdvec(&carried).expect("bytes and texts encode").into();
    Ok(PaidCall {
        order: priced.method.order(),
        quote: None,
        content_type: GRPC.to_owned(),
        body,
        payment,
        signed_order: None,
        peer: peer_ip(&parts.extensions),
        streamed: priced.streamed,
    })
}

fn pick(headers: &HeaderMap, passed: &[String]) -> Vec<(String, Vec<u8>)> {
    let values = |key: &String| {
        let values = headers.get_all(key.as_str()).iter();
        values.map(|value| (key.clone(), value.as_bytes().to_vec())).collect::<Vec<_>>()
    };
    passed.iter().flat_map(values).collect()
}

fn peer_ip(extensions: &http::Extensions) -> Option<IpAddr> {
    let ours = extensions.get::<Peer>().and_then(Peer::ip);
    let tonics = || extensions.get::<TcpConnectInfo>()?.remote_addr();
    ours.or_else(|| tonics().map(|address| address.ip()))
}

fn to_response(answer: Answer) -> http::Response<Body> {
    let mut headers = MetadataMap::new();
    if let Some(settled) = &answer.settled {
        tell(&mut headers, settled);
    }
    // The error that ends a stream is its last frame: after trailers nothing comes.
    let frames = answer.pieces.map(|piece| Ok::<_, Status>(to_frame(piece)));
    let mut response = http::Response::new(Body::new(StreamBody::new(frames)));
    *response.headers_mut() = headers.into_headers();
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(GRPC));
    response
}

fn to_frame(piece: Result<Piece, ServiceError>) -> Frame<Bytes> {
    let end = |status: &Status| {
        let mut trailers = HeaderMap::new();
        // A status that does not fit into headers still ends the call, without its words.
        if status.add_header(&mut trailers).is_err() {
            trailers = HeaderMap::from_iter([(
                http::HeaderName::from_static("grpc-status"),
                HeaderValue::from(i32::from(status.code())),
            )]);
        }
        Frame::trailers(trailers)
    };
    match piece {
        Ok(Piece::Chunk(chunk)) => Frame::data(chunk),
        Ok(Piece::Done(closing)) => {
            let mut trailers = MetadataMap::new();
            tell(&mut trailers, &closing.response);
            end(&Status::with_metadata(Code::Ok, "", trailers))
        }
        // No message of another's service has room for it: it counts along for nobody.
        Ok(Piece::Used(_)) => Frame::data(Bytes::new()),
        Ok(Piece::Cut(_)) => end(&Status::unavailable("it is not whole, and no more is paid for")),
        Err(error) => end(&Status::from(&error)),
    }
}
