//! Channels by their payee's events: each charge goes on where the last one ended, by a voucher that was
//! signed and that the chain covers, each call is charged once, and what the chain was seen to hold is never
//! older than what was seen before. Source: threats.md I4, I11, I12, I13, I14, E04.

use crate::domain::channel::ChannelId;
use crate::domain::id::PaymentId;
use crate::domain::ledger::tab::{Charged, Standing, Stepped, TabEvent};
use crate::domain::money::Amount;
use crate::sim::fate::Fault;
use crate::sim::oracle::Look;
use crate::sim::oracle::channels::{Channels, less, more};
use crate::sim::roles::CREDIT;

/// One channel, as its payee's events tell of it.
#[derive(Default)]
pub(super) struct Tab {
    pub(super) charged: Amount,
    /// The newest voucher's sum.
    voucher: Amount,
    pub(super) claimed: Amount,
    pub(super) lost: Amount,
    /// What the chain showed, one after the other.
    shown: Vec<Standing>,
    /// What of it was looked at last.
    looked: usize,
}

impl Tab {
    pub(super) fn show(&mut self, channel: ChannelId, look: &Look<'_>) {
        let sight = look.channels.sight(channel);
        let now = Standing { balance: sight.balance, claimed: sight.claimed };
        if self.shown.last() != Some(&now) {
            self.shown.push(now);
        }
    }
}

impl Channels {
    /// Reads one event of the payee's. I11, I12, I14: each charge goes on where the last one ended, by a
    /// voucher that was signed and that the chain covers, and each call is charged once.
    pub fn read_payee(&mut self, event: &TabEvent, look: &Look<'_>) {
        match event {
            TabEvent::Opened { channel, .. } => {
                self.tabs.entry(*channel).or_default();
            }
            TabEvent::Charged(charged) => {
                let tab = self.tabs.entry(charged.channel).or_default();
                let follows = charged.base == tab.charged;
                look.check(follows, || format!("I11: a charge of {charged:?}"));
                self.check_charge(charged, look);
                self.serve(charged.payment, look);
            }
            TabEvent::Stepped(stepped) => self.read_step(stepped, look),
            TabEvent::ChargedOnCredit(charged) => self.read_lent(charged, look),
            TabEvent::Covered { channel, voucher } => {
                self.check_signed(*channel, voucher.ceiling, look);
                let tab = self.tabs.entry(*channel).or_default();
                tab.voucher = tab.voucher.max(voucher.ceiling);
            }
            TabEvent::GivingBack { .. } | TabEvent::GivenBack { .. } => {}
            TabEvent::Seen(_) => look.check(false, || "no such event is written".to_owned()),
            TabEvent::Looked(looked) => {
                let tab = self.tabs.entry(looked.channel).or_default();
                tab.charged = tab.charged.max(looked.newest.claimed);
                tab.show(looked.channel, look);
                let place = tab.shown.iter().rposition(|shown| *shown == looked.newest);
                let newer = place.is_some_and(|place| place >= tab.looked);
                tab.looked = place.unwrap_or(tab.looked);
                look.check(newer, || format!("E04: {looked:?} is older than what was seen before"));
            }
            TabEvent::Counted(seen) => {
                let tab = self.tabs.entry(seen.channel).or_default();
                tab.claimed = seen.counted.claimed;
                tab.lost = more(tab.lost, seen.lost.amount);
                tab.charged = tab.charged.max(tab.claimed);
                let stray = seen.stray.amount.is_zero() || look.fate.has_struck(Fault::Overclaimed);
                look.check(stray, || format!("I11: {seen:?} was claimed by nobody"));
                // What was served on credit may never be signed for.
                let lent = less(tab.charged, tab.voucher);
                let lost = seen.lost.amount <= lent || look.fate.has_struck(Fault::Withdrawn);
                look.check(lost, || format!("I12: {seen:?} was lost for nothing"));
            }
        }
    }

    /// I11, I4: a charge is what its voucher allows, the voucher was signed, and the chain covers it.
    pub(super) fn check_charge(&mut self, charged: &Charged, look: &Look<'_>) {
        let tab = self.tabs.entry(charged.channel).or_default();
        tab.charged = reach_of(charged);
        tab.voucher = tab.voucher.max(charged.ceiling);
        let most = charged.ceiling.checked_sub(charged.base);
        let within = most.is_some_and(|most| charged.amount <= most && !most.is_zero());
        look.check(within, || format!("I11: a charge of {charged:?}"));
        let sight = look.channels.sight(charged.channel);
        let covered = charged.ceiling <= sight.balance || look.fate.has_struck(Fault::Withdrawn);
        look.check(covered, || format!("E04: {} of {sight:?}", charged.ceiling));
        self.check_signed(charged.channel, charged.ceiling, look);
    }

    /// I4: a voucher that the payee has was signed.
    fn check_signed(&self, channel: ChannelId, ceiling: Amount, look: &Look<'_>) {
        let line = self.lines.get(&channel);
        let signed = line.is_some_and(|line| ceiling <= line.ceiling);
        look.check(signed, || format!("I4: {ceiling} was never signed"));
    }

    /// I14: each call is charged once.
    pub(super) fn serve(&mut self, payment: Option<PaymentId>, look: &Look<'_>) {
        let Some(payment) = payment else { return };
        let once = self.served.insert(payment);
        look.check(once, || format!("I14: {payment} was charged twice"));
    }

    /// I11, I13: a charge on credit goes on where the last one ended, by a voucher that was signed, and
    /// what all channels owe with it is within what is lent.
    fn read_lent(&mut self, charged: &Charged, look: &Look<'_>) {
        self.check_signed(charged.channel, charged.ceiling, look);
        let tab = self.tabs.entry(charged.channel).or_default();
        let follows = charged.base == tab.charged && charged.ceiling == tab.voucher;
        look.check(follows, || format!("I11: a charge on credit of {charged:?}"));
        tab.charged = reach_of(charged);
        self.lent = self.lent.saturating_add(1);
        let owed = self.tabs.values().map(|tab| {
            let paid = tab.voucher.max(tab.claimed);
            less(less(tab.charged, tab.lost), paid).get()
        });
        let owed: u128 = owed.sum();
        let within = owed <= CREDIT.per_payer.get();
        look.check(within, || format!("I13: {owed} is owed above what is lent"));
        let reach = look.channels.sight(charged.channel).balance;
        let covered = reach_of(charged) <= reach || look.fate.has_struck(Fault::Withdrawn);
        look.check(covered, || format!("E04: {charged:?} beyond {reach}"));
        self.serve(charged.payment, look);
    }

    /// I11: a step goes on where the last one ended.
    pub(super) fn read_step(&mut self, stepped: &Stepped, look: &Look<'_>) {
        let Stepped { call, taken, first, .. } = stepped;
        let tab = self.tabs.entry(call.channel).or_default();
        let before = less(more(call.base, call.amount), *taken);
        let follows = before == tab.charged && (!first || call.amount == *taken);
        look.check(follows, || format!("I11: a step of {stepped:?}"));
        self.check_charge(call, look);
        if *first {
            self.serve(call.payment, look);
        }
    }
}

/// What a channel has charged with a call.
fn reach_of(charged: &Charged) -> Amount {
    more(charged.base, charged.amount)
}
