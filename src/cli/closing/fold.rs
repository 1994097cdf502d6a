//! What the payers' journal says, folded without the ledger's own accounts; beside it with them, for
//! the curves of the caps.

use std::collections::{BTreeMap, BTreeSet};

use bursar::domain::channel::ChannelId;
use bursar::domain::commitment::Scheme;
use bursar::domain::id::{AgentId, PaymentId, RequestId};
use bursar::domain::ledger::audit::Audit;
use bursar::domain::ledger::channel::{ChannelEvent, Frozen, Turn};
use bursar::domain::ledger::event::Event;
use bursar::domain::ledger::hold::Held;
use bursar::domain::ledger::{Bounds, Ledger};
use bursar::domain::money::{Amount, Nano};
use bursar::domain::time::Timestamp;
use bursar::ports::journal::Entry;

use super::{Books, Point, Tried, count, usdc};

/// Points of each curve at most.
const POINTS_MAX: usize = 400;

/// A channel, as its payer's events tell of it, in atomic units.
#[derive(Clone, Debug, Default)]
pub struct Line {
    /// The highest sum that was ever allowed to be signed.
    pub ceiling: Amount,
    /// Charged in all, without what was charged and never paid.
    pub charged: u128,
    /// Arrived in all.
    pub deposited: u128,
    /// Came back in all.
    pub returned: u128,
    /// Whether its payee said, or the chain showed, what cannot be.
    pub is_distrusted: bool,
}

/// A hold, as far as the books ask for it.
#[derive(Copy, Clone, Debug)]
struct Asked {
    agent: AgentId,
    request: RequestId,
    nano: Nano,
    by_channel: bool,
}

impl Asked {
    const fn of(held: &Held) -> Self {
        let by_channel = matches!(held.commitment.scheme, Scheme::BatchSettlement(_));
        let Held { agent, request, nano, .. } = *held;
        Self { agent, request, nano, by_channel }
    }
}

/// The fold.
#[derive(Default)]
pub struct Fold {
    audit: Audit,
    ledger: Option<Ledger>,
    holds: BTreeMap<PaymentId, Asked>,
    /// What was taken for each payment, in the unit of account.
    taken: BTreeMap<PaymentId, u64>,
    /// What is held still of each payment by channel, in the unit of account.
    drawn: BTreeMap<PaymentId, u64>,
    by_request: BTreeMap<(AgentId, RequestId), u64>,
    gone: BTreeSet<PaymentId>,
    lines: BTreeMap<ChannelId, Line>,
    curves: BTreeMap<String, Vec<Point>>,
}

impl Fold {
    /// Takes one more entry, in their order.
    pub fn take(&mut self, entry: &Entry) {
        self.audit.see(entry.at, &entry.event);
        match &entry.event {
            Event::Held(held) => {
                self.holds.insert(held.payment, Asked::of(held));
            }
            Event::Captured { payment, nano, .. } => self.paid(*payment, nano.get()),
            Event::CaptureReversed { payment, .. } => {
                self.taken.remove(payment);
                if let Some(held) = self.holds.get(payment) {
                    let key = (held.agent, held.request);
                    let count = self.by_request.entry(key).or_default();
                    *count = count.saturating_sub(1);
                }
                self.gone.insert(*payment);
            }
            Event::Voided { payment, .. } | Event::Expired { payment, .. } => {
                self.gone.insert(*payment);
            }
            Event::Channel(event) => self.take_channel(event),
            _ => {}
        }
        let ledger = self.ledger.get_or_insert_with(|| Ledger::new(Bounds::default()));
        ledger.evolve(entry.at, &entry.event);
        let held = matches!(entry.event, Event::Held(_) | Event::PolicyApplied { .. })
            || matches!(&entry.event, Event::Channel(event) if event.drawn().is_some());
        if held {
            self.plot(entry.at);
        }
    }

    /// Every channel that there ever was.
    pub const fn lines(&self) -> &BTreeMap<ChannelId, Line> {
        &self.lines
    }

    /// Payments that were taken one by one, each by a transfer of its own.
    pub fn paid_alone(&self) -> usize {
        self.taken.keys().filter(|payment| !self.is_by_channel(**payment)).count()
    }

    fn is_by_channel(&self, payment: PaymentId) -> bool {
        self.holds.get(&payment).is_some_and(|held| held.by_channel)
    }

    /// Counts a request as paid once for each of its payments, however often more is taken of one.
    fn paid(&mut self, payment: PaymentId, nano: u64) {
        let former = self.taken.get(&payment).copied();
        self.taken.insert(payment, former.unwrap_or(0).saturating_add(nano));
        if former.is_none()
            && let Some(held) = self.holds.get(&payment)
        {
            let key = (held.agent, held.request);
            let count = self.by_request.entry(key).or_default();
            *count = count.saturating_add(1);
        }
    }

