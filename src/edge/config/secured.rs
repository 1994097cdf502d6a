//! Who listens to others, and how they are believed: certificates, keys and roots, by their files.

use std::net::SocketAddr;
use std::path::PathBuf;

use crate::edge::config::checked::Listen;
use crate::edge::config::node::{path, tcp};
use crate::edge::config::problem::Kind;
use crate::edge::config::reader::{Item, Section};

/// How a listener proves who it is; both files are PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The chain of certificates.
    pub cert: PathBuf,
    /// The private key.
    pub key: PathBuf,
}

/// `tls = { cert = "tls/node.crt", key = "tls/node.key" }`; the outer `None` is a mistake in it.
fn read_tls(section: &Section<'_>) -> Option<Option<TlsFiles>> {
    if section.find("tls").is_none() {
        return Some(None);
    }
    let table = section.section("tls");
    let file = |key: &'static str, right: &str| {
        table.required(key, right).and_then(|item| path(section.source(), &item))
    };
    let cert = file("cert", "cert = \"tls/node.crt\"");
    let key = file("key", "key = \"tls/node.key\"");
    table.end();
    Some(Some(TlsFiles { cert: cert?, key: key? }))
}

/// `listen` and `tls` of a section: any address with TLS, loopback without it, or with `sockets` a path.
pub(super) fn read_listen(
    section: &Section<'_>,
    default: SocketAddr,
    sockets: bool,
) -> Option<Listen> {
    let item = section.find("listen");
    let tls = read_tls(section);
    let socket = item.as_ref().filter(|item| sockets && is_socket(item));
    if let Some(socket) = socket {
        return crate::edge::config::node::socket(section.source(), socket);
    }
    match tls? {
        None => item.map_or(Some(default), |item| tcp(&item)).map(Listen::Tcp),
        Some(files) => {
            let at = item.map_or(Some(default), |item| anywhere(&item));
            at.map(|at| Listen::Tls { at, files })
        }
    }
}

fn is_socket(item: &Item<'_>) -> bool {
    item.is_text() && item.text().is_some_and(|text| text.starts_with("unix:"))
}

/// Any address and a port.
fn anywhere(item: &Item<'_>) -> Option<SocketAddr> {
    let text = item.text()?;
    let right = "an address and a port: \"0.0.0.0:8402\"";
    match text.parse() {
        Ok(addr) => Some(addr),
        Err(_) => item.wrong(Kind::BadValue, format!("`{text}` is not an address"), right),
    }
}

/// `public = "https://gpu.example.com:8403"`: where others find a listener that has no name of its own.
pub(super) fn read_public(section: &Section<'_>) -> Option<Option<String>> {
    let Some(item) = section.find("public") else { return Some(None) };
    let text = item.text()?;
    let uri = text.parse::<http::Uri>().ok().filter(|uri| {
        let whole = uri.scheme_str() == Some("https") && uri.port_u16().is_some();
        whole && uri.path() == "/" && uri.query().is_none() && !text.contains('@')
    });
    match uri {
        Some(_) => Some(Some(text.trim_end_matches('/').to_owned())),
        None => {
            let what = format!("`{text}` is no endpoint that others can reach");
            item.wrong(Kind::BadValue, what, "\"https://HOST:PORT\"")
        }
    }
}

/// `ca = "tls/ca.crt"` of `[discovery]`: whose certificates are believed instead of the public web's.
pub(super) fn read_ca(section: &Section<'_>) -> Option<Option<PathBuf>> {
    match section.find("ca") {
        None => Some(None),
        Some(item) => path(section.source(), &item).map(Some),
    }
}
