//! What one block shows of channels, many read in one message.

use alloy::primitives::B256;
use alloy::rpc::types::{Filter, Log};
use async_trait::async_trait;

use crate::domain::asset::Network;
use crate::domain::channel::ChannelId;
use crate::domain::money::Amount;
use crate::domain::x402::batch::typed::BATCH_SETTLEMENT;
use crate::edge::evm::contracts::BatchSettlement::{
    channelsCall, pendingWithdrawalsCall, refundNonceCall,
};
use crate::edge::evm::evidence::Evm;
use crate::edge::evm::node::{Head, Node, Trouble};
use crate::edge::evm::search;
use crate::ports::channel_rail::{
    ChannelEvidence, ChannelSight, ChannelSights, Depth, PendingWithdrawal,
};
use crate::ports::rail::RailError;

#[async_trait]
impl ChannelEvidence for Evm {
    async fn look(&self, channels: &[ChannelId], depth: Depth) -> Result<ChannelSights, RailError> {
        let block = match depth {
            Depth::Newest => self.newest_block().await?,
            Depth::Final => self.final_block().await?,
        };
        let seen = look_at(&self.node, channels, block.hash).await.map_err(self.trouble())?;
        let (height, block_time_s) = (block.number(), block.time_s());
        Ok(ChannelSights { seen, block: block.hash, height, block_time_s })
    }

    fn network(&self) -> Network {
        self.node.network()
    }
}

/// Channels as the block with this hash shows them.
pub(super) async fn look_at(
    node: &Node,
    channels: &[ChannelId],
    block: B256,
) -> Result<Vec<ChannelSight>, Trouble> {
    let ids = || channels.iter().map(|channel| channel.0);
    let states: Vec<_> = ids().map(|id| channelsCall { channelId: id }).collect();
    let pending: Vec<_> = ids().map(|id| pendingWithdrawalsCall { channelId: id }).collect();
    let nonces: Vec<_> = ids().map(|id| refundNonceCall { channelId: id }).collect();
    let (states, pending, nonces) = tokio::try_join!(
        node.views(BATCH_SETTLEMENT, &states, block),
        node.views(BATCH_SETTLEMENT, &pending, block),
        node.views(BATCH_SETTLEMENT, &nonces, block),
    )?;
    let rows = states.into_iter().zip(pending).zip(nonces);
    rows.map(|((state, pending), nonce)| {
        let requested_at_s: u64 = pending.initiatedAt.to();
        let withdrawal = PendingWithdrawal { amount: Amount::new(pending.amount), requested_at_s };
        let refund_nonce = u64::try_from(nonce);
        Ok(ChannelSight {
            balance: Amount::new(state.balance),
            claimed: Amount::new(state.totalClaimed),
            withdrawal: (requested_at_s != 0).then_some(withdrawal),
            refund_nonce: refund_nonce
                .map_err(|_| Trouble::nonsense("a refund nonce above 64 bits"))?,
        })
    })
    .collect()
}

/// One channel as the newest block shows it.
pub(super) async fn look_now(
    node: &Node,
    channel: ChannelId,
) -> Result<(ChannelSight, Head), Trouble> {
    let head = node.latest().await?;
    let seen = look_at(node, &[channel], head.hash).await?;
    let sight = seen.first().copied();
    Ok((sight.ok_or_else(|| Trouble::nonsense("a channel was not answered"))?, head))
}

/// What was claimed of each channel by the newest block.
pub(super) async fn claimed_now(
    node: &Node,
    channels: &[ChannelId],
) -> Result<Vec<Amount>, Trouble> {
    let head = node.latest().await?;
    let calls: Vec<_> =
        channels.iter().map(|channel| channelsCall { channelId: channel.0 }).collect();
    let states = node.views(BATCH_SETTLEMENT, &calls, head.hash).await?;
    Ok(states.into_iter().map(|state| Amount::new(state.totalClaimed)).collect())
}

/// The newest of a channel's events of these kinds, up to block `up_to`.
pub(super) async fn newest_event(
    node: &Node,
    channel: ChannelId,
    kinds: &[B256],
    up_to: u64,
) -> Result<Option<Log>, Trouble> {
    let filter =
        Filter::new().address(BATCH_SETTLEMENT).event_signature(kinds.to_vec()).topic1(channel.0);
    search::find_newest(node, &filter, up_to).await
}
