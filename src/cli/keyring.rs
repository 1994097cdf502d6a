//! The configured wallets' keys. On a sandbox what is missing is made: its money is worth nothing.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use alloy::primitives::Address;
use bursar::domain::id::Name;
use bursar::edge::clock::SystemEntropy;
use bursar::edge::config::{Config, KeySource, NetworkSettings};
use bursar::edge::keys::{Cost, Keystore, SigningKey, create_passphrase, read_passphrase};
use zeroize::Zeroizing;

use super::failure::Failure;
use super::passphrase::passphrase;
use super::up::system;

/// The keystore, opened by its passphrase.
pub struct Keyring<'c> {
    config: &'c Config,
    keystore: Keystore,
    phrase: Zeroizing<String>,
    /// Whether keys that are missing are made.
    makes: bool,
    /// The files that were made just now.
    pub made: Vec<PathBuf>,
}

impl<'c> Keyring<'c> {
    /// Finds the passphrase: in the configured file, else by asking.
    pub fn open(config: &'c Config) -> Result<Self, Failure> {
        fs::create_dir_all(&config.keys.folder)
            .map_err(|problem| system("making the keys' folder", &problem))?;
        let is_sandbox = |network| matches!(network, &NetworkSettings::Sandbox { .. });
        let makes = config.networks.values().all(is_sandbox);
        let keystore = Keystore::new(&config.keys.folder, Cost::STANDARD);
        let mut made = Vec::new();
        let phrase = match &config.keys.passphrase_file {
            Some(file) if !file.exists() && makes => {
                made.push(file.clone());
                create_passphrase(file, &SystemEntropy)?
            }
            Some(file) => read_passphrase(file)?,
            None => passphrase(None, false)?,
        };
        Ok(Self { config, keystore, phrase, makes, made })
    }

    /// The key of a configured wallet.
    pub fn wallet(&mut self, name: &Name) -> Result<SigningKey, Failure> {
        let settings = self.config.wallets.get(name).expect("a checked file's wallets are its own");
        let key = match &settings.key {
            KeySource::Env(variable) => return Ok(SigningKey::from_env(variable)?),
            KeySource::Keystore(key) => key,
        };
        if self.makes && !self.keystore.path(key).exists() {
            self.keystore.create(key, &self.phrase, &SystemEntropy)?;
            self.made.push(self.keystore.path(key));
        }
        Ok(self.keystore.open(key, &self.phrase)?)
    }

    /// The addresses of every key in the folder, and of the configured wallets whose keys are elsewhere.
    pub fn addresses(&self) -> Result<BTreeSet<Address>, Failure> {
        let mut addresses = BTreeSet::new();
        for name in self.keystore.names()? {
            addresses.insert(self.keystore.address(&name)?);
        }
        for wallet in self.config.wallets.values() {
            // A provider's own wallet may be set where that provider runs, and not here.
            if let KeySource::Env(variable) = &wallet.key
                && let Ok(key) = SigningKey::from_env(variable)
            {
                addresses.insert(key.address());
            }
        }
        Ok(addresses)
    }

    /// The keys of every configured wallet.
    pub fn wallets(&mut self) -> Result<Vec<(Name, SigningKey)>, Failure> {
        let names = self.config.wallets.keys();
        names.map(|name| Ok((name.clone(), self.wallet(name)?))).collect()
    }
}
