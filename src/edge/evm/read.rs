//! Reads of a token and of receipts, each pinned to a block.

use alloy::eips::BlockId;
use alloy::primitives::{Address, B256, Bytes, Log, U256};
use alloy::rpc::types::{TransactionReceipt, TransactionRequest};
use alloy::sol_types::{SolCall, SolEvent};

use crate::domain::asset::Asset;
use crate::domain::channel::ChannelId;
use crate::domain::commitment::{AuthorizationKey, Commitment};
use crate::domain::money::Amount;

use super::node::{Node, Trouble};
use super::{abi, moves};

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

    /// What views answer on the block with this hash, in the order that they were asked in.
    pub(super) async fn views<C: SolCall>(
        &self,
        contract: Address,
        calls: &[C],
        block: B256,
    ) -> Result<Vec<C::Return>, Trouble> {
        let at = BlockId::from(block);
        let ask = |call: &C| {
            let input = Bytes::from(call.abi_encode()).into();
            (TransactionRequest::default().to(contract).input(input), at)
        };
        let questions: Vec<_> = calls.iter().map(ask).collect();
        let outputs: Vec<Bytes> = self.ask_many("eth_call", &questions).await?;
        let read = |output: Bytes| C::abi_decode_returns(&output).map_err(Trouble::nonsense);
        outputs.into_iter().map(read).collect()
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

/// A nonce to look for, and where its money had to go.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) struct Sought {
    pub(super) key: AuthorizationKey,
    /// To whom the payer's money had to move.
    pub(super) to: Address,
    /// The channel that it had to fill, where it had to.
    pub(super) channel: Option<ChannelId>,
    /// Whether it is a nonce of Permit2's, and not of the token's.
    pub(super) by_permit2: bool,
}

impl From<&Commitment> for Sought {
    fn from(commitment: &Commitment) -> Self {
        let by_permit2 = commitment.method.is_permit2();
        Self { key: commitment.key(), to: commitment.pay_to, channel: None, by_permit2 }
    }
}

/// What `receipt` says of an authorization.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) enum Trace {
    /// It was used, and this much moved by it to where it had to: nothing where it moved elsewhere.
    Used(Amount),
    /// It was canceled.
    Canceled,
    /// Nothing.
    None,
}

/// Reads `receipt` for the events of a nonce at the token.
pub(super) fn trace(receipt: &TransactionReceipt, sought: &Sought) -> Trace {
    if !receipt.status() {
        return Trace::None;
    }
    let Sought { key, to, channel, .. } = sought;
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
            let moved = moved.filter(|moved| (moved.from, moved.to) == (key.payer, *to));
            let moved = moved.and_then(|moved| amount(moved.value).ok());
            // Money that only reached the collector fills no channel.
            let moved = moved.filter(|moved| {
                channel.is_none_or(|channel| moves::arrived(receipt, channel, *moved))
            });
            return Trace::Used(moved.unwrap_or_default());
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
