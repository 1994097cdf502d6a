//! Requests to hosts elsewhere, by TLS: a name is looked up, where it leads is checked, and that very address is
//! called. One connection a request, HTTP/1.1, and nothing is kept of it.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::http::header::{HOST, HeaderMap, HeaderValue};
use axum::http::{Method, Request};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use reqwest::Url;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::domain::host::is_public;

use super::{CONNECT_MAX, EXCHANGE_MAX, Fetched};

/// Addresses of one name that are tried.
const ADDRESSES_MAX: usize = 8;

/// The most headers that are read of an answer.
const HEADERS_MAX: usize = 128;

/// The most of an answer's head that is read, in bytes.
const HEAD_LEN_MAX: usize = 64 * 1024;

/// How hosts elsewhere are reached.
#[derive(Clone, Debug)]
pub struct Secured {
    /// Whose certificates are believed.
    pub roots: Arc<ClientConfig>,
    /// Whether a name may lead to this machine or a private address. A URL may be another's word: without
    /// this bound it could make us call our own network. Source: threats.md G07.
    pub private: bool,
}

/// A request.
pub(super) struct Asked<'a> {
    pub(super) method: Method,
    pub(super) url: &'a str,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

impl Secured {
    /// Makes one request, and reads at most `len_max` bytes of the answer.
    pub(super) async fn exchange(
        &self,
        asked: Asked<'_>,
        len_max: usize,
    ) -> Result<Fetched, String> {
        match timeout(EXCHANGE_MAX, self.try_exchange(asked, len_max)).await {
            Ok(done) => done,
            Err(_) => Err("no answer in time".to_owned()),
        }
    }

    async fn try_exchange(&self, asked: Asked<'_>, len_max: usize) -> Result<Fetched, String> {
        let url: Url = asked.url.parse().map_err(|_| "the URL does not read".to_owned())?;
        let request = request(asked, &url)?;
        let stream = timeout(CONNECT_MAX, self.dial(&url)).await;
        let stream = stream.map_err(|_| "nobody answers there in time".to_owned())??;
        let (mut sender, connection) = http1::Builder::new()
            .max_headers(HEADERS_MAX)
            .max_buf_size(HEAD_LEN_MAX)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|error| error.to_string())?;
        let exchange = async move {
            let sent = sender.send_request(request).await.map_err(|error| error.to_string())?;
            let (head, mut body) = sent.into_parts();
            let mut read = Vec::new();
            while let Some(frame) = body.frame().await {
                let frame = frame.map_err(|error| error.to_string())?;
                let Some(chunk) = frame.data_ref() else { continue };
                if read.len().saturating_add(chunk.len()) > len_max {
                    return Err(format!("the answer has more than {len_max} bytes"));
                }
                read.extend_from_slice(chunk);
            }
            let (status, headers) = (head.status, head.headers);
            Ok(Fetched { status, headers, body: read.into(), paid: None })
        };
        tokio::pin!(exchange, connection);
        tokio::select! {
            biased;
            done = &mut exchange => done,
            // What came before the connection ended is still there to be read.
            _ = &mut connection => exchange.await,
        }
    }

    async fn dial(&self, url: &Url) -> Result<TlsStream<TcpStream>, String> {
        let host = url.host_str().unwrap_or_default();
        let bare =
            host.trim_start_matches('[').trim_end_matches(']').trim_end_matches('.').to_owned();
        let port = url.port_or_known_default().unwrap_or_default();
        let found = lookup_host((bare.as_str(), port)).await;
        let found: Vec<SocketAddr> =
            found.map_err(|error| error.to_string())?.take(ADDRESSES_MAX).collect();
        let mut refused = "its name leads nowhere".to_owned();
        for address in found {
            if !self.private && !is_public(address.ip()) {
                refused = "its name leads to a private address".to_owned();
                continue;
            }
            match TcpStream::connect(address).await {
                Ok(stream) => {
                    stream.set_nodelay(true).map_err(|error| error.to_string())?;
                    let name = ServerName::try_from(bare).map_err(|error| error.to_string())?;
                    let connector = TlsConnector::from(Arc::clone(&self.roots));
                    let secured = connector.connect(name, stream).await;
                    return secured.map_err(|error| error.to_string());
                }
                Err(error) => refused = error.to_string(),
            }
        }
        Err(refused)
    }
}

/// In origin form, for the host that the URL names.
fn request(asked: Asked<'_>, url: &Url) -> Result<Request<Full<Bytes>>, String> {
    let target = match url.query() {
        Some(query) => format!("{}?{query}", url.path()),
        None => url.path().to_owned(),
    };
    let host = url.host_str().unwrap_or_default();
    let host = url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
    let host = HeaderValue::try_from(host).map_err(|error| error.to_string())?;
    let request = Request::builder().method(asked.method).uri(target);
    let mut request = request.body(Full::new(asked.body)).map_err(|error| error.to_string())?;
    *request.headers_mut() = asked.headers;
    request.headers_mut().insert(HOST, host);
    Ok(request)
}
