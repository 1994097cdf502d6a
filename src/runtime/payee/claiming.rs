//! The keeper of the payee's channels: watches them, claims their newest vouchers, many in one
//! transaction, and sweeps what was claimed.

use std::time::Duration;

use alloy::primitives::B256;

use crate::domain::asset::Asset;
use crate::domain::channel::ChannelId;
use crate::domain::commitment::AuthorizationKey;
use crate::domain::ledger::tab::{Sight, Standing, Tab, TabCommand, Voucher};
use crate::domain::ledger::{Command, Ledger};
use crate::domain::money::Amount;
use crate::domain::time::Timestamp;
use crate::ports::channel_rail::{CLAIM_ROWS_MAX, ChannelSight, ClaimRow, Depth};
use crate::ports::rail::{RailError, Settlement};
use crate::runtime::payee::slots::within;
use crate::runtime::payee::tabs::{Channels, ClaimPolicy};
use crate::runtime::payee::turns::{Turn, choose};
use crate::runtime::payee::{Desk, Payee};
use crate::runtime::treasury::Refused;

/// Channels with something open that one round looks at on the chain at most, in turns where there are more.
pub(super) const WATCHED_MAX: usize = 1000;

/// Channels at rest that one round looks at at most, in turns: their payers may ask for their money, and
/// others with this payee's keys may have claimed.
const RESTED_MAX: usize = 100;

/// Idle channels that one round gives back at most, in turns where there are more.
pub(super) const GIVEN_BACK_MAX: usize = 16;

/// How long the rail may take for a claim or a sweep.
const RAIL_WAIT_MAX: Duration = Duration::from_secs(120);

/// How long before a payer may take its money out an unclaimed channel wakes somebody.
const WITHDRAWAL_ALARM: Duration = Duration::from_secs(300);

/// What a round of claiming did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Claimed {
    /// Channels whose vouchers were claimed.
    pub channels: u64,
    /// Channels whose rows would have made the claim revert: left out, and named.
    pub poisoned: u64,
    /// Why the rail gave no answer, where it gave none.
    pub silent: Option<RailError>,
}

impl Default for ClaimPolicy {
    /// After an hour, or a dollar of a six-digit coin. After a day without a call a channel's rest goes
    /// back.
    fn default() -> Self {
        Self {
            age_max: Duration::from_secs(3600),
            amount_max: Amount::new(1_000_000),
            idle_max: Duration::from_secs(24 * 3600),
        }
    }
}

impl ClaimPolicy {
    /// The same where payers wait so long for their money: in half of that at most.
    pub fn for_delay(withdraw_delay: Duration) -> Self {
        let usual = Self::default();
        let half = withdraw_delay.checked_div(2).unwrap_or_default();
        Self { age_max: usual.age_max.min(half), ..usual }
    }
}

impl Payee {
    /// One round over the channels: sees what the chain shows, and claims what is due. `all` claims
    /// whatever is unclaimed, for a payee that ends.
    ///
    /// # Errors
    /// [`Refused::Stopped`].
    pub async fn claim_round(&self, all: bool) -> Result<Claimed, Refused> {
        let desk = self.desk.as_ref();
        let Some(channels) = &desk.channels else { return Ok(Claimed::default()) };
        let mut round = Claimed::default();
        if let Some(problem) = desk.watch().await? {
            round.silent = Some(problem);
            return Ok(round);
        }
        let (now, policy) = (desk.parts.clock.now(), channels.claims);
        let wanted = move |tab: &Tab| !tab.due().is_zero() && (all || is_due(tab, now, &policy));
        let due = desk.take_turn(&desk.turns.due, CLAIM_ROWS_MAX, wanted).await?;
        let rows: Vec<ClaimRow> = due.iter().filter_map(|tab| desk.row_to_claim(tab)).collect();
        if rows.is_empty() {
            return Ok(round);
        }
        match desk.in_time(channels, channels.settler.claim(&rows)).await {
            Ok(done) => {
                round.channels = u64::try_from(done.claimed.len()).unwrap_or(u64::MAX);
                round.poisoned = u64::try_from(done.poisoned.len()).unwrap_or(u64::MAX);
                for place in done.poisoned {
                    let channel = due.get(place).map(|tab| tab.id);
                    tracing::error!(?channel, "a voucher cannot be claimed");
                }
            }
            Err(problem) => {
                round.silent = Some(problem);
                return Ok(round);
            }
        }
        let delay = |tab: &Tab| (tab.id, tab.terms.withdraw_delay_s);
        let ids: Vec<(ChannelId, u64)> = due.iter().map(delay).collect();
        round.silent = desk.see_all(&ids).await?;
        if let Some(first) = due.first() {
            round.silent = desk.sweep(channels, first.terms.asset).await.or(round.silent);
        }
        Ok(round)
    }
}

