//! A payer's channels as they happen.

use std::sync::Arc;

use crate::domain::channel::{ChannelId, Incoming};
use crate::domain::commitment::TransferMethod;
use crate::domain::ledger::account::Change;
use crate::domain::ledger::channel::event::{ChannelEvent, Drawn, Extended, Seen};
use crate::domain::ledger::channel::state::{
    Channel, ChannelState, Frozen, NO_BOUND, Portion, Step, Turn, less, more, share,
};
use crate::domain::ledger::hold::Held;
use crate::domain::ledger::state::Ledger;
use crate::domain::ledger::wallet::Position;
use crate::domain::money::{Amount, Nano};
use crate::domain::time::Timestamp;

impl Ledger {
    pub(in crate::domain::ledger) fn evolve_channel(
        &mut self,
        at: Timestamp,
        event: &ChannelEvent,
    ) {
        match event {
            ChannelEvent::Opened(opened) => {
                let opened = opened.as_ref().clone();
                let former = self.channels.kept.insert(opened.id, Channel::new(opened));
                assert!(former.is_none(), "a channel is opened once");
            }
            deposit @ (ChannelEvent::DepositHeld { .. }
            | ChannelEvent::Deposited { .. }
            | ChannelEvent::DepositExpired { .. }) => self.evolve_deposit(deposit),
            ChannelEvent::Drawn(drawn) => self.draw(at, drawn),
            ChannelEvent::Funded(funded) => {
                // What moves it is a field of the call that it comes with.
                let method = funded.drawn.held.commitment.method;
                let coming = funded.deposit.by(method);
                self.set_aside(funded.drawn.channel, coming, funded.money.amount);
                self.draw(at, &funded.drawn);
            }
            ChannelEvent::Resynced { channel, charged, ceiling, turns, .. } => {
                let step = Step { charged: *charged, covered: Amount::ZERO, most: NO_BOUND };
                self.step(at, *channel, step, turns);
                let found = self.channel_mut(*channel);
                assert!(*charged <= *ceiling, "no charge passes its voucher");
                (found.base, found.last_ceiling) = (*charged, *charged);
                (found.ceiling, found.ceiling_before) = (*ceiling, *ceiling);
                found.last = None;
            }
            ChannelEvent::Charged { channel, charged, turns, .. } => {
                let step = Step { charged: *charged, covered: Amount::ZERO, most: NO_BOUND };
                self.step(at, *channel, step, turns);
                self.channel_mut(*channel).last = None;
            }
            ChannelEvent::DrawVoided { channel, payment, turn } => {
                let found = self.channel_mut(*channel);
                found.last = None;
                found.calls = found.calls.saturating_sub(1);
                found.ceiling = found.ceiling_before;
                let portion =
                    found.portions.iter().position(|portion| portion.held.payment == *payment);
                let mut portion = found.portions.remove(portion.expect("a voided draw is held"));
                let held = Arc::clone(&portion.held);
                portion.to = portion.to.min(found.ceiling.max(portion.from));
                portion.nano = portion.nano.saturating_sub(turn.freed_nano);
                assert_eq!(
                    portion.to == portion.from,
                    turn.ended,
                    "a void gives back what it says"
                );
                if !turn.ended {
                    found.portions.push(portion);
                }
                self.apply(at, std::slice::from_ref(turn), std::slice::from_ref(&held));
                self.requests.free(held.agent, held.request, held.attempt.saturating_add(1));
            }
            ChannelEvent::Seen(seen) => self.see(at, seen),
            ChannelEvent::Frozen { channel, why } => {
                self.channel_mut(*channel).state = ChannelState::Frozen(*why);
            }
            ChannelEvent::Extended(extended) => self.extend(at, extended),
        }
    }

