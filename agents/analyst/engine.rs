//! The analyst's work: answers a question from passages that it buys of a librarian and text that it
//! buys of a scribe. It pays as an agent of its own, under its own role's budget.

use async_trait::async_trait;
use bursar::domain::id::Name;
use bursar::domain::order::{Units, Usage};
use bursar::edge::clock::SystemClock;
use bursar::edge::grpc::{AgentClient, Bought, Purchase};
use bursar::ports::clock::Clock;
use bursar::ports::engine::{Engine, EngineError, Step, Work};
use bytes::Bytes;
use futures_util::stream::BoxStream;

use crate::models::Writer;
use crate::shared::retry::{may_retry, pause};
use crate::shared::{
    ANSWER, AnswerBody, AnswerRequest, GENERATE, GenerateRequest, JSON, SEARCH, SearchAnswer,
    SearchRequest, not_sold, order, read, request_id, to_json, units, whole,
};

/// The model that an analyst says it is: the two it buys of, put together.
pub const MODEL: &str = "bursar-analyst-1";

/// Passages in one answer.
const PASSAGES: usize = 3;

/// The most that is searched for, and written, for one answer.
const SEARCH_OUTPUT_MAX: u64 = 1000;
const TEXT_OUTPUT_MAX: u64 = 48;

/// Tries at a purchase that was refused for a while.
const TRIES_MAX: u32 = 8;

/// Answers by buying.
pub struct Analyst {
    client: AgentClient,
    counter: Writer,
    session: Option<Name>,
}

impl Analyst {
    /// An analyst that pays through `client`.
    pub fn new(client: AgentClient) -> Self {
        Self { client, counter: Writer::load(), session: None }
    }

    /// Buys, again with the very same request where the first try was refused for a while.
    async fn buy(
        &self,
        capability: &str,
        bounds: (u64, u64),
        body: Bytes,
    ) -> Result<Bought, EngineError> {
        let clock = SystemClock;
        let now = clock.now();
        let request = request_id(
            now.as_millis(),
            &[capability.as_bytes(), &body, &now.as_nanos().to_be_bytes()],
        );
        let purchase = Purchase {
            request,
            order: order(capability, bounds.0, bounds.1),
            content_type: JSON.to_owned(),
            body,
            price_max: None,
            provider: None,
            session: self.session.clone(),
            // A text comes token by token, and is paid so where its scribe is.
            streamed: capability == GENERATE,
        };
        for tries in 1.. {
            match self.client.buy(purchase.clone()).await {
                Ok(bought) => return Ok(bought),
                Err(error) if tries < TRIES_MAX && may_retry(&error) => {
                    clock.sleep_until(pause(clock.now(), &error, tries)).await;
                }
                Err(error) => return Err(EngineError::Failed(error.to_string())),
            }
        }
        unreachable!("the last try returns")
    }
}

#[async_trait]
impl Engine for Analyst {
    fn count_input(&self, work: &Work) -> Result<Units, EngineError> {
        let capability = &work.order.capability;
        if capability.as_str() != ANSWER {
            return Err(not_sold(capability));
        }
        let request: AnswerRequest = read(capability, &work.body)?;
        Ok(units(self.counter.count(&request.question)))
    }

    async fn run(
        &self,
        work: Work,
    ) -> Result<BoxStream<'static, Result<Step, EngineError>>, EngineError> {
        let input = self.count_input(&work)?;
        let AnswerRequest { question } = read(&work.order.capability, &work.body)?;
        let search = SearchRequest { query: question.clone(), k: PASSAGES };
        let found =
            self.buy(SEARCH, (input.0.max(64), SEARCH_OUTPUT_MAX), to_json(&search)).await?;
        let passages: SearchAnswer = read(&work.order.capability, &found.body)?;
        let prompt = format!("{question}\n");
        let seed = u64::try_from(question.len()).unwrap_or(0);
        let ask = GenerateRequest { prompt, seed };
        let written = self
            .buy(GENERATE, (input.0.saturating_add(64), TEXT_OUTPUT_MAX), to_json(&ask))
            .await?;
        let generated = String::from_utf8_lossy(&written.body).into_owned();
        let output = units(self.counter.count(&generated));
        let answer = AnswerBody {
            question,
            extracted: passages.passages,
            generated,
            generated_by: written.model,
            searched_by: found.model.clone(),
            payments: vec![found.payment, written.payment],
        };
        let body = to_json(&answer);
        let bytes = u64::try_from(body.len()).unwrap_or(u64::MAX);
        let usage = Usage { input, output, bytes, compute_ms: 0 };
        Ok(whole(
            JSON,
            format!("{MODEL} of {} and {}", answer.searched_by, answer.generated_by),
            body,
            usage,
        ))
    }
}
