//! A caller's body as it goes upstream: with the server's own model name, a bound on its output under every
//! name that a server may read one by, and a wish to be told what was used. Everything else stays as it was
//! spelled.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};

use crate::domain::id::Name;
use crate::edge::http::openai::{Answers, CHOICES_MAX, Face};
use crate::ports::engine::{EngineError, Work};

/// Names by which servers read how much they write: the protocol's, llama.cpp's, Ollama's, and those of
/// Transformers and KoboldCpp. Some let their own stand above the protocol's.
const BOUNDS: [&str; 7] = [
    "max_completion_tokens",
    "max_tokens",
    "max_output_tokens",
    "n_predict",
    "num_predict",
    "max_new_tokens",
    "max_length",
];

/// The name under which Ollama's own protocol has them.
const OPTIONS: &str = "options";

/// The other fields that decide what is written, or that are read here.
const READ: [&str; 8] =
    ["model", "stream", "stream_options", "prompt", "n", "best_of", "n_cmpl", OPTIONS];

/// A body, or a part of one: values stay as they were spelled.
type Object = BTreeMap<String, Box<RawValue>>;

/// What goes upstream.
pub(super) struct Forwarded {
    pub body: Vec<u8>,
    /// Whether the caller wants the last count of a stream itself.
    pub tells_usage: bool,
    /// How many answers it asks for.
    pub answers: u64,
}

#[derive(Default, Deserialize)]
struct Fields {
    #[serde(default)]
    stream: Option<bool>,
    #[serde(default)]
    stream_options: Option<Object>,
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
        let answers = Answers::read(&work.body).map_err(unread)?.count();
        let answers =
            answers.ok_or_else(|| wrong(format!("expected 1 to {CHOICES_MAX} answers")))?;
        let mut body: Object = serde_json::from_slice(&work.body).map_err(unread)?;
        check_spelling(&body).map_err(wrong)?;
        body.insert("model".to_owned(), raw(model));
        let ordered = work.order.output_max.0.checked_div(answers).unwrap_or(0);
        bound_output(&mut body, face, ordered).map_err(wrong)?;
        let streamed = fields.stream.unwrap_or(false);
        let mut options = fields.stream_options.unwrap_or_default();
        let tells_usage = options.get("include_usage").is_some_and(|flag| flag.get() == "true");
        if streamed && matches!(face, Face::Chat | Face::Completions) {
            options.insert("include_usage".to_owned(), raw(&true));
            body.insert("stream_options".to_owned(), raw(&options));
        }
        let body = serde_json::to_vec(&body).expect("a body has text keys only");
        Ok(Self { body, tells_usage, answers })
    }
}

/// Holds whatever bounds an answer to what was ordered of each, and states the protocol's own bound where it
/// is not stated: what a server would write by itself, it writes no more than was paid for.
///
/// # Errors
/// What asks for more.
fn bound_output(body: &mut Object, face: Face, ordered: u64) -> Result<(), String> {
    let own = match face {
        Face::Chat | Face::Completions => "max_tokens",
        Face::Responses => "max_output_tokens",
        Face::Embeddings => return Ok(()),
    };
    if ordered == 0 {
        // Some servers take a bound of nothing for no bound.
        return Err("the order covers not one token of each answer".to_owned());
    }
    hold(body, ordered)?;
    let options = body.get(OPTIONS).map(|options| serde_json::from_str::<Object>(options.get()));
    if let Some(Ok(mut options)) = options {
        check_spelling(&options)?;
        hold(&mut options, ordered)?;
        body.insert(OPTIONS.to_owned(), raw(&options));
    }
    if !body.contains_key(own) {
        // Ollama knows the older name alone.
        let newer = body.get("max_completion_tokens").cloned();
        body.insert(own.to_owned(), newer.unwrap_or_else(|| raw(&ordered)));
    }
    Ok(())
}

/// Holds each bound of `object` to the order. One that states nothing, or as much as there is (`null`, nought,
/// a negative number), becomes the order's own.
///
/// # Errors
/// What states more, or no whole number.
fn hold(object: &mut Object, ordered: u64) -> Result<(), String> {
    for name in BOUNDS {
        let Some(value) = object.get_mut(name) else { continue };
        let read = serde_json::from_str::<Option<u64>>(value.get());
        let is_negative = serde_json::from_str::<i64>(value.get()).is_ok_and(|it| it < 0);
        match read {
            Ok(Some(stated)) if stated > ordered => {
                return Err(format!("`{name}` is {stated}, the order covers {ordered} an answer"));
            }
            Ok(Some(1..)) => {}
            Ok(Some(0) | None) => *value = raw(&ordered),
            Err(_) if is_negative => *value = raw(&ordered),
            Err(_) => return Err(format!("`{name}` is no whole number")),
        }
    }
    Ok(())
}

/// Refuses a field that is spelled otherwise than it is read here: servers written in Go take its name in
/// any letters, and it would count there and not here.
fn check_spelling(object: &Object) -> Result<(), String> {
    for name in object.keys() {
        let plain = folded(name);
        let counts = BOUNDS.contains(&plain.as_str()) || READ.contains(&plain.as_str());
        if counts && plain != *name {
            return Err(format!("`{plain}` is spelled in other letters"));
        }
    }
    Ok(())
}

/// A name in small letters, the two that fold into them from beyond ASCII too. Source: Go, encoding/json.
fn folded(name: &str) -> String {
    let fold = |letter: char| match letter {
        '\u{17f}' => 's',
        '\u{212a}' => 'k',
        letter => letter.to_ascii_lowercase(),
    };
    name.chars().map(fold).collect()
}

fn raw<T: Serialize + ?Sized>(value: &T) -> Box<RawValue> {
    to_raw_value(value).expect("a number, a flag, a text or an object of such is JSON")
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
