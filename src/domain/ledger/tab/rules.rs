//! What may become of a payee's tabs, and what does.

use crate::domain::channel::ChannelId;
use crate::domain::ledger::decide::full;
use crate::domain::ledger::rejection::Rejection;
use crate::domain::ledger::state::Ledger;
use crate::domain::ledger::tab::command::TabCommand;
use crate::domain::ledger::tab::event::{Charged, TabEvent, TabSeen};
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
        Ok(TabEvent::Charged(charged))
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
                let Charged { base, amount, ceiling, signature, fingerprint, payment, .. } =
                    charged.as_ref();
                assert_eq!(*base, tab.charged, "a charge goes on where the last one ended");
                tab.charged = base.checked_add(*amount).expect("amounts are bounded");
                assert!(tab.charged <= *ceiling, "no charge passes its voucher");
                assert!(tab.charged <= tab.balance, "no charge passes what lies in the channel");
                tab.voucher = Some(Voucher { ceiling: *ceiling, signature: *signature });
                let (base, amount) = (*base, *amount);
                let (fingerprint, payment) = (*fingerprint, *payment);
                tab.last = Some(LastCharge { base, amount, fingerprint, payment });
                tab.unclaimed_since = tab.unclaimed_since.or(Some(at));
                tab.used_at = at;
                tab.calls = tab.calls.saturating_add(1);
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
