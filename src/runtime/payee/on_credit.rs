//! Calls on credit: several of a channel share one voucher, so that even the signature is not made for each.
//!
//! What is owed is what was charged above the newest voucher. The ledger bounds it, for each payer and in
//! all, in the moment of the charge; what is never signed for is a loss in the books. A call on credit names
//! the channel's newest voucher, which nobody but its payer and its payee knows until it is claimed.

use std::collections::BTreeSet;
use std::sync::Mutex;

use crate::domain::channel::ChannelId;
use crate::domain::ledger::claim::Delivery;
use crate::domain::ledger::credit::CreditLimits;
use crate::domain::ledger::tab::{Charged, Tab, TabCommand, Voucher};
use crate::domain::ledger::{Command, Ledger, Rejection};
use crate::domain::money::Amount;
use crate::domain::x402::PaymentError;
use crate::domain::x402::batch::code::BatchCode;
use crate::domain::x402::batch::read::{BatchWord, VoucherWord};
use crate::domain::x402::batch::word::with_credit;
use crate::domain::x402::wire::SettlementResponse;
use crate::ports::paid_service::ServiceError;
use crate::runtime::payee::Desk;
use crate::runtime::payee::tabs::{ChannelJob, Owed, Ready};

/// Channels that are remembered at most: the next voucher of one that is forgotten lends again.
const FRESH_MAX: usize = 65_536;

/// How much a payee lets be charged above the newest vouchers, in atomic units of each asset.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct TabCredit {
    /// What each payer is told that one channel may owe.
    pub per_channel: Amount,
    /// What one payer may owe, with what it was found not to pay.
    pub per_payer: Amount,
    /// The same of all payers together.
    pub total: Amount,
}

impl TabCredit {
    /// Within what lies in the channel above its voucher: more than that could not be paid in any case.
    fn limits(&self, tab: &Tab) -> CreditLimits {
        let signed = tab.voucher.map_or(tab.charged, |voucher| voucher.ceiling);
        let owned = tab.newest.balance.checked_sub(signed).unwrap_or(Amount::ZERO);
        CreditLimits { per_payer: self.per_payer, total: self.total, owned }
    }
}

/// Channels whose newest voucher came to this process, and was not sent to the chain: none but their payers
/// know it.
#[derive(Default)]
pub(super) struct Fresh(Mutex<BTreeSet<ChannelId>>);

impl Fresh {
    fn put(&self, channel: ChannelId) {
        let mut fresh = self.0.lock().expect("no holder of the names panics");
        if fresh.len() >= FRESH_MAX {
            fresh.pop_first();
        }
        fresh.insert(channel);
    }

    fn has(&self, channel: ChannelId) -> bool {
        self.0.lock().expect("no holder of the names panics").contains(&channel)
    }

    /// Its voucher is about to be shown.
    pub(super) fn take(&self, channel: ChannelId) {
        self.0.lock().expect("no holder of the names panics").remove(&channel);
    }
}

impl Desk {
    /// Everything between a call on credit and its work: whether it goes on where the channel is, and fits
    /// at its worst. The ledger decides anew when it is charged.
    pub(super) async fn make_ready_on_credit(
        &self,
        job: &ChannelJob,
        charged: Amount,
    ) -> Result<Ready, ServiceError> {
        let refused = PaymentError::Batch(BatchCode::Cumulative);
        let Some((tab, mut fits)) = self.fits_on_credit(job, charged).await? else {
            return Err(self.refuse(&refused, &job.quote, &job.order));
        };
        let again = tab.last.filter(|last| {
            last.fingerprint == job.fingerprint && last.base == charged && !last.flows
        });
        if let Some(last) = again
            && let Some(answer) = self.answer_last(job, &tab, &last).await
        {
            return Ok(Ready::Answered(Box::new(answer)));
        }
        let was_going_back = tab.is_going_back();
        let tab = self.check_given(job, tab).await?;
        if was_going_back {
            fits = self.fits_on_credit(job, charged).await?.is_some_and(|(_, fits)| fits);
        }
        if fits {
            Ok(Ready::Owed(Box::new(Owed { tab, deposit: None })))
        } else {
            Err(self.correct(&refused, &job.quote, &job.order, Some(&tab)))
        }
    }

