//! Files that hold secrets: mode 0600, whole or not at all, never overwritten.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use zeroize::Zeroizing;

use crate::edge::keys::error::KeyError;
use crate::ports::entropy::Entropy;

/// Largest file that is read, in bytes: a keystore file has about five hundred.
const LEN_MAX: u64 = 16 * 1024;

/// Writes `content` to a new file at `path`, durably.
pub(super) fn write(path: &Path, content: &[u8], entropy: &dyn Entropy) -> Result<(), KeyError> {
    write_new(path, content, entropy).map_err(|error| KeyError::io(path, &error))
}

fn write_new(path: &Path, content: &[u8], entropy: &dyn Entropy) -> io::Result<()> {
    let folder = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let mut random = [0; 8];
    entropy.fill(&mut random);
    let unfinished = folder.join(format!(".new-{:016x}", u64::from_be_bytes(random)));
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&unfinished)?;
    let written = file
        .write_all(content)
        .and_then(|()| file.sync_all())
        // Unlike a rename, a link never takes the place of a file that is there.
        .and_then(|()| fs::hard_link(&unfinished, path));
    fs::remove_file(&unfinished)?;
    written?;
    File::open(folder)?.sync_all()
}

/// Reads the file at `path`, which only its owner may be able to read.
pub(super) fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    let io = |error: io::Error| KeyError::io(path, &error);
    let file = File::open(path).map_err(io)?;
    let metadata = file.metadata().map_err(io)?;
    let mode = metadata.permissions().mode() & 0o777;
    if mode & 0o077 != 0 && !planted!("key_file_open_to_others") {
        return Err(KeyError::OpenToOthers { path: path.to_owned(), mode });
    }
    if metadata.len() > LEN_MAX {
        return Err(KeyError::Malformed { path: path.to_owned(), what: "it is too large" });
    }
    let mut content = Zeroizing::new(Vec::with_capacity(usize::try_from(LEN_MAX).unwrap_or(0)));
    file.take(LEN_MAX).read_to_end(&mut content).map_err(io)?;
    Ok(content)
}

/// Reads the file at `path` as 32 bytes in hexadecimal digits.
pub(super) fn read_bytes(path: &Path) -> Result<Zeroizing<[u8; 32]>, KeyError> {
    let content = read(path)?;
    parse_bytes(content.trim_ascii()).ok_or_else(|| KeyError::Malformed {
        path: path.to_owned(),
        what: "expected 64 hexadecimal digits",
    })
}

/// 64 hexadecimal digits, with or without `0x`.
pub(super) fn parse_bytes(text: &[u8]) -> Option<Zeroizing<[u8; 32]>> {
    let mut bytes = Zeroizing::new([0; 32]);
    let digits = text.strip_prefix(b"0x").unwrap_or(text);
    alloy::hex::decode_to_slice(digits, bytes.as_mut_slice()).ok()?;
    Some(bytes)
}

/// Writes 32 bytes as hexadecimal digits to a new file at `path`.
pub(super) fn write_bytes(
    path: &Path,
    bytes: &[u8; 32],
    entropy: &dyn Entropy,
) -> Result<(), KeyError> {
    let mut text = Zeroizing::new([0; 65]);
    let (digits, end) = text.split_at_mut(64);
    alloy::hex::encode_to_slice(bytes, digits).expect("32 bytes are 64 digits");
    end.fill(b'\n');
    write(path, text.as_slice(), entropy)
}
