//! What may be asked of a payee's tabs.

use crate::domain::channel::{ChannelId, ChannelTerms};
use crate::domain::ledger::credit::CreditLimits;
use crate::domain::ledger::tab::event::Charged;
use crate::domain::ledger::tab::state::{Sight, Standing, Voucher};

/// One thing asked of a payee's tabs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TabCommand {
    /// Know a channel from now on.
    Open {
        /// Its name.
        channel: ChannelId,
        /// Its terms.
        terms: ChannelTerms,
    },
    /// Charge a call, whose work is done.
    Charge(Box<Charged>),
    /// Charge a call, whose work is done, on credit: it names the newest voucher, which does not cover it.
    ChargeOnCredit {
        /// The call.
        call: Box<Charged>,
        /// How much may be owed; what the payer owns is what lies in the channel above its voucher.
        limits: CreditLimits,
    },
    /// Keep a voucher that came with no call.
    Cover {
        /// In which channel.
        channel: ChannelId,
        /// The voucher.
        voucher: Voucher,
    },
    /// Keep a call's next voucher, or charge its end: what it cost so far goes with it.
    Step {
        /// The call as a whole, so far.
        call: Box<Charged>,
        /// Whether nothing more comes.
        ended: bool,
    },
    /// Go by what the newest block shows of a channel: calls are served on it. A later block may show
    /// less.
    Look {
        /// Which.
        channel: ChannelId,
        /// What was known of it when the block was asked for: where another look was faster, this one may
        /// be older and changes nothing.
        before: Sight,
        /// What it shows.
        sight: Sight,
    },
    /// Count what a final block shows of a channel: what was earned, and what was lost.
    Count {
        /// Which.
        channel: ChannelId,
        /// What it shows.
        counted: Standing,
        /// No deposit that a call brought until then can come in after that block, in seconds since the
        /// epoch.
        deposits_over_s: u64,
    },
    /// Some of what lies in a channel is about to go back: nothing is charged on it until that is gone.
    GiveBack {
        /// Which.
        channel: ChannelId,
        /// How many refunds of it the newest block shows before.
        refunds: u64,
    },
    /// Nothing of a channel is on its way back any more, and what is left was looked at.
    GivenBack {
        /// Which.
        channel: ChannelId,
    },
}
