//! Reads of a token and of receipts, each pinned to a block.

use alloy::eips::BlockId;
use alloy::primitives::{Address, B256, Bytes, Log, U256};
use alloy::rpc::types::{TransactionReceipt, TransactionRequest};
use alloy::sol_types::{SolCall, SolEvent};

use crate::domain::asset::Asset;
use crate::domain::commitment::{AuthorizationKey, Commitment};
use crate::domain::money::Amount;

use super::abi;
use super::node::{Node, Trouble};

impl Node {
    /// What a view of `contract` answers on the block with this hash.
    pub(super) async fn view<C: SolCall>(
        &self,
        contract: Address,
        call: C,
        block: B256,
    ) -> Result<C::Return, Trouble> {
        let request =
            TransactionRequest::default().to(contract).input(Bytes::from(call.abi_encode()).into());
        let at = BlockId::from(block);
        let output: Bytes = self.ask("eth_call", (request, at)).await?;
        // A contract that is not there answers with nothing, which must not be read as `false`.
        C::abi_decode_returns(&output).map_err(Trouble::nonsense)
    }

    /// Whether the contract says that the nonce was used or canceled.
    pub(super) async fn is_spent(
        &self,
        key: &AuthorizationKey,
        block: B256,
    ) -> Result<bool, Trouble> {
        let call = abi::authorizationStateCall { authorizer: key.payer, nonce: key.nonce };
        self.view(key.asset.contract, call, block).await
    }

    pub(super) async fn balance_of(
        &self,
        asset: Asset,
        holder: Address,
        block: B256,
    ) -> Result<Amount, Trouble> {
        amount(self.view(asset.contract, abi::balanceOfCall { holder }, block).await?)
    }

    /// The receipt of a transaction, where it was mined.
    pub(super) async fn receipt(&self, hash: B256) -> Result<Option<TransactionReceipt>, Trouble> {
        let receipt: Option<TransactionReceipt> =
            self.ask("eth_getTransactionReceipt", (hash,)).await?;
        match receipt {
            Some(receipt) if receipt.transaction_hash != hash => {
                Err(Trouble::nonsense("the receipt of another transaction"))
            }
            other => Ok(other),
        }
    }

    /// The time of the receipt's block, in seconds since the epoch. Most nodes tell it with each log.
    pub(super) async fn moved_at_s(&self, receipt: &TransactionReceipt) -> Result<u64, Trouble> {
        if let Some(time_s) = receipt.logs().iter().find_map(|log| log.block_timestamp) {
            return Ok(time_s);
        }
        let number = receipt.block_number;
        let number = number.ok_or_else(|| Trouble::nonsense("a receipt without a block"))?;
        let block = self.block(&format!("{number:#x}")).await?;
        if Some(block.hash) != receipt.block_hash {
            return Err(Trouble::nonsense("another block in the place of the receipt's"));
        }
        Ok(block.time_s())
    }
}

/// What `receipt` says of an authorization.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) enum Trace {
    /// It was used, and this much moved from payer to payTo by it: nothing where it moved elsewhere.
    Used(Amount),
    /// It was canceled.
    Canceled,
    /// Nothing.
    None,
}

/// Reads `receipt` for the events of `commitment`'s nonce.
pub(super) fn trace(receipt: &TransactionReceipt, commitment: &Commitment) -> Trace {
    if !receipt.status() {
        return Trace::None;
    }
    let key = commitment.key();
    let mut logs =
        receipt.logs().iter().map(|log| &log.inner).filter(|log| log.address == key.asset.contract);
    for log in logs.by_ref() {
        if let Some(log) = decode::<abi::AuthorizationCanceled>(log)
            && (log.authorizer, log.nonce) == (key.payer, key.nonce)
        {
            return Trace::Canceled;
        }
        if let Some(log) = decode::<abi::AuthorizationUsed>(log)
            && (log.authorizer, log.nonce) == (key.payer, key.nonce)
        {
            // The transfer of this authorization is the payer's next one: a transaction may use
            // many authorizations, and each must find its own transfer and no other.
            let moved = logs.find_map(decode::<abi::Transfer>);
            return Trace::Used(match moved {
                Some(moved) if (moved.from, moved.to) == (key.payer, commitment.pay_to) => {
                    amount(moved.value).unwrap_or_default()
                }
                Some(_) | None => Amount::ZERO,
            });
        }
    }
    Trace::None
}

/// The event, where the log is one: the signature alone does not tell an event from another with
/// other indexed fields.
pub(super) fn decode<E: SolEvent>(log: &Log) -> Option<E> {
    E::decode_log_validate(log).ok().map(|log| log.data)
}

pub(super) fn amount(value: U256) -> Result<Amount, Trouble> {
    let value = u128::try_from(value);
    value.map(Amount::new).map_err(|_| Trouble::nonsense("an amount above 128 bits"))
}