    /// The channel's tab, and whether a call on credit fits at its worst.
    async fn fits_on_credit(
        &self,
        job: &ChannelJob,
        charged: Amount,
    ) -> Result<Option<(Tab, bool)>, ServiceError> {
        let channel = job.word.channel;
        // Whoever reads a claim on its way to the chain reads its voucher.
        let credit = self.offering.credit;
        let credit = credit.filter(|_| self.fresh.has(channel) || planted!("old_voucher_lends"));
        let now = self.parts.clock.now();
        let worst = self.call_of(job, (charged, job.price), Delivery::default());
        let look = move |ledger: &Ledger| {
            let tab = ledger.find_tab(channel)?.clone();
            let fits = credit.is_some_and(|credit| {
                let (call, limits) = (Box::new(worst), credit.limits(&tab));
                let charge = TabCommand::ChargeOnCredit { call, limits };
                ledger.decide(now, Command::Tab(charge)).is_ok()
            });
            Some((tab, fits))
        };
        let looked = self.parts.treasury.read(look).await;
        looked.map_err(|refused| ServiceError::Unavailable(refused.to_string()))
    }

    /// A call as the ledger charges it: so much above what had been charged before.
    pub(super) fn call_of(
        &self,
        job: &ChannelJob,
        (base, amount): (Amount, Amount),
        delivery: Delivery,
    ) -> Charged {
        let BatchWord { terms, channel, voucher, .. } = job.word;
        Charged {
            channel,
            asset: terms.asset,
            base,
            amount,
            ceiling: voucher.ceiling.amount,
            signature: voucher.signature,
            fingerprint: job.fingerprint,
            payment: job.payment,
            provider: self.offering.provider.clone(),
            capability: job.quote.capability.clone(),
            model: job.quote.model.clone(),
            delivery,
        }
    }

    /// Charges a call, by its voucher or on credit. Where others used the credit up meanwhile, its payer is
    /// told as if that had been so before, and pays by a voucher.
    pub(super) async fn charge_now(
        &self,
        job: &ChannelJob,
        tab: &Tab,
        call: Charged,
    ) -> Result<(), ServiceError> {
        let call = Box::new(call);
        let charge = match (&self.offering.credit, job.on_credit) {
            (Some(credit), Some(_)) => {
                TabCommand::ChargeOnCredit { call, limits: credit.limits(tab) }
            }
            (Some(_), None) => {
                self.fresh.put(tab.id);
                TabCommand::Charge(call)
            }
            (None, _) => TabCommand::Charge(call),
        };
        let Err(refused) = self.parts.treasury.execute(Command::Tab(charge)).await else {
            return Ok(());
        };
        if matches!(refused.rejection(), Some(Rejection::NoCredit { .. })) {
            let error = PaymentError::Batch(BatchCode::Cumulative);
            return Err(self.correct(&error, &job.quote, &job.order, Some(tab)));
        }
        Err(ServiceError::Unavailable(refused.to_string()))
    }

    /// What a payer is told with a charge: how much may be charged above its voucher, where anything may.
    pub(super) fn lending(&self, response: SettlementResponse) -> SettlementResponse {
        match &self.offering.credit {
            Some(credit) => with_credit(response, credit.per_channel),
            None => response,
        }
    }

    /// Keeps a voucher for what is owed, or a part of it, which pays for no call.
    pub(super) async fn cover(
        &self,
        tab: Option<&Tab>,
        voucher: &VoucherWord,
    ) -> Result<(), ServiceError> {
        let signed = |tab: &Tab| tab.voucher.map_or(Amount::ZERO, |kept| kept.ceiling);
        let most = |tab: &Tab| signed(tab) < voucher.ceiling.amount;
        let covers = |tab: &&Tab| {
            !tab.owed().is_zero() && most(tab) && voucher.ceiling.amount <= tab.charged
        };
        let Some(tab) = tab.filter(covers) else { return Ok(()) };
        let (channel, ceiling) = (tab.id, voucher.ceiling.amount);
        let voucher = Voucher { ceiling, signature: voucher.signature };
        self.fresh.put(channel);
        self.tell_tab(TabCommand::Cover { channel, voucher }).await
    }
}
