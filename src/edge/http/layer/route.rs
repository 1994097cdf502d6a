//! One paid route, and which requests are for it.

use std::sync::Arc;

use axum::http::Method;
use percent_encoding::percent_decode_str;
use serde_json::{Map, Value};

use crate::domain::id::{Fingerprint, Name};
use crate::domain::money::Amount;
use crate::domain::quote::PriceTerms;
use crate::edge::http::bazaar::{self, Discovery};

/// A route that is paid for.
#[derive(Clone, Debug)]
pub struct PaidRoute {
    pub(super) method: Method,
    pub(super) pattern: String,
    pub(super) segments: Vec<Segment>,
    pub(super) name: Name,
    pub(super) terms: PriceTerms,
    pub(super) units_max: u64,
    pub(super) description: Option<String>,
    pub(super) mime_type: Option<String>,
    pub(super) declared: Arc<Map<String, Value>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Segment {
    /// This text, in lower case.
    Is(String),
    /// Any one: `{city}`.
    Any,
    /// All that follow: `{*rest}`.
    Rest,
}

impl PaidRoute {
    /// A route by axum's pattern of its path (`/weather/{city}`), at a flat `price` a call.
    pub fn new(method: Method, pattern: &str, price: Amount) -> Self {
        Self {
            segments: segments(pattern),
            name: name_of(&method, pattern),
            terms: PriceTerms { flat: price, ..PriceTerms::default() },
            units_max: 0,
            description: None,
            mime_type: None,
            declared: Arc::default(),
            pattern: pattern.to_owned(),
            method,
        }
    }

    /// The same, that costs `per_1k` more for each thousand units: the handler says by
    /// [`Used`](super::Used) how many it used, of at most `units_max`, and what a payer authorizes covers
    /// all of them.
    pub fn metered(mut self, per_1k: Amount, units_max: u64) -> Self {
        self.terms.per_1k_output = per_1k;
        self.units_max = units_max;
        self
    }

    /// What it is for people.
    pub fn described(mut self, text: &str) -> Self {
        self.description = Some(text.to_owned());
        self
    }

    /// What its answer is.
    pub fn answering(mut self, mime_type: &str) -> Self {
        self.mime_type = Some(mime_type.to_owned());
        self
    }

    /// How directories of others may list it.
    pub fn discoverable(mut self, discovery: Discovery) -> Self {
        let declared = discovery.declared(self.method.as_str(), self.template().as_deref());
        self.declared = Arc::new(Map::from_iter([(bazaar::KEY.to_owned(), declared)]));
        self
    }

    /// Whether a request's path, in its one form, is a path of this route.
    pub(super) fn is_for(&self, path: &[String]) -> bool {
        let mut parts = path.iter();
        for segment in &self.segments {
            match (segment, parts.next()) {
                (Segment::Rest, _) => return true,
                (Segment::Any, Some(_)) => {}
                (Segment::Is(text), Some(part)) if text == part => {}
                (Segment::Is(_) | Segment::Any, _) => return false,
            }
        }
        parts.next().is_none()
    }

    /// The path as directories of others write it, where it has parameters: `/weather/:city`.
    fn template(&self) -> Option<String> {
        let is_plain = self.segments.iter().all(|segment| matches!(segment, Segment::Is(_)));
        (!is_plain).then(|| self.pattern.replace("{*", ":").replace('{', ":").replace('}', ""))
    }
}

/// How often a path is decoded at most; one that is not plain after it is taken as it is then.
const DECODED_MAX: usize = 4;

/// A request's path in one form: decoded until nothing is left to decode, without empty segments and
/// dots, in lower case. It may match more than what the router beneath takes for the same path, and never
/// less: what is not free is asked for. Source: threats.md D17.
pub(super) fn plain(path: &str) -> Vec<String> {
    let mut text = path.to_owned();
    for _ in 0..DECODED_MAX {
        let decoded = percent_decode_str(&text).decode_utf8_lossy().into_owned();
        if decoded == text {
            break;
        }
        text = decoded;
    }
    let mut parts: Vec<String> = Vec::new();
    for part in text.split(['/', '\\']) {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part.to_lowercase()),
        }
    }
    parts
}

fn segments(pattern: &str) -> Vec<Segment> {
    let read = |part: &str| match part.strip_prefix('{') {
        Some(rest) if rest.starts_with('*') => Segment::Rest,
        Some(_) => Segment::Any,
        None => Segment::Is(part.to_lowercase()),
    };
    pattern.split('/').filter(|part| !part.is_empty()).map(read).collect()
}

/// A route as policies name models: `GET:weather.city`. One too long for a name is named by its digest,
/// because a path cut short could be another's.
fn name_of(method: &Method, pattern: &str) -> Name {
    let keep = |c: char| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '.' };
    let path: String = pattern.trim_matches('/').chars().map(keep).collect();
    let text = format!("{method}:{path}");
    text.parse().unwrap_or_else(|_| {
        let digest = Fingerprint::of(&[method.as_str().as_bytes(), pattern.as_bytes()]);
        digest.to_string().parse().expect("an id's text is a name")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_spelling_of_a_paid_path_is_another_path() {
        let paid = PaidRoute::new(Method::GET, "/paid/{city}", Amount::new(1));
        for path in [
            "/paid/rome",
            "/paid/rome/",
            "//paid///rome",
            "/PAID/rome",
            "/%70aid/rome",
            "/%2570aid/rome",
            "/paid/%",
            "/paid/%zz",
            "/paid/%ff",
            "/free/../paid/rome",
            "/free/%2e%2e/paid/rome",
            "/./paid/rome",
            "/paid%2frome",
            "/paid\\rome",
            "/paid/rome/.",
        ] {
            assert!(paid.is_for(&plain(path)), "{path}");
        }
        for path in ["/paid", "/paid/", "/paid/rome/today", "/free", "/", "/paids/rome"] {
            assert!(!paid.is_for(&plain(path)), "{path}");
        }
        let all = PaidRoute::new(Method::GET, "/all/{*rest}", Amount::new(1));
        for path in ["/all", "/all/a", "/all/a/b/c"] {
            assert!(all.is_for(&plain(path)), "{path}");
        }
        assert_eq!(paid.template().as_deref(), Some("/paid/:city"));
        assert_eq!(paid.name.as_str(), "GET:paid..city.");
    }
}