    fn evolve_deposit(&mut self, event: &ChannelEvent) {
        match event {
            ChannelEvent::DepositHeld { channel, deposit, money } => {
                self.set_aside(*channel, deposit.by(TransferMethod::Eip3009), money.amount);
            }
            ChannelEvent::Deposited { channel, money, .. } => {
                let found = self.channel_mut(*channel);
                let arrived = found.pending.take().map(|coming| coming.deposit.amount);
                assert_eq!(arrived, Some(money.amount), "what arrives was on its way");
                found.deposited = more(found.deposited, money.amount);
            }
            ChannelEvent::DepositExpired { channel, money, unclaimed, .. } => {
                let found = self.channel_mut(*channel);
                let room = found.room();
                let lost = found.pending.take().map(|coming| coming.deposit.amount);
                assert_eq!(lost, Some(money.amount), "what expires was on its way");
                found.charged = minus(found.charged, unclaimed.amount);
                // Vouchers on what never arrived stay held; where such a one was charged, nothing is
                // ever put in again that it could draw.
                if !unclaimed.amount.is_zero() {
                    found.last = None;
                    found.state = ChannelState::Frozen(Frozen::Closing);
                }
                self.relock(*channel, room);
                self.move_locked(*channel, |position| {
                    position.paid = minus(position.paid, unclaimed.amount);
                    position.locked = minus(position.locked, less(money.amount, unclaimed.amount));
                });
            }
            _ => unreachable!("evolve passes deposits' events only"),
        }
    }

    /// Counts a deposit in the channel caps and in the wallet, before it is signed.
    fn set_aside(&mut self, channel: ChannelId, coming: Incoming, amount: Amount) {
        let found = self.channel_mut(channel);
        assert!(found.pending.is_none(), "one deposit is on its way at a time");
        found.pending = Some(coming);
        let nano = coming.deposit.nano;
        found.locked = plus(found.locked, nano);
        let provider = found.opened.provider.clone();
        let locked = self.channels.locked.entry(provider).or_default();
        *locked = plus(*locked, nano);
        self.move_locked(channel, |position| {
            position.locked = more(position.locked, amount);
            let set_aside = more(position.held, position.locked);
            assert!(set_aside <= position.owned(), "no wallet holds more than it owns");
        });
    }

    fn see(&mut self, at: Timestamp, seen: &Seen) {
        let Seen { channel, claimed, turns, taken, returned, unclaimed, state, .. } = seen;
        let found = self.channel_mut(*channel);
        let room = found.room();
        let most = found.most(returned.amount);
        let charged = found.charged.max(*claimed);
        let step = Step { charged, covered: Amount::ZERO, most };
        self.step(at, *channel, step, turns);
        let found = self.channel_mut(*channel);
        found.claimed = *claimed;
        found.returned = more(found.returned, returned.amount);
        found.charged = less(found.charged, unclaimed.amount);
        found.ceiling = found.ceiling.min(most);
        found.state = *state;
        if *state == ChannelState::Closed {
            found.last = None;
        }
        self.relock(*channel, less(room, taken.amount));
        self.move_locked(*channel, |position| {
            position.paid = minus(position.paid, unclaimed.amount);
            position.locked = minus(position.locked, less(returned.amount, unclaimed.amount));
        });
    }

    fn draw(&mut self, at: Timestamp, drawn: &Drawn) {
        let Drawn { held, channel, charged, ceiling, turns, .. } = drawn;
        let step = Step { charged: *charged, covered: *ceiling, most: NO_BOUND };
        self.step(at, *channel, step, turns);
        self.take_seats(at, held);
        self.remember_request(at, held);
        let found = self.channel_mut(*channel);
        assert!(*ceiling <= found.reach(), "no voucher says more than lies in its channel");
        let (from, to, nano) = (*charged, *ceiling, held.nano);
        found.portions.push(Portion { held: Arc::clone(held), from, to, nano });
        found.base = *charged;
        found.last_ceiling = *ceiling;
        found.ceiling_before = found.ceiling;
        found.ceiling = found.ceiling.max(*ceiling);
        found.last = Some(held.payment);
        found.extended = false;
        found.calls = found.calls.saturating_add(1);
        found.sold = Some(held.capability.clone());
        self.channels.draws.insert(held.payment, *channel);
    }

