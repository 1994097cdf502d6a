//! A block's parts, and its header: the hash is the header's, as everywhere on Ethereum.

use alloy::consensus::constants::{EMPTY_OMMER_ROOT_HASH, EMPTY_WITHDRAWALS};
use alloy::consensus::proofs::{calculate_receipt_root, calculate_transaction_root};
use alloy::consensus::transaction::Recovered;
use alloy::consensus::{Header, Receipt, ReceiptEnvelope, ReceiptWithBloom, TxEnvelope};
use alloy::eips::eip2718::{Decodable2718, Encodable2718};
use alloy::primitives::{Address, B256, Log, keccak256, logs_bloom};
use alloy::rlp::Decodable;
use revm::context::BlockEnv;
use revm::context::result::ExecutionResult;
use revm::primitives::eip4844::BLOB_BASE_FEE_UPDATE_FRACTION_CANCUN;
use serde::{Deserialize, Serialize};

use super::error::StoreError;
use super::store::BlockRow;

/// The gas that one block may use, and so one transaction.
pub(super) const GAS_MAX: u64 = 30_000_000;

/// What a unit of gas costs, in wei: always, so that a price known once stays known.
pub(super) const BASE_FEE: u64 = 1_000_000_000;

/// A transaction and what came of it.
#[derive(Clone, Debug)]
pub(super) struct Mined {
    pub(super) transaction: Recovered<TxEnvelope>,
    pub(super) outcome: Outcome,
}

/// What came of a transaction.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Outcome {
    pub(super) success: bool,
    pub(super) gas_used: u64,
    /// The contract that it made, where it made one.
    pub(super) created: Option<Address>,
    pub(super) logs: Vec<Log>,
}

impl From<ExecutionResult> for Outcome {
    fn from(result: ExecutionResult) -> Self {
        Self {
            success: result.is_success(),
            gas_used: result.tx_gas_used(),
            created: result.created_address(),
            logs: match result {
                ExecutionResult::Success { logs, .. } => logs,
                // What a reverted call logged did not happen.
                ExecutionResult::Revert { .. } | ExecutionResult::Halt { .. } => Vec::new(),
            },
        }
    }
}

/// A block with everything in it.
#[derive(Clone, Debug)]
pub(super) struct Block {
    pub(super) hash: B256,
    pub(super) header: Header,
    pub(super) mined: Vec<Mined>,
}

/// The newest block, as far as the next one needs to know it.
#[derive(Copy, Clone, Debug)]
pub(super) struct Head {
    pub(super) number: u64,
    pub(super) hash: B256,
    pub(super) timestamp: u64,
    pub(super) state_root: B256,
}

/// One transaction in the file.
#[derive(Serialize, Deserialize)]
struct Stored {
    raw: Vec<u8>,
    sender: Address,
    outcome: Outcome,
}

/// The header of a block without transactions.
pub(super) fn empty_header(parent: B256, number: u64, timestamp: u64, state_root: B256) -> Header {
    Header {
        parent_hash: parent,
        ommers_hash: EMPTY_OMMER_ROOT_HASH,
        state_root,
        number,
        timestamp,
        gas_limit: GAS_MAX,
        // Not random, and nobody may take it for that; but no two blocks share it.
        mix_hash: keccak256(parent),
        base_fee_per_gas: Some(BASE_FEE),
        withdrawals_root: Some(EMPTY_WITHDRAWALS),
        blob_gas_used: Some(0),
        excess_blob_gas: Some(0),
        parent_beacon_block_root: Some(B256::ZERO),
        ..Header::default()
    }
}

/// Writes what `mined` adds into the header.
pub(super) fn seal(header: &mut Header, mined: &[Mined]) {
    if mined.is_empty() {
        return;
    }
    let transactions: Vec<&TxEnvelope> = mined.iter().map(|one| one.transaction.inner()).collect();
    let receipts = receipts(mined);
    header.gas_used = mined.iter().map(|one| one.outcome.gas_used).sum();
    header.transactions_root = calculate_transaction_root(&transactions);
    header.receipts_root = calculate_receipt_root(&receipts);
    header.logs_bloom = logs_bloom(mined.iter().flat_map(|one| &one.outcome.logs));
}

fn receipts(mined: &[Mined]) -> Vec<ReceiptEnvelope> {
    let mut cumulative_gas_used = 0_u64;
    let receipt = |one: &Mined| {
        cumulative_gas_used = cumulative_gas_used.saturating_add(one.outcome.gas_used);
        let receipt = Receipt {
            status: one.outcome.success.into(),
            cumulative_gas_used,
            logs: one.outcome.logs.clone(),
        };
        ReceiptEnvelope::from_typed(one.transaction.tx_type(), ReceiptWithBloom::from(receipt))
    };
    mined.iter().map(receipt).collect()
}

/// What the EVM is told of the block.
pub(super) fn environment(header: &Header) -> BlockEnv {
    let mut block = BlockEnv {
        number: alloy::primitives::U256::from(header.number),
        beneficiary: header.beneficiary,
        timestamp: alloy::primitives::U256::from(header.timestamp),
        gas_limit: header.gas_limit,
        basefee: header.base_fee_per_gas.unwrap_or_default(),
        prevrandao: Some(header.mix_hash),
        ..BlockEnv::default()
    };
    block.set_blob_excess_gas_and_price(0, BLOB_BASE_FEE_UPDATE_FRACTION_CANCUN);
    block
}

/// The block as the file keeps it.
pub(super) fn to_row(block: &Block) -> BlockRow {
    let stored = |one: &Mined| Stored {
        raw: one.transaction.inner().encoded_2718(),
        sender: one.transaction.signer(),
        outcome: one.outcome.clone(),
    };
    let body: Vec<Stored> = block.mined.iter().map(stored).collect();
    let full = !body.is_empty();
    BlockRow {
        number: block.header.number,
        hash: block.hash,
        timestamp: block.header.timestamp,
        state_root: block.header.state_root,
        header: full.then(|| alloy::rlp::encode(&block.header)),
        body: full.then(|| postcard::to_stdvec(&body).expect("a block in memory encodes")),
    }
}

/// The block that the file keeps; `parent` is its parent's hash.
pub(super) fn from_row(row: &BlockRow, parent: B256) -> Result<Block, StoreError> {
    let damaged = || StoreError::Damaged { number: row.number };
    let header = find_header(row)?
        .unwrap_or_else(|| empty_header(parent, row.number, row.timestamp, row.state_root));
    if header.hash_slow() != row.hash {
        return Err(damaged());
    }
    let Some(body) = &row.body else {
        return Ok(Block { hash: row.hash, header, mined: Vec::new() });
    };
    let stored: Vec<Stored> = postcard::from_bytes(body).map_err(|_| damaged())?;
    let mut mined = Vec::with_capacity(stored.len());
    for Stored { raw, sender, outcome } in stored {
        let transaction = TxEnvelope::decode_2718(&mut raw.as_slice()).map_err(|_| damaged())?;
        let transaction = Recovered::new_unchecked(transaction, sender);
        mined.push(Mined { transaction, outcome });
    }
    Ok(Block { hash: row.hash, header, mined })
}

/// The header of a block that holds transactions.
pub(super) fn find_header(row: &BlockRow) -> Result<Option<Header>, StoreError> {
    let Some(header) = &row.header else { return Ok(None) };
    let header = Header::decode(&mut header.as_slice());
    header.map(Some).map_err(|_| StoreError::Damaged { number: row.number })
}
