//! A facilitator's door over HTTP: `POST /verify`, `POST /settle`, `GET /supported`, in version 2 of x402 and,
//! for those that still speak it, version 1.
//!
//! An answer has the status 200 whatever it says; 429 where too much was asked about one payer's payments, 400
//! where what was asked does not read (415 where it is not JSON, 413 where it is too long, 408 where it came too
//! slowly), and 503 for trouble of ours, with a body of the same shape.
//! Source: x402 v2 section 7.

mod version1;

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::{
    CACHE_CONTROL, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER,
};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use crate::domain::x402::PaymentCode;
use crate::domain::x402::bazaar;
use crate::domain::x402::error::PaymentError;
use crate::domain::x402::read::{ASKED_LEN_MAX, parse_asked, to_json};
use crate::domain::x402::wire::{
    AskedPayment, PaymentPayload, SettlementResponse, Supported, VerifyResponse, X402_VERSION,
};
use crate::edge::http::body::read_whole;
use crate::runtime::facilitator::{Answer, Facilitator, Standing};

/// What became of a payment's extensions.
const EXTENSION_RESPONSES: HeaderName = HeaderName::from_static("extension-responses");

/// Why a resource is not listed.
const NOT_LISTED: &str =
    "info does not say how the resource is called as the extension has it, or is too long";

/// How many requests are worked on at a time; whoever comes next waits.
const REQUESTS_MAX: usize = 256;

#[derive(Clone)]
struct Door {
    facilitator: Arc<Facilitator>,
    places: Arc<Semaphore>,
}

/// Its routes.
pub fn routes(facilitator: Arc<Facilitator>) -> Router {
    let door = Door { facilitator, places: Arc::new(Semaphore::new(REQUESTS_MAX)) };
    Router::new()
        .route("/verify", post(verify))
        .route("/settle", post(settle))
        .route("/supported", get(supported))
        .with_state(door)
}

/// What somebody asks, and in which version to answer.
struct Read {
    asked: AskedPayment,
    /// The network's name in the version that was asked in.
    network: Option<String>,
}

async fn verify(State(door): State<Door>, headers: HeaderMap, body: Body) -> Response {
    let Read { asked, .. } = match read(&headers, body).await {
        Ok(read) => read,
        Err(unread) => {
            let body = VerifyResponse {
                is_valid: false,
                invalid_reason: Some(unread.code.as_str().to_owned()),
                invalid_message: Some(unread.message),
                payer: None,
                extra: None,
            };
            return json(unread.status, to_json(&body));
        }
    };
    let _place = door.places.acquire().await;
    let AskedPayment { payment_payload, payment_requirements, .. } = asked;
    show(&door.facilitator.verify(&payment_payload, &payment_requirements).await)
}

async fn settle(State(door): State<Door>, headers: HeaderMap, body: Body) -> Response {
    let Read { asked, network } = match read(&headers, body).await {
        Ok(read) => read,
        Err(unread) => return json(unread.status, to_json(&failed(unread.code))),
    };
    let _place = door.places.acquire().await;
    let AskedPayment { payment_payload, payment_requirements, .. } = asked;
    let listed = listed(&payment_payload);
    let facilitator = Arc::clone(&door.facilitator);
    // Whoever asked may hang up: what was begun is brought to its end.
    let settling =
        tokio::spawn(
            async move { facilitator.settle(&payment_payload, &payment_requirements).await },
        );
    match settling.await {
        Ok(mut answer) => {
            answer.body.network = network.unwrap_or(answer.body.network);
            let mut response = show(&answer);
            if let Some(word) = listed.filter(|_| answer.body.success) {
                response.headers_mut().insert(EXTENSION_RESPONSES, word);
            }
            response
        }
        // It broke off in the middle: nobody knows what was sent.
        Err(_) => {
            let body = failed(PaymentCode::Pending);
            show(&Answer { body, standing: Standing::Trouble })
        }
    }
}

async fn supported(State(door): State<Door>) -> Response {
    let mut supported: Supported = door.facilitator.supported();
    supported.kinds.extend(version1::kinds(&supported.kinds));
    json(StatusCode::OK, to_json(&supported))
}

