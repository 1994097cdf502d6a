//! A server's stream on its way to the caller: passed on event by event, counted, and without the last
//! count where the caller did not ask for it.

use bytes::{Bytes, BytesMut};
use futures_util::stream::{self, BoxStream, StreamExt};
use reqwest::Response;
use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::domain::order::{Order, Units, Usage};
use crate::edge::http::sse::{data, ends_event, event_len, has};
use crate::edge::http::upstream::{BYTES_PER_TOKEN, plain};
use crate::ports::engine::{EngineError, Step, Work};

/// Longest event that is looked into, in bytes.
const EVENT_LEN_MAX: usize = 256 * 1024;

const USAGE: &[u8] = b"\"usage\"";

#[derive(Deserialize)]
struct Counted {
    #[serde(default)]
    choices: Option<Vec<IgnoredAny>>,
    #[serde(default)]
    usage: Option<Tokens>,
    /// Of the last event of `/v1/responses`.
    #[serde(default)]
    response: Option<Inner>,
}

#[derive(Deserialize)]
struct Inner {
    #[serde(default)]
    usage: Option<Tokens>,
}

/// Tokens under each of their names.
#[derive(Copy, Clone, Deserialize)]
struct Tokens {
    #[serde(default, alias = "input_tokens")]
    prompt_tokens: u64,
    #[serde(default, alias = "output_tokens")]
    completion_tokens: u64,
}

/// What an answer says that it used: input and output.
pub(super) fn read_usage(json: &[u8]) -> Option<(u64, u64)> {
    let found: Counted = serde_json::from_slice(json).ok()?;
    let inner = found.response.and_then(|response| response.usage);
    let usage = found.usage.or(inner)?;
    Some((usage.prompt_tokens, usage.completion_tokens))
}

/// Counts a stream.
pub(super) struct Tally {
    order: Order,
    sent: u64,
    tells_usage: bool,
    begun: BytesMut,
    bytes: u64,
    /// Events that brought something: most servers send one a token.
    pieces: u64,
    counted: Option<(u64, u64)>,
}

impl Tally {
    pub(super) fn new(work: &Work, tells_usage: bool) -> Self {
        Self {
            order: work.order.clone(),
            sent: u64::try_from(work.body.len()).unwrap_or(u64::MAX),
            tells_usage,
            begun: BytesMut::new(),
            bytes: 0,
            pieces: 0,
            counted: None,
        }
    }

    /// What of `chunk`, and of what came before it, goes to the caller now.
    fn pass(&mut self, chunk: Bytes) -> Bytes {
        let out = if self.begun.is_empty() && ends_event(&chunk) && !has(&chunk, USAGE) {
            self.pieces = self.pieces.saturating_add(events_in(&chunk));
            chunk
        } else {
            self.begun.extend_from_slice(&chunk);
            self.pass_whole()
        };
        self.bytes = self.bytes.saturating_add(u64::try_from(out.len()).unwrap_or(u64::MAX));
        out
    }

    fn pass_whole(&mut self) -> Bytes {
        let mut out = BytesMut::new();
        while let Some(len) = event_len(&self.begun) {
            let event = self.begun.split_to(len);
            if self.goes_on(&event) {
                out.extend_from_slice(&event);
            }
        }
        if self.begun.len() > EVENT_LEN_MAX {
            out.extend_from_slice(&self.begun.split());
        }
        out.freeze()
    }

    /// Whether the caller gets an event; what it counts is noted.
    fn goes_on(&mut self, event: &[u8]) -> bool {
        self.pieces = self.pieces.saturating_add(1);
        let Some(json) = data(event).filter(|json| has(json, USAGE)) else { return true };
        let Ok(found) = serde_json::from_slice::<Counted>(json) else { return true };
        let inner = found.response.and_then(|response| response.usage);
        let Some(usage) = found.usage.or(inner) else { return true };
        // Running totals come too: the last one wins.
        self.counted = Some((usage.prompt_tokens, usage.completion_tokens));
        let is_count = found.choices.is_some_and(|choices| choices.is_empty());
        !is_count || self.tells_usage
    }

    /// What was used: by the server's count, or else a token for each four bytes sent and for each
    /// event; never more than was ordered.
    fn usage(&self) -> Usage {
        let bound = (self.sent.div_ceil(BYTES_PER_TOKEN), self.pieces);
        let (input, output) = self.counted.unwrap_or(bound);
        Usage {
            input: Units(input.min(self.order.input_max.0)),
            output: Units(output.min(self.order.output_max.0)),
            bytes: self.bytes,
            compute_ms: 0,
        }
    }
}

fn events_in(chunk: &[u8]) -> u64 {
    let starts = chunk.windows(5).filter(|window| *window == b"data:").count();
    u64::try_from(starts).unwrap_or(u64::MAX)
}

/// The server's events as steps.
pub(super) fn pass_on(
    response: Response,
    tally: Tally,
) -> BoxStream<'static, Result<Step, EngineError>> {
    let steps = stream::unfold(Some((response, tally)), |state| async move {
        let (mut response, mut tally) = state?;
        match response.chunk().await {
            Ok(Some(chunk)) => {
                let out = tally.pass(chunk);
                Some((vec![Ok(Step::Chunk(out))], Some((response, tally))))
            }
            Ok(None) => {
                let rest = tally.begun.split().freeze();
                let last = (!rest.is_empty()).then_some(Ok(Step::Chunk(rest)));
                let done = Ok(Step::Done(tally.usage()));
                Some((last.into_iter().chain([done]).collect(), None))
            }
            Err(error) => Some((vec![Err(EngineError::Failed(plain(&error)))], None)),
        }
    });
    // An event that was kept from the caller leaves nothing to send.
    let is_something = |step: &Result<Step, EngineError>| !matches!(step, Ok(Step::Chunk(chunk)) if chunk.is_empty());
    let steps = steps.flat_map(stream::iter);
    steps.filter(move |step| std::future::ready(is_something(step))).boxed()
}
