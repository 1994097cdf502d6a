//! The bodies of OpenAI's clients, as far as the fleet's own models need them. What is not read here is
//! let pass, as those clients expect.

use bursar::edge::clock::SystemClock;
use bursar::ports::clock::Clock;
use bursar::ports::engine::EngineError;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// A conversation in, the next message out.
pub const CHAT: &str = "openai.chat";
/// Writes on from a text.
pub const COMPLETIONS: &str = "openai.completions";
/// Turns texts into vectors.
pub const EMBEDDINGS: &str = "openai.embeddings";
/// The newer form of a conversation.
pub const RESPONSES: &str = "openai.responses";

/// An answer as it is made.
pub const EVENTS: &str = "text/event-stream";

/// A text, or parts of which some are text.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum Content {
    /// The text.
    Text(String),
    /// Its parts.
    Parts(Vec<Part>),
}

/// One part of a content; only text is read.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Part {
    /// The text, where it is some.
    #[serde(default)]
    pub text: Option<String>,
}

impl Content {
    /// What of it is text.
    pub fn text(&self) -> String {
        match self {
            Self::Text(text) => text.clone(),
            Self::Parts(parts) => {
                parts.iter().filter_map(|part| part.text.as_deref()).collect::<Vec<_>>().join("\n")
            }
        }
    }
}

/// One message of a conversation.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Message {
    /// What was said.
    #[serde(default)]
    pub content: Option<Content>,
}

/// What [`RESPONSES`] is asked with.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum Input {
    /// A text.
    Text(String),
    /// A conversation.
    Messages(Vec<Message>),
}

/// One text or several.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum Texts {
    /// One.
    One(String),
    /// Several.
    Many(Vec<String>),
}

impl Texts {
    /// Each of them.
    pub fn all(&self) -> Vec<&str> {
        match self {
            Self::One(text) => vec![text],
            Self::Many(texts) => texts.iter().map(String::as_str).collect(),
        }
    }
}

/// What a stream is asked to tell.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct StreamOptions {
    /// Whether it ends with what was used.
    #[serde(default)]
    pub include_usage: bool,
}

/// What is read of a request for text, whichever face it has.
#[derive(Clone, Debug, Deserialize)]
pub struct TextRequest {
    /// Of [`CHAT`].
    #[serde(default)]
    pub messages: Option<Vec<Message>>,
    /// Of [`COMPLETIONS`].
    #[serde(default)]
    pub prompt: Option<Texts>,
    /// Of [`RESPONSES`].
    #[serde(default)]
    pub input: Option<Input>,
    /// Whether the answer is wanted as it is made.
    #[serde(default)]
    pub stream: Option<bool>,
    /// What else its stream tells.
    #[serde(default)]
    pub stream_options: Option<StreamOptions>,
    /// The same seed, the same text.
    #[serde(default)]
    pub seed: Option<u64>,
    /// How many answers; this model gives one.
    #[serde(default)]
    pub n: Option<u64>,
    /// The most tokens of an answer, under each of its names.
    #[serde(default)]
    pub max_tokens: Option<u64>,
    /// As `max_tokens`.
    #[serde(default)]
    pub max_completion_tokens: Option<u64>,
    /// As `max_tokens`.
    #[serde(default)]
    pub max_output_tokens: Option<u64>,
}

impl TextRequest {
    /// What is to be written on from.
    ///
    /// # Errors
    /// What is wrong with the request for `capability`.
    pub fn prompt(&self, capability: &str) -> Result<String, EngineError> {
        let wrong = |problem: &str| EngineError::BadRequest {
            capability: capability.to_owned(),
            problem: problem.to_owned(),
        };
        if self.n.is_some_and(|n| n != 1) {
            return Err(wrong("this model gives one answer: leave `n` out"));
        }
        let said = |messages: &[Message]| {
            let texts = messages.iter().filter_map(|message| message.content.as_ref());
            texts.map(Content::text).collect::<Vec<_>>().join("\n")
        };
        match capability {
            CHAT => {
                self.messages.as_deref().map(said).ok_or_else(|| wrong("`messages` is missing"))
            }
            RESPONSES => match &self.input {
                Some(Input::Text(text)) => Ok(text.clone()),
                Some(Input::Messages(messages)) => Ok(said(messages)),
                None => Err(wrong("`input` is missing")),
            },
            _ => match self.prompt.as_ref().map(Texts::all).as_deref() {
                Some([one]) => Ok((*one).to_owned()),
                Some(_) => Err(wrong("this model writes on from one text at a time")),
                None => Err(wrong("`prompt` is missing")),
            },
        }
    }

    /// The most tokens that are wanted, where that is stated.
    pub fn output_max(&self) -> Option<u64> {
        self.max_completion_tokens.or(self.max_tokens).or(self.max_output_tokens)
    }
}

/// What is read of a request for vectors.
#[derive(Clone, Debug, Deserialize)]
pub struct VectorRequest {
    /// The texts.
    pub input: Texts,
    /// `float` or `base64`.
    #[serde(default)]
    pub encoding_format: Option<String>,
}

/// What was used, as those clients read it.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Tokens in.
    pub prompt_tokens: u64,
    /// Tokens out.
    pub completion_tokens: u64,
    /// Both.
    pub total_tokens: u64,
}

