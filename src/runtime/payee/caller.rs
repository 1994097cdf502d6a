//! Whoever waits for an answer, and what is held while it is made. What is held is given back before
//! the last word, so that a caller that comes again at once finds room.

use std::time::Duration;

use futures_util::StreamExt;
use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::ReceiverStream;

use crate::domain::fault::Fault;
use crate::domain::x402::wire::SettlementResponse;
use crate::ports::clock::Clock;
use crate::ports::paid_service::{Answer, Piece, ServiceError};
use crate::runtime::limits::Admission;
use crate::runtime::payee::flights::Flight;
use crate::runtime::payee::slots::{Slot, within};

/// Pieces of a streamed answer that wait for the caller.
const PIECES_MAX: usize = 16;

/// How long a caller may leave a piece lying; it counts as gone then, and is served all the same.
const CALLER_WAIT_MAX: Duration = Duration::from_secs(30);

/// How a call ended: served, or the code of why not.
pub(super) type Ended = Result<(), &'static str>;

/// What one paid call holds while it is served.
#[expect(dead_code, reason = "their drops are their use")]
pub(super) struct Held {
    pub flight: Flight,
    pub slot: Slot,
    pub payer: Option<Admission>,
    pub peer: Option<Admission>,
}

/// Whoever waits for the head of an answer. One that has gone away changes nothing about the money.
pub(super) struct Caller {
    pub reply: oneshot::Sender<Result<Answer, ServiceError>>,
    pub held: Held,
}

impl Caller {
    /// Ends the call at once.
    pub(super) fn end(self, outcome: Result<Answer, ServiceError>) -> Ended {
        drop(self.held);
        let ended = outcome.as_ref().map(|_| ()).map_err(Fault::code);
        let _ = self.reply.send(outcome);
        ended
    }

    /// Gives the head; the rest comes piece by piece.
    pub(super) fn begin(
        self,
        content_type: String,
        model: String,
        settled: Option<SettlementResponse>,
        clock: &dyn Clock,
    ) -> Listener<'_> {
        let (sender, pieces) = mpsc::channel(PIECES_MAX);
        let pieces = ReceiverStream::new(pieces).boxed();
        let answer = Answer { content_type, model, settled, pieces };
        let listens = self.reply.send(Ok(answer)).is_ok();
        Listener { pieces: listens.then_some(sender), held: self.held, clock }
    }
}

/// Whoever listens to a streamed answer.
pub(super) struct Listener<'d> {
    pieces: Option<mpsc::Sender<Result<Piece, ServiceError>>>,
    held: Held,
    clock: &'d dyn Clock,
}

impl Listener<'_> {
    /// Hands a piece on; who does not take it in time is not waited for again.
    pub(super) async fn send(&mut self, piece: Result<Piece, ServiceError>) {
        let Some(pieces) = &self.pieces else { return };
        let sent = within(self.clock, CALLER_WAIT_MAX, pieces.send(piece)).await;
        if !matches!(sent, Some(Ok(()))) {
            tracing::debug!("caller gone");
            self.pieces = None;
        }
    }

    /// Whether nobody listens any more.
    pub(super) fn is_gone(&self) -> bool {
        self.pieces.as_ref().is_none_or(mpsc::Sender::is_closed)
    }

    /// Ends the call with its last piece.
    pub(super) async fn end(self, last: Result<Piece, ServiceError>) -> Ended {
        let Self { pieces, held, clock } = self;
        drop(held);
        let ended = last.as_ref().map(|_| ()).map_err(Fault::code);
        if let Some(pieces) = pieces {
            let _ = within(clock, CALLER_WAIT_MAX, pieces.send(last)).await;
        }
        ended
    }
}
