//! The oracle: reads every entry at the instant it becomes durable, counts it again by the words of
//! the invariants with none of the code that the ledger decides by, and looks at the chain itself. It
//! never asks the runtime, and nothing asks it but the world. Source: threats.md section 3.
//!
//! | what | when | where |
//! |---|---|---|
//! | I1 caps, I2 all budgets or none, I20 authority, I22 return to origin | each hold and each end of one | `budgets` |
//! | I3 double entry, no wallet below zero | each entry | `money` |
//! | I4 hold before signature, I21 freeze | each signature | [`Oracle::sign`] |
//! | I5 settle once, I6 one live authorization, I7 a hold outlives what can be drawn, I8 an end is an end, I9 unknown is not failure | each entry | `payments` |
//! | I10, I11, I12 channels | each entry, each signature and each step | `channels` |
//! | I13, I14 claims | each entry | `claims` |
//! | I16 recovery | each start, and images of a crash at a sync | [`Oracle::check_recovered`] |
//! | I17 acknowledged after durable | each answer | [`Oracle::check_paid`], [`Oracle::check_served`] |
//! | I18 time | each entry | here, `budgets` |
//! | I23 everything ends | the end | [`Oracle::check_end`] |
//! | I24 the chain agrees | each entry and each step | `money`, `claims` |

mod budgets;
mod channels;
mod claims;
mod flowing;
mod money;
mod payments;
mod signing;
mod tabs;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use alloy::primitives::Address;

use crate::domain::channel::ChannelTerms;
use crate::domain::id::PaymentId;
use crate::domain::ledger::agent::Scope;
use crate::domain::ledger::channel::ChannelEvent;
use crate::domain::ledger::hold::{CaptureProof, Held, VoidProof};
use crate::domain::ledger::{Bounds, Event, Ledger};
use crate::domain::money::Amount;
use crate::domain::time::Timestamp;
use crate::ports::clock::Clock as _;
use crate::ports::journal::Entry;
use crate::ports::memory_channels::MemoryChannels;
use crate::ports::memory_rail::MemoryRail;
use crate::sim::clock::SimClock;
use crate::sim::fate::Fate;
use crate::sim::oracle::budgets::Budgets;
use crate::sim::oracle::channels::Channels;
pub use crate::sim::oracle::channels::Counted;
use crate::sim::oracle::claims::{Bound, Claims};
use crate::sim::oracle::money::{Purse, Till};
use crate::sim::oracle::payments::Payments;
pub use crate::sim::oracle::payments::Standing;
use crate::sim::roles::USDC;

/// Whose journal.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Side {
    /// The payers' node.
    Payer,
    /// The payee's.
    Payee,
}

/// What a check looks at beside the events: the chain, and the time.
struct Look<'a> {
    fate: &'a Fate,
    chain: &'a MemoryRail,
    channels: &'a MemoryChannels,
    now_s: u64,
}

impl Look<'_> {
    fn check(&self, held: bool, what: impl FnOnce() -> String) {
        self.fate.check(held, what);
    }
}

/// One side's journal as far as it is durable, and the ledger that it amounts to.
struct Journal {
    last: (u64, Timestamp),
    ledger: Ledger,
}

struct State {
    payer: Journal,
    payee: Journal,
    payments: Payments,
    budgets: Budgets,
    claims: Claims,
    purse: Purse,
    till: Till,
    channels: Channels,
    pay_to: Address,
    transfers: usize,
    /// What is paused, acknowledged, and not yet asked to be resumed.
    frozen: BTreeSet<Scope>,
}

/// The oracle. Clones are the same one.
#[derive(Clone)]
pub struct Oracle {
    fate: Fate,
    chain: MemoryRail,
    channels: MemoryChannels,
    clock: SimClock,
    state: Arc<Mutex<State>>,
}

impl Oracle {
    /// One that has read nothing, for the payers' wallet and the payee, in this order.
    pub fn new(
        fate: Fate,
        (chain, channels): (MemoryRail, MemoryChannels),
        clock: SimClock,
        [wallet, pay_to]: [Address; 2],
    ) -> Self {
        let journal =
            || Journal { last: (0, Timestamp::ZERO), ledger: Ledger::new(Bounds::default()) };
        let state = State {
            payer: journal(),
            payee: journal(),
            payments: Payments::default(),
            budgets: Budgets::default(),
            claims: Claims::default(),
            purse: Purse::new(wallet),
            till: Till::default(),
            channels: Channels::default(),
            pay_to,
            transfers: 0,
            frozen: BTreeSet::new(),
        };
        Self { fate, chain, channels, clock, state: Arc::new(Mutex::new(state)) }
    }

