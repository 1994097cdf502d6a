//! Encrypted key files in Ethereum's version 3 format, written here because alloy's writer takes a cost
//! 32 times lower than geth's.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use aes::Aes128;
use aes::cipher::{KeyIvInit, StreamCipher};
use alloy::hex;
use alloy::primitives::{Address, Keccak256};
use ctr::Ctr128BE;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::domain::id::Name;
use crate::edge::keys::error::KeyError;
use crate::edge::keys::file;
use crate::edge::keys::key::SigningKey;
use crate::ports::entropy::Entropy;

/// What trying one passphrase costs.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Cost {
    log_n: u8,
}

impl Cost {
    /// geth's standard: N = 2^18, r = 8, p = 1; 256 MiB and most of a second.
    pub const STANDARD: Self = Self { log_n: 18 };
    /// For tests and for a throw-away sandbox: nothing that guards money.
    pub const LOW: Self = Self { log_n: 12 };
}

const R: u32 = 8;
const P: u32 = 1;

/// The largest parameters that are read: a hostile file must not take all memory.
const N_MAX: u64 = 1 << 20;
const R_MAX: u32 = 16;
const P_MAX: u32 = 16;

/// Key files in one folder: `NAME.json`.
#[derive(Clone, Debug)]
pub struct Keystore {
    folder: PathBuf,
    cost: Cost,
}

impl Keystore {
    /// The key files in `folder`; new ones are written at `cost`.
    pub fn new(folder: &Path, cost: Cost) -> Self {
        Self { folder: folder.to_owned(), cost }
    }

    /// Where the key called `name` is.
    pub fn path(&self, name: &Name) -> PathBuf {
        self.folder.join(format!("{name}.json"))
    }

    /// Makes a key called `name`.
    ///
    /// # Errors
    /// [`KeyError::Exists`], [`KeyError::Io`].
    pub fn create(
        &self,
        name: &Name,
        passphrase: &str,
        entropy: &dyn Entropy,
    ) -> Result<Address, KeyError> {
        let (key, bytes) = SigningKey::generate(entropy);
        self.keep(name, &key, &bytes, passphrase, entropy)
    }

    /// Keeps the key in 64 hexadecimal digits as `name`.
    ///
    /// # Errors
    /// [`KeyError::NotAKey`], [`KeyError::Exists`], [`KeyError::Io`].
    pub fn import(
        &self,
        name: &Name,
        key: &str,
        passphrase: &str,
        entropy: &dyn Entropy,
    ) -> Result<Address, KeyError> {
        let not_a_key = || KeyError::NotAKey { source_name: "the input".to_owned() };
        let bytes = file::parse_bytes(key.trim().as_bytes()).ok_or_else(not_a_key)?;
        let key = SigningKey::from_bytes(&bytes).ok_or_else(not_a_key)?;
        self.keep(name, &key, &bytes, passphrase, entropy)
    }

    fn keep(
        &self,
        name: &Name,
        key: &SigningKey,
        bytes: &[u8; 32],
        passphrase: &str,
        entropy: &dyn Entropy,
    ) -> Result<Address, KeyError> {
        let path = self.path(name);
        if path.exists() {
            return Err(KeyError::Exists(path));
        }
        let sealed = seal(bytes, key.address(), passphrase, self.cost, entropy);
        file::write(&path, sealed.as_bytes(), entropy)?;
        Ok(key.address())
    }

    /// The key called `name`.
    ///
    /// # Errors
    /// [`KeyError::WrongPassphrase`], and those of reading a file.
    pub fn open(&self, name: &Name, passphrase: &str) -> Result<SigningKey, KeyError> {
        let path = self.path(name);
        let stored = self.read(&path)?;
        let malformed = |what| KeyError::Malformed { path: path.clone(), what };
        let bytes = unseal(&stored, passphrase).map_err(|problem| match problem {
            Unsealed::WrongPassphrase => KeyError::WrongPassphrase(path.clone()),
            Unsealed::Malformed(what) => malformed(what),
        })?;
        let key = SigningKey::from_bytes(&bytes).ok_or_else(|| malformed("it holds no key"))?;
        let stated = stored.address()?;
        if stated.is_some_and(|stated| stated != key.address()) {
            return Err(malformed("it holds another key than its address says"));
        }
        Ok(key)
    }

    /// The address of the key called `name`, without a passphrase.
    ///
    /// # Errors
    /// Those of reading a file.
    pub fn address(&self, name: &Name) -> Result<Address, KeyError> {
        let path = self.path(name);
        let address = self.read(&path)?.address()?;
        address.ok_or(KeyError::Malformed { path, what: "it does not say its address" })
    }

    /// The keys that are there, by name.
    ///
    /// # Errors
    /// [`KeyError::Io`]; a folder that is not there has none.
    pub fn names(&self) -> Result<Vec<Name>, KeyError> {
        let entries = match fs::read_dir(&self.folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(KeyError::io(&self.folder, &error)),
        };
        let name = |entry: fs::DirEntry| {
            entry.file_name().to_str()?.strip_suffix(".json")?.parse::<Name>().ok()
        };
        let mut names: Vec<_> = entries.filter_map(|entry| name(entry.ok()?)).collect();
        names.sort();
        Ok(names)
    }

    fn read(&self, path: &Path) -> Result<Stored, KeyError> {
        let content = file::read(path)?;
        // serde's own words could repeat what the file holds.
        let malformed = KeyError::Malformed {
            path: path.to_owned(),
            what: "it is not a version 3 key file with scrypt and aes-128-ctr",
        };
        let mut stored: Stored = serde_json::from_slice(&content).map_err(|_| malformed.clone())?;
        let known = stored.version == 3
            && stored.crypto.cipher == "aes-128-ctr"
            && stored.crypto.kdf == "scrypt";
        path.clone_into(&mut stored.path);
        if known { Ok(stored) } else { Err(malformed) }
    }
}

