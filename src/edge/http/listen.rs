//! A listener for HTTP/1.1 with every bound set, and an end that waits for what runs.
//!
//! Until TLS comes, only loopback is served: payments and tokens do not cross a network in the clear.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tower::ServiceExt;

use super::limits::{CONNECTIONS_MAX, HEAD_LEN_MAX, HEAD_READ_MAX, HEADERS_MAX};
use crate::domain::fault::{Class, Fault};

/// Why nobody listens, or why a listener ended other than it should.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ListenError {
    /// Others could reach it, and there is no TLS yet.
    #[error(
        "{address} is not loopback, and without TLS nothing else is served; change it with {flag}"
    )]
    Exposed {
        /// The address.
        address: SocketAddr,
        /// What changes it.
        flag: &'static str,
    },
    /// Somebody else listens there.
    #[error("{address} is taken by another process; choose another with {flag}")]
    Taken {
        /// The address.
        address: SocketAddr,
        /// What changes it.
        flag: &'static str,
    },
    /// The system refuses.
    #[error("cannot listen on {address}: {problem}; change it with {flag}")]
    Failed {
        /// The address.
        address: SocketAddr,
        /// The system's words.
        problem: String,
        /// What changes it.
        flag: &'static str,
    },
    /// Requests were still running when the bound for draining was reached.
    #[error("requests were still running {after:?} after the end was asked for")]
    DrainTimedOut {
        /// The bound.
        after: Duration,
    },
}

impl Fault for ListenError {
    fn code(&self) -> &'static str {
        match self {
            Self::Exposed { .. } => "http.exposed",
            Self::Taken { .. } => "http.taken",
            Self::Failed { .. } => "http.listen_failed",
            Self::DrainTimedOut { .. } => "http.drain_timed_out",
        }
    }

    fn class(&self) -> Class {
        match self {
            Self::DrainTimedOut { .. } => Class::Later,
            Self::Exposed { .. } | Self::Taken { .. } | Self::Failed { .. } => Class::Final,
        }
    }
}

/// In every request's extensions: who is at the other end of its connection.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Peer(pub SocketAddr);

/// A bound address that takes connections once it is served.
#[derive(Debug)]
pub struct Listener {
    socket: TcpListener,
    address: SocketAddr,
}

/// How long a listener rests after a connection that it could not take.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

impl Listener {
    /// Binds `address`, which must be loopback; port 0 takes any that is free. Errors name `flag` as what
    /// changes it.
    ///
    /// # Errors
    /// [`ListenError`].
    pub async fn bind(address: SocketAddr, flag: &'static str) -> Result<Self, ListenError> {
        if !address.ip().is_loopback() {
            return Err(ListenError::Exposed { address, flag });
        }
        let failed = |error: io::Error| match error.kind() {
            io::ErrorKind::AddrInUse => ListenError::Taken { address, flag },
            _ => ListenError::Failed { address, problem: error.to_string(), flag },
        };
        let socket = TcpListener::bind(address).await.map_err(failed)?;
        let address = socket.local_addr().map_err(failed)?;
        Ok(Self { socket, address })
    }

    /// Where it listens, with the port that was found.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// The same as a URL: `http://127.0.0.1:8402`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Serves `router` until `stop` comes, then takes no more requests and waits at most `drain_max` for
    /// those that run.
    ///
    /// # Errors
    /// [`ListenError::DrainTimedOut`]; what still ran is cut off then.
    pub async fn serve(
        self,
        router: Router,
        stop: impl Future<Output = ()>,
        drain_max: Duration,
    ) -> Result<(), ListenError> {
        let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        let graceful = GracefulShutdown::new();
        let mut connections = JoinSet::new();
        tokio::pin!(stop);
        loop {
            let accepted = tokio::select! {
                biased;
                () = &mut stop => break,
                // Ended connections are taken out as they end.
                Some(_) = connections.join_next() => continue,
                accepted = self.accept(&room) => accepted,
            };
            let (stream, from, place) = accepted;
            let connection = graceful.watch(connect(stream, from, router.clone()));
            connections.spawn(async move {
                if let Err(error) = connection.await {
                    tracing::debug!(%error, "connection ended");
                }
                drop(place);
            });
        }
        drop(self.socket);
        match tokio::time::timeout(drain_max, graceful.shutdown()).await {
            Ok(()) => Ok(()),
            Err(_) => Err(ListenError::DrainTimedOut { after: drain_max }),
        }
    }

    /// The next connection. Beyond [`CONNECTIONS_MAX`] they wait in the kernel's queue.
    async fn accept(&self, room: &Arc<Semaphore>) -> (TcpStream, SocketAddr, OwnedSemaphorePermit) {
        loop {
            let place = Arc::clone(room).acquire_owned().await.expect("it is never closed");
            match self.socket.accept().await {
                Ok((stream, from)) => {
                    // Delayed acknowledgements otherwise cost tens of milliseconds now and then.
                    let _ = stream.set_nodelay(true);
                    return (stream, from, place);
                }
                Err(error) => {
                    // Out of files, or gone before it was taken: neither ends the listener.
                    tracing::debug!(%error, "connection not accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

type Served = TowerToHyperService<
    tower::util::BoxCloneSyncService<
        axum::http::Request<hyper::body::Incoming>,
        axum::response::Response,
        Infallible,
    >,
>;

/// One connection, with its bounds. Both lengths at once are refused by the parser itself (threats.md T13).
fn connect(
    stream: TcpStream,
    from: SocketAddr,
    router: Router,
) -> http1::Connection<TokioIo<TcpStream>, Served> {
    let note = move |mut request: axum::http::Request<hyper::body::Incoming>| {
        request.extensions_mut().insert(Peer(from));
        request.map(axum::body::Body::new)
    };
    let service = router.map_request(move |request| -> Request { note(request) });
    let service = tower::util::BoxCloneSyncService::new(service);
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_READ_MAX)
        .max_headers(HEADERS_MAX)
        .max_buf_size(HEAD_LEN_MAX)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(service))
}
