//! The channels at the end: what is left of them is had back, and their books are closed by both sides'
//! journals and by the contract's own state.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use bursar::domain::channel::{Ceiling, ChannelId, ChannelTerms};
use bursar::domain::ledger::event::Event;
use bursar::domain::ledger::tab::{Charged, TabEvent};
use bursar::domain::ledger::{Bounds, Ledger};
use bursar::domain::money::Amount;
use bursar::domain::x402::batch::read::{authorizer_of, voucher_digest};
use bursar::domain::x402::batch::typed::{BATCH_SETTLEMENT, ERC3009_COLLECTOR, batch_domain};
use bursar::domain::x402::signature::is_signed_by;
use bursar::edge::clock::SystemClock;
use bursar::edge::evm::Evm;
use bursar::edge::journal::{Options, Store};
use bursar::ports::channel_rail::Depth;
use bursar::ports::clock::Clock;
use bursar::ports::journal::{Entry, Journal};
use bursar::ports::rail::{Evidence, Transfer};
use serde::Serialize;
use serde_json::Value;

use super::super::failure::Failure;
use super::super::house::House;
use super::fold::Line;
use super::{Books, count};

/// Entries read at once.
const PAGE: u32 = 4096;

/// How long it is waited before a channel's payee is asked once more.
const ASK_EVERY: Duration = Duration::from_secs(5);

/// What went through channels, in atomic units.
#[derive(Clone, Debug, Default, Serialize)]
pub struct ChannelBooks {
    /// Channels that were opened.
    pub opened: u64,
    /// What was put in, by the chain's Transfer logs.
    pub deposited: u128,
    /// What payees claimed, by the contract's own state.
    pub claimed: u128,
    /// What came back, by the chain's Transfer logs.
    pub returned: u128,
    /// What payees hold vouchers for and did not claim, by their own journals.
    pub unclaimed: u128,
    /// What lies there and was not charged.
    pub left: u128,
    /// What payees charged and nobody can pay any more: the chain forgot its deposit.
    pub lost_by_payees: u128,
    /// By how much payees charged more than a payer's signature stands for.
    pub beyond_signed: u128,
    /// Channels whose payee was found to say what cannot be.
    pub distrusted: u64,
    /// What does not add up, in words.
    pub wrong: Vec<String>,
}

/// A channel, as a payee's events tell of it.
#[derive(Clone, Debug, Default)]
struct Sold {
    terms: Option<ChannelTerms>,
    charged: u128,
    lost: u128,
    /// Claimed after all of what had been written off, since a later deposit reached it.
    regained: u128,
    claimed: u128,
}

impl Sold {
    /// What was charged and came in, or still may.
    const fn kept(&self) -> u128 {
        self.charged.saturating_sub(self.lost.saturating_sub(self.regained))
    }
}

/// Asks for what is left in channels, again and again, each at most once in a while.
#[derive(Default)]
pub struct Closing {
    asked: BTreeMap<String, bursar::domain::time::Timestamp>,
}

impl Closing {
    /// One round. How many channels there is still something to wait for in.
    pub fn round(&mut self, house: &House) -> Result<usize, Failure> {
        let now = SystemClock.now();
        let mut waiting: usize = 0;
        for channel in list(house)? {
            if !channel.is_unfinished() {
                continue;
            }
            waiting = waiting.saturating_add(1);
            let rested =
                self.asked.get(&channel.id).is_none_or(|asked| now.since(*asked) >= ASK_EVERY);
            if channel.pending == 0 && rested {
                self.asked.insert(channel.id.clone(), now);
                // A payee that cannot give back just now is asked again.
                let _ = house.command(&["channels", "close", &channel.id]);
            }
        }
        Ok(waiting)
    }
}

/// Whether the payers' node has seen all that payees charged as claimed, of every channel.
pub fn are_claimed(house: &House) -> Result<bool, Failure> {
    Ok(list(house)?.iter().all(|channel| channel.claimed == channel.charged))
}

/// A channel, as the node lists it.
struct Listed {
    id: String,
    state: String,
    pending: u128,
    lies: u128,
    charged: u128,
    claimed: u128,
}

impl Listed {
    /// Whether something is on its way in, or lies there that was not charged. What was charged and not
    /// claimed is its payee's, and is not waited for.
    fn is_unfinished(&self) -> bool {
        self.state != "closed" && (self.pending > 0 || self.lies > self.charged)
    }
}

