//! The rail with faults drawn: settlements that nobody knows of or that never answer, silence, and
//! final blocks that lag behind what has happened.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use alloy::primitives::Address;
use async_trait::async_trait;

use crate::domain::asset::{Asset, Network};
use crate::domain::commitment::{AuthorizationKey, Commitment};
use crate::domain::money::Amount;
use crate::domain::time::Timestamp;
use crate::ports::channel_rail::ChannelEvidence;
use crate::ports::clock::Clock;
use crate::ports::memory_channels::MemoryChannels;
use crate::ports::memory_rail::{MemoryRail, RailFault};
use crate::ports::rail::{
    Allowance, Authorization, Evidence, Holding, NonceState, RailError, RefusedBy, Settlement,
    Settler, Sighting, Transfer, Transfers,
};
use crate::sim::clock::SimClock;
use crate::sim::fate::{Fate, Fault};

/// An answer of the rail takes up to this long, in milliseconds.
const ANSWER_MS_MAX: u64 = 400;

/// What was seen arrives so much later at most, in milliseconds.
const LATE_MS_MAX: u64 = 8_000;

/// The last final block is up to this old, in milliseconds: older than an authorization lives.
const LAG_MS_MAX: u64 = 90_000;

#[derive(Default)]
struct Blocks {
    /// When each authorization was first sent that had not moved its money before.
    sent_at: BTreeMap<AuthorizationKey, Timestamp>,
    /// The last final block's time: it never goes back.
    final_at: Timestamp,
    by_others: BTreeSet<AuthorizationKey>,
}

/// The rail as the world sees it. Clones are the same one.
#[derive(Clone)]
pub struct SimRail {
    /// Where the money is.
    pub rail: MemoryRail,
    /// Where the channels are.
    pub channels: MemoryChannels,
    clock: SimClock,
    fate: Fate,
    blocks: Arc<Mutex<Blocks>>,
}

impl SimRail {
    /// The rail that keeps its money there.
    pub fn new(rail: MemoryRail, clock: SimClock, fate: Fate) -> Self {
        let channels = MemoryChannels::new(rail.clone(), Arc::new(clock.clone()));
        Self { rail, channels, clock, fate, blocks: Arc::default() }
    }

    /// Somebody with the payer's key cancels an authorization. Whether that came in time.
    pub fn cancel(&self, authorization: &Authorization) -> bool {
        let key = authorization.commitment.key();
        let unused = self.rail.nonce(&key) == NonceState::Unused;
        if unused {
            self.sent(key);
            self.rail.cancel(key);
        }
        unused
    }

    /// Somebody else sends an authorization. Whether that moved the money.
    pub fn broadcast(&self, authorization: &Authorization) -> bool {
        let key = authorization.commitment.key();
        let unused = self.rail.nonce(&key) == NonceState::Unused;
        if unused {
            self.sent(key);
        }
        let moved = unused && self.rail.broadcast(authorization);
        if moved {
            self.with(|blocks| blocks.by_others.insert(key));
        }
        moved
    }

    /// What somebody else sent, and moved money.
    pub fn by_others(&self) -> BTreeSet<AuthorizationKey> {
        self.with(|blocks| blocks.by_others.clone())
    }

    pub(super) fn sent(&self, key: AuthorizationKey) {
        let now = self.clock.now();
        self.with(|blocks| blocks.sent_at.insert(key, now));
    }

    /// The time of the last final block.
    fn final_at(&self) -> Timestamp {
        let drawn = self.clock.now().before(self.fate.millis(LAG_MS_MAX));
        self.with(|blocks| {
            blocks.final_at = blocks.final_at.max(drawn);
            blocks.final_at
        })
    }

    /// Whether the authorization's transfer is in a block after `final_at`.
    fn is_later(&self, key: &AuthorizationKey, final_at: Timestamp) -> bool {
        self.with(|blocks| blocks.sent_at.get(key).is_some_and(|sent_at| *sent_at > final_at))
    }

    fn with<R>(&self, look: impl FnOnce(&mut Blocks) -> R) -> R {
        look(&mut self.blocks.lock().expect("no holder of the blocks panics"))
    }

