//! Listeners: TCP, with TLS or on loopback, and Unix sockets, bounded in connections, of each host too, and in
//! patience.
//!
//! Without TLS any other address is refused: tokens and quotes do not cross a network in the clear.

mod hosts;

use std::fmt;
use std::fs;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Sleep;
use tokio_rustls::TlsAcceptor;

use crate::domain::fault::{Class, Fault};
use crate::edge::grpc::limits::{CONNECTIONS_MAX, FIRST_REQUEST_MAX, WRITE_STALL_MAX};

use hosts::{Hosts, Place};

/// Where to listen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// A loopback address in the clear; port 0 takes any that is free.
    Tcp(SocketAddr),
    /// Any address, by TLS; port 0 takes any that is free.
    Tls(SocketAddr),
    /// A socket file, for this user only.
    Unix(PathBuf),
}

impl fmt::Display for Address {
    /// As an endpoint: `http://127.0.0.1:8402`, `https://0.0.0.0:8403`, `unix:/run/bursar.sock`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => write!(f, "http://{address}"),
            Self::Tls(address) => write!(f, "https://{address}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// Why nobody listens.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ListenError {
    /// Others could reach it, and it has no TLS.
    #[error(
        "{address} is neither loopback nor a Unix socket, and without TLS nothing else is served; change it with {flag}, or give it tls = {{ cert, key }}"
    )]
    Exposed {
        /// The address.
        address: Address,
        /// What changes it.
        flag: &'static str,
    },
    /// Somebody else listens there.
    #[error("{address} is taken by another process; choose another with {flag}")]
    Taken {
        /// The address.
        address: Address,
        /// What changes it.
        flag: &'static str,
    },
    /// The system refuses.
    #[error("cannot listen on {address}: {problem}; change it with {flag}")]
    Failed {
        /// The address.
        address: Address,
        /// The system's words.
        problem: String,
        /// What changes it.
        flag: &'static str,
    },
}

impl Fault for ListenError {
    fn code(&self) -> &'static str {
        match self {
            Self::Exposed { .. } => "listen.exposed",
            Self::Taken { .. } => "listen.taken",
            Self::Failed { .. } => "listen.failed",
        }
    }

    fn class(&self) -> Class {
        Class::Final
    }
}

/// A bound address that takes connections once it is served.
pub struct Listener {
    socket: Socket,
    address: Address,
    room: Arc<Semaphore>,
    hosts: Arc<Hosts>,
    tls: Option<TlsAcceptor>,
    public: Option<String>,
    _file: Option<SocketFile>,
}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listener").field("address", &self.address).finish_non_exhaustive()
    }
}

#[derive(Debug)]
enum Socket {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Listener {
    /// Binds `address` without TLS; errors name `flag` as what changes it.
    ///
    /// # Errors
    /// [`ListenError`]; [`ListenError::Exposed`] for [`Address::Tls`] too.
    pub async fn bind(address: &Address, flag: &'static str) -> Result<Self, ListenError> {
        Self::bind_with(address, flag, None).await
    }

    /// Binds `address`; with `tls`, TCP is [`Address::Tls`] and any address will do.
    ///
    /// # Errors
    /// [`ListenError`].
    pub async fn bind_with(
        address: &Address,
        flag: &'static str,
        tls: Option<Arc<ServerConfig>>,
    ) -> Result<Self, ListenError> {
        let tls = tls.map(TlsAcceptor::from);
        let (socket, address, file) = match address {
            Address::Tcp(tcp) | Address::Tls(tcp) => {
                let needs_tls = matches!(address, Address::Tls(_)) || !tcp.ip().is_loopback();
                if tls.is_none() && needs_tls {
                    return Err(ListenError::Exposed { address: address.clone(), flag });
                }
                let failed = |error| failed(address, flag, &error);
                let listener = TcpListener::bind(tcp).await.map_err(failed)?;
                let bound = listener.local_addr().map_err(failed)?;
                let shown = if tls.is_some() { Address::Tls(bound) } else { Address::Tcp(bound) };
                (Socket::Tcp(listener), shown, None)
            }
            Address::Unix(path) => {
                if UnixStream::connect(path).await.is_ok() {
                    return Err(ListenError::Taken { address: address.clone(), flag });
                }
                let (listener, file) =
                    bind_private(path).map_err(|error| failed(address, flag, &error))?;
                (Socket::Unix(listener), address.clone(), Some(file))
            }
        };
        let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        // A Unix socket is this user's own: nothing on it crosses a network.
        let tls = tls.filter(|_| file.is_none());
        let hosts = Arc::default();
        Ok(Self { socket, address, room, hosts, tls, public: None, _file: file })
    }

    /// The same, with room for so many connections of each host, this machine too.
    #[cfg(test)]
    pub(super) fn of_each_host(self, most: usize) -> Self {
        Self { hosts: Arc::new(Hosts::of_each(most)), ..self }
    }

    /// Where it listens, with the port that was found; shown, it is an endpoint.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// The same, that others find at `public`: a name, or another side of a gateway.
    #[must_use]
    pub fn found_at(self, public: Option<String>) -> Self {
        Self { public, ..self }
    }

    /// Where others find it: its address, unless it was given another.
    pub fn endpoint(&self) -> String {
        self.public.clone().unwrap_or_else(|| self.address.to_string())
    }

    /// What speaks TLS on its connections, where it does.
    pub(super) fn tls(&self) -> Option<TlsAcceptor> {
        self.tls.clone()
    }

