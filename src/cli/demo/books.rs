//! The books at the end: the ledger's captures against what the chain moved, by itself and by channel,
//! each wallet against its balance, and every cap refolded from the events.

use std::collections::BTreeMap;
use std::time::Duration;

use bursar::domain::channel::ChannelId;
use bursar::domain::commitment::Scheme;
use bursar::domain::id::{AgentId, PaymentId, WalletId};
use bursar::domain::ledger::audit::Audit;
use bursar::domain::ledger::channel::{Channel, ChannelState};
use bursar::domain::ledger::event::Event;
use bursar::domain::ledger::hold::HoldState;
use bursar::domain::ledger::wallet::Wallet;
use bursar::domain::money::{Amount, Nano};
use bursar::domain::x402::batch::typed::{BATCH_SETTLEMENT, ERC3009_COLLECTOR};
use bursar::node::StartError;
use bursar::ports::channel_rail::{ChannelSight, Depth};
use bursar::ports::clock::Clock;
use bursar::ports::journal::Journal;
use serde::Serialize;

use super::fleet::{Fleet, usdc};
use super::saved::Saved;

/// Entries read at once.
const PAGE: u32 = 4096;

/// A wallet's numbers, in atomic units.
#[derive(Clone, Debug, Serialize)]
pub struct WalletBook {
    /// Its name.
    pub name: String,
    /// At first sight.
    pub opening: u128,
    /// Entered since, what came back from channels too.
    pub entered: u128,
    /// Paid, put into channels, and left otherwise.
    pub left: u128,
    /// By the chain, now.
    pub balance: u128,
    /// In channels, and not charged.
    pub locked: u128,
    /// Whether opening, entered and left make the balance, and the books say the same.
    pub matches: bool,
}

/// What went through the payers' channels, in atomic units, by the chain's word.
#[derive(Clone, Debug, Default, Serialize)]
pub struct ChannelsBook {
    /// Channels that were opened.
    pub opened: u64,
    /// What was put in: Transfer logs.
    pub deposited: u128,
    /// What providers claimed: the contract's own state.
    pub claimed: u128,
    /// What came back: Transfer logs.
    pub returned: u128,
    /// What lies there still.
    pub locked: u128,
    /// What providers hold vouchers for and did not claim.
    pub unclaimed: u128,
    /// Whether all of it adds up.
    #[serde(rename = "match")]
    pub matches: bool,
}

/// What the books say.
#[derive(Clone, Debug)]
pub struct Closing {
    /// The sum of all captures of the payers' journals.
    pub ledger: u128,
    /// The sum of what the chain moved to providers: Transfer logs, and claims.
    pub chain: u128,
    /// Each wallet.
    pub wallets: Vec<WalletBook>,
    /// Channels.
    pub channels: ChannelsBook,
    /// The most by which any cap was ever passed.
    pub over_limit: Nano,
    /// Payments whose outcome is open.
    pub unknown: u64,
    /// Captures, by agent.
    pub paid: BTreeMap<AgentId, u64>,
    /// The same, by scheme.
    pub by_scheme: BTreeMap<&'static str, u64>,
    /// What channels saved.
    pub saved: Saved,
}

