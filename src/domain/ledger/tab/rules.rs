//! What may become of a payee's tabs, and what does.

use crate::domain::channel::ChannelId;
use crate::domain::ledger::decide::full;
use crate::domain::ledger::rejection::Rejection;
use crate::domain::ledger::state::Ledger;
use crate::domain::ledger::tab::command::TabCommand;
use crate::domain::ledger::tab::event::{Charged, Stepped, TabEvent, TabSeen};
use crate::domain::ledger::tab::state::{LastCharge, Tab, Voucher};
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
            see @ TabCommand::See { .. } => self.decide_see_tab(see),
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

    fn decide_see_tab(&self, see: TabCommand) -> Result<TabEvent, Rejection> {
        let TabCommand::See { channel, balance, claimed, withdrawable_at_s, transaction } = see
        else {
            unreachable!("only what was seen is passed")
        };
        let tab = self.tab(channel)?;
        let same = balance == tab.balance && claimed == tab.claimed;
        if same && withdrawable_at_s == tab.withdrawable_at_s {
            return Err(Rejection::Unchanged);
        }
        if claimed < tab.claimed || claimed > balance {
            return Err(Rejection::ChannelMismatch { channel, balance, claimed });
        }
        let less =
            |amount: Amount, other: Amount| amount.checked_sub(other).unwrap_or(Amount::ZERO);
        let money = |amount| Money { amount, asset: tab.terms.asset };
        let owed = less(tab.charged, tab.lost);
        let gained = less(claimed.min(owed), tab.claimed);
        let stray = less(less(claimed, tab.claimed), gained);
        // What lies there no more can never be claimed: a deposit after that is another's money.
        let lost = less(owed.max(claimed), balance.max(claimed));
        Ok(TabEvent::Seen(Box::new(TabSeen {
            channel,
            balance,
            claimed,
            withdrawable_at_s,
            transaction,
            gained: money(gained),
            stray: money(stray),
            lost: money(if balance < tab.balance { lost } else { Amount::ZERO }),
        })))
    }

    pub(in crate::domain::ledger) fn evolve_tab(&mut self, at: Timestamp, event: &TabEvent) {
        match event {
            TabEvent::Opened { channel, terms } => {
                let former = self.tabs.insert(*channel, Tab::new(*channel, *terms, at));
                assert!(former.is_none(), "a tab is opened once");
            }
            TabEvent::Charged(charged) => {
                let tab = self.tabs.get_mut(&charged.channel).expect("a charge has a tab");
                assert_eq!(charged.base, tab.charged, "a charge goes on where the last one ended");
                tab.charge(at, charged, false);
                tab.calls = tab.calls.saturating_add(1);
            }
            TabEvent::Stepped(stepped) => {
                let Stepped { call, taken, first, ended } = stepped.as_ref();
                let tab = self.tabs.get_mut(&call.channel).expect("a step has a tab");
                let sum = tab.charged.checked_add(*taken).expect("amounts are bounded");
                tab.charge(at, call, !ended);
                assert_eq!(tab.charged, sum, "a step goes on where the last one ended");
                tab.calls = tab.calls.saturating_add(u64::from(*first));
            }
            TabEvent::Seen(seen) => {
                let TabSeen { channel, balance, claimed, withdrawable_at_s, lost, .. } =
                    seen.as_ref();
                let tab = self.tabs.get_mut(channel).expect("what is seen has a tab");
                assert!(*claimed >= tab.claimed, "no claim is taken back");
                tab.balance = *balance;
                tab.claimed = *claimed;
                tab.withdrawable_at_s = *withdrawable_at_s;
                // More was claimed than was charged here: this ledger is older than that.
                tab.charged = tab.charged.max(*claimed);
                tab.lost = tab.lost.checked_add(lost.amount).expect("amounts are bounded");
                if tab.unclaimed().is_zero() {
                    tab.unclaimed_since = None;
                }
            }
        }
    }
}

/// No charge passes its voucher, nor what lies in the channel.
fn check_covered(tab: &Tab, charged: &Charged) -> Result<(), Rejection> {
    let channel = charged.channel;
    if charged.asset != tab.terms.asset {
        return Err(Rejection::OtherChannel { channel });
    }
    let sum = charged.base.checked_add(charged.amount).filter(|sum| *sum <= Amount::MAX);
    let sum = sum.ok_or(Rejection::AmountOutOfRange { amount: charged.amount })?;
    let most = charged.ceiling.min(tab.balance);
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
        self.charged = base.checked_add(amount).expect("amounts are bounded");
        assert!(self.charged <= ceiling, "no charge passes its voucher");
        assert!(self.charged <= self.balance, "no charge passes what lies in the channel");
        self.voucher = Some(Voucher { ceiling, signature });
        self.last = Some(LastCharge { base, amount, fingerprint, payment, flows });
        if !self.unclaimed().is_zero() {
            self.unclaimed_since = self.unclaimed_since.or(Some(at));
        }
        self.used_at = at;
    }
}
