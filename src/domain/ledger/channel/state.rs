//! A payer's channel, and the portions of it that may still be drawn.
//!
//! A voucher has no time limit, and each says a sum in all. So what can still be drawn is what lies
//! between what was charged and the highest sum ever signed, whatever a later voucher says. That span
//! is cut into *portions*: each belongs to one payment and counts in that payment's budgets, they do
//! not overlap, and together they are the span. A charge takes portions from below, a new voucher
//! covers portions with its own, and only the chain's word or a cover gives one back.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::domain::channel::{ChannelId, ChannelTerms, Incoming};
use crate::domain::id::{Name, PaymentId, WalletId};
use crate::domain::ledger::hold::{Held, shared};
use crate::domain::money::{Amount, Nano};

/// Portions of one channel at most. One more is needed only where each call's worst case lies below
/// the last one's; then the channel rests, and another is used.
pub const PORTIONS_MAX: usize = 8;

/// A channel as it is opened: for one wallet, one role and one provider, for life.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Opened {
    /// Its name on the rail.
    pub id: ChannelId,
    /// Its terms.
    pub terms: ChannelTerms,
    /// Whose money.
    pub wallet: WalletId,
    /// Whose calls.
    pub role: Name,
    /// Whom it pays.
    pub provider: Name,
}

/// Whether a channel is drawn on.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ChannelState {
    /// It is.
    Open,
    /// Nothing more is signed for it; what was signed counts still.
    Frozen(Frozen),
    /// Nothing lies in it any more that was not charged.
    Closed,
}

impl ChannelState {
    /// Its name in refusals and tables.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Frozen(why) => why.as_str(),
            Self::Closed => "closed",
        }
    }
}

/// Why a channel is drawn on no more.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Frozen {
    /// It is not needed any more, and what is left comes back.
    Closing,
    /// The payee said what cannot be: more charged than asked, or another sum than before.
    Lied,
    /// The chain shows a claim above what was charged.
    Overclaimed,
    /// The payee holds a voucher of ours that this ledger does not know: it is older than that.
    Restored,
    /// What was charged last cannot be found out.
    Silent,
}

impl Frozen {
    /// Its name in refusals and tables.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Closing => "closing",
            Self::Lied => "lied",
            Self::Overclaimed => "overclaimed",
            Self::Restored => "restored",
            Self::Silent => "silent",
        }
    }
}

/// A part of what may still be drawn, from `from` (charged by then) up to `to`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Portion {
    /// The payment whose budgets it counts in.
    #[serde(with = "shared")]
    pub held: Arc<Held>,
    /// Exclusive.
    pub from: Amount,
    /// Inclusive.
    pub to: Amount,
    /// What it counts there.
    pub nano: Nano,
}

/// What became of one payment's portion.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Turn {
    /// The payment.
    pub payment: PaymentId,
    /// What was taken.
    pub taken: Amount,
    /// What that counts in its budgets.
    pub taken_nano: Nano,
    /// What was given back.
    pub freed: Amount,
    /// What had been held for it.
    pub freed_nano: Nano,
    /// Whether nothing of it is held any more.
    pub ended: bool,
}

/// Above every sum.
pub(super) const NO_BOUND: Amount = Amount::new(u128::MAX);

/// How far the span moves: what was taken ends at `charged`, what a voucher covers at `covered`.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) struct Step {
    /// Charged in all.
    pub charged: Amount,
    /// What lies below is held elsewhere, or cannot be drawn any more.
    pub covered: Amount,
    /// What lies above cannot be drawn any more.
    pub most: Amount,
}

/// A channel as its payer's ledger knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Channel {
    /// As it was opened.
    pub opened: Opened,
    /// Whether it is drawn on.
    pub state: ChannelState,
    /// What is on its way in.
    pub pending: Option<Incoming>,
    /// What arrived, in all.
    pub deposited: Amount,
    /// What came back, in all.
    pub returned: Amount,
    /// What the chain shows as claimed, in all.
    pub claimed: Amount,
    /// What was charged, in all.
    pub charged: Amount,
    /// The same before the last voucher.
    pub base: Amount,
    /// What the last voucher says.
    pub last_ceiling: Amount,
    /// The highest sum ever signed.
    pub ceiling: Amount,
    /// The same before the last voucher: what counts where that one was never signed.
    pub ceiling_before: Amount,
    /// What lies in it uncharged, in the unit of account: what it counts in channel caps.
    pub locked: Nano,
    /// The payment whose charge is not known yet.
    pub last: Option<PaymentId>,
    /// Whether that one has more than one voucher: the first has left.
    pub extended: bool,
    /// How many calls it paid.
    pub calls: u64,
    /// What kind of work it paid for last: its provider is listed for that.
    pub sold: Option<Name>,
    /// What may still be drawn.
    pub portions: Vec<Portion>,
}

impl Channel {
    pub(super) fn new(opened: Opened) -> Self {
        let zero = Amount::ZERO;
        Self {
            opened,
            state: ChannelState::Open,
            pending: None,
            deposited: zero,
            returned: zero,
            claimed: zero,
            charged: zero,
            base: zero,
            last_ceiling: zero,
            ceiling: zero,
            ceiling_before: zero,
            locked: Nano::ZERO,
            last: None,
            extended: false,
            calls: 0,
            sold: None,
            portions: Vec::new(),
        }
    }