/// A key file. Source: Web3 Secret Storage Definition, version 3.
#[derive(Serialize, Deserialize)]
struct Stored {
    version: u32,
    id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    address: Option<String>,
    #[serde(alias = "Crypto")]
    crypto: Crypto,
    #[serde(skip)]
    path: PathBuf,
}

impl Stored {
    fn address(&self) -> Result<Option<Address>, KeyError> {
        let what = "its address is malformed";
        let malformed = |_| KeyError::Malformed { path: self.path.clone(), what };
        self.address.as_ref().map(|text| text.parse().map_err(malformed)).transpose()
    }
}

#[derive(Serialize, Deserialize)]
struct Crypto {
    cipher: String,
    cipherparams: CipherParams,
    ciphertext: String,
    kdf: String,
    kdfparams: KdfParams,
    mac: String,
}

#[derive(Serialize, Deserialize)]
struct CipherParams {
    iv: String,
}

#[derive(Serialize, Deserialize)]
struct KdfParams {
    dklen: usize,
    n: u64,
    r: u32,
    p: u32,
    salt: String,
}

enum Unsealed {
    WrongPassphrase,
    Malformed(&'static str),
}

fn seal(
    key: &[u8; 32],
    address: Address,
    passphrase: &str,
    cost: Cost,
    entropy: &dyn Entropy,
) -> String {
    let (mut salt, mut iv, mut id) = ([0; 32], [0; 16], [0; 16]);
    entropy.fill(&mut salt);
    entropy.fill(&mut iv);
    entropy.fill(&mut id);
    let params = scrypt::Params::new(cost.log_n, R, P, 32).expect("our own cost is valid");
    let derived = derive(passphrase, &salt, &params);
    let mut ciphertext = *key;
    encrypt(&derived, &iv, &mut ciphertext);
    let stored = Stored {
        version: 3,
        id: uuid::Builder::from_random_bytes(id).into_uuid().to_string(),
        address: Some(hex::encode(address)),
        crypto: Crypto {
            cipher: "aes-128-ctr".to_owned(),
            cipherparams: CipherParams { iv: hex::encode(iv) },
            ciphertext: hex::encode(ciphertext),
            kdf: "scrypt".to_owned(),
            kdfparams: KdfParams {
                dklen: 32,
                n: 1 << cost.log_n,
                r: R,
                p: P,
                salt: hex::encode(salt),
            },
            mac: hex::encode(mac(&derived, &ciphertext)),
        },
        path: PathBuf::new(),
    };
    let mut text = serde_json::to_string_pretty(&stored).expect("texts and numbers make JSON");
    text.write_char('\n').expect("a String takes every character");
    text
}

fn unseal(stored: &Stored, passphrase: &str) -> Result<Zeroizing<[u8; 32]>, Unsealed> {
    let Crypto { cipherparams, ciphertext, kdfparams, mac: stated, .. } = &stored.crypto;
    let bounded = kdfparams.n.is_power_of_two()
        && (2..=N_MAX).contains(&kdfparams.n)
        && (1..=R_MAX).contains(&kdfparams.r)
        && (1..=P_MAX).contains(&kdfparams.p)
        && kdfparams.dklen == 32;
    let unknown = Unsealed::Malformed("its scrypt parameters are out of bounds");
    if !bounded {
        return Err(unknown);
    }
    let log_n = u8::try_from(kdfparams.n.trailing_zeros()).unwrap_or(u8::MAX);
    let params = scrypt::Params::new(log_n, kdfparams.r, kdfparams.p, 32).map_err(|_| unknown)?;
    let malformed = |_| Unsealed::Malformed("its hexadecimal digits are malformed");
    let salt = hex::decode(&kdfparams.salt).map_err(malformed)?;
    let (mut iv, mut bytes, mut wanted) = ([0; 16], Zeroizing::new([0; 32]), [0; 32]);
    hex::decode_to_slice(&cipherparams.iv, &mut iv).map_err(malformed)?;
    hex::decode_to_slice(ciphertext, bytes.as_mut_slice()).map_err(malformed)?;
    hex::decode_to_slice(stated, &mut wanted).map_err(malformed)?;
    let derived = derive(passphrase, &salt, &params);
    if mac(&derived, &bytes) != wanted {
        return Err(Unsealed::WrongPassphrase);
    }
    encrypt(&derived, &iv, &mut bytes);
    Ok(bytes)
}

fn derive(passphrase: &str, salt: &[u8], params: &scrypt::Params) -> Zeroizing<[u8; 32]> {
    let mut derived = Zeroizing::new([0; 32]);
    scrypt::scrypt(passphrase.as_bytes(), salt, params, derived.as_mut_slice())
        .expect("32 bytes can be derived");
    derived
}

/// Counter mode: the same again decrypts.
fn encrypt(derived: &[u8; 32], iv: &[u8; 16], bytes: &mut [u8; 32]) {
    let (key, _) = derived.split_at(16);
    Ctr128BE::<Aes128>::new_from_slices(key, iv)
        .expect("16 bytes are an AES-128 key")
        .apply_keystream(bytes);
}

fn mac(derived: &[u8; 32], ciphertext: &[u8; 32]) -> [u8; 32] {
    let mut hash = Keccak256::new();
    hash.update(derived.split_at(16).1);
    hash.update(ciphertext);
    hash.finalize().0
}
