//! Connecting: which endpoints may be called, and how many connections are kept.

use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use http::Uri;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::transport::{Channel, Endpoint};
use tower::Service;

pub use crate::domain::host::is_public;
use crate::edge::grpc::client::GrpcPaidService;
use crate::edge::grpc::limits::{
    CONNECT_MAX, CONNECTIONS_PER_PROVIDER, ENDPOINT_LEN_MAX, KEEPALIVE_EVERY, KEEPALIVE_MAX,
    METADATA_LEN_MAX, PROVIDERS_CONNECTED_MAX,
};
use crate::ports::paid_service::{Connector, PaidService, ServiceError};

/// How far a client may reach. A listing's endpoint is another's word: without this bound it could
/// send our calls anywhere.
#[derive(Clone, Debug, Default)]
pub enum Reach {
    /// Loopback and Unix sockets.
    #[default]
    Loopback,
    /// Those, and any host by TLS whose certificate these roots vouch for.
    Secured(Secured),
    /// Any host, in the clear: only where the configuration says so.
    Anywhere,
}

/// How hosts elsewhere are reached.
#[derive(Clone, Debug)]
pub struct Secured {
    /// Whose certificates are believed.
    pub roots: Arc<ClientConfig>,
    /// Whether a name may lead to a private address. A listing's name is another's word: without this
    /// bound it could make us call our own network. Source: threats.md G07.
    pub private: bool,
}

/// A checked endpoint, and how it is reached.
#[derive(Clone, Debug)]
pub struct Checked {
    endpoint: Endpoint,
    secured: Option<Secured>,
}

impl Checked {
    /// Connects now.
    ///
    /// # Errors
    /// The transport's own.
    pub async fn connect(&self) -> Result<Channel, tonic::transport::Error> {
        match self.secured.clone() {
            None => self.endpoint.connect().await,
            Some(secured) => self.endpoint.connect_with_connector(dialer(secured)).await,
        }
    }

    /// Connects when it is first used.
    pub fn connect_lazy(&self) -> Channel {
        match self.secured.clone() {
            None => self.endpoint.connect_lazy(),
            Some(secured) => self.endpoint.connect_with_connector_lazy(dialer(secured)),
        }
    }
}

/// A checked endpoint, ready to be connected to: `http://host:port`, `https://host:port` or `unix:/path`.
///
/// # Errors
/// [`ServiceError::Malformed`] for any other form, and for a host beyond `reach`.
pub fn check_endpoint(endpoint: &str, reach: &Reach) -> Result<Checked, ServiceError> {
    let mut secured = None;
    let wrong = |problem: &str| ServiceError::Malformed {
        field: "endpoint".to_owned(),
        problem: format!("`{}` {problem}", endpoint.chars().take(128).collect::<String>()),
    };
    if endpoint.len() > ENDPOINT_LEN_MAX || endpoint.chars().any(char::is_control) {
        return Err(wrong("is too long or has control characters"));
    }
    if let Some(path) = endpoint.strip_prefix("unix:") {
        if !path.starts_with('/') || path.starts_with("//") {
            return Err(wrong("names no absolute path: expected unix:/path"));
        }
    } else {
        let uri: Uri = endpoint.parse().map_err(|_| wrong("is not a URI"))?;
        let plain = uri.path() == "/" && uri.query().is_none();
        let authority = uri.authority().filter(|authority| !authority.as_str().contains('@'));
        if !plain || authority.and_then(http::uri::Authority::port_u16).is_none() {
            return Err(wrong("expected https://host:port or http://host:port and nothing else"));
        }
        let near = is_loopback(uri.host().unwrap_or_default());
        match (uri.scheme_str(), reach) {
            (Some("https"), Reach::Secured(how)) => secured = Some(how.clone()),
            (Some("https"), _) => return Err(wrong("needs roots to be believed: configure some")),
            (Some("http"), Reach::Anywhere) => {}
            (Some("http"), _) if near => {}
            (Some("http"), _) => {
                return Err(wrong("is not loopback, and nothing crosses a network in the clear"));
            }
            _ => return Err(wrong("expected https://host:port, http://host:port or unix:/path")),
        }
    }
    let built = Endpoint::from_shared(endpoint.to_owned()).map_err(|_| wrong("is not a URI"))?;
    let endpoint = built
        .connect_timeout(CONNECT_MAX)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(KEEPALIVE_EVERY)
        .keep_alive_timeout(KEEPALIVE_MAX)
        .http2_max_header_list_size(METADATA_LEN_MAX);
    Ok(Checked { endpoint, secured })
}

