//! Serves the sandbox's JSON-RPC over HTTP on a listener that was bound by whoever knows where.

use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::rpc;
use super::worker::Sandbox;

/// The largest request that is read, in bytes.
const BODY_BYTES_MAX: usize = 1 << 20;

/// How long a stop waits for calls under way.
const DRAIN_MAX: Duration = Duration::from_secs(5);

/// A running listener. Dropped, it stops without waiting; [`Server::stop`] waits.
pub struct Server {
    addr: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<()>,
}

impl Sandbox {
    /// Serves this chain on `listener`, which must be on loopback: whoever reaches it may mint.
    ///
    /// # Errors
    /// Where the listener is elsewhere or has no address.
    pub fn serve(&self, listener: TcpListener) -> std::io::Result<Server> {
        let addr = listener.local_addr()?;
        if !addr.ip().is_loopback() {
            return Err(std::io::Error::new(
                std::io::ErrorKind::InvalidInput,
                "the sandbox is served on loopback only",
            ));
        }
        let router = Router::new()
            .route("/", post(answer))
            .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
            .with_state(self.clone());
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(async move {
            let until = async move { drop(stopped.await) };
            if let Err(error) = axum::serve(listener, router).with_graceful_shutdown(until).await {
                tracing::warn!(%error, "sandbox listener failed");
            }
        });
        Ok(Server { addr, stop: Some(stop), task })
    }
}

impl Server {
    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Its URL.
    pub fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// Takes no more calls, and returns when those under way were answered or gave up waiting.
    pub async fn stop(mut self) {
        drop(self.stop.take());
        if tokio::time::timeout(DRAIN_MAX, &mut self.task).await.is_err() {
            self.task.abort();
        }
    }
}

async fn answer(State(sandbox): State<Sandbox>, body: Bytes) -> Response {
    let answer = rpc::answer(&sandbox, &body).await;
    ([(CONTENT_TYPE, "application/json")], answer).into_response()
}
