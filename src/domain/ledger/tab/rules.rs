//! What may become of a payee's tabs, and what does.

use crate::domain::channel::ChannelId;
use crate::domain::ledger::decide::full;
use crate::domain::ledger::rejection::Rejection;
use crate::domain::ledger::state::Ledger;
use crate::domain::ledger::tab::command::TabCommand;
use crate::domain::ledger::tab::event::{Charged, Stepped, TabCounted, TabEvent, TabLooked};
use crate::domain::ledger::tab::state::{LastCharge, Standing, Tab, Voucher, less};
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
            TabCommand::Step { call, ended } => self.decide_step(*call, ended),
            TabCommand::Look { channel, newest, withdrawable_at_s } => {
                self.decide_look(TabLooked { channel, newest, withdrawable_at_s })
            }
            TabCommand::Count { channel, counted, deposits_over_s } => {
                self.decide_count(channel, counted, deposits_over_s)
            }
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

    fn decide_look(&self, looked: TabLooked) -> Result<TabEvent, Rejection> {
        let TabLooked { channel, newest, withdrawable_at_s } = looked;
        let tab = self.tab(channel)?;
        if newest == tab.newest && withdrawable_at_s == tab.withdrawable_at_s {
            return Err(Rejection::Unchanged);
        }
        check_standing(channel, newest)?;
        Ok(TabEvent::Looked(Box::new(looked)))
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
        let gained = new.min(tab.owed);
        let reach = balance.max(tab.newest.balance);
        let lost = less(less(tab.owed, gained), less(reach, claimed));
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
            TabEvent::Stepped(stepped) => {
                let Stepped { call, taken, first, ended } = stepped.as_ref();
                let tab = self.tab_mut(call.channel);
                let sum = tab.charged.checked_add(*taken).expect("amounts are bounded");
                tab.charge(at, call, !ended);
                assert_eq!(tab.charged, sum, "a step goes on where the last one ended");
                tab.calls = tab.calls.saturating_add(u64::from(*first));
            }
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

/// No charge passes its voucher, nor what lies in the channel.
fn check_covered(tab: &Tab, charged: &Charged) -> Result<(), Rejection> {
    let channel = charged.channel;
    if charged.asset != tab.terms.asset {
        return Err(Rejection::OtherChannel { channel });
    }
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
        let &Charged { base, amount, ceiling, signature, fingerprint, payment, .. } = charged;
        let sum = base.checked_add(amount).expect("amounts are bounded");
        let new = sum.checked_sub(self.charged).expect("what was charged never falls");
        assert!(sum <= ceiling, "no charge passes its voucher");
        assert!(sum <= self.newest.balance, "no charge passes what lies in the channel");
        self.charged = sum;
        self.owed = self.owed.checked_add(new).expect("amounts are bounded");
        self.voucher = Some(Voucher { ceiling, signature });
        self.last = Some(LastCharge { base, amount, fingerprint, payment, flows });
        self.used_at = at;
        self.wait_for_claim(at);
    }

    fn look(&mut self, at: Timestamp, looked: &TabLooked) {
        self.newest = looked.newest;
        self.withdrawable_at_s = looked.withdrawable_at_s;
        // More was claimed than was charged here: this ledger is older than that.
        self.charged = self.charged.max(looked.newest.claimed);
        self.wait_for_claim(at);
    }

    fn count(&mut self, seen: &TabCounted) {
        let TabCounted { counted, gained, lost, .. } = seen;
        assert!(counted.claimed >= self.counted.claimed, "no final claim is taken back");
        self.counted = *counted;
        self.charged = self.charged.max(counted.claimed);
        let owed = self.owed.checked_sub(gained.amount);
        let owed = owed.and_then(|owed| owed.checked_sub(lost.amount));
        self.owed = owed.expect("what is earned or lost was owed");
        self.lost = self.lost.checked_add(lost.amount).expect("amounts are bounded");
    }

    fn wait_for_claim(&mut self, at: Timestamp) {
        let waits = !self.unclaimed().is_zero();
        self.unclaimed_since = self.unclaimed_since.or(Some(at)).filter(|_| waits);
    }
}
