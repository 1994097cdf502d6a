//! Connecting: which endpoints may be called, and how many connections are kept.

use std::net::IpAddr;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use tonic::transport::{Channel, Endpoint};

use crate::edge::grpc::client::GrpcPaidService;
use crate::edge::grpc::limits::{
    CONNECT_MAX, CONNECTIONS_PER_PROVIDER, ENDPOINT_LEN_MAX, KEEPALIVE_EVERY, KEEPALIVE_MAX,
    METADATA_LEN_MAX, PROVIDERS_CONNECTED_MAX,
};
use crate::ports::paid_service::{Connector, PaidService, ServiceError};

/// How far a client may reach. A listing's endpoint is another's word: without this bound it could
/// send our calls anywhere.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub enum Reach {
    /// Loopback and Unix sockets.
    #[default]
    Loopback,
    /// Any host, in the clear: only where the configuration says so.
    Anywhere,
}

/// A checked endpoint, ready to be connected to: `http://host:port` or `unix:/path`.
///
/// # Errors
/// [`ServiceError::Malformed`] for any other form, and for a host beyond `reach`.
pub fn check_endpoint(endpoint: &str, reach: Reach) -> Result<Endpoint, ServiceError> {
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
        let uri: http::Uri = endpoint.parse().map_err(|_| wrong("is not a URI"))?;
        if uri.scheme_str() != Some("http") {
            return Err(wrong("expected http://host:port or unix:/path; TLS is not spoken yet"));
        }
        let plain = uri.path() == "/" && uri.query().is_none();
        let authority = uri.authority().filter(|authority| !authority.as_str().contains('@'));
        if !plain || authority.and_then(http::uri::Authority::port_u16).is_none() {
            return Err(wrong("expected http://host:port and nothing else"));
        }
        if reach == Reach::Loopback && !is_loopback(uri.host().unwrap_or_default()) {
            return Err(wrong("is not loopback, and the configuration allows no other host"));
        }
    }
    let built = Endpoint::from_shared(endpoint.to_owned()).map_err(|_| wrong("is not a URI"))?;
    Ok(built
        .connect_timeout(CONNECT_MAX)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(KEEPALIVE_EVERY)
        .keep_alive_timeout(KEEPALIVE_MAX)
        .http2_max_header_list_size(METADATA_LEN_MAX))
}

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
    let checked = check_endpoint(endpoint, reach)?;
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
        let checked = check_endpoint(endpoint, self.reach)?;
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
