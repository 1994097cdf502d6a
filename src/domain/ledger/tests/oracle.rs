//! A second, slow ledger: everything that the first one counts, counted again from its events alone,
//! from nothing, by the words of the rules and by none of the first one's code.

use std::collections::{BTreeMap, BTreeSet};

use alloy::primitives::B256;

use super::audits;
use super::fixture::{Desk, asset};
use crate::domain::commitment::Scheme;
use crate::domain::id::{AgentId, PaymentId, RequestId};
use crate::domain::ledger::Event;
use crate::domain::ledger::budget::{AccountKey, BudgetDef, BudgetNo};
use crate::domain::ledger::hold::{CaptureProof, Held};
use crate::domain::ledger::window::WindowSpec;
use crate::domain::money::Amount;
use crate::domain::time::Timestamp;

/// What a payment counts for.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
enum Standing {
    Held,
    Unknown,
    /// Spent by the payee's word.
    Captured,
    /// Spent by the rail's word.
    Settled,
    /// Free: nothing counts.
    Free,
}

struct Payment {
    held: Held,
    placed_at: Timestamp,
    standing: Standing,
    /// Of the asset and in budgets, once it is captured or settled.
    taken: (Amount, u64),
}

/// What the events say.
#[derive(Default)]
pub struct Oracle {
    payments: BTreeMap<PaymentId, Payment>,
    budgets: BTreeMap<BudgetNo, BudgetDef>,
    delegations: BTreeMap<[u8; 16], u64>,
    entered: i128,
    last: Timestamp,
    nonces: BTreeSet<B256>,
    /// The most that ever counted in one account of a budget, as something was placed there.
    peaks: BTreeMap<BudgetNo, u64>,
}

impl Oracle {
    /// Folds the whole log, checking what each event may do where it happens.
    pub fn read(log: &[(Timestamp, Event)]) -> Self {
        let mut oracle = Self::default();
        for (at, event) in log {
            // I18: time strictly increases.
            assert!(*at > oracle.last, "time went back");
            oracle.last = *at;
            oracle.step(*at, event);
        }
        oracle
    }

    fn step(&mut self, at: Timestamp, event: &Event) {
        use Standing::{Captured, Free, Held, Settled, Unknown};
        match event {
            Event::PolicyApplied { budgets, .. } => self.budgets.extend(budgets.iter().cloned()),
            Event::Delegated { delegation, terms, .. } => {
                self.delegations.insert(*delegation.as_bytes(), terms.limit.get());
            }
            Event::FundsSeen { entered, left, .. } => {
                self.entered += signed(*entered) - signed(*left);
            }
            Event::Held(held) => self.place(at, held),
            Event::Doubted { payment } => self.go(*payment, &[Held], Unknown),
            Event::Captured { payment, proof, amount, nano, .. } => {
                let held = &self.payments[payment].held;
                // I5: exact takes exactly what was authorized, a maximum is never passed.
                if held.commitment.scheme == Scheme::Exact {
                    assert_eq!((*amount, *nano), (held.commitment.amount_max, held.nano));
                }
                assert!(*amount <= held.commitment.amount_max && *nano <= held.nano);
                self.take(*payment, *amount, nano.get());
                let to = match proof {
                    CaptureProof::Receipt => Captured,
                    CaptureProof::Chain(_) => Settled,
                };
                self.go(*payment, &[Held, Unknown], to);
            }
            Event::PaymentVerified { payment, .. } => self.go(*payment, &[Captured], Settled),
            // I7, I9: what was in doubt is given back by the rail's word only.
            Event::Voided { payment, proof, .. } => {
                let by_rail =
                    matches!(proof, crate::domain::ledger::hold::VoidProof::Canceled { .. });
                let from: &[Standing] = if by_rail { &[Held, Unknown] } else { &[Held] };
                self.go(*payment, from, Free);
            }
            Event::Expired { payment, block, .. } => {
                self.check_over(*payment, block.time_s);
                self.go(*payment, &[Held, Unknown], Free);
            }
            Event::CaptureReversed { payment, block, .. } => {
                self.check_over(*payment, block.time_s);
                self.go(*payment, &[Captured], Free);
            }
            Event::PaymentClosed(closed) => {
                let (amount, nano) = self.payments[&closed.payment].taken;
                assert_eq!((closed.captured.amount, closed.captured_nano.get()), (amount, nano));
                if closed.transaction.is_none() {
                    self.check_over(closed.payment, closed.block.time_s);
                    assert!(closed.moved.is_zero(), "what did not move is not spent");
                }
                self.take(closed.payment, closed.moved, closed.moved_nano.get());
                let to = if closed.is_unpaid() { Free } else { Settled };
                self.go(closed.payment, &[Captured], to);
            }
            _ => {}
        }
    }

