//! What may become of a payee's tabs, and what does.

use crate::domain::channel::ChannelId;
use crate::domain::ledger::credit::CreditLimits;
use crate::domain::ledger::decide::full;
use crate::domain::ledger::rejection::Rejection;
use crate::domain::ledger::state::Ledger;
use crate::domain::ledger::tab::command::TabCommand;
use crate::domain::ledger::tab::event::{Charged, Stepped, TabCounted, TabEvent, TabLooked};
use crate::domain::ledger::tab::state::{LastCharge, Sight, Standing, Tab, Voucher, less};
use crate::domain::money::{Amount, Money};
use crate::domain::time::Timestamp;

/// Tabs at most, those of ended channels included: what was charged never falls.
const TABS_MAX: usize = 1_000_000;

impl Ledger {
    pub(in crate::domain::ledger) fn decide_tab(
        &self,
        command: TabCommand,
    ) -> Result<TabEvent, Rejection> {
        match command {
            TabCommand::Open { channel, .. } if self.find_tab(channel).is_some() => {
                Err(Rejection::Unchanged)
            }
            TabCommand::Open { .. } if self.tabs.len() >= TABS_MAX => Err(full("tabs", TABS_MAX)),
            TabCommand::Open { channel, terms } => Ok(TabEvent::Opened { channel, terms }),
            TabCommand::Charge(charged) => self.decide_charge_tab(charged),
            TabCommand::ChargeOnCredit { call, limits } => self.decide_on_credit(call, &limits),
            TabCommand::Cover { channel, voucher } => self.decide_cover(channel, voucher),
            TabCommand::Step { call, ended } => self.decide_step(*call, ended),
            TabCommand::Look { channel, before, sight } => self.decide_look(channel, before, sight),
            TabCommand::Count { channel, counted, deposits_over_s } => {
                self.decide_count(channel, counted, deposits_over_s)
            }
            TabCommand::GiveBack { channel, refunds } => match self.tab(channel)?.giving_back {
                Some(_) => Err(Rejection::Unchanged),
                None => Ok(TabEvent::GivingBack { channel, refunds }),
            },
            TabCommand::GivenBack { channel } => match self.tab(channel)?.giving_back {
                Some(_) => Ok(TabEvent::GivenBack { channel }),
                None => Err(Rejection::Unchanged),
            },
        }
    }

    fn tab(&self, channel: ChannelId) -> Result<&Tab, Rejection> {
        self.find_tab(channel).ok_or(Rejection::UnknownChannel(channel))
    }

    fn decide_charge_tab(&self, charged: Box<Charged>) -> Result<TabEvent, Rejection> {
        let channel = charged.channel;
        let tab = self.tab(channel)?;
        if charged.base != tab.charged {
            let (claimed, moved) = (charged.base, tab.charged);
            return Err(Rejection::AmountMismatch { claimed, moved });
        }
        check_covered(tab, &charged)?;
        Ok(TabEvent::Charged(charged))
    }

    /// A call on credit names the voucher that its channel has, which is what its payer and its payee alone
    /// know; and what is owed with it stays within the limits.
    fn decide_on_credit(
        &self,
        call: Box<Charged>,
        limits: &CreditLimits,
    ) -> Result<TabEvent, Rejection> {
        let (channel, tab) = (call.channel, self.tab(call.channel)?);
        if call.base != tab.charged {
            let (claimed, moved) = (call.base, tab.charged);
            return Err(Rejection::AmountMismatch { claimed, moved });
        }
        let named = Voucher { ceiling: call.ceiling, signature: call.signature };
        if call.asset != tab.terms.asset || tab.voucher != Some(named) {
            return Err(Rejection::OtherChannel { channel });
        }
        let (asset, payer) = (tab.terms.asset, tab.terms.payer);
        if tab.withdrawable_at_s.is_some() || !tab.is_voucher_secret() {
            let (owed, limit) = (self.credit().of(asset, payer).sum(), Amount::ZERO);
            return Err(Rejection::NoCredit { owed, limit });
        }
        check_stays(tab)?;
        let sum = call.base.checked_add(call.amount).filter(|sum| *sum <= Amount::MAX);
        let sum = sum.ok_or(Rejection::AmountOutOfRange { amount: call.amount })?;
        if sum > tab.newest.balance {
            let room = tab.newest.balance.checked_sub(tab.charged).unwrap_or(Amount::ZERO);
            return Err(Rejection::ChannelEmpty { channel, room, asked: call.amount });
        }
        let more = tab.owed_at(sum).checked_sub(tab.owed()).unwrap_or(Amount::ZERO);
        self.credit().check(asset, payer, more, limits)?;
        Ok(TabEvent::ChargedOnCredit(call))
    }

