//! What the chain says of our channels: deposits that arrived or never will, claims, and what came
//! back.
//!
//! Source: threats.md section 5.4, row "batch voucher"; E09, E13.

use std::collections::BTreeSet;

use crate::domain::asset::Network;
use crate::domain::channel::{ChannelId, Incoming};
use crate::domain::commitment::{AuthorizationKey, Commitment};
use crate::domain::ledger::channel::{Channel, ChannelCommand, ChannelState, Opened};
use crate::domain::ledger::hold::FinalBlock;
use crate::domain::ledger::{Command, Ledger};
use crate::domain::money::Amount;
use crate::domain::x402::batch::permitted::movement;
use crate::ports::channel_rail::Depth;
use crate::ports::rail::{Evidence, NonceState, RailError, Transfer};
use crate::runtime::reconcile::{Reconciler, Round};
use crate::runtime::treasury::Refused;

/// Channels that one round looks at at most, in the order of their names.
const CHANNELS_MAX: usize = 4096;

/// A deposit that is on its way.
#[derive(Clone, Debug)]
pub(super) struct Filling {
    opened: Opened,
    incoming: Incoming,
}

impl Filling {
    /// The name of its authorization on the rail.
    pub(super) const fn key(&self) -> AuthorizationKey {
        let terms = &self.opened.terms;
        AuthorizationKey {
            asset: terms.asset,
            payer: terms.payer,
            nonce: self.incoming.deposit.nonce,
        }
    }

    /// What was signed, as far as the rail's nonces go.
    const fn commitment(&self) -> Commitment {
        movement(&self.opened.terms, &self.incoming)
    }

    const fn valid_before_s(&self) -> u64 {
        self.incoming.deposit.valid_before_s
    }
}

/// What the ledger knows of a channel before the chain is asked.
#[derive(Copy, Clone, Debug)]
struct Known {
    channel: ChannelId,
    balance: Amount,
    claimed: Amount,
    /// A deposit is on its way.
    filling: bool,
    /// It can be closed.
    over: bool,
}

impl Known {
    fn of(found: &Channel) -> Self {
        let (balance, claimed) = (found.balance(), found.claimed);
        let (filling, over) = (found.pending.is_some(), found.is_over());
        Self { channel: found.opened.id, balance, claimed, filling, over }
    }

    /// What of `balance` and `claimed`, as the chain shows them, is to be told to the ledger.
    fn news(&self, balance: Amount, claimed: Amount) -> Option<(Amount, Amount)> {
        // A deposit that has just arrived is counted by its transfer first.
        if balance > self.balance && self.filling {
            return None;
        }
        // What a ledger that was put back from a copy does not know of is none of its channel's.
        let (balance, claimed) = (balance.min(self.balance), claimed.min(self.balance));
        let new = self.over || (balance, claimed) != (self.balance, self.claimed);
        new.then_some((balance, claimed))
    }
}

impl Reconciler {
    /// The deposits that are on their way.
    pub(super) async fn filling(&self, network: Network) -> Result<Vec<Filling>, Refused> {
        let look = move |ledger: &Ledger| {
            let filling = |channel: &Channel| {
                let (opened, incoming) = (channel.opened.clone(), channel.pending?);
                (opened.terms.asset.network == network).then_some(Filling { opened, incoming })
            };
            ledger.channels().filter_map(filling).collect()
        };
        self.treasury.read(look).await
    }

    /// The channels of ours.
    pub(super) async fn channels_of(
        &self,
        network: Network,
    ) -> Result<BTreeSet<ChannelId>, Refused> {
        let look = move |ledger: &Ledger| {
            let here = |channel: &&Channel| channel.opened.terms.asset.network == network;
            ledger.channels().filter(here).map(|channel| channel.opened.id).collect()
        };
        self.treasury.read(look).await
    }