    fn take(&mut self, payment: PaymentId, amount: Amount, nano: u64) {
        self.payments.get_mut(&payment).unwrap().taken = (amount, nano);
    }

    fn check_over(&self, payment: PaymentId, time_s: u64) {
        assert!(
            time_s >= self.payments[&payment].held.commitment.valid_before_s,
            "it was still live"
        );
    }

    /// I8: what has ended stays so.
    fn go(&mut self, payment: PaymentId, from: &[Standing], to: Standing) {
        let found =
            self.payments.get_mut(&payment).expect("an event names a payment that was held");
        assert!(from.contains(&found.standing), "{:?} to {to:?}", found.standing);
        found.standing = to;
    }

    fn place(&mut self, at: Timestamp, held: &Held) {
        // I6: one live authorization for each request, and no name or nonce twice.
        let request = (held.agent, held.request);
        let live = self.payments.values().any(|other| {
            (other.held.agent, other.held.request) == request && other.standing != Standing::Free
        });
        assert!(!live, "a request has two live payments");
        assert!(self.nonces.insert(held.commitment.nonce), "a nonce came twice");
        let (standing, taken) = (Standing::Held, (Amount::ZERO, 0));
        let payment = Payment { held: held.clone(), placed_at: at, standing, taken };
        assert!(self.payments.insert(held.payment, payment).is_none(), "a payment came twice");
        // I1: whatever a commit adds fits under each cap as of that commit.
        for seat in &held.seats {
            assert!(
                seat.from <= at && at < seat.until,
                "a hold counts in the window it is placed in"
            );
            let limit = self.limit(seat.account);
            let (spent, held) = self.counted(seat.account, at);
            assert!(spent + held <= limit, "{spent} spent and {held} held of {limit}");
            let peak = self.peaks.entry(seat.account.budget).or_default();
            *peak = (*peak).max(spent + held);
            self.check_any_span(seat.account, at, limit);
        }
    }

    fn limit(&self, account: AccountKey) -> u64 {
        if account.budget == AccountKey::DELEGATION {
            return self.delegations[&account.subject];
        }
        self.budgets[&account.budget].limit.get()
    }

    /// No span of a rolling window's length, ending now, has more placed in it than the cap.
    fn check_any_span(&self, account: AccountKey, now: Timestamp, limit: u64) {
        let Some(def) = self.budgets.get(&account.budget) else { return };
        let WindowSpec::Rolling { span } = def.window else { return };
        let within = |payment: &&Payment| {
            payment.placed_at.after(span) > now && payment.standing != Standing::Free
        };
        let seated = self.payments.values().filter(|payment| payment.sits(account).is_some());
        let sum: u64 =
            seated.filter(within).map(|payment| payment.counts().0 + payment.counts().1).sum();
        assert!(sum <= limit, "{sum} in one span of {span:?}, of {limit}");
    }

    /// Spent and held of an account at `now`, by the payments that sit in its window.
    pub fn counted(&self, account: AccountKey, now: Timestamp) -> (u64, u64) {
        let lifetime = WindowSpec::Lifetime;
        let window = self.budgets.get(&account.budget).map_or(&lifetime, |def| &def.window);
        let (mut spent, mut held) = (0, 0);
        for payment in self.payments.values() {
            let Some((from, until)) = payment.sits(account) else { continue };
            let counts = match window {
                WindowSpec::Calendar { .. } => from <= now && now < until,
                WindowSpec::Rolling { span } => until.after(*span) > now,
                WindowSpec::Session { .. } | WindowSpec::Lifetime => true,
            };
            if counts {
                spent += payment.counts().0;
                held += payment.counts().1;
            }
        }
        (spent, held)
    }

