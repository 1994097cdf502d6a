//! Server-sent events on their way: passed on as they come, but for the end, which waits until it is
//! known what the answer cost.

use bytes::{Bytes, BytesMut};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use crate::edge::http::openai::answer::{Cost, with_cost};
use crate::edge::http::sse::{data, ends_event, event_len, has};

/// Longest event that is looked into, in bytes; of a longer one nothing is held back.
const EVENT_LEN_MAX: usize = 256 * 1024;

/// Most that waits for the bill, in bytes: a last count, and the end's mark.
const END_LEN_MAX: usize = 64 * 1024;

const DONE: &[u8] = b"data: [DONE]";
const USAGE: &[u8] = b"\"usage\"";

/// A stream of events, cut where it ends.
#[derive(Default)]
pub(super) struct Events {
    /// The beginning of an event that is not whole yet.
    begun: BytesMut,
    /// What waits for the bill.
    end: BytesMut,
}

/// The last count of a stream: no choices, and what was used.
#[derive(Deserialize)]
struct Counted<'a> {
    choices: Vec<IgnoredAny>,
    #[serde(borrow)]
    usage: Option<&'a RawValue>,
}

impl Events {
    /// What of `chunk`, and of what came before it, may go out now.
    pub(super) fn pass(&mut self, chunk: Bytes) -> Bytes {
        let whole = self.begun.is_empty() && self.end.is_empty() && ends_event(&chunk);
        // Most chunks are whole events in the middle of an answer: nothing of them is copied.
        if whole && !has(&chunk, DONE) && !has(&chunk, USAGE) {
            return chunk;
        }
        self.begun.extend_from_slice(&chunk);
        let mut out = BytesMut::new();
        while let Some(len) = event_len(&self.begun) {
            let event = self.begun.split_to(len);
            let waits = !self.end.is_empty() || is_end(&event);
            if waits && self.end.len().saturating_add(len) <= END_LEN_MAX {
                self.end.extend_from_slice(&event);
            } else {
                out.extend_from_slice(&event);
            }
        }
        if self.begun.len() > EVENT_LEN_MAX {
            out.extend_from_slice(&self.begun.split());
        }
        out.freeze()
    }

    /// The end, with what it cost: in the last count where the client asked for one, and in a comment,
    /// which clients that know nothing of it skip.
    pub(super) fn finish(self, cost: &Cost) -> Bytes {
        let mut out = BytesMut::new();
        let mut rest = self.end;
        let mut told = false;
        while let Some(len) = event_len(&rest) {
            let event = rest.split_to(len);
            let priced = data(&event).filter(|data| counted(data)).and_then(|d| with_cost(d, cost));
            match priced {
                Some(json) => {
                    told = true;
                    out.extend_from_slice(b"data: ");
                    out.extend_from_slice(json.as_bytes());
                    out.extend_from_slice(b"\n\n");
                }
                None => {
                    if !told {
                        told = true;
                        out.extend_from_slice(&comment(cost));
                    }
                    out.extend_from_slice(&event);
                }
            }
        }
        out.extend_from_slice(&rest);
        if !told {
            out.extend_from_slice(&comment(cost));
        }
        out.extend_from_slice(&self.begun);
        out.freeze()
    }
}

fn comment(cost: &Cost) -> Vec<u8> {
    format!(": bursar {}\n\n", cost.json()).into_bytes()
}

fn is_end(event: &[u8]) -> bool {
    event.starts_with(DONE) || data(event).is_some_and(counted)
}

fn counted(json: &[u8]) -> bool {
    has(json, USAGE)
        && serde_json::from_slice::<Counted<'_>>(json).is_ok_and(|found| {
            found.choices.is_empty() && found.usage.is_some_and(|usage| usage.get() != "null")
        })
}
