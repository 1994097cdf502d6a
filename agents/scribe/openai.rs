//! The scribe as OpenAI's clients know a model: the same tokens, in their bodies and events.

use bursar::domain::order::{Units, Usage};
use bursar::ports::engine::{EngineError, Step};
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use serde_json::json;

use crate::models::Generation;
use crate::shared::openai::{Counts, EVENTS, Head, RESPONSES, TextRequest, done, named_event};
use crate::shared::{JSON, to_json, whole};

/// A text on its way to a client.
pub struct Writing {
    /// What every part repeats.
    pub head: Head,
    /// The tokens.
    pub tokens: Generation,
    /// How many there may be.
    pub output_max: u64,
    /// Counted of the prompt.
    pub input: Units,
    /// Model name and weights' hash.
    pub model: String,
}

impl Writing {
    fn usage(&self, output: u64, bytes: u64) -> Usage {
        Usage { input: self.input, output: Units(output), bytes, compute_ms: 0 }
    }

    /// The whole answer at once.
    pub fn whole(mut self) -> BoxStream<'static, Result<Step, EngineError>> {
        let (mut text, mut output) = (String::new(), 0_u64);
        for token in self.tokens.by_ref() {
            text.push_str(&token);
            output = output.saturating_add(1);
        }
        let counts = Counts::new(self.input.0, output);
        let is_cut = output >= self.output_max;
        let answer = match self.head.capability.as_str() {
            RESPONSES => self.head.response(Some(&text), Some(counts), is_cut),
            _ => self.head.whole(&text, finish(is_cut), counts),
        };
        let body = to_json(&answer);
        let usage = self.usage(output, u64::try_from(body.len()).unwrap_or(u64::MAX));
        whole(JSON, self.model, body, usage)
    }

    /// The answer token by token.
    pub fn streamed(self, request: &TextRequest) -> BoxStream<'static, Result<Step, EngineError>> {
        let counts = request.stream_options.is_some_and(|options| options.include_usage);
        let begin = Step::Begin { content_type: EVENTS.to_owned(), model: self.model.clone() };
        let opened = match self.head.capability.as_str() {
            RESPONSES => opening(&self.head),
            _ => Vec::new(),
        };
        let nothing = self.usage(0, 0);
        let opened =
            opened.into_iter().flat_map(move |event| [Step::Used(nothing), Step::Chunk(event)]);
        let state = Some(Flow { writing: self, text: String::new(), output: 0, bytes: 0, counts });
        let written = stream::unfold(state, |state| async move {
            let mut flow = state?;
            match flow.writing.tokens.next() {
                Some(token) => {
                    let steps = flow.token(&token);
                    Some((steps, Some(flow)))
                }
                None => Some((flow.end(), None)),
            }
        });
        let steps = written.flat_map(stream::iter).map(Ok);
        stream::iter([Ok(begin)]).chain(stream::iter(opened.map(Ok))).chain(steps).boxed()
    }
}

/// A stream under way.
struct Flow {
    writing: Writing,
    text: String,
    output: u64,
    bytes: u64,
    /// Whether the client asked for the last count.
    counts: bool,
}

/// Events of [`RESPONSES`] that come before the first token.
const OPENING: u64 = 4;

impl Flow {
    /// One token, and what it comes to: who pays by the token knows what was paid for.
    fn token(&mut self, token: &str) -> Vec<Step> {
        let number = OPENING.saturating_add(self.output);
        self.output = self.output.saturating_add(1);
        self.text.push_str(token);
        let head = &self.writing.head;
        let event = match head.capability.as_str() {
            RESPONSES => named_event(
                "response.output_text.delta",
                number,
                json!({
                    "item_id": format!("msg_{}", head.id),
                    "output_index": 0,
                    "content_index": 0,
                    "delta": token,
                    "logprobs": [],
                }),
            ),
            _ => head.piece(token, None),
        };
        self.bytes = self.bytes.saturating_add(u64::try_from(event.len()).unwrap_or(u64::MAX));
        let used = self.writing.usage(self.output, self.bytes);
        vec![Step::Used(used), Step::Chunk(event)]
    }

    fn end(self) -> Vec<Step> {
        let counts = Counts::new(self.writing.input.0, self.output);
        let is_cut = self.output >= self.writing.output_max;
        let usage = self.writing.usage(self.output, self.bytes);
        let head = &self.writing.head;
        let mut events = match head.capability.as_str() {
            RESPONSES => closing(head, &self.text, counts, (self.output, is_cut)),
            _ => vec![head.piece("", Some(finish(is_cut)))],
        };
        if head.capability != RESPONSES {
            events.extend(self.counts.then(|| head.count(counts)));
            events.push(done());
        }
        let steps = events.into_iter().flat_map(|event| [Step::Used(usage), Step::Chunk(event)]);
        steps.chain([Step::Done(usage)]).collect()
    }
}

const fn finish(is_cut: bool) -> &'static str {
    if is_cut { "length" } else { "stop" }
}

fn opening(head: &Head) -> Vec<bytes::Bytes> {
    let response = head.response(None, None, false);
    let item = format!("msg_{}", head.id);
    let empty = json!({
        "id": item, "type": "message", "role": "assistant", "status": "in_progress", "content": [],
    });
    let part = json!({ "type": "output_text", "text": "", "annotations": [] });
    let place = json!({ "item_id": item, "output_index": 0, "content_index": 0, "part": part });
    vec![
        named_event("response.created", 0, json!({ "response": response })),
        named_event("response.in_progress", 1, json!({ "response": response })),
        named_event("response.output_item.added", 2, json!({ "output_index": 0, "item": empty })),
        named_event("response.content_part.added", 3, place),
    ]
}

fn closing(
    head: &Head,
    text: &str,
    counts: Counts,
    (output, is_cut): (u64, bool),
) -> Vec<bytes::Bytes> {
    let at = |step: u64| OPENING.saturating_add(output).saturating_add(step);
    let id = format!("msg_{}", head.id);
    let status = if is_cut { "incomplete" } else { "completed" };
    let part = json!({ "type": "output_text", "text": text, "annotations": [] });
    let text_done = json!({ "item_id": id, "output_index": 0, "content_index": 0, "text": text, "logprobs": [] });
    let part_done = json!({ "item_id": id, "output_index": 0, "content_index": 0, "part": part });
    let item_done = json!({ "output_index": 0, "item": head.item(text, status) });
    let response = head.response(Some(text), Some(counts), is_cut);
    let name = if is_cut { "response.incomplete" } else { "response.completed" };
    vec![
        named_event("response.output_text.done", at(0), text_done),
        named_event("response.content_part.done", at(1), part_done),
        named_event("response.output_item.done", at(2), item_done),
        named_event(name, at(3), json!({ "response": response })),
    ]
}
