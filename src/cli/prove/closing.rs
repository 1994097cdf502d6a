//! The end: everything heals, what is open is resolved by the chain, and the books are closed by code
//! that shares nothing with the ledger that kept them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bursar::domain::asset::{Asset, Network};
use bursar::domain::id::{PaymentId, RequestId};
use bursar::domain::ledger::audit::Audit;
use bursar::domain::ledger::event::Event;
use bursar::domain::ledger::hold::Held;
use bursar::domain::ledger::{Bounds, Ledger};
use bursar::domain::time::Timestamp;
use bursar::edge::clock::SystemClock;
use bursar::edge::journal::{Options, Page, PaymentFilter, Store, Views, verify};
use bursar::edge::sandbox::TOKEN;
use bursar::node::{RailPlan, connect_rail};
use bursar::ports::clock::Clock;
use bursar::ports::journal::{Entry, Journal};
use bursar::ports::rail::Evidence;

use super::super::failure::Failure;
use super::house::House;
use super::proxy::Mood;
use super::tries::Tried;

/// How long what is open may take to be resolved, once everything runs again: more than an
/// authorization lives.
const RESOLVE_MAX: Duration = Duration::from_secs(120);

/// How often it is looked.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Entries read at once.
const PAGE: u32 = 4096;

/// Points of each curve at most.
const POINTS_MAX: usize = 400;

/// The states in which a payment's outcome, or its proof, is not final.
const OPEN: [&str; 3] = ["signable", "unknown", "captured"];

/// What the books say.
#[derive(Clone, Debug, Default)]
pub struct Books {
    /// Holds that were placed.
    pub admitted: u64,
    /// Taken, in the unit of account.
    pub settled_nano: u128,
    /// Still held, in the unit of account.
    pub held_nano: u128,
    /// Payments whose outcome is open.
    pub unknown: u64,
    /// The most by which any cap was ever passed.
    pub over_limit_nano: u64,
    /// Answers that an agent got, and that the journal knows nothing of.
    pub lost: u64,
    /// Requests that were paid more than once, by who says so.
    pub paid_twice: BTreeMap<&'static str, u64>,
    /// By the journal, in atomic units.
    pub ledger_atomic: u128,
    /// By the chain's Transfer logs.
    pub chain_atomic: u128,
    /// What of the providers' journals does not check out, and of the payers'.
    pub damaged: Vec<String>,
    /// Whether the wallet's opening less what left it is its balance.
    pub wallet_matches: bool,
    /// The payers' journal's last hash.
    pub ledger_hash: String,
    /// Each budget over time.
    pub curves: BTreeMap<String, Vec<Point>>,
}

impl Books {
    /// Requests that were paid more than once, whoever says so.
    pub fn paid_twice(&self) -> u64 {
        self.paid_twice.values().sum()
    }

    /// Whether the ledger and the chain say the same.
    pub fn books_match(&self) -> bool {
        self.ledger_atomic == self.chain_atomic && self.wallet_matches && self.damaged.is_empty()
    }
}

/// A budget at one instant, in the unit of account.
#[derive(Copy, Clone, Debug)]
pub struct Point {
    /// When.
    pub at: Timestamp,
    /// What was spent or held.
    pub used: u64,
    /// The cap.
    pub limit: u64,
}

impl Point {
    /// What was left of the cap.
    pub const fn left(&self) -> u64 {
        self.limit.saturating_sub(self.used)
    }
}

/// Heals everything, and waits until nothing is open.
pub async fn heal(house: &mut House) -> Result<(), Failure> {
    for link in [&house.agents_link, &house.node_chain_link, &house.provider_chain_link] {
        link.be(Mood::Whole);
    }
    house.chain.go_on();
    if !house.node.is_running() {
        house.node.start(&[]).await?;
    }
    for provider in &mut house.providers {
        provider.go_on();
        if !provider.is_running() {
            provider.start(&[]).await?;
        }
    }
    let clock = SystemClock;
    let until = clock.now().after(RESOLVE_MAX);
    while clock.now() < until && is_open(house)? {
        clock.sleep_until(clock.now().after(LOOK_EVERY)).await;
    }
    Ok(())
}

