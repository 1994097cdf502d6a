//! Looks for resources in a directory of others. What is found is strangers' text, read within bounds and
//! cleaned; what a resource costs is what it asks for itself, when it is called.
//!
//! Source: x402 extension bazaar, discovery endpoints.

use reqwest::Url;
use serde_json::Value;

use super::client::{Origin, OriginError, Plain, Reach};
use super::discovery::PAGE_MAX;
use crate::domain::fault::{Class, Fault};
use crate::domain::x402::bazaar::{Found, read_found};

/// Longest answer that is read, in bytes.
const ANSWER_LEN_MAX: usize = 4 * 1024 * 1024;

/// Longest query, in characters.
const QUERY_LEN_MAX: usize = 256;

/// Why nothing is found.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SearchError {
    /// The directory's URL is none, or leads where it must not.
    #[error(transparent)]
    Origin(#[from] OriginError),
    /// There is nothing to look for, or too much.
    #[error("expected 1 to {QUERY_LEN_MAX} characters to look for")]
    Query,
    /// Nobody answered.
    #[error("no answer from {origin}: {problem}")]
    Unreachable {
        /// Who was asked.
        origin: Origin,
        /// What happened.
        problem: String,
    },
    /// It does not answer as a directory.
    #[error("{origin} does not answer as a directory: {problem}")]
    NoDirectory {
        /// Who was asked.
        origin: Origin,
        /// What was wrong.
        problem: String,
    },
}

impl Fault for SearchError {
    fn code(&self) -> &'static str {
        match self {
            Self::Origin(inner) => inner.code(),
            Self::Query => "search.query",
            Self::Unreachable { .. } => "search.unreachable",
            Self::NoDirectory { .. } => "search.no_directory",
        }
    }

    fn class(&self) -> Class {
        match self {
            Self::Origin(_) | Self::Query => Class::Final,
            Self::Unreachable { .. } | Self::NoDirectory { .. } => Class::Later,
        }
    }
}

/// What the directory at `base` has for `words`, at most `most` of it.
///
/// # Errors
/// [`SearchError`].
pub async fn search(
    base: &str,
    words: &str,
    most: usize,
    reach: &Reach,
) -> Result<Vec<Found>, SearchError> {
    if words.trim().is_empty() || words.chars().count() > QUERY_LEN_MAX {
        return Err(SearchError::Query);
    }
    let most = most.min(PAGE_MAX);
    let origin = Origin::of(base, reach)?;
    let mut url: Url = base.parse().map_err(|_| OriginError::NotHttp)?;
    let path = format!("{}/discovery/search", url.path().trim_end_matches('/'));
    url.set_path(&path);
    let limit = most.to_string();
    url.query_pairs_mut().clear().append_pair("query", words).append_pair("limit", &limit);
    let answered = Plain::new(reach.clone()).get(url.as_str(), ANSWER_LEN_MAX).await;
    let fetched = answered.map_err(|problem| {
        let origin = origin.clone();
        SearchError::Unreachable { origin, problem }
    })?;
    let wrong = |problem: String| SearchError::NoDirectory { origin: origin.clone(), problem };
    if !fetched.status.is_success() {
        return Err(wrong(format!("status {}", fetched.status.as_u16())));
    }
    let answer: Value = serde_json::from_slice(&fetched.body)
        .map_err(|_| wrong("its answer is not JSON".to_owned()))?;
    Ok(read_found(&answer, most))
}
