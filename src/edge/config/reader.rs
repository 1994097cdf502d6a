//! Walks the parsed file and gathers every problem on the way. A key that nobody asked for is unknown.

use std::cell::RefCell;
use std::ops::Range;
use std::path::Path;
use std::str::FromStr;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::domain::id::Name;
use crate::edge::config::problem::{Kind, Problem, masked, nearest};
use crate::edge::config::span::place;

/// Most problems that are shown: a file of another format should not fill the screen.
const PROBLEMS_MAX: usize = 100;

/// The file, and what was found wrong so far.
pub(super) struct Source<'t> {
    pub path: &'t Path,
    text: &'t str,
    problems: RefCell<Vec<Problem>>,
    warnings: RefCell<Vec<Problem>>,
}

impl<'t> Source<'t> {
    pub fn new(path: &'t Path, text: &'t str) -> Self {
        Self { path, text, problems: RefCell::default(), warnings: RefCell::default() }
    }

    /// The tree, or every place where the text is not TOML.
    pub fn parse(&self) -> Result<Spanned<DeTable<'t>>, Vec<Problem>> {
        let (tree, errors) = DeTable::parse_recoverable(self.text);
        if errors.is_empty() {
            return Ok(tree);
        }
        let problem = |error: toml::de::Error| {
            let span = error.span().unwrap_or(0..0);
            let what = format!("not TOML: {}", error.message());
            self.problem(&span, Kind::Syntax, what, "see https://toml.io for how it is written")
        };
        Err(errors.into_iter().take(PROBLEMS_MAX).map(problem).collect())
    }

    pub fn into_found(self) -> (Vec<Problem>, Vec<Problem>) {
        (self.problems.into_inner(), self.warnings.into_inner())
    }

    fn problem(
        &self,
        span: &Range<usize>,
        kind: Kind,
        what: String,
        right: impl Into<String>,
    ) -> Problem {
        let place = place(self.text, span);
        Problem {
            file: self.path.to_owned(),
            line: place.line,
            column: place.column,
            width: place.width.max(1),
            kind,
            what: masked(&what),
            right: right.into(),
            excerpt: masked(place.text),
        }
    }

    fn note(&self, problem: Problem) {
        let list = if problem.kind == Kind::Risky { &self.warnings } else { &self.problems };
        let mut list = list.borrow_mut();
        if list.len() < PROBLEMS_MAX {
            list.push(problem);
        }
    }
}

/// A table, or the place where one could be.
pub(super) struct Section<'t> {
    source: &'t Source<'t>,
    /// `role.scout`; empty for the whole file.
    path: String,
    span: Range<usize>,
    table: Option<&'t DeTable<'t>>,
    asked: RefCell<Vec<&'static str>>,
}

impl<'t> Section<'t> {
    pub fn root(source: &'t Source<'t>, tree: &'t Spanned<DeTable<'t>>) -> Self {
        Self {
            source,
            path: String::new(),
            span: 0..0,
            table: Some(tree.get_ref()),
            asked: RefCell::default(),
        }
    }

    /// The file that it is of.
    pub fn source(&self) -> &'t Source<'t> {
        self.source
    }

    /// Whether the file has it.
    pub fn is_there(&self) -> bool {
        self.table.is_some()
    }