    /// The call's own portion grows to the next voucher's sum. It leaves its seats for those of now.
    fn extend(&mut self, at: Timestamp, extended: &Extended) {
        let Extended { held, channel, ceiling, before, turns } = extended;
        let payment = held.payment;
        let found = self.channel_mut(*channel);
        assert_eq!(found.last, Some(payment), "only the last call is extended");
        assert!(*ceiling <= found.reach(), "no voucher says more than lies in its channel");
        let step = Step { charged: found.charged, covered: *ceiling, most: NO_BOUND };
        let (computed, mut left) = found.turn_others(payment, step);
        assert_eq!(computed, *turns, "a channel's event says what follows from its portions");
        let formers = std::mem::take(&mut found.portions);
        let from = formers
            .iter()
            .find(|portion| portion.held.payment == payment)
            .map_or(found.last_ceiling.max(found.charged), |own| own.from);
        let (held, to, nano) = (Arc::clone(held), *ceiling, held.nano);
        left.push(Portion { held: Arc::clone(&held), from, to, nano });
        found.portions = left;
        found.extended = true;
        found.last_ceiling = *ceiling;
        found.ceiling = found.ceiling.max(*ceiling);
        let formers: Vec<_> = formers.into_iter().map(|portion| portion.held).collect();
        self.apply(at, turns, &formers);
        if let Some(own) = formers.iter().find(|held| held.payment == payment) {
            self.seats(at, own, Change::Release(*before));
        }
        self.take_seats(at, &held);
        self.channels.draws.insert(payment, *channel);
    }

    /// Moves the span, and what its portions count in budgets and in the wallet.
    fn step(&mut self, at: Timestamp, channel: ChannelId, step: Step, turns: &[Turn]) {
        let found = self.channel_mut(channel);
        let room = found.room();
        let (computed, left) = found.turn(step);
        assert_eq!(computed, turns, "a channel's event says what follows from its portions");
        let taken = less(step.charged, found.charged);
        found.charged = step.charged;
        let before = std::mem::replace(&mut found.portions, left);
        let held: Vec<_> = before.into_iter().map(|portion| portion.held).collect();
        self.apply(at, turns, &held);
        self.relock(channel, room);
        if !taken.is_zero() {
            self.move_locked(channel, |position| {
                position.locked = minus(position.locked, taken);
                position.paid = more(position.paid, taken);
            });
        }
    }

    /// Takes and gives back in every seat of the payments that `turns` name.
    fn apply(&mut self, at: Timestamp, turns: &[Turn], held: &[Arc<Held>]) {
        for turn in turns {
            let of = held.iter().find(|held| held.payment == turn.payment);
            let of = of.expect("a turn names a payment with a portion");
            let (spent, freed) = (turn.taken_nano, turn.freed_nano);
            let given = plus(spent, freed);
            if !given.is_zero() {
                self.seats(at, of, Change::Capture { held: given, spent });
            }
            if turn.ended {
                self.channels.draws.remove(&turn.payment);
            }
        }
    }

    /// Counts anew what lies locked, where `room` was uncharged before.
    fn relock(&mut self, channel: ChannelId, room: Amount) {
        let found = self.channel_mut(channel);
        let locked = share(found.locked, found.room(), room);
        let freed = found.locked.saturating_sub(locked);
        found.locked = locked;
        let provider = found.opened.provider.clone();
        if freed.is_zero() {
            return;
        }
        let all = self.channels.locked.get_mut(&provider).expect("what is locked was counted");
        *all = all.saturating_sub(freed);
    }

    fn move_locked(&mut self, channel: ChannelId, change: impl FnOnce(&mut Position)) {
        let opened = &self.find_channel(channel).expect("an event names a known channel").opened;
        let (wallet, asset) = (opened.wallet, opened.terms.asset);
        let wallet = self.wallets.find_mut(wallet).expect("a channel's wallet is open");
        change(wallet.position_mut(asset));
    }

    fn channel_mut(&mut self, channel: ChannelId) -> &mut Channel {
        self.channels.kept.get_mut(&channel).expect("an event names a known channel")
    }
}

fn plus(nano: Nano, other: Nano) -> Nano {
    nano.checked_add(other).expect("what is locked was checked against its cap")
}

fn minus(amount: Amount, other: Amount) -> Amount {
    amount.checked_sub(other).expect("what is taken away was put there by the same channel")
}