fn list(house: &House) -> Result<Vec<Listed>, Failure> {
    let rows = house.command(&["channels"])?;
    let text = |row: &Value, key: &str| {
        row.get(key).and_then(Value::as_str).map(str::to_owned).unwrap_or_default()
    };
    let number = |row: &Value, key: &str| text(row, key).parse::<u128>().unwrap_or(0);
    let listed = |row: &Value| Listed {
        id: text(row, "channel"),
        state: text(row, "state"),
        pending: number(row, "pending"),
        lies: number(row, "deposited").saturating_sub(number(row, "returned")),
        charged: number(row, "charged"),
        claimed: number(row, "claimed"),
    };
    Ok(rows.as_array().map(|rows| rows.iter().map(listed).collect()).unwrap_or_default())
}

/// Every entry of a journal, in order.
pub async fn read_all(path: &Path, mut see: impl FnMut(&Entry)) -> Result<(), Failure> {
    let store = Store::open(path, Options::default())?;
    let mut seen = 0;
    loop {
        let page = store.read(seen, PAGE).await?;
        let Some(last) = page.last() else { return Ok(()) };
        seen = last.seq;
        page.iter().for_each(&mut see);
    }
}

/// Closes the books of the channels: `lines` is what the payers' journal says of each, `moved` what
/// entered and left their wallet.
pub async fn close(
    house: &House,
    lines: &BTreeMap<ChannelId, Line>,
    (evm, moved): (&Evm, &[Transfer]),
    books: &mut Books,
) -> Result<(), Failure> {
    let mut found = ChannelBooks { opened: count(lines.len()), ..ChannelBooks::default() };
    let mut sold: BTreeMap<ChannelId, Sold> = BTreeMap::new();
    for path in house.provider_ledgers() {
        let mut ledger = Ledger::new(Bounds::default());
        read_all(&path, |entry| {
            ledger.evolve(entry.at, &entry.event);
            if let Event::Tab(event) = &entry.event {
                see_tab(&mut sold, lines, event, &mut found);
            }
        })
        .await?;
        let unearned = ledger.tabs().map(|tab| tab.unearned.get());
        found.unclaimed = unearned.fold(found.unclaimed, u128::saturating_add);
    }
    found.move_through(house, moved);
    let ids: Vec<ChannelId> = lines.keys().copied().collect();
    let mut lies: u128 = 0;
    if let Some(witness) = evm.channels().filter(|_| !ids.is_empty()) {
        let sights = witness.look(&ids, Depth::Final).await;
        for (id, sight) in ids.iter().zip(sights.map_err(|error| Failure::of(&error))?.seen) {
            lies = lies.saturating_add(sight.balance.get());
            found.claimed = found.claimed.saturating_add(sight.claimed.get());
            // Final by now, and its payee ended before it saw that: its journal has it as unclaimed too.
            let counted = sold.get(id).map_or(0, |sold| sold.claimed);
            let unseen = sight.claimed.get().saturating_sub(counted);
            found.unclaimed = found.unclaimed.saturating_sub(unseen);
            let kept = sold.get(id).map_or(0, Sold::kept);
            found.left = found.left.saturating_add(sight.balance.get().saturating_sub(kept));
            if let Some(sold) = sold.get(id).filter(|sold| sold.claimed > sight.claimed.get()) {
                let (said, is) = (sold.claimed, sight.claimed);
                found.wrong.push(format!("{id}: its payee counts {said} as claimed, and {is} is"));
            }
        }
    }
    for (id, line) in lines {
        let sold = sold.get(id).cloned().unwrap_or_default();
        let lost = sold.lost.saturating_sub(sold.regained);
        found.lost_by_payees = found.lost_by_payees.saturating_add(lost);
        found.distrusted = found.distrusted.saturating_add(u64::from(line.is_distrusted));
        let (by_payee, by_payer) = (sold.kept(), line.charged);
        if by_payee != by_payer {
            found.wrong.push(format!("{id}: charged {by_payee} by its payee, {by_payer} by us"));
        }
    }
    let sum = |of: fn(&Line) -> u128| lines.values().map(of).sum::<u128>();
    let parts = found.claimed.saturating_add(found.unclaimed).saturating_add(found.left);
    let equal = [
        ("deposited, by the journal and the chain", sum(|line| line.deposited), found.deposited),
        ("returned, by the journal and the chain", sum(|line| line.returned), found.returned),
        (
            "deposited, and what came back or lies there",
            found.deposited,
            found.returned.saturating_add(lies),
        ),
        ("what lies there, and what is claimed, unclaimed and left", lies, parts),
    ];
    for (what, one, other) in equal.into_iter().filter(|(_, one, other)| one != other) {
        found.wrong.push(format!("{what}: {one} and {other}"));
    }
    books.channels = found;
    Ok(())
}

