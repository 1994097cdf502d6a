//! What is wrong with a key or its file. It names the source and never the value.
//! Source: threats.md O01.

use std::io;
use std::path::{Path, PathBuf};

use crate::domain::fault::{Class, Fault};

/// Why a key or secret could not be read or written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// There is one already; nothing is overwritten.
    #[error("{} is there already, and is not overwritten", .0.display())]
    Exists(PathBuf),
    /// There is none.
    #[error("{} is not there", .0.display())]
    Missing(PathBuf),
    /// Others than its owner may read it.
    #[error("{} can be read by others (mode {mode:03o}): chmod 600", .path.display())]
    OpenToOthers {
        /// The file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// The operating system would not.
    #[error("{} cannot be used: {problem}", .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        problem: io::ErrorKind,
    },
    /// It is no such file as it should be.
    #[error("{} is malformed: {what}", .path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong, without a word of what it holds.
        what: &'static str,
    },
    /// The passphrase does not open it.
    #[error("the passphrase does not open {}", .0.display())]
    WrongPassphrase(PathBuf),
    /// What was given is not a private key.
    #[error("{source_name} holds no private key: expected 64 hexadecimal digits, not zero")]
    NotAKey {
        /// Where it came from: a variable or a file.
        source_name: String,
    },
    /// The environment does not have it.
    #[error("the environment variable {0} is not set")]
    NoVariable(String),
}

impl KeyError {
    pub(super) fn io(path: &Path, error: &io::Error) -> Self {
        let path = path.to_owned();
        match error.kind() {
            io::ErrorKind::AlreadyExists => Self::Exists(path),
            io::ErrorKind::NotFound => Self::Missing(path),
            problem => Self::Io { path, problem },
        }
    }
}

impl Fault for KeyError {
    fn code(&self) -> &'static str {
        match self {
            Self::Exists(_) => "keys.exists",
            Self::Missing(_) => "keys.missing",
            Self::OpenToOthers { .. } => "keys.open_to_others",
            Self::Io { .. } => "keys.io",
            Self::Malformed { .. } => "keys.malformed",
            Self::WrongPassphrase(_) => "keys.wrong_passphrase",
            Self::NotAKey { .. } => "keys.not_a_key",
            Self::NoVariable(_) => "keys.no_variable",
        }
    }

    fn class(&self) -> Class {
        Class::Final
    }
}
