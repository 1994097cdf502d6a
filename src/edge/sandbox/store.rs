//! The sandbox's file: every block, and every value that any account or slot ever had.
//!
//! Former values are kept because evidence is read at one block's hash while the chain goes on.
//! One SQLite file in WAL mode, synchronous=FULL: a block is durable when `append` returns. The
//! lock is exclusive, so that no second process can open the same chain.

use std::path::PathBuf;
use std::time::Duration;

use alloy::primitives::{Address, B256, U256};
use revm::state::{AccountInfo, Bytecode};
use rusqlite::{Connection, ErrorCode, OptionalExtension, Row, params};

use super::error::{SandboxError, StoreError};
use super::state::Changes;

/// Where the chain is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// In this file, which is made when it is missing.
    File(PathBuf),
    /// Nowhere: gone with the process.
    Memory,
}

/// `PRAGMA user_version` of a file that this program writes.
const FORMAT: i64 = 1;

const SCHEMA: &str = "
    CREATE TABLE chain (id INTEGER PRIMARY KEY CHECK (id = 0), chain_id INTEGER NOT NULL);
    CREATE TABLE blocks (
        number INTEGER PRIMARY KEY, hash BLOB NOT NULL UNIQUE, timestamp INTEGER NOT NULL,
        state_root BLOB NOT NULL, header BLOB, body BLOB
    );
    CREATE TABLE transactions (
        hash BLOB PRIMARY KEY, block INTEGER NOT NULL, position INTEGER NOT NULL
    ) WITHOUT ROWID;
    CREATE TABLE accounts (
        address BLOB NOT NULL, block INTEGER NOT NULL, nonce INTEGER NOT NULL,
        balance BLOB NOT NULL, code_hash BLOB NOT NULL, PRIMARY KEY (address, block)
    ) WITHOUT ROWID;
    CREATE TABLE slots (
        address BLOB NOT NULL, slot BLOB NOT NULL, block INTEGER NOT NULL, value BLOB NOT NULL,
        PRIMARY KEY (address, slot, block)
    ) WITHOUT ROWID;
    CREATE TABLE codes (hash BLOB PRIMARY KEY, code BLOB NOT NULL) WITHOUT ROWID;
";

/// One block as the file has it. An empty block needs neither header nor body: both follow from
/// its parent.
#[derive(Clone, Debug)]
pub(super) struct BlockRow {
    pub(super) number: u64,
    pub(super) hash: B256,
    pub(super) timestamp: u64,
    pub(super) state_root: B256,
    pub(super) header: Option<Vec<u8>>,
    pub(super) body: Option<Vec<u8>>,
}

/// The open file.
pub(super) struct Store {
    file: Connection,
}

