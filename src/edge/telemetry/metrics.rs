//! `/metrics` for Prometheus, on loopback: what the ledger says at the moment it is asked.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;

use axum::Router;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// The registry's content type. Source: OpenMetrics 1.0.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Makes a registry with the numbers of this moment; `None` where they cannot be had.
pub type Scrape =
    Arc<dyn Fn() -> Pin<Box<dyn Future<Output = Option<Registry>> + Send>> + Send + Sync>;

/// Serves `/metrics`; dropped, it stops.
pub struct Server {
    address: SocketAddr,
    task: JoinHandle<()>,
}

/// An address that is taken, and served later.
pub struct Listener {
    listener: TcpListener,
    address: SocketAddr,
}

impl Listener {
    /// Takes `listen`.
    ///
    /// # Errors
    /// As the system says, where the address is taken.
    pub async fn bind(listen: SocketAddr) -> std::io::Result<Self> {
        let listener = TcpListener::bind(listen).await?;
        let address = listener.local_addr()?;
        Ok(Self { listener, address })
    }

    /// Serves what `scrape` gives.
    pub fn serve(self, scrape: Scrape) -> Server {
        let Self { listener, address } = self;
        let answer = move || {
            let scrape = Arc::clone(&scrape);
            async move { respond(scrape().await) }
        };
        let router = Router::new().route("/metrics", get(answer));
        let task = tokio::spawn(async move {
            if let Err(problem) = axum::serve(listener, router).await {
                tracing::error!(%problem, "metrics stopped");
            }
        });
        Server { address, task }
    }
}

impl Server {
    /// Where it answers.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn respond(registry: Option<Registry>) -> axum::response::Response {
    let mut text = String::new();
    match registry {
        Some(registry) if encode(&mut text, &registry).is_ok() => {
            ([(header::CONTENT_TYPE, OPEN_METRICS)], text).into_response()
        }
        _ => StatusCode::SERVICE_UNAVAILABLE.into_response(),
    }
}
