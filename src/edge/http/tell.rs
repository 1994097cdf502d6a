//! What a response says of the money, and who may keep the response.

use axum::body::Body;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderMap, HeaderValue};
use axum::response::Response;

use super::first;
use super::header::{self, PAYMENT_RESPONSE, X_PAYMENT_RESPONSE};
use super::limits::SETTLEMENT_TEXT_MAX;
use super::sell::Version;
use crate::domain::x402::wire::SettlementResponse;

/// Says what came of the settlement, in the payer's version. One too long for a header goes without its
/// extensions: an answer that is paid for is never withheld for them.
pub fn settled(headers: &mut HeaderMap, settlement: &SettlementResponse, version: Version) {
    let (name, said) = match version {
        Version::Second => (PAYMENT_RESPONSE, settlement.clone()),
        Version::First => (X_PAYMENT_RESPONSE, first::settlement_of(settlement)),
    };
    if header::put(headers, name.clone(), &said, SETTLEMENT_TEXT_MAX).is_err() {
        let bare = SettlementResponse { extensions: None, ..said };
        if let Err(error) = header::put(headers, name, &bare, SETTLEMENT_TEXT_MAX) {
            tracing::warn!(%error, "settlement not told");
        }
    }
}

/// A response with this body, which is of the type that its engine says.
pub fn typed(content_type: &str, body: Body) -> Response {
    let mut response = Response::new(body);
    if let Ok(value) = HeaderValue::from_str(content_type) {
        response.headers_mut().insert(CONTENT_TYPE, value);
    }
    response
}

/// What was paid for is for who paid, and an offer is for now: no cache keeps either.
/// Source: threats.md D15.
pub fn private(mut response: Response) -> Response {
    let never = HeaderValue::from_static("private, no-store");
    response.headers_mut().insert(CACHE_CONTROL, never);
    response
}
