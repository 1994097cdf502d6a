//! Where a command's ledgers lie: the folder that was asked for, or one that is removed in the end.

use std::fs;
use std::path::{Path, PathBuf};

use super::exit::Exit;
use super::failure::Failure;
use super::up::system;

/// A folder that was empty when the command began.
pub struct Folder {
    /// The whole path.
    pub path: PathBuf,
    /// Whether it stays.
    pub keep: bool,
}

impl Folder {
    /// The folder asked for, or one of the command called `name`; where there is something in it,
    /// `taken` is the failure's code.
    pub fn make(asked: Option<&Path>, name: &str, taken: &'static str) -> Result<Self, Failure> {
        let path = asked.map_or_else(
            || std::env::temp_dir().join(format!("bursar-{name}-{}", std::process::id())),
            Path::to_owned,
        );
        fs::create_dir_all(&path).map_err(|problem| system("making the folder", &problem))?;
        let path = path.canonicalize().map_err(|problem| system("finding the folder", &problem))?;
        let mut inside =
            fs::read_dir(&path).map_err(|problem| system("reading the folder", &problem))?;
        if inside.next().is_some() {
            let message = format!("{} is not empty", path.display());
            return Err(
                Failure::new(Exit::Failed, taken, message).help("name a new folder with --keep")
            );
        }
        Ok(Self { path, keep: asked.is_some() })
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if !self.keep {
            // What cannot be removed is left to the system's own cleaning.
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}
