//! Where providers announce themselves and payers look for them.

use std::fmt;
use std::str::FromStr;

use async_trait::async_trait;
use futures_util::stream::BoxStream;

use crate::domain::fault::{Class, Fault};
use crate::domain::id::Name;
use crate::domain::listing::{Query, SignedListing};
use crate::domain::time::Timestamp;

/// Why a directory refused or gave no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DirectoryError {
    /// The listing does not check out.
    #[error("the listing of {provider} was refused: {problem}")]
    Refused {
        /// Whose.
        provider: String,
        /// What was wrong and what would be right.
        problem: String,
    },
    /// Another key holds the name.
    #[error("the name {provider} is held by another key until {until}")]
    NameTaken {
        /// Which name.
        provider: String,
        /// Until when at least.
        until: Timestamp,
    },
    /// The directory is at its bound.
    #[error("the directory holds {bound} listings, its bound")]
    Full {
        /// How many it holds at most.
        bound: u64,
    },
    /// The cursor is of another life of the directory, or so old that changes after it are forgotten.
    #[error("the cursor is too old: watch again without one")]
    CursorTooOld,
    /// The watcher fell behind by more changes than are kept.
    #[error("the watcher fell more than {bound} changes behind")]
    TooSlow {
        /// How many are kept.
        bound: u64,
    },
    /// So many watch already.
    #[error("{bound} watch the directory, its bound")]
    TooManyWatchers {
        /// How many may at once.
        bound: u64,
    },
    /// Nobody answers.
    #[error("the directory does not answer: {0}")]
    Unavailable(String),
}

impl Fault for DirectoryError {
    fn code(&self) -> &'static str {
        match self {
            Self::Refused { .. } => "directory.refused",
            Self::NameTaken { .. } => "directory.name_taken",
            Self::Full { .. } => "directory.full",
            Self::CursorTooOld => "directory.cursor_too_old",
            Self::TooSlow { .. } => "directory.too_slow",
            Self::TooManyWatchers { .. } => "directory.too_many_watchers",
            Self::Unavailable(_) => "directory.unavailable",
        }
    }

    fn class(&self) -> Class {
        match self {
            Self::Refused { .. } | Self::CursorTooOld => Class::Final,
            Self::NameTaken { .. }
            | Self::Full { .. }
            | Self::TooSlow { .. }
            | Self::TooManyWatchers { .. }
            | Self::Unavailable(_) => Class::Later,
        }
    }
}

/// A place in the changes of one life of a directory.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// Which life: a restart forgets what changed before it.
    pub life: u64,
    /// How many changes came before.
    pub place: u64,
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}-{:x}", self.life, self.place)
    }
}

/// A text that no directory gives as a cursor.
#[derive(Copy, Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is no cursor of a directory")]
pub struct NoCursor;

impl FromStr for Cursor {
    type Err = NoCursor;

    fn from_str(text: &str) -> Result<Self, NoCursor> {
        let (life, place) = text.split_once('-').ok_or(NoCursor)?;
        let read = |part: &str| u64::from_str_radix(part, 16).map_err(|_| NoCursor);
        let cursor = Self { life: read(life)?, place: read(place)? };
        // One spelling, so that two cursors are one place only where they are one text.
        if cursor.to_string() == text { Ok(cursor) } else { Err(NoCursor) }
    }
}

/// What a watcher sees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Watched {
    /// Was listed when the watch began.
    Standing(Box<SignedListing>),
    /// All that was listed then has come.
    Begun(Cursor),
    /// Listed, or listed anew.
    Listed(Box<SignedListing>, Cursor),
    /// Listed no more.
    Gone(Name, Cursor),
}

/// What a watcher sees, one after the other. After an error there is nothing more.
pub type Watch = BoxStream<'static, Result<Watched, DirectoryError>>;

/// Takes announcements and answers queries.
#[async_trait]
pub trait Directory: Send + Sync {
    /// Lists or renews; the answer says until when the lease runs.
    ///
    /// # Errors
    /// [`DirectoryError`].
    async fn announce(&self, listing: SignedListing) -> Result<Timestamp, DirectoryError>;

    /// The listings that match, at most a page of them, in the order of provider names.
    ///
    /// # Errors
    /// [`DirectoryError::Unavailable`].
    async fn find(&self, query: &Query) -> Result<Vec<SignedListing>, DirectoryError>;

    /// Every change after `after`, each once; without it all that is listed, and then every change.
    ///
    /// # Errors
    /// [`DirectoryError::CursorTooOld`], [`DirectoryError::TooManyWatchers`],
    /// [`DirectoryError::Unavailable`] where it cannot be watched.
    async fn watch(&self, _after: Option<Cursor>) -> Result<Watch, DirectoryError> {
        Err(DirectoryError::Unavailable("it cannot be watched".to_owned()))
    }
}
