//! Who is at the other end of a request's connection.

use std::net::{IpAddr, SocketAddr};

use axum::extract::ConnectInfo;
use axum::http::Extensions;

/// The address that a request came from, where its server tells it as axum's servers do
/// (`into_make_service_with_connect_info::<SocketAddr>`).
pub(super) fn peer(extensions: &Extensions) -> Option<IpAddr> {
    extensions.get::<ConnectInfo<SocketAddr>>().map(|ConnectInfo(from)| from.ip())
}
