//! From a byte's place in the text to the line and column that an editor shows.

use std::ops::Range;

/// Where something stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place<'t> {
    /// 1 first.
    pub line: usize,
    /// In characters, 1 first.
    pub column: usize,
    /// In characters, on this line.
    pub width: usize,
    /// The whole line.
    pub text: &'t str,
}

/// The place of the bytes `span` of `text`; what reaches over the line's end is cut there.
pub(super) fn place<'t>(text: &'t str, span: &Range<usize>) -> Place<'t> {
    let start = floor(text, span.start);
    let before = text.get(..start).unwrap_or("");
    let line_start = before.rfind('\n').map_or(0, |at| at.saturating_add(1));
    let rest = text.get(line_start..).unwrap_or("");
    let line = rest.split('\n').next().unwrap_or("").trim_end_matches('\r');
    let line_end = line_start.saturating_add(line.len());
    let end = floor(text, span.end.min(line_end).max(start));
    Place {
        line: before.matches('\n').count().saturating_add(1),
        column: text
            .get(line_start..start)
            .map_or(0, |head| head.chars().count())
            .saturating_add(1),
        width: text.get(start..end).map_or(0, |part| part.chars().count()),
        text: line,
    }
}

/// The last boundary between characters at or before `at`.
fn floor(text: &str, at: usize) -> usize {
    (0..=at.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0)
}
