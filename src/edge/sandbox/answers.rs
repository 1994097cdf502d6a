//! Blocks, transactions, receipts and logs in the shapes of Ethereum's JSON-RPC.

use alloy::consensus::{
    Receipt, ReceiptEnvelope, ReceiptWithBloom, Transaction as _, transaction::TransactionInfo,
};
use alloy::primitives::{B256, logs_bloom};
use alloy::rpc::types::{
    Block as RpcBlock, BlockTransactions, FeeHistory, Header, Log, Transaction, TransactionReceipt,
};

use super::block::{BASE_FEE, Block, GAS_MAX, Mined};
use super::chain::Chain;
use super::error::SandboxError;

/// How many blocks one fee history covers at most, and how many percentiles it takes.
const FEE_HISTORY_MAX: u64 = 1024;

/// The block, with whole transactions or with their hashes.
pub(super) fn block(block: &Block, full: bool) -> RpcBlock {
    let transactions = if full {
        let all = (0..).zip(&block.mined).map(|(place, mined)| transaction(block, place, mined));
        BlockTransactions::Full(all.collect())
    } else {
        let all = block.mined.iter().map(|mined| *mined.transaction.tx_hash());
        BlockTransactions::Hashes(all.collect())
    };
    RpcBlock {
        header: Header {
            hash: block.hash,
            inner: block.header.clone(),
            total_difficulty: Some(Default::default()),
            size: None,
        },
        uncles: Vec::new(),
        transactions,
        withdrawals: Some(Default::default()),
    }
}

/// The transaction at `place` of `block`.
pub(super) fn transaction(block: &Block, place: u64, mined: &Mined) -> Transaction {
    let info = TransactionInfo {
        hash: Some(*mined.transaction.tx_hash()),
        index: Some(place),
        block_hash: Some(block.hash),
        block_number: Some(block.header.number),
        base_fee: Some(BASE_FEE),
        block_timestamp: Some(block.header.timestamp),
    };
    Transaction::from_transaction(mined.transaction.clone(), info)
}

/// The receipt of the transaction at `place` of `block`, where there is one.
pub(super) fn receipt(block: &Block, place: usize) -> Option<TransactionReceipt> {
    let mined = block.mined.get(place)?;
    let hash = *mined.transaction.tx_hash();
    let up_to = block.mined.iter().take(place.saturating_add(1));
    let receipt = Receipt {
        status: mined.outcome.success.into(),
        cumulative_gas_used: up_to.map(|one| one.outcome.gas_used).sum(),
        logs: logs(block).filter(|log| log.transaction_hash == Some(hash)).collect(),
    };
    let logs_bloom = logs_bloom(&mined.outcome.logs);
    Some(TransactionReceipt {
        inner: ReceiptEnvelope::from_typed(
            mined.transaction.tx_type(),
            ReceiptWithBloom { receipt, logs_bloom },
        ),
        transaction_hash: hash,
        transaction_index: u64::try_from(place).ok(),
        block_hash: Some(block.hash),
        block_number: Some(block.header.number),
        gas_used: mined.outcome.gas_used,
        effective_gas_price: mined.transaction.effective_gas_price(Some(BASE_FEE)),
        blob_gas_used: None,
        blob_gas_price: None,
        from: mined.transaction.signer(),
        to: mined.transaction.to(),
        contract_address: mined.outcome.created,
    })
}

/// All logs of `block`, in order.
pub(super) fn logs(block: &Block) -> impl Iterator<Item = Log> + '_ {
    let each = (0_u64..).zip(&block.mined).flat_map(|(place, mined)| {
        mined.outcome.logs.iter().map(move |log| (place, *mined.transaction.tx_hash(), log))
    });
    (0_u64..).zip(each).map(|(position, (place, hash, log)): (u64, (u64, B256, _))| Log {
        inner: alloy::primitives::Log::clone(log),
        block_hash: Some(block.hash),
        block_number: Some(block.header.number),
        block_timestamp: Some(block.header.timestamp),
        transaction_hash: Some(hash),
        transaction_index: Some(place),
        log_index: Some(position),
        removed: false,
    })
}

/// What blocks cost: always the same, and no tip was ever needed.
pub(super) fn fee_history(
    chain: &Chain,
    blocks: u64,
    newest: u64,
    percentiles: Option<usize>,
) -> Result<FeeHistory, SandboxError> {
    let blocks = blocks.clamp(1, FEE_HISTORY_MAX).min(newest.saturating_add(1));
    let oldest = newest.saturating_add(1).saturating_sub(blocks);
    let (mut base_fee_per_gas, mut gas_used_ratio) = (vec![BASE_FEE.into()], Vec::new());
    for number in oldest..=newest {
        base_fee_per_gas.push(BASE_FEE.into());
        gas_used_ratio.push(ratio(chain.block(number)?.header.gas_used));
    }
    let percentiles = percentiles.map(|count| count.min(1024));
    let reward = percentiles.map(|count| gas_used_ratio.iter().map(|_| vec![0; count]).collect());
    Ok(FeeHistory {
        base_fee_per_blob_gas: vec![1; base_fee_per_gas.len()],
        blob_gas_used_ratio: gas_used_ratio.iter().map(|_| Default::default()).collect(),
        base_fee_per_gas,
        gas_used_ratio,
        oldest_block: oldest,
        reward,
    })
}

/// The part of a block's gas that was used. The wire wants a float; it is read from digits, so that
/// no float is ever computed with.
fn ratio(gas_used: u64) -> f64 {
    let millionths = gas_used.saturating_mul(1_000_000).div_euclid(GAS_MAX);
    let (whole, part) = (millionths.div_euclid(1_000_000), millionths.rem_euclid(1_000_000));
    format!("{whole}.{part:06}").parse().expect("digits are a number")
}
