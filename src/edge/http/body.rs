//! Bodies, read whole within a length and a time.

use axum::body::Body;
use axum::http::StatusCode;
use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};

use super::limits::BODY_READ_MAX;
use crate::domain::fault::{Class, Fault};

/// Why a body is not read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// Longer than anything that is read.
    #[error("the body has more than {max} bytes")]
    TooLong {
        /// How long it may be.
        max: usize,
    },
    /// It did not arrive in time.
    #[error("the body did not arrive in {} s", BODY_READ_MAX.as_secs())]
    Slow,
    /// It broke off.
    #[error("the body broke off")]
    Broken,
}

impl BodyError {
    /// Its HTTP status.
    pub const fn status(&self) -> StatusCode {
        match self {
            Self::TooLong { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Slow => StatusCode::REQUEST_TIMEOUT,
            Self::Broken => StatusCode::BAD_REQUEST,
        }
    }
}

impl Fault for BodyError {
    fn code(&self) -> &'static str {
        match self {
            Self::TooLong { .. } => "http.body_too_long",
            Self::Slow => "http.body_slow",
            Self::Broken => "http.body_broken",
        }
    }

    fn class(&self) -> Class {
        match self {
            Self::TooLong { .. } => Class::Final,
            Self::Slow | Self::Broken => Class::Later,
        }
    }
}

/// The whole of `body`, of at most `max` bytes, within [`BODY_READ_MAX`].
///
/// # Errors
/// [`BodyError`].
pub async fn read_whole(body: Body, max: usize) -> Result<Bytes, BodyError> {
    let reading = Limited::new(body, max).collect();
    match tokio::time::timeout(BODY_READ_MAX, reading).await {
        Ok(Ok(whole)) => Ok(whole.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(BodyError::TooLong { max }),
        Ok(Err(_)) => Err(BodyError::Broken),
        Err(_) => Err(BodyError::Slow),
    }
}
