//! One port for gRPC and HTTP with every bound set, health, reflection, and an end that waits for what
//! runs. A request's content type decides: `application/grpc` goes to the services, everything else to
//! the HTTP doors; where there are none, HTTP/1.1 is not spoken at all.

use std::convert::Infallible;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::extract::ConnectInfo;
use axum::routing::future::RouteFuture;
use bytes::Bytes;
use futures_util::future::join_all;
use http::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tonic::body::Body;
use tonic::server::NamedService;
use tonic::service::{Routes, RoutesBuilder};
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;
use tower::Service;

use crate::domain::fault::{Class, Fault};
use crate::edge::grpc::limits::{
    HANDSHAKE_MAX, HEAD_LEN_MAX, HEAD_MAX, HEADERS_MAX, KEEPALIVE_EVERY, KEEPALIVE_MAX,
    LOCAL_ERROR_RESET_STREAMS_MAX, METADATA_LEN_MAX, PENDING_RESET_STREAMS_MAX,
    STREAMS_PER_CONNECTION_MAX,
};
use crate::edge::grpc::listen::{Listener, Origin, Peer};
use crate::edge::grpc::pb;
use crate::edge::grpc::permissions::check_permissions;

/// Why a server ended other than it should.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ServeError {
    /// Calls were still running when the bound for draining was reached.
    #[error("calls were still running {after:?} after the end was asked for")]
    DrainTimedOut {
        /// The bound.
        after: Duration,
    },
    /// Methods that do not say who may call them: nothing was served.
    #[error("nobody says who may call {}", .methods.join(", "))]
    Undeclared {
        /// Their paths.
        methods: Vec<String>,
    },
    /// The transport failed.
    #[error("the server failed: {problem}")]
    Failed {
        /// The transport's words.
        problem: String,
    },
}

impl Fault for ServeError {
    fn code(&self) -> &'static str {
        match self {
            Self::DrainTimedOut { .. } => "serve.drain_timed_out",
            Self::Undeclared { .. } => "serve.undeclared",
            Self::Failed { .. } => "serve.failed",
        }
    }

    fn class(&self) -> Class {
        Class::Later
    }
}

/// The services of one server.
pub struct Doors {
    routes: RoutesBuilder,
    names: Vec<&'static str>,
    web: Option<Router>,
}

impl Default for Doors {
    fn default() -> Self {
        Self { routes: Routes::builder(), names: Vec::new(), web: None }
    }
}

impl Doors {
    /// These services and `service`.
    pub fn with<S>(mut self, service: S) -> Self
    where
        S: Service<http::Request<Body>, Error = std::convert::Infallible>
            + NamedService
            + Clone
            + Send
            + Sync
            + 'static,
        S::Response: axum::response::IntoResponse,
        S::Future: Send + 'static,
    {
        self.routes.add_service(service);
        self.names.push(S::NAME);
        self
    }

    /// These doors and `web`: what is no gRPC is answered there, over HTTP/1.1 and HTTP/2. It bounds its
    /// own bodies; heads and connections are bounded here. No two routers may claim one path.
    #[must_use]
    pub fn with_web(mut self, web: Router) -> Self {
        self.web = Some(match self.web {
            Some(before) => before.merge(web),
            None => web,
        });
        self
    }

    /// Serves on every listener until `stop` comes, then takes no more calls and waits at most
    /// `drain_max` for those that run. Health says so before the first listener closes.
    ///
    /// # Errors
    /// [`ServeError`]; after [`ServeError::DrainTimedOut`] what still ran was cut off. A payment under way
    /// is no connection's: it goes on.
    pub async fn serve(
        self,
        listeners: Vec<Listener>,
        stop: impl Future<Output = ()>,
        drain_max: Duration,
    ) -> Result<(), ServeError> {
        check_permissions().map_err(|methods| ServeError::Undeclared { methods })?;
        let (reporter, health) = tonic_health::server::health_reporter();
        report(&reporter, &self.names, ServingStatus::Serving).await;
        let mut routes = self.routes;
        routes.add_service(health);
        add_reflection(&mut routes, &self.names);
        let app = App {
            grpc: routes.routes().prepare().into_axum_router(),
            web: self.web.map(|web| web.with_state(())),
        };
        let (stopping, stopped) = watch::channel(false);
        let one = |listener| serve_one(app.clone(), listener, stopped.clone());
        let serving = join_all(listeners.into_iter().map(one));
        tokio::pin!(serving);
        tokio::select! {
            _ = &mut serving => return Ok(()),
            () = stop => {}
        }
        report(&reporter, &self.names, ServingStatus::NotServing).await;
        stopping.send_replace(true);
        match timeout(drain_max, serving).await {
            Ok(_) => Ok(()),
            Err(_) => Err(ServeError::DrainTimedOut { after: drain_max }),
        }
    }
}

/// In every request's extensions: tells a method that would go on for ever when the end is near.
#[derive(Clone, Debug)]
pub(super) struct Stopping(watch::Receiver<bool>);

