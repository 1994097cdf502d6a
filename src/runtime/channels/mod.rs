//! The keeper of the payer's channels: opens them, tops them up, and lends each to one call at a time.
//!
//! A channel carries one call at a time, so there is a pool of them for each wallet, role, provider and
//! way to pay. What a call cost is remembered here until the channel's next call carries it into the
//! ledger. It signs nothing that the ledger does not hold. A channel whose last charge is not known is
//! lent to ask its payee how it stands, and to pay again once that could be believed.

mod burn;
mod doubt;
mod lease;
mod need;
mod retire;
mod sizing;
mod waiting;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use alloy::primitives::Address;
use tokio::sync::Notify;

use crate::domain::asset::Asset;
use crate::domain::channel::{ChannelId, ChannelTerms};
use crate::domain::id::{Name, WalletId};
use crate::domain::ledger::channel::{Channel, ChannelCaps, ChannelState, Charge};
use crate::domain::money::Amount;
use crate::domain::time::Timestamp;
use crate::ports::clock::Clock;
use crate::ports::signer::ChannelSigner;
use crate::runtime::treasury::{Refused, Treasury};

pub use doubt::Doubted;
pub use lease::{Lease, Lent, is_unfit};
pub use need::{Doubtful, Need, NotLent};
pub use retire::Retired;

use burn::Burn;

/// Channels of one pool at most: so many calls to one provider may run at once by channel.
pub const POOL_MAX: usize = 64;

/// How the keeper goes about it.
#[derive(Copy, Clone, Debug)]
pub struct KeeperSettings {
    /// What may lie locked.
    pub caps: ChannelCaps,
    /// A first deposit is for so many calls at the price of the first one; later ones follow what was
    /// spent lately.
    pub calls_a_deposit: u64,
    /// Channels of one pool at most, and at most [`POOL_MAX`]: so many calls to one provider run at
    /// once by channel, and whoever comes then waits for one of them.
    pub pool_max: usize,
    /// How long a call waits for a channel that is free.
    pub wait_max: Duration,
    /// Whether calls go without a voucher of their own where a payee gives credit.
    pub credit: bool,
}

/// Who pays whom on which terms: the channels of one pool are alike but for their salts.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PoolKey {
    /// Whose money.
    pub wallet: WalletId,
    /// Whose calls.
    pub role: Name,
    /// Who is paid.
    pub provider: Name,
    /// In what.
    pub asset: Asset,
    /// From which address.
    pub payer: Address,
    /// To which address.
    pub receiver: Address,
    /// Who signs claims and refunds.
    pub receiver_authorizer: Address,
    /// How long the payer waits for what was not claimed, in seconds.
    pub withdraw_delay_s: u64,
}

/// One channel, as the keeper lends it.
#[derive(Clone, Debug)]
struct Slot {
    id: ChannelId,
    terms: ChannelTerms,
    /// What may still be signed away.
    room: Amount,
    /// What its last call cost, where the ledger does not know it yet.
    last: Option<Charge>,
    /// What was signed and not charged: it stays held until the next voucher covers it.
    exposed: Amount,
    /// No call for so little or less may have it.
    crowded: Option<Amount>,
    lent: bool,
    /// 0 where it is known how it stands; [`STALE`] where only this ledger may be too old; from
    /// [`UNKNOWN`] on where its last charge is not known, one more for each time its payee was asked.
    doubts: u32,
    /// A deposit may be put in from then on, and its payee be asked.
    fills_from: Timestamp,
    /// When a call had it last.
    used_at: Timestamp,
    /// A deposit was signed, and nobody said that it arrived: it goes along once more.
    filling: bool,
}

/// The keeper. Clones are the same one.
#[derive(Clone)]
pub struct Keeper {
    treasury: Treasury,
    signer: Arc<dyn ChannelSigner>,
    clock: Arc<dyn Clock>,
    settings: KeeperSettings,
    pools: Arc<Mutex<BTreeMap<PoolKey, Vec<Slot>>>>,
    burns: Arc<Mutex<BTreeMap<PoolKey, Burn>>>,
    given_back: Arc<Mutex<BTreeMap<PoolKey, Arc<Notify>>>>,
    /// Channels that end and owe: how often their payees were asked to take a voucher for all that was
    /// charged, and [`COVERED`] once they did.
    covers: Arc<Mutex<BTreeMap<ChannelId, u32>>>,
}

impl Keeper {
    /// The keeper of this ledger's channels. Of those that paid before, the payee is asked first how they
    /// stand: this ledger may be a copy from before.
    ///
    /// # Errors
    /// [`Refused::Stopped`].
    pub async fn open(
        treasury: Treasury,
        signer: Arc<dyn ChannelSigner>,
        clock: Arc<dyn Clock>,
        settings: KeeperSettings,
    ) -> Result<Self, Refused> {
        let open = treasury.read(|ledger| {
            let open = ledger.channels().filter(|channel| is_open(channel));
            open.cloned().collect::<Vec<_>>()
        });
        let mut pools: BTreeMap<PoolKey, Vec<Slot>> = BTreeMap::new();
        for channel in open.await? {
            pools.entry(key_of(&channel)).or_default().push(Slot {
                id: channel.opened.id,
                terms: channel.opened.terms,
                room: channel.room(),
                last: None,
                exposed: channel.exposure(),
                crowded: None,
                lent: false,
                doubts: doubts_of(&channel),
                fills_from: Timestamp::ZERO,
                used_at: clock.now(),
                filling: channel.pending.is_some(),
            });
        }
        let (pools, burns, given_back) =
            (Arc::new(Mutex::new(pools)), Arc::default(), Arc::default());
        let covers = Arc::default();
        Ok(Self { treasury, signer, clock, settings, pools, burns, given_back, covers })
    }

    /// Writes down what the last calls cost, for a process that ends: their channels carry no next
    /// call.
    ///
    /// # Errors
    /// [`Refused::Stopped`].
    pub async fn flush(&self) -> Result<(), Refused> {
        let charges: Vec<(ChannelId, Charge)> = {
            let mut pools = self.pools.lock().expect("no holder of the pools panics");
            let slots = pools.values_mut().flatten().filter(|slot| !slot.lent);
            slots.filter_map(|slot| Some((slot.id, slot.last.take()?))).collect()
        };
        for (channel, charge) in charges {
            self.charge(channel, charge).await?;
        }
        Ok(())
    }
}

/// Its payee has a voucher for all that was charged.
const COVERED: u32 = u32::MAX;

/// Doubts of a channel that this process has not used, and whose last charge the ledger knows.
const STALE: u32 = 1;

/// Doubts of a channel whose last charge is not known.
const UNKNOWN: u32 = 2;

fn doubts_of(channel: &Channel) -> u32 {
    if channel.last.is_some() {
        UNKNOWN
    } else if channel.calls > 0 {
        STALE
    } else {
        0
    }
}

/// Whether it is drawn on.
fn is_open(channel: &Channel) -> bool {
    channel.state == ChannelState::Open
}

fn key_of(channel: &Channel) -> PoolKey {
    let opened = &channel.opened;
    PoolKey {
        wallet: opened.wallet,
        role: opened.role.clone(),
        provider: opened.provider.clone(),
        asset: opened.terms.asset,
        payer: opened.terms.payer,
        receiver: opened.terms.receiver,
        receiver_authorizer: opened.terms.receiver_authorizer,
        withdraw_delay_s: opened.terms.withdraw_delay_s,
    }
}

#[cfg(test)]
mod tests;