    /// The value of `key`, where the file has one.
    pub fn find(&self, key: &'static str) -> Option<Item<'t>> {
        self.asked.borrow_mut().push(key);
        let (name, value) = self.table?.get_key_value(key)?;
        Some(Item { source: self.source, path: self.join(key), key: name.span(), value })
    }

    /// The value of `key`, or a problem.
    pub fn required(&self, key: &'static str, right: &str) -> Option<Item<'t>> {
        let found = self.find(key);
        if found.is_none() && self.is_there() {
            let what = match self.path.as_str() {
                "" => format!("`{key}` is missing"),
                path => format!("`{key}` is missing in [{path}]"),
            };
            self.wrong::<()>(Kind::MissingKey, what, right);
        }
        found
    }

    /// The table under `key`; one that is not there has no keys.
    pub fn section(&self, key: &'static str) -> Section<'t> {
        match self.find(key).and_then(|item| item.table()) {
            Some(section) => section,
            None => Section {
                source: self.source,
                path: self.join(key),
                span: self.span.clone(),
                table: None,
                asked: RefCell::default(),
            },
        }
    }

    /// The tables under `key` by the names that people gave: `[role.scout]`, `[role.analyst]`.
    pub fn named(&self, key: &'static str) -> Vec<(Name, Section<'t>)> {
        let Some(table) = self.find(key).and_then(|item| item.table()).and_then(|all| all.table)
        else {
            return Vec::new();
        };
        let mut found: Vec<_> = table
            .iter()
            .filter_map(|(name, value)| {
                let path = format!("{key}.{}", name.get_ref());
                let item = Item { source: self.source, path, key: name.span(), value };
                let section = item.table()?;
                match name.get_ref().parse::<Name>() {
                    Ok(name) => Some((name, section)),
                    Err(error) => {
                        let right = "a name such as `scout` or `fleet-month`";
                        section.wrong(Kind::BadValue, error.to_string(), right)
                    }
                }
            })
            .collect();
        // By name, whatever order a parser keeps: the policy's text must not depend on it.
        found.sort_by(|one, other| one.0.cmp(&other.0));
        found
    }

    /// Reports every key that nobody asked for.
    pub fn end(&self) {
        let asked = self.asked.borrow();
        for (name, _) in self.table.into_iter().flat_map(DeTable::iter) {
            if asked.iter().any(|key| *key == name.get_ref()) {
                continue;
            }
            let what = match self.path.as_str() {
                "" => format!("unknown key `{}`", name.get_ref()),
                path => format!("unknown key `{}` in [{path}]", name.get_ref()),
            };
            let mut known = asked.clone();
            known.sort_unstable();
            let right = match nearest(name.get_ref(), known.iter().copied()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("it takes: {}", known.join(", ")),
            };
            self.source.note(self.source.problem(&name.span(), Kind::UnknownKey, what, right));
        }
    }

    /// Reports a problem of the section as a whole.
    pub fn wrong<T>(&self, kind: Kind, what: String, right: impl Into<String>) -> Option<T> {
        self.source.note(self.source.problem(&self.span, kind, what, right));
        None
    }

    fn join(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }
}

/// One value, and where it stands.
#[derive(Clone)]
pub(super) struct Item<'t> {
    source: &'t Source<'t>,
    path: String,
    key: Range<usize>,
    value: &'t Spanned<DeValue<'t>>,
}

impl<'t> Item<'t> {
    /// A text.
    pub fn text(&self) -> Option<&'t str> {
        self.value.get_ref().as_str().or_else(|| self.wrong_type("a text in quotes"))
    }

    /// Whether it is a text, where a table could be as well.
    pub fn is_text(&self) -> bool {
        self.value.get_ref().is_str()
    }

    /// A whole number, zero or more.
    pub fn integer(&self) -> Option<u64> {
        let number = self.value.get_ref().as_integer().and_then(|integer| {
            u64::from_str_radix(&integer.as_str().replace('_', ""), integer.radix()).ok()
        });
        number.or_else(|| self.wrong_type("a whole number, zero or more"))
    }

    /// A whole number from `least` to `most`.
    pub fn integer_within(&self, least: u64, most: u64) -> Option<u64> {
        let number = self.integer()?;
        if (least..=most).contains(&number) {
            return Some(number);
        }
        let right = format!("a whole number from {least} to {most}");
        self.wrong(Kind::BadValue, format!("`{}` is {number}", self.path), right)
    }

    /// A whole number that fits 32 bits.
    pub fn count(&self) -> Option<u32> {
        self.integer_within(0, u64::from(u32::MAX)).and_then(|number| u32::try_from(number).ok())
    }

    /// `true` or `false`.
    pub fn flag(&self) -> Option<bool> {
        self.value.get_ref().as_bool().or_else(|| self.wrong_type("true or false"))
    }

    /// A table.
    pub fn table(&self) -> Option<Section<'t>> {
        let Some(table) = self.value.get_ref().as_table() else {
            return self.wrong_type("a table");
        };
        Some(Section {
            source: self.source,
            path: self.path.clone(),
            span: self.key.clone(),
            table: Some(table),
            asked: RefCell::default(),
        })
    }

    /// The elements of a list.
    pub fn list(&self) -> Option<Vec<Item<'t>>> {
        let Some(list) = self.value.get_ref().as_array() else {
            return self.wrong_type("a list in brackets");
        };
        let element = |value| Item { value, ..self.clone() };
        Some(list.iter().map(element).collect())
    }

    /// A text that reads as a `T`. Its error is shown, so it must not repeat what could be a secret.
    pub fn parsed<T: FromStr<Err: std::fmt::Display>>(&self, right: &str) -> Option<T> {
        let text = self.text()?;
        text.parse()
            .map_or_else(|error: T::Err| self.wrong(Kind::BadValue, error.to_string(), right), Some)
    }

    /// Reports a problem of this value.
    pub fn wrong<T>(&self, kind: Kind, what: String, right: impl Into<String>) -> Option<T> {
        self.source.note(self.source.problem(&self.value.span(), kind, what, right));
        None
    }

    /// Its key with those of the tables around it: `role.scout.rates`.
    pub fn path(&self) -> &str {
        &self.path
    }

    fn wrong_type<T>(&self, right: &str) -> Option<T> {
        let found = self.value.get_ref().type_str();
        let what = format!("`{}` is of type {found}", self.path);
        self.wrong(Kind::WrongType, what, right)
    }
}
