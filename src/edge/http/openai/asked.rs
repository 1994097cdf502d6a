//! What a request asks for: the few of its fields that an order is made of. The rest is the provider's.

use serde::Deserialize;
use serde_json::{Value, json};

use crate::domain::id::Name;
use crate::domain::order::{Maxima, Order, Units};
use crate::edge::http::openai::refusal::Refusal;

/// Output that is ordered where a request states no maximum, in tokens; a role may lower it.
const OUTPUT_DEFAULT: u64 = 1024;

/// Most answers to one request.
pub(in crate::edge::http) const CHOICES_MAX: u64 = 128;

/// Any model that does: the cheapest that is allowed.
const ANY_MODEL: [&str; 2] = ["auto", "auto:cheap"];

/// One of the kinds of request that OpenAI's clients send.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Face {
    /// A conversation.
    Chat,
    /// A text that is written on.
    Completions,
    /// Vectors of texts.
    Embeddings,
    /// The newer form of a conversation.
    Responses,
}

impl Face {
    /// Every one.
    pub const ALL: [Self; 4] = [Self::Chat, Self::Completions, Self::Embeddings, Self::Responses];

    /// Where it is asked.
    pub const fn path(self) -> &'static str {
        match self {
            Self::Chat => "/v1/chat/completions",
            Self::Completions => "/v1/completions",
            Self::Embeddings => "/v1/embeddings",
            Self::Responses => "/v1/responses",
        }
    }

    /// What it is called in orders, listings and roles: who sells it takes bodies of this very form.
    pub const fn capability(self) -> &'static str {
        match self {
            Self::Chat => "openai.chat",
            Self::Completions => "openai.completions",
            Self::Embeddings => "openai.embeddings",
            Self::Responses => "openai.responses",
        }
    }

    /// The shortest body, for directories that show how it is called.
    pub fn example(self) -> Value {
        match self {
            Self::Chat => {
                json!({ "model": "auto", "messages": [{ "role": "user", "content": "?" }] })
            }
            Self::Completions => json!({ "model": "auto", "prompt": "?" }),
            Self::Embeddings | Self::Responses => json!({ "model": "auto", "input": "?" }),
        }
    }

    /// The capability as a name.
    pub fn name(self) -> Name {
        self.capability().parse().expect("a literal name")
    }
}

/// The fields that are read; what is unknown stays in the bytes.
#[derive(Debug, Deserialize)]
struct Fields {
    model: String,
    #[serde(default)]
    stream: Option<bool>,
    #[serde(default)]
    max_tokens: Option<u64>,
    #[serde(default)]
    max_completion_tokens: Option<u64>,
    #[serde(default)]
    max_output_tokens: Option<u64>,
}

/// How many answers a body asks for: so many of each text that is to be written on from.
#[derive(Debug, Deserialize)]
pub(in crate::edge::http) struct Answers {
    #[serde(default)]
    n: Option<u64>,
    #[serde(default)]
    best_of: Option<u64>,
    /// llama.cpp's own name of `n`.
    #[serde(default)]
    n_cmpl: Option<u64>,
    #[serde(default)]
    prompt: Option<Value>,
}

impl Answers {
    /// Reads a body.
    ///
    /// # Errors
    /// The parser's own.
    pub(in crate::edge::http) fn read(body: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(body)
    }

    /// How many, where that is from one to [`CHOICES_MAX`].
    pub(in crate::edge::http) fn count(&self) -> Option<u64> {
        let each = [self.n, self.best_of, self.n_cmpl].into_iter().flatten().max().unwrap_or(1);
        let answers = each.saturating_mul(prompts(self.prompt.as_ref()));
        (1..=CHOICES_MAX).contains(&answers).then_some(answers)
    }
}

/// What a request asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::edge::http) struct Asked {
    pub provider: Option<Name>,
    pub model: Option<Name>,
    pub streamed: bool,
    /// Of each answer, where it is stated.
    output_max: Option<u64>,
    answers: u64,
}

impl Asked {
    /// Reads a body.
    ///
    /// # Errors
    /// [`Refusal`] for what is no such request, and for a model that is no name here.
    pub(in crate::edge::http) fn read(face: Face, body: &[u8]) -> Result<Self, Refusal> {
        let unread = |problem: serde_json::Error| {
            Refusal::malformed(format_args!("the body does not read: {problem}"))
        };
        let fields: Fields = serde_json::from_slice(body).map_err(unread)?;
        let answers = Answers::read(body).map_err(unread)?.count();
        let (provider, model) = read_model(&fields.model)?;
        let output_max = match face {
            Face::Embeddings => Some(0),
            Face::Chat => fields.max_completion_tokens.or(fields.max_tokens),
            Face::Completions => fields.max_tokens,
            Face::Responses => fields.max_output_tokens,
        };
        let answers = answers.ok_or_else(|| {
            Refusal::malformed(format_args!("expected 1 to {CHOICES_MAX} answers"))
        })?;
        let streamed = fields.stream.unwrap_or(false) && face != Face::Embeddings;
        Ok(Self { provider, model, streamed, output_max, answers })
    }

    /// The order. No token is shorter than a byte, so that a body's length bounds its input.
    pub(in crate::edge::http) fn order(
        &self,
        face: Face,
        body_len: usize,
        role_max: Option<Units>,
    ) -> Order {
        let role_max = role_max.map_or(u64::MAX, |max| max.0);
        let unstated = OUTPUT_DEFAULT.saturating_mul(self.answers).min(role_max);
        let stated = self.output_max.map(|each| each.saturating_mul(self.answers));
        Order {
            capability: face.name(),
            model: self.model.clone(),
            input_max: Units(u64::try_from(body_len).unwrap_or(u64::MAX)),
            output_max: Units(stated.unwrap_or(unstated)),
            maxima: Maxima::default(),
        }
    }
}

/// How many texts are to be written on from: a list of texts, or of lists of tokens, is several. A list of
/// tokens alone is one.
fn prompts(prompt: Option<&Value>) -> u64 {
    match prompt {
        Some(Value::Array(all)) if all.is_empty() || !all.iter().all(Value::is_number) => {
            u64::try_from(all.len()).unwrap_or(u64::MAX)
        }
        _ => 1,
    }
}

/// `model`, `provider/model`, or any.
fn read_model(text: &str) -> Result<(Option<Name>, Option<Name>), Refusal> {
    let (provider, model) = match text.split_once('/') {
        Some((provider, model)) => (Some(provider), model),
        None => (None, text),
    };
    let name = |part: &str| part.parse::<Name>().map_err(|_| Refusal::no_model(text));
    let provider = provider.map(name).transpose()?;
    let model = if ANY_MODEL.contains(&model) { None } else { Some(name(model)?) };
    Ok((provider, model))
}
