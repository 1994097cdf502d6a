//! Reads what is durable as it becomes so, and counts it again by the words of the invariants, with
//! none of the ledger's own code. Source: threats.md section 3.

use std::collections::{BTreeMap, BTreeSet};

use alloy::primitives::B256;

use crate::domain::commitment::{AuthorizationKey, Commitment};
use crate::domain::id::PaymentId;
use crate::domain::ledger::Event;
use crate::domain::ledger::budget::{AccountKey, BudgetNo, Seat};
use crate::domain::ledger::hold::{CaptureProof, Held, VoidProof};
use crate::domain::time::Timestamp;
use crate::ports::journal::Entry;
use crate::sim::fate::Fate;

/// Where a payment stands by its events.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Held, signable.
    Held,
    /// In doubt.
    Unknown,
    /// Taken on the payee's word.
    Captured,
    /// Taken by the rail's word.
    Settled,
    /// Given back.
    Free,
}

struct Payment {
    held: Held,
    standing: Standing,
}

/// Where a claim stands by its events.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
enum Bound {
    Open,
    Settled,
    Served,
    Released,
    Dead,
    Refunded,
}

/// What both journals say.
pub struct Auditor {
    fate: Fate,
    payments: BTreeMap<PaymentId, Payment>,
    claims: BTreeMap<AuthorizationKey, (Bound, u128)>,
    limits: BTreeMap<BudgetNo, u64>,
    /// Of each account's window: what is spent and held in it.
    windows: BTreeMap<(AccountKey, Timestamp), u64>,
    nonces: BTreeSet<B256>,
    last: BTreeMap<&'static str, (u64, Timestamp)>,
}

impl Auditor {
    /// One that has read nothing.
    pub fn new(fate: Fate) -> Self {
        Self {
            fate,
            payments: BTreeMap::new(),
            claims: BTreeMap::new(),
            limits: BTreeMap::new(),
            windows: BTreeMap::new(),
            nonces: BTreeSet::new(),
            last: BTreeMap::new(),
        }
    }

    /// Reads one more durable entry of `whose` journal.
    pub fn read(&mut self, whose: &'static str, entry: &Entry) {
        let last = self.last.entry(whose).or_default();
        let follows = entry.seq == last.0.saturating_add(1) && entry.at > last.1;
        *last = (entry.seq, entry.at);
        self.fate.check(follows, || format!("I18: {whose} entry {} does not follow", entry.seq));
        self.fate.note(&format!("{whose} {} {} {}", entry.seq, entry.at, entry.event.kind()));
        match &entry.event {
            Event::PolicyApplied { budgets, .. } => {
                self.limits.extend(budgets.iter().map(|(no, def)| (*no, def.limit.get())));
            }
            Event::Held(held) => self.hold(held),
            Event::Doubted { payment } => self.go(*payment, &[Standing::Held], Standing::Unknown),
            Event::Captured { payment, amount, proof, .. } => {
                let to = match proof {
                    CaptureProof::Receipt => Standing::Captured,
                    CaptureProof::Chain(_) => Standing::Settled,
                };
                let exact = self.find(*payment).is_some_and(|c| c.amount_max == *amount);
                self.fate.check(exact, || format!("I5: {payment} took {amount}"));
                self.go(*payment, &[Standing::Held, Standing::Unknown], to);
            }
            Event::PaymentVerified { payment, .. } => {
                self.go(*payment, &[Standing::Captured], Standing::Settled);
            }
            Event::Voided { payment, proof: VoidProof::NeverSigned, .. } => {
                self.go(*payment, &[Standing::Held], Standing::Free);
            }
            Event::Voided { payment, .. } => {
                self.go(*payment, &[Standing::Held, Standing::Unknown], Standing::Free);
            }
            Event::Expired { payment, block, .. } => {
                self.check_over(*payment, block.time_s);
                self.go(*payment, &[Standing::Held, Standing::Unknown], Standing::Free);
            }
            Event::CaptureReversed { payment, block, .. } => {
                self.check_over(*payment, block.time_s);
                self.go(*payment, &[Standing::Captured], Standing::Free);
            }
            other => self.claim(other),
        }
    }

    fn find(&self, payment: PaymentId) -> Option<&Commitment> {
        self.payments.get(&payment).map(|found| &found.held.commitment)
    }

    fn check_over(&self, payment: PaymentId, time_s: u64) {
        let over = self.find(payment).is_some_and(|c| time_s >= c.valid_before_s);
        self.fate.check(over, || format!("I7: {payment} was given back while it could settle"));
    }