    /// What lies in it, charged or not, by the chain's word.
    pub fn balance(&self) -> Amount {
        less(self.deposited, self.returned)
    }

    /// What lies in it or is on its way: so much may be signed away in all.
    pub fn reach(&self) -> Amount {
        more(self.balance(), self.pending.map_or(Amount::ZERO, |coming| coming.deposit.amount))
    }

    /// What may still be signed away.
    pub fn room(&self) -> Amount {
        less(self.reach(), self.charged)
    }

    /// What can be drawn in all, once `returned` came back. After money came back, and into a channel that
    /// is drawn on no more, none is ever put in again, so what was signed above the rest is void; before,
    /// a later deposit could make it good.
    pub(super) fn most(&self, returned: Amount) -> Amount {
        let came_back = !returned.is_zero() || !self.returned.is_zero();
        match self.state {
            ChannelState::Open if !came_back => NO_BOUND,
            ChannelState::Open | ChannelState::Frozen(_) | ChannelState::Closed => {
                less(self.reach(), returned)
            }
        }
    }

    /// Whether it is drawn on no more, and nothing lies in it or is on its way: so it can be closed.
    pub fn is_over(&self) -> bool {
        matches!(self.state, ChannelState::Frozen(_)) && self.reach() == self.claimed
    }

    /// What was signed and not charged: what the payee could still take.
    pub fn exposure(&self) -> Amount {
        less(self.ceiling, self.charged)
    }

    /// The portion of a payment.
    pub fn find(&self, payment: PaymentId) -> Option<&Portion> {
        self.portions.iter().find(|portion| portion.held.payment == payment)
    }

    /// What `step` makes of each portion, in their order, and what is left of them.
    pub(super) fn turn(&self, step: Step) -> (Vec<Turn>, Vec<Portion>) {
        turn_all(self.portions.iter(), step)
    }

    /// The same where a payment's own next voucher covers the others: its own portion is none of them.
    pub(super) fn turn_others(&self, payment: PaymentId, step: Step) -> (Vec<Turn>, Vec<Portion>) {
        turn_all(self.portions.iter().filter(|portion| portion.held.payment != payment), step)
    }
}

fn turn_all<'a>(
    portions: impl Iterator<Item = &'a Portion>,
    step: Step,
) -> (Vec<Turn>, Vec<Portion>) {
    let (mut turns, mut left) = (Vec::new(), Vec::new());
    for portion in portions {
        let (turn, rest) = portion.turn(step);
        if turn.is_some_and(|turn| !turn.is_nothing()) {
            turns.extend(turn);
        }
        left.extend(rest);
    }
    (turns, left)
}

impl Portion {
    fn turn(&self, step: Step) -> (Option<Turn>, Option<Self>) {
        let within = |at: Amount, from: Amount| at.max(from).min(self.to);
        let taken_to = within(step.charged, self.from);
        let freed_to = match planted!("exposure_freed_by_a_charge") {
            true if step.covered.is_zero() => self.to,
            _ => within(step.covered, taken_to),
        };
        let top = within(step.most, freed_to);
        let all = less(self.to, self.from);
        let taken = less(taken_to, self.from);
        let kept = less(top, freed_to);
        let freed = less(less(all, taken), kept);
        let taken_nano = share(self.nano, taken, all);
        let rest_nano = self.nano.saturating_sub(taken_nano);
        let kept_nano = share(rest_nano, kept, less(all, taken));
        let turn = Turn {
            payment: self.held.payment,
            taken,
            taken_nano,
            freed,
            freed_nano: rest_nano.saturating_sub(kept_nano),
            ended: kept.is_zero(),
        };
        let held = Arc::clone(&self.held);
        let left = Self { held, from: freed_to, to: top, nano: kept_nano };
        (Some(turn), (!kept.is_zero()).then_some(left))
    }
}

impl Portion {
    /// What is given back where nothing above `to` was ever signed.
    pub(super) fn cut(&self, to: Amount) -> Turn {
        let top = to.max(self.from).min(self.to);
        let (all, kept) = (less(self.to, self.from), less(top, self.from));
        Turn {
            payment: self.held.payment,
            taken: Amount::ZERO,
            taken_nano: Nano::ZERO,
            freed: less(all, kept),
            freed_nano: self.nano.saturating_sub(share(self.nano, kept, all)),
            ended: kept.is_zero(),
        }
    }
}

impl Turn {
    const fn is_nothing(&self) -> bool {
        self.taken.is_zero() && self.freed.is_zero() && !self.ended
    }
}

/// The share of `nano` that `part` of `all` counts, rounded up: against the spender.
pub(super) fn share(nano: Nano, part: Amount, all: Amount) -> Nano {
    if part == all {
        return nano;
    }
    let share = u128::from(nano.get())
        .checked_mul(part.get())
        .map(|product| match planted!("portion_rounded_down") {
            true => product.checked_div(all.get().max(1)).unwrap_or(0),
            false => product.div_ceil(all.get().max(1)),
        })
        .and_then(|share| u64::try_from(share).ok());
    share.map_or(nano, |share| Nano::new(share).min(nano))
}

pub(super) fn more(amount: Amount, other: Amount) -> Amount {
    amount.checked_add(other).expect("amounts are bounded when they enter the ledger")
}

/// The difference, or nothing.
pub(super) fn less(amount: Amount, other: Amount) -> Amount {
    amount.checked_sub(other).unwrap_or(Amount::ZERO)
}
