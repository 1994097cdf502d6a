//! What a command shows: tables on a terminal, JSON otherwise; failures on standard error.

use std::io::{self, IsTerminal, Write};

use comfy_table::{CellAlignment, ContentArrangement, Table, presets};
use serde::Serialize;

use super::args::Format;
use super::failure::Failure;

/// Where answers go, and how they look.
#[derive(Copy, Clone, Debug)]
pub struct Output {
    format: Format,
}

impl Output {
    /// As asked; else by what standard output is.
    pub fn new(asked: Option<Format>) -> Self {
        let terminal = io::stdout().is_terminal();
        Self { format: asked.unwrap_or(if terminal { Format::Table } else { Format::Json }) }
    }

    /// For programs, whatever was asked.
    pub const fn for_programs() -> Self {
        Self { format: Format::Json }
    }

    /// Shows `answer`: as `text` to people, as it is to programs.
    pub fn show(&self, answer: &impl Serialize, text: impl FnOnce() -> String) {
        let shown = match self.format {
            Format::Table => text(),
            Format::Json => json(answer),
        };
        say(&mut io::stdout().lock(), &shown);
    }

    /// Shows why nothing came of it.
    pub fn fail(&self, failure: &Failure) {
        let mut stderr = io::stderr().lock();
        if self.format == Format::Json {
            say(&mut stderr, &json(&serde_json::json!({ "error": failure.shown() })));
            return;
        }
        for problem in &failure.problems {
            say(&mut stderr, &format!("{problem}\n"));
        }
        say(&mut stderr, &format!("error: {} ({})", failure.message, failure.code));
        if let Some(help) = &failure.help {
            say(&mut stderr, &format!("  help: {help}"));
        }
    }

    /// Says something to people beside the answer: on standard error, and never to programs.
    pub fn note(&self, text: &str) {
        if self.format == Format::Table {
            say(&mut io::stderr().lock(), text);
        }
    }
}

fn json(value: &impl Serialize) -> String {
    serde_json::to_string_pretty(value).expect("an answer has text keys and no floats")
}

/// A reader that has gone away is no failure of the command.
fn say(out: &mut impl Write, text: &str) {
    let _ = writeln!(out, "{text}");
}

/// A table of `rows` under `heads`. A head that ends in `>` is of a column of numbers.
pub fn table<const N: usize>(
    heads: [&str; N],
    rows: impl IntoIterator<Item = [String; N]>,
) -> String {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(heads.map(|head| head.trim_end_matches('>').to_uppercase()));
    rows.into_iter().for_each(|row| {
        table.add_row(row);
    });
    for (column, head) in table.column_iter_mut().zip(heads) {
        column.set_padding((0, 2));
        if head.ends_with('>') {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table.trim_fmt()
}
