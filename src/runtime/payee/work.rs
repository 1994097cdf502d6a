//! Runs the engine and meters it: bytes and time are counted here, tokens by the model.

use std::time::Duration;

use alloy::primitives::B256;
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use sha2::{Digest, Sha256};

use crate::domain::order::{Maxima, Usage};
use crate::domain::time::Timestamp;
use crate::ports::clock::Clock;
use crate::ports::engine::{EngineError, Step, Work};
use crate::runtime::payee::Desk;
use crate::runtime::payee::answer::Produced;

/// Longest answer that is made whole before it is settled, in bytes; it fits a gRPC message.
pub(super) const WHOLE_LEN_MAX: usize = 3 * 1024 * 1024;

/// Longest answer of all, in bytes: no order pays for more.
pub(super) const STREAMED_LEN_MAX: usize = 64 * 1024 * 1024;

/// An engine at work.
pub(super) struct Running<'d> {
    pub content_type: String,
    pub model: String,
    clock: &'d dyn Clock,
    steps: BoxStream<'static, Result<Step, EngineError>>,
    until: Timestamp,
    /// What the order covers of what is counted here.
    covered: Maxima,
    began: Timestamp,
    hash: Sha256,
    bytes: usize,
    /// What was made so far, while it is not longer than what is kept of it.
    made: Option<BytesMut>,
    made_max: usize,
}

/// What an engine did next.
pub(super) enum Next {
    Chunk(Bytes),
    /// What the engine counts with the next chunk.
    Used(Usage),
    /// It is done: what was made, if it was short enough to be kept whole.
    Done {
        usage: Usage,
        digest: B256,
        body: Option<Bytes>,
    },
}

impl Desk {
    /// Starts the engine; what it makes is kept up to `made_max` bytes.
    ///
    /// # Errors
    /// Any [`EngineError`].
    pub(super) async fn run(
        &self,
        work: Work,
        until: Timestamp,
        made_max: usize,
    ) -> Result<Running<'_>, EngineError> {
        let clock = self.parts.clock.as_ref();
        let began = clock.now();
        let covered = work.order.maxima;
        let starting = async {
            let mut steps = self.parts.engine.run(work).await?;
            let first = steps.next().await;
            Ok((steps, first))
        };
        let until = match covered.compute_ms {
            0 => until,
            most => until.min(began.after(Duration::from_millis(most))),
        };
        let (steps, first) = in_time(clock, until, starting).await?;
        let Some(Step::Begin { content_type, model }) = first.transpose()? else {
            return Err(EngineError::Failed("an answer has to begin by its head".to_owned()));
        };
        let made = Some(BytesMut::new());
        let (hash, bytes) = (Sha256::new(), 0);
        Ok(Running {
            content_type,
            model,
            clock,
            steps,
            until,
            covered,
            began,
            hash,
            bytes,
            made,
            made_max,
        })
    }

    /// The whole answer.
    ///
    /// # Errors
    /// Any [`EngineError`]; also for an answer above [`WHOLE_LEN_MAX`].
    pub(super) async fn produce(
        &self,
        work: Work,
        until: Timestamp,
    ) -> Result<Produced, EngineError> {
        let mut running = self.run(work, until, WHOLE_LEN_MAX).await?;
        loop {
            match running.next().await? {
                Next::Used(_) => {}
                Next::Chunk(_) if running.made.is_some() => {}
                Next::Done { usage, digest, body: Some(body) } => {
                    let Running { content_type, model, .. } = running;
                    return Ok(Produced { content_type, model, body, usage, digest });
                }
                Next::Chunk(_) | Next::Done { body: None, .. } => {
                    return Err(too_long(WHOLE_LEN_MAX));
                }
            }
        }
    }
}

impl Running<'_> {
    /// The next piece.
    ///
    /// # Errors
    /// Any [`EngineError`]; also for an engine that ends without a last step, or too late.
    pub(super) async fn next(&mut self) -> Result<Next, EngineError> {
        let next = async { Ok(self.steps.next().await) };
        match in_time(self.clock, self.until, next).await?.transpose()? {
            Some(Step::Chunk(chunk)) => self.take(chunk),
            Some(Step::Used(usage)) => Ok(Next::Used(usage)),
            Some(Step::Done(usage)) => Ok(self.end(usage)),
            Some(Step::Begin { .. }) => {
                Err(EngineError::Failed("an answer begins only once".to_owned()))
            }
            None => Err(EngineError::Failed("the answer broke off".to_owned())),
        }
    }

    /// How long the engine has worked, in milliseconds.
    pub(super) fn worked_ms(&self) -> u64 {
        let elapsed = self.clock.now().since(self.began);
        u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX)
    }

    /// When it will have worked so long.
    pub(super) fn worked_at(&self, ms: u64) -> Timestamp {
        self.began.after(Duration::from_millis(ms))
    }

    /// Takes a time out of the count in which the engine was not asked for anything.
    pub(super) fn rested(&mut self, rest: Duration) {
        self.began = self.began.after(rest);
        self.until = self.until.after(rest);
    }

    fn take(&mut self, chunk: Bytes) -> Result<Next, EngineError> {
        self.bytes = self.bytes.saturating_add(chunk.len());
        if self.bytes > STREAMED_LEN_MAX {
            return Err(too_long(STREAMED_LEN_MAX));
        }
        let bytes = u64::try_from(self.bytes).unwrap_or(u64::MAX);
        if self.covered.bytes > 0 && bytes > self.covered.bytes {
            return Err(EngineError::AnswerAboveOrder { covered: self.covered.bytes });
        }
        self.hash.update(&chunk);
        match &mut self.made {
            Some(made) if self.bytes <= self.made_max => made.extend_from_slice(&chunk),
            _ => self.made = None,
        }
        Ok(Next::Chunk(chunk))
    }

    fn end(&mut self, counted: Usage) -> Next {
        let usage = Usage {
            bytes: u64::try_from(self.bytes).unwrap_or(u64::MAX),
            compute_ms: self.worked_ms(),
            ..counted
        };
        let digest: [u8; 32] = self.hash.finalize_reset().into();
        Next::Done {
            usage,
            digest: B256::from(digest),
            body: self.made.take().map(BytesMut::freeze),
        }
    }
}

async fn in_time<T>(
    clock: &dyn Clock,
    until: Timestamp,
    work: impl Future<Output = Result<T, EngineError>>,
) -> Result<T, EngineError> {
    tokio::select! {
        biased;
        done = work => done,
        () = clock.sleep_until(until) => {
            Err(EngineError::Failed("it was not done in time".to_owned()))
        }
    }
}

fn too_long(bound: usize) -> EngineError {
    EngineError::Failed(format!("the answer is longer than {bound} bytes"))
}
