//! The scribe's work: writes on from a prompt, token by token, with a language model of the project's
//! own. Locally plausible, globally nonsense; every answer names the model and its weights' hash.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bursar::domain::order::{Units, Usage};
use bursar::ports::engine::{Engine, EngineError, Step, Work};
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};

use crate::models::Writer;
use crate::openai::Writing;
use crate::shared::openai::{CHAT, COMPLETIONS, Head, RESPONSES, TextRequest};
use crate::shared::{GENERATE, GenerateRequest, TEXT, not_sold, read, units};

/// Writes.
pub struct Scribe {
    writer: Arc<Writer>,
    /// How long it takes over each token: a slow scribe for a busy market.
    pace: Duration,
}

impl Scribe {
    /// A scribe with the trained model that takes `pace` over each token.
    pub fn new(pace: Duration) -> Self {
        Self { writer: Arc::new(Writer::load()), pace }
    }

    /// The model's name.
    pub fn model(&self) -> &str {
        self.writer.name()
    }

    /// Writes in the bodies of OpenAI's clients, at once or token by token as the request says.
    fn write_for_client(
        &self,
        work: &Work,
        input: Units,
    ) -> Result<BoxStream<'static, Result<Step, EngineError>>, EngineError> {
        let capability = &work.order.capability;
        let request: TextRequest = read(capability, &work.body)?;
        let prompt = request.prompt(capability.as_str())?;
        let ordered = work.order.output_max.0;
        let output_max = request.output_max().map_or(ordered, |stated| stated.min(ordered));
        let most = usize::try_from(output_max).unwrap_or(usize::MAX);
        let (name, weights) = (self.writer.name(), self.writer.weights_hash());
        let writing = Writing {
            head: Head::new(capability.as_str(), &work.body, name, weights),
            tokens: self.writer.generate(&prompt, most, request.seed.unwrap_or(0)),
            output_max,
            input,
            model: format!("{name} {weights}"),
        };
        let streamed = request.stream.unwrap_or(false);
        let steps = if streamed { writing.streamed(&request) } else { writing.whole() };
        let pace = self.pace;
        Ok(match pace.is_zero() {
            true => steps,
            false => steps
                .then(move |step| async move {
                    if matches!(step, Ok(Step::Chunk(_))) {
                        tokio::time::sleep(pace).await;
                    }
                    step
                })
                .boxed(),
        })
    }
}

#[async_trait]
impl Engine for Scribe {
    fn count_input(&self, work: &Work) -> Result<Units, EngineError> {
        let capability = &work.order.capability;
        let prompt = match capability.as_str() {
            GENERATE => read::<GenerateRequest>(capability, &work.body)?.prompt,
            asked @ (CHAT | COMPLETIONS | RESPONSES) => {
                read::<TextRequest>(capability, &work.body)?.prompt(asked)?
            }
            _ => return Err(not_sold(capability)),
        };
        Ok(units(self.writer.count(&prompt)))
    }

    async fn run(
        &self,
        work: Work,
    ) -> Result<BoxStream<'static, Result<Step, EngineError>>, EngineError> {
        let input = self.count_input(&work)?;
        if work.order.capability.as_str() != GENERATE {
            return self.write_for_client(&work, input);
        }
        let request: GenerateRequest = read(&work.order.capability, &work.body)?;
        let most = usize::try_from(work.order.output_max.0).unwrap_or(usize::MAX);
        let tokens = self.writer.generate(&request.prompt, most, request.seed);
        let model = format!("{} {}", self.writer.name(), self.writer.weights_hash());
        let begin = Step::Begin { content_type: TEXT.to_owned(), model };
        let usage = Usage { input, ..Usage::default() };
        let pace = self.pace;
        let written = stream::unfold(Some((tokens, usage)), move |state| async move {
            let (mut tokens, mut usage) = state?;
            if !pace.is_zero() {
                tokio::time::sleep(pace).await;
            }
            match tokens.next() {
                Some(token) => {
                    usage.output = Units(usage.output.0.saturating_add(1));
                    let bytes = u64::try_from(token.len()).unwrap_or(u64::MAX);
                    usage.bytes = usage.bytes.saturating_add(bytes);
                    let steps = vec![Step::Used(usage), Step::Chunk(token.into())];
                    Some((steps, Some((tokens, usage))))
                }
                None => Some((vec![Step::Done(usage)], None)),
            }
        });
        let steps = written.flat_map(stream::iter).map(Ok);
        Ok(stream::once(async { Ok(begin) }).chain(steps).boxed())
    }
}
