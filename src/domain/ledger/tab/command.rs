//! What may be asked of a payee's tabs.

use alloy::primitives::B256;

use crate::domain::channel::{ChannelId, ChannelTerms};
use crate::domain::ledger::tab::event::Charged;
use crate::domain::money::Amount;

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
    /// Keep a call's next voucher, or charge its end: what it cost so far goes with it.
    Step {
        /// The call as a whole, so far.
        call: Box<Charged>,
        /// Whether nothing more comes.
        ended: bool,
    },
    /// Count what the chain shows of a channel: deposits, claims and what went back.
    See {
        /// Which.
        channel: ChannelId,
        /// What came in less what went back.
        balance: Amount,
        /// What was claimed in all.
        claimed: Amount,
        /// When what the payer asked to have back may be taken out.
        withdrawable_at_s: Option<u64>,
        /// By which transaction, where one of ours did it.
        transaction: Option<B256>,
    },
}
