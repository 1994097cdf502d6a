//! The end: everything heals, what is open is resolved by the chain, and the books are closed by code
//! that shares nothing with the ledger that kept them.

mod channels;
mod fold;
mod told;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use alloy::primitives::Address;
use bursar::domain::asset::{Asset, Network};
use bursar::domain::ledger::Bounds;
use bursar::domain::time::Timestamp;
use bursar::edge::clock::SystemClock;
use bursar::edge::evm::Evm;
use bursar::edge::journal::{Page, PaymentFilter, Views, verify};
use bursar::edge::sandbox::TOKEN;
use bursar::node::{RailPlan, connect_rail};
use bursar::ports::clock::Clock;
use bursar::ports::rail::{Evidence, Transfer};

pub use self::channels::read_all;
use self::channels::{ChannelBooks, are_claimed, is_channels};
use self::fold::Fold;
pub use self::told::{Told, Tried};
use super::failure::Failure;
use super::house::House;
use super::house::proxy::Mood;

/// How long what is open may take to be resolved, once everything runs again: more than an
/// authorization lives.
const RESOLVE_MAX: Duration = Duration::from_secs(180);

/// How long what payees claim at their end may take to be final and seen.
const CLAIMED_MAX: Duration = Duration::from_secs(60);

/// How often it is looked.
const LOOK_EVERY: Duration = Duration::from_millis(500);

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
    /// Payments that were taken, by how they were paid.
    pub paid_by_scheme: BTreeMap<&'static str, u64>,
    /// What went through channels.
    pub channels: ChannelBooks,
    /// Requests that were paid more than once, by who says so.
    pub paid_twice: BTreeMap<&'static str, u64>,
    /// By the journal, in atomic units.
    pub ledger_atomic: u128,
    /// By the chain: Transfer logs and claims, with what payees hold vouchers for and did not claim.
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

    /// Whether nothing happened that must not.
    pub fn is_sound(&self) -> bool {
        self.over_limit_nano == 0
            && self.lost == 0
            && self.paid_twice() == 0
            && self.unknown == 0
            && self.channels.beyond_signed == 0
            && self.channels.distrusted == 0
            && self.books_match()
    }

    /// Whether the ledger and the chain say the same.
    pub fn books_match(&self) -> bool {
        self.ledger_atomic == self.chain_atomic
            && self.wallet_matches
            && self.damaged.is_empty()
            && self.channels.wrong.is_empty()
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

/// Heals everything: what is cut is joined, what stands goes on, what is dead is started.
pub async fn heal(house: &mut House) -> Result<(), Failure> {
    let House { agents_link, node_chain_link, provider_chain_link, facilitator_link, .. } = house;
    for link in [agents_link, node_chain_link, provider_chain_link, facilitator_link] {
        link.be(Mood::Whole);
    }
    house.chain.go_on();
    let ours = [&mut house.node, &mut house.facilitator];
    for part in ours.into_iter().chain(&mut house.providers) {
        part.go_on();
        if !part.is_running() {
            part.start(&[]).await?;
        }
    }
    Ok(())
}

/// Waits until no payment is open and nothing is left in channels to be had back.
pub async fn resolve(house: &House) -> Result<(), Failure> {
    let clock = SystemClock;
    let until = clock.now().after(RESOLVE_MAX);
    let mut closing = channels::Closing::default();
    while clock.now() < until {
        let waiting = closing.round(house)?;
        if waiting == 0 && !is_open(house)? {
            break;
        }
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

/// Ends the providers, which claim what vouchers stand for, and then the node, once it has seen that;
/// and closes the books.
pub async fn close(house: &mut House, tried: &Tried) -> Result<Books, Failure> {
    let mut books = Books::default();
    let unwell = "a process did not end well";
    for part in house.providers.iter_mut().chain([&mut house.facilitator]) {
        if !part.end().await {
            books.damaged.push(unwell.to_owned());
        }
    }
    let clock = SystemClock;
    let until = clock.now().after(CLAIMED_MAX);
    while clock.now() < until && !are_claimed(house)? {
        clock.sleep_until(clock.now().after(LOOK_EVERY)).await;
    }
    if !house.node.end().await {
        books.damaged.push(unwell.to_owned());
    }
    // What the books are closed against is final: a block a second comes at least.
    clock.sleep_until(clock.now().after(Duration::from_secs(house.final_after))).await;
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
    read_all(&house.ledger(), |entry| fold.take(entry)).await?;
    fold.tell(&mut books, tried);
    against_the_chain(house, &fold, &mut books).await?;
    Ok(books)
}

async fn against_the_chain(house: &House, fold: &Fold, books: &mut Books) -> Result<(), Failure> {
    let plan = RailPlan::sandbox(house.rpc.clone());
    let connected = connect_rail(&plan, None, Arc::new(SystemClock)).await;
    let (evm, _) = connected.map_err(|error| Failure::of(&error))?;
    let moved = moved_of(evm.as_ref(), house.wallet).await?;
    let balance = evm.balance(usdc(), house.wallet).await;
    let balance = balance.map_err(|error| Failure::of(&error))?.amount.get();
    let sum = |from_us: bool| -> u128 {
        let ours = moved.iter().filter(|transfer| (transfer.from == house.wallet) == from_us);
        ours.map(|transfer| transfer.amount.get()).sum()
    };
    let (left, entered) = (sum(true), sum(false));
    books.wallet_matches = entered.saturating_sub(left) == balance;
    let alone = || moved.iter().filter(|moved| moved.from == house.wallet && !is_channels(moved));
    channels::close(house, fold.lines(), (evm.as_ref(), &moved), books).await?;
    // What a payee paid back has entered, and is no payment that was taken back.
    let paid_alone: u128 = alone().map(|transfer| transfer.amount.get()).sum();
    let ChannelBooks { claimed, unclaimed, .. } = books.channels;
    books.chain_atomic = paid_alone.saturating_add(claimed).saturating_add(unclaimed);
    // As many transfers as payments that the journal took: one more would be one paid twice.
    let more = alone().count().saturating_sub(fold.paid_alone());
    books.paid_twice.insert("by_chain", count(more));
    Ok(())
}

/// Whatever entered and left `wallet`, page by page: a chain tells so much at a time and no more.
async fn moved_of(evm: &Evm, wallet: Address) -> Result<Vec<Transfer>, Failure> {
    let (mut moved, mut seen) = (Vec::new(), 0);
    loop {
        let page = evm.transfers(usdc(), wallet, seen).await;
        let page = page.map_err(|error| Failure::of(&error))?;
        if page.moved.is_empty() {
            return Ok(moved);
        }
        moved.extend(page.moved);
        seen = page.up_to;
    }
}

/// The sandbox's USDC.
pub fn usdc() -> Asset {
    Asset { network: Network::SANDBOX, contract: TOKEN }
}

/// A count as it is told.
pub fn count(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}
