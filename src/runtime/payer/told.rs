//! Channels whose terms their payees have heard: from then on a voucher goes alone, where the payee takes
//! it so. One that was turned away goes with its terms the next time.

use std::collections::BTreeSet;
use std::sync::Mutex;

use crate::domain::channel::ChannelId;
use crate::domain::x402::batch::read::VoucherWord;
use crate::ports::paid_service::{PaidCall, ServiceError};
use crate::runtime::channels::Lease;
use crate::runtime::payer::Payer;
use crate::runtime::payer::pay::Standing;

/// Channels that are remembered at most; what is forgotten is told once more.
const TOLD_MAX: usize = 16_384;

/// The channels.
#[derive(Default)]
pub(super) struct Told(Mutex<BTreeSet<ChannelId>>);

impl Told {
    fn knows(&self, channel: ChannelId) -> bool {
        self.0.lock().expect("no holder of the channels panics").contains(&channel)
    }

    /// Its payee has served a call that it paid.
    pub(super) fn tell(&self, channel: ChannelId) {
        let mut told = self.0.lock().expect("no holder of the channels panics");
        if told.len() >= TOLD_MAX {
            told.pop_first();
        }
        told.insert(channel);
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
        }
    }
}
