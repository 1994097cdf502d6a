//! Channels, by both journals' events and the chain's contract: what a payee could take is held, what
//! was signed is durable, and what was charged never falls. Source: threats.md I10, I11, I12.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::domain::channel::{Ceiling, ChannelId, ChannelTerms, Deposit};
use crate::domain::commitment::AuthorizationKey;
use crate::domain::id::PaymentId;
use crate::domain::ledger::channel::{ChannelEvent, Drawn, Seen, Turn};
use crate::domain::ledger::hold::Held;
use crate::domain::money::Amount;
use crate::ports::rail::NonceState;
use crate::sim::fate::Fault;
use crate::sim::oracle::Look;
use crate::sim::oracle::tabs::Tab;
use crate::sim::roles::PRICE;

/// What is held for one call.
pub(super) struct Draw {
    pub(super) held: Arc<Held>,
    /// What had been charged before it.
    pub(super) base: Amount,
    /// What its first voucher says.
    pub(super) first: Amount,
    pub(super) ceiling: Amount,
    /// Whether a voucher was signed for it, or it went on credit: it may be charged.
    pub(super) released: bool,
    /// Bytes of its answer that arrived.
    pub(super) arrived: u64,
}

/// One channel, as its payer's events tell of it.
pub(super) struct Line {
    terms: ChannelTerms,
    pending: Option<Deposit>,
    /// Deposits that were ever signed, by their names on the rail.
    signed: BTreeSet<AuthorizationKey>,
    charged: Amount,
    /// The highest sum that was ever signed, by the signer's own record.
    pub(super) ceiling: Amount,
    /// What is held for each call, in atomic units.
    pub(super) held: BTreeMap<PaymentId, u128>,
}

/// Every channel that there ever was.
#[derive(Default)]
pub(super) struct Channels {
    pub(super) lines: BTreeMap<ChannelId, Line>,
    pub(super) tabs: BTreeMap<ChannelId, Tab>,
    pub(super) draws: BTreeMap<PaymentId, Draw>,
    pub(super) served: BTreeSet<PaymentId>,
    taken: BTreeSet<PaymentId>,
    pub(super) lent: usize,
    pub(super) extended: usize,
}

/// What channels paid.
#[derive(Copy, Clone, Debug)]
pub struct Counted {
    /// So many calls.
    pub calls: usize,
    /// So many of them were served on credit.
    pub lent: usize,
    /// So many times more was held for a call that flows.
    pub extended: usize,
    /// What they took in all.
    pub taken: u128,
}

/// What an event of a channel moved in the wallet.
#[derive(Copy, Clone, Debug, Default)]
pub(super) struct Shift {
    /// Set aside for a deposit.
    pub aside: Amount,
    /// Arrived of it.
    pub arrived: Amount,
    /// Freed of it.
    pub expired: Amount,
    /// Taken by a charge.
    pub taken: Amount,
    /// Came back.
    pub returned: Amount,
    /// Of what came back, or never arrived, what had been charged.
    pub unclaimed: Amount,
}

impl Channels {
    /// Whether a voucher was ever allowed for it, durably.
    pub fn is_drawn(&self, payment: PaymentId) -> bool {
        self.draws.contains_key(&payment)
    }

    /// Whether it is a deposit that was signed.
    pub fn is_deposit(&self, key: &AuthorizationKey) -> bool {
        self.lines.values().any(|line| line.signed.contains(key))
    }

    /// Every channel with the highest sum that was ever signed for it.
    pub fn vouchers(&self) -> Vec<(ChannelTerms, Amount)> {
        let signed = self.lines.values().filter(|line| !line.ceiling.is_zero());
        signed.map(|line| (line.terms, line.ceiling)).collect()
    }

    /// How many calls were paid, and with how much in all.
    pub fn count(&self) -> Counted {
        let taken = self.lines.values().map(|line| line.charged.get()).sum();
        Counted { calls: self.taken.len(), lent: self.lent, extended: self.extended, taken }
    }

    /// I4, I10: a voucher says what a durable hold allows, at most one call above what was charged, and
    /// its sum is not beneath that.
    pub fn sign(&mut self, payment: PaymentId, ceiling: &Ceiling, look: &Look<'_>) {
        self.let_charge(payment, ceiling, look);
        self.check_ahead(payment, ceiling, look);
        if let Some(line) = self.lines.get_mut(&ceiling.channel) {
            line.ceiling = line.ceiling.max(ceiling.amount);
        }
        self.check_held(ceiling.channel, look);
    }

