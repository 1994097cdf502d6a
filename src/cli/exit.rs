//! Exit codes: stable, so that scripts may rely on them. `bursar --help` lists them.

use std::process::ExitCode;

use bursar::domain::fault::Class;

/// How a command ended.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Exit {
    /// It did what it was asked.
    Done,
    /// It could not, for a reason that has no code of its own.
    Failed,
    /// The configuration has problems.
    Config,
    /// Refused, and the same again will be refused too.
    Refused,
    /// Refused for now.
    Later,
    /// Nobody knows yet whether money moves.
    InDoubt,
    /// The books do not match, a file is damaged, or a cap was passed.
    Damaged,
    /// There is no such thing.
    NotFound,
    /// Whoever asks may not ask that.
    NotAllowed,
    /// No node answers.
    NoNode,
    /// Somebody asked for its end.
    Interrupted,
}

impl Exit {
    /// The code. 2 is clap's, for words that make no sense.
    pub const fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Config => 3,
            Self::Refused => 4,
            Self::Later => 5,
            Self::InDoubt => 6,
            Self::NotFound => 7,
            Self::NotAllowed => 8,
            Self::Damaged => 9,
            Self::NoNode => 10,
            Self::Interrupted => 130,
        }
    }
}

impl From<Class> for Exit {
    fn from(class: Class) -> Self {
        match class {
            Class::Final => Self::Refused,
            Class::Later => Self::Later,
            Class::InDoubt => Self::InDoubt,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}
