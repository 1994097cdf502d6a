//! A caller's body as it goes upstream: with the server's own model name, a bound on its output, and a
//! wish to be told what was used. Everything else stays as it was spelled.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::value::{RawValue, to_raw_value};

use crate::domain::id::Name;
use crate::edge::http::openai::Face;
use crate::ports::engine::{EngineError, Work};

/// What goes upstream.
pub(super) struct Forwarded {
    pub body: Vec<u8>,
    /// Whether the caller wants the last count of a stream itself.
    pub tells_usage: bool,
}

#[derive(Default, Deserialize)]
struct Fields {
    #[serde(default)]
    stream: Option<bool>,
    #[serde(default)]
    stream_options: Option<BTreeMap<String, Box<RawValue>>>,
    #[serde(default)]
    n: Option<u64>,
    #[serde(default)]
    best_of: Option<u64>,
    #[serde(default)]
    max_tokens: Option<u64>,
    #[serde(default)]
    max_completion_tokens: Option<u64>,
    #[serde(default)]
    max_output_tokens: Option<u64>,
}

impl Forwarded {
    /// What goes upstream for `work`, with the server's own name of the model.
    ///
    /// # Errors
    /// [`EngineError::BadRequest`] for what is no such body, or asks for more than was ordered.
    pub(super) fn new(work: &Work, model: &str) -> Result<Self, EngineError> {
        let capability = &work.order.capability;
        let face = face_of(capability)?;
        let wrong = |problem: String| EngineError::BadRequest {
            capability: capability.to_string(),
            problem,
        };
        let unread = |problem: serde_json::Error| wrong(problem.to_string());
        let fields: Fields = serde_json::from_slice(&work.body).map_err(unread)?;
        let mut body: BTreeMap<&str, Box<RawValue>> =
            serde_json::from_slice(&work.body).map_err(unread)?;
        let raw = |value: &serde_json::Value| {
            to_raw_value(value).expect("a number, a flag or a text is JSON")
        };
        body.insert("model", raw(&model.into()));
        let answers = fields.n.unwrap_or(1).max(fields.best_of.unwrap_or(1)).max(1);
        let ordered = work.order.output_max.0.checked_div(answers).unwrap_or(0);
        let bounds = match face {
            Face::Chat => vec![
                ("max_completion_tokens", fields.max_completion_tokens),
                ("max_tokens", fields.max_tokens),
            ],
            Face::Completions => vec![("max_tokens", fields.max_tokens)],
            Face::Responses => vec![("max_output_tokens", fields.max_output_tokens)],
            Face::Embeddings => Vec::new(),
        };
        if let Some((name, stated)) =
            bounds.iter().find(|(_, stated)| stated.is_some_and(|stated| stated > ordered))
        {
            let stated = stated.unwrap_or_default();
            let problem = format!("`{name}` is {stated}, the order covers {ordered} an answer");
            return Err(wrong(problem));
        }
        // Whatever the server would write by itself, it writes no more than was paid for.
        if let Some((name, _)) = bounds.last()
            && bounds.iter().all(|(_, stated)| stated.is_none())
        {
            body.insert(name, raw(&ordered.into()));
        }
        let streamed = fields.stream.unwrap_or(false);
        let mut options = fields.stream_options.unwrap_or_default();
        let tells_usage = options.get("include_usage").is_some_and(|flag| flag.get() == "true");
        if streamed && matches!(face, Face::Chat | Face::Completions) {
            options.insert("include_usage".to_owned(), raw(&true.into()));
            let options = to_raw_value(&options).expect("options have text keys only");
            body.insert("stream_options", options);
        }
        let body = serde_json::to_vec(&body).expect("a body has text keys only");
        Ok(Self { body, tells_usage })
    }
}

/// Which kind of request a capability is.
///
/// # Errors
/// [`EngineError::BadRequest`] for one that no such server has.
pub(super) fn face_of(capability: &Name) -> Result<Face, EngineError> {
    let found = Face::ALL.into_iter().find(|face| face.capability() == capability.as_str());
    found.ok_or_else(|| EngineError::BadRequest {
        capability: capability.to_string(),
        problem: "it is not sold here".to_owned(),
    })
}