/// Waits until the chain has confirmed every capture and closed every channel, at most for `within`,
/// and closes the books.
pub async fn close(fleet: &Fleet, within: Duration) -> Result<Closing, StartError> {
    let until = bursar::edge::clock::SystemClock.now().after(within);
    loop {
        fleet.node.reconciler.round().await?;
        let waiting = fleet.node.treasury.read(|ledger| {
            let captured = |state| matches!(state, HoldState::Captured { .. });
            let captures = ledger.holds().iter().filter(|hold| captured(hold.state)).count();
            captures.saturating_add(ledger.channels().filter(|channel| is_open(channel)).count())
        });
        let late = bursar::edge::clock::SystemClock.now() >= until;
        if waiting.await? == 0 || late {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let Refold { audit, openings, paid, by_scheme, .. } = refold(fleet).await?;
    let look = fleet.node.treasury.read(|ledger| {
        let wallets = ledger.wallets().into_iter().cloned().collect::<Vec<_>>();
        (wallets, ledger.channels().cloned().collect::<Vec<_>>())
    });
    let (found, opened) = look.await?;
    let sights = look_at(fleet, &opened).await?;
    let mut channels = ChannelsBook::default();
    let mut wallets = Vec::new();
    let mut alone = 0_u128;
    for wallet in &found {
        let moved = moved(fleet, wallet).await?;
        alone = alone.saturating_add(moved.alone);
        channels.deposited = channels.deposited.saturating_add(moved.deposited);
        channels.returned = channels.returned.saturating_add(moved.returned);
        let locked = opened
            .iter()
            .zip(&sights)
            .filter(|(channel, _)| channel.opened.wallet == WalletId::named(&wallet.name))
            .map(|(channel, sight)| uncharged(channel, sight))
            .sum();
        let opening = openings.get(wallet.name.as_str()).copied().unwrap_or(0);
        wallets.push(book_of(fleet, wallet, opening, &moved, locked).await?);
    }
    channels.opened = u64::try_from(opened.len()).unwrap_or(u64::MAX);
    channels.claimed = sights.iter().map(|sight| sight.claimed.get()).sum();
    channels.locked = opened.iter().zip(&sights).map(|(one, sight)| uncharged(one, sight)).sum();
    channels.unclaimed = unclaimed(fleet).await?;
    let lies: u128 = sights.iter().map(|sight| sight.balance.get()).sum();
    channels.matches = channels.deposited == channels.returned.saturating_add(lies)
        && lies
            == channels.claimed.saturating_add(channels.unclaimed).saturating_add(channels.locked);
    let by_channel = by_scheme.get("batch-settlement").copied().unwrap_or(0);
    Ok(Closing {
        ledger: audit.captured(usdc()),
        chain: alone.saturating_add(channels.claimed),
        wallets,
        channels,
        over_limit: audit.over_limit(),
        unknown: audit.open(),
        paid,
        by_scheme,
        saved: Saved::measure(fleet, by_channel).await?,
    })
}

/// Whether money lies in it, or is on its way there.
fn is_open(channel: &Channel) -> bool {
    let filled = !channel.deposited.is_zero() || channel.pending.is_some();
    channel.state != ChannelState::Closed && filled
}

/// What lies in a channel and was not charged.
fn uncharged(channel: &Channel, sight: &ChannelSight) -> u128 {
    sight.balance.get().saturating_sub(channel.charged.get())
}

async fn look_at(fleet: &Fleet, channels: &[Channel]) -> Result<Vec<ChannelSight>, StartError> {
    let ids: Vec<ChannelId> = channels.iter().map(|channel| channel.opened.id).collect();
    match fleet.evidence.channels().filter(|_| !ids.is_empty()) {
        None => Ok(Vec::new()),
        Some(witness) => Ok(witness.look(&ids, Depth::Final).await?.seen),
    }
}

/// What providers hold vouchers for and did not claim.
async fn unclaimed(fleet: &Fleet) -> Result<u128, StartError> {
    let mut sum = 0_u128;
    for provider in &fleet.providers {
        let open = provider
            .treasury
            .read(|ledger| -> u128 { ledger.tabs().map(|tab| tab.unclaimed().get()).sum() });
        sum = sum.saturating_add(open.await?);
    }
    Ok(sum)
}

/// What Transfer logs say of a wallet, in atomic units.
#[derive(Default)]
struct Moved {
    entered: u128,
    left: u128,
    /// Of what left: to providers, each by itself.
    alone: u128,
    /// Of what left: into channels.
    deposited: u128,
    /// Of what entered: out of channels.
    returned: u128,
}

async fn moved(fleet: &Fleet, wallet: &Wallet) -> Result<Moved, StartError> {
    let found = fleet.evidence.transfers(usdc(), wallet.address, fleet.opening_block).await?;
    let mut moved = Moved::default();
    for transfer in found.moved {
        let amount = transfer.amount.get();
        if transfer.from == wallet.address {
            let into = [ERC3009_COLLECTOR, BATCH_SETTLEMENT].contains(&transfer.to);
            let sum = if into { &mut moved.deposited } else { &mut moved.alone };
            *sum = sum.saturating_add(amount);
            moved.left = moved.left.saturating_add(amount);
        }
        if transfer.to == wallet.address {
            if transfer.channel.is_some() {
                moved.returned = moved.returned.saturating_add(amount);
            }
            moved.entered = moved.entered.saturating_add(amount);
        }
    }
    Ok(moved)
}

async fn book_of(
    fleet: &Fleet,
    wallet: &Wallet,
    opening: u128,
    moved: &Moved,
    locked: u128,
) -> Result<WalletBook, StartError> {
    let holding = fleet.evidence.balance(usdc(), wallet.address).await?;
    let books = wallet.find(usdc()).map_or(Amount::ZERO, |position| position.owned()).get();
    let balance = holding.amount.get();
    let expected = opening.saturating_add(moved.entered).saturating_sub(moved.left);
    let matches = expected == balance && books == balance.saturating_add(locked);
    let (name, entered, left) = (wallet.name.to_string(), moved.entered, moved.left);
    Ok(WalletBook { name, opening, entered, left, balance, locked, matches })
}

/// Every event of the payers' journal, folded anew.
#[derive(Default)]
struct Refold {
    audit: Audit,
    openings: BTreeMap<String, u128>,
    agents: BTreeMap<PaymentId, AgentId>,
    paid: BTreeMap<AgentId, u64>,
    by_scheme: BTreeMap<&'static str, u64>,
}

impl Refold {
    fn see(&mut self, event: &Event) {
        match event {
            Event::FundsSeen { wallet, entered, .. } => {
                self.openings.entry(wallet.to_string()).or_insert(entered.get());
            }
            Event::Held(held) => {
                self.agents.insert(held.payment, held.agent);
            }
            Event::Captured { payment, .. } => self.paid(*payment, Scheme::Exact.as_str()),
            Event::Channel(event) => {
                for turn in event.turns().iter().filter(|turn| !turn.taken.is_zero()) {
                    self.paid(turn.payment, "batch-settlement");
                }
                if let Some(drawn) = event.drawn() {
                    self.agents.insert(drawn.held.payment, drawn.held.agent);
                }
            }
            _ => {}
        }
    }

    /// Counts a payment once, whatever more is taken of it later.
    fn paid(&mut self, payment: PaymentId, scheme: &'static str) {
        let Some(agent) = self.agents.remove(&payment) else { return };
        let count: &mut u64 = self.paid.entry(agent).or_default();
        *count = count.saturating_add(1);
        let count: &mut u64 = self.by_scheme.entry(scheme).or_default();
        *count = count.saturating_add(1);
    }
}

/// Every event of the payers' journal, from the first on.
async fn refold(fleet: &Fleet) -> Result<Refold, StartError> {
    let mut refold = Refold::default();
    let mut seen = 0;
    loop {
        let page = fleet.node.store.read(seen, PAGE).await?;
        let Some(last) = page.last() else { return Ok(refold) };
        seen = last.seq;
        for entry in page {
            refold.audit.see(entry.at, &entry.event);
            refold.see(&entry.event);
        }
    }
}
