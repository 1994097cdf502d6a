//! Asks for what must not be seen.

use std::io::{self, IsTerminal, Read};
use std::path::Path;

use bursar::edge::keys::read_passphrase;
use zeroize::Zeroizing;

use super::exit::Exit;
use super::failure::Failure;

/// Longest secret that is read from standard input, in bytes.
const LEN_MAX: u64 = 4096;

/// The passphrase in `file`, or asked for. A new one is asked for twice.
pub fn passphrase(file: Option<&Path>, new: bool) -> Result<Zeroizing<String>, Failure> {
    if let Some(file) = file {
        return Ok(read_passphrase(file)?);
    }
    if !io::stdin().is_terminal() {
        let failure = Failure::new(Exit::Failed, "keys.no_passphrase", "nobody is there to ask");
        return Err(failure.help("--passphrase-file FILE, which only you may read"));
    }
    let given = ask("Passphrase: ")?;
    if new && ask("Again: ")? != given {
        let message = "the two passphrases differ";
        return Err(Failure::new(Exit::Failed, "keys.passphrases_differ", message));
    }
    if new && given.is_empty() {
        let message = "an empty passphrase protects nothing";
        return Err(Failure::new(Exit::Failed, "keys.empty_passphrase", message));
    }
    Ok(given)
}

/// A private key: asked for, or from standard input where that is no terminal.
pub fn private_key() -> Result<Zeroizing<String>, Failure> {
    if io::stdin().is_terminal() {
        return ask("Private key (64 hexadecimal digits): ");
    }
    let mut text = Zeroizing::new(String::new());
    io::stdin().take(LEN_MAX).read_to_string(&mut text).map_err(|error| unreadable(&error))?;
    Ok(text)
}

fn ask(prompt: &str) -> Result<Zeroizing<String>, Failure> {
    rpassword::prompt_password(prompt).map(Zeroizing::new).map_err(|error| unreadable(&error))
}

fn unreadable(error: &io::Error) -> Failure {
    Failure::new(Exit::Failed, "keys.input", format!("the input cannot be read: {error}"))
}