    /// Looks at everything that the ledger shows, and finds it the same.
    pub fn check(&self, desk: &Desk) {
        // I1, I2, I22: every account, in its own window.
        for check in desk.ledger.accounts(desk.now) {
            let counted = self.counted(check.account, desk.now);
            assert_eq!((check.spent.get(), check.held.get()), counted, "{}", check.budget);
        }
        // I2: a hold counts in every budget that applies to its agent, or nowhere.
        let open = |payment: &&Payment| {
            matches!(payment.standing, Standing::Held | Standing::Unknown | Standing::Captured)
        };
        let opened: Vec<&Payment> = self.payments.values().filter(open).collect();
        assert_eq!(opened.len(), desk.ledger.holds_len());
        for payment in opened {
            assert!(desk.ledger.find_hold(payment.held.payment).is_some());
        }
        self.check_money(desk);
    }

    /// The audit of the same events finds the same, by code of its own: what is paid and open, and the most
    /// that any budget ever counted.
    pub fn check_audit(&self, log: &[(Timestamp, Event)]) {
        let audit = audits::audit(log);
        let count = |among: &[Standing]| {
            let among = self.payments.values().filter(|payment| among.contains(&payment.standing));
            u64::try_from(among.count()).unwrap()
        };
        let paid: i128 = self.payments.values().map(|payment| payment.money().0).sum();
        assert_eq!(i128::try_from(audit.captured(asset())).unwrap(), paid);
        assert_eq!(audit.open(), count(&[Standing::Held, Standing::Unknown]));
        assert_eq!(audit.payments(), count(&[Standing::Captured, Standing::Settled]));
        assert_eq!(audit.over_limit().get(), 0);
        for (budget, peak) in &self.peaks {
            assert_eq!(audits::peak(log, *budget), *peak, "{budget:?}");
        }
    }

    /// I3: what is in the wallet, in escrow and outside, by the books and by the position.
    fn check_money(&self, desk: &Desk) {
        let paid: i128 = self.payments.values().map(|payment| payment.money().0).sum();
        let held: i128 = self.payments.values().map(|payment| payment.money().1).sum();
        let mut positions = (0, 0, 0);
        for wallet in desk.ledger.wallets() {
            let Some(position) = wallet.find(asset()) else { continue };
            positions.0 += signed(position.held);
            positions.1 += signed(position.paid);
            positions.2 += signed(position.entered) - signed(position.left);
            assert!(position.held <= position.owned(), "a wallet holds more than it owns");
        }
        assert_eq!(positions, (held, paid, self.entered));
        let rest = |account| {
            let commodity = crate::domain::ledger::books::Commodity::Asset(asset());
            let sums = desk.ledger.books().find(commodity, account);
            i128::try_from(sums.debits).unwrap() - i128::try_from(sums.credits).unwrap()
        };
        use crate::domain::ledger::books::BookAccount::{Escrow, Wallet};
        assert_eq!(rest(Escrow), held);
        assert_eq!(rest(Wallet), self.entered - held - paid);
        assert!(desk.ledger.books().balanced());
    }

    /// The open payments, for a test to choose from.
    pub fn open(&self) -> Vec<PaymentId> {
        let open = self
            .payments
            .values()
            .filter(|payment| !matches!(payment.standing, Standing::Settled | Standing::Free));
        open.map(|payment| payment.held.payment).collect()
    }

    /// The requests that were made, for a test to make again.
    pub fn requests(&self) -> Vec<(AgentId, RequestId)> {
        self.payments.values().map(|payment| (payment.held.agent, payment.held.request)).collect()
    }
}

impl Payment {
    /// Spent and held in budgets: what a receipt takes of a maximum leaves the rest held.
    fn counts(&self) -> (u64, u64) {
        let all = self.held.nano.get();
        match self.standing {
            Standing::Held | Standing::Unknown => (0, all),
            Standing::Captured => (self.taken.1, all - self.taken.1),
            Standing::Settled => (self.taken.1, 0),
            Standing::Free => (0, 0),
        }
    }

    /// Paid and held of the asset.
    fn money(&self) -> (i128, i128) {
        let (all, taken) = (signed(self.held.commitment.amount_max), signed(self.taken.0));
        match self.standing {
            Standing::Held | Standing::Unknown => (0, all),
            Standing::Captured => (taken, all - taken),
            Standing::Settled => (taken, 0),
            Standing::Free => (0, 0),
        }
    }

    /// The window that it sits in, where it counts in `account`.
    fn sits(&self, account: AccountKey) -> Option<(Timestamp, Timestamp)> {
        let seat = self.held.seats.iter().find(|seat| seat.account == account)?;
        Some((seat.from, seat.until))
    }
}

fn signed(amount: Amount) -> i128 {
    i128::try_from(amount.get()).unwrap()
}