impl ChannelBooks {
    /// Counts what entered and left channels of the house's wallet.
    fn move_through(&mut self, house: &House, moved: &[Transfer]) {
        for transfer in moved {
            let amount = transfer.amount.get();
            if transfer.from == house.wallet && is_channels(transfer) {
                self.deposited = self.deposited.saturating_add(amount);
            }
            if transfer.to == house.wallet && transfer.channel.is_some() {
                self.returned = self.returned.saturating_add(amount);
            }
        }
    }
}

/// Whether a transfer goes into channels.
pub fn is_channels(transfer: &Transfer) -> bool {
    [ERC3009_COLLECTOR, BATCH_SETTLEMENT].contains(&transfer.to)
}

/// One event of a payee's: what it charged is beneath what was signed, by its own voucher's signature
/// and by what the payers' journal ever allowed to be signed.
fn see_tab(
    sold: &mut BTreeMap<ChannelId, Sold>,
    lines: &BTreeMap<ChannelId, Line>,
    event: &TabEvent,
    found: &mut ChannelBooks,
) {
    match event {
        TabEvent::Opened { channel, terms } => {
            sold.entry(*channel).or_default().terms = Some(*terms);
        }
        TabEvent::Charged(charged) => see_charge(sold, lines, charged, found),
        TabEvent::Stepped(stepped) => see_charge(sold, lines, &stepped.call, found),
        // No signature stands for it yet: what the payer held does.
        TabEvent::ChargedOnCredit(call) => {
            let sold = sold.entry(call.channel).or_default();
            let sum = call.base.get().saturating_add(call.amount.get());
            sold.charged = sold.charged.max(sum);
            let allowed = lines.get(&call.channel).map_or(0, |line| line.ceiling.get());
            found.beyond_signed = found.beyond_signed.max(sum.saturating_sub(allowed));
        }
        TabEvent::Covered { .. } | TabEvent::GivingBack { .. } | TabEvent::GivenBack { .. } => {}
        TabEvent::Seen(_) | TabEvent::Looked(_) | TabEvent::Counted(_) => {
            if let Some(looked) = event.looked() {
                let sold = sold.entry(looked.channel).or_default();
                sold.charged = sold.charged.max(looked.newest.claimed.get());
            }
            if let Some(seen) = event.counted() {
                let sold = sold.entry(seen.channel).or_default();
                sold.claimed = seen.counted.claimed.get();
                sold.lost = sold.lost.saturating_add(seen.lost.amount.get());
                sold.regained = sold.regained.saturating_add(seen.stray.amount.get());
                sold.charged = sold.charged.max(sold.claimed);
            }
        }
    }
}

fn see_charge(
    sold: &mut BTreeMap<ChannelId, Sold>,
    lines: &BTreeMap<ChannelId, Line>,
    charged: &Charged,
    found: &mut ChannelBooks,
) {
    let (channel, amount) = (charged.channel, charged.ceiling);
    let sold = sold.entry(channel).or_default();
    let sum = charged.base.get().saturating_add(charged.amount.get());
    sold.charged = sold.charged.max(sum);
    let signed = sold.terms.is_some_and(|terms| {
        let separator = batch_domain(terms.asset.network).separator();
        let digest = voucher_digest(separator, &Ceiling { channel, amount });
        is_signed_by(authorizer_of(&terms), digest, &charged.signature)
    });
    let allowed = lines.get(&channel).map_or(Amount::ZERO, |line| line.ceiling);
    let stands = if signed { amount.min(allowed).get() } else { 0 };
    found.beyond_signed = found.beyond_signed.max(sum.saturating_sub(stands));
}
