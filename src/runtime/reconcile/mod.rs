//! Asks the chain what became of money: of payments whose outcome is open, and of what entered or
//! left our wallets otherwise. Time alone decides nothing here; only final blocks do.
//!
//! Source: threats.md section 5.4, first row.

mod channels;
mod funds;
mod payments;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::domain::asset::{Asset, Network};
use crate::domain::commitment::Commitment;
use crate::domain::id::PaymentId;
use crate::domain::ledger::hold::HoldState;
use crate::ports::clock::Clock;
use crate::ports::rail::{Evidence, RailError};
use crate::runtime::rules::Rules;
use crate::runtime::treasury::{Refused, Treasury};

/// What a round found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Round {
    /// Payments that are closed since.
    pub closed: u64,
    /// Payments that stay open.
    pub open: u64,
    /// Rails that gave no answer.
    pub silent: Vec<RailError>,
}

/// Asks the rails, round by round.
#[derive(Clone)]
pub struct Reconciler {
    treasury: Treasury,
    rules: Rules,
    rails: Vec<Arc<dyn Evidence>>,
    clock: Arc<dyn Clock>,
    interval: Duration,
    /// Open payments whose transfers were passed and did not close them: asked about in every round. A
    /// restart forgets them, and finds them when their time limit has passed.
    passed: Arc<Mutex<BTreeSet<PaymentId>>>,
}

/// One open payment, as far as a round needs it.
#[derive(Clone, Debug)]
struct Open {
    payment: PaymentId,
    commitment: Commitment,
    state: HoldState,
}

impl Reconciler {
    /// A reconciler of this treasury with these witnesses, one a network.
    pub fn new(
        treasury: Treasury,
        rails: Vec<Arc<dyn Evidence>>,
        clock: Arc<dyn Clock>,
        interval: Duration,
    ) -> Self {
        let rules = Rules::new(treasury.clone());
        Self { rules, treasury, rails, clock, interval, passed: Arc::default() }
    }

    /// Round after round, until dropped. Cancel-safe: a round that is cut short is done again.
    ///
    /// # Errors
    /// [`Refused::Stopped`] once the treasury has stopped.
    pub async fn run(&self) -> Result<(), Refused> {
        loop {
            let round = self.round().await?;
            for silent in round.silent {
                tracing::warn!(problem = %silent, "rail silent");
            }
            let next = self.clock.now().after(self.interval);
            self.clock.sleep_until(next).await;
        }
    }

    /// One round over every wallet, asset and open payment.
    ///
    /// # Errors
    /// [`Refused::Stopped`].
    pub async fn round(&self) -> Result<Round, Refused> {
        let mut round = Round::default();
        let assets: Vec<Asset> =
            self.rules.current().await?.policy.assets.iter().map(|info| info.asset).collect();
        for rail in &self.rails {
            let here = |asset: &Asset| asset.network == rail.network();
            let ours: Vec<Asset> = assets.iter().copied().filter(here).collect();
            let followed = self.follow_all(rail.as_ref(), &ours, &mut round).await?;
            let looked = match followed {
                Ok(()) => self.look_at_open(rail.as_ref(), &mut round).await?,
                Err(problem) => Err(problem),
            };
            let looked = match looked {
                Ok(()) => self.look_at_channels(rail.as_ref(), &mut round).await?,
                Err(problem) => Err(problem),
            };
            if let Err(problem) = looked {
                round.silent.push(problem);
            }
        }
        Ok(round)
    }

    async fn open_payments(&self, network: Network) -> Result<Vec<Open>, Refused> {
        self.treasury
            .read(move |ledger| {
                let holds = ledger.holds().into_iter();
                let here = holds.filter(|hold| hold.held.commitment.asset.network == network);
                here.map(|hold| Open {
                    payment: hold.held.payment,
                    commitment: hold.held.commitment,
                    state: hold.state,
                })
                .collect()
            })
            .await
    }
}

#[cfg(test)]
mod tests;
