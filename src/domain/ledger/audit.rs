//! An audit: every cap and the sum of all captures, recomputed from the events alone.
//!
//! Shares no code with the accounts that the ledger decides by, so that a mistake there cannot hide
//! here. Slower and larger than the ledger: it remembers every window there ever was.

use std::collections::BTreeMap;

use crate::domain::asset::Asset;
use crate::domain::id::{DelegationId, PaymentId};
use crate::domain::ledger::budget::{AccountKey, BudgetDef, BudgetNo, Seat};
use crate::domain::ledger::channel::ChannelEvent;
use crate::domain::ledger::event::Event;
use crate::domain::ledger::hold::{Closed, Held};
use crate::domain::ledger::window::WindowSpec;
use crate::domain::money::{Amount, Money, Nano};
use crate::domain::time::Timestamp;

/// What one window has seen.
#[derive(Copy, Clone, Debug, Default)]
struct Seen {
    spent: u128,
    held: u128,
    until: Timestamp,
}

/// One payment's places.
#[derive(Clone, Debug)]
struct Placed {
    seats: Vec<Seat>,
    nano: Nano,
    amount_max: Amount,
    captured: Option<Nano>,
}

/// The refold. Feed it every event from the first on.
#[derive(Clone, Debug, Default)]
pub struct Audit {
    budgets: BTreeMap<BudgetNo, BudgetDef>,
    delegations: BTreeMap<DelegationId, Nano>,
    windows: BTreeMap<(AccountKey, Timestamp), Seen>,
    payments: BTreeMap<PaymentId, Placed>,
    captured: BTreeMap<Asset, u128>,
    over_limit: u128,
}

impl Audit {
    /// Sees one more event.
    pub fn see(&mut self, at: Timestamp, event: &Event) {
        match event {
            Event::PolicyApplied { budgets, .. } => self.budgets.extend(budgets.iter().cloned()),
            Event::Delegated { delegation, terms, .. } => {
                self.delegations.insert(*delegation, terms.limit);
            }
            Event::Held(held) => self.place(at, held),
            Event::Captured { payment, amount, nano, held, .. } => {
                self.capture(*payment, *nano, *held, *amount);
            }
            Event::PaymentClosed(closed) => self.close(closed),
            Event::Voided { payment, .. } | Event::Expired { payment, .. } => {
                if let Some(placed) = self.payments.remove(payment) {
                    let held = wide(placed.nano);
                    self.change(&placed.seats, |seen| seen.held = seen.held.saturating_sub(held));
                }
            }
            Event::CaptureReversed { payment, captured, .. } => {
                if let Some(placed) = self.payments.remove(payment) {
                    let spent = wide(placed.captured.unwrap_or(Nano::ZERO));
                    self.change(&placed.seats, |seen| {
                        seen.spent = seen.spent.saturating_sub(spent);
                    });
                    self.untake(captured);
                }
            }
            Event::Channel(event) => self.see_channel(at, event),
            _ => {}
        }
    }

    fn see_channel(&mut self, at: Timestamp, event: &ChannelEvent) {
        for turn in event.turns() {
            let Some(placed) = self.payments.get_mut(&turn.payment) else { continue };
            let captured = wide(placed.captured.unwrap_or(Nano::ZERO));
            if !turn.taken_nano.is_zero() {
                let sum = captured.saturating_add(wide(turn.taken_nano));
                placed.captured = Some(Nano::new(u64::try_from(sum).unwrap_or(u64::MAX)));
            }
            let (seats, taken, freed) =
                (placed.seats.clone(), wide(turn.taken_nano), wide(turn.freed_nano));
            let unpaid = turn.ended && placed.captured.is_none();
            self.change(&seats, |seen| {
                seen.held = seen.held.saturating_sub(taken.saturating_add(freed));
                seen.spent = seen.spent.saturating_add(taken);
            });
            if unpaid {
                self.payments.remove(&turn.payment);
            }
        }
        match event {
            ChannelEvent::Drawn(drawn) => {
                self.take(drawn.held.commitment.asset, drawn.taken);
                self.place(at, &drawn.held);
            }
            ChannelEvent::Funded(funded) => {
                self.take(funded.money.asset, funded.drawn.taken);
                self.place(at, &funded.drawn.held);
            }
            ChannelEvent::Charged { taken, .. } | ChannelEvent::Resynced { taken, .. } => {
                self.take(taken.asset, taken.amount);
            }
            ChannelEvent::Seen(seen) => {
                self.take(seen.taken.asset, seen.taken.amount);
                self.untake(&seen.unclaimed);
            }
            ChannelEvent::DepositExpired { unclaimed, .. } => self.untake(unclaimed),
            ChannelEvent::Extended(extended) => {
                let held = &extended.held;
                let former = self.payments.remove(&held.payment);
                let captured = former.as_ref().and_then(|placed| placed.captured);
                if let Some(Placed { seats, .. }) = former {
                    let before = wide(extended.before);
                    self.change(&seats, |seen| seen.held = seen.held.saturating_sub(before));
                }
                self.place(at, held);
                if let Some(placed) = self.payments.get_mut(&held.payment) {
                    placed.captured = captured;
                }
            }
            _ => {}
        }
    }

