//! Double entry: every event that moves money posts pairs that sum to nothing, per asset.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::domain::asset::{Asset, Network};
use crate::domain::ledger::channel::ChannelEvent;
use crate::domain::ledger::event::Event;
use crate::domain::ledger::tab::{TabCounted, TabEvent};
use crate::domain::money::{Amount, Money};

/// An account of the books.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum BookAccount {
    /// The world outside: everybody else's money.
    External,
    /// Free money in our wallets.
    Wallet,
    /// Held: set aside for authorizations that can still settle.
    Escrow,
    /// Received and not yet served: owed as service or refund.
    Due,
    /// Received and served.
    Earned,
    /// Served and never paid.
    Loss,
    /// Gas.
    Fees,
    /// In channels: ours until it is charged.
    Channel,
    /// Served, and owed by a channel: a voucher stands for it, and nobody claimed it yet.
    Claimable,
    /// Served and not paid yet: less than nothing while somebody owes it.
    Owed,
}

/// What is counted in the books: a token, or a network's native unit for gas.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Commodity {
    /// A token, in atomic units.
    Asset(Asset),
    /// The native unit's atoms.
    Native(Network),
}

/// One pair: the same amount leaves one account and enters another.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Posting {
    /// Where it leaves.
    pub credit: BookAccount,
    /// Where it enters.
    pub debit: BookAccount,
    /// Of what.
    pub commodity: Commodity,
    /// How much.
    pub amount: Amount,
}

/// What `event` posts, without pairs of nothing: at most three.
pub fn postings(event: &Event) -> impl Iterator<Item = Posting> + use<> {
    let pairs = match event {
        Event::Channel(event) => channel_pairs(event),
        Event::Tab(event) => tab_pairs(event),
        event => {
            let [first, second] = pairs(event);
            [first, second, None]
        }
    };
    pairs.into_iter().flatten().filter(|pair| !pair.amount.is_zero())
}

fn token(credit: BookAccount, debit: BookAccount, asset: Asset, amount: Amount) -> Option<Posting> {
    Some(Posting { credit, debit, commodity: Commodity::Asset(asset), amount })
}

fn pairs(event: &Event) -> [Option<Posting>; 2] {
    use BookAccount::{Due, Earned, Escrow, External, Fees, Loss, Owed, Wallet};
    match event {
        Event::FundsSeen { asset, entered, left, .. } => {
            [token(External, Wallet, *asset, *entered), token(Wallet, External, *asset, *left)]
        }
        Event::Held(held) => {
            [token(Wallet, Escrow, held.commitment.asset, held.commitment.amount_max), None]
        }
        Event::Captured { amount, held, .. } => {
            let rest = held.amount.checked_sub(*amount).expect("no capture exceeds its hold");
            [token(Escrow, External, held.asset, *amount), token(Escrow, Wallet, held.asset, rest)]
        }
        Event::Voided { held, .. } | Event::Expired { held, .. } => {
            [token(Escrow, Wallet, held.asset, held.amount), None]
        }
        Event::CaptureReversed { captured, .. } => {
            [token(External, Wallet, captured.asset, captured.amount), None]
        }
        // What was captured more than moved comes back; what moved more than was captured goes too.
        Event::PaymentClosed(closed) => {
            let (asset, captured) = (closed.captured.asset, closed.captured.amount);
            let less = |one: Amount, other| one.checked_sub(other).unwrap_or(Amount::ZERO);
            let more = less(closed.moved, captured);
            let (back, rest) = (less(captured, closed.moved), less(closed.rest, more));
            let moved = match more.is_zero() {
                true => token(External, Wallet, asset, back),
                false => token(Escrow, External, asset, more),
            };
            [moved, token(Escrow, Wallet, asset, rest)]
        }
        Event::ClaimSettled { claim, amount, .. } => {
            [token(External, Due, claim.asset, *amount), None]
        }
        Event::Served { claim, amount, .. } => [token(Due, Earned, claim.asset, *amount), None],
        Event::Refunded { claim, amount, .. } => [token(Due, External, claim.asset, *amount), None],
        Event::ClaimDied { claim, loss } => [token(Earned, Loss, claim.asset, *loss), None],
        Event::ServedOnCredit { claim, amount, .. } => {
            [token(Owed, Earned, claim.asset, *amount), None]
        }
        // What was lost is earned after all.
        Event::CreditPaid { claim, amount, lost, .. } => {
            [token(External, Owed, claim.asset, *amount), token(Loss, Earned, claim.asset, *lost)]
        }
        Event::GasSpent { network, amount, .. } => {
            let (commodity, amount) = (Commodity::Native(*network), *amount);
            [Some(Posting { credit: External, debit: Fees, commodity, amount }), None]
        }
        Event::RailPinned { .. }
        | Event::PolicyApplied { .. }
        | Event::AgentAdded { .. }
        | Event::TokenReplaced { .. }
        | Event::WalletOpened { .. }
        | Event::Delegated { .. }
        | Event::Paused { .. }
        | Event::Resumed { .. }
        | Event::Doubted { .. }
        | Event::PaymentVerified { .. }
        | Event::Accepted(_)
        | Event::ClaimDoubted { .. }
        | Event::ClaimCharged { .. }
        | Event::ClaimReleased { .. }
        | Event::RefundBegun { .. }
        | Event::UsageMetered(_)
        | Event::Granted(_)
        | Event::Channel(_)
        | Event::Tab(_) => [None, None],
    }
}