impl Stopping {
    /// Returns once the server takes no more calls.
    pub(super) async fn wait(mut self) {
        // An error means that the server is gone.
        let _ = self.0.wait_for(|stopped| *stopped).await;
    }
}

/// What answers: the services, and the HTTP doors where there are some.
#[derive(Clone)]
struct App {
    grpc: Router,
    web: Option<Router>,
}

/// One connection's view of the app: each request is told who is at its other end.
#[derive(Clone)]
struct Answering {
    app: App,
    peer: Peer,
    stopping: Stopping,
}

impl<B> Service<http::Request<B>> for Answering
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<tower::BoxError>,
{
    type Response = axum::response::Response;
    type Error = Infallible;
    type Future = RouteFuture<Infallible>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: http::Request<B>) -> Self::Future {
        self.peer.note_request();
        request.extensions_mut().insert(self.peer.clone());
        request.extensions_mut().insert(self.stopping.clone());
        if let Origin::Tcp(from) = self.peer.origin() {
            // As axum's own servers tell it, for rooms that speak HTTP.
            request.extensions_mut().insert(ConnectInfo(from));
        }
        match &mut self.app.web {
            Some(web) if !is_grpc(request.headers()) => web.call(request),
            _ => self.app.grpc.call(request),
        }
    }
}

fn is_grpc(headers: &HeaderMap) -> bool {
    let named = headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes);
    named.is_some_and(|name| name.starts_with(b"application/grpc"))
}

/// Takes connections until `stopped`, and returns once the last of them has ended.
async fn serve_one(app: App, listener: Listener, mut stopped: watch::Receiver<bool>) {
    let stopping = Stopping(stopped.clone());
    let builder = connections(app.web.is_some());
    let tls = listener.tls();
    let mut running = JoinSet::new();
    loop {
        let connection = tokio::select! {
            biased;
            // An error means that the sender is gone, which ends the server too.
            _ = stopped.wait_for(|stopped| *stopped) => break,
            Some(_) = running.join_next() => continue,
            connection = listener.accept() => connection,
        };
        let peer = connection.peer();
        let answering = Answering { app: app.clone(), peer, stopping: stopping.clone() };
        let (builder, stopping) = (builder.clone(), stopping.clone());
        match tls.clone() {
            None => drop(running.spawn(serve_connection(builder, connection, answering, stopping))),
            Some(tls) => drop(running.spawn(async move {
                match timeout(HANDSHAKE_MAX, tls.accept(connection)).await {
                    Ok(Ok(secured)) => {
                        serve_connection(builder, secured, answering, stopping).await;
                    }
                    Ok(Err(error)) => tracing::debug!(%error, "no TLS on a connection"),
                    Err(_) => tracing::debug!("TLS took too long on a connection"),
                }
            })),
        }
    }
    // The port is free before the last call ends.
    drop(listener);
    while running.join_next().await.is_some() {}
}

/// Every bound of a connection.
fn connections(speaks_http1: bool) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    if !speaks_http1 {
        builder = builder.http2_only();
    }
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_MAX)
        .max_headers(HEADERS_MAX)
        .max_buf_size(HEAD_LEN_MAX)
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_PER_CONNECTION_MAX)
        .max_pending_accept_reset_streams(PENDING_RESET_STREAMS_MAX)
        .max_local_error_reset_streams(LOCAL_ERROR_RESET_STREAMS_MAX)
        .max_header_list_size(METADATA_LEN_MAX)
        .keep_alive_interval(KEEPALIVE_EVERY)
        .keep_alive_timeout(KEEPALIVE_MAX);
    builder
}

async fn serve_connection<I>(
    builder: Builder<TokioExecutor>,
    io: I,
    answering: Answering,
    stopping: Stopping,
) where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = TowerToHyperService::new(answering);
    let connection = builder.serve_connection(TokioIo::new(io), service);
    tokio::pin!(connection);
    let ended = tokio::select! {
        biased;
        ended = connection.as_mut() => ended,
        () = stopping.wait() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "connection broke");
    }
}

async fn report(reporter: &HealthReporter, names: &[&'static str], status: ServingStatus) {
    reporter.set_service_status("", status).await;
    for name in names {
        reporter.set_service_status(*name, status).await;
    }
}

/// Reflection in both versions, of the services that are served and of health.
fn add_reflection(routes: &mut RoutesBuilder, names: &[&'static str]) {
    let describe = || {
        let mut builder = tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(pb::FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
            .with_service_name(HEALTH_NAME);
        for name in names {
            builder = builder.with_service_name(*name);
        }
        builder
    };
    let sound = "the descriptor sets were made at build time";
    routes.add_service(describe().build_v1().expect(sound));
    routes.add_service(describe().build_v1alpha().expect(sound));
}

/// The health service's name.
const HEALTH_NAME: &str = "grpc.health.v1.Health";