impl Store {
    pub(super) fn open(place: &Place) -> Result<Self, SandboxError> {
        let file = match place {
            Place::File(path) => Connection::open(path),
            Place::Memory => Connection::open_in_memory(),
        };
        let file = file.map_err(StoreError::from)?;
        let format = prepare(&file).map_err(|error| match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseBusy) => SandboxError::InUse,
            _ => StoreError::from(error).into(),
        })?;
        if format != FORMAT {
            return Err(SandboxError::OtherFormat { found: format, known: FORMAT });
        }
        Ok(Self { file })
    }

    /// The chain id, where a genesis was written.
    pub(super) fn chain_id(&self) -> Result<Option<u64>, StoreError> {
        let mut find = self.file.prepare_cached("SELECT chain_id FROM chain")?;
        Ok(find.query_row([], |row| Ok(unsigned(row.get(0)?))).optional()?)
    }

    /// Writes the block and what it changed, and returns when the disk has it. The first block
    /// brings the chain id.
    pub(super) fn append(
        &self,
        row: &BlockRow,
        transactions: &[B256],
        changes: &Changes,
        chain_id: Option<u64>,
    ) -> Result<(), StoreError> {
        let all = self.file.unchecked_transaction()?;
        if let Some(chain_id) = chain_id {
            all.execute("INSERT INTO chain VALUES (0, ?1)", [signed(chain_id)])?;
        }
        all.prepare_cached("INSERT INTO blocks VALUES (?1, ?2, ?3, ?4, ?5, ?6)")?.execute(
            params![
                signed(row.number),
                row.hash.as_slice(),
                signed(row.timestamp),
                row.state_root.as_slice(),
                row.header,
                row.body
            ],
        )?;
        for (position, hash) in transactions.iter().enumerate() {
            let position = i64::try_from(position).expect("a block is bounded");
            all.prepare_cached("INSERT INTO transactions VALUES (?1, ?2, ?3)")?
                .execute(params![hash.as_slice(), signed(row.number), position])?;
        }
        write_changes(&all, row.number, changes)?;
        all.commit()?;
        Ok(())
    }

    /// Forgets every block after `number`, with all that it changed.
    pub(super) fn cut(&self, number: u64) -> Result<(), StoreError> {
        let all = self.file.unchecked_transaction()?;
        for table in ["transactions", "accounts", "slots"] {
            let delete = format!("DELETE FROM {table} WHERE block > ?1");
            all.execute(&delete, [signed(number)])?;
        }
        all.execute("DELETE FROM blocks WHERE number > ?1", [signed(number)])?;
        all.commit()?;
        Ok(())
    }

    pub(super) fn head(&self) -> Result<Option<BlockRow>, StoreError> {
        let mut find =
            self.file.prepare_cached("SELECT * FROM blocks ORDER BY number DESC LIMIT 1")?;
        Ok(find.query_row([], block_row).optional()?)
    }

    pub(super) fn block(&self, number: u64) -> Result<Option<BlockRow>, StoreError> {
        let mut find = self.file.prepare_cached("SELECT * FROM blocks WHERE number = ?1")?;
        Ok(find.query_row([signed(number)], block_row).optional()?)
    }

    pub(super) fn number_of(&self, hash: B256) -> Result<Option<u64>, StoreError> {
        let mut find = self.file.prepare_cached("SELECT number FROM blocks WHERE hash = ?1")?;
        Ok(find.query_row([hash.as_slice()], |row| Ok(unsigned(row.get(0)?))).optional()?)
    }

    pub(super) fn hash_of(&self, number: u64) -> Result<Option<B256>, StoreError> {
        let mut find = self.file.prepare_cached("SELECT hash FROM blocks WHERE number = ?1")?;
        Ok(find
            .query_row([signed(number)], |row| Ok(row.get::<_, [u8; 32]>(0)?.into()))
            .optional()?)
    }

    /// The blocks from `first` to `last` that hold transactions, in order, to `look` at one by one.
    pub(super) fn scan(
        &self,
        first: u64,
        last: u64,
        mut look: impl FnMut(BlockRow) -> Result<(), SandboxError>,
    ) -> Result<(), SandboxError> {
        let mut find = self
            .file
            .prepare_cached(
                "SELECT * FROM blocks WHERE number BETWEEN ?1 AND ?2 AND body IS NOT NULL
                 ORDER BY number",
            )
            .map_err(StoreError::from)?;
        let mut rows = find.query([signed(first), signed(last)]).map_err(StoreError::from)?;
        while let Some(row) = rows.next().map_err(StoreError::from)? {
            look(block_row(row).map_err(StoreError::from)?)?;
        }
        Ok(())
    }

    /// The block that holds a transaction, and the transaction's place in it.
    pub(super) fn transaction(&self, hash: B256) -> Result<Option<(u64, usize)>, StoreError> {
        let mut find =
            self.file.prepare_cached("SELECT block, position FROM transactions WHERE hash = ?1")?;
        let place = |row: &Row<'_>| {
            let position: i64 = row.get(1)?;
            Ok((
                unsigned(row.get(0)?),
                usize::try_from(position).expect("a block is bounded, and positions count up"),
            ))
        };
        Ok(find.query_row([hash.as_slice()], place).optional()?)
    }

    /// An account as it was after block `at`.
    pub(super) fn account(
        &self,
        address: Address,
        at: u64,
    ) -> Result<Option<AccountInfo>, StoreError> {
        let mut find = self.file.prepare_cached(
            "SELECT nonce, balance, code_hash FROM accounts WHERE address = ?1 AND block <= ?2
             ORDER BY block DESC LIMIT 1",
        )?;
        let info = |row: &Row<'_>| {
            Ok(AccountInfo {
                nonce: unsigned(row.get(0)?),
                balance: U256::from_be_bytes(row.get::<_, [u8; 32]>(1)?),
                code_hash: row.get::<_, [u8; 32]>(2)?.into(),
                code: None,
                account_id: None,
            })
        };
        Ok(find.query_row(params![address.as_slice(), signed(at)], info).optional()?)
    }

    /// A slot as it was after block `at`; zero where it was never written.
    pub(super) fn slot(&self, address: Address, slot: U256, at: u64) -> Result<U256, StoreError> {
        let mut find = self.file.prepare_cached(
            "SELECT value FROM slots WHERE address = ?1 AND slot = ?2 AND block <= ?3
             ORDER BY block DESC LIMIT 1",
        )?;
        let found = find
            .query_row(params![address.as_slice(), slot.to_be_bytes::<32>(), signed(at)], |row| {
                Ok(U256::from_be_bytes(row.get::<_, [u8; 32]>(0)?))
            })
            .optional()?;
        Ok(found.unwrap_or_default())
    }

    pub(super) fn code(&self, hash: B256) -> Result<Bytecode, StoreError> {
        let mut find = self.file.prepare_cached("SELECT code FROM codes WHERE hash = ?1")?;
        let code: Option<Vec<u8>> =
            find.query_row([hash.as_slice()], |row| row.get(0)).optional()?;
        Ok(Bytecode::new_raw(code.ok_or(StoreError::NoCode { hash })?.into()))
    }
}

