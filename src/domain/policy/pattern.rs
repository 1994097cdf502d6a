//! Patterns of allow and deny lists: an exact text, or a start and one `*` at the end. Nothing more,
//! so that nobody has to reckon what a list means.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, de};

/// Longest pattern, in bytes: an asset's CAIP-19 name fits.
pub const PATTERN_LEN_MAX: usize = 128;

/// An exact text, or a start and one `*`; `*` alone matches everything.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Pattern(String);

/// Why a text is no pattern.
#[derive(Copy, Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// Nothing would match it.
    #[error("a pattern is not empty")]
    Empty,
    /// Above [`PATTERN_LEN_MAX`].
    #[error("a pattern has at most {PATTERN_LEN_MAX} bytes")]
    TooLong,
    /// `*` anywhere but at the end.
    #[error("a pattern has at most one `*`, at its end")]
    StarInside,
    /// Space, control or non-ASCII characters, which no name has.
    #[error("a pattern has visible ASCII characters only")]
    NotVisible,
}

impl Pattern {
    /// The text as written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether everything matches.
    pub fn is_any(&self) -> bool {
        self.0 == "*"
    }

    /// Whether `text` matches, letter for letter.
    pub fn matches(&self, text: &str) -> bool {
        match self.0.strip_suffix('*') {
            Some(start) => text.starts_with(start),
            None => self.0 == text,
        }
    }

    /// Whether `text` matches, upper and lower case alike: addresses carry a checksum in their case.
    pub fn matches_any_case(&self, text: &str) -> bool {
        match self.0.strip_suffix('*') {
            Some(start) => {
                text.get(..start.len()).is_some_and(|head| head.eq_ignore_ascii_case(start))
            }
            None => self.0.eq_ignore_ascii_case(text),
        }
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl FromStr for Pattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        if text.is_empty() {
            Err(PatternError::Empty)
        } else if text.len() > PATTERN_LEN_MAX {
            Err(PatternError::TooLong)
        } else if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            Err(PatternError::NotVisible)
        } else if text.strip_suffix('*').unwrap_or(text).contains('*') {
            Err(PatternError::StarInside)
        } else {
            Ok(Self(text.to_owned()))
        }
    }
}

impl<'de> Deserialize<'de> for Pattern {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}
