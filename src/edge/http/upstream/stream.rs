//! A server's stream on its way to the caller: passed on event by event, counted, without the last count
//! where the caller did not ask for it, and no further than the order goes.

use bytes::{Bytes, BytesMut};
use futures_util::stream::{self, BoxStream, StreamExt};
use reqwest::Response;
use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::domain::order::{Order, Units, Usage};
use crate::edge::http::sse::{data, ends_event, event_len, has};
use crate::edge::http::upstream::body::Forwarded;
use crate::edge::http::upstream::{BYTES_PER_TOKEN, plain};
use crate::ports::engine::{EngineError, Step, Work};

/// Longest event that is looked into, in bytes.
const EVENT_LEN_MAX: usize = 256 * 1024;

/// Bytes of text that a token of a whole answer has on average at most, in any script. Only beyond that too
/// is a stream cut for its many events: some servers send one token in several.
const TEXT_PER_TOKEN_MAX: u64 = 16;

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

/// The text that an event brings.
#[derive(Deserialize)]
struct Said {
    #[serde(default)]
    choices: Vec<Choice>,
    /// Of `/v1/responses`.
    #[serde(default)]
    delta: Option<String>,
}

#[derive(Deserialize)]
struct Choice {
    #[serde(default)]
    text: Option<String>,
    #[serde(default)]
    delta: Option<Delta>,
}

#[derive(Deserialize)]
struct Delta {
    #[serde(default)]
    content: Option<String>,
    #[serde(default)]
    reasoning_content: Option<String>,
    #[serde(default)]
    reasoning: Option<String>,
    #[serde(default)]
    refusal: Option<String>,
    #[serde(default)]
    tool_calls: Option<Vec<ToolCall>>,
}

#[derive(Deserialize)]
struct ToolCall {
    #[serde(default)]
    function: Option<Function>,
}

#[derive(Deserialize)]
struct Function {
    #[serde(default)]
    arguments: Option<String>,
}

impl Said {
    /// Bytes of all of it.
    fn len(&self) -> u64 {
        let of = |text: &Option<String>| text.as_ref().map_or(0, String::len);
        let of_call = |call: &ToolCall| call.function.as_ref().map_or(0, |it| of(&it.arguments));
        let of_delta = |delta: &Delta| {
            let Delta { content, reasoning_content, reasoning, refusal, tool_calls } = delta;
            let texts = [content, reasoning_content, reasoning, refusal].map(of);
            let calls = tool_calls.iter().flatten().map(of_call);
            texts.into_iter().chain(calls).fold(0, usize::saturating_add)
        };
        let choices = self
            .choices
            .iter()
            .flat_map(|choice| [of(&choice.text), choice.delta.as_ref().map_or(0, of_delta)]);
        let all = choices.fold(of(&self.delta), usize::saturating_add);
        u64::try_from(all).unwrap_or(u64::MAX)
    }
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
    /// Answers in it: an event of each may bring the prompt back.
    answers: u64,
    /// Events that brought text, and the bytes of it.
    texts: (u64, u64),
    /// Whether the server wrote more than was ordered: the stream ends here.
    is_over: bool,
}

impl Tally {
    pub(super) fn new(work: &Work, forwarded: &Forwarded) -> Self {
        Self {
            order: work.order.clone(),
            sent: u64::try_from(work.body.len()).unwrap_or(u64::MAX),
            tells_usage: forwarded.tells_usage,
            begun: BytesMut::new(),
            bytes: 0,
            pieces: 0,
            counted: None,
            answers: forwarded.answers,
            texts: (0, 0),
            is_over: false,
        }
    }

    /// What of `chunk`, and of what came before it, goes to the caller now.
    pub(super) fn pass(&mut self, mut chunk: Bytes) -> Bytes {
        let out = if self.begun.is_empty() && ends_event(&chunk) && !has(&chunk, USAGE) {
            let covered = self.covered(&chunk);
            chunk.truncate(covered);
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
            if self.covered(&event) < len {
                self.begun.clear();
                break;
            }
            if self.goes_on(&event) {
                out.extend_from_slice(&event);
            }
        }
        if self.begun.len() > EVENT_LEN_MAX {
            out.extend_from_slice(&self.begun.split());
        }
        out.freeze()
    }

    /// Bytes of `events`, which are whole, that the order covers: all of them, or those before the first
    /// beyond it.
    fn covered(&mut self, events: &[u8]) -> usize {
        let (mut at, mut begun) = (0_usize, 0);
        for line in events.split_inclusive(|byte| *byte == b'\n') {
            if line.strip_prefix(b"data:").is_some_and(|json| !self.covers(json)) {
                self.is_over = true;
                return begun;
            }
            at = at.saturating_add(line.len());
            if line.trim_ascii().is_empty() {
                begun = at;
            }
        }
        events.len()
    }

    /// Whether the order covers what an event brings, with all that came before it. What brings no text
    /// that is known here costs nothing.
    fn covers(&mut self, json: &[u8]) -> bool {
        let len = serde_json::from_slice::<Said>(json).map_or(0, |said| said.len());
        if len == 0 {
            return true;
        }
        let (events, bytes) = self.texts;
        self.texts = (events.saturating_add(1), bytes.saturating_add(len));
        let tokens = self.order.output_max.0;
        self.texts.0 <= tokens.saturating_add(self.answers)
            || self.texts.1 <= tokens.saturating_mul(TEXT_PER_TOKEN_MAX)
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
                let out = Ok(Step::Chunk(tally.pass(chunk)));
                if tally.is_over {
                    // Who bounds its answers by a name that is not known here would give them away. Its
                    // connection is dropped, so that it writes no more.
                    tracing::warn!("an upstream that wrote more than was ordered was cut");
                    return Some((vec![out, Ok(Step::Done(tally.usage()))], None));
                }
                Some((vec![out], Some((response, tally))))
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
