//! Paid methods of any tonic service: [`X402Layer`] on the server, [`PayingLayer`] on the client.
//!
//! The server's layer hands a paid call to a payee, whose engine is the service beneath the layer: the
//! payment is checked, bound to this very method and message, and settled before the answer leaves. The
//! client's layer pays an offer within the agent's budgets and calls once more. Neither decides what
//! may be paid: that is the payee's offer, and the payer's policy.
//!
//! What a paid method gets is its message, and of the metadata only what the layer was told to pass on:
//! a payment is bound to all of it.

mod client;
mod engine;
mod purse;
mod server;

pub use client::{PayingLayer, PayingService, REQUEST_ID};
pub use engine::PaidMethod;
pub use purse::{PayerPurse, Purse, Signed, Unpaid};
pub use server::{X402Layer, X402Service};

use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use tonic::Status;
use tonic::body::Body;

/// Longest message of a paid method, in bytes: it is read whole before anything is bound to it.
pub const PAID_MESSAGE_LEN_MAX: usize = 1024 * 1024;

/// The whole body of a request.
async fn read_whole(body: Body) -> Result<Bytes, Status> {
    match Limited::new(body, PAID_MESSAGE_LEN_MAX).collect().await {
        Ok(whole) => Ok(whole.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(Status::out_of_range(format!(
            "a paid method takes at most {PAID_MESSAGE_LEN_MAX} bytes"
        ))),
        Err(error) => Err(Status::cancelled(error.to_string())),
    }
}

#[cfg(test)]
mod tests;
