//! The librarian's work: searches a text of the project's, and turns text into vectors.

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bursar::domain::order::{Units, Usage};
use bursar::ports::engine::{Engine, EngineError, Step, Work};
use futures_util::stream::BoxStream;
use serde_json::{Value, json};

use crate::models::Search;
use crate::shared::openai::{EMBEDDINGS, VectorRequest};
use crate::shared::{
    EMBED, EmbedAnswer, EmbedRequest, JSON, Passage, SEARCH, SearchAnswer, SearchRequest, not_sold,
    read, to_json, units, whole,
};

/// Passages in one answer at most.
const PASSAGES_MAX: usize = 10;

/// Searches and embeds.
pub struct Librarian {
    search: Search,
}

impl Librarian {
    /// A librarian with the trained model.
    pub fn new() -> Self {
        Self { search: Search::load() }
    }

    /// The model's name.
    pub fn model(&self) -> &str {
        self.search.name()
    }

    fn answers_as(&self) -> String {
        format!("{} {}", self.search.name(), self.search.weights_hash())
    }

    /// Each text's vector, in the form that OpenAI's clients ask for.
    fn vectors(&self, request: &VectorRequest, input: u64) -> Value {
        let coded = request.encoding_format.as_deref() == Some("base64");
        let one = |(index, text): (usize, &str)| {
            let vector = self.search.embed(text);
            let embedding = if coded {
                let bytes: Vec<u8> = vector.iter().flat_map(|x| x.to_le_bytes()).collect();
                json!(STANDARD.encode(bytes))
            } else {
                json!(vector)
            };
            json!({ "object": "embedding", "index": index, "embedding": embedding })
        };
        let data: Vec<Value> = request.input.all().into_iter().enumerate().map(one).collect();
        json!({
            "object": "list",
            "data": data,
            "model": self.model(),
            "usage": { "prompt_tokens": input, "total_tokens": input },
        })
    }

    /// As many passages as were asked for and as fit into what was paid for.
    fn find(&self, request: &SearchRequest, output_max: u64) -> (SearchAnswer, usize) {
        let (mut passages, mut used) = (Vec::new(), 0);
        for hit in self.search.query(&request.query, request.k.min(PASSAGES_MAX)) {
            let counted = self.search.tokens(hit.passage.as_ref());
            let with_it = usize::saturating_add(used, counted);
            if u64::try_from(with_it).unwrap_or(u64::MAX) > output_max {
                break;
            }
            used = with_it;
            passages.push(Passage {
                title: hit.title.to_string(),
                source: hit.source.to_string(),
                text: hit.passage.to_string(),
                score_milli: hit.score_milli,
            });
        }
        (SearchAnswer { passages }, used)
    }
}

#[async_trait]
impl Engine for Librarian {
    fn count_input(&self, work: &Work) -> Result<Units, EngineError> {
        let capability = &work.order.capability;
        let text = match capability.as_str() {
            SEARCH => read::<SearchRequest>(capability, &work.body)?.query,
            EMBED => read::<EmbedRequest>(capability, &work.body)?.text,
            EMBEDDINGS => {
                let request = read::<VectorRequest>(capability, &work.body)?;
                let counted = request.input.all().iter().map(|text| self.search.tokens(text)).sum();
                return Ok(units(counted));
            }
            _ => return Err(not_sold(capability)),
        };
        Ok(units(self.search.tokens(&text)))
    }

    async fn run(
        &self,
        work: Work,
    ) -> Result<BoxStream<'static, Result<Step, EngineError>>, EngineError> {
        let input = self.count_input(&work)?;
        let capability = &work.order.capability;
        let (body, output) = match capability.as_str() {
            SEARCH => {
                let request: SearchRequest = read(capability, &work.body)?;
                let (answer, used) = self.find(&request, work.order.output_max.0);
                (to_json(&answer), units(used))
            }
            EMBED => {
                let request: EmbedRequest = read(capability, &work.body)?;
                let embedding = self.search.embed(&request.text);
                (to_json(&EmbedAnswer { embedding }), Units(0))
            }
            EMBEDDINGS => {
                let request: VectorRequest = read(capability, &work.body)?;
                (to_json(&self.vectors(&request, input.0)), Units(0))
            }
            _ => return Err(not_sold(capability)),
        };
        let bytes = u64::try_from(body.len()).unwrap_or(u64::MAX);
        let usage = Usage { input, output, bytes, compute_ms: 0 };
        Ok(whole(JSON, self.answers_as(), body, usage))
    }
}