    /// Reads one more entry of a journal, durable by now.
    pub fn read(&self, side: Side, entry: &Entry) {
        let (seq, at, kind) = (entry.seq, entry.at, entry.event.kind());
        self.fate.note(format_args!("{side:?} {seq} {at} {kind}"));
        self.with(|state, look| {
            state.look_at_chain(look);
            state.journal(side).follow(entry, look);
            match side {
                Side::Payer => state.read_payer(entry, look),
                Side::Payee => state.read_payee(entry, look),
            }
            state.check_money(look);
        });
    }

    /// I3, I24: looks at what the chain moved since, and holds the books against it.
    pub fn step(&self) {
        self.with(|state, look| {
            if state.look_at_chain(look) {
                state.check_money(look);
            }
            state.channels.check(look);
        });
    }

    /// Every channel with the highest sum that was ever signed for it.
    pub fn vouchers(&self) -> Vec<(ChannelTerms, Amount)> {
        self.with(|state, _| state.channels.vouchers())
    }

    /// How many calls channels paid, and with how much in all.
    pub fn count_calls(&self) -> Counted {
        self.with(|state, _| state.channels.count())
    }

    /// I17, I21: a pause was acknowledged: it is durable, and no signature comes any more.
    pub fn freeze(&self, scope: Scope) {
        self.with(|state, look| {
            let durable = state.budgets.paused().contains(&scope);
            look.check(durable, || format!("I17: {scope} was not durably paused"));
            state.frozen.insert(scope);
        });
    }

    /// A resume is about to be asked for.
    pub fn thaw(&self, scope: &Scope) {
        self.with(|state, _| state.frozen.remove(scope));
    }

    /// I17: what a caller is told was captured is durable by then.
    pub fn check_paid(&self, payment: PaymentId) {
        self.with(|state, look| {
            let standing = state.payments.find(payment).map(|found| found.standing);
            let drawn = state.channels.is_drawn(payment);
            let taken = drawn || standing.is_some_and(Standing::is_taken);
            look.check(taken, || format!("I17: {payment} was acknowledged while {standing:?}"));
        });
    }

    /// I17: a receipt leaves the payee once its service is durable.
    pub fn check_served(&self, payment: PaymentId) {
        self.with(|state, look| {
            let key = state.payments.find(payment).map(|found| found.held.commitment.key());
            let bound = key.and_then(|key| state.claims.find(&key));
            let served = bound == Some(Bound::Served);
            look.check(served, || format!("I17: a receipt for {payment} left while {bound:?}"));
        });
    }

    /// I9: what is in doubt is not told to have failed for good.
    pub fn check_not_failed(&self, payment: PaymentId, code: &str) {
        self.with(|state, look| {
            let standing = state.payments.find(payment).map(|found| found.standing);
            let open = matches!(standing, Some(Standing::Held | Standing::Unknown));
            look.check(!open, || format!("I9: {payment} is {standing:?}, and was told {code}"));
        });
    }

    /// I16: a start finds the ledger that the durable entries amount to, `more` entries with them.
    pub fn check_recovered(&self, side: Side, found: &Ledger, more: &[Entry]) {
        self.with(|state, look| {
            let expected = &state.journal(side).ledger;
            let same = if more.is_empty() {
                expected == found
            } else {
                let mut expected = expected.clone();
                for entry in more {
                    expected.evolve(entry.at, &entry.event);
                }
                expected == *found
            };
            look.check(same, || format!("I16: a start of the {side:?} finds another ledger"));
        });
    }

    /// What channels have under way still, for whoever looks for it.
    pub fn open_channels(&self) -> Vec<String> {
        self.with(|state, look| state.channels.open(look))
    }

    /// Whether nothing is open on either side: no hold, and no claim whose money may still come; and
    /// the ledger has counted all that the chain moved.
    pub fn is_quiet(&self) -> bool {
        self.with(|state, look| {
            let ended = state.payments.open() == 0 && state.claims.open() == 0;
            ended && state.purse.is_counted() && state.channels.open(look).is_empty()
        })
    }

