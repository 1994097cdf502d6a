//! The bazaar's door: `GET /discovery/resources` lists what is for sale, `GET /discovery/search?query=` looks
//! for words in it.
//!
//! Source: x402 extension bazaar, optional discovery endpoints.

use std::sync::Arc;

use axum::Router;
use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use reqwest::Url;
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use super::limits::TARGET_LEN_MAX;
use crate::domain::x402::bazaar::Discovered;
use crate::domain::x402::wire::X402_VERSION;
use crate::ports::catalogue::Catalogue;

/// Resources in one answer where nobody says how many.
const PAGE: usize = 20;

/// Resources in one answer at most.
pub const PAGE_MAX: usize = 100;

/// Words of a search that are looked for.
const WORDS_MAX: usize = 16;

/// Characters of a word that is looked for as a beginning.
const BEGINNING_MIN: usize = 3;

/// Answers that are made at a time; whoever comes next waits.
const ANSWERS_MAX: usize = 8;

#[derive(Clone)]
struct Door {
    catalogues: Arc<[Arc<dyn Catalogue>]>,
    places: Arc<Semaphore>,
}

/// Its routes, over all that `catalogues` list.
pub fn routes(catalogues: impl IntoIterator<Item = Arc<dyn Catalogue>>) -> Router {
    let places = Arc::new(Semaphore::new(ANSWERS_MAX));
    let door = Door { catalogues: catalogues.into_iter().collect(), places };
    Router::new()
        .route("/discovery/resources", get(list))
        .route("/discovery/search", get(search))
        .with_state(door)
}

/// What is asked for; a name that nobody knows changes nothing.
#[derive(Default)]
struct Asked {
    query: Option<String>,
    kind: Option<String>,
    pay_to: Option<String>,
    scheme: Option<String>,
    network: Option<String>,
    extension: Option<String>,
    limit: Option<usize>,
    from: usize,
}

impl Asked {
    fn read(query: Option<&str>) -> Result<Self, Response> {
        let query = query.unwrap_or_default();
        if query.len() > TARGET_LEN_MAX {
            return Err(wrong("the query is too long"));
        }
        let url = Url::parse(&format!("http://directory/?{query}"));
        let url = url.map_err(|_| wrong("the query does not read"))?;
        let mut asked = Self::default();
        for (key, value) in url.query_pairs() {
            let number = || value.parse().map_err(|_| wrong("expected whole numbers"));
            match key.as_ref() {
                "query" => asked.query = Some(value.into_owned()),
                "type" => asked.kind = Some(value.into_owned()),
                "payTo" => asked.pay_to = Some(value.into_owned()),
                "scheme" => asked.scheme = Some(value.into_owned()),
                "network" => asked.network = Some(value.into_owned()),
                "extensions" => asked.extension = Some(value.into_owned()),
                "limit" => asked.limit = Some(number()?),
                // A cursor is the place where the next page begins.
                "offset" | "cursor" => asked.from = number()?,
                _ => {}
            }
        }
        Ok(asked)
    }

    fn limit(&self) -> usize {
        self.limit.unwrap_or(PAGE).min(PAGE_MAX)
    }

    fn takes(&self, listed: &Discovered) -> bool {
        let is = |asked: &Option<String>, found: &str| {
            asked.as_ref().is_none_or(|asked| asked.eq_ignore_ascii_case(found))
        };
        let pays = listed.accepts.iter().any(|way| {
            is(&self.scheme, &way.scheme)
                && is(&self.network, &way.network)
                && is(&self.pay_to, &way.pay_to)
        });
        let extended =
            self.extension.as_ref().is_none_or(|key| listed.extensions.contains_key(key));
        pays && extended && is(&self.kind, &listed.kind)
    }
}

async fn list(State(door): State<Door>, RawQuery(query): RawQuery) -> Response {
    let asked = match Asked::read(query.as_deref()) {
        Ok(asked) => asked,
        Err(refused) => return refused,
    };
    let _place = door.places.acquire().await;
    let found = door.find(&asked);
    let total = found.len();
    let items: Vec<_> = found.into_iter().skip(asked.from).take(asked.limit()).collect();
    let pagination = json!({ "limit": asked.limit(), "offset": asked.from, "total": total });
    told(&json!({ "x402Version": X402_VERSION, "items": items, "pagination": pagination }))
}

async fn search(State(door): State<Door>, RawQuery(query): RawQuery) -> Response {
    let asked = match Asked::read(query.as_deref()) {
        Ok(asked) => asked,
        Err(refused) => return refused,
    };
    let words = asked.query.as_deref().map(words).unwrap_or_default();
    if words.is_empty() {
        return wrong("expected ?query= with at least one word");
    }
    let _place = door.places.acquire().await;
    let found = door.find(&asked).into_iter().map(|listed| (hits(&listed, &words), listed));
    let mut found: Vec<_> = found.filter(|(hits, _)| *hits > 0).collect();
    // The sort keeps the order of the list where two have as many.
    found.sort_by_key(|(hits, _)| std::cmp::Reverse(*hits));
    let end = asked.from.saturating_add(asked.limit());
    let cursor = (end < found.len()).then(|| end.to_string());
    let page = found.into_iter().skip(asked.from).take(asked.limit());
    let resources: Vec<_> = page.map(|(_, listed)| listed).collect();
    let pagination = json!({ "limit": resources.len(), "cursor": cursor });
    told(&json!({ "x402Version": X402_VERSION, "resources": resources, "pagination": pagination }))
}

impl Door {
    fn find(&self, asked: &Asked) -> Vec<Discovered> {
        let all = self.catalogues.iter().flat_map(|catalogue| catalogue.listed());
        all.filter(|listed| asked.takes(listed)).collect()
    }
}

fn words(query: &str) -> Vec<String> {
    let words = query.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
    words.take(WORDS_MAX).map(str::to_lowercase).collect()
}

/// How many of the words are in what is said of a resource; the longer ones as beginnings too.
fn hits(listed: &Discovered, words: &[String]) -> usize {
    let said = [&listed.description, &listed.service_name];
    let said = said.into_iter().flatten().chain(&listed.tags).chain([&listed.resource]);
    let said: Vec<String> = said.map(|text| text.to_lowercase()).collect();
    let said = said.iter().flat_map(|text| text.split(|c: char| !c.is_alphanumeric()));
    let said: Vec<&str> = said.collect();
    let is_said = |word: &&String| {
        let begins = word.chars().count() >= BEGINNING_MIN;
        said.iter().any(|one| one == word || (begins && one.starts_with(word.as_str())))
    };
    words.iter().filter(is_said).count()
}

fn wrong(problem: &str) -> Response {
    answer(StatusCode::BAD_REQUEST, &json!({ "error": problem }))
}

fn told(body: &Value) -> Response {
    answer(StatusCode::OK, body)
}

fn answer(status: StatusCode, body: &Value) -> Response {
    let head = [(CONTENT_TYPE, "application/json"), (CACHE_CONTROL, "no-store")];
    (status, head, body.to_string()).into_response()
}
