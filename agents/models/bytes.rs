//! The form of a weights file: a header that names the model, then numbers in little-endian order.
//! Reading never panics and never allocates more than the file's own length suggests.

use sha2::{Digest, Sha256};

/// What every weights file begins with.
const MAGIC: &[u8; 8] = b"BRSWGHT1";

/// A weights file that is not what it says: cut short, of another model, or inconsistent inside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BadWeights;

impl std::fmt::Display for BadWeights {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the weights file is cut short, of another model, or inconsistent")
    }
}

impl std::error::Error for BadWeights {}

/// SHA-256 as 64 lower-case hexadecimal digits.
pub fn sha256_hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect()
}

/// Writes a weights file from front to back.
#[derive(Debug)]
pub struct Sink(Vec<u8>);

impl Sink {
    /// Begins the file of the model `name`, trained on the corpus with this SHA-256.
    pub fn new(name: &str, corpus_hash: &str) -> Self {
        let mut sink = Self(MAGIC.to_vec());
        sink.text(name);
        sink.text(corpus_hash);
        sink
    }

    /// The finished file.
    pub fn finish(self) -> Vec<u8> {
        self.0
    }

    /// Appends one byte.
    pub fn u8(&mut self, value: u8) {
        self.0.push(value);
    }

    /// Appends two bytes.
    pub fn u16(&mut self, value: u16) {
        self.0.extend(value.to_le_bytes());
    }

    /// Appends four bytes.
    pub fn u32(&mut self, value: u32) {
        self.0.extend(value.to_le_bytes());
    }

    /// Appends a number in as many groups of seven bits as it needs.
    pub fn varint(&mut self, mut value: u32) {
        while value >= 0x80 {
            self.0.push((value & 0x7f) as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    /// Appends a scale; four bytes.
    pub fn f32(&mut self, value: f32) {
        self.0.extend(value.to_le_bytes());
    }

    /// Appends bytes as they are.
    pub fn raw(&mut self, bytes: &[u8]) {
        self.0.extend(bytes);
    }

    /// Appends a short text; at most 255 bytes, the rest is cut.
    pub fn text(&mut self, text: &str) {
        let bytes = &text.as_bytes()[..text.len().min(255)];
        self.u8(bytes.len() as u8);
        self.raw(bytes);
    }
}

/// Reads a weights file from front to back.
#[derive(Debug)]
pub struct Source<'a>(&'a [u8]);

impl<'a> Source<'a> {
    /// Opens the file of the model `name`, trained on the corpus with this SHA-256.
    /// # Errors  [`BadWeights`] when the header says otherwise.
    pub fn open(bytes: &'a [u8], name: &str, corpus_hash: &str) -> Result<Self, BadWeights> {
        let mut source = Self(bytes);
        let known = source.raw(MAGIC.len())? == MAGIC
            && source.text()? == name
            && source.text()? == corpus_hash;
        if known { Ok(source) } else { Err(BadWeights) }
    }

    /// The next `n` bytes.
    /// # Errors  [`BadWeights`] when fewer are left; so for all that follow.
    pub fn raw(&mut self, n: usize) -> Result<&'a [u8], BadWeights> {
        let (head, tail) = self.0.split_at_checked(n).ok_or(BadWeights)?;
        self.0 = tail;
        Ok(head)
    }

    /// The next byte.
    pub fn u8(&mut self) -> Result<u8, BadWeights> {
        Ok(self.raw(1)?[0])
    }

    /// The next two bytes as a number.
    pub fn u16(&mut self) -> Result<u16, BadWeights> {
        Ok(u16::from_le_bytes(self.raw(2)?.try_into().map_err(|_| BadWeights)?))
    }

    /// The next four bytes as a number.
    pub fn u32(&mut self) -> Result<u32, BadWeights> {
        Ok(u32::from_le_bytes(self.raw(4)?.try_into().map_err(|_| BadWeights)?))
    }

    /// The next number in groups of seven bits.
    pub fn varint(&mut self) -> Result<u32, BadWeights> {
        let mut value = 0u32;
        for shift in (0..28).step_by(7) {
            let byte = self.u8()?;
            value |= u32::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(BadWeights)
    }

    /// The next scale.
    pub fn f32(&mut self) -> Result<f32, BadWeights> {
        Ok(f32::from_le_bytes(self.raw(4)?.try_into().map_err(|_| BadWeights)?))
    }

    /// The next short text.
    pub fn text(&mut self) -> Result<&'a str, BadWeights> {
        let n = usize::from(self.u8()?);
        std::str::from_utf8(self.raw(n)?).map_err(|_| BadWeights)
    }

    /// A count of things of at least `size` bytes each that still fit into what is left.
    pub fn count(&mut self, size: usize) -> Result<usize, BadWeights> {
        let n = self.u32()? as usize;
        if n.saturating_mul(size) <= self.0.len() { Ok(n) } else { Err(BadWeights) }
    }

    /// Says that nothing may follow.
    pub fn end(self) -> Result<(), BadWeights> {
        if self.0.is_empty() { Ok(()) } else { Err(BadWeights) }
    }
}
