//! Channels that a payee does not know yet. Anybody can name as many as it likes, each with a good voucher and
//! for nothing; so one is known, durably and for good, only once money lies in it, or is about to come from a
//! payer that owns it. Source: threats.md C13.

use crate::domain::channel::{ChannelId, ChannelTerms};
use crate::domain::ledger::tab::{Sight, Standing, Tab, TabCommand};
use crate::domain::x402::PaymentError;
use crate::domain::x402::batch::code::BatchCode;
use crate::domain::x402::batch::read::DepositWord;
use crate::ports::channel_rail::{ChannelEvidence, Depth};
use crate::ports::paid_service::ServiceError;
use crate::runtime::payee::Desk;
use crate::runtime::payee::claiming::sight_of;
use crate::runtime::payee::lines::Place;
use crate::runtime::payee::stands::unavailable;
use crate::runtime::payee::tabs::ChannelJob;

/// How often a channel is looked at that others look at as well, before its caller is sent away.
const LOOKS_MAX: u32 = 4;

/// A tab before anybody has looked.
const UNSEEN: Sight = Sight { newest: Standing::EMPTY, withdrawable_at_s: None };

impl Desk {
    /// The tab of a channel that nothing was known of, where the chain shows money in it: it may have a
    /// history there. Nothing is written of any other.
    ///
    /// # Errors
    /// [`ServiceError::Unavailable`] while the chain is silent.
    pub(super) async fn meet(
        &self,
        terms: &ChannelTerms,
        channel: ChannelId,
    ) -> Result<Option<Tab>, ServiceError> {
        let sight = self.see_newest(terms, channel).await?;
        if sight.newest.balance.is_zero() {
            return Ok(None);
        }
        self.tell_tab(TabCommand::Open { channel, terms: *terms }).await?;
        self.tell_tab(TabCommand::Look { channel, before: UNSEEN, sight }).await?;
        let met = self.find_tab(channel).await?;
        if met.as_ref().map(Tab::sight) == Some(sight) {
            return Ok(met);
        }
        // Somebody else has looked meanwhile.
        self.look_at(terms, channel).await?;
        self.find_tab(channel).await
    }

    /// Opens the tab of a channel for the deposit that is about to be sent into it. Its payer owns as much, and
    /// whatever else it asks for comes behind that until the place is given up.
    ///
    /// # Errors
    /// [`BatchCode::InsufficientBalance`] where the payer owns less; [`ServiceError::Unavailable`] while the
    /// chain is silent.
    pub(super) async fn open_to_fill(
        &self,
        job: &ChannelJob,
        deposit: &DepositWord,
    ) -> Result<Place<'_>, ServiceError> {
        let (channel, terms) = (job.word.channel, job.word.terms);
        let mut place = self.lines.join((terms.asset, terms.payer), deposit.amount);
        if !self.has_room(&place).await? {
            let error = PaymentError::Batch(BatchCode::InsufficientBalance);
            return Err(self.refuse(&error, &job.quote, &job.order));
        }
        self.tell_tab(TabCommand::Open { channel, terms }).await?;
        place.begin_to_pay();
        Ok(place)
    }

    /// A channel that nothing is known of, as its payer is told.
    pub(super) fn blank_tab(&self, channel: ChannelId, terms: ChannelTerms) -> Tab {
        Tab::new(channel, terms, self.parts.clock.now())
    }

    /// Counts what the chain's newest block shows of a channel. Where somebody else looked meanwhile, it is
    /// looked at again: which of both is newer cannot be told.
    pub(super) async fn look_at(
        &self,
        terms: &ChannelTerms,
        channel: ChannelId,
    ) -> Result<(), ServiceError> {
        let mut known = self.find_tab(channel).await?;
        for _ in 0..LOOKS_MAX {
            let Some(before) = known.as_ref().map(Tab::sight) else { break };
            let sight = self.see_newest(terms, channel).await?;
            self.tell_tab(TabCommand::Look { channel, before, sight }).await?;
            known = self.find_tab(channel).await?;
            if known.as_ref().map(Tab::sight) == Some(sight) {
                return Ok(());
            }
        }
        Err(unavailable(&silent().to_string()))
    }

    async fn see_newest(
        &self,
        terms: &ChannelTerms,
        channel: ChannelId,
    ) -> Result<Sight, ServiceError> {
        let code = silent();
        let Some(witness) = self.channel_witness() else {
            return Err(unavailable(&code.to_string()));
        };
        let looked = witness.look(&[channel], Depth::Newest).await;
        let sights = looked.map_err(|error| unavailable(&format!("{code}: {error}")))?;
        let seen = sights.seen.first().ok_or_else(|| unavailable(&code.to_string()))?;
        Ok(sight_of(seen, terms.withdraw_delay_s))
    }

    /// Who bears witness to channels.
    pub(super) fn channel_witness(&self) -> Option<&dyn ChannelEvidence> {
        self.parts.evidence.as_deref()?.channels()
    }
}

/// What is said while the chain shows nothing.
const fn silent() -> PaymentError {
    PaymentError::Batch(BatchCode::StateUnavailable)
}
