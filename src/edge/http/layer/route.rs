//! One paid route, and which requests are for it.

use std::cmp::Ordering;
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

/// One part of a pattern. What is named earlier goes before what is named later, where a path is both.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Segment {
    /// This text.
    Is(String),
    /// Any that begins and ends so: `user_{name}`.
    Partly(String, String),
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

    /// Whether a router that has this pattern would take a request's path for it, to the letter: nothing is
    /// decoded before it is split.
    pub(super) fn is_just_for(&self, path: &str) -> bool {
        let mut parts = path.strip_prefix('/').unwrap_or(path).split('/');
        for segment in &self.segments {
            let Some(part) = parts.next() else { return false };
            let is_it = match segment {
                Segment::Is(text) => text == part,
                Segment::Partly(before, after) => part
                    .strip_prefix(before.as_str())
                    .and_then(|rest| rest.strip_suffix(after.as_str()))
                    .is_some_and(|rest| !rest.is_empty()),
                Segment::Any => !part.is_empty(),
                Segment::Rest => return !part.is_empty() || parts.next().is_some(),
            };
            if !is_it {
                return false;
            }
        }
        parts.next().is_none()
    }

    /// Whether a path in one of its [`forms`] could be taken for one of this route.
    pub(super) fn is_for(&self, form: &[String]) -> bool {
        let mut parts = form.iter();
        for segment in
            self.segments.iter().filter(|segment| **segment != Segment::Is(String::new()))
        {
            match (segment, parts.next()) {
                (Segment::Rest, _) => return true,
                (Segment::Any | Segment::Partly(..), Some(_)) => {}
                (Segment::Is(text), Some(part)) if text.to_lowercase() == *part => {}
                (Segment::Is(_) | Segment::Any | Segment::Partly(..), _) => return false,
            }
        }
        parts.next().is_none()
    }

    /// Which of two routes that are just for one path a router takes: part by part, the one that says more.
    pub(super) fn says_more(&self, other: &Self) -> Ordering {
        self.segments.iter().map(Segment::rank).cmp(other.segments.iter().map(Segment::rank))
    }

    /// The path as directories of others write it, where it has parameters: `/weather/:city`.
    fn template(&self) -> Option<String> {
        let is_plain = self.segments.iter().all(|segment| matches!(segment, Segment::Is(_)));
        (!is_plain).then(|| self.pattern.replace("{*", ":").replace('{', ":").replace('}', ""))
    }
}

/// How often a path is decoded at most; one that is not plain after it is taken as it is then.
const DECODED_MAX: usize = 4;

/// The forms in which what lies beneath may read a request's path: decoded before it is split, or after it;
/// both without empty parts and in lower case. They may match more than what the router beneath takes for
/// the same path, and with [`PaidRoute::is_just_for`] never less: what is not free is asked for. Source:
/// threats.md D17.
pub(super) fn forms(path: &str) -> [Vec<String>; 2] {
    let parts = path.split('/').filter(|part| !part.is_empty());
    [plain(path), parts.map(|part| decoded(part).to_lowercase()).collect()]
}

/// Decoded until nothing is left to decode.
fn decoded(text: &str) -> String {
    let mut text = text.to_owned();
    for _ in 0..DECODED_MAX {
        let decoded = percent_decode_str(&text).decode_utf8_lossy().into_owned();
        if decoded == text {
            break;
        }
        text = decoded;
    }
    text
}

/// Decoded before it is split, without dots.
fn plain(path: &str) -> Vec<String> {
    let text = decoded(path);
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

impl Segment {
    fn read(part: &str) -> Self {
        let Some((before, rest)) = part.split_once('{') else {
            return Self::Is(part.to_owned());
        };
        let (name, after) = rest.split_once('}').unwrap_or((rest, ""));
        match (before, after) {
            ("", "") if name.starts_with('*') => Self::Rest,
            ("", "") => Self::Any,
            (before, after) => Self::Partly(before.to_owned(), after.to_owned()),
        }
    }

    const fn rank(&self) -> u8 {
        match self {
            Self::Is(_) => 0,
            Self::Partly(..) => 1,
            Self::Any => 2,
            Self::Rest => 3,
        }
    }
}

fn segments(pattern: &str) -> Vec<Segment> {
    pattern.strip_prefix('/').unwrap_or(pattern).split('/').map(Segment::read).collect()
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
mod tests;
