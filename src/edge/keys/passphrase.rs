//! Passphrases in files: for nodes that start with nobody there to ask.

use std::path::Path;

use zeroize::Zeroizing;

use crate::edge::keys::error::KeyError;
use crate::edge::keys::file;
use crate::ports::entropy::Entropy;

/// The one line in the file at `path`, which only its owner may be able to read.
///
/// # Errors
/// [`KeyError::Missing`], [`KeyError::OpenToOthers`], [`KeyError::Malformed`], [`KeyError::Io`].
pub fn read_passphrase(path: &Path) -> Result<Zeroizing<String>, KeyError> {
    let content = file::read(path)?;
    let line = std::str::from_utf8(&content).ok().map(|text| text.trim_end_matches(['\r', '\n']));
    line.filter(|line| !line.is_empty() && !line.contains('\n'))
        .map(|line| Zeroizing::new(line.to_owned()))
        .ok_or_else(|| KeyError::Malformed { path: path.to_owned(), what: "expected one line" })
}

/// Makes a passphrase of 32 random bytes, and keeps it at `path`.
///
/// # Errors
/// [`KeyError::Exists`], [`KeyError::Io`].
pub fn create_passphrase(
    path: &Path,
    entropy: &dyn Entropy,
) -> Result<Zeroizing<String>, KeyError> {
    let mut random = Zeroizing::new([0; 32]);
    entropy.fill(random.as_mut_slice());
    file::write_bytes(path, &random, entropy)?;
    read_passphrase(path)
}
