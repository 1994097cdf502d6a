//! Calls that wait for a channel of their pool: until one comes back, or one has rested.

use std::sync::Arc;

use tokio::sync::Notify;
use tokio::sync::futures::Notified;

use crate::domain::channel::ChannelId;
use crate::domain::ledger::channel::Charge;
use crate::domain::money::Amount;
use crate::domain::time::Timestamp;
use crate::runtime::channels::{Keeper, Lease, PoolKey, Slot};

impl Keeper {
    /// What tells one of those that wait for this pool that a channel came back. Each pool has its own:
    /// who waits for another one could do nothing with it.
    pub(super) fn bell(&self, key: &PoolKey) -> Arc<Notify> {
        let mut bells = self.given_back.lock().expect("no holder of the bells panics");
        Arc::clone(bells.entry(key.clone()).or_default())
    }

    /// Waits until a channel came back, or one that nobody has may be asked about or filled again. Whether
    /// that was before `until`.
    pub(super) async fn wait(
        &self,
        key: &PoolKey,
        came_back: Notified<'_>,
        until: Timestamp,
    ) -> bool {
        let rested = self.rested_at(key).filter(|rested| *rested < until);
        tokio::select! {
            biased;
            () = came_back => true,
            () = self.clock.sleep_until(rested.unwrap_or(until)) => rested.is_some(),
        }
    }

    /// When the next channel of the pool that rests has done so.
    fn rested_at(&self, key: &PoolKey) -> Option<Timestamp> {
        let now = self.clock.now();
        let pools = self.pools.lock().expect("no holder of the pools panics");
        let resting = pools.get(key)?.iter().filter(|slot| !slot.lent && slot.fills_from > now);
        resting.map(|slot| slot.fills_from).min()
    }

    /// A channel that the pool does not know yet was drawn on by an earlier process.
    pub(super) fn put_back(&self, lease: &Lease, room: Amount, last: Option<Charge>) {
        let Lease { key, channel: id, terms, filling, .. } = lease;
        let back = Slot {
            id: *id,
            terms: *terms,
            room,
            last,
            exposed: lease.exposed,
            crowded: lease.crowded,
            lent: false,
            doubts: lease.doubts,
            fills_from: lease.fills_from,
            used_at: self.clock.now(),
            filling: *filling,
        };
        let mut pools = self.pools.lock().expect("no holder of the pools panics");
        let pool = pools.entry(key.clone()).or_default();
        match pool.iter_mut().find(|slot| slot.id == back.id) {
            // A voucher that is presented again pays nothing more: the channel is as idle as before.
            Some(slot) if !lease.is_drawn() && !planted!("asked_is_used") => {
                *slot = Slot { used_at: slot.used_at, ..back };
            }
            Some(slot) => *slot = back,
            None => pool.push(back),
        }
        drop(pools);
        self.bell(key).notify_one();
    }

    pub(super) fn take_out(&self, key: &PoolKey, channel: ChannelId) {
        let mut pools = self.pools.lock().expect("no holder of the pools panics");
        if let Some(pool) = pools.get_mut(key) {
            pool.retain(|slot| slot.id != channel);
        }
        drop(pools);
        self.bell(key).notify_one();
    }
}