    /// I6, I1, I2: a hold is the only live one of its request, and every window that it sits in had
    /// room for it.
    fn hold(&mut self, held: &Held) {
        let request = (held.agent, held.request);
        let live = self.payments.values().any(|other| {
            (other.held.agent, other.held.request) == request && other.standing != Standing::Free
        });
        self.fate.check(!live, || format!("I6: {} has two live payments", held.request));
        let fresh = self.nonces.insert(held.commitment.nonce);
        self.fate.check(fresh, || format!("I6: the nonce of {} came before", held.payment));
        for Seat { account, from, .. } in &held.seats {
            let window = self.windows.entry((*account, *from)).or_default();
            *window = window.saturating_add(held.nano.get());
            let limit = self.limits.get(&account.budget).copied().unwrap_or(u64::MAX);
            let counted = *window;
            self.fate.check(counted <= limit, || format!("I1: {counted} in a window of {limit}"));
        }
        self.fate.check(!held.seats.is_empty(), || "I2: a hold counts nowhere".to_owned());
        let payment = Payment { held: held.clone(), standing: Standing::Held };
        self.payments.insert(held.payment, payment);
    }

    /// I7, I8, I9: only along these ways, and back into the window of the hold (I22).
    fn go(&mut self, payment: PaymentId, from: &[Standing], to: Standing) {
        let Some(found) = self.payments.get_mut(&payment) else {
            self.fate.check(false, || format!("{payment} was never held"));
            return;
        };
        let was = found.standing;
        self.fate.check(from.contains(&was), || format!("I8: {payment} went {was:?} to {to:?}"));
        found.standing = to;
        if to == Standing::Free {
            for Seat { account, from, .. } in &found.held.seats {
                let window = self.windows.entry((*account, *from)).or_default();
                let rest = window.checked_sub(found.held.nano.get());
                self.fate.check(rest.is_some(), || "I22: a window went below zero".to_owned());
                *window = rest.unwrap_or(0);
            }
        }
    }

    /// I13, I14: an authorization is bound, settled and served at most once.
    fn claim(&mut self, event: &Event) {
        use Bound::{Dead, Open, Refunded, Released, Served, Settled};
        let (key, from, to): (_, &[Bound], _) = match event {
            Event::Accepted(accepted) => {
                let amount = accepted.amount.get();
                let former = self.claims.insert(accepted.key(), (Open, amount));
                let fresh = former.is_none_or(|(bound, _)| bound == Released);
                self.fate.check(fresh, || "I14: an authorization was bound twice".to_owned());
                return;
            }
            Event::ClaimSettled { claim, .. } => (claim, &[Open, Released, Dead], Settled),
            Event::Served { claim, .. } => (claim, &[Settled], Served),
            Event::ClaimReleased { claim } => (claim, &[Open], Released),
            Event::ClaimDied { claim, .. } => (claim, &[Open, Released], Dead),
            Event::Refunded { claim, .. } => (claim, &[Settled], Refunded),
            _ => return,
        };
        let Some((bound, _)) = self.claims.get_mut(key) else {
            self.fate.check(false, || "a claim was never bound".to_owned());
            return;
        };
        let was = *bound;
        self.fate.check(from.contains(&was), || format!("I13: a claim went {was:?} to {to:?}"));
        *bound = to;
    }

    /// I4: whether a signature over `commitment` may exist: its hold is durable, and was not given back.
    pub fn may_be_signed(entries: &[Entry], payment: PaymentId, commitment: &Commitment) -> bool {
        let mut signable = false;
        for entry in entries {
            match &entry.event {
                Event::Held(held) if held.payment == payment => {
                    signable = held.commitment == *commitment;
                }
                Event::Voided { payment: ended, .. } | Event::Expired { payment: ended, .. } => {
                    signable &= *ended != payment;
                }
                _ => {}
            }
        }
        signable
    }

    /// How many payments are in this state.
    pub fn count(&self, standing: Standing) -> usize {
        self.payments.values().filter(|found| found.standing == standing).count()
    }

    /// What left the payers by settled payments, in atomic units.
    pub fn settled(&self) -> u128 {
        let taken =
            |found: &&Payment| matches!(found.standing, Standing::Settled | Standing::Captured);
        let amount = |found: &Payment| found.held.commitment.amount_max.get();
        self.payments.values().filter(taken).map(amount).sum()
    }

    /// What the payee's ledger says it received.
    pub fn received(&self) -> u128 {
        let ours = |bound: Bound| matches!(bound, Bound::Settled | Bound::Served);
        self.claims.values().filter(|(bound, _)| ours(*bound)).map(|(_, amount)| *amount).sum()
    }

    /// Whether nothing is open on either side: no hold, and no claim whose money may still come.
    pub fn is_quiet(&self) -> bool {
        let ended = |found: &Payment| matches!(found.standing, Standing::Settled | Standing::Free);
        self.payments.values().all(ended)
            && self.claims.values().all(|(bound, _)| *bound != Bound::Open)
    }
}
