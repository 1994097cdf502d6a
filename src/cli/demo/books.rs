//! The books at the end: the ledger's captures against the chain's transfers, each wallet against its
//! balance, and every cap refolded from the events.

use std::collections::BTreeMap;
use std::time::Duration;

use bursar::domain::id::AgentId;
use bursar::domain::ledger::audit::Audit;
use bursar::domain::ledger::event::Event;
use bursar::domain::ledger::hold::HoldState;
use bursar::domain::money::{Amount, Nano};
use bursar::node::StartError;
use bursar::ports::clock::Clock;
use bursar::ports::journal::Journal;
use serde::Serialize;

use super::fleet::{Fleet, usdc};

/// Entries read at once.
const PAGE: u32 = 4096;

/// A wallet's numbers, in atomic units.
#[derive(Clone, Debug, Serialize)]
pub struct WalletBook {
    /// Its name.
    pub name: String,
    /// At first sight.
    pub opening: u128,
    /// Entered since.
    pub entered: u128,
    /// Paid, and left otherwise.
    pub left: u128,
    /// By the chain, now.
    pub balance: u128,
    /// Whether opening, entered and left make the balance.
    pub matches: bool,
}

/// What the books say.
#[derive(Clone, Debug)]
pub struct Closing {
    /// The sum of all captures of the payers' journals.
    pub ledger: u128,
    /// The sum of all Transfer logs out of the fleet's wallets.
    pub chain: u128,
    /// Each wallet.
    pub wallets: Vec<WalletBook>,
    /// The most by which any cap was ever passed.
    pub over_limit: Nano,
    /// Payments whose outcome is open.
    pub unknown: u64,
    /// Captures, by agent.
    pub paid: BTreeMap<AgentId, u64>,
}

/// Waits until the chain has confirmed every capture, at most for `within`, and closes the books.
pub async fn close(fleet: &Fleet, within: Duration) -> Result<Closing, StartError> {
    let until = bursar::edge::clock::SystemClock.now().after(within);
    loop {
        fleet.node.reconciler.round().await?;
        let waiting = fleet.node.treasury.read(|ledger| {
            let captured = |state| matches!(state, HoldState::Captured { .. });
            ledger.holds().iter().filter(|hold| captured(hold.state)).count()
        });
        let late = bursar::edge::clock::SystemClock.now() >= until;
        if waiting.await? == 0 || late {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let (audit, openings, paid) = refold(fleet).await?;
    let mut wallets = Vec::new();
    let mut chain = 0_u128;
    let found = fleet
        .node
        .treasury
        .read(|ledger| ledger.wallets().into_iter().cloned().collect::<Vec<_>>());
    for wallet in found.await? {
        let holding = fleet.evidence.balance(usdc(), wallet.address).await?;
        let moved =
            fleet.evidence.transfers(usdc(), wallet.address, fleet.opening_block).await?.moved;
        let sent = moved.iter().filter(|transfer| transfer.from == wallet.address);
        let out = sent.map(|transfer| transfer.amount.get()).sum::<u128>();
        let received = moved.iter().filter(|transfer| transfer.to == wallet.address);
        let entered = received.map(|transfer| transfer.amount.get()).sum::<u128>();
        chain = chain.saturating_add(out);
        let name = wallet.name.to_string();
        let opening = openings.get(&name).copied().unwrap_or(0);
        let books = wallet.find(usdc()).map_or(Amount::ZERO, |position| position.owned()).get();
        let balance = holding.amount.get();
        let expected = opening.saturating_add(entered).saturating_sub(out);
        let matches = expected == balance && books == balance;
        wallets.push(WalletBook { name, opening, entered, left: out, balance, matches });
    }
    Ok(Closing {
        ledger: audit.captured(usdc()),
        chain,
        wallets,
        over_limit: audit.over_limit(),
        unknown: audit.open(),
        paid,
    })
}

/// Every event of the payers' journal, from the first on.
async fn refold(
    fleet: &Fleet,
) -> Result<(Audit, BTreeMap<String, u128>, BTreeMap<AgentId, u64>), StartError> {
    let (mut audit, mut openings, mut paid) = (Audit::default(), BTreeMap::new(), BTreeMap::new());
    let mut agents = BTreeMap::new();
    let mut seen = 0;
    loop {
        let page = fleet.node.store.read(seen, PAGE).await?;
        let Some(last) = page.last() else { return Ok((audit, openings, paid)) };
        seen = last.seq;
        for entry in page {
            audit.see(entry.at, &entry.event);
            match &entry.event {
                Event::FundsSeen { wallet, entered, .. } => {
                    openings.entry(wallet.to_string()).or_insert(entered.get());
                }
                Event::Held(held) => {
                    agents.insert(held.payment, held.agent);
                }
                Event::Captured { payment, .. } => {
                    if let Some(agent) = agents.remove(payment) {
                        let count: &mut u64 = paid.entry(agent).or_default();
                        *count = count.saturating_add(1);
                    }
                }
                _ => {}
            }
        }
    }
}
