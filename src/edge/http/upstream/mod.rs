//! An OpenAI-compatible server as an engine: Ollama, llama.cpp, vLLM, LM Studio and whatever else speaks
//! their protocol, sold as it is.
//!
//! A request goes there with the server's own model name, this side's key and never more output than was
//! ordered, by whatever name it is bounded; a stream that goes on beyond the order is cut. Of the caller
//! nothing goes along but the body. What was used is read from the server's own count, at the end of a
//! stream too, and where it gives none it is counted by a bound that is said here. It is told who asks for
//! others (`x-bursar-via`), so that an upstream which is a node's own door does not buy from whom it sells
//! for. What it says in its errors is not repeated: it could be anybody's prompt.

mod body;
mod stream;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures_util::stream::{self as streams, BoxStream, StreamExt};
use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use reqwest::redirect::Policy;
use reqwest::{Client, Response, StatusCode, Url};
use serde::Deserialize;

use crate::domain::fault::{Class, Fault};
use crate::domain::id::Name;
use crate::domain::order::{Units, Usage};
use crate::edge::http::openai::{Face, VIA};
use crate::ports::engine::{Engine, EngineError, Step, Work};

use body::{Forwarded, face_of};
use stream::Tally;

/// How long a connection may take.
const CONNECT_MAX: Duration = Duration::from_secs(5);

/// How long the server may be silent: it may have to load a model first.
const SILENCE_MAX: Duration = Duration::from_secs(110);

/// How long it may take to list its models.
const LIST_MAX: Duration = Duration::from_secs(10);

/// Longest list of models, in bytes.
const LIST_LEN_MAX: usize = 1024 * 1024;

/// Models that are sold of one server at most: each is four wares of a listing.
pub const MODELS_MAX: usize = 16;

/// Longest whole answer, in bytes.
const WHOLE_LEN_MAX: usize = 16 * 1024 * 1024;

/// Bytes of text that count as one token of output where the server does not count.
const BYTES_PER_TOKEN: u64 = 4;

/// Why an upstream is not sold.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UpstreamError {
    /// Its address does not do.
    #[error(
        "`{url}` is no upstream: expected http://127.0.0.1:PORT/v1; elsewhere nothing goes in the clear"
    )]
    Address {
        /// As it was given.
        url: String,
    },
    /// Its key cannot be sent.
    #[error("the upstream's key has characters that no header takes")]
    Key,
    /// Nobody answers, or not as such a server does.
    #[error("{url} does not list its models: {problem}")]
    Silent {
        /// Where.
        url: String,
        /// What happened.
        problem: String,
    },
    /// It has no such model.
    #[error("{url} has no model `{model}`; it has {}", .has.join(", "))]
    NoModel {
        /// Where.
        url: String,
        /// Which.
        model: String,
        /// What it has.
        has: Vec<String>,
    },
    /// It has more models than are sold at once.
    #[error("{url} has {found} models, at most {MODELS_MAX} are sold: name those that are")]
    TooMany {
        /// Where.
        url: String,
        /// How many.
        found: usize,
    },
}

impl Fault for UpstreamError {
    fn code(&self) -> &'static str {
        match self {
            Self::Address { .. } => "upstream.address",
            Self::Key => "upstream.key",
            Self::Silent { .. } => "upstream.silent",
            Self::NoModel { .. } => "upstream.no_model",
            Self::TooMany { .. } => "upstream.too_many",
        }
    }

    fn class(&self) -> Class {
        match self {
            Self::Silent { .. } => Class::Later,
            Self::Address { .. } | Self::Key | Self::NoModel { .. } | Self::TooMany { .. } => {
                Class::Final
            }
        }
    }
}

/// A server that answers for us.
pub struct Upstream {
    client: Client,
    base: String,
    key: Option<HeaderValue>,
    via: HeaderValue,
    /// The server's own name of each model that is sold.
    models: BTreeMap<Name, String>,
}

#[derive(Deserialize)]
struct Listed {
    data: Vec<Model>,
}

#[derive(Deserialize)]
struct Model {
    id: String,
}