/// A deposit goes from the wallet by escrow into its channel, a charge from there to the world.
fn channel_pairs(event: &ChannelEvent) -> [Option<Posting>; 3] {
    use BookAccount::{Channel, Escrow, External, Wallet};
    let rest = |all: &Money, part: &Money| {
        all.amount.checked_sub(part.amount).expect("a part is of the whole")
    };
    match event {
        ChannelEvent::DepositHeld { money, .. } => {
            [token(Wallet, Escrow, money.asset, money.amount), None, None]
        }
        ChannelEvent::Deposited { money, .. } => {
            [token(Escrow, Channel, money.asset, money.amount), None, None]
        }
        // What was charged of a deposit that never arrived left the channel, and comes back to it.
        ChannelEvent::DepositExpired { money, unclaimed, .. } => [
            token(Escrow, Wallet, money.asset, rest(money, unclaimed)),
            token(Escrow, Channel, money.asset, unclaimed.amount),
            token(External, Wallet, money.asset, unclaimed.amount),
        ],
        ChannelEvent::Drawn(drawn) => {
            [token(Channel, External, drawn.held.commitment.asset, drawn.taken), None, None]
        }
        ChannelEvent::Funded(funded) => {
            let (money, taken) = (&funded.money, funded.drawn.taken);
            let set_aside = token(Wallet, Escrow, money.asset, money.amount);
            [set_aside, token(Channel, External, money.asset, taken), None]
        }
        ChannelEvent::Charged { taken, .. } | ChannelEvent::Resynced { taken, .. } => {
            [token(Channel, External, taken.asset, taken.amount), None, None]
        }
        ChannelEvent::Seen(seen) => [
            token(Channel, External, seen.taken.asset, seen.taken.amount),
            token(Channel, Wallet, seen.returned.asset, rest(&seen.returned, &seen.unclaimed)),
            token(External, Wallet, seen.unclaimed.asset, seen.unclaimed.amount),
        ],
        ChannelEvent::Opened(_)
        | ChannelEvent::DrawVoided { .. }
        | ChannelEvent::Frozen { .. }
        | ChannelEvent::Extended(_) => [None, None, None],
    }
}

/// A charge is owed until it is claimed.
fn tab_pairs(event: &TabEvent) -> [Option<Posting>; 3] {
    use BookAccount::{Claimable, Earned, External, Loss};
    match event {
        TabEvent::Opened { .. }
        | TabEvent::Covered { .. }
        | TabEvent::GivingBack { .. }
        | TabEvent::GivenBack { .. } => [None, None, None],
        TabEvent::Charged(charged) | TabEvent::ChargedOnCredit(charged) => {
            [token(External, Claimable, charged.asset, charged.amount), None, None]
        }
        TabEvent::Stepped(stepped) => {
            [token(External, Claimable, stepped.call.asset, stepped.taken), None, None]
        }
        TabEvent::Seen(_) | TabEvent::Looked(_) | TabEvent::Counted(_) => {
            let Some(TabCounted { gained, stray, lost, .. }) = event.counted() else {
                return [None, None, None];
            };
            [
                token(Claimable, Earned, gained.asset, gained.amount),
                token(External, Earned, stray.asset, stray.amount),
                token(Claimable, Loss, lost.asset, lost.amount),
            ]
        }
    }
}

/// Sums of one account in one commodity.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sums {
    /// What entered, in all.
    pub debits: u128,
    /// What left, in all.
    pub credits: u128,
}

/// The sums of all postings.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Books(BTreeMap<(Commodity, BookAccount), Sums>);

impl Books {
    /// Adds what `event` posts.
    pub(super) fn post(&mut self, event: &Event) {
        for pair in postings(event) {
            let credit = self.0.entry((pair.commodity, pair.credit)).or_default();
            credit.credits = credit.credits.saturating_add(pair.amount.get());
            let debit = self.0.entry((pair.commodity, pair.debit)).or_default();
            debit.debits = debit.debits.saturating_add(pair.amount.get());
        }
    }

    /// The sums of one account.
    pub fn find(&self, commodity: Commodity, account: BookAccount) -> Sums {
        self.0.get(&(commodity, account)).copied().unwrap_or_default()
    }

    /// Every account with its sums, in a fixed order.
    pub fn iter(&self) -> impl Iterator<Item = (Commodity, BookAccount, Sums)> {
        self.0.iter().map(|((commodity, account), sums)| (*commodity, *account, *sums))
    }

    /// Whether debits equal credits in every commodity.
    pub fn balanced(&self) -> bool {
        let mut totals: BTreeMap<Commodity, Sums> = BTreeMap::new();
        for (commodity, _, sums) in self.iter() {
            let total = totals.entry(commodity).or_default();
            total.debits = total.debits.saturating_add(sums.debits);
            total.credits = total.credits.saturating_add(sums.credits);
        }
        totals.values().all(|total| total.debits == total.credits)
    }
}
