//! Looks for receipts, and after what was lost or is stuck.

use std::collections::BTreeSet;

use alloy::primitives::{B256, Bytes};
use alloy::rpc::types::TransactionReceipt;

use super::{GONE_MAX, PUSH_EVERY, Pending, Postman, UNDER_WAY_MAX};
use crate::edge::evm::node::BATCH_LEN;
use crate::edge::evm::sender::{LOOK_FIRST, Outcome};

impl Postman {
    /// Looks for every receipt that is awaited, and tells who waits.
    pub(super) async fn look(&mut self) {
        let found = self.receipts().await;
        let newest = match (found.is_empty(), self.config.confirmations) {
            (true, _) | (_, 0) => None,
            (false, _) => self.node.latest().await.map(|head| head.number()).ok(),
        };
        let mut seen = false;
        for receipt in found {
            if self.config.is_deep(&receipt, newest) {
                seen |= self.finish(&receipt);
            }
        }
        self.end_patience();
        let now = self.clock.now();
        self.looked_at = now;
        self.pause = if seen { LOOK_FIRST } else { self.config.longer(self.pause) };
        if now.since(self.pushed_at) >= PUSH_EVERY {
            self.push().await;
            self.fill_gaps().await;
        }
    }

    /// The receipts of whatever was mined of those under way. A look that fails is made again: a receipt is
    /// not less there.
    async fn receipts(&self) -> Vec<TransactionReceipt> {
        let hashes: Vec<(B256,)> =
            self.pending.iter().flat_map(|one| one.hashes.iter().map(|hash| (*hash,))).collect();
        let mut found = Vec::new();
        for some in hashes.chunks(BATCH_LEN) {
            let asked = self
                .node
                .ask_each::<_, Option<TransactionReceipt>>("eth_getTransactionReceipt", some);
            let Ok(answers) = asked.await else { continue };
            let is_it = |(hash, receipt): &(&(B256,), TransactionReceipt)| {
                receipt.transaction_hash == hash.0
            };
            let answers = answers.into_iter().map(|answer| answer.ok().flatten());
            let answers = some.iter().zip(answers);
            let answers = answers.filter_map(|(hash, receipt)| Some((hash, receipt?)));
            found.extend(answers.filter(is_it).map(|(_, receipt)| receipt));
        }
        found
    }

    /// Ends what this receipt is of.
    fn finish(&mut self, receipt: &TransactionReceipt) -> bool {
        let is_it = |one: &Pending| one.hashes.contains(&receipt.transaction_hash);
        let Some(place) = self.pending.iter().position(is_it) else { return false };
        self.fees_paid.add(receipt);
        for waiter in self.pending.remove(place).waiters {
            waiter.tell(Outcome::Mined(Box::new(receipt.clone())));
        }
        true
    }

    /// Tells those whose patience has ended that it was not seen yet.
    fn end_patience(&mut self) {
        let now = self.clock.now();
        for pending in &mut self.pending {
            let last = pending.hashes.last().copied();
            for waiter in pending.waiters.extract_if(.., |waiter| waiter.until <= now) {
                waiter.tell(Outcome::Unseen(last));
            }
        }
    }

    /// Hands in again what may have been lost, makes dearer what is stuck, and gives up what cannot be
    /// mined any more because another transaction took its nonce.
    pub(super) async fn push(&mut self) {
        self.pushed_at = self.clock.now();
        if self.pending.is_empty() {
            return;
        }
        let Ok(mined) = self.count("latest").await else { return };
        for pending in self.pending.iter_mut().filter(|pending| pending.nonce < mined) {
            pending.gone = pending.gone.saturating_add(1);
        }
        for gone in self.pending.extract_if(.., |one| one.nonce < mined && one.gone >= GONE_MAX) {
            let last = gone.hashes.last().copied();
            for waiter in gone.waiters {
                waiter.tell(Outcome::Unseen(last));
            }
        }
        self.free.retain(|free| *free >= mined);
        self.find_gaps(mined);
        self.fees = None;
        let fees = self.fees().await.ok();
        for place in 0..self.pending.len() {
            self.make_dearer(place, fees).await;
        }
        let raws: Vec<(Bytes,)> = self
            .pending
            .iter()
            .filter(|pending| pending.nonce >= mined)
            .map(|pending| (pending.raw.clone(),))
            .collect();
        for some in raws.chunks(BATCH_LEN) {
            // Whatever the node says to that, the first sending still stands.
            drop(self.node.ask_each::<_, B256>("eth_sendRawTransaction", some).await);
        }
    }

    /// Finds nonces that are not mined, below others that are under way: a reorganisation has taken back
    /// what was mined under them.
    fn find_gaps(&mut self, mined: u64) {
        let Some(highest) = self.pending.last().map(|pending| pending.nonce) else { return };
        let used: BTreeSet<u64> = self.pending.iter().map(|pending| pending.nonce).collect();
        let missing = (mined..highest).filter(|nonce| !used.contains(nonce));
        self.free.extend(missing.take(UNDER_WAY_MAX));
    }
}
