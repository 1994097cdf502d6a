//! Channels whose terms their payees have heard: from then on a voucher goes alone, where the payee takes
//! it so. One that was turned away goes with its terms the next time. Where the payee gives credit, what
//! it lends and the last voucher are kept here too.

use std::collections::BTreeMap;
use std::sync::Mutex;

use crate::domain::channel::ChannelId;
use crate::domain::money::Amount;
use crate::domain::x402::batch::read::{CreditWord, VoucherWord};
use crate::ports::paid_service::{PaidCall, ServiceError};
use crate::runtime::channels::Lease;
use crate::runtime::payer::Payer;
use crate::runtime::payer::pay::Standing;

/// Channels that are remembered at most; what is forgotten is told once more.
const TOLD_MAX: usize = 16_384;

/// What a payee lends on a channel.
#[derive(Copy, Clone)]
pub(super) struct Trust {
    /// The channel's last voucher.
    pub voucher: VoucherWord,
    /// What may be charged above it.
    pub credit: Amount,
}

/// The channels, with what is lent on each.
#[derive(Default)]
pub(super) struct Told(Mutex<BTreeMap<ChannelId, Option<Trust>>>);

impl Told {
    fn knows(&self, channel: ChannelId) -> bool {
        self.0.lock().expect("no holder of the channels panics").contains_key(&channel)
    }

    /// What is lent on a channel, where anything is.
    pub(super) fn trust_of(&self, channel: ChannelId) -> Option<Trust> {
        *self.0.lock().expect("no holder of the channels panics").get(&channel)?
    }

    /// Its payee has served a call by this voucher, and said what it lends above it.
    pub(super) fn trust(&self, trust: Trust) {
        let channel = trust.voucher.ceiling.channel;
        self.tell(channel);
        self.0.lock().expect("no holder of the channels panics").insert(channel, Some(trust));
    }

    /// Its payee has served a call that it paid.
    pub(super) fn tell(&self, channel: ChannelId) {
        let mut told = self.0.lock().expect("no holder of the channels panics");
        if told.len() >= TOLD_MAX {
            told.pop_first();
        }
        told.entry(channel).or_insert(None);
    }

    /// Its payee turned a call away, or did not answer.
    pub(super) fn forget(&self, channel: ChannelId) {
        self.0.lock().expect("no holder of the channels panics").remove(&channel);
    }
}

/// How a call by channel is said.
pub(super) enum Saying {
    /// With everything that a stranger needs.
    Whole(PaidCall),
    /// The voucher alone.
    Brief(PaidCall, VoucherWord),
    /// No voucher of its own.
    OnCredit(PaidCall, CreditWord),
}

impl Payer {
    /// Whether a voucher of `lease` may go alone.
    pub(super) fn is_brief(&self, standing: &Standing, lease: &Lease) -> bool {
        lease.deposit.is_none()
            && !standing.wish.streamed
            && self.told.knows(lease.channel)
            && standing.candidate.service.takes_words()
    }
}

impl Saying {
    /// Says it.
    ///
    /// # Errors
    /// Any [`ServiceError`].
    pub(super) async fn to(
        self,
        service: &dyn crate::ports::paid_service::PaidService,
    ) -> Result<crate::ports::paid_service::Answer, ServiceError> {
        match self {
            Self::Whole(call) => service.infer(call).await,
            Self::Brief(call, word) => service.infer_by_word(call, word).await,
            Self::OnCredit(call, word) => service.infer_on_credit(call, word).await,
        }
    }
}
