//! What the chain shows: everything behind one answer is read at one final block's hash.
//! Source: threats.md 5.4, first row.

use std::collections::BTreeMap;
use std::sync::Arc;

use alloy::primitives::{Address, B256, U256};
use alloy::rpc::types::{Filter, Log, TransactionReceipt};
use alloy::sol_types::{SolEvent, eip712_domain};
use async_trait::async_trait;
use futures_util::stream::{self, StreamExt, TryStreamExt};

use crate::domain::asset::{Asset, AssetInfo, Network};
use crate::domain::channel::ChannelId;
use crate::domain::commitment::{AuthorizationKey, Commitment};
use crate::domain::x402::batch::typed::BATCH_SETTLEMENT;
use crate::ports::channel_rail::ChannelEvidence;
use crate::ports::rail::{
    Allowance, Evidence, Holding, NonceState, RailError, Sighting, Transfer, Transfers,
};

use super::config::EvmConfig;
use super::contracts::BatchSettlement;
use super::node::{Head, Node, Trouble};
use super::permit2::{self, End};
use super::read::{self, Sought, Trace, amount, decode};
use super::{abi, search};

/// How many transfers one answer holds, give or take those of its last range.
const TRANSFERS_MAX: usize = 10_000;

/// How many receipts are asked for at a time.
const RECEIPTS_AT_ONCE: usize = 8;

/// A chain as a witness. Clones share the connection.
#[derive(Clone)]
pub struct Evm {
    pub(super) node: Arc<Node>,
}

impl Evm {
    /// Connects to the node, and checks that chain, genesis and every token are those that `config`
    /// names.
    ///
    /// # Errors
    /// [`RailError::WrongChain`], [`RailError::WrongGenesis`], [`RailError::WrongAsset`]; no answer.
    pub async fn connect(config: &EvmConfig) -> Result<Self, RailError> {
        let node = Node::connect(config).await?;
        let newest = node.latest().await.map_err(|it| it.on(config.network))?;
        for info in config.assets.iter().filter(|info| info.asset.network == config.network) {
            check_asset(&node, info, newest.hash).await?;
        }
        Ok(Self { node: Arc::new(node) })
    }

    /// The hash of block 0: which chain this is, beyond its number.
    pub fn genesis(&self) -> B256 {
        self.node.genesis()
    }

    pub(super) fn trouble(&self) -> impl Fn(Trouble) -> RailError + use<> {
        let network = self.node.network();
        move |trouble| trouble.on(network)
    }

    /// The newest final block, of the chain that this was connected to.
    pub(super) async fn final_block(&self) -> Result<Head, RailError> {
        // The block first: were the chain swapped in between, the check would see the new one.
        let block = self.node.final_block().await.map_err(self.trouble())?;
        self.node.check_chain().await?;
        Ok(block)
    }

    /// The newest block, of the same chain.
    pub(super) async fn newest_block(&self) -> Result<Head, RailError> {
        let block = self.node.latest().await.map_err(self.trouble())?;
        self.node.check_chain().await?;
        Ok(block)
    }
}

#[async_trait]
impl Evidence for Evm {
    async fn find_nonce(&self, commitment: &Commitment) -> Result<Sighting, RailError> {
        let block = self.final_block().await?;
        let nonce =
            nonce_at(&self.node, &commitment.into(), &block).await.map_err(self.trouble())?;
        Ok(Sighting { nonce, block: block.hash, block_time_s: block.time_s() })
    }

    async fn find_nonce_now(&self, commitment: &Commitment) -> Result<Sighting, RailError> {
        let block = self.newest_block().await?;
        let nonce =
            nonce_at(&self.node, &commitment.into(), &block).await.map_err(self.trouble())?;
        Ok(Sighting { nonce, block: block.hash, block_time_s: block.time_s() })
    }

    async fn balance(&self, asset: Asset, holder: Address) -> Result<Holding, RailError> {
        let block = self.final_block().await?;
        let amount = self.node.balance_of(asset, holder, block.hash).await;
        Ok(Holding { amount: amount.map_err(self.trouble())?, block: block.number() })
    }

    async fn balance_now(&self, asset: Asset, holder: Address) -> Result<Holding, RailError> {
        let block = self.newest_block().await?;
        let amount = self.node.balance_of(asset, holder, block.hash).await;
        Ok(Holding { amount: amount.map_err(self.trouble())?, block: block.number() })
    }

    async fn transfers(
        &self,
        asset: Asset,
        holder: Address,
        after: u64,
    ) -> Result<Transfers, RailError> {
        let last = self.final_block().await?.number();
        let moved = transfers(&self.node, asset, holder, after, last).await;
        moved.map_err(self.trouble())
    }

