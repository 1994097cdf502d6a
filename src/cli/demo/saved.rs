//! What paying by channel saved, against one transaction for each call: measured on the chain of the
//! very same run.

use bursar::domain::x402::batch::typed::BATCH_SETTLEMENT;
use bursar::edge::sandbox::{GasUsed, TOKEN};
use bursar::node::StartError;
use serde::Serialize;

use super::fleet::Fleet;

/// What was sent to the chain, and what would have been.
#[derive(Copy, Clone, Debug, Default, Serialize)]
pub struct Saved {
    /// Calls that channels paid.
    pub calls: u64,
    /// Transactions that they took: deposits, claims, sweeps, refunds.
    pub transactions: u64,
    /// Gas that those used.
    pub gas: u64,
    /// Calls that were settled by themselves in the same run.
    pub settled_alone: u64,
    /// Gas that each of those used, rounded up; `None` where there was none to measure.
    pub gas_alone_each: Option<u64>,
    /// Transactions that were not needed: one for each call less those that channels took.
    pub transactions_saved: Option<u64>,
    /// Gas that was not needed.
    pub gas_saved: Option<u64>,
}

impl Saved {
    /// Reads every transaction of the providers since the fleet began to pay. Each call that a channel
    /// paid would have been one like those that were settled alone.
    pub async fn measure(fleet: &Fleet, calls: u64) -> Result<Self, StartError> {
        let used = fleet.chain.chain().used_after(fleet.opening_block).await?;
        let ours = used.into_iter().filter(|used| fleet.gas_accounts.contains(&used.from));
        let (alone, by_channel): (Vec<GasUsed>, Vec<GasUsed>) = ours
            .filter(|used| [Some(TOKEN), Some(BATCH_SETTLEMENT)].contains(&used.to))
            .partition(|used| used.to == Some(TOKEN));
        let (settled_alone, gas_alone) = sum(&alone);
        let (transactions, gas) = sum(&by_channel);
        let gas_alone_each = (settled_alone > 0).then(|| gas_alone.div_ceil(settled_alone));
        Ok(Self {
            calls,
            transactions,
            gas,
            settled_alone,
            gas_alone_each,
            transactions_saved: calls.checked_sub(transactions),
            gas_saved: gas_alone_each
                .and_then(|each| each.checked_mul(calls))
                .and_then(|alone| alone.checked_sub(gas)),
        })
    }

    /// The same in words.
    pub fn to_text(self) -> String {
        let alone = match self.gas_alone_each {
            None => "nothing was settled alone, so there is nothing to compare with".to_owned(),
            Some(each) => format!(
                "one for each call: {} transactions, {} gas ({each} each, as {} of this run took)",
                self.calls,
                each.saturating_mul(self.calls),
                self.settled_alone,
            ),
        };
        let saved = match (self.transactions_saved, self.gas_saved) {
            (Some(transactions), Some(gas)) => format!("{transactions} transactions, {gas} gas"),
            _ => "nothing: too few calls for what channels cost".to_owned(),
        };
        format!(
            "paid by channel          {:>12} calls in {} transactions, {} gas\n\
             instead of               {alone}\n\
             saved                    {saved}\n",
            self.calls, self.transactions, self.gas,
        )
    }
}

fn sum(used: &[GasUsed]) -> (u64, u64) {
    let count = u64::try_from(used.len()).unwrap_or(u64::MAX);
    (count, used.iter().fold(0, |sum: u64, used| sum.saturating_add(used.gas)))
}
