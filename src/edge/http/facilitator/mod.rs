//! A facilitator's door over HTTP: `POST /verify`, `POST /settle`, `GET /supported`, in version 2 of x402 and,
//! for those that still speak it, version 1.
//!
//! An answer has the status 200 whatever it says; 400 where what was asked does not read, and 503 for trouble
//! of ours, with a body of the same shape. Source: x402 v2 section 7.

mod version1;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::StatusCode;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::serve::ListenerExt;
use serde::Serialize;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use crate::domain::x402::PaymentCode;
use crate::domain::x402::error::PaymentError;
use crate::domain::x402::read::{OBJECT_LEN_MAX, parse_asked, to_json};
use crate::domain::x402::wire::{
    AskedPayment, SettlementResponse, Supported, VerifyResponse, X402_VERSION,
};
use crate::runtime::facilitator::{Answer, Facilitator, Standing};

/// How many requests are worked on at a time; whoever comes next waits.
const REQUESTS_MAX: usize = 256;

/// How long a stop waits for what is under way.
const DRAIN_MAX: Duration = Duration::from_secs(30);

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
        .layer(DefaultBodyLimit::max(OBJECT_LEN_MAX))
        .with_state(door)
}

/// Serves `routes` on `listener` until `stop` is done, and then what is under way.
///
/// # Errors
/// Where the listener fails.
pub async fn serve(
    routes: Router,
    listener: TcpListener,
    stop: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    // Answers are small: none waits for a second one to go with.
    let listener = listener.tap_io(|stream| {
        if let Err(problem) = stream.set_nodelay(true) {
            tracing::debug!(%problem, "socket kept its delay");
        }
    });
    let (stopped, until) = tokio::sync::oneshot::channel::<()>();
    let stop = async move {
        stop.await;
        drop(stopped);
    };
    let served = axum::serve(listener, routes).with_graceful_shutdown(stop);
    tokio::select! {
        biased;
        served = async { served.await } => served,
        () = async {
            // It is dropped when the stop has begun.
            drop(until.await);
            tokio::time::sleep(DRAIN_MAX).await;
        } => Ok(()),
    }
}

/// What somebody asks, and in which version to answer.
struct Read {
    asked: AskedPayment,
    /// The network's name in the version that was asked in.
    network: Option<String>,
}

async fn verify(State(door): State<Door>, body: Bytes) -> Response {
    let _place = door.places.acquire().await;
    match read(&body) {
        Ok(Read { asked: AskedPayment { payment_payload, payment_requirements, .. }, .. }) => {
            let answer = door.facilitator.verify(&payment_payload, &payment_requirements).await;
            show(&answer)
        }
        Err(error) => show(&Answer {
            body: VerifyResponse {
                is_valid: false,
                invalid_reason: Some(code_of(&error).as_str().to_owned()),
                invalid_message: Some(error.to_string()),
                payer: None,
                extra: None,
            },
            standing: Standing::Malformed,
        }),
    }
}

async fn settle(State(door): State<Door>, body: Bytes) -> Response {
    let _place = door.places.acquire().await;
    match read(&body) {
        Ok(Read { asked: AskedPayment { payment_payload, payment_requirements, .. }, network }) => {
            let facilitator = Arc::clone(&door.facilitator);
            // Whoever asked may hang up: what was begun is brought to its end.
            let settling = tokio::spawn(async move {
                facilitator.settle(&payment_payload, &payment_requirements).await
            });
            match settling.await {
                Ok(mut answer) => {
                    answer.body.network = network.unwrap_or(answer.body.network);
                    show(&answer)
                }
                Err(_) => show(&failed(PaymentCode::SettleFailed, Standing::Trouble, None)),
            }
        }
        Err(error) => show(&failed(code_of(&error), Standing::Malformed, Some(error.to_string()))),
    }
}

async fn supported(State(door): State<Door>) -> Response {
    let mut supported: Supported = door.facilitator.supported();
    supported.kinds.extend(version1::kinds(&supported.kinds));
    json(StatusCode::OK, to_json(&supported))
}

fn failed(
    code: PaymentCode,
    standing: Standing,
    _message: Option<String>,
) -> Answer<SettlementResponse> {
    let body = SettlementResponse {
        success: false,
        error_reason: Some(code.as_str().to_owned()),
        payer: None,
        transaction: String::new(),
        network: String::new(),
        amount: None,
        extra: None,
        extensions: None,
    };
    Answer { body, standing }
}

/// What does not read in general has no better code than that it is no payment.
fn code_of(error: &PaymentError) -> PaymentCode {
    error.wire()
}

/// Strict in form, and open about the version: a payment that says its own counts where the request says
/// none. Source: x402.md section 5, what peers were seen to send.
fn read(body: &[u8]) -> Result<Read, PaymentError> {
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
    };
    json(status, to_json(&answer.body))
}

fn json(status: StatusCode, body: Vec<u8>) -> Response {
    let head = [(CONTENT_TYPE, "application/json"), (CACHE_CONTROL, "no-store")];
    (status, head, body).into_response()
}
