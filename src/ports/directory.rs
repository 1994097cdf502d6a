//! Where providers announce themselves and payers look for them.

use async_trait::async_trait;

use crate::domain::fault::{Class, Fault};
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
            Self::Unavailable(_) => "directory.unavailable",
        }
    }

    fn class(&self) -> Class {
        match self {
            Self::Refused { .. } => Class::Final,
            Self::NameTaken { .. } | Self::Full { .. } | Self::Unavailable(_) => Class::Later,
        }
    }
}

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
}