/// Looks a name up, checks where it leads, and connects to that very address.
fn dialer(
    secured: Secured,
) -> impl Service<Uri, Response = Dialed, Error = io::Error, Future: Send> + Clone + Send + 'static
{
    tower::service_fn(move |uri: Uri| {
        let secured = secured.clone();
        async move {
            match timeout(CONNECT_MAX, dial(&uri, &secured)).await {
                Ok(dialed) => dialed.map(TokioIo::new),
                Err(_) => Err(io::ErrorKind::TimedOut.into()),
            }
        }
    })
}

type Dialed = TokioIo<TlsStream<TcpStream>>;

async fn dial(uri: &Uri, secured: &Secured) -> io::Result<TlsStream<TcpStream>> {
    let host = uri.host().unwrap_or_default();
    let bare = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    let port = uri.port_u16().unwrap_or(HTTPS_PORT);
    let found = lookup_host((bare.as_str(), port)).await?.take(ADDRESSES_MAX);
    let mut refused = io::Error::from(io::ErrorKind::AddrNotAvailable);
    for address in found {
        if !secured.private && !is_public(address.ip()) {
            let problem = format!("{host} leads to {}, which is private", address.ip());
            refused = io::Error::new(io::ErrorKind::PermissionDenied, problem);
            continue;
        }
        match TcpStream::connect(address).await {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                let name = ServerName::try_from(bare.clone()).map_err(io::Error::other)?;
                let connector = TlsConnector::from(Arc::clone(&secured.roots));
                return connector.connect(name, stream).await;
            }
            Err(error) => refused = error,
        }
    }
    Err(refused)
}

/// Where a URI names no port.
const HTTPS_PORT: u16 = 443;

/// Addresses of one name that are tried.
const ADDRESSES_MAX: usize = 8;

/// Whether a host is this machine by its own spelling; names are never looked up to find out.
fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    bare.parse().is_ok_and(|ip: IpAddr| ip.is_loopback())
}

/// One connection to `endpoint`, made now.
///
/// # Errors
/// As [`check_endpoint`]; [`ServiceError::Unavailable`] where nobody answers.
pub async fn connect_one(endpoint: &str, reach: Reach) -> Result<Channel, ServiceError> {
    let checked = check_endpoint(endpoint, &reach)?;
    checked.connect().await.map_err(|error| nobody(endpoint, &error))
}

fn nobody(endpoint: &str, error: &tonic::transport::Error) -> ServiceError {
    let mut words = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(inner) = source {
        words = inner.to_string();
        source = inner.source();
    }
    ServiceError::Unavailable(format!("{endpoint}: {words}"))
}

/// Finds services behind endpoints and keeps connections to those it used last.
pub struct GrpcConnector {
    reach: Reach,
    kept: Mutex<Vec<(String, Arc<GrpcPaidService>)>>,
}

impl GrpcConnector {
    /// A connector that goes no further than `reach`.
    pub fn new(reach: Reach) -> Self {
        Self { reach, kept: Mutex::default() }
    }

    /// The service at `endpoint`, if it is kept; it is then the one used last.
    fn find_kept(&self, endpoint: &str) -> Option<Arc<GrpcPaidService>> {
        let mut kept = self.kept.lock().expect("no holder of the connections panics");
        let place = kept.iter().position(|(known, _)| known == endpoint)?;
        let found = kept.remove(place);
        let service = Arc::clone(&found.1);
        kept.push(found);
        Some(service)
    }

    fn keep(&self, endpoint: &str, service: &Arc<GrpcPaidService>) {
        let mut kept = self.kept.lock().expect("no holder of the connections panics");
        kept.retain(|(known, _)| known != endpoint);
        if kept.len() >= PROVIDERS_CONNECTED_MAX {
            kept.remove(0);
        }
        kept.push((endpoint.to_owned(), Arc::clone(service)));
    }
}

#[async_trait]
impl Connector for GrpcConnector {
    async fn connect(&self, endpoint: &str) -> Result<Arc<dyn PaidService>, ServiceError> {
        if let Some(service) = self.find_kept(endpoint) {
            return Ok(service);
        }
        let checked = check_endpoint(endpoint, &self.reach)?;
        let first = checked.connect().await.map_err(|error| nobody(endpoint, &error))?;
        // The others connect when they are first used, and all of them again after a loss.
        let mut channels = vec![first];
        channels.resize_with(CONNECTIONS_PER_PROVIDER, || checked.connect_lazy());
        let service = Arc::new(GrpcPaidService::new(channels));
        self.keep(endpoint, &service);
        Ok(service)
    }
}

#[cfg(test)]
mod tests;
