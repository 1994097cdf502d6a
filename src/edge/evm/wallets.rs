//! Which payers are contracts: remembered for a while, so that who shows wrong signatures of one address costs
//! the node one question.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use alloy::primitives::{Address, Bytes};

use crate::domain::time::Timestamp;

use super::node::{Node, Trouble};

/// Accounts that are remembered at most; beyond that the one that was asked about longest ago is forgotten.
const ACCOUNTS_MAX: usize = 4_096;

/// How long an answer holds: a wallet may be made, and one that delegates may end it.
const FRESH: Duration = Duration::from_secs(30);

/// What is known of accounts.
#[derive(Default)]
pub(super) struct Contracts(Mutex<BTreeMap<Address, (bool, Timestamp)>>);

impl Contracts {
    /// Whether there is code at `account`, by the newest block or one that was it a moment ago.
    pub(super) async fn is_contract(
        &self,
        node: &Node,
        account: Address,
        now: Timestamp,
    ) -> Result<bool, Trouble> {
        if let Some((known, seen)) = self.find(account)
            && now.since(seen) < FRESH
        {
            return Ok(known);
        }
        let code: Bytes = node.ask("eth_getCode", (account, "latest")).await?;
        let is_contract = !code.is_empty();
        let mut kept = self.0.lock().expect("no holder of the accounts panics");
        if kept.len() >= ACCOUNTS_MAX && !kept.contains_key(&account) {
            let oldest =
                kept.iter().min_by_key(|(_, (_, seen))| *seen).map(|(account, _)| *account);
            oldest.map(|oldest| kept.remove(&oldest));
        }
        kept.insert(account, (is_contract, now));
        Ok(is_contract)
    }

    fn find(&self, account: Address) -> Option<(bool, Timestamp)> {
        self.0.lock().expect("no holder of the accounts panics").get(&account).copied()
    }
}
