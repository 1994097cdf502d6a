//! Which URLs may be called, and what they may resolve to.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use reqwest::Url;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use crate::domain::fault::{Class, Fault};
use crate::domain::host::is_public;
use crate::domain::x402::read::URL_LEN_MAX;

use super::secured::Secured;

/// How far a client may reach. A URL may be another's word: without this bound it could send requests
/// anywhere.
#[derive(Clone, Debug, Default)]
pub enum Reach {
    /// This machine: loopback addresses, and `localhost`.
    #[default]
    Loopback,
    /// That in the clear, and any host by TLS whose certificate is believed.
    Secured(Secured),
    /// Any host but those that no name should lead to, in the clear: only where the configuration says so.
    Anywhere,
}

/// Why a URL is not called.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OriginError {
    /// Not an absolute `http` or `https` URL, or longer than what is read.
    #[error("expected https://host[:port]/path or http://host[:port]/path")]
    NotHttp,
    /// It is to be called by TLS, and no certificate would be believed.
    #[error("TLS is not spoken here: no roots are configured")]
    NoRoots,
    /// It names a user: that would fool whoever reads it.
    #[error("a URL with a user in it is not called")]
    User,
    /// Its host is beyond the client's reach.
    #[error("{0} is beyond what may be called here")]
    Beyond(String),
}

impl Fault for OriginError {
    fn code(&self) -> &'static str {
        match self {
            Self::NotHttp => "origin.not_http",
            Self::NoRoots => "origin.no_roots",
            Self::User => "origin.user",
            Self::Beyond(_) => "origin.beyond",
        }
    }

    fn class(&self) -> Class {
        Class::Final
    }
}

/// Whom a request goes to: `http://host:port`. A payment is for one of them.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Origin {
    scheme: String,
    host: String,
    port: u16,
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}://{}:{}", self.scheme, self.host, self.port)
    }
}

impl Origin {
    /// The origin of `url`, where it may be called.
    ///
    /// # Errors
    /// [`OriginError`].
    pub fn of(url: &str, reach: &Reach) -> Result<Self, OriginError> {
        let origin = Self::named_by(url)?;
        let bare = origin.host.trim_start_matches('[').trim_end_matches(']');
        let ip = bare.parse::<IpAddr>();
        let allowed = match (reach, ip) {
            // Where a name leads is looked at when it is called.
            (Reach::Secured(how), ip) if origin.is_secured() => {
                how.private || ip.is_ok_and(is_public) || bare.parse::<IpAddr>().is_err()
            }
            _ if origin.is_secured() => return Err(OriginError::NoRoots),
            (Reach::Loopback | Reach::Secured(_), Ok(ip)) => ip.is_loopback(),
            (Reach::Loopback | Reach::Secured(_), Err(_)) => bare == LOCALHOST,
            (Reach::Anywhere, Ok(ip)) => is_public(ip),
            (Reach::Anywhere, Err(_)) => true,
        };
        if allowed { Ok(origin) } else { Err(OriginError::Beyond(origin.host)) }
    }

    /// The origin of `url`, whether it may be called or not.
    ///
    /// # Errors
    /// [`OriginError::NotHttp`], [`OriginError::User`].
    pub fn named_by(url: &str) -> Result<Self, OriginError> {
        if url.len() > URL_LEN_MAX || !url.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(OriginError::NotHttp);
        }
        // The parser brings every spelling of a host into one: decimal and hexadecimal addresses too.
        let read: Url = url.parse().map_err(|_| OriginError::NotHttp)?;
        let (Some(host), Some(port)) = (read.host_str(), read.port_or_known_default()) else {
            return Err(OriginError::NotHttp);
        };
        if !["http", SECURED].contains(&read.scheme()) {
            return Err(OriginError::NotHttp);
        }
        if !read.username().is_empty() || read.password().is_some() {
            return Err(OriginError::User);
        }
        let host = host.trim_end_matches('.').to_owned();
        Ok(Self { scheme: read.scheme().to_owned(), host, port })
    }

    /// Whether it is called by TLS.
    pub fn is_secured(&self) -> bool {
        self.scheme == SECURED
    }

    /// As policies name providers: `127.0.0.1:4021`, `example.com:443`, `v6-::1:4021`.
    pub fn provider(&self) -> String {
        match self.host.strip_prefix('[') {
            Some(rest) => format!("v6-{}:{}", rest.trim_end_matches(']'), self.port),
            None => format!("{}:{}", self.host, self.port),
        }
    }
}

const LOCALHOST: &str = "localhost";
const SECURED: &str = "https";

/// Resolves names, and gives nothing that may not be called: what was looked at is what is connected to.
/// What is called by TLS is looked up where it is dialled.
pub(super) struct Names(bool);

impl Names {
    pub(super) fn new(reach: &Reach) -> Arc<Self> {
        Arc::new(Self(matches!(reach, Reach::Anywhere)))
    }
}