    /// Closes a deposit whose transfer was seen on a final block.
    pub(super) async fn arrived(
        &self,
        rail: &dyn Evidence,
        filling: &Filling,
        transfer: &Transfer,
    ) -> Result<(), Refused> {
        // The round comes by again where the rail does not say which block that is.
        let Ok(sighting) = rail.find_nonce(&filling.commitment()).await else { return Ok(()) };
        let block = FinalBlock { hash: sighting.block, time_s: sighting.block_time_s };
        let (channel, transaction) = (filling.opened.id, transfer.transaction);
        self.tell(ChannelCommand::ConfirmDeposit { channel, transaction, block }).await
    }

    /// Looks at what the followed transfers do not say.
    pub(super) async fn look_at_channels(
        &self,
        rail: &dyn Evidence,
        round: &mut Round,
    ) -> Result<Result<(), RailError>, Refused> {
        let Some(witness) = rail.channels() else { return Ok(Ok(())) };
        let network = rail.network();
        let now_s = self.clock.now().as_secs();
        for filling in self.filling(network).await? {
            if now_s < filling.valid_before_s() {
                continue;
            }
            let sighting = match rail.find_nonce(&filling.commitment()).await {
                Ok(sighting) => sighting,
                Err(problem) => return Ok(Err(problem)),
            };
            let block = FinalBlock { hash: sighting.block, time_s: sighting.block_time_s };
            let over = block.time_s >= filling.valid_before_s();
            let channel = filling.opened.id;
            match sighting.nonce {
                NonceState::Unused | NonceState::Canceled { .. } if over => {
                    self.tell(ChannelCommand::ExpireDeposit { channel, block }).await?;
                }
                // It arrived, and this process or one before it died before that was written: no
                // transfer tells of it any more.
                NonceState::Used { transaction, block: height, .. }
                    if self.has_followed(&filling, height).await? =>
                {
                    let confirm = ChannelCommand::ConfirmDeposit { channel, transaction, block };
                    self.tell(confirm).await?;
                }
                NonceState::Unused
                | NonceState::Canceled { .. }
                | NonceState::Used { .. }
                | NonceState::UsedWithoutTrace => {}
            }
        }
        let open = move |ledger: &Ledger| {
            let here = |channel: &&Channel| {
                channel.opened.terms.asset.network == network
                    && channel.state != ChannelState::Closed
                    && (!channel.deposited.is_zero() || channel.is_over())
            };
            let open = ledger.channels().filter(here).take(CHANNELS_MAX);
            open.map(Known::of).collect::<Vec<_>>()
        };
        let open = self.treasury.read(open).await?;
        if open.is_empty() {
            return Ok(Ok(()));
        }
        let ids: Vec<ChannelId> = open.iter().map(|known| known.channel).collect();
        let sights = match witness.look(&ids, Depth::Final).await {
            Ok(sights) => sights,
            Err(problem) => return Ok(Err(problem)),
        };
        let block = FinalBlock { hash: sights.block, time_s: sights.block_time_s };
        for (known, sight) in open.into_iter().zip(sights.seen) {
            let Some((balance, claimed)) = known.news(sight.balance, sight.claimed) else {
                continue;
            };
            let channel = known.channel;
            self.tell(ChannelCommand::See { channel, balance, claimed, block }).await?;
            round.closed = round.closed.saturating_add(1);
        }
        Ok(Ok(()))
    }

    /// Whether what moved in the payer's wallet is counted up to this block: before, the deposit's own
    /// transfer is still to come, and would be taken for a foreign one.
    async fn has_followed(&self, filling: &Filling, height: u64) -> Result<bool, Refused> {
        let terms = filling.opened.terms;
        let look = move |ledger: &Ledger| {
            let wallet = ledger.find_wallet_at(terms.payer);
            let position = wallet.and_then(|wallet| wallet.find(terms.asset));
            position.is_some_and(|position| position.up_to >= height)
        };
        self.treasury.read(look).await
    }

    async fn tell(&self, command: ChannelCommand) -> Result<(), Refused> {
        match self.treasury.execute(Command::Channel(command)).await {
            Err(refused @ Refused::Stopped { .. }) => Err(refused),
            Err(refused @ Refused::Rejected(_)) => {
                tracing::warn!(%refused, "channel not changed");
                Ok(())
            }
            Ok(_) => Ok(()),
        }
    }
}