    /// I4, I10: the same of a call that goes on credit.
    pub fn let_charge(&mut self, payment: PaymentId, ceiling: &Ceiling, look: &Look<'_>) {
        let line = self.lines.get(&ceiling.channel);
        let draw = self.draws.get_mut(&payment);
        let (Some(line), Some(draw)) = (line, draw) else {
            look.check(false, || format!("I4: what {payment} may cost has no hold"));
            return;
        };
        let same =
            draw.ceiling == ceiling.amount && draw.held.commitment.nonce == ceiling.channel.0;
        look.check(same, || format!("I4: {payment} was signed for {}", ceiling.amount));
        let above = ceiling.amount.checked_sub(line.charged).map(Amount::get);
        let within = above.is_none_or(|above| above <= u128::from(PRICE));
        look.check(within, || format!("I10: {payment} is signed {above:?} above its charge"));
        draw.released = true;
    }

    /// I10: a voucher that pays no call says no more than what was charged.
    pub fn sign_charged(&mut self, ceiling: &Ceiling, look: &Look<'_>) {
        let Some(line) = self.line(ceiling.channel, look) else { return };
        let within = ceiling.amount <= line.charged;
        line.ceiling = line.ceiling.max(ceiling.amount);
        let charged = line.charged;
        look.check(within, || format!("I10: {} was signed of {charged}", ceiling.amount));
    }

    /// I4: a deposit is signed as it is durably held.
    pub fn sign_deposit(&mut self, channel: ChannelId, look: &Look<'_>) {
        let Some(line) = self.lines.get_mut(&channel) else {
            look.check(false, || format!("I4: a deposit of {channel} has no channel"));
            return;
        };
        let Some(deposit) = line.pending else {
            look.check(false, || format!("I4: a deposit of {channel} has no hold"));
            return;
        };
        line.signed.insert(key_of(&line.terms, &deposit));
    }

    /// Whose draw it is.
    pub fn find(&self, payment: PaymentId) -> Option<&Arc<Held>> {
        self.draws.get(&payment).map(|draw| &draw.held)
    }

    /// Reads one event of the payers'; what it moved.
    pub fn read_payer(&mut self, event: &ChannelEvent, look: &Look<'_>) -> Shift {
        let none = Shift::default();
        let (channel, shift) = match event {
            ChannelEvent::Opened(opened) => {
                let line = Line {
                    terms: opened.terms,
                    pending: None,
                    signed: BTreeSet::new(),
                    charged: Amount::ZERO,
                    ceiling: Amount::ZERO,
                    held: BTreeMap::new(),
                };
                let former = self.lines.insert(opened.id, line);
                look.check(former.is_none(), || format!("I8: {} was opened twice", opened.id));
                return none;
            }
            ChannelEvent::DepositHeld { channel, deposit, money } => {
                self.set_aside(*channel, deposit, look);
                (*channel, Shift { aside: money.amount, ..none })
            }
            ChannelEvent::Funded(funded) => {
                let channel = funded.drawn.channel;
                self.set_aside(channel, &funded.deposit, look);
                (channel, Shift { aside: funded.money.amount, ..self.draw(&funded.drawn, look) })
            }
            ChannelEvent::Deposited { channel, money, .. } => {
                let nonce = self.end_deposit(*channel, look);
                let arrived = matches!(nonce, Some(NonceState::Used { amount, .. }) if amount == money.amount);
                look.check(arrived, || format!("I24: {channel} got {money:?}: {nonce:?}"));
                (*channel, Shift { arrived: money.amount, ..none })
            }
            ChannelEvent::DepositExpired { channel, money, unclaimed, block } => {
                self.expire(*channel, block.time_s, unclaimed.amount, look);
                (*channel, Shift { expired: money.amount, unclaimed: unclaimed.amount, ..none })
            }
            ChannelEvent::Drawn(drawn) => (drawn.channel, self.draw(drawn, look)),
            ChannelEvent::Charged { channel, charged, turns, taken } => {
                self.turn(*channel, turns, look);
                self.charge(*channel, *charged, look);
                (*channel, Shift { taken: taken.amount, ..none })
            }
            ChannelEvent::DrawVoided { channel, payment, turn } => {
                let signed = self.draws.get(payment).is_some_and(|draw| draw.released);
                look.check(!signed, || format!("I7: {payment} was voided after it was signed"));
                self.turn(*channel, std::slice::from_ref(turn), look);
                (*channel, none)
            }
            ChannelEvent::Seen(seen) => (seen.channel, self.see(seen, look)),
            ChannelEvent::Frozen { .. } => return none,
            ChannelEvent::Extended(extended) => {
                self.extend(extended, look);
                (extended.channel, none)
            }
            ChannelEvent::Resynced { .. } => {
                let told = || format!("I8: {} in a world without it", event.kind());
                look.check(false, told);
                return none;
            }
        };
        self.check_held(channel, look);
        shift
    }