    fn place(&mut self, at: Timestamp, held: &Held) {
        let (seats, nano) = (held.seats.clone(), held.nano);
        self.change(&seats, |seen| seen.held = seen.held.saturating_add(wide(nano)));
        for seat in &seats {
            self.look_at(at, seat);
        }
        let amount_max = held.commitment.amount_max;
        self.payments.insert(held.payment, Placed { seats, nano, amount_max, captured: None });
    }

    fn take(&mut self, asset: Asset, amount: Amount) {
        let sum = self.captured.entry(asset).or_default();
        *sum = sum.saturating_add(amount.get());
    }

    fn untake(&mut self, money: &Money) {
        let sum = self.captured.entry(money.asset).or_default();
        *sum = sum.saturating_sub(money.amount.get());
    }

    /// The most by which any cap was ever passed, in the unit of account. Zero, or the ledger is wrong.
    pub fn over_limit(&self) -> Nano {
        Nano::new(u64::try_from(self.over_limit).unwrap_or(u64::MAX))
    }

    /// The sum of all captures in `asset`, in atomic units.
    pub fn captured(&self, asset: Asset) -> u128 {
        self.captured.get(&asset).copied().unwrap_or(0)
    }

    /// How many payments ended captured.
    pub fn payments(&self) -> u64 {
        let captured = self.payments.values().filter(|placed| placed.captured.is_some());
        u64::try_from(captured.count()).unwrap_or(u64::MAX)
    }

    /// How many payments are held and neither captured nor given back.
    pub fn open(&self) -> u64 {
        let open = self.payments.values().filter(|placed| placed.captured.is_none());
        u64::try_from(open.count()).unwrap_or(u64::MAX)
    }

    fn capture(&mut self, payment: PaymentId, nano: Nano, freed: Money, amount: Amount) {
        let Some(placed) = self.payments.get_mut(&payment) else { return };
        placed.captured = Some(nano);
        // By a receipt for less than the maximum, the rest stays held.
        let whole = freed.amount >= placed.amount_max;
        let (seats, held) = (placed.seats.clone(), wide(if whole { placed.nano } else { nano }));
        self.change(&seats, |seen| {
            seen.held = seen.held.saturating_sub(held);
            seen.spent = seen.spent.saturating_add(wide(nano));
        });
        self.take(freed.asset, amount);
    }

    fn close(&mut self, closed: &Closed) {
        let Some(placed) = self.payments.get_mut(&closed.payment) else { return };
        let captured = wide(placed.captured.unwrap_or(Nano::ZERO));
        let rest = wide(placed.nano).saturating_sub(captured);
        let seats = placed.seats.clone();
        if closed.is_unpaid() {
            self.payments.remove(&closed.payment);
        } else {
            placed.captured = Some(closed.moved_nano);
        }
        self.change(&seats, |seen| {
            seen.held = seen.held.saturating_sub(rest);
            let others = seen.spent.saturating_sub(captured);
            seen.spent = others.saturating_add(wide(closed.moved_nano));
        });
        self.untake(&closed.captured);
        self.take(closed.captured.asset, closed.moved);
    }

    fn change(&mut self, seats: &[Seat], change: impl Fn(&mut Seen)) {
        for seat in seats {
            let seen = self.windows.entry((seat.account, seat.from)).or_default();
            seen.until = seat.until;
            change(seen);
        }
    }

    /// Whether what was just held fits under the cap: of its window, or, for a rolling one, of every
    /// bucket that any instant of the span still touches.
    fn look_at(&mut self, at: Timestamp, seat: &Seat) {
        let (limit, window) = if seat.account.budget == AccountKey::DELEGATION {
            let id = DelegationId::from_bytes(seat.account.subject);
            (self.delegations.get(&id).copied().unwrap_or(Nano::ZERO), WindowSpec::Lifetime)
        } else {
            match self.budgets.get(&seat.account.budget) {
                Some(def) => (def.limit, def.window.clone()),
                None => (Nano::ZERO, WindowSpec::Lifetime),
            }
        };
        let of_account =
            self.windows.range((seat.account, Timestamp::ZERO)..=(seat.account, Timestamp::MAX));
        let counted = of_account
            .filter(|((_, from), seen)| match &window {
                WindowSpec::Rolling { span } => seen.until.after(*span) > at,
                WindowSpec::Calendar { .. } | WindowSpec::Session { .. } | WindowSpec::Lifetime => {
                    *from == seat.from
                }
            })
            .fold(0_u128, |sum, (_, seen)| {
                sum.saturating_add(seen.spent).saturating_add(seen.held)
            });
        self.over_limit = self.over_limit.max(counted.saturating_sub(wide(limit)));
    }
}

fn wide(nano: Nano) -> u128 {
    u128::from(nano.get())
}
