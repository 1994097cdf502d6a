//! What the agents of the fleet share: the bodies they send each other, and how an answer becomes a
//! stream of steps. Uses the public library only.

#![allow(dead_code, reason = "each agent's program uses its own part")]

pub mod openai;
pub mod payer;
pub mod provider;
pub mod retry;
pub mod tally;

use bursar::domain::id::{Name, RequestId};
use bursar::domain::order::{Order, Units, Usage};
use bursar::ports::engine::{EngineError, Step};
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use sha2::{Digest, Sha256};

/// JSON, for every body but generated text.
pub const JSON: &str = "application/json";

/// Generated text.
pub const TEXT: &str = "text/plain; charset=utf-8";

/// Searches the librarian's text: a question in, passages out.
pub const SEARCH: &str = "search.query";
/// Turns text into a vector.
pub const EMBED: &str = "text.embed";
/// Writes on from a prompt.
pub const GENERATE: &str = "text.generate";
/// Answers a question from searched passages and generated text.
pub const ANSWER: &str = "answer";

/// The body of [`SEARCH`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SearchRequest {
    /// The question.
    pub query: String,
    /// Passages wanted, 1 to 10.
    pub k: usize,
}

/// One passage.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Passage {
    /// Its title.
    pub title: String,
    /// Where it stands.
    pub source: String,
    /// Its text.
    pub text: String,
    /// How well it fits, in thousandths.
    pub score_milli: u32,
}

/// The answer of [`SEARCH`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SearchAnswer {
    /// Best first; empty where no word of the question is known.
    pub passages: Vec<Passage>,
}

/// The body of [`EMBED`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EmbedRequest {
    /// The text.
    pub text: String,
}

/// The answer of [`EMBED`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EmbedAnswer {
    /// Of length one, or all zero where no word is known.
    pub embedding: Vec<f32>,
}

/// The body of [`GENERATE`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GenerateRequest {
    /// What to write on from.
    pub prompt: String,
    /// The same seed, the same text.
    pub seed: u64,
}

/// The body of [`ANSWER`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AnswerRequest {
    /// The question.
    pub question: String,
}

/// The answer of [`ANSWER`]: what was found, with its sources, and what was generated, said to be so.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AnswerBody {
    /// The question.
    pub question: String,
    /// Extracted, each with its source.
    pub extracted: Vec<Passage>,
    /// Written by a language model; not to be relied on.
    pub generated: String,
    /// Who wrote it: model and weights' hash.
    pub generated_by: String,
    /// Who searched: model and weights' hash.
    pub searched_by: String,
    /// The payments that this answer was made from.
    pub payments: Vec<String>,
}

/// Reads a JSON body, or says what would be right.
///
/// # Errors
/// [`EngineError::BadRequest`].
pub fn read<T: DeserializeOwned>(capability: &Name, body: &[u8]) -> Result<T, EngineError> {
    serde_json::from_slice(body).map_err(|problem| EngineError::BadRequest {
        capability: capability.to_string(),
        problem: problem.to_string(),
    })
}

/// A capability that is not sold here.
pub fn not_sold(capability: &Name) -> EngineError {
    EngineError::BadRequest {
        capability: capability.to_string(),
        problem: "it is not sold here".to_owned(),
    }
}

/// A body as JSON.
pub fn to_json<T: Serialize>(body: &T) -> Bytes {
    Bytes::from(serde_json::to_vec(body).expect("bodies have text keys only"))
}

/// Units from a count.
pub fn units(count: usize) -> Units {
    Units(u64::try_from(count).unwrap_or(u64::MAX))
}

/// A whole answer as a stream of steps.
pub fn whole(
    content_type: &str,
    model: String,
    body: Bytes,
    usage: Usage,
) -> BoxStream<'static, Result<Step, EngineError>> {
    let begin = Step::Begin { content_type: content_type.to_owned(), model };
    stream::iter([Ok(begin), Ok(Step::Chunk(body)), Ok(Step::Done(usage))]).boxed()
}

/// An order for `capability`.
pub fn order(capability: &str, input_max: u64, output_max: u64) -> Order {
    Order {
        capability: name(capability),
        model: None,
        input_max: Units(input_max),
        output_max: Units(output_max),
        maxima: Default::default(),
    }
}

/// A name that is known to be one.
///
/// # Panics
/// Where it is not.
pub fn name(text: &str) -> Name {
    text.parse().expect("a literal name")
}

/// A fresh request id: made now, told apart by `parts`.
pub fn request_id(now_ms: u64, parts: &[&[u8]]) -> RequestId {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part.len().to_be_bytes());
        hash.update(part);
    }
    let digest: [u8; 32] = hash.finalize().into();
    let mut random = [0; 10];
    random.copy_from_slice(digest.split_at(10).0);
    RequestId::new(now_ms, random)
}