    /// I24: what is counted of a channel, the chain shows.
    fn see(&mut self, seen: &Seen, look: &Look<'_>) -> Shift {
        self.turn(seen.channel, &seen.turns, look);
        let sight = look.channels.sight(seen.channel);
        let so = seen.claimed <= sight.claimed;
        look.check(so, || format!("I24: claimed {} of {}", seen.claimed, sight.claimed));
        let Some(line) = self.line(seen.channel, look) else { return Shift::default() };
        line.charged = more(line.charged, seen.taken.amount);
        line.charged = less(line.charged, seen.unclaimed.amount);
        let (taken, returned) = (seen.taken.amount, seen.returned.amount);
        let unclaimed = seen.unclaimed.amount;
        Shift { taken, returned, unclaimed, ..Shift::default() }
    }

    fn line(&mut self, channel: ChannelId, look: &Look<'_>) -> Option<&mut Line> {
        let found = self.lines.get_mut(&channel);
        look.check(found.is_some(), || format!("I8: {channel} was never opened"));
        found
    }

    fn set_aside(&mut self, channel: ChannelId, deposit: &Deposit, look: &Look<'_>) {
        let Some(line) = self.line(channel, look) else { return };
        let alone = line.pending.replace(*deposit).is_none();
        look.check(alone, || format!("I6: {channel} has two deposits on their way"));
    }

    /// What the chain says of the deposit that was on its way.
    fn end_deposit(&mut self, channel: ChannelId, look: &Look<'_>) -> Option<NonceState> {
        let line = self.line(channel, look)?;
        let deposit = line.pending.take()?;
        Some(look.chain.nonce(&key_of(&line.terms, &deposit)))
    }

    /// I7: a deposit is given back where the chain can never move it any more.
    fn expire(&mut self, channel: ChannelId, time_s: u64, unclaimed: Amount, look: &Look<'_>) {
        let until = self.lines.get(&channel).and_then(|line| line.pending);
        let passed =
            until.is_some_and(|deposit| time_s >= deposit.valid_before_s && look.now_s >= time_s);
        let nonce = self.end_deposit(channel, look);
        let never = !matches!(nonce, Some(NonceState::Used { .. }));
        look.check(passed && never, || format!("I7: a deposit expired: {nonce:?}"));
        if let Some(line) = self.line(channel, look) {
            line.charged = less(line.charged, unclaimed);
        }
    }

    fn draw(&mut self, drawn: &Drawn, look: &Look<'_>) -> Shift {
        self.turn(drawn.channel, &drawn.turns, look);
        self.charge(drawn.channel, drawn.charged, look);
        let held = &drawn.held;
        let amount = held.commitment.amount_max;
        let Some(line) = self.line(drawn.channel, look) else { return Shift::default() };
        let sums = drawn.ceiling == more(drawn.charged, amount);
        look.check(sums, || format!("I10: {} over {}", drawn.ceiling, drawn.charged));
        line.held.insert(held.payment, amount.get());
        let (held, ceiling) = (Arc::clone(held), drawn.ceiling);
        let (base, first) = (drawn.charged, ceiling);
        let draw = Draw { held, base, first, ceiling, released: false, arrived: 0 };
        let former = self.draws.insert(draw.held.payment, draw);
        look.check(former.is_none(), || "I8: a call was drawn twice".to_owned());
        Shift { taken: drawn.taken, ..Shift::default() }
    }

    /// I11: what was charged never falls.
    fn charge(&mut self, channel: ChannelId, charged: Amount, look: &Look<'_>) {
        let Some(line) = self.line(channel, look) else { return };
        let (before, on) = (line.charged, charged >= line.charged);
        line.charged = line.charged.max(charged);
        look.check(on, || format!("I11: {channel} was charged {before}, and then {charged}"));
    }

