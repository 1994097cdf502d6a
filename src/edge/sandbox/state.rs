//! Accounts and slots as the EVM sees them: what the open block changed, over what the file has.

use std::collections::BTreeMap;

use alloy::primitives::{Address, B256, KECCAK256_EMPTY, Keccak256, U256};
use foldhash::HashMap;
use revm::primitives::AddressMap;
use revm::state::{Account, AccountInfo, Bytecode};
use revm::{Database, DatabaseCommit};

use super::error::StoreError;
use super::store::Store;

/// How many accounts, and how many slots, are kept in memory beside the file. When there are more,
/// all are dropped and read again as needed.
const CACHED_MAX: usize = 1 << 20;

/// What one block changed. Ordered, because the state root is a hash over it.
#[derive(Clone, Debug, Default)]
pub(super) struct Changes {
    pub(super) accounts: BTreeMap<Address, AccountInfo>,
    pub(super) slots: BTreeMap<(Address, U256), U256>,
    pub(super) codes: BTreeMap<B256, Bytecode>,
}

impl Changes {
    /// The next state root: it covers the changes and, through `parent`, all earlier ones.
    pub(super) fn state_root(&self, parent: B256) -> B256 {
        if self.accounts.is_empty() && self.slots.is_empty() {
            return parent;
        }
        let mut hasher = Keccak256::new();
        hasher.update(parent);
        for (address, info) in &self.accounts {
            hasher.update(address);
            hasher.update(info.nonce.to_be_bytes());
            hasher.update(info.balance.to_be_bytes::<32>());
            hasher.update(info.code_hash);
        }
        for ((address, slot), value) in &self.slots {
            hasher.update(address);
            hasher.update(slot.to_be_bytes::<32>());
            hasher.update(value.to_be_bytes::<32>());
        }
        hasher.finalize()
    }

    fn take(&mut self, address: Address, account: Account) {
        if !account.is_touched() {
            return;
        }
        // Since Cancun only a contract made in the same transaction can go: it leaves nothing.
        if account.is_selfdestructed() {
            self.accounts.insert(address, AccountInfo::default());
            return;
        }
        for (slot, value) in account.storage {
            if value.is_changed() {
                self.slots.insert((address, slot), value.present_value);
            }
        }
        let mut info = account.info;
        if let Some(code) = info.code.take()
            && account.status.contains(revm::state::AccountStatus::Created)
        {
            self.codes.insert(info.code_hash, code);
        }
        self.accounts.insert(address, info);
    }
}

/// The newest values that were read or written, in memory.
#[derive(Default)]
pub(super) struct Cache {
    accounts: HashMap<Address, Option<AccountInfo>>,
    slots: HashMap<(Address, U256), U256>,
    codes: HashMap<B256, Bytecode>,
}

impl Cache {
    /// Takes in what a block changed, once it is durable.
    pub(super) fn absorb(&mut self, changes: Changes) {
        if self.accounts.len() > CACHED_MAX || self.slots.len() > CACHED_MAX {
            *self = Self::default();
        }
        self.accounts.extend(changes.accounts.into_iter().map(|(key, info)| (key, Some(info))));
        self.slots.extend(changes.slots);
        self.codes.extend(changes.codes);
    }
}

/// The state after block `at`, with `changes` on top.
pub(super) struct View<'a> {
    pub(super) store: &'a Store,
    /// Present where `at` is the head: it holds the newest values only.
    pub(super) cache: Option<&'a mut Cache>,
    pub(super) at: u64,
    pub(super) changes: Changes,
}

impl Database for View<'_> {
    type Error = StoreError;

    fn basic(&mut self, address: Address) -> Result<Option<AccountInfo>, StoreError> {
        if let Some(info) = self.changes.accounts.get(&address) {
            return Ok(Some(info.clone()));
        }
        let Some(cache) = &mut self.cache else { return self.store.account(address, self.at) };
        if let Some(info) = cache.accounts.get(&address) {
            return Ok(info.clone());
        }
        let info = self.store.account(address, self.at)?;
        cache.accounts.insert(address, info.clone());
        Ok(info)
    }

    fn code_by_hash(&mut self, code_hash: B256) -> Result<Bytecode, StoreError> {
        if code_hash == KECCAK256_EMPTY {
            return Ok(Bytecode::default());
        }
        if let Some(code) = self.changes.codes.get(&code_hash) {
            return Ok(code.clone());
        }
        let Some(cache) = &mut self.cache else { return self.store.code(code_hash) };
        if let Some(code) = cache.codes.get(&code_hash) {
            return Ok(code.clone());
        }
        let code = self.store.code(code_hash)?;
        cache.codes.insert(code_hash, code.clone());
        Ok(code)
    }

    fn storage(&mut self, address: Address, slot: U256) -> Result<U256, StoreError> {
        if let Some(value) = self.changes.slots.get(&(address, slot)) {
            return Ok(*value);
        }
        let Some(cache) = &mut self.cache else { return self.store.slot(address, slot, self.at) };
        if let Some(value) = cache.slots.get(&(address, slot)) {
            return Ok(*value);
        }
        let value = self.store.slot(address, slot, self.at)?;
        cache.slots.insert((address, slot), value);
        Ok(value)
    }

    fn block_hash(&mut self, number: u64) -> Result<B256, StoreError> {
        Ok(self.store.hash_of(number)?.unwrap_or_default())
    }
}

impl DatabaseCommit for View<'_> {
    fn commit(&mut self, accounts: AddressMap<Account>) {
        for (address, account) in accounts {
            self.changes.take(address, account);
        }
    }
}