impl Upstream {
    /// The server at `url` (with its `/v1`), sold by `provider`, and of its models those in `only`, or all.
    ///
    /// # Errors
    /// [`UpstreamError`].
    pub async fn connect(
        url: &str,
        key: Option<&str>,
        only: &[String],
        provider: &Name,
    ) -> Result<Self, UpstreamError> {
        let base = check_address(url)?;
        let bearer = |key: &str| HeaderValue::from_str(&format!("Bearer {key}"));
        let key = key.map(bearer).transpose().map_err(|_| UpstreamError::Key)?;
        let key = key.map(|mut key| {
            key.set_sensitive(true);
            key
        });
        let client = Client::builder()
            .redirect(Policy::none())
            .connect_timeout(CONNECT_MAX)
            .read_timeout(SILENCE_MAX)
            .no_proxy()
            .build()
            .expect("a client without TLS needs nothing of the system");
        let via = HeaderValue::from_str(provider.as_str()).expect("a name is plain text");
        let mut upstream = Self { client, base, key, via, models: BTreeMap::new() };
        let has = upstream.list().await?;
        upstream.models = upstream.choose(has, only)?;
        Ok(upstream)
    }

    /// The models that are sold.
    pub fn models(&self) -> impl Iterator<Item = &Name> {
        self.models.keys()
    }

    async fn list(&self) -> Result<Vec<String>, UpstreamError> {
        let silent = |problem: String| UpstreamError::Silent { url: self.base.clone(), problem };
        let mut request = self.client.get(format!("{}/models", self.base)).timeout(LIST_MAX);
        if let Some(key) = &self.key {
            request = request.header(AUTHORIZATION, key.clone());
        }
        let response = request.send().await.map_err(|error| silent(plain(&error)))?;
        if !response.status().is_success() {
            return Err(silent(format!("it answered {}", response.status())));
        }
        let body =
            collect(response, LIST_LEN_MAX).await.map_err(|error| silent(error.to_string()))?;
        let listed: Listed = serde_json::from_slice(&body)
            .map_err(|_| silent("its list does not read as one of models".to_owned()))?;
        Ok(listed.data.into_iter().map(|model| model.id).collect())
    }

    fn choose(
        &self,
        has: Vec<String>,
        only: &[String],
    ) -> Result<BTreeMap<Name, String>, UpstreamError> {
        let url = || self.base.clone();
        if let Some(model) = only.iter().find(|model| !has.contains(model)) {
            return Err(UpstreamError::NoModel { url: url(), model: model.clone(), has });
        }
        let wanted = has.into_iter().filter(|id| only.is_empty() || only.contains(id));
        let named = wanted.filter_map(|id| Some((sold_as(&id)?, id)));
        let models: BTreeMap<Name, String> = named.collect();
        match models.len() {
            0 => Err(UpstreamError::Silent { url: url(), problem: "it has no model".to_owned() }),
            found if found > MODELS_MAX => Err(UpstreamError::TooMany { url: url(), found }),
            _ => Ok(models),
        }
    }

    /// What is sent for `work`.
    fn forward(&self, work: &Work) -> Result<Forwarded, EngineError> {
        let model = match &work.order.model {
            Some(model) => self.models.get(model),
            None => self.models.values().next(),
        };
        let model = model.ok_or_else(|| EngineError::BadRequest {
            capability: work.order.capability.to_string(),
            problem: "that model is not sold here".to_owned(),
        })?;
        Forwarded::new(work, model)
    }

    async fn send(&self, face: Face, body: Vec<u8>) -> Result<Response, EngineError> {
        let path = face.path().strip_prefix("/v1").unwrap_or(face.path());
        let mut request = self
            .client
            .post(format!("{}{path}", self.base))
            .header(CONTENT_TYPE, "application/json")
            .header(VIA, self.via.clone())
            .body(body);
        if let Some(key) = &self.key {
            request = request.header(AUTHORIZATION, key.clone());
        }
        let sent = request.send().await;
        let response = sent.map_err(|error| EngineError::Failed(plain(&error)))?;
        let status = response.status();
        match status {
            status if status.is_success() => Ok(response),
            StatusCode::TOO_MANY_REQUESTS => {
                Err(EngineError::Failed("the upstream is busy".to_owned()))
            }
            status if status.is_client_error() && status != StatusCode::UNAUTHORIZED => {
                Err(EngineError::BadRequest {
                    capability: face.capability().to_owned(),
                    problem: format!("the upstream answered {}", status.as_u16()),
                })
            }
            status => {
                Err(EngineError::Failed(format!("the upstream answered {}", status.as_u16())))
            }
        }
    }
}