impl Payee {
    /// Gives back what lies in channels that were not used for `idle`: after claiming what is owed, in
    /// one transaction each. A payer has its money without asking, and without waiting for its delay.
    ///
    /// # Errors
    /// [`Refused::Stopped`].
    pub async fn give_back_idle(&self, idle: Duration) -> Result<u64, Refused> {
        let desk = self.desk.as_ref();
        let Some(channels) = &desk.channels else { return Ok(0) };
        let now = desk.parts.clock.now();
        // Where all of it is owed, a claim takes it, as far as it is signed for.
        let unused = move |tab: &Tab| is_idle(tab, now, idle) && !tab.rest().is_zero();
        let mut given_back = 0_u64;
        for tab in desk.take_turn(&desk.turns.idle, GIVEN_BACK_MAX, unused).await? {
            // A call that is being served is not taken its channel from.
            let Ok(_flight) = desk.flights.take(key_of(&tab)) else { continue };
            // Nor is one that was served since it was looked for: its charge would go back as well.
            let again = move |ledger: &Ledger| {
                ledger.find_tab(tab.id).filter(|tab| is_idle(tab, now, idle)).cloned()
            };
            let still = desk.parts.treasury.read(again).await?;
            let still = still.or_else(|| planted!("given_back_as_it_was").then_some(tab));
            let Some(tab) = still else { continue };
            if tab.rest().is_zero() {
                continue;
            }
            let row = desk.row_to_claim(&tab);
            // While the chain is silent it stays where it is.
            let given = desk.give_back(channels, &tab, row.as_ref(), tab.rest()).await;
            if let Ok(Settlement::Settled { .. }) = given {
                given_back = given_back.saturating_add(1);
            }
            desk.see_all(&[(tab.id, tab.terms.withdraw_delay_s)]).await?;
            if row.is_some() {
                desk.sweep(channels, tab.terms.asset).await;
            }
        }
        Ok(given_back)
    }
}

impl Desk {
    /// Looks at the channels that something is owed on, or whose books a final block may still change; and
    /// at some of the others.
    async fn watch(&self) -> Result<Option<RailError>, Refused> {
        let now_s = self.parts.clock.now().as_secs();
        let (after, before) = (self.turns.open.last(), self.turns.rested.last());
        let look = move |ledger: &Ledger| {
            let facts = |tab: &Tab| (tab.id, tab.terms.withdraw_delay_s, tab.withdrawable_at_s);
            let (open, last) = choose(ledger, (after, WATCHED_MAX), |tab| !tab.is_settled());
            let mut seen: Vec<(ChannelId, u64, Option<u64>)> =
                open.into_iter().map(facts).collect();
            let rested = ledger.tabs_after(before).filter(|tab| tab.is_settled()).take(RESTED_MAX);
            let rested: Vec<_> = rested.map(facts).collect();
            let rest = rested.last().map(|(channel, ..)| *channel);
            seen.extend(rested);
            (seen, last, rest)
        };
        let (open, last, rest) = self.parts.treasury.read(look).await?;
        self.turns.open.set(last);
        // At the end it begins anew.
        self.turns.rested.set(rest.unwrap_or(ChannelId(B256::ZERO)));
        for (channel, _, until) in &open {
            let soon = now_s.saturating_add(WITHDRAWAL_ALARM.as_secs());
            if until.is_some_and(|until| until < soon) {
                tracing::error!(%channel, "the payer may soon take out what is not claimed");
            }
        }
        let ids: Vec<(ChannelId, u64)> =
            open.into_iter().map(|(channel, delay_s, _)| (channel, delay_s)).collect();
        self.see_all(&ids).await
    }

    /// The tabs whose turn it is, of those that are `wanted`.
    async fn take_turn(
        &self,
        turn: &Turn,
        most: usize,
        wanted: impl Fn(&Tab) -> bool + Send + 'static,
    ) -> Result<Vec<Tab>, Refused> {
        let after = turn.last();
        let look = move |ledger: &Ledger| {
            let (tabs, last) = choose(ledger, (after, most), wanted);
            (tabs.into_iter().cloned().collect(), last)
        };
        let (tabs, last) = self.parts.treasury.read(look).await?;
        turn.set(last);
        Ok(tabs)
    }

