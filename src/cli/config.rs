//! Reads the configuration that a command goes by.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use bursar::edge::config::Config;

use super::args::Args;
use super::exit::Exit;
use super::failure::Failure;

/// Largest configuration that is read, in bytes.
const LEN_MAX: u64 = 4 * 1024 * 1024;

/// The checked configuration.
pub fn load(args: &Args) -> Result<Config, Failure> {
    Config::load(&args.config, &read(&args.config)?).map_err(Failure::config)
}

/// The checked configuration, where the file is there.
pub fn find(args: &Args) -> Result<Option<Config>, Failure> {
    if args.config.exists() { load(args).map(Some) } else { Ok(None) }
}

fn read(path: &Path) -> Result<String, Failure> {
    let shown = path.display();
    let failed = |what: String| Failure::new(Exit::Config, "config.unreadable", what);
    let metadata = fs::metadata(path).map_err(|error| {
        let failure = failed(format!("{shown} cannot be read: {error}"));
        if error.kind() == ErrorKind::NotFound {
            failure.help("`bursar up --sandbox` writes a small one; --config names another")
        } else {
            failure
        }
    })?;
    if metadata.len() > LEN_MAX {
        return Err(failed(format!("{shown} is larger than {LEN_MAX} bytes")));
    }
    fs::read_to_string(path).map_err(|error| failed(format!("{shown} cannot be read: {error}")))
}
