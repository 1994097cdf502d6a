//! What gas costs, and what was paid for it.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use alloy::primitives::U256;
use alloy::rpc::types::TransactionReceipt;

use crate::domain::money::Amount;
use crate::ports::rail::{Fee, RailError};

use super::node::Node;

/// Fees that wait to be asked for at most.
const FEES_MAX: usize = 4096;

/// What a unit of gas may cost, in wei.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) struct Fees {
    pub(super) most: u128,
    pub(super) tip: u128,
}

impl Fees {
    /// What the next blocks may ask for: twice what the last one did.
    pub(super) async fn ask(node: &Node, fee_wei_max: u128) -> Result<Self, RailError> {
        let network = node.network();
        let (head, tip) =
            tokio::try_join!(node.latest(), node.ask::<_, U256>("eth_maxPriorityFeePerGas", ()))
                .map_err(|it| it.on(network))?;
        let tip = tip.saturating_to::<u128>();
        let fee_wei = head.base_fee().saturating_add(tip);
        if fee_wei > fee_wei_max {
            return Err(RailError::FeesTooHigh { network, fee_wei, fee_wei_max });
        }
        Ok(Self { most: fee_wei.saturating_add(head.base_fee()).min(fee_wei_max), tip })
    }

    /// The least that a node takes in the place of a transaction at these fees: an eighth more.
    pub(super) fn dearer(self) -> Self {
        let more = |fee: u128| fee.saturating_add(fee.div_ceil(8)).saturating_add(1);
        Self { most: more(self.most), tip: more(self.tip) }
    }
}

/// What transactions have cost and nobody has asked for yet.
#[derive(Clone, Default)]
pub(super) struct FeesPaid(Arc<Mutex<VecDeque<Fee>>>);

impl FeesPaid {
    pub(super) fn add(&self, receipt: &TransactionReceipt) {
        let price = receipt.effective_gas_price;
        let amount = Amount::new(u128::from(receipt.gas_used).saturating_mul(price));
        let mut fees = self.0.lock().expect("no holder of the fees panics");
        if fees.len() >= FEES_MAX {
            fees.pop_front();
        }
        fees.push_back(Fee { transaction: receipt.transaction_hash, amount });
    }

    pub(super) fn take(&self) -> Vec<Fee> {
        self.0.lock().expect("no holder of the fees panics").drain(..).collect()
    }
}
