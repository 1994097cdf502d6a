//! Channels: the payer's side of scheme `batch-settlement`.
//!
//! A deposit is held like any payment, and counts in the channel caps: what may lie locked, at one
//! provider and in all. Each voucher is held in the budgets of its call, before it is signed. So the
//! budgets count what is signed away, and the channel caps bound what payees could ever take.

pub mod command;
mod decide;
pub mod event;
mod evolve;
mod fund;
pub mod state;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::domain::channel::ChannelId;
use crate::domain::id::{Name, PaymentId};
use crate::domain::ledger::hold::Held;
use crate::domain::ledger::state::Ledger;
use crate::domain::money::Nano;

pub use command::{ChannelCaps, ChannelCommand, Charge, DrawAsk, Fund};
pub use event::{ChannelEvent, Drawn, Extended, Funded, Seen};
pub use state::{Channel, ChannelState, Frozen, Opened, Portion, Turn};

/// Every channel that was ever opened, and whose portion is where.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Channels {
    kept: BTreeMap<ChannelId, Channel>,
    draws: BTreeMap<PaymentId, ChannelId>,
    /// What lies locked at each provider, or is on its way there.
    locked: BTreeMap<Name, Nano>,
}

impl Ledger {
    /// A channel of ours.
    pub fn find_channel(&self, channel: ChannelId) -> Option<&Channel> {
        self.channels.kept.get(&channel)
    }

    /// The channels of ours, in the order of their names; closed ones too.
    pub fn channels(&self) -> impl Iterator<Item = &Channel> {
        self.channels.kept.values()
    }

    /// The channel that a payment is drawn on, while some of it may still be drawn.
    pub fn find_draw(&self, payment: PaymentId) -> Option<(&Channel, &Held)> {
        let channel = self.find_channel(*self.channels.draws.get(&payment)?)?;
        Some((channel, channel.find(payment)?.held.as_ref()))
    }

    /// What lies locked at a provider or is on its way there, in the unit of account.
    pub fn locked_at(&self, provider: &Name) -> Nano {
        self.channels.locked.get(provider).copied().unwrap_or(Nano::ZERO)
    }

    /// What lies locked at all providers or is on its way there, in the unit of account.
    pub fn locked(&self) -> Nano {
        self.channels.locked.values().copied().sum()
    }
}