    pub(super) async fn answer(&self) -> Result<(), RailError> {
        let until = self.clock.now().after(self.fate.millis(ANSWER_MS_MAX));
        self.clock.sleep_until(until).await;
        if self.fate.strikes(Fault::RailSilent) {
            let network = Settler::network(&self.rail);
            return Err(RailError::Unreachable { network, problem: "by fate".to_owned() });
        }
        Ok(())
    }

    /// What was seen is on its way for a while, now and then.
    pub(super) async fn arrive(&self) {
        if self.fate.strikes(Fault::LateSight) {
            let late = self.clock.now().after(self.fate.millis(LATE_MS_MAX));
            self.clock.sleep_until(late).await;
        }
    }

    pub(super) fn fault(&self) -> Option<RailFault> {
        let moved = self.fate.below(2) == 0;
        if self.fate.strikes(Fault::SettlementSilent) {
            let (yes, no) = (RailFault::MovedAndSilent, RailFault::LostAndSilent);
            Some(if moved { yes } else { no })
        } else if self.fate.strikes(Fault::SettlementUnknown) {
            let (yes, no) = (RailFault::MovedButUnknown, RailFault::LostButUnknown);
            Some(if moved { yes } else { no })
        } else {
            None
        }
    }
}

#[async_trait]
impl Settler for SimRail {
    async fn verify(
        &self,
        authorization: &Authorization,
    ) -> Result<Result<(), RefusedBy>, RailError> {
        self.answer().await?;
        self.rail.verify(authorization).await
    }

    async fn verify_unpaid(
        &self,
        authorization: &Authorization,
    ) -> Result<Result<(), RefusedBy>, RailError> {
        self.answer().await?;
        self.rail.verify_unpaid(authorization).await
    }

    async fn settle_for(
        &self,
        authorization: &Authorization,
        amount: Amount,
    ) -> Result<Settlement, RailError> {
        self.answer().await?;
        let seen = self.rail.find_nonce(&authorization.commitment).await?;
        if seen.nonce == NonceState::Unused {
            self.sent(authorization.commitment.key());
        }
        // Scripted and taken in one breath: no other settlement can come in between.
        self.rail.script(self.fault());
        self.rail.settle_for(authorization, amount).await
    }

    fn facilitator(&self) -> Option<Address> {
        self.rail.facilitator()
    }

    async fn check_ready(&self) -> Result<(), RailError> {
        Ok(())
    }

    fn network(&self) -> Network {
        Settler::network(&self.rail)
    }
}

#[async_trait]
impl Evidence for SimRail {
    async fn find_nonce(&self, commitment: &Commitment) -> Result<Sighting, RailError> {
        self.answer().await?;
        let final_at = self.final_at();
        let sighting = self.rail.find_nonce(commitment).await?;
        let later = self.is_later(&commitment.key(), final_at);
        let nonce = if later { NonceState::Unused } else { sighting.nonce };
        Ok(Sighting { nonce, block_time_s: final_at.as_secs(), ..sighting })
    }

    async fn balance(&self, asset: Asset, holder: Address) -> Result<Holding, RailError> {
        self.answer().await?;
        self.rail.balance(asset, holder).await
    }

    async fn transfers(
        &self,
        asset: Asset,
        holder: Address,
        after: u64,
    ) -> Result<Transfers, RailError> {
        self.answer().await?;
        let final_at = self.final_at();
        let mut found = self.rail.transfers(asset, holder, after).await?;
        let later = |moved: &Transfer| moved.key.is_some_and(|key| self.is_later(&key, final_at));
        if let Some(first) = found.moved.iter().position(later) {
            let cut = found.moved.split_off(first);
            let block = cut.first().map_or(found.up_to, |transfer| transfer.block);
            found.up_to = block.saturating_sub(1).max(after);
        }
        Ok(found)
    }

    async fn allowance(
        &self,
        asset: Asset,
        owner: Address,
    ) -> Result<Option<Allowance>, RailError> {
        self.answer().await?;
        self.rail.allowance(asset, owner).await
    }

    fn channels(&self) -> Option<&dyn ChannelEvidence> {
        Some(self)
    }

    fn network(&self) -> Network {
        Evidence::network(&self.rail)
    }
}
