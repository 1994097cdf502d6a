//! The operator's token, kept in a file of its own.

use std::path::Path;

use zeroize::Zeroizing;

use crate::domain::ledger::agent::Token;
use crate::edge::keys::error::KeyError;
use crate::edge::keys::file;
use crate::ports::entropy::Entropy;

/// Characters after the prefix.
const RANDOM_LEN: usize = 43;

/// Makes the operator's token, and keeps it at `path`.
///
/// # Errors
/// [`KeyError::Exists`], [`KeyError::Io`].
pub fn create_operator_token(path: &Path, entropy: &dyn Entropy) -> Result<Token, KeyError> {
    let mut random = Zeroizing::new([0; 32]);
    entropy.fill(random.as_mut_slice());
    let token = Token::for_operator(*random);
    let line = Zeroizing::new(format!("{}\n", token.reveal()));
    file::write(path, line.as_bytes(), entropy)?;
    Ok(token)
}

/// The operator's token that is kept at `path`.
///
/// # Errors
/// [`KeyError::Missing`], [`KeyError::OpenToOthers`], [`KeyError::Malformed`], [`KeyError::Io`].
pub fn open_operator_token(path: &Path) -> Result<Token, KeyError> {
    let content = file::read(path)?;
    let text = std::str::from_utf8(content.trim_ascii()).ok();
    let is_token = |text: &&str| {
        text.strip_prefix(Token::OPERATOR).is_some_and(|random| random.len() == RANDOM_LEN)
    };
    text.filter(is_token).map(Token::shown).ok_or_else(|| KeyError::Malformed {
        path: path.to_owned(),
        what: "expected bop_ and 43 characters",
    })
}
