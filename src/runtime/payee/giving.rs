//! Channels whose rest is on its way back. What lies in one is not known until the chain shows it, and a
//! call that came late, or was held back on purpose, would be served on money that is gone: so no call is
//! served on it until then, by this process or the one after it.

use std::time::Duration;

use crate::domain::channel::ChannelId;
use crate::domain::ledger::tab::{Tab, TabCommand};
use crate::domain::ledger::{Command, Rejection};
use crate::domain::money::Amount;
use crate::domain::x402::PaymentError;
use crate::domain::x402::batch::code::BatchCode;
use crate::ports::channel_rail::{ClaimRow, Depth};
use crate::ports::paid_service::ServiceError;
use crate::ports::rail::Settlement;
use crate::runtime::payee::Desk;
use crate::runtime::payee::slots::within;
use crate::runtime::payee::tabs::{ChannelJob, Channels};

/// How long the chain may take to pay something back.
const REFUND_WAIT_MAX: Duration = Duration::from_secs(60);

impl Desk {
    /// Gives `amount` of a channel back, after claiming `row` where there is one; what became of it is not
    /// known where nobody says so in time. That it is about to go is durable before anything is sent.
    ///
    /// # Errors
    /// [`ServiceError::Unavailable`] where nothing was sent, and while the chain is silent.
    pub(super) async fn give_back(
        &self,
        channels: &Channels,
        tab: &Tab,
        row: Option<&ClaimRow>,
        amount: Amount,
    ) -> Result<Settlement, ServiceError> {
        let is_first = self.begin_giving(tab).await?;
        let giving = channels.settler.give_back(&tab.terms, row, amount);
        let given = within(self.parts.clock.as_ref(), REFUND_WAIT_MAX, giving).await;
        match &given {
            Some(Ok(Settlement::Settled { .. })) => self.end_giving(tab).await?,
            // What was sent before may arrive yet, whatever becomes of what is sent after it.
            Some(Ok(Settlement::Refused(_)) | Err(_))
                if !is_first && !planted!("given_back_once_refused") => {}
            Some(Ok(Settlement::Refused(_))) => self.end_giving(tab).await?,
            // Nothing was sent.
            Some(Err(_)) => self.tell_tab(TabCommand::GivenBack { channel: tab.id }).await?,
            Some(Ok(Settlement::Unknown { .. })) | None => {}
        }
        let given = given.unwrap_or(Ok(Settlement::Unknown { transaction: None }));
        given.map_err(|problem| ServiceError::Unavailable(problem.to_string()))
    }

    /// Whether nothing of the channel was on its way before.
    async fn begin_giving(&self, tab: &Tab) -> Result<bool, ServiceError> {
        let (channel, refunds) = (tab.id, self.look_for_nonce(tab.id).await?);
        if tab.giving_back.is_some_and(|before| refunds > before) {
            self.end_giving(tab).await?;
        }
        if planted!("given_back_untold") {
            return Ok(true);
        }
        let begin = Command::Tab(TabCommand::GiveBack { channel, refunds });
        match self.parts.treasury.execute(begin).await {
            Ok(_) => Ok(true),
            Err(refused) if refused.rejection() == Some(&Rejection::Unchanged) => Ok(false),
            Err(refused) => Err(ServiceError::Unavailable(refused.to_string())),
        }
    }

    /// Goes by what is left.
    async fn end_giving(&self, tab: &Tab) -> Result<(), ServiceError> {
        self.look_at(&tab.terms, tab.id).await?;
        self.tell_tab(TabCommand::GivenBack { channel: tab.id }).await
    }

    /// The tab of a call once all of its channel that was to go back has gone.
    ///
    /// # Errors
    /// [`BatchCode::ChannelBusy`] while it has not, [`ServiceError::Unavailable`] while the chain is silent.
    pub(super) async fn check_given(
        &self,
        job: &ChannelJob,
        tab: Tab,
    ) -> Result<Tab, ServiceError> {
        let Some(before) = tab.giving_back.filter(|_| tab.is_going_back()) else { return Ok(tab) };
        if self.look_for_nonce(tab.id).await? <= before {
            let error = PaymentError::Batch(BatchCode::ChannelBusy);
            return Err(self.refuse(&error, &job.quote, &job.order));
        }
        self.end_giving(&tab).await?;
        Ok(self.find_tab(tab.id).await?.unwrap_or(tab))
    }

    /// How many refunds of a channel the chain's newest block has seen.
    ///
    /// # Errors
    /// [`ServiceError::Unavailable`] while the chain is silent.
    pub(super) async fn look_for_nonce(&self, channel: ChannelId) -> Result<u64, ServiceError> {
        let Some(witness) = self.channel_witness() else { return Ok(0) };
        let looked = witness.look(&[channel], Depth::Newest).await;
        let sights = looked.map_err(|error| ServiceError::Unavailable(error.to_string()))?;
        Ok(sights.seen.first().map_or(0, |sight| sight.refund_nonce))
    }
}
