//! A gRPC server with every bound set, health, reflection, and an end that waits for what runs.

use std::time::Duration;

use futures_util::future::try_join_all;
use tokio::sync::watch;
use tokio::time::timeout;
use tonic::body::Body;
use tonic::server::NamedService;
use tonic::service::{Routes, RoutesBuilder};
use tonic::transport::Server;
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;
use tower::Service;
use tower::util::MapRequestLayer;

use crate::domain::fault::{Class, Fault};
use crate::edge::grpc::limits::{
    KEEPALIVE_EVERY, KEEPALIVE_MAX, LOCAL_ERROR_RESET_STREAMS_MAX, METADATA_LEN_MAX,
    PENDING_RESET_STREAMS_MAX, STREAMS_PER_CONNECTION_MAX,
};
use crate::edge::grpc::listen::{Listener, Peer};
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
}

impl Default for Doors {
    fn default() -> Self {
        Self { routes: Routes::builder(), names: Vec::new() }
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

    /// Serves on every listener until `stop` comes, then takes no more calls and waits at most
    /// `drain_max` for those that run. Health says so before the first listener closes.
    ///
    /// # Errors
    /// [`ServeError`]; after [`ServeError::DrainTimedOut`] calls may still run, until the process ends.
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
        let routes = routes.routes().prepare();

        let (stopping, stopped) = watch::channel(false);
        let serving = try_join_all(
            listeners
                .into_iter()
                .map(|listener| serve_one(routes.clone(), listener, stopped.clone())),
        );
        tokio::pin!(serving);
        tokio::select! {
            ended = &mut serving => return ended.map(|_| ()),
            () = stop => {}
        }
        report(&reporter, &self.names, ServingStatus::NotServing).await;
        stopping.send_replace(true);
        match timeout(drain_max, serving).await {
            Ok(ended) => ended.map(|_| ()),
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

async fn serve_one(
    routes: Routes,
    listener: Listener,
    mut stopped: watch::Receiver<bool>,
) -> Result<(), ServeError> {
    let stopping = Stopping(stopped.clone());
    let note = MapRequestLayer::new(move |mut request: http::Request<Body>| {
        if let Some(peer) = request.extensions().get::<Peer>() {
            peer.note_request();
        }
        request.extensions_mut().insert(stopping.clone());
        request
    });
    Server::builder()
        .layer(note)
        .max_concurrent_streams(STREAMS_PER_CONNECTION_MAX)
        .http2_max_pending_accept_reset_streams(Some(PENDING_RESET_STREAMS_MAX))
        .http2_max_local_error_reset_streams(Some(LOCAL_ERROR_RESET_STREAMS_MAX))
        .http2_max_header_list_size(METADATA_LEN_MAX)
        .http2_keepalive_interval(Some(KEEPALIVE_EVERY))
        .http2_keepalive_timeout(Some(KEEPALIVE_MAX))
        .add_routes(routes)
        .serve_with_incoming_shutdown(listener.incoming(), async move {
            // An error means that the sender is gone, which ends the server too.
            let _ = stopped.wait_for(|stopped| *stopped).await;
        })
        .await
        .map_err(|error| ServeError::Failed { problem: error.to_string() })
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