#[async_trait]
impl Engine for Upstream {
    /// The length of the body in bytes: no token is shorter, so that no model counts more. What is
    /// charged is the server's count.
    fn count_input(&self, work: &Work) -> Result<Units, EngineError> {
        self.forward(work)?;
        Ok(Units(u64::try_from(work.body.len()).unwrap_or(u64::MAX)))
    }

    async fn run(
        &self,
        work: Work,
    ) -> Result<BoxStream<'static, Result<Step, EngineError>>, EngineError> {
        let mut forwarded = self.forward(&work)?;
        let face = face_of(&work.order.capability)?;
        let body = std::mem::take(&mut forwarded.body);
        let response = self.send(face, body).await?;
        let kind = response.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
        let content_type = kind.unwrap_or("application/json").to_owned();
        let model = work.order.model.as_ref().map_or("upstream", Name::as_str).to_owned();
        let of_events = content_type.starts_with("text/event-stream");
        let begin = Ok(Step::Begin { content_type, model });
        if of_events {
            let tally = Tally::new(&work, &forwarded);
            let steps = stream::pass_on(response, tally);
            return Ok(streams::iter([begin]).chain(steps).boxed());
        }
        let body = collect(response, WHOLE_LEN_MAX).await?;
        let usage = whole_usage(&work, &body);
        Ok(streams::iter([begin, Ok(Step::Chunk(body)), Ok(Step::Done(usage))]).boxed())
    }
}

/// What a whole answer used: as the server counted, or else the body's tokens at most and a token for
/// each four bytes of the answer; never more than was ordered.
fn whole_usage(work: &Work, body: &[u8]) -> Usage {
    let bytes = u64::try_from(body.len()).unwrap_or(u64::MAX);
    let counted = stream::read_usage(body);
    let sent = u64::try_from(work.body.len()).unwrap_or(u64::MAX);
    let (input, output) =
        counted.unwrap_or((sent.div_ceil(BYTES_PER_TOKEN), bytes.div_ceil(BYTES_PER_TOKEN)));
    Usage {
        input: Units(input.min(work.order.input_max.0)),
        output: Units(output.min(work.order.output_max.0)),
        bytes,
        compute_ms: 0,
    }
}

/// The base without its last slash: on this machine only, because the key and the prompts go in the
/// clear.
fn check_address(url: &str) -> Result<String, UpstreamError> {
    let wrong = || UpstreamError::Address { url: url.chars().take(128).collect() };
    let parsed: Url = url.parse().map_err(|_| wrong())?;
    let host = parsed.host_str().unwrap_or_default();
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let near = bare == "localhost" || bare.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
    let plain = parsed.username().is_empty()
        && parsed.password().is_none()
        && parsed.query().is_none()
        && parsed.fragment().is_none();
    if parsed.scheme() == "http" && near && plain {
        Ok(parsed.as_str().trim_end_matches('/').to_owned())
    } else {
        Err(wrong())
    }
}

/// A model's name as it is listed: a name has no slash. What cannot be named is not sold.
fn sold_as(id: &str) -> Option<Name> {
    id.replace('/', ".").parse().ok()
}

async fn collect(mut response: Response, most: usize) -> Result<Bytes, EngineError> {
    let mut body = BytesMut::new();
    while let Some(chunk) =
        response.chunk().await.map_err(|error| EngineError::Failed(plain(&error)))?
    {
        if body.len().saturating_add(chunk.len()) > most {
            return Err(EngineError::Failed(format!(
                "the upstream's answer is above {most} bytes"
            )));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body.freeze())
}

/// What went wrong with the transport, without the address.
fn plain(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        "the upstream does not answer in time".to_owned()
    } else if error.is_connect() {
        "nobody listens there".to_owned()
    } else {
        "the upstream broke off".to_owned()
    }
}

#[cfg(test)]
mod tests;
