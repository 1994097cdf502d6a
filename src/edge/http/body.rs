//! Bodies, read whole within a length and a time, and so many long ones at once.

use axum::body::Body;
use axum::http::StatusCode;
use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use tokio::sync::Semaphore;

use super::limits::{BODIES_MAX, BODY_BEGUN_MAX, BODY_READ_MAX};
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

/// The turns of all doors: they share one memory.
static TURNS: Semaphore = Semaphore::const_new(BODIES_MAX);

/// The whole of `body`, of at most `max` bytes, within [`BODY_READ_MAX`]. One that is longer than
/// [`BODY_BEGUN_MAX`] waits for its turn to go on.
///
/// # Errors
/// [`BodyError`].
pub async fn read_whole(body: Body, max: usize) -> Result<Bytes, BodyError> {
    read_in_turn(body, max, &TURNS).await
}

async fn read_in_turn(body: Body, max: usize, turns: &Semaphore) -> Result<Bytes, BodyError> {
    match tokio::time::timeout(BODY_READ_MAX, read(body, max, turns)).await {
        Ok(read) => read,
        Err(_) => Err(BodyError::Slow),
    }
}

async fn read(body: Body, max: usize, turns: &Semaphore) -> Result<Bytes, BodyError> {
    let mut body = Limited::new(body, max);
    let (mut first, mut more) = (Bytes::new(), BytesMut::new());
    let mut turn = None;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| match error.is::<LengthLimitError>() {
            true => BodyError::TooLong { max },
            false => BodyError::Broken,
        })?;
        let Ok(piece) = frame.into_data() else { continue };
        let len = first.len().saturating_add(more.len()).saturating_add(piece.len());
        if turn.is_none() && len > BODY_BEGUN_MAX {
            turn = Some(turns.acquire().await.expect("the turns are never closed"));
        }
        // What comes in one piece is not copied; of many small ones their frames are not kept.
        if first.is_empty() && more.is_empty() {
            first = piece;
        } else {
            more.extend_from_slice(&std::mem::take(&mut first));
            more.extend_from_slice(&piece);
        }
    }
    Ok(if more.is_empty() { first } else { more.freeze() })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

    use std::convert::Infallible;
    use std::pin::pin;

    use futures_util::poll;
    use tokio::sync::mpsc;
    use tokio_stream::wrappers::ReceiverStream;

    use super::*;

    const MAX: usize = 64 * 1024;

    /// A body, and what brings its pieces.
    fn coming() -> (mpsc::Sender<Result<Bytes, Infallible>>, Body) {
        let (sender, pieces) = mpsc::channel(8);
        (sender, Body::from_stream(ReceiverStream::new(pieces)))
    }

    fn piece(len: usize) -> Result<Bytes, Infallible> {
        Ok(vec![7; len].into())
    }

    #[tokio::test]
    async fn t05_a_body_arrives_as_it_was_sent_and_no_longer_than_it_may_be() {
        for lens in [vec![], vec![0], vec![1], vec![1, 2, 0, 3], vec![BODY_BEGUN_MAX, 1], vec![MAX]]
        {
            let (sender, body) = coming();
            for len in &lens {
                sender.send(piece(*len)).await.unwrap();
            }
            drop(sender);
            let whole = read_whole(body, MAX).await.unwrap();
            assert_eq!(whole.len(), lens.iter().sum::<usize>(), "{lens:?}");
            assert!(whole.iter().all(|byte| *byte == 7));
        }
        let long = read_whole(Body::from(vec![7; MAX + 1]), MAX).await;
        assert_eq!(long, Err(BodyError::TooLong { max: MAX }));
    }

    #[tokio::test]
    async fn t05_long_bodies_wait_for_their_turn_and_short_ones_do_not() {
        let turns = Semaphore::new(1);
        let (slow, body) = coming();
        let mut first = pin!(read_in_turn(body, MAX, &turns));
        slow.send(piece(BODY_BEGUN_MAX + 1)).await.unwrap();
        assert!(poll!(first.as_mut()).is_pending());
        let long = vec![7; BODY_BEGUN_MAX + 1];
        let mut second = pin!(read_in_turn(Body::from(long.clone()), MAX, &turns));
        assert!(poll!(second.as_mut()).is_pending());
        let short = Body::from(vec![7; BODY_BEGUN_MAX]);
        assert_eq!(read_in_turn(short, MAX, &turns).await.unwrap().len(), BODY_BEGUN_MAX);
        assert!(poll!(second.as_mut()).is_pending());
        drop(slow);
        assert_eq!(first.await.unwrap().len(), BODY_BEGUN_MAX + 1);
        assert_eq!(second.await.unwrap(), long);
    }

    #[tokio::test(start_paused = true)]
    async fn t05_who_gets_no_turn_in_time_is_told_and_waits_no_longer() {
        let turns = Semaphore::new(1);
        let held = turns.acquire().await.unwrap();
        let long = || Body::from(vec![7; BODY_BEGUN_MAX + 1]);
        let began = tokio::time::Instant::now();
        assert_eq!(read_in_turn(long(), MAX, &turns).await, Err(BodyError::Slow));
        assert_eq!(began.elapsed(), BODY_READ_MAX);
        drop(held);
        assert!(read_in_turn(long(), MAX, &turns).await.is_ok());
    }
}
