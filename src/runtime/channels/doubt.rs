//! A channel of which nobody here knows what was charged last: after a lost answer, after a crash, and
//! after any start, because a ledger may have been restored from an older copy. It is lent again once its
//! payee has said how it stands, and what it said could be believed.
//!
//! Source: threats.md E10 to E13.

use std::time::Duration;

use alloy::primitives::Signature;

use crate::domain::channel::{Ceiling, ChannelId};
use crate::domain::fault::Fault;
use crate::domain::ledger::channel::{Channel, ChannelCommand, Charge, Frozen};
use crate::domain::money::Amount;
use crate::domain::time::Timestamp;
use crate::domain::x402::batch::corrective::{Belief, Correction, OwnView, believe};
use crate::ports::signer::SignerError;
use crate::runtime::channels::{Keeper, Lease, UNKNOWN};
use crate::runtime::treasury::Refused;

/// How long a channel rests whose payee said nothing of it, the first time; twice as long each time.
const REST: Duration = Duration::from_secs(1);

/// How often that is made longer at most.
const DOUBLINGS_MAX: u32 = 9;

/// A channel that one call has, to find out how it stands.
pub struct Doubted {
    lease: Lease,
}

impl Doubted {
    pub(super) const fn new(lease: Lease) -> Self {
        Self { lease }
    }

    /// The channel.
    pub const fn lease(&self) -> &Lease {
        &self.lease
    }

    /// The voucher to ask with: for what was charged and no more, so that no call can be charged to it.
    ///
    /// # Errors
    /// [`SignerError`], and then nothing was signed.
    pub async fn sign(&self) -> Result<(Ceiling, Signature), SignerError> {
        self.lease.keeper.signer.sign_charged(self.lease.channel).await
    }

    /// Ends it where the payee said nothing of the channel: it rests, and is asked about again later.
    pub fn unanswered(mut self) {
        let tries = self.lease.doubts.saturating_sub(UNKNOWN).min(DOUBLINGS_MAX);
        self.lease.doubts = self.lease.doubts.saturating_add(1);
        let rest = REST.saturating_mul(2_u32.saturating_pow(tries));
        self.lease.fills_from = self.lease.keeper.clock.now().after(rest);
        self.lease.put_back_doubted();
    }

    /// Ends it with what the payee said. Whether the channel is lent again.
    ///
    /// # Errors
    /// [`Refused::Stopped`].
    pub async fn answered(self, said: &Correction) -> Result<bool, Refused> {
        let (keeper, channel) = (self.lease.keeper.clone(), self.lease.channel);
        match keeper.take_over(channel, said).await? {
            Ok(()) => self.lend_again().await,
            Err(why) => {
                self.lease.freeze(why).await;
                Ok(false)
            }
        }
    }

    async fn lend_again(mut self) -> Result<bool, Refused> {
        let found = self.lease.keeper.find(self.lease.channel).await?;
        let Some(found) = found.filter(super::is_open) else {
            self.lease.take_out();
            return Ok(false);
        };
        (self.lease.room, self.lease.exposed) = (found.room(), found.exposure());
        self.lease.filling = found.pending.is_some();
        (self.lease.doubts, self.lease.fills_from) = (0, Timestamp::ZERO);
        tracing::info!(channel = %self.lease.channel, charged = %found.charged, "channel recovered");
        self.lease.give_back_unused();
        Ok(true)
    }
}

impl Lease {
    /// Ends it where the payee refused the call and said how the channel stands. Whether that could be
    /// believed.
    pub async fn corrected(self, said: &Correction) -> bool {
        Doubted::new(self).answered(said).await.unwrap_or(false)
    }
}

impl Keeper {
    pub(super) async fn find(&self, channel: ChannelId) -> Result<Option<Channel>, Refused> {
        self.treasury.read(move |ledger| ledger.find_channel(channel).cloned()).await
    }

    /// Takes over what a payee says of a channel, as far as it can be believed; else why nothing more is
    /// signed for it.
    pub(super) async fn take_over(
        &self,
        channel: ChannelId,
        said: &Correction,
    ) -> Result<Result<(), Frozen>, Refused> {
        let Some(found) = self.find(channel).await? else { return Ok(Err(Frozen::Silent)) };
        match believe(said, &found.opened.terms, &view_of(&found, self.settings.credit)) {
            Belief::Charged(charged) => {
                if let Some(payment) = found.last {
                    let amount = charged.checked_sub(found.base).unwrap_or(Amount::ZERO);
                    self.charge(channel, Charge { payment, amount }).await?;
                }
                Ok(Ok(()))
            }
            Belief::Newer { charged, ceiling } => {
                tracing::error!(%channel, %charged, %ceiling, "ledger older than its channel");
                match self.tell(ChannelCommand::Resync { channel, charged, ceiling }).await {
                    Ok(_) => Ok(Ok(())),
                    Err(refused @ Refused::Stopped { .. }) => Err(refused),
                    Err(refused) => {
                        tracing::error!(%channel, code = refused.code(), "channel not resynced");
                        Ok(Err(Frozen::Restored))
                    }
                }
            }
            // What it forgot is its loss; what is left of the deposit is had back.
            Belief::Older => Ok(Err(Frozen::Closing)),
            Belief::Unproven => Ok(Err(Frozen::Lied)),
        }
    }
}

fn view_of(found: &Channel, on_credit: bool) -> OwnView {
    let charged_max = found.last.map_or(found.charged, |_| found.last_ceiling.max(found.charged));
    OwnView { charged: found.charged, charged_max, ceiling: found.ceiling, on_credit }
}