    fn decide_cover(&self, channel: ChannelId, voucher: Voucher) -> Result<TabEvent, Rejection> {
        let tab = self.tab(channel)?;
        if tab.voucher.is_some_and(|kept| kept.ceiling >= voucher.ceiling) {
            return Err(Rejection::Unchanged);
        }
        // Nothing can be charged to it. Where a part of what was served on credit can be had no more, its
        // payer signs for less than was charged.
        let part = voucher.ceiling < tab.charged && planted!("part_not_covered");
        if voucher.ceiling > tab.charged || part {
            let (claimed, moved) = (voucher.ceiling, tab.charged);
            return Err(Rejection::AmountMismatch { claimed, moved });
        }
        Ok(TabEvent::Covered { channel, voucher: Box::new(voucher) })
    }

    /// A call that flows goes on where its last step ended: neither what it cost nor what its voucher
    /// says falls.
    fn decide_step(&self, call: Charged, ended: bool) -> Result<TabEvent, Rejection> {
        let tab = self.tab(call.channel)?;
        let running = tab.last.filter(|last| is_running(last, &call));
        let before = running.map_or(Amount::ZERO, |last| last.amount);
        let reached = call.base.checked_add(before).unwrap_or(call.base);
        let kept = tab.voucher.filter(|_| running.is_some()).map(|kept| kept.ceiling);
        let lower = kept.is_some_and(|kept| call.ceiling < kept);
        let taken = call.amount.checked_sub(before).filter(|_| reached == tab.charged && !lower);
        let Some(taken) = taken else {
            return Err(Rejection::AmountMismatch { claimed: reached, moved: tab.charged });
        };
        check_covered(tab, &call)?;
        let first = running.is_none();
        Ok(TabEvent::Stepped(Box::new(Stepped { call, taken, first, ended })))
    }

    /// What was asked for before somebody else's look was counted may be older than that.
    fn decide_look(
        &self,
        channel: ChannelId,
        before: Sight,
        sight: Sight,
    ) -> Result<TabEvent, Rejection> {
        let tab = self.tab(channel)?;
        let overtaken = before != tab.sight() && !planted!("older_look_counts");
        if overtaken || sight == tab.sight() {
            return Err(Rejection::Unchanged);
        }
        let Sight { newest, withdrawable_at_s } = sight;
        check_standing(channel, newest)?;
        Ok(TabEvent::Looked(Box::new(TabLooked { channel, newest, withdrawable_at_s })))
    }

    /// Money is earned and lost by final blocks only: what a newer one showed may be forgotten. Nothing is
    /// lost while a newer block shows it, or while a deposit that calls were served on may still come.
    fn decide_count(
        &self,
        channel: ChannelId,
        counted: Standing,
        deposits_over_s: u64,
    ) -> Result<TabEvent, Rejection> {
        let tab = self.tab(channel)?;
        check_standing(channel, counted)?;
        let Standing { balance, claimed } = counted;
        let Some(new) = claimed.checked_sub(tab.counted.claimed) else {
            return Err(Rejection::ChannelMismatch { channel, balance, claimed });
        };
        let gained = new.min(tab.unearned);
        let reach = balance.max(tab.newest.balance);
        let lost = less(less(tab.unearned, gained), less(reach, claimed));
        let over = tab.used_at.as_secs() <= deposits_over_s || planted!("lost_before_it_is_over");
        let lost = if over { lost } else { Amount::ZERO };
        if counted == tab.counted && lost.is_zero() {
            return Err(Rejection::Unchanged);
        }
        let money = |amount| Money { amount, asset: tab.terms.asset };
        let (gained, stray) = (money(gained), money(less(new, gained)));
        let lost = money(lost);
        Ok(TabEvent::Counted(Box::new(TabCounted { channel, counted, gained, stray, lost })))
    }