    pub(super) fn turn(&mut self, channel: ChannelId, turns: &[Turn], look: &Look<'_>) {
        for turn in turns {
            if !turn.taken.is_zero() {
                self.taken.insert(turn.payment);
            }
            let gone = turn.taken.get().saturating_add(turn.freed.get());
            let Some(line) = self.line(channel, look) else { return };
            let held = line.held.get(&turn.payment).copied();
            let left = held.and_then(|held| held.checked_sub(gone));
            look.check(left.is_some(), || format!("I22: {turn:?} of {held:?}"));
            let left = left.unwrap_or(0);
            look.check(turn.ended == (left == 0), || format!("I22: {turn:?} leaves {left}"));
            if left == 0 {
                line.held.remove(&turn.payment);
            } else {
                line.held.insert(turn.payment, left);
            }
        }
    }

    /// I7, I10: whatever was signed and can still be drawn is held, or was charged.
    fn check_held(&self, channel: ChannelId, look: &Look<'_>) {
        let Some(line) = self.lines.get(&channel) else { return };
        let coming = line.pending.filter(|deposit| {
            look.chain.nonce(&key_of(&line.terms, deposit)) == NonceState::Unused
        });
        let coming = coming.map_or(Amount::ZERO, |deposit| deposit.amount);
        let reach = more(look.channels.sight(channel).balance, coming);
        let most = line.ceiling.min(reach).get();
        let held: u128 = line.held.values().sum();
        let counted = line.charged.get().saturating_add(held);
        look.check(counted >= most, || {
            format!("I10: {channel} can give {most}, and {counted} is counted")
        });
    }

    /// I10 to I12: looks at every channel on the chain.
    pub fn check(&mut self, look: &Look<'_>) {
        for (channel, tab) in &mut self.tabs {
            tab.show(*channel, look);
        }
        for (channel, line) in &self.lines {
            let claimed = look.channels.sight(*channel).claimed;
            let signed = claimed <= line.ceiling;
            look.check(signed, || format!("I4: {claimed} was claimed of {}", line.ceiling));
            self.check_held(*channel, look);
            let charged = self.tabs.get(channel).map_or(Amount::ZERO, |tab| tab.charged);
            let honest = claimed <= charged || look.fate.has_struck(Fault::Overclaimed);
            look.check(honest, || format!("I11: {claimed} was claimed, {charged} charged"));
        }
    }

    /// What is under way still: a deposit, something held, or something on the chain that was not claimed.
    pub fn open(&self, look: &Look<'_>) -> Vec<String> {
        let lines = self.lines.iter().filter_map(|(channel, line)| {
            let sight = look.channels.sight(*channel);
            let empty = sight.balance == sight.claimed && line.charged == sight.claimed;
            let over = line.pending.is_none() && line.held.is_empty() && empty;
            let (pending, charged, held) = (&line.pending, line.charged, &line.held);
            let told = || format!("{channel}: {sight:?}, {charged} charged, {pending:?}, {held:?}");
            (!over).then(told)
        });
        let tabs = self.tabs.iter().filter_map(|(channel, tab)| {
            let claimed = look.channels.sight(*channel).claimed;
            let over = tab.claimed == claimed && less(tab.charged, tab.lost) <= tab.claimed;
            (!over).then(|| format!("{channel}: {claimed} of {} claimed", tab.charged))
        });
        lines.chain(tabs).collect()
    }

    /// I23, I24: in the end nothing is held or on its way, everything came back or was claimed, and both
    /// sides and the chain agree on each channel.
    pub fn check_end(&self, look: &Look<'_>) {
        for (channel, line) in &self.lines {
            let sight = look.channels.sight(*channel);
            let over = line.pending.is_none() && line.held.is_empty();
            look.check(over, || format!("I23: {channel} holds {:?}", line.held));
            let empty = sight.balance == sight.claimed && line.charged == sight.claimed;
            look.check(empty, || {
                format!("I24: {channel} has {sight:?}, and {} was charged", line.charged)
            });
        }
        for (channel, tab) in &self.tabs {
            let claimed = look.channels.sight(*channel).claimed;
            let paid = more(tab.claimed, tab.lost) >= tab.charged && tab.claimed == claimed;
            look.check(paid, || format!("I12: {channel} was charged {}", tab.charged));
        }
    }
}

fn key_of(terms: &ChannelTerms, deposit: &Deposit) -> AuthorizationKey {
    AuthorizationKey { asset: terms.asset, payer: terms.payer, nonce: deposit.nonce }
}

pub(super) fn more(amount: Amount, other: Amount) -> Amount {
    amount.checked_add(other).unwrap_or(Amount::MAX)
}

pub(super) fn less(amount: Amount, other: Amount) -> Amount {
    amount.checked_sub(other).unwrap_or(Amount::ZERO)
}