    /// I23, I24: at the end every payment is final, nothing is held, and both sides and the chain
    /// agree on each: what the payer took, the chain moved and the payee has booked, but for what
    /// somebody else sent to the chain without the payee's knowing.
    pub fn check_end(&self, by_others: &BTreeSet<crate::domain::commitment::AuthorizationKey>) {
        self.with(|state, look| {
            state.look_at_chain(look);
            state.check_money(look);
            state.purse.check_end(look);
            state.channels.check_end(look);
            for (payment, found) in state.payments.iter() {
                let standing = found.standing;
                let ended = matches!(standing, Standing::Settled | Standing::Free);
                look.check(ended, || format!("I23: {payment} ended as {standing:?}"));
                let bound = state.claims.find(&found.held.commitment.key());
                let came = bound.is_some_and(Bound::is_settled);
                let other = by_others.contains(&found.held.commitment.key());
                let agree = (standing == Standing::Settled) == came || (other && !came);
                look.check(agree, || {
                    format!("I24: {payment} is {standing:?} for its payer, {bound:?} for its payee")
                });
            }
            for (key, bound) in state.claims.iter() {
                let known = state.payments.find_key(key).is_some();
                look.check(known, || format!("I24: a claim is {bound:?} that nobody pays"));
            }
            for key in state.till.unbooked() {
                let other = by_others.contains(key);
                let bound = state.claims.find(key);
                look.check(other, || format!("I24: money came that is booked nowhere: {bound:?}"));
            }
        });
    }

    /// How many payments are in this state, and what they amount to in atomic units.
    pub fn count(&self, standing: Standing) -> (usize, u128) {
        self.with(|state, _| {
            let found = state.payments.iter().filter(|(_, found)| found.standing == standing);
            found.fold((0, 0), |(count, sum): (usize, u128), (_, found)| {
                let amount = found.held.commitment.amount_max.get();
                (count.saturating_add(1), sum.saturating_add(amount))
            })
        })
    }

    fn with<R>(&self, look: impl FnOnce(&mut State, &Look<'_>) -> R) -> R {
        let now_s = self.clock.now().as_secs();
        let (fate, chain, channels) = (&self.fate, &self.chain, &self.channels);
        let beside = Look { fate, chain, channels, now_s };
        // A panic in here is a finding of its own, which the world tells.
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        look(&mut state, &beside)
    }
}

impl Journal {
    /// I18: entries follow one another, without gaps, later and later.
    fn follow(&mut self, entry: &Entry, look: &Look<'_>) {
        let (seq, at) = self.last;
        let follows = entry.seq == seq.saturating_add(1) && entry.at > at;
        look.check(follows, || format!("I18: entry {} at {} after {seq}", entry.seq, entry.at));
        self.last = (entry.seq, entry.at);
        self.ledger.evolve(entry.at, &entry.event);
    }
}

impl State {
    const fn journal(&mut self, side: Side) -> &mut Journal {
        match side {
            Side::Payer => &mut self.payer,
            Side::Payee => &mut self.payee,
        }
    }

    /// Whether the chain moved anything since.
    fn look_at_chain(&mut self, look: &Look<'_>) -> bool {
        let moved = look.chain.moved_after(self.transfers);
        self.transfers = self.transfers.saturating_add(moved.len());
        for transfer in &moved {
            let payment = transfer.key.and_then(|key| self.payments.find_key(&key));
            let deposit = transfer.key.is_some_and(|key| self.channels.is_deposit(&key));
            let signed =
                transfer.key.is_none() || deposit || payment.is_some_and(|found| found.signed);
            look.check(signed, || "I4: the chain moved what was never signed".to_owned());
            let taken = payment.is_some_and(|found| found.standing.is_taken());
            if deposit || transfer.channel.is_some() {
                self.purse.see_channel(transfer);
            } else {
                self.purse.see_transfer(transfer, payment.is_some(), taken);
            }
            if transfer.to == self.pay_to {
                let bound = transfer.key.and_then(|key| self.claims.find(&key));
                self.till.see_transfer(transfer, bound.is_some_and(Bound::is_settled));
            }
        }
        !moved.is_empty()
    }

    fn check_money(&self, look: &Look<'_>) {
        self.purse.check(look);
        self.till.check(self.pay_to, look);
    }