    fn channels(&self) -> Option<&dyn ChannelEvidence> {
        Some(self)
    }

    async fn allowance(
        &self,
        asset: Asset,
        owner: Address,
    ) -> Result<Option<Allowance>, RailError> {
        let block = self.newest_block().await?;
        let allowance = self.node.permit2_allowance(asset, owner, block.hash).await;
        allowance.map(Some).map_err(self.trouble())
    }

    fn network(&self) -> Network {
        self.node.network()
    }
}

/// Whether the contract is the token that is pinned: a token that changed its domain or its
/// decimals is not what the registry says it is.
async fn check_asset(node: &Node, info: &AssetInfo, block: B256) -> Result<(), RailError> {
    let contract = info.asset.contract;
    let pinned = eip712_domain! {
        name: info.eip712_name.clone(),
        version: info.eip712_version.clone(),
        chain_id: info.asset.network.chain_id(),
        verifying_contract: contract,
    };
    let domain = async {
        // What has no domain of its own is moved by Permit2 only.
        match info.has_domain() {
            true => node.view(contract, abi::DOMAIN_SEPARATORCall {}, block).await,
            false => Ok(pinned.separator()),
        }
    };
    let found = tokio::try_join!(domain, node.view(contract, abi::decimalsCall {}, block));
    match found {
        Ok(found) if found == (pinned.separator(), info.decimals) => Ok(()),
        // A contract that has no such views is not the token either.
        Ok(_) | Err(Trouble::Nonsense(_) | Trouble::Refused(_)) => {
            Err(RailError::WrongAsset { asset: info.asset })
        }
        Err(silent @ Trouble::Silent(_)) => Err(silent.on(node.network())),
    }
}

/// What the chain up to `block` shows of a nonce.
pub(super) async fn nonce_at(
    node: &Node,
    sought: &Sought,
    block: &Head,
) -> Result<NonceState, Trouble> {
    let key = &sought.key;
    if sought.by_permit2 {
        return permit2_nonce_at(node, sought, block).await;
    }
    if !node.is_spent(key, block.hash).await? {
        return Ok(NonceState::Unused);
    }
    let Some(log) = search::find_end(node, key, block.number()).await? else {
        return Ok(NonceState::UsedWithoutTrace);
    };
    let (transaction, block) = (search::transaction(&log)?, search::block(&log)?);
    // The log names the transaction; what that transaction did is in its receipt.
    let Some(receipt) = node.receipt(transaction).await? else {
        return Ok(NonceState::UsedWithoutTrace);
    };
    if receipt.block_hash != log.block_hash {
        return Ok(NonceState::UsedWithoutTrace);
    }
    Ok(match read::trace(&receipt, sought) {
        Trace::Used(amount) => {
            let moved_at_s = node.moved_at_s(&receipt).await?;
            NonceState::Used { transaction, amount, block, moved_at_s }
        }
        Trace::Canceled => NonceState::Canceled { transaction },
        Trace::None => NonceState::UsedWithoutTrace,
    })
}

/// The same of a nonce at Permit2.
async fn permit2_nonce_at(
    node: &Node,
    sought: &Sought,
    block: &Head,
) -> Result<NonceState, Trouble> {
    if !node.is_spent_at_permit2(&sought.key, block.hash).await? {
        return Ok(NonceState::Unused);
    }
    let Some(End { trace, transaction, block, receipt }) =
        permit2::find_end(node, sought, block).await?
    else {
        return Ok(NonceState::UsedWithoutTrace);
    };
    Ok(match (trace, receipt) {
        (Trace::Used(amount), Some(receipt)) => {
            let moved_at_s = node.moved_at_s(&receipt).await?;
            NonceState::Used { transaction, amount, block, moved_at_s }
        }
        (Trace::Canceled, _) => NonceState::Canceled { transaction },
        (Trace::Used(_) | Trace::None, _) => NonceState::UsedWithoutTrace,
    })
}

async fn transfers(
    node: &Node,
    asset: Asset,
    holder: Address,
    after: u64,
    last: u64,
) -> Result<Transfers, Trouble> {
    let first = after.saturating_add(1);
    let all = Filter::new().address(asset.contract).event_signature(abi::Transfer::SIGNATURE_HASH);
    let filters = [all.clone().topic1(holder.into_word()), all.topic2(holder.into_word())];
    let found = search::find_all(node, &filters, first, last, TRANSFERS_MAX).await?;
    let causes = causes(node, asset, &found.logs).await?;
    let mut moved = Vec::with_capacity(found.logs.len());
    for log in &found.logs {
        let event = decode::<abi::Transfer>(&log.inner)
            .ok_or_else(|| Trouble::nonsense("a Transfer that does not decode"))?;
        let place = (log.block_number, log.log_index);
        let Cause { key, channel } = causes.get(&place).copied().unwrap_or_default();
        moved.push(Transfer {
            from: event.from,
            to: event.to,
            amount: amount(event.value)?,
            transaction: search::transaction(log)?,
            block: search::block(log)?,
            key,
            channel,
        });
    }
    Ok(Transfers { moved, up_to: found.up_to.max(after) })
}