    pub(in crate::domain::ledger) fn evolve_tab(&mut self, at: Timestamp, event: &TabEvent) {
        let channel = event.channel();
        let owed = self.tabs.get(&channel).map_or(Amount::ZERO, Tab::owed);
        self.change_tab(at, event);
        self.count_credit(channel, owed, event.counted().is_some());
    }

    /// Counts what is owed now, and what is lost of it, where `before` was owed.
    fn count_credit(&mut self, channel: ChannelId, before: Amount, seen: bool) {
        let tab = self.tabs.get_mut(&channel).expect("a tab's event has a tab");
        let (asset, payer, after) = (tab.terms.asset, tab.terms.payer, tab.owed());
        let signed = tab.voucher.is_some_and(|voucher| voucher.ceiling >= tab.charged);
        let regained = if signed { std::mem::take(&mut tab.credit_lost) } else { Amount::ZERO };
        let lost = match before.checked_sub(after) {
            Some(less) if seen => less,
            _ => Amount::ZERO,
        };
        self.credit.move_owed((asset, payer), (before, after), (lost, regained));
    }

    fn change_tab(&mut self, at: Timestamp, event: &TabEvent) {
        match event {
            TabEvent::Opened { channel, terms } => {
                let former = self.tabs.insert(*channel, Tab::new(*channel, *terms, at));
                assert!(former.is_none(), "a tab is opened once");
            }
            TabEvent::Charged(charged) => {
                let tab = self.tab_mut(charged.channel);
                assert_eq!(charged.base, tab.charged, "a charge goes on where the last one ended");
                tab.charge(at, charged, false);
                tab.calls = tab.calls.saturating_add(1);
            }
            TabEvent::ChargedOnCredit(call) => {
                let tab = self.tab_mut(call.channel);
                assert_eq!(call.base, tab.charged, "a charge goes on where the last one ended");
                tab.note(at, call, false);
                tab.calls = tab.calls.saturating_add(1);
            }
            TabEvent::Covered { channel, voucher } => {
                let tab = self.tab_mut(*channel);
                assert!(voucher.ceiling <= tab.charged, "no call is charged to it");
                // A claim above what the one before said can only have shown this one.
                let former = tab.voucher.map_or(Amount::ZERO, |former| former.ceiling);
                (tab.voucher, tab.voucher_base) = (Some(**voucher), Some(former));
            }
            TabEvent::Stepped(stepped) => {
                let Stepped { call, taken, first, ended } = stepped.as_ref();
                let tab = self.tab_mut(call.channel);
                let sum = tab.charged.checked_add(*taken).expect("amounts are bounded");
                tab.charge(at, call, !ended);
                assert_eq!(tab.charged, sum, "a step goes on where the last one ended");
                tab.calls = tab.calls.saturating_add(u64::from(*first));
            }
            TabEvent::GivingBack { channel, refunds } => {
                self.tab_mut(*channel).giving_back = Some(*refunds);
            }
            TabEvent::GivenBack { channel } => self.tab_mut(*channel).giving_back = None,
            TabEvent::Seen(_) | TabEvent::Looked(_) | TabEvent::Counted(_) => {
                if let Some(looked) = event.looked() {
                    self.tab_mut(looked.channel).look(at, &looked);
                }
                if let Some(counted) = event.counted() {
                    self.tab_mut(counted.channel).count(&counted);
                }
            }
        }
    }

    fn tab_mut(&mut self, channel: ChannelId) -> &mut Tab {
        self.tabs.get_mut(&channel).expect("what happens on a tab has one")
    }
}

/// No more was claimed than came in.
fn check_standing(channel: ChannelId, standing: Standing) -> Result<(), Rejection> {
    let Standing { balance, claimed } = standing;
    if claimed > balance {
        return Err(Rejection::ChannelMismatch { channel, balance, claimed });
    }
    Ok(())
}