    /// The next connection. Beyond [`CONNECTIONS_MAX`] they wait in the kernel's queue; one more of a host that
    /// has as many as it may is closed at once.
    pub(super) async fn accept(&self) -> Connection {
        loop {
            let permit = Arc::clone(&self.room)
                .acquire_owned()
                .await
                .expect("the semaphore is never closed");
            let accepted = match &self.socket {
                Socket::Tcp(listener) => listener.accept().await.and_then(|(stream, from)| {
                    // Delayed acknowledgements otherwise cost tens of milliseconds now and then.
                    stream.set_nodelay(true)?;
                    Ok((Wire::Tcp(stream), Origin::Tcp(from)))
                }),
                Socket::Unix(listener) => {
                    listener.accept().await.map(|(stream, _)| (Wire::Unix(stream), Origin::Unix))
                }
            };
            match accepted {
                Ok((stream, origin)) => match self.hosts.enter(origin.ip()) {
                    Some(place) => return Connection::new(stream, origin, (permit, place)),
                    None => tracing::debug!("connection of a host that has many closed"),
                },
                Err(error) => {
                    // Out of files, or gone before it was taken: neither ends the listener.
                    tracing::debug!(%error, "connection not accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

/// How long a listener rests after a connection that it could not take.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

fn failed(address: &Address, flag: &'static str, error: &io::Error) -> ListenError {
    let address = address.clone();
    if error.kind() == io::ErrorKind::AddrInUse {
        ListenError::Taken { address, flag }
    } else {
        ListenError::Failed { address, problem: error.to_string(), flag }
    }
}

/// Binds in a directory that nobody else can enter and then moves the socket to its place, so that
/// there is no instant at which another user could connect. A dead socket in that place is replaced.
fn bind_private(path: &Path) -> io::Result<(UnixListener, SocketFile)> {
    let beside = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?.display();
    let private = beside.unwrap_or(Path::new(".")).join(format!(".{}.{name}", std::process::id()));
    fs::DirBuilder::new().mode(0o700).create(&private)?;
    let bind = || {
        let inside = private.join("s");
        let listener = UnixListener::bind(&inside)?;
        fs::set_permissions(&inside, fs::Permissions::from_mode(0o600))?;
        fs::rename(&inside, path)?;
        Ok((listener, SocketFile(path.to_owned())))
    };
    let bound = bind();
    // What is left of it on failure is an empty private directory: not worth another error.
    let _ = fs::remove_dir_all(&private);
    bound
}

/// Removes the socket's file when nobody listens any more.
#[derive(Debug)]
struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        // Somebody may have removed it already: then there is nothing to do.
        let _ = fs::remove_file(&self.0);
    }
}

/// Where a connection comes from.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A network address.
    Tcp(SocketAddr),
    /// A Unix socket: a process of this user.
    Unix,
}

/// What a request's extensions say of its connection.
#[derive(Clone, Debug)]
pub struct Peer {
    origin: Origin,
    spoke: Arc<AtomicBool>,
}

impl Origin {
    /// Its network address, where it has one.
    pub fn ip(self) -> Option<IpAddr> {
        match self {
            Self::Tcp(address) => Some(address.ip()),
            Self::Unix => None,
        }
    }
}

impl Peer {
    /// Where the connection comes from.
    pub fn origin(&self) -> Origin {
        self.origin
    }

    /// Its network address, where it has one.
    pub fn ip(&self) -> Option<IpAddr> {
        self.origin.ip()
    }

    /// Notes that a whole request arrived: from then on the connection may be quiet.
    pub(super) fn note_request(&self) {
        self.spoke.store(true, Ordering::Relaxed);
    }
}

#[derive(Debug)]
enum Wire {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// A connection that has to bring a request before its patience ends and to take what it is answered, and
/// that gives its places back when it is dropped.
#[derive(Debug)]
pub(super) struct Connection {
    stream: Wire,
    peer: Peer,
    patience: Pin<Box<Sleep>>,
    /// Until when something has to be taken, while nothing is.
    stalled: Option<Pin<Box<Sleep>>>,
    _places: (OwnedSemaphorePermit, Place),
}

impl Connection {
    fn new(stream: Wire, origin: Origin, places: (OwnedSemaphorePermit, Place)) -> Self {
        Self {
            stream,
            peer: Peer { origin, spoke: Arc::default() },
            patience: Box::pin(tokio::time::sleep(FIRST_REQUEST_MAX)),
            stalled: None,
            _places: places,
        }
    }
}

impl Connection {
    /// Who is at its other end.
    pub(super) fn peer(&self) -> Peer {
        self.peer.clone()
    }

    /// What came of a write: an error where nothing was taken for too long. HTTP/2's own questions do not find
    /// that out, because they stand in line behind it.
    fn written<T>(
        &mut self,
        cx: &mut Context<'_>,
        wrote: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if wrote.is_ready() {
            self.stalled = None;
            return wrote;
        }
        let new = || Box::pin(tokio::time::sleep(WRITE_STALL_MAX));
        match self.stalled.get_or_insert_with(new).as_mut().poll(cx) {
            Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let quiet = !self.peer.spoke.load(Ordering::Relaxed);
        if quiet && self.patience.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        match &mut self.stream {
            Wire::Tcp(stream) => Pin::new(stream).poll_read(cx, buf),
            Wire::Unix(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let wrote = match &mut self.stream {
            Wire::Tcp(stream) => Pin::new(stream).poll_write(cx, buf),
            Wire::Unix(stream) => Pin::new(stream).poll_write(cx, buf),
        };
        self.written(cx, wrote)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let wrote = match &mut self.stream {
            Wire::Tcp(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Wire::Unix(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
        };
        self.written(cx, wrote)
    }

    fn is_write_vectored(&self) -> bool {
        match &self.stream {
            Wire::Tcp(stream) => stream.is_write_vectored(),
            Wire::Unix(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Wire::Tcp(stream) => Pin::new(stream).poll_flush(cx),
            Wire::Unix(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Wire::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Wire::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