/// A log's place on the chain: its block and its position there.
type Place = (Option<u64>, Option<u64>);

/// Why money moved.
#[derive(Copy, Clone, Default)]
struct Cause {
    /// The authorization that moved it.
    key: Option<AuthorizationKey>,
    /// The channel that it came back from.
    channel: Option<ChannelId>,
}

/// What each transfer in `logs` was moved by: the receipts tell.
async fn causes(
    node: &Node,
    asset: Asset,
    logs: &[Log],
) -> Result<BTreeMap<Place, Cause>, Trouble> {
    let mut transactions: Vec<B256> = logs.iter().filter_map(|log| log.transaction_hash).collect();
    transactions.dedup();
    let receipts: Vec<Option<TransactionReceipt>> =
        stream::iter(transactions.into_iter().map(|hash| node.receipt(hash)))
            .buffered(RECEIPTS_AT_ONCE)
            .try_collect()
            .await?;
    let mut causes = BTreeMap::new();
    for receipt in receipts.into_iter().flatten() {
        causes.extend(causes_in(&receipt, asset));
        causes.extend(causes_at_permit2(node, &receipt, asset).await?);
    }
    Ok(causes)
}

/// What moved by Permit2 in a receipt's transaction.
async fn causes_at_permit2(
    node: &Node,
    receipt: &TransactionReceipt,
    asset: Asset,
) -> Result<Vec<(Place, Cause)>, Trouble> {
    let Some(sent) = node.sent(receipt).await? else { return Ok(Vec::new()) };
    let spent = permit2::spent(receipt, &sent, asset.network).into_iter();
    let causes = spent.filter_map(|one| {
        let (position, payer, nonce) = one.cause(asset.contract)?;
        let log = receipt.logs().get(position)?;
        let key = Some(AuthorizationKey { asset, payer, nonce });
        Some(((log.block_number, log.log_index), Cause { key, channel: None }))
    });
    Ok(causes.collect())
}

/// The same for one receipt. The event that names a nonce comes before its transfer; what was paid out may
/// be told before or after, so the nearest before is taken, and each only once.
fn causes_in(receipt: &TransactionReceipt, asset: Asset) -> Vec<(Place, Cause)> {
    let mut causes = Vec::new();
    let mut used: Option<abi::AuthorizationUsed> = None;
    let mut told = paid_out(receipt);
    for (position, log) in receipt.logs().iter().enumerate() {
        if log.address() != asset.contract {
            continue;
        }
        if let Some(event) = decode::<abi::AuthorizationUsed>(&log.inner) {
            used = Some(event);
        } else if let Some(event) = decode::<abi::Transfer>(&log.inner) {
            let used = used.take().filter(|used| used.authorizer == event.from);
            let key = used.map(|used| AuthorizationKey {
                asset,
                payer: used.authorizer,
                nonce: used.nonce,
            });
            let is_it = |(_, _, amount): &PaidOut| U256::from(*amount) == event.value;
            let before = told.iter().rposition(|it| it.0 < position && is_it(it));
            let place = before.or_else(|| told.iter().position(is_it));
            let place = place.filter(|_| event.from == BATCH_SETTLEMENT);
            let channel = place.and_then(|place| told.remove(place).1);
            causes.push(((log.block_number, log.log_index), Cause { key, channel }));
        }
    }
    causes
}

/// What the contract that holds channels paid out: the position of the log that says so, the channel that
/// it came back from, or none where it was claimed, and how much.
type PaidOut = (usize, Option<ChannelId>, u128);

fn paid_out(receipt: &TransactionReceipt) -> Vec<PaidOut> {
    let logs = receipt.logs().iter().enumerate();
    let logs = logs.filter(|(_, log)| log.address() == BATCH_SETTLEMENT);
    logs.filter_map(|(position, log)| {
        let log = &log.inner;
        if let Some(event) = decode::<BatchSettlement::Refunded>(log) {
            Some((position, Some(ChannelId(event.channelId)), event.amount))
        } else if let Some(event) = decode::<BatchSettlement::WithdrawFinalized>(log) {
            Some((position, Some(ChannelId(event.channelId)), event.amount))
        } else {
            let event = decode::<BatchSettlement::Settled>(log)?;
            Some((position, None, event.amount))
        }
    })
    .collect()
}
