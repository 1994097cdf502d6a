//! Which URLs may be called, and what they may resolve to.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use reqwest::Url;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use crate::domain::fault::{Class, Fault};
use crate::domain::x402::read::URL_LEN_MAX;

/// How far a client may reach. A URL may be another's word: without this bound it could send requests
/// anywhere.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub enum Reach {
    /// This machine: loopback addresses, and `localhost`.
    #[default]
    Loopback,
    /// Any host but those that no name should lead to, in the clear: only where the configuration says so.
    Anywhere,
}

/// Why a URL is not called.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OriginError {
    /// Not an absolute `http` URL, or longer than what is read.
    #[error("expected http://host[:port]/path; TLS is not spoken yet")]
    NotHttp,
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
    pub fn of(url: &str, reach: Reach) -> Result<Self, OriginError> {
        let origin = Self::named_by(url)?;
        let bare = origin.host.trim_start_matches('[').trim_end_matches(']');
        let allowed = match (reach, bare.parse::<IpAddr>()) {
            (Reach::Loopback, Ok(ip)) => ip.is_loopback(),
            (Reach::Loopback, Err(_)) => bare == LOCALHOST,
            (Reach::Anywhere, Ok(ip)) => is_callable(ip),
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
        if read.scheme() != "http" {
            return Err(OriginError::NotHttp);
        }
        if !read.username().is_empty() || read.password().is_some() {
            return Err(OriginError::User);
        }
        let host = host.trim_end_matches('.').to_owned();
        Ok(Self { scheme: read.scheme().to_owned(), host, port })
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

/// Whether an address may be called where any may: not this machine, not its own network's, not the one
/// at which clouds keep their secrets. Source: threats.md G07.
fn is_callable(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(ip) => {
            let [first, second, ..] = ip.octets();
            let shared = first == 100 && (64..128).contains(&second);
            !(ip.is_private()
                || ip.is_loopback()
                || ip.is_link_local()
                || ip.is_unspecified()
                || ip.is_broadcast()
                || ip.is_multicast()
                || ip.is_documentation()
                || first == 0
                || shared)
        }
        IpAddr::V6(ip) => {
            !(ip.is_loopback()
                || ip.is_unspecified()
                || ip.is_multicast()
                || ip.is_unique_local()
                || ip.is_unicast_link_local())
        }
    }
}

/// Resolves names, and gives nothing that may not be called: what was looked at is what is connected to.
pub(super) struct Names(Reach);

impl Names {
    pub(super) fn new(reach: Reach) -> Arc<Self> {
        Arc::new(Self(reach))
    }
}

impl Resolve for Names {
    fn resolve(&self, name: Name) -> Resolving {
        let reach = self.0;
        Box::pin(async move {
            if reach == Reach::Loopback {
                let own = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
                let own = Some(own).filter(|_| name.as_str().trim_end_matches('.') == LOCALHOST);
                let found: Addrs = Box::new(own.into_iter());
                return Ok(found);
            }
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let allowed: Vec<_> = found.filter(|address| is_callable(address.ip())).collect();
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
        ] {
            let refused = Origin::of(url, Reach::Anywhere);
            assert!(matches!(refused, Err(OriginError::Beyond(_))), "{url}: {refused:?}");
        }
        for url in
            ["http://example.com/", "http://8.8.8.8/", "http://10.0.0.1/", "http://loopback/"]
        {
            let refused = Origin::of(url, Reach::Loopback);
            assert!(matches!(refused, Err(OriginError::Beyond(_))), "{url}: {refused:?}");
        }
        for url in [
            "https://127.0.0.1/",
            "file:///etc/passwd",
            "127.0.0.1:80",
            "/relative",
            "http://",
            "http://127.0.0.1/a b",
            "gopher://127.0.0.1/",
        ] {
            assert_eq!(Origin::of(url, Reach::Loopback), Err(OriginError::NotHttp), "{url}");
        }
        let user = "http://127.0.0.1:80@example.com/";
        assert_eq!(Origin::of(user, Reach::Loopback), Err(OriginError::User));
    }

    #[test]
    fn what_is_the_same_host_is_one_origin() {
        let origin = |url| Origin::of(url, Reach::Loopback).unwrap();
        assert_eq!(origin("http://127.0.0.1:80/a?b#c"), origin("HTTP://127.0.0.1/"));
        assert_eq!(origin("http://localhost.:4021/"), origin("http://LOCALHOST:4021/x"));
        assert_ne!(origin("http://127.0.0.1:81/"), origin("http://127.0.0.1/"));
        assert_eq!(origin("http://[::1]:7/").provider(), "v6-::1:7");
        assert_eq!(origin("http://localhost:7/").to_string(), "http://localhost:7");
    }

    #[tokio::test]
    async fn a_name_that_leads_home_resolves_to_nothing_where_any_host_may_be_called() {
        let names = Names::new(Reach::Anywhere);
        let found = names.resolve("localhost".parse().unwrap()).await.unwrap();
        assert_eq!(found.count(), 0);
        let home = Names::new(Reach::Loopback);
        let found = home.resolve("localhost".parse().unwrap()).await.unwrap();
        assert!(found.map(|address| address.ip().is_loopback()).eq([true]));
        let found = home.resolve("example.com".parse().unwrap()).await.unwrap();
        assert_eq!(found.count(), 0);
    }
}