/// What becomes of the listing that a payment asks for, once it is settled; nothing where it asks for none.
/// Source: x402 extension bazaar, section "Verify and Settlement Response Header".
fn listed(payment: &PaymentPayload) -> Option<HeaderValue> {
    payment.extensions.as_ref()?.get(bazaar::KEY)?;
    let word = match bazaar::find_discovered(payment, "") {
        Some(_) => json!({ "status": "success" }),
        None => json!({ "status": "rejected", "rejectedReason": NOT_LISTED }),
    };
    let text = STANDARD.encode(json!({ bazaar::KEY: word }).to_string());
    HeaderValue::from_str(&text).ok()
}

fn failed(code: PaymentCode) -> SettlementResponse {
    SettlementResponse {
        success: false,
        error_reason: Some(code.as_str().to_owned()),
        payer: None,
        transaction: String::new(),
        network: String::new(),
        amount: None,
        extra: None,
        extensions: None,
    }
}

/// Why nothing was asked that could be answered.
struct Unread {
    status: StatusCode,
    code: PaymentCode,
    message: String,
}

impl From<PaymentError> for Unread {
    fn from(error: PaymentError) -> Self {
        let message = error.to_string();
        Self { status: StatusCode::BAD_REQUEST, code: error.wire(), message }
    }
}

async fn read(headers: &HeaderMap, body: Body) -> Result<Read, Unread> {
    // A page in somebody's browser may send a form or plain text wherever it likes, but no JSON unasked.
    if !is_json(headers) {
        return Err(Unread {
            status: StatusCode::UNSUPPORTED_MEDIA_TYPE,
            code: PaymentCode::Payload,
            message: "expected content-type: application/json".to_owned(),
        });
    }
    let whole = read_whole(body, ASKED_LEN_MAX).await.map_err(|error| Unread {
        status: error.status(),
        code: PaymentCode::Payload,
        message: error.to_string(),
    })?;
    Ok(parse(&whole)?)
}

fn is_json(headers: &HeaderMap) -> bool {
    let said = headers.get(CONTENT_TYPE).and_then(|said| said.to_str().ok()).unwrap_or_default();
    let essence = said.split(';').next().unwrap_or_default().trim();
    essence.eq_ignore_ascii_case("application/json")
}

/// Strict in form, and open about the version: a payment that says its own counts where the request says
/// none, as some peers send it.
fn parse(body: &[u8]) -> Result<Read, PaymentError> {
    let (mut object, said): (Value, Option<u64>) = parse_asked(body)?;
    let inner = object.pointer("/paymentPayload/x402Version").and_then(Value::as_u64);
    let version = said.or(inner);
    match version {
        Some(1) => {
            let (asked, network) = version1::read(&object)?;
            Ok(Read { asked, network: Some(network) })
        }
        Some(2) => {
            if let Some(object) = object.as_object_mut() {
                object.insert("x402Version".to_owned(), X402_VERSION.into());
            }
            let asked = version1::typed(object)?;
            Ok(Read { asked, network: None })
        }
        found => Err(PaymentError::Version { found }),
    }
}

fn show<T: Serialize>(answer: &Answer<T>) -> Response {
    let status = match answer.standing {
        Standing::Said => StatusCode::OK,
        Standing::Malformed => StatusCode::BAD_REQUEST,
        Standing::Trouble => StatusCode::SERVICE_UNAVAILABLE,
        Standing::Limited(_) => StatusCode::TOO_MANY_REQUESTS,
    };
    let mut response = json(status, to_json(&answer.body));
    if let Standing::Limited(limited) = answer.standing
        && let Some(wait_ms) = limited.retry_after_ms()
    {
        response.headers_mut().insert(RETRY_AFTER, wait_ms.div_ceil(1_000).into());
    }
    response
}

fn json(status: StatusCode, body: Vec<u8>) -> Response {
    let head = [(CONTENT_TYPE, "application/json"), (CACHE_CONTROL, "no-store")];
    (status, head, body).into_response()
}
