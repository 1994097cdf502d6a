//! What a provider sells: an engine that turns a paid request into a stream of bytes.

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::BoxStream;

use crate::domain::fault::{Class, Fault};
use crate::domain::order::{Order, Units, Usage};

/// A request as the engine sees it: opaque bytes under a content type, and the order it must fit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Work {
    /// What was ordered and paid for.
    pub order: Order,
    /// The body's content type.
    pub content_type: String,
    /// The body.
    pub body: Bytes,
}

/// One step of an engine's answer. Exactly one [`Step::Done`] ends a good answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// The answer's content type, and which model (with its weights' hash) answers; comes first.
    Begin {
        /// The answer's content type.
        content_type: String,
        /// Model name and weights' hash.
        model: String,
    },
    /// A piece of the answer.
    Chunk(Bytes),
    /// What was used with everything that came so far and the next chunk, as far as the engine counts:
    /// tokens. An engine that says so can be paid token by token; from one that does not, each byte is
    /// taken for a token until it is done.
    Used(Usage),
    /// What was used in all.
    Done(Usage),
}

/// Why an engine gave no whole answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EngineError {
    /// The body is not what the capability takes.
    #[error("the body is not a valid {capability} request: {problem}")]
    BadRequest {
        /// The capability asked for.
        capability: String,
        /// What was wrong and what would be right.
        problem: String,
    },
    /// The body needs more input units than the order paid for.
    #[error("the body counts {counted} input units, the order covers {covered}")]
    InputAboveOrder {
        /// Counted by the model.
        counted: u64,
        /// Covered by the order.
        covered: u64,
    },
    /// The body is longer than what the order lets the payee keep.
    #[error("the body has {counted} bytes to keep, the order covers {covered}")]
    BodyAboveOrder {
        /// Bytes of the body.
        counted: u64,
        /// Covered by the order.
        covered: u64,
    },
    /// The answer grew longer than the order covers.
    #[error("the answer is longer than the {covered} bytes that the order covers")]
    AnswerAboveOrder {
        /// Covered by the order.
        covered: u64,
    },
    /// The engine broke.
    #[error("the engine failed: {0}")]
    Failed(String),
    /// It declines, in words of its own that are for the caller: nothing is charged for them.
    #[error("the engine declines")]
    Declined {
        /// What it says.
        answer: Bytes,
    },
    /// The engine is at its bound of concurrent work.
    #[error("the engine runs {running} requests, its bound")]
    Busy {
        /// How many run.
        running: u64,
    },
}

impl Fault for EngineError {
    fn code(&self) -> &'static str {
        match self {
            Self::BadRequest { .. } => "engine.bad_request",
            Self::InputAboveOrder { .. } => "engine.input_above_order",
            Self::BodyAboveOrder { .. } => "engine.body_above_order",
            Self::AnswerAboveOrder { .. } => "engine.answer_above_order",
            Self::Failed(_) => "engine.failed",
            Self::Declined { .. } => "engine.declined",
            Self::Busy { .. } => "engine.busy",
        }
    }

    fn class(&self) -> Class {
        match self {
            Self::BadRequest { .. }
            | Self::InputAboveOrder { .. }
            | Self::BodyAboveOrder { .. }
            | Self::AnswerAboveOrder { .. }
            | Self::Declined { .. } => Class::Final,
            Self::Failed(_) | Self::Busy { .. } => Class::Later,
        }
    }
}

/// Runs the model.
#[async_trait]
pub trait Engine: Send + Sync {
    /// What the body counts as input, by the model's own count. Pure and cheap.
    ///
    /// # Errors
    /// [`EngineError::BadRequest`] where the body is not what the capability takes.
    fn count_input(&self, work: &Work) -> Result<Units, EngineError>;

    /// Answers `work`. The stream may fail at any step; it never produces more than was ordered.
    ///
    /// # Errors
    /// Any [`EngineError`] before the first step.
    async fn run(
        &self,
        work: Work,
    ) -> Result<BoxStream<'static, Result<Step, EngineError>>, EngineError>;
}
