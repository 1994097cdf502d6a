//! Why a command did not do what it was asked.

use std::fmt;

use serde::Serialize;

use bursar::domain::fault::Fault;
use bursar::edge::config::Problem;
use bursar::edge::keys::KeyError;
use bursar::ports::journal::JournalError;

use super::exit::Exit;

/// A failure as it is shown: a stable code, words, and what would help.
#[derive(Debug)]
pub struct Failure {
    /// With which code the process ends.
    pub exit: Exit,
    /// Stable.
    pub code: &'static str,
    /// For people.
    pub message: String,
    /// What would help.
    pub help: Option<String>,
    /// What is wrong with the configuration, where that is why.
    pub problems: Vec<Problem>,
}

impl Failure {
    /// A failure with a code of the command line's own.
    pub fn new(exit: Exit, code: &'static str, message: impl fmt::Display) -> Self {
        Self { exit, code, message: message.to_string(), help: None, problems: Vec::new() }
    }

    /// An error of ours, with its own code.
    pub fn of(error: &impl Fault) -> Self {
        Self::new(Exit::from(error.class()), error.code(), error)
    }

    /// With what would help.
    pub fn help(self, help: impl Into<String>) -> Self {
        Self { help: Some(help.into()), ..self }
    }

    /// A configuration with problems.
    pub fn config(problems: Vec<Problem>) -> Self {
        let many = problems.len();
        let message = format!("the configuration has {many} problem{}", plural(many));
        Self { problems, ..Self::new(Exit::Config, "config.problems", message) }
    }

    /// The failure as an object for programs.
    pub fn shown(&self) -> impl Serialize + '_ {
        Shown {
            code: self.code,
            message: &self.message,
            help: self.help.as_deref(),
            problems: self.problems.iter().map(ShownProblem::of).collect(),
        }
    }
}

pub fn plural(many: usize) -> &'static str {
    if many == 1 { "" } else { "s" }
}

#[derive(Serialize)]
struct Shown<'f> {
    code: &'f str,
    message: &'f str,
    #[serde(skip_serializing_if = "Option::is_none")]
    help: Option<&'f str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    problems: Vec<ShownProblem<'f>>,
}

/// One problem as an object for programs.
#[derive(Serialize)]
pub struct ShownProblem<'p> {
    file: String,
    line: usize,
    column: usize,
    code: &'static str,
    what: &'p str,
    right: &'p str,
}

impl<'p> ShownProblem<'p> {
    /// `problem`, shown.
    pub fn of(problem: &'p Problem) -> Self {
        Self {
            file: problem.file.display().to_string(),
            line: problem.line,
            column: problem.column,
            code: problem.code(),
            what: &problem.what,
            right: &problem.right,
        }
    }
}

impl From<KeyError> for Failure {
    fn from(error: KeyError) -> Self {
        Self::new(Exit::Failed, error.code(), &error)
    }
}

impl From<JournalError> for Failure {
    fn from(error: JournalError) -> Self {
        let exit = match &error {
            JournalError::Damaged { .. } => Exit::Damaged,
            _ => Exit::Failed,
        };
        Self::new(exit, error.code(), &error)
    }
}
