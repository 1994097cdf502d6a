//! Finds logs in ranges that a node is willing to answer, newest first or oldest first.
//!
//! A range that a node refuses is asked again in halves. Every search has a bound; one that ends at
//! its bound has proven nothing.

use alloy::primitives::B256;
use alloy::rpc::types::{Filter, Log};
use alloy::sol_types::SolEvent;

use crate::domain::commitment::AuthorizationKey;

use super::abi;
use super::node::{Node, Trouble};

/// The widest range that one query covers, in blocks.
const SPAN_MAX: u64 = 10_000;

/// The first range of a search from the newest block: most of what is looked for just happened.
const SPAN_FIRST: u64 = 100;

/// How many queries one search makes.
const QUERIES_MAX: u32 = 300;

/// The newest log that tells what became of the nonce, up to block `up_to`.
pub(super) async fn find_end(
    node: &Node,
    key: &AuthorizationKey,
    up_to: u64,
) -> Result<Option<Log>, Trouble> {
    let kinds =
        vec![abi::AuthorizationUsed::SIGNATURE_HASH, abi::AuthorizationCanceled::SIGNATURE_HASH];
    let filter = Filter::new()
        .address(key.asset.contract)
        .event_signature(kinds)
        .topic1(key.payer.into_word())
        .topic2(key.nonce);
    find_newest(node, &filter, up_to).await
}

/// The newest log of `filter`, up to block `up_to`.
pub(super) async fn find_newest(
    node: &Node,
    filter: &Filter,
    up_to: u64,
) -> Result<Option<Log>, Trouble> {
    let mut back = Backwards::from(up_to);
    while let Some(mut found) = back.next(node, filter).await? {
        if let Some(log) = found.pop() {
            return Ok(Some(log));
        }
    }
    Ok(None)
}

/// A search from the newest block back to the first, range by range.
pub(super) struct Backwards {
    /// The last block of the next range; none once the first block was looked at.
    last: Option<u64>,
    span: u64,
    /// No range is wider: more than this was refused.
    span_max: u64,
    /// The widest range that was answered.
    answered: u64,
    queries: u32,
}

impl Backwards {
    /// From block `up_to` on.
    pub(super) const fn from(up_to: u64) -> Self {
        Self { last: Some(up_to), span: SPAN_FIRST, span_max: SPAN_MAX, answered: 0, queries: 0 }
    }

    /// The logs of the next range, in their order; nothing at the end of the chain or of the search.
    pub(super) async fn next(
        &mut self,
        node: &Node,
        filter: &Filter,
    ) -> Result<Option<Vec<Log>>, Trouble> {
        while let Some(last) = self.last.filter(|_| self.queries < QUERIES_MAX) {
            self.queries = self.queries.saturating_add(1);
            let first = last.saturating_sub(self.span.saturating_sub(1));
            match logs(node, filter, first, last).await {
                Ok(found) => {
                    self.last = first.checked_sub(1);
                    self.answered = self.answered.max(self.span);
                    self.span = self.span.saturating_mul(10).min(self.span_max);
                    return Ok(Some(found));
                }
                Err(trouble) => self.narrow(trouble)?,
            }
        }
        Ok(None)
    }

    /// A smaller range for a node that refused this one, and none wider from here on: a node that takes a
    /// thousand blocks refuses ten thousand every time, and each refusal costs one of the search's queries.
    fn narrow(&mut self, trouble: Trouble) -> Result<(), Trouble> {
        let half = halve(self.span, trouble)?;
        // What was answered before is answered again, unless it is just that which is refused now.
        let before = if self.answered < self.span { self.answered } else { 0 };
        self.span = half.max(before);
        self.span_max = self.span;
        Ok(())
    }

    /// Whether the whole chain was looked at.
    pub(super) const fn is_done(&self) -> bool {
        self.last.is_none()
    }
}

/// Logs in order, and the last block that was looked at.
pub(super) struct Found {
    pub(super) logs: Vec<Log>,
    pub(super) up_to: u64,
}

/// Every log of `filters` from block `first` on to `last`, or as far as one search goes.
pub(super) async fn find_all(
    node: &Node,
    filters: &[Filter],
    first: u64,
    last: u64,
    logs_max: usize,
) -> Result<Found, Trouble> {
    let (mut next, mut span) = (first, SPAN_MAX);
    let mut all: Vec<Log> = Vec::new();
    for _ in 0..QUERIES_MAX {
        if next > last || all.len() >= logs_max {
            break;
        }
        let end = next.saturating_add(span.saturating_sub(1)).min(last);
        match span_of(node, filters, next, end).await {
            Ok(found) => {
                all.extend(found);
                next = end.saturating_add(1);
            }
            Err(trouble) => span = halve(span, trouble)?,
        }
    }
    Ok(Found { logs: all, up_to: next.saturating_sub(1) })
}

/// The logs of all filters in one range: in order, and each once.
async fn span_of(
    node: &Node,
    filters: &[Filter],
    first: u64,
    last: u64,
) -> Result<Vec<Log>, Trouble> {
    let mut all = Vec::new();
    for filter in filters {
        all.extend(logs(node, filter, first, last).await?);
    }
    let place = |log: &Log| (log.block_number, log.log_index);
    all.sort_by_key(place);
    all.dedup_by_key(|log| place(log));
    Ok(all)
}

/// The logs of one query, each checked to be what was asked for.
async fn logs(node: &Node, filter: &Filter, first: u64, last: u64) -> Result<Vec<Log>, Trouble> {
    let query = filter.clone().from_block(first).to_block(last);
    let mut found: Vec<Log> = node.ask("eth_getLogs", (&query,)).await?;
    let asked = |log: &Log| {
        let block = log.block_number.is_some_and(|block| (first..=last).contains(&block));
        block && log.log_index.is_some() && !log.removed && query.rpc_matches(log)
    };
    if !found.iter().all(asked) {
        return Err(Trouble::nonsense("logs that were not asked for"));
    }
    found.sort_by_key(|log| (log.block_number, log.log_index));
    Ok(found)
}

/// A smaller range for a node that refused this one.
fn halve(span: u64, trouble: Trouble) -> Result<u64, Trouble> {
    match trouble {
        Trouble::Refused(_) if span > 1 => Ok(span.div_ceil(2).min(span.saturating_sub(1))),
        other => Err(other),
    }
}

/// The transaction of a log that was mined.
pub(super) fn transaction(log: &Log) -> Result<B256, Trouble> {
    log.transaction_hash.ok_or_else(|| Trouble::nonsense("a log without a transaction"))
}

/// Its block's number.
pub(super) fn block(log: &Log) -> Result<u64, Trouble> {
    log.block_number.ok_or_else(|| Trouble::nonsense("a log without a block"))
}