    fn read_payer(&mut self, entry: &Entry, look: &Look<'_>) {
        let event = &entry.event;
        if let Event::FundsSeen { entered, left, up_to, .. } = event {
            self.purse.see_funds(*entered, *left, *up_to, look);
        }
        let shift = match event {
            Event::Channel(event) => Some(self.channels.read_payer(event, look)),
            _ => None,
        };
        if let Some(shift) = shift {
            self.purse.shift(&shift, look);
        }
        if let Event::Held(held) = event {
            self.payments.hold(held, look);
            self.budgets.hold(entry.at, held, look);
            self.purse.hold(held, look);
        }
        self.budgets.read(event, look);
        let touched = match event {
            Event::Held(held) => Some(Arc::clone(held)),
            Event::Channel(channel) => self.turn(entry.at, channel, look),
            _ => self.end_payment(event, look),
        };
        if let Some(held) = touched {
            self.budgets.compare(&self.payer.ledger, &held, entry.at, look);
        }
        let position =
            self.payer.ledger.wallets().first().and_then(|wallet| wallet.find(USDC)).copied();
        self.purse.compare(position.as_ref(), self.payer.ledger.books(), look);
    }

    /// What an event of a channel gives and takes in budgets: whose numbers changed by it.
    fn turn(&mut self, at: Timestamp, event: &ChannelEvent, look: &Look<'_>) -> Option<Arc<Held>> {
        let mut touched = None;
        for turn in event.turns() {
            let held = Arc::clone(self.channels.find(turn.payment)?);
            self.budgets.turn(&held, turn, look);
            touched = Some(held);
        }
        if let ChannelEvent::Extended(extended) = event {
            self.budgets.extend(at, extended, look);
            return Some(Arc::clone(&extended.held));
        }
        if let Some(drawn) = event.drawn() {
            self.budgets.hold(at, &drawn.held, look);
            touched = Some(Arc::clone(&drawn.held));
        }
        touched
    }

    /// What an event makes of a payment: whose numbers changed by it, if any did.
    fn end_payment(&mut self, event: &Event, look: &Look<'_>) -> Option<Arc<Held>> {
        use Standing::{Captured, Free, Settled, Unknown};
        let open = [Standing::Held, Unknown];
        let payments = &mut self.payments;
        let (payment, to) = match event {
            Event::Doubted { payment } => {
                payments.go(*payment, &[Standing::Held], Unknown, look);
                return None;
            }
            Event::PaymentVerified { payment, .. } => {
                payments.go(*payment, &[Captured], Settled, look);
                return None;
            }
            Event::Captured { payment, amount, proof, .. } => {
                payments.check_taken(*payment, *amount, look);
                let to = match proof {
                    CaptureProof::Receipt => Captured,
                    CaptureProof::Chain(_) => Settled,
                };
                payments.go(*payment, &open, to, look);
                (payment, to)
            }
            Event::Voided { payment, proof: VoidProof::NeverSigned, .. } => {
                payments.check_unsigned(*payment, look);
                payments.go(*payment, &[Standing::Held], Free, look);
                (payment, Free)
            }
            Event::Voided { payment, proof: VoidProof::Canceled { .. }, .. } => {
                payments.check_canceled(*payment, look);
                payments.go(*payment, &open, Free, look);
                (payment, Free)
            }
            Event::Expired { payment, block, .. } => {
                payments.check_over(*payment, block.time_s, look);
                payments.go(*payment, &open, Free, look);
                (payment, Free)
            }
            Event::CaptureReversed { payment, block, captured, .. } => {
                payments.check_over(*payment, block.time_s, look);
                payments.go(*payment, &[Captured], Free, look);
                self.purse.give_back(captured.amount);
                let held = Arc::clone(&payments.find(*payment)?.held);
                self.budgets.free(&held, look);
                return Some(held);
            }
            _ => return None,
        };
        let held = Arc::clone(&payments.find(*payment)?.held);
        let amount = held.commitment.amount_max;
        if to == Free {
            self.budgets.free(&held, look);
            self.purse.free(amount);
        } else {
            self.budgets.spend(&held);
            self.purse.take(amount);
        }
        Some(held)
    }

    fn read_payee(&mut self, entry: &Entry, look: &Look<'_>) {
        let settled = self.claims.read(&entry.event, look);
        match &entry.event {
            Event::ClaimSettled { amount, .. } => {
                if let Some(key) = settled {
                    self.till.settle(&key, *amount);
                }
            }
            Event::Served { amount, .. } => self.till.serve(*amount),
            Event::Tab(event) => {
                self.channels.read_payee(event, look);
                self.till.read_tab(event);
            }
            _ => {}
        }
        self.till.compare(self.claims.sums(), self.payee.ledger.books(), look);
    }
}