fn is_open(house: &House) -> Result<bool, Failure> {
    let views = Views::open(&house.ledger())?;
    for state in OPEN {
        let filter = PaymentFilter { state: Some(state.to_owned()), ..PaymentFilter::default() };
        if !views.payments(&filter, Page { before: None, limit: 1 })?.is_empty() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Ends the node and the providers, and closes the books.
pub async fn close(house: &mut House, tried: &Tried) -> Result<Books, Failure> {
    let mut books = Books::default();
    for part in std::iter::once(&mut house.node).chain(&mut house.providers) {
        if !part.end().await {
            books.damaged.push("a process did not end well".to_owned());
        }
    }
    for path in std::iter::once(house.ledger()).chain(house.provider_ledgers()) {
        let report = verify(&path, Bounds::default())?;
        if !report.is_good() {
            books.damaged.push(format!("{}: {:?}", path.display(), report.damage));
        }
        if path == house.ledger() {
            books.ledger_hash = report.head;
        }
    }
    let mut fold = Fold::default();
    let store = Store::open(&house.ledger(), Options::default())?;
    let mut seen = 0;
    loop {
        let page = store.read(seen, PAGE).await?;
        let Some(last) = page.last() else { break };
        seen = last.seq;
        page.iter().for_each(|entry| fold.take(entry));
    }
    drop(store);
    fold.tell(&mut books, tried);
    against_the_chain(house, &fold, &mut books).await?;
    Ok(books)
}

/// Everything that the journal says, folded without the ledger's own accounts, and beside it with them
/// for the curves.
#[derive(Default)]
struct Fold {
    audit: Audit,
    ledger: Option<Ledger>,
    holds: BTreeMap<PaymentId, Held>,
    taken: BTreeMap<PaymentId, u64>,
    by_request: BTreeMap<(String, RequestId), u64>,
    gone: BTreeSet<PaymentId>,
    curves: BTreeMap<String, Vec<Point>>,
}

impl Fold {
    fn take(&mut self, entry: &Entry) {
        self.audit.see(entry.at, &entry.event);
        match &entry.event {
            Event::Held(held) => {
                self.holds.insert(held.payment, (**held).clone());
            }
            Event::Captured { payment, nano, .. } => {
                if self.taken.insert(*payment, nano.get()).is_none()
                    && let Some(held) = self.holds.get(payment)
                {
                    let key = (held.agent.to_string(), held.request);
                    let count = self.by_request.entry(key).or_default();
                    *count = count.saturating_add(1);
                }
            }
            Event::CaptureReversed { payment, .. } => {
                self.taken.remove(payment);
                if let Some(held) = self.holds.get(payment) {
                    let key = (held.agent.to_string(), held.request);
                    let count = self.by_request.entry(key).or_default();
                    *count = count.saturating_sub(1);
                }
                self.gone.insert(*payment);
            }
            Event::Voided { payment, .. } | Event::Expired { payment, .. } => {
                self.gone.insert(*payment);
            }
            _ => {}
        }
        let ledger = self.ledger.get_or_insert_with(|| Ledger::new(Bounds::default()));
        ledger.evolve(entry.at, &entry.event);
        let used = matches!(entry.event, Event::Held(_) | Event::PolicyApplied { .. });
        if used {
            self.plot(entry.at);
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

    fn tell(&self, books: &mut Books, tried: &Tried) {
        let nano = |held: &Held| u128::from(held.nano.get());
        let open = self.holds.values().filter(|held| {
            !self.taken.contains_key(&held.payment) && !self.gone.contains(&held.payment)
        });
        books.admitted = count(self.holds.len());
        books.settled_nano = self.taken.values().copied().map(u128::from).sum();
        books.held_nano = open.clone().map(nano).sum();
        books.unknown = count(open.count());
        books.over_limit_nano = self.audit.over_limit().get();
        books.ledger_atomic = self.audit.captured(usdc());
        let known = |payment: &str| {
            payment.parse().is_ok_and(|payment: PaymentId| self.holds.contains_key(&payment))
        };
        books.lost = count(tried.told.iter().filter(|told| !known(&told.payment)).count());
        // An answer whose payment expired was free, and the same request may be paid once after it.
        let mut payments: BTreeMap<(&str, RequestId), BTreeSet<&str>> = BTreeMap::new();
        for told in &tried.told {
            let taken = |payment: PaymentId| self.taken.contains_key(&payment);
            if told.payment.parse().is_ok_and(taken) {
                let key = (told.agent.as_str(), told.request);
                payments.entry(key).or_default().insert(&told.payment);
            }
        }
        let told_twice = payments.values().filter(|payments| payments.len() > 1).count();
        let journalled = self.by_request.values().filter(|count| **count > 1).count();
        books.paid_twice = BTreeMap::from([
            ("by_answers", count(told_twice)),
            ("by_journal", count(journalled)),
            ("by_repeats", tried.twice),
            ("by_conflicts", tried.confused),
        ]);
        for (name, curve) in &self.curves {
            let mut curve = curve.clone();
            while curve.len() > POINTS_MAX {
                thin(&mut curve);
            }
            books.curves.insert(name.clone(), curve);
        }
    }
}

/// Drops every other point, but keeps of each pair the one that is nearer to its cap.
fn thin(curve: &mut Vec<Point>) {
    let pairs = curve.chunks(2);
    let nearer = pairs.filter_map(|pair| pair.iter().copied().min_by_key(Point::left));
    *curve = nearer.collect();
}

async fn against_the_chain(house: &House, fold: &Fold, books: &mut Books) -> Result<(), Failure> {
    let plan = RailPlan::sandbox(house.rpc.clone());
    let connected = connect_rail(&plan, None, Arc::new(SystemClock)).await;
    let (evm, _) = connected.map_err(|error| Failure::of(&error))?;
    let asked = evm.transfers(usdc(), house.wallet, 0).await;
    let moved = asked.map_err(|error| Failure::of(&error))?.moved;
    let balance = evm.balance(usdc(), house.wallet).await;
    let balance = balance.map_err(|error| Failure::of(&error))?.amount.get();
    let sum = |from_us: bool| -> u128 {
        let ours = moved.iter().filter(|transfer| (transfer.from == house.wallet) == from_us);
        ours.map(|transfer| transfer.amount.get()).sum()
    };
    let (left, entered) = (sum(true), sum(false));
    // What a payee paid back has entered, and is no payment that was taken back.
    books.chain_atomic = left;
    books.wallet_matches = entered.saturating_sub(left) == balance;
    let payments = moved.iter().filter(|transfer| transfer.from == house.wallet).count();
    // As many transfers as payments that the journal took: one more would be one paid twice.
    let more = payments.saturating_sub(fold.taken.len());
    books.paid_twice.insert("by_chain", count(more));
    Ok(())
}

fn usdc() -> Asset {
    Asset { network: Network::SANDBOX, contract: TOKEN }
}

fn count(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}