    async fn see_all(&self, ids: &[(ChannelId, u64)]) -> Result<Option<RailError>, Refused> {
        let Some(witness) = self.channel_witness().filter(|_| !ids.is_empty()) else {
            return Ok(None);
        };
        let names: Vec<ChannelId> = ids.iter().map(|(channel, _)| *channel).collect();
        let known = {
            let names = names.clone();
            let sight = |ledger: &Ledger, channel| ledger.find_tab(channel).map(Tab::sight);
            let look = move |ledger: &Ledger| -> Vec<Option<Sight>> {
                names.into_iter().map(|channel| sight(ledger, channel)).collect()
            };
            self.parts.treasury.read(look).await?
        };
        let sights = match witness.look(&names, Depth::Newest).await {
            Ok(sights) => sights,
            Err(problem) => return Ok(Some(problem)),
        };
        for (((channel, delay_s), before), seen) in ids.iter().zip(known).zip(sights.seen) {
            let (channel, sight) = (*channel, sight_of(&seen, *delay_s));
            if let Some(before) = before {
                self.see(TabCommand::Look { channel, before, sight }).await?;
            }
        }
        let sights = match witness.look(&names, Depth::Final).await {
            Ok(sights) => sights,
            Err(problem) => return Ok(Some(problem)),
        };
        let life_s = self.offering.pay_by.iter().map(|way| way.timeout_s).max().unwrap_or(0);
        let deposits_over_s = sights.block_time_s.saturating_sub(life_s);
        for (channel, sight) in names.into_iter().zip(sights.seen) {
            let counted = standing_of(&sight);
            self.see(TabCommand::Count { channel, counted, deposits_over_s }).await?;
        }
        Ok(None)
    }

    /// A channel's claim, where anything is due: from then on others may know its voucher.
    pub(super) fn row_to_claim(&self, tab: &Tab) -> Option<ClaimRow> {
        let Voucher { ceiling, signature } = tab.voucher.filter(|_| !tab.due().is_zero())?;
        self.fresh.take(tab.id);
        Some(ClaimRow {
            terms: tab.terms,
            ceiling,
            signature: signature.into(),
            total: tab.claimable(),
        })
    }

    async fn see(&self, seen: TabCommand) -> Result<(), Refused> {
        match self.parts.treasury.execute(Command::Tab(seen)).await {
            Err(refused @ Refused::Stopped { .. }) => Err(refused),
            Ok(_) | Err(Refused::Rejected(_)) => Ok(()),
        }
    }

    /// What the rail did, where it says so in time; what it does after that is seen by a later round. One
    /// that never answers would end all claiming else.
    async fn in_time<T>(
        &self,
        channels: &Channels,
        act: impl Future<Output = Result<T, RailError>> + Send,
    ) -> Result<T, RailError> {
        let done = within(self.parts.clock.as_ref(), RAIL_WAIT_MAX, act).await;
        let (network, problem) = (channels.settler.network(), "no answer in time".to_owned());
        done.unwrap_or(Err(RailError::Unreachable { network, problem }))
    }

    /// Pays out what was claimed; what is left of it is paid out with the next claim.
    pub(super) async fn sweep(&self, channels: &Channels, asset: Asset) -> Option<RailError> {
        let receiver = self.offering.pay_by.iter().find(|way| way.asset == asset)?.pay_to;
        match self.in_time(channels, channels.settler.sweep(receiver, asset)).await {
            Ok(Some(Settlement::Settled { transaction, amount, .. })) => {
                tracing::info!(%transaction, %amount, "claimed money paid out");
                None
            }
            Ok(_) => None,
            Err(problem) => Some(problem),
        }
    }
}

/// What a block shows, as far as a tab goes by it.
const fn standing_of(sight: &ChannelSight) -> Standing {
    Standing { balance: sight.balance, claimed: sight.claimed }
}

/// The same of the newest block, of a channel whose payer waits so long for what it asked to have back.
pub(super) fn sight_of(sight: &ChannelSight, withdraw_delay_s: u64) -> Sight {
    let withdrawable_at_s = sight.withdrawable_at_s(withdraw_delay_s);
    Sight { newest: standing_of(sight), withdrawable_at_s }
}

/// Whether something lies there, and no call was served for so long.
fn is_idle(tab: &Tab, now: Timestamp, idle: Duration) -> bool {
    tab.newest.balance > tab.newest.claimed && now.since(tab.used_at) >= idle
}

/// Whether a channel's vouchers are claimed now.
fn is_due(tab: &Tab, now: Timestamp, policy: &ClaimPolicy) -> bool {
    tab.withdrawable_at_s.is_some()
        || tab.unclaimed() >= policy.amount_max
        || tab.unclaimed_since.is_some_and(|since| now.since(since) >= policy.age_max)
}

/// The channel's place among what is worked on.
const fn key_of(tab: &Tab) -> AuthorizationKey {
    AuthorizationKey { asset: tab.terms.asset, payer: tab.terms.payer, nonce: tab.id.0 }
}