/// Nothing is charged on what may be gone.
fn check_stays(tab: &Tab) -> Result<(), Rejection> {
    if tab.is_going_back() {
        return Err(Rejection::ChannelBusy { channel: tab.id });
    }
    Ok(())
}

/// No charge passes its voucher, nor what lies in the channel.
fn check_covered(tab: &Tab, charged: &Charged) -> Result<(), Rejection> {
    let channel = charged.channel;
    if charged.asset != tab.terms.asset {
        return Err(Rejection::OtherChannel { channel });
    }
    check_stays(tab)?;
    let sum = charged.base.checked_add(charged.amount).filter(|sum| *sum <= Amount::MAX);
    let sum = sum.ok_or(Rejection::AmountOutOfRange { amount: charged.amount })?;
    let most = charged.ceiling.min(tab.newest.balance);
    if sum > most {
        let room = most.checked_sub(tab.charged).unwrap_or(Amount::ZERO);
        return Err(Rejection::ChannelEmpty { channel, room, asked: charged.amount });
    }
    Ok(())
}

/// Whether `call` is the one that flows.
fn is_running(last: &LastCharge, call: &Charged) -> bool {
    last.flows
        && last.base == call.base
        && last.fingerprint == call.fingerprint
        && last.payment == call.payment
}

impl Tab {
    fn charge(&mut self, at: Timestamp, charged: &Charged, flows: bool) {
        let &Charged { base, ceiling, signature, .. } = charged;
        self.note(at, charged, flows);
        assert!(self.charged <= ceiling, "no charge passes its voucher");
        (self.voucher, self.voucher_base) = (Some(Voucher { ceiling, signature }), Some(base));
    }

    /// Counts a call, whatever stands for it.
    fn note(&mut self, at: Timestamp, charged: &Charged, flows: bool) {
        let &Charged { base, amount, fingerprint, payment, .. } = charged;
        let sum = base.checked_add(amount).expect("amounts are bounded");
        let new = sum.checked_sub(self.charged).expect("what was charged never falls");
        assert!(sum <= self.newest.balance, "no charge passes what lies in the channel");
        self.charged = sum;
        self.unearned = self.unearned.checked_add(new).expect("amounts are bounded");
        self.last = Some(LastCharge { base, amount, fingerprint, payment, flows });
        self.used_at = at;
        self.wait_for_claim(at);
    }

    fn look(&mut self, at: Timestamp, looked: &TabLooked) {
        self.newest = looked.newest;
        self.withdrawable_at_s = looked.withdrawable_at_s;
        // More was claimed than was charged here: this ledger is older than that.
        self.charged = self.charged.max(looked.newest.claimed);
        self.voucher_base = self.voucher_base.filter(|base| looked.newest.claimed <= *base);
        self.wait_for_claim(at);
    }

    fn count(&mut self, seen: &TabCounted) {
        let TabCounted { counted, gained, lost, .. } = seen;
        assert!(counted.claimed >= self.counted.claimed, "no final claim is taken back");
        self.counted = *counted;
        // No claim that is final is taken back: a block that shows more of them is newer than the last look.
        if counted.claimed > self.newest.claimed {
            self.newest = *counted;
        }
        self.charged = self.charged.max(counted.claimed);
        let unearned = self.unearned.checked_sub(gained.amount);
        let unearned = unearned.and_then(|unearned| unearned.checked_sub(lost.amount));
        self.unearned = unearned.expect("what is earned or lost was owed");
        // What nobody signed for is lost first.
        let unsigned = lost.amount.min(self.owed());
        self.credit_lost = self.credit_lost.checked_add(unsigned).expect("it was charged");
        self.lost = self.lost.checked_add(lost.amount).expect("amounts are bounded");
    }

    fn wait_for_claim(&mut self, at: Timestamp) {
        let waits = !self.unclaimed().is_zero();
        self.unclaimed_since = self.unclaimed_since.or(Some(at)).filter(|_| waits);
    }
}
