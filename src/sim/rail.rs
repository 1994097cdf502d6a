//! The rail with faults drawn: settlements that nobody knows of or that never answer, and silence.

use alloy::primitives::Address;
use async_trait::async_trait;

use crate::domain::asset::{Asset, Network};
use crate::domain::commitment::Commitment;
use crate::ports::clock::Clock;
use crate::ports::memory_rail::{MemoryRail, RailFault};
use crate::ports::rail::{
    Authorization, Evidence, Holding, RailError, RefusedBy, Settlement, Settler, Sighting,
    Transfers,
};
use crate::sim::clock::SimClock;
use crate::sim::fate::{Fate, Fault};

/// An answer of the rail takes up to this long, in milliseconds.
const ANSWER_MS_MAX: u64 = 400;

/// The rail as the world sees it.
#[derive(Clone)]
pub struct SimRail {
    /// Where the money is.
    pub rail: MemoryRail,
    /// The time.
    pub clock: SimClock,
    /// What goes wrong.
    pub fate: Fate,
}

impl SimRail {
    async fn answer(&self) -> Result<(), RailError> {
        let until = self.clock.now().after(self.fate.millis(ANSWER_MS_MAX));
        self.clock.sleep_until(until).await;
        if self.fate.strikes(Fault::RailSilent) {
            let network = Settler::network(&self.rail);
            return Err(RailError::Unreachable { network, problem: "by fate".to_owned() });
        }
        Ok(())
    }

    fn fault(&self) -> Option<RailFault> {
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

    async fn settle(&self, authorization: &Authorization) -> Result<Settlement, RailError> {
        self.answer().await?;
        // Scripted and taken in one breath: no other settlement can come in between.
        self.rail.script(self.fault());
        self.rail.settle(authorization).await
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
        self.rail.find_nonce(commitment).await
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
        self.rail.transfers(asset, holder, after).await
    }

    fn network(&self) -> Network {
        Evidence::network(&self.rail)
    }
}