impl Resolve for Names {
    fn resolve(&self, name: Name) -> Resolving {
        let anywhere = self.0;
        Box::pin(async move {
            if !anywhere {
                let own = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
                let own = Some(own).filter(|_| name.as_str().trim_end_matches('.') == LOCALHOST);
                let found: Addrs = Box::new(own.into_iter());
                return Ok(found);
            }
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let allowed: Vec<_> = found.filter(|address| is_public(address.ip())).collect();
            let allowed: Addrs = Box::new(allowed.into_iter());
            Ok(allowed)
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

    use super::*;

    #[test]
    fn every_spelling_of_a_forbidden_host_is_refused() {
        for url in [
            "http://169.254.169.254/latest",
            "http://2852039166/",
            "http://0xa9fea9fe/",
            "http://0251.0376.0251.0376/",
            "http://[::ffff:169.254.169.254]/",
            "http://127.1/",
            "http://0/",
            "http://[::1]/",
            "http://10.0.0.1/",
            "http://192.168.1.1:8080/",
            "http://100.64.0.1/",
            "http://[fd00::1]/",
            "http://[fe80::1]/",
            "http://240.0.0.1/",
            "http://198.18.0.1/",
            // The same address as a translator's, and as a relay's.
            "http://[64:ff9b::a9fe:a9fe]/",
            "http://[2002:a9fe:a9fe::1]/",
        ] {
            let refused = Origin::of(url, &Reach::Anywhere);
            assert!(matches!(refused, Err(OriginError::Beyond(_))), "{url}: {refused:?}");
        }
        for url in
            ["http://example.com/", "http://8.8.8.8/", "http://10.0.0.1/", "http://loopback/"]
        {
            let refused = Origin::of(url, &Reach::Loopback);
            assert!(matches!(refused, Err(OriginError::Beyond(_))), "{url}: {refused:?}");
        }
        for url in [
            "file:///etc/passwd",
            "127.0.0.1:80",
            "/relative",
            "http://",
            "http://127.0.0.1/a b",
            "gopher://127.0.0.1/",
        ] {
            assert_eq!(Origin::of(url, &Reach::Loopback), Err(OriginError::NotHttp), "{url}");
        }
        let secured = Origin::of("https://127.0.0.1/", &Reach::Loopback);
        assert_eq!(secured, Err(OriginError::NoRoots));
        let user = "http://127.0.0.1:80@example.com/";
        assert_eq!(Origin::of(user, &Reach::Loopback), Err(OriginError::User));
    }

    #[test]
    fn g07_by_tls_no_spelling_of_a_private_address_is_called() {
        let ring = std::sync::Arc::new(rustls::crypto::ring::default_provider());
        let builder = rustls::ClientConfig::builder_with_provider(ring);
        let builder = builder.with_safe_default_protocol_versions().unwrap();
        let none = builder.with_root_certificates(rustls::RootCertStore::empty());
        let roots = std::sync::Arc::new(none.with_no_client_auth());
        let reach = |private| Reach::Secured(Secured { roots: roots.clone(), private });
        for url in
            ["https://127.0.0.1/", "https://169.254.169.254/", "https://10.1/", "https://[::1]/"]
        {
            let refused = Origin::of(url, &reach(false));
            assert!(matches!(refused, Err(OriginError::Beyond(_))), "{url}: {refused:?}");
            assert!(Origin::of(url, &reach(true)).is_ok(), "{url}");
        }
        for url in ["https://example.com/", "https://8.8.8.8:8443/x", "http://localhost:1/"] {
            assert!(Origin::of(url, &reach(false)).is_ok(), "{url}");
        }
        // In the clear it goes no further than this machine.
        let clear = Origin::of("http://example.com/", &reach(true));
        assert!(matches!(clear, Err(OriginError::Beyond(_))), "{clear:?}");
        let named = Origin::of("https://example.com/", &reach(false)).unwrap();
        assert_eq!((named.provider().as_str(), named.is_secured()), ("example.com:443", true));
        assert_ne!(Ok(named), Origin::named_by("http://example.com:443/"));
    }

    #[test]
    fn what_is_the_same_host_is_one_origin() {
        let origin = |url| Origin::of(url, &Reach::Loopback).unwrap();
        assert_eq!(origin("http://127.0.0.1:80/a?b#c"), origin("HTTP://127.0.0.1/"));
        assert_eq!(origin("http://localhost.:4021/"), origin("http://LOCALHOST:4021/x"));
        assert_ne!(origin("http://127.0.0.1:81/"), origin("http://127.0.0.1/"));
        assert_eq!(origin("http://[::1]:7/").provider(), "v6-::1:7");
        assert_eq!(origin("http://localhost:7/").to_string(), "http://localhost:7");
    }

    #[tokio::test]
    async fn a_name_that_leads_home_resolves_to_nothing_where_any_host_may_be_called() {
        let names = Names::new(&Reach::Anywhere);
        let found = names.resolve("localhost".parse().unwrap()).await.unwrap();
        assert_eq!(found.count(), 0);
        let home = Names::new(&Reach::Loopback);
        let found = home.resolve("localhost".parse().unwrap()).await.unwrap();
        assert!(found.map(|address| address.ip().is_loopback()).eq([true]));
        let found = home.resolve("example.com".parse().unwrap()).await.unwrap();
        assert_eq!(found.count(), 0);
    }
}