    fn take_channel(&mut self, event: &ChannelEvent) {
        for turn in event.turns() {
            self.turn(turn);
        }
        if let Some(drawn) = event.drawn() {
            self.holds.insert(drawn.held.payment, Asked::of(&drawn.held));
            self.drawn.insert(drawn.held.payment, drawn.held.nano.get());
        }
        let line = self.lines.entry(event.channel()).or_default();
        for turn in event.turns() {
            line.charged = line.charged.saturating_add(turn.taken.get());
        }
        match event {
            ChannelEvent::Drawn(drawn) => line.ceiling = line.ceiling.max(drawn.ceiling),
            ChannelEvent::Funded(funded) => line.ceiling = line.ceiling.max(funded.drawn.ceiling),
            ChannelEvent::Extended(extended) => {
                line.ceiling = line.ceiling.max(extended.ceiling);
                self.drawn.insert(extended.held.payment, extended.held.nano.get());
            }
            ChannelEvent::Resynced { ceiling, .. } => line.ceiling = line.ceiling.max(*ceiling),
            ChannelEvent::Deposited { money, .. } => {
                line.deposited = line.deposited.saturating_add(money.amount.get());
            }
            ChannelEvent::DepositExpired { unclaimed, .. } => {
                line.charged = line.charged.saturating_sub(unclaimed.amount.get());
            }
            ChannelEvent::Seen(seen) => {
                line.returned = line.returned.saturating_add(seen.returned.amount.get());
                line.charged = line.charged.saturating_sub(seen.unclaimed.amount.get());
            }
            ChannelEvent::Frozen { why, .. } => {
                line.is_distrusted |= !matches!(why, Frozen::Closing);
            }
            ChannelEvent::Opened(_)
            | ChannelEvent::DepositHeld { .. }
            | ChannelEvent::Charged { .. }
            | ChannelEvent::DrawVoided { .. } => {}
        }
    }

    fn turn(&mut self, turn: &Turn) {
        if !turn.taken.is_zero() {
            self.paid(turn.payment, turn.taken_nano.get());
        }
        let moved = turn.taken_nano.get().saturating_add(turn.freed_nano.get());
        if turn.ended {
            self.drawn.remove(&turn.payment);
            if !self.taken.contains_key(&turn.payment) {
                self.gone.insert(turn.payment);
            }
        } else if let Some(held) = self.drawn.get_mut(&turn.payment) {
            *held = held.saturating_sub(moved);
        }
    }

    /// Each budget as the ledger sees it now; of one that has many accounts, the account that is the
    /// nearest to its cap. A curve that grows too long loses every other point.
    fn plot(&mut self, at: Timestamp) {
        let Some(ledger) = &self.ledger else { return };
        let mut nearest: BTreeMap<String, Point> = BTreeMap::new();
        for check in ledger.accounts(at) {
            let used = check.spent.get().saturating_add(check.held.get());
            let point = Point { at, used, limit: check.limit.get() };
            let found = nearest.entry(check.budget.to_string()).or_insert(point);
            if point.left() < found.left() {
                *found = point;
            }
        }
        for (name, point) in nearest {
            let curve = self.curves.entry(name).or_default();
            curve.push(point);
            if curve.len() > POINTS_MAX.saturating_mul(8) {
                thin(curve);
            }
        }
    }

    /// Puts what it found into the books.
    pub fn tell(&self, books: &mut Books, tried: &Tried) {
        let alone = self.holds.iter().filter(|(payment, held)| {
            let ended = self.taken.contains_key(payment) || self.gone.contains(payment);
            !ended && !held.by_channel
        });
        let held_alone: u128 = alone.clone().map(|(_, held)| u128::from(held.nano.get())).sum();
        let held_by_channel: u128 = self.drawn.values().copied().map(u128::from).sum();
        books.admitted = count(self.holds.len());
        books.settled_nano = self.taken.values().copied().map(u128::from).sum();
        books.held_nano = held_alone.saturating_add(held_by_channel);
        books.unknown = count(alone.count().saturating_add(self.drawn.len()));
        books.over_limit_nano = self.audit.over_limit().get();
        books.ledger_atomic = self.audit.captured(usdc());
        let alone = self.paid_alone();
        let by_channel = self.taken.len().saturating_sub(alone);
        books.paid_by_scheme =
            BTreeMap::from([("exact", count(alone)), ("batch-settlement", count(by_channel))]);
        self.tell_of_answers(books, tried);
        for (name, curve) in &self.curves {
            let mut curve = curve.clone();
            while curve.len() > POINTS_MAX {
                thin(&mut curve);
            }
            books.curves.insert(name.clone(), curve);
        }
    }

    fn tell_of_answers(&self, books: &mut Books, tried: &Tried) {
        let known = |payment: &PaymentId| self.holds.contains_key(payment);
        let lost = tried.told.iter().filter(|told| !told.payment.as_ref().is_some_and(known));
        books.lost = count(lost.count());
        // An answer whose payment expired was free, and the same request may be paid once after it.
        let mut payments: BTreeMap<(&str, RequestId), BTreeSet<PaymentId>> = BTreeMap::new();
        for told in &tried.told {
            let taken = |payment: &PaymentId| self.taken.contains_key(payment);
            if let Some(payment) = told.payment.filter(taken) {
                let key = (&*told.agent, told.request);
                payments.entry(key).or_default().insert(payment);
            }
        }
        let told_twice = payments.values().filter(|payments| payments.len() > 1).count();
        let journalled = self.by_request.values().filter(|count| **count > 1).count();
        books.paid_twice = BTreeMap::from([
            ("by_answers", count(told_twice)),
            ("by_journal", count(journalled)),
            ("by_conflicts", tried.confused),
        ]);
    }
}

/// Drops every other point, but keeps of each pair the one that is nearer to its cap.
fn thin(curve: &mut Vec<Point>) {
    let pairs = curve.chunks(2);
    let nearer = pairs.filter_map(|pair| pair.iter().copied().min_by_key(Point::left));
    *curve = nearer.collect();
}
