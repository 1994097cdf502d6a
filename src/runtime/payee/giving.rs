//! Channels whose rest is on its way back. What lies in one is not known until the chain shows it, and a
//! call that came late, or was held back on purpose, would be served on money that is gone: so no call is
//! served on it until then.

use std::collections::BTreeMap;
use std::sync::Mutex;

use crate::domain::channel::{ChannelId, ChannelTerms};
use crate::domain::x402::PaymentError;
use crate::domain::x402::batch::code::BatchCode;
use crate::ports::channel_rail::Depth;
use crate::ports::paid_service::ServiceError;
use crate::runtime::payee::Desk;
use crate::runtime::payee::stands::unavailable;

/// Channels that may be on their way back at once.
const GIVING_MAX: usize = 4_096;

/// Channels on their way back, with how many refunds the chain had seen of each before.
#[derive(Default)]
pub(super) struct Giving(Mutex<BTreeMap<ChannelId, u64>>);

impl Giving {
    fn find(&self, channel: ChannelId) -> Option<u64> {
        self.0.lock().expect("no holder of the names panics").get(&channel).copied()
    }

    /// Nothing of it is on its way, by the chain's word.
    pub(super) fn end(&self, channel: ChannelId) {
        self.0.lock().expect("no holder of the names panics").remove(&channel);
    }
}

impl Desk {
    /// Remembers that some of a channel is about to go back.
    ///
    /// # Errors
    /// [`ServiceError::Unavailable`] while the chain is silent or too many are on their way: then nothing
    /// may be sent.
    pub(super) async fn begin_giving(&self, channel: ChannelId) -> Result<(), ServiceError> {
        let before = self.look_for_nonce(channel).await?;
        let mut giving = self.giving.0.lock().expect("no holder of the names panics");
        if giving.len() >= GIVING_MAX {
            return Err(unavailable("too many channels are on their way back"));
        }
        giving.entry(channel).or_insert(before);
        Ok(())
    }

    /// What lies in a channel once all that was to go back has gone.
    ///
    /// # Errors
    /// [`BatchCode::ChannelBusy`] while it has not, [`ServiceError::Unavailable`] while the chain is silent.
    pub(super) async fn check_given(
        &self,
        terms: &ChannelTerms,
        channel: ChannelId,
    ) -> Result<Result<(), PaymentError>, ServiceError> {
        let Some(before) = self.giving.find(channel) else { return Ok(Ok(())) };
        if planted!("served_while_it_goes_back") {
            return Ok(Ok(()));
        }
        if self.look_for_nonce(channel).await? <= before {
            return Ok(Err(PaymentError::Batch(BatchCode::ChannelBusy)));
        }
        self.look_at(terms, channel).await?;
        self.giving.end(channel);
        Ok(Ok(()))
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
