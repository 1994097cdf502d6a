//! Finds logs. Bounded twice, as public nodes are, so that whoever uses the sandbox is ready for
//! them: by the blocks that one query covers and by its results.

use alloy::consensus::BlockHeader;
use alloy::eips::{BlockId, BlockNumberOrTag};
use alloy::rpc::types::{Filter, FilterBlockOption, Log};

use super::answers;
use super::block::{self, Block};
use super::chain::Chain;
use super::error::SandboxError;

/// How many blocks one query may cover.
pub(super) const LOG_BLOCKS_MAX: u64 = 10_000;

/// How many logs one answer may hold.
pub(super) const LOGS_MAX: usize = 10_000;

/// The logs that `filter` asks for, in order of block and place.
pub(super) fn find(chain: &Chain, filter: &Filter) -> Result<Vec<Log>, SandboxError> {
    let Some((first, last)) = range(chain, filter)? else { return Ok(Vec::new()) };
    let mut found = Vec::new();
    chain.scan(first, last, |row| {
        let bloom = block::find_header(&row)?.map(|header| header.logs_bloom());
        if !bloom.is_some_and(|bloom| filter.matches_bloom(bloom)) {
            return Ok(());
        }
        // The rows that are scanned hold transactions, and so their own header: no parent needed.
        let block = block::from_row(&row, Default::default())?;
        take(&block, filter, &mut found)
    })?;
    Ok(found)
}

fn take(block: &Block, filter: &Filter, found: &mut Vec<Log>) -> Result<(), SandboxError> {
    for log in answers::logs(block) {
        if !filter.matches(&log.inner) {
            continue;
        }
        if found.len() >= LOGS_MAX {
            return Err(SandboxError::TooManyLogs { logs_max: LOGS_MAX });
        }
        found.push(log);
    }
    Ok(())
}

/// The first and the last block to look at, where there is any: a range that begins after the head
/// is empty, and one that ends after it ends there.
fn range(chain: &Chain, filter: &Filter) -> Result<Option<(u64, u64)>, SandboxError> {
    let (from, to) = match filter.block_option {
        FilterBlockOption::AtBlockHash(hash) => {
            let number = chain.number(BlockId::from(hash))?;
            return Ok(Some((number, number)));
        }
        FilterBlockOption::Range { from_block, to_block } => (from_block, to_block),
    };
    let head = chain.head().number;
    let number = |tag: Option<BlockNumberOrTag>| match tag {
        Some(BlockNumberOrTag::Number(number)) => Ok(number),
        other => chain.number(BlockId::Number(other.unwrap_or_default())),
    };
    let (first, last) = (number(from)?, number(to)?.min(head));
    if first > last {
        return Ok(None);
    }
    let blocks = last.saturating_sub(first).saturating_add(1);
    if blocks > LOG_BLOCKS_MAX {
        return Err(SandboxError::RangeTooWide { blocks, blocks_max: LOG_BLOCKS_MAX });
    }
    Ok(Some((first, last)))
}
