//! Tabs: the payee's side of a channel. What a payer was charged, the voucher that stands for it, and
//! how much of it was claimed.
//!
//! A charge is one record, written after the work and before its answer leaves. What was charged never
//! falls, and never passes what a voucher says or what lies in the channel. Calls are served on what the
//! newest block shows, and what it showed may be forgotten; earned and lost is what a final one shows.

pub mod command;
pub mod event;
mod rules;
pub mod state;

use std::ops::Bound;

use crate::domain::channel::ChannelId;
use crate::domain::ledger::state::Ledger;

pub use command::TabCommand;
pub use event::{Charged, Stepped, TabCounted, TabEvent, TabLooked, TabSeen};
pub use state::{LastCharge, Sight, Standing, Tab, Voucher};

impl Ledger {
    /// The tab of a channel.
    pub fn find_tab(&self, channel: ChannelId) -> Option<&Tab> {
        self.tabs.get(&channel)
    }

    /// The tabs behind a channel's, in the order of their names.
    pub fn tabs_after(&self, channel: ChannelId) -> impl Iterator<Item = &Tab> {
        self.tabs.range((Bound::Excluded(channel), Bound::Unbounded)).map(|(_, tab)| tab)
    }

    /// All tabs, in the order of their channels' names.
    pub fn tabs(&self) -> impl Iterator<Item = &Tab> {
        self.tabs.values()
    }
}