impl Counts {
    /// So many in and out.
    pub const fn new(input: u64, output: u64) -> Self {
        let total_tokens = input.saturating_add(output);
        Self { prompt_tokens: input, completion_tokens: output, total_tokens }
    }
}

/// What every part of one answer repeats.
#[derive(Clone, Debug)]
pub struct Head {
    /// Which face.
    pub capability: String,
    /// Its own name, made from the request and the instant.
    pub id: String,
    /// When it was made.
    pub created: u64,
    /// The model's name.
    pub model: String,
    /// The weights' hash.
    pub weights: String,
}

impl Head {
    /// The head of the answer to `body`.
    pub fn new(capability: &str, body: &[u8], model: &str, weights: &str) -> Self {
        let now = SystemClock.now();
        let digest = Sha256::new().chain_update(now.as_nanos().to_be_bytes()).chain_update(body);
        let id = digest.finalize().iter().take(12).map(|byte| format!("{byte:02x}")).collect();
        Self {
            capability: capability.to_owned(),
            id,
            created: now.as_secs(),
            model: model.to_owned(),
            weights: weights.to_owned(),
        }
    }

    fn object(&self, streamed: bool) -> &'static str {
        match (self.capability.as_str(), streamed) {
            (CHAT, true) => "chat.completion.chunk",
            (CHAT, false) => "chat.completion",
            _ => "text_completion",
        }
    }

    fn around(&self, choices: &Value, usage: Option<Counts>, streamed: bool) -> Value {
        let prefix = if self.capability == CHAT { "chatcmpl" } else { "cmpl" };
        let mut whole = json!({
            "id": format!("{prefix}-{}", self.id),
            "object": self.object(streamed),
            "created": self.created,
            "model": self.model,
            "system_fingerprint": self.weights,
            "choices": choices,
        });
        if let (Some(usage), Some(fields)) = (usage, whole.as_object_mut()) {
            fields.insert("usage".to_owned(), json!(usage));
        }
        whole
    }

    /// A whole answer of [`CHAT`] or [`COMPLETIONS`].
    pub fn whole(&self, text: &str, finish: &str, counts: Counts) -> Value {
        let choice = match self.capability.as_str() {
            CHAT => json!({
                "index": 0,
                "message": { "role": "assistant", "content": text, "refusal": null },
                "logprobs": null,
                "finish_reason": finish,
            }),
            _ => json!({ "index": 0, "text": text, "logprobs": null, "finish_reason": finish }),
        };
        self.around(&json!([choice]), Some(counts), false)
    }

    /// One piece of a streamed answer; the last has a reason to end.
    pub fn piece(&self, text: &str, finish: Option<&str>) -> Bytes {
        let choice = match self.capability.as_str() {
            CHAT => {
                let delta = match finish {
                    Some(_) => json!({}),
                    None => json!({ "role": "assistant", "content": text }),
                };
                json!({ "index": 0, "delta": delta, "logprobs": null, "finish_reason": finish })
            }
            _ => json!({ "index": 0, "text": text, "logprobs": null, "finish_reason": finish }),
        };
        event(&self.around(&json!([choice]), None, true))
    }

    /// What was used, as the last piece of a streamed answer.
    pub fn count(&self, counts: Counts) -> Bytes {
        event(&self.around(&json!([]), Some(counts), true))
    }

    /// A whole answer of [`RESPONSES`], or one that is on its way.
    pub fn response(&self, text: Option<&str>, counts: Option<Counts>, is_cut: bool) -> Value {
        let status = match (text, is_cut) {
            (None, _) => "in_progress",
            (Some(_), true) => "incomplete",
            (Some(_), false) => "completed",
        };
        let output = text.map_or(json!([]), |text| json!([self.item(text, status)]));
        let reason = is_cut.then(|| json!({ "reason": "max_output_tokens" }));
        json!({
            "id": format!("resp_{}", self.id),
            "object": "response",
            "created_at": self.created,
            "status": status,
            "error": null,
            "incomplete_details": reason,
            "model": self.model,
            "output": output,
            "parallel_tool_calls": false,
            "tool_choice": "none",
            "tools": [],
            "usage": counts.map(|counts| json!({
                "input_tokens": counts.prompt_tokens,
                "input_tokens_details": { "cached_tokens": 0 },
                "output_tokens": counts.completion_tokens,
                "output_tokens_details": { "reasoning_tokens": 0 },
                "total_tokens": counts.total_tokens,
            })),
        })
    }

    /// The message of [`RESPONSES`].
    pub fn item(&self, text: &str, status: &str) -> Value {
        json!({
            "id": format!("msg_{}", self.id),
            "type": "message",
            "role": "assistant",
            "status": status,
            "content": [{ "type": "output_text", "text": text, "annotations": [] }],
        })
    }
}

/// One event of one line of data.
pub fn event(data: &Value) -> Bytes {
    format!("data: {data}\n\n").into()
}

/// One event of [`RESPONSES`]: named, and numbered.
pub fn named_event(name: &str, number: u64, mut data: Value) -> Bytes {
    if let Some(fields) = data.as_object_mut() {
        fields.insert("type".to_owned(), name.into());
        fields.insert("sequence_number".to_owned(), number.into());
    }
    format!("event: {name}\ndata: {data}\n\n").into()
}

/// The end's mark.
pub fn done() -> Bytes {
    Bytes::from_static(b"data: [DONE]\n\n")
}
