//! Channels that are lent no more: to be given back by their payee, or withdrawn without it.

use std::collections::BTreeSet;
use std::time::Duration;

use alloy::primitives::Signature;

use crate::domain::channel::{Ceiling, ChannelId};
use crate::domain::ledger::Rejection;
use crate::domain::ledger::channel::{Channel, ChannelCommand, ChannelState, Frozen};
use crate::domain::x402::batch::corrective::Correction;
use crate::ports::signer::SignerError;
use crate::runtime::channels::{COVERED, Keeper};
use crate::runtime::treasury::Refused;

/// Channels that owed and are remembered at most; one that is forgotten is covered once more.
const COVERS_MAX: usize = 65_536;

/// What became of a channel that is to be lent no more.
pub enum Retired {
    /// It is not one of ours.
    Unknown,
    /// A call has it at this moment.
    Lent,
    /// Nothing is left in it but what was charged.
    Closed(Box<Channel>),
    /// Nothing more is signed for it.
    Ended(Box<Channel>),
}

impl Keeper {
    /// Takes a channel out of its pool, writes down what its last call cost, and lets nothing more be
    /// signed for it but a voucher of what was charged.
    ///
    /// # Errors
    /// [`Refused::Stopped`].
    pub async fn retire(&self, channel: ChannelId) -> Result<Retired, Refused> {
        let last = {
            let mut pools = self.pools.lock().expect("no holder of the pools panics");
            let mut last = None;
            for pool in pools.values_mut() {
                let Some(place) = pool.iter().position(|slot| slot.id == channel) else { continue };
                if pool.get(place).is_some_and(|slot| slot.lent) {
                    return Ok(Retired::Lent);
                }
                last = pool.remove(place).last;
            }
            last
        };
        if let Some(charge) = last {
            self.charge(channel, charge).await?;
        }
        let Some(found) = self.find(channel).await? else { return Ok(Retired::Unknown) };
        match found.state {
            ChannelState::Closed => return Ok(Retired::Closed(Box::new(found))),
            ChannelState::Frozen(_) => return Ok(Retired::Ended(Box::new(found))),
            ChannelState::Open => {}
        }
        let freeze = ChannelCommand::Freeze { channel, why: Frozen::Closing };
        match self.tell(freeze).await {
            Ok(_) | Err(Refused::Rejected(_)) => Ok(Retired::Ended(Box::new(found))),
            Err(stopped) => Err(stopped),
        }
    }

    /// Freezes a channel of which the ledger said only with a call why it may be drawn on no more.
    pub(super) async fn freeze_refused(&self, channel: ChannelId, refused: &Refused) {
        let Some(Rejection::ChannelFrozen { state, .. }) = refused.rejection() else { return };
        let said = [Frozen::Overclaimed, Frozen::Restored].into_iter();
        for why in said.filter(|why| why.as_str() == *state) {
            tracing::error!(%channel, why = why.as_str(), "channel frozen");
            // Refused where it is frozen already.
            let _ = self.tell(ChannelCommand::Freeze { channel, why }).await;
        }
    }

    /// The voucher of what was charged and no more.
    ///
    /// # Errors
    /// [`SignerError`], and then nothing was signed.
    pub async fn sign_charged(
        &self,
        channel: ChannelId,
    ) -> Result<(Ceiling, Signature), SignerError> {
        self.signer.sign_charged(channel).await
    }

    /// Takes over how a payee says that a channel stands. Whether it could be believed.
    ///
    /// # Errors
    /// [`Refused::Stopped`].
    pub async fn correct(&self, channel: ChannelId, said: &Correction) -> Result<bool, Refused> {
        Ok(self.take_over(channel, said).await?.is_ok())
    }

    /// Whether its payee may have no voucher for all that was charged: what was served on credit is owed
    /// still. A voucher is the payee's for ever, so one that it took is not sent again.
    pub fn owes(&self, found: &Channel) -> bool {
        self.settings.credit
            && found.claimed < found.charged
            && found.claimed < found.balance()
            && self.covers(found.opened.id) != COVERED
    }

    /// Remembers that the payee of a channel that ends has a voucher for all that was charged.
    pub fn cover(&self, channel: ChannelId) {
        self.set_covers(channel, COVERED);
    }

    /// Remembers that its payee was asked to take one, and did not answer.
    pub fn asked_in_vain(&self, channel: ChannelId) {
        let tries = self.covers(channel);
        self.set_covers(channel, tries.saturating_add(1).min(COVERED.saturating_sub(1)));
    }

    fn covers(&self, channel: ChannelId) -> u32 {
        let covers = self.covers.lock().expect("no holder of the names panics");
        covers.get(&channel).copied().unwrap_or(0)
    }

    fn set_covers(&self, channel: ChannelId, tries: u32) {
        let mut covers = self.covers.lock().expect("no holder of the names panics");
        if covers.len() >= COVERS_MAX {
            covers.pop_first();
        }
        covers.insert(channel, tries);
    }

    /// The channels to be ended: those that paid nothing for `idle`, and those that are drawn on no more,
    /// or lent no more, and have something left; behind them those that only owe, the least often asked
    /// first. At most `most`.
    ///
    /// # Errors
    /// [`Refused::Stopped`].
    pub async fn endable(&self, idle: Duration, most: usize) -> Result<Vec<ChannelId>, Refused> {
        let now = self.clock.now();
        let (pooled, idle): (BTreeSet<ChannelId>, Vec<ChannelId>) = {
            let pools = self.pools.lock().expect("no holder of the pools panics");
            let pooled = pools.values().flatten().map(|slot| slot.id).collect();
            let slots = pools.values().flatten().filter(|slot| !slot.lent);
            let unused = slots.filter(|slot| now.since(slot.used_at) >= idle);
            (pooled, unused.map(|slot| slot.id).collect())
        };
        let keeper = self.clone();
        // Whether a deposit is still on its way is the ledger's to say: a pool hears of it by calls alone.
        let ended = self.treasury.read(move |ledger| {
            let left = |found: &Channel| found.balance() > found.charged;
            let idle: BTreeSet<ChannelId> = idle.into_iter().collect();
            let is_over = |found: &&Channel| match found.state {
                ChannelState::Frozen(_) | ChannelState::Closed => true,
                // One that no pool lends, or nobody wants.
                ChannelState::Open => {
                    let id = found.opened.id;
                    found.pending.is_none() && (idle.contains(&id) || !pooled.contains(&id))
                }
            };
            let mut ended: Vec<ChannelId> = Vec::new();
            let mut owing: Vec<(u32, ChannelId)> = Vec::new();
            for found in ledger.channels().filter(is_over) {
                let (id, is_open) = (found.opened.id, found.state == ChannelState::Open);
                let unpooled = is_open && !pooled.contains(&id);
                // What was charged is the payee's to claim.
                if left(found) || unpooled || (is_open && !found.exposure().is_zero()) {
                    ended.push(id);
                } else if keeper.owes(found) {
                    owing.push((keeper.covers(id), id));
                }
            }
            owing.sort_unstable();
            ended.into_iter().chain(owing.into_iter().map(|(_, id)| id)).take(most).collect()
        });
        ended.await
    }
}
