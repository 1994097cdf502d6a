//! What is wrong with a configuration, and where. It never shows what could be a secret.

use std::fmt;
use std::path::PathBuf;

use crate::domain::fault::{Class, Fault};

/// What kind of problem.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// It is not TOML.
    Syntax,
    /// No such key here.
    UnknownKey,
    /// A key that has to be there is not.
    MissingKey,
    /// A text where a number should be, or the like.
    WrongType,
    /// The right type, and not a value that the key takes.
    BadValue,
    /// It names something that the file does not have.
    UnknownName,
    /// Two things that must differ are the same.
    Duplicate,
    /// A mainnet without `allow_mainnet = true`.
    Mainnet,
    /// A listener or endpoint that others could reach, while there is no TLS.
    NotLoopback,
    /// A payer could not learn from the chain what became of its payments.
    NoEvidence,
    /// Legal, and wider than most people mean.
    Risky,
}

/// One problem at one place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The file.
    pub file: PathBuf,
    /// 1 first.
    pub line: usize,
    /// In characters, 1 first.
    pub column: usize,
    /// How many characters it concerns.
    pub width: usize,
    /// What kind.
    pub kind: Kind,
    /// What is wrong.
    pub what: String,
    /// What would be right.
    pub right: String,
    /// The line, without what could be a secret.
    pub excerpt: String,
}

impl fmt::Display for Problem {
    /// File, line and column, what is wrong, the line with a mark beneath, and what would be right.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = self.line.to_string();
        let gap = " ".repeat(number.len());
        let before = " ".repeat(self.column.saturating_sub(1));
        let most = self.excerpt.chars().count().saturating_sub(self.column.saturating_sub(1));
        let carets = "^".repeat(self.width.min(most).max(1));
        writeln!(f, "{}:{}:{}: {}", self.file.display(), self.line, self.column, self.what)?;
        writeln!(f, " {number} | {}", self.excerpt)?;
        writeln!(f, " {gap} | {before}{carets}")?;
        write!(f, " {gap} = {}", self.right)
    }
}

impl std::error::Error for Problem {}

impl Fault for Problem {
    fn code(&self) -> &'static str {
        match self.kind {
            Kind::Syntax => "config.syntax",
            Kind::UnknownKey => "config.unknown_key",
            Kind::MissingKey => "config.missing_key",
            Kind::WrongType => "config.wrong_type",
            Kind::BadValue => "config.bad_value",
            Kind::UnknownName => "config.unknown_name",
            Kind::Duplicate => "config.duplicate",
            Kind::Mainnet => "config.mainnet",
            Kind::NotLoopback => "config.not_loopback",
            Kind::NoEvidence => "config.no_evidence",
            Kind::Risky => "config.risky",
        }
    }

    fn class(&self) -> Class {
        Class::Final
    }
}

/// Hexadecimal digits in a row from which on they could be a key.
const HEX_SECRET_LEN: usize = 48;

/// `line` with everything that could be a key or a token replaced by dots: people paste keys into the
/// wrong place, and a problem at that place must not print them. The length stays, so that marks fit.
/// Source: threats.md O01.
pub(super) fn masked(line: &str) -> String {
    let line = &without_password(&without_value(line));
    let mut out = String::with_capacity(line.len());
    let mut word = String::new();
    for next in line.chars() {
        if next.is_ascii_alphanumeric() || matches!(next, '_' | '-') {
            word.push(next);
        } else {
            out.push_str(&masked_word(&word));
            word.clear();
            out.push(next);
        }
    }
    out.push_str(&masked_word(&word));
    out
}

/// Parts of names under which people write secrets.
const SECRET_KEYS: [&str; 6] = ["key", "secret", "pass", "mnemonic", "token", "seed"];

/// A line `key = …` without what follows the `=`.
fn without_value(line: &str) -> String {
    let mut end = 0;
    for part in line.split_inclusive('=') {
        end = part.len().saturating_add(end);
        let key = part.trim_end_matches('=').trim_end();
        let at = key.rfind(|c: char| !c.is_ascii_alphanumeric() && !matches!(c, '_' | '-' | '.'));
        let key = at.map_or(key, |at| key.split_at(at).1).to_ascii_lowercase();
        if part.ends_with('=') && SECRET_KEYS.iter().any(|secret| key.contains(secret)) {
            let (kept, value) = line.split_at(end);
            return kept.chars().chain(value.chars().map(dot)).collect();
        }
    }
    line.to_owned()
}

/// A URL without its name and password.
fn without_password(line: &str) -> String {
    let Some((before, rest)) = line.split_once("://") else { return line.to_owned() };
    let Some((user, after)) = rest.split_once('@') else { return line.to_owned() };
    format!("{before}://{}@{after}", user.chars().map(dot).collect::<String>())
}

fn dot(hidden: char) -> char {
    if hidden.is_whitespace() { hidden } else { '.' }
}

fn masked_word(word: &str) -> String {
    let digits = word.strip_prefix("0x").unwrap_or(word);
    let key = digits.len() >= HEX_SECRET_LEN && digits.bytes().all(|b| b.is_ascii_hexdigit());
    let token = word.starts_with("bat_") || word.starts_with("bop_");
    if key || token { ".".repeat(word.chars().count()) } else { word.to_owned() }
}

/// Whether two keys are near enough that one was probably meant for the other.
pub(super) fn nearest<'k>(key: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    let bound = key.chars().count().div_ceil(3).clamp(1, 3);
    known
        .into_iter()
        .map(|candidate| (distance(key, candidate), candidate))
        .filter(|(distance, _)| *distance <= bound)
        .min()
        .map(|(_, candidate)| candidate)
}

/// Levenshtein's distance, in characters.
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (at, a) in one.chars().enumerate() {
        let mut diagonal = at;
        let mut left = at.saturating_add(1);
        let mut next = vec![left];
        for (b, above) in other.iter().zip(row.iter().skip(1)) {
            let replaced = diagonal.saturating_add(usize::from(a != *b));
            left = replaced.min(above.saturating_add(1)).min(left.saturating_add(1));
            diagonal = *above;
            next.push(left);
        }
        row = next;
    }
    row.last().copied().unwrap_or(0)
}