/// Sets the file up and answers its format.
fn prepare(file: &Connection) -> Result<i64, rusqlite::Error> {
    // Whoever has the file keeps it: waiting would not help.
    file.busy_timeout(Duration::ZERO)?;
    file.pragma_update(None, "locking_mode", "EXCLUSIVE")?;
    file.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
    file.pragma_update(None, "synchronous", "FULL")?;
    let format: i64 = file.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let tables: i64 = file.query_row("SELECT count(*) FROM sqlite_master", [], |row| row.get(0))?;
    if format != 0 || tables != 0 {
        return Ok(format);
    }
    let all = file.unchecked_transaction()?;
    all.execute_batch(SCHEMA)?;
    all.pragma_update(None, "user_version", FORMAT)?;
    all.commit()?;
    Ok(FORMAT)
}

fn write_changes(file: &Connection, number: u64, changes: &Changes) -> Result<(), StoreError> {
    for (address, info) in &changes.accounts {
        file.prepare_cached("INSERT INTO accounts VALUES (?1, ?2, ?3, ?4, ?5)")?.execute(
            params![
                address.as_slice(),
                signed(number),
                signed(info.nonce),
                info.balance.to_be_bytes::<32>(),
                info.code_hash.as_slice()
            ],
        )?;
    }
    for ((address, slot), value) in &changes.slots {
        file.prepare_cached("INSERT INTO slots VALUES (?1, ?2, ?3, ?4)")?.execute(params![
            address.as_slice(),
            slot.to_be_bytes::<32>(),
            signed(number),
            value.to_be_bytes::<32>()
        ])?;
    }
    for (hash, code) in &changes.codes {
        file.prepare_cached("INSERT OR IGNORE INTO codes VALUES (?1, ?2)")?
            .execute(params![hash.as_slice(), code.original_byte_slice()])?;
    }
    Ok(())
}

fn block_row(row: &Row<'_>) -> Result<BlockRow, rusqlite::Error> {
    Ok(BlockRow {
        number: unsigned(row.get(0)?),
        hash: row.get::<_, [u8; 32]>(1)?.into(),
        timestamp: unsigned(row.get(2)?),
        state_root: row.get::<_, [u8; 32]>(3)?.into(),
        header: row.get(4)?,
        body: row.get(5)?,
    })
}

// SQLite's integers are signed 64 bits wide; the bits are kept, so nothing is lost either way.
fn signed(value: u64) -> i64 {
    i64::from_ne_bytes(value.to_ne_bytes())
}

fn unsigned(value: i64) -> u64 {
    u64::from_ne_bytes(value.to_ne_bytes())
}
