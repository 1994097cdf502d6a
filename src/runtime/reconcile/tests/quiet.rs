//! Stretches of blocks in which nothing of ours moved.

use super::*;
use crate::runtime::reconcile::funds::QUIET_MAX;

/// Blocks that the rail looks at in one answer.
const LOOK: u64 = 1_500;

/// A rail that looks so far at a time and no further, as a node behind a bound on queries does.
struct ShortSighted(MemoryRail);

#[async_trait]
impl Evidence for ShortSighted {
    async fn find_nonce(&self, commitment: &Commitment) -> Result<Sighting, RailError> {
        self.0.find_nonce(commitment).await
    }

    async fn balance(&self, asset: Asset, holder: Address) -> Result<Holding, RailError> {
        self.0.balance(asset, holder).await
    }

    async fn transfers(
        &self,
        asset: Asset,
        holder: Address,
        after: u64,
    ) -> Result<Transfers, RailError> {
        let mut found = self.0.transfers(asset, holder, after).await?;
        found.up_to = found.up_to.min(after + LOOK);
        found.moved.retain(|transfer| transfer.block <= found.up_to);
        Ok(found)
    }

    fn network(&self) -> Network {
        Evidence::network(&self.0)
    }
}

/// So many blocks in which nothing of ours moves.
fn pass(world: &World, blocks: u64) {
    for _ in 0..blocks {
        world.rail.fund(asset(), STRANGER, Amount::new(1));
    }
}

/// Up to where the payer's wallet is followed.
async fn followed(world: &World) -> u64 {
    world.look(|ledger| ledger.find_wallet_at(PAYER).unwrap().find(asset()).unwrap().up_to).await
}

/// Each round began where money had moved last, looked as far as the rail looks, found nothing and wrote
/// nothing: a wallet that was left alone for three million blocks was never followed again.
#[tokio::test]
async fn what_moves_beyond_a_long_quiet_stretch_is_seen() {
    let mut world = world().await;
    let rails: Vec<Arc<dyn Evidence>> = vec![Arc::new(ShortSighted(world.rail.clone()))];
    let clock = Arc::new(world.clock.clone());
    let every = Duration::from_secs(1);
    world.reconciler = Reconciler::new(world.treasury.clone(), rails, clock, every);
    pass(&world, 2 * LOOK);
    world.rail.fund(asset(), PAYER, Amount::new(7));
    for owned in [1000, 1000, 1007] {
        world.round().await;
        assert_eq!(world.payer_wallet().await, (owned, 0));
    }
}

#[tokio::test]
async fn a_short_quiet_stretch_is_not_written_down() {
    let world = world().await;
    let begun = followed(&world).await;
    pass(&world, QUIET_MAX);
    world.round().await;
    assert_eq!(followed(&world).await, begun);
    pass(&world, 1);
    world.round().await;
    assert_eq!(followed(&world).await, begun + QUIET_MAX + 1);
}
