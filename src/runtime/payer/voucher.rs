//! A call that a channel pays: its voucher, and what the payee says that it cost.
//!
//! What a payee says here is checked against the channel and never believed beyond it. Says it that
//! nothing was taken, then nothing was, and what was signed stays held until the next voucher covers
//! it. Says it what cannot be, then the channel is drawn on no more, and what was signed stays held until
//! the chain shows what came of it. Says it nothing, it is asked before the channel is drawn on again.

use std::sync::Arc;

use tokio::sync::mpsc;

use crate::domain::channel::Ceiling;
use crate::domain::commitment::Scheme;
use crate::domain::ledger::agent::Agent;
use crate::domain::ledger::channel::{Charge, Frozen};
use crate::domain::money::{Amount, Money, Nano};
use crate::domain::policy::RuleCheck;
use crate::domain::x402::batch::corrective::{Correction, read_correction};
use crate::domain::x402::batch::permitted::extensions;
use crate::domain::x402::batch::read::VoucherWord;
use crate::domain::x402::batch::word;
use crate::domain::x402::payload::{grpc_resource, voucher_payload};
use crate::domain::x402::wire::SettlementResponse;
use crate::ports::archive::{AnswerKey, KeptCharge};
use crate::ports::paid_service::ServiceError;
use crate::runtime::channels::{Doubtful, Lease, Lent, Need, NotLent, PoolKey};
use crate::runtime::meters::Phase;
use crate::runtime::payer::call::{Ended, Pieces, call_with};
use crate::runtime::payer::flow::{Flow, Signed, VOUCHERS_MAX};
use crate::runtime::payer::offers::Candidate;
use crate::runtime::payer::pay::{Prepared, Standing, stopped};
use crate::runtime::payer::told::Saying;
use crate::runtime::payer::{Bill, Bought, Outcome, PayError, Payer};
use crate::runtime::rules::InForce;
use crate::runtime::treasury::Refused;

/// Payees that one call asks at most how a channel stands, before it goes without those in doubt.
const ASKED_MAX: u32 = 4;

/// What became of a call, as far as its channel goes.
pub(super) struct Settled {
    /// How sure that is.
    pub outcome: Outcome,
    /// What it cost; for an open outcome what stays held.
    pub charged: Amount,
    /// The same in the unit of account.
    pub nano: Nano,
}

impl Payer {
    /// A channel, where the candidate is paid by one.
    pub(super) async fn lend(
        &self,
        prepared: &Prepared,
        candidate: &Candidate,
    ) -> Result<Option<Lease>, NotLent> {
        let Some(channels) = &self.parts.channels else { return Ok(None) };
        let Some(key) = self.pool_key(&prepared.agent, candidate) else { return Ok(None) };
        let Scheme::BatchSettlement(offer) = candidate.pay_by.scheme else { return Ok(None) };
        let mut need = Need {
            payment: prepared.payment,
            amount: candidate.amount,
            nano: candidate.nano,
            timeout_s: candidate.pay_by.timeout_s,
            deposit_min: offer.deposit_min,
            method: candidate.pay_by.method,
            doubtful: Doubtful::Ask,
        };
        for asked in 1..=ASKED_MAX {
            match channels.lend(&key, &need).await? {
                Lent::Known(lease) => return self.allowed(lease).await.map(Some),
                Lent::Doubted(doubted) => {
                    Box::pin(self.recover(prepared, candidate, doubted)).await?;
                }
            }
            if asked == ASKED_MAX {
                need.doubtful = Doubtful::Skip;
            }
        }
        match channels.lend(&key, &need).await? {
            Lent::Known(lease) => self.allowed(lease).await.map(Some),
            Lent::Doubted(doubted) => {
                doubted.unanswered();
                Err(NotLent::Busy)
            }
        }
    }

    /// The same channel, with how the deposit that it needs is moved.
    pub(super) async fn allowed(&self, mut lease: Lease) -> Result<Lease, NotLent> {
        match self.allow_deposit(&mut lease).await {
            Ok(()) => Ok(lease),
            Err(error) => {
                lease.give_back_unused();
                Err(error)
            }
        }
    }

    /// Whose channels could pay, where the candidate is paid by channel.
    pub(super) fn pool_key(&self, agent: &Agent, candidate: &Candidate) -> Option<PoolKey> {
        let way = &candidate.pay_by;
        let Scheme::BatchSettlement(offer) = way.scheme else { return None };
        let wallet = agent.wallet_id();
        Some(PoolKey {
            wallet,
            role: agent.role.clone(),
            provider: candidate.quote.quote.provider.clone(),
            asset: way.asset,
            payer: self.parts.signer.address(wallet)?,
            receiver: way.pay_to,
            receiver_authorizer: offer.receiver_authorizer,
            withdraw_delay_s: offer.withdraw_delay_s,
        })
    }

    /// Why no channel was lent, as the caller hears it.
    pub(super) fn not_lent(
        &self,
        prepared: &Prepared,
        rules: &InForce,
        candidate: &Candidate,
        checks: Vec<RuleCheck>,
        error: NotLent,
    ) -> PayError {
        match error {
            NotLent::Refused(refused) => {
                self.note(prepared, rules, Err(refused.as_ref()), checks, Vec::new());
                stopped(prepared, *refused)
            }
            NotLent::Busy => {
                PayError::ChannelsBusy { provider: candidate.quote.quote.provider.clone() }
            }
            NotLent::NotAllowed { allowed, needed } => {
                let asset = candidate.pay_by.asset;
                let payer = self.parts.signer.address(prepared.agent.wallet_id());
                let payer = payer.unwrap_or_default();
                PayError::Allowance { asset, payer, allowed, needed }
            }
        }
    }

    /// Signs the voucher, calls, and tells whoever listens.
    pub(super) async fn carry_by_channel(
        &self,
        mut standing: Standing,
        lease: Lease,
        pieces: &Pieces,
    ) {
        let Some(mut lease) = self.carry_on_credit(&mut standing, lease, pieces).await else {
            return;
        };
        let (payment, held) = (standing.payment, standing.drawn);
        let signed = self.time(Phase::Sign, lease.sign(payment)).await;
        let (ceiling, signature) = match signed {
            Ok(signed) => signed,
            Err(error) => {
                let voided = lease.void(payment, held).await;
                return self.tell_unsigned(&mut standing, (error, voided), pieces).await;
            }
        };
        let call = if self.is_brief(&standing, &lease) {
            Saying::Brief(call_with(&standing, None), VoucherWord { ceiling, signature })
        } else {
            let payload = word::payload(&lease.terms, &ceiling, &signature, lease.deposit.as_ref());
            let payload = voucher_payload(
                grpc_resource(&standing.candidate.quote.quote.resource),
                standing.candidate.requirement().to_wire(),
                payload,
                extensions(&lease.terms, lease.channel, lease.deposit.as_ref(), None),
                Some(payment),
            );
            Saying::Whole(call_with(&standing, Some(payload)))
        };
        let base = ceiling.amount.checked_sub(held).unwrap_or(Amount::ZERO);
        let mut signed = Signed { base, ceiling, held };
        let plan = standing.plan.take();
        let (ended, refused) = match (call, plan) {
            (Saying::Whole(call), Some(plan)) => {
                let (sender, said) = mpsc::channel(VOUCHERS_MAX);
                let mut flow = Flow::new(self, &mut lease, *plan, (signed, sender));
                let ended = Box::pin(self.flow(&standing, call, said, (&mut flow, pieces))).await;
                signed = flow.signed;
                (ended, flow.refused)
            }
            (call, _) => {
                let ended = self.call(&standing, call, pieces).await;
                self.remember_credit(&lease, VoucherWord { ceiling, signature }, &ended);
                (ended, None)
            }
        };
        let settled = self.settle_by_channel(&standing, lease, signed, &ended).await;
        self.finish_by_channel(&mut standing, (ended, refused), settled, pieces).await;
    }

    pub(super) async fn finish_by_channel(
        &self,
        standing: &mut Standing,
        (ended, refused): (Ended, Option<Box<Refused>>),
        settled: Settled,
        pieces: &Pieces,
    ) {
        let (closing, mut kept) = match ended {
            Ended::Whole { closing, kept } => (closing, kept),
            Ended::Cut { .. } => {
                let cut = cut(standing, &settled, refused);
                return self.hand_last(standing, Err(cut), pieces).await;
            }
            Ended::Broken(error) => {
                // What was charged was served, and its answer is kept nowhere any more.
                let gone = settled.outcome == Outcome::Captured && !settled.charged.is_zero();
                let payment = standing.payment;
                let error = if gone { PayError::AnswerGone { payment } } else { error };
                return self.hand_last(standing, Err(error), pieces).await;
            }
        };
        let provider = standing.candidate.quote.quote.provider.clone();
        let charged = Money { amount: settled.charged, asset: standing.commitment.asset };
        let nano = settled.nano;
        kept.charge = Some(KeptCharge { provider: provider.clone(), charged, nano });
        let (key, at) = (AnswerKey::Bought(standing.payment), self.parts.clock.now());
        self.shelf.put(key, *kept, at).await;
        let bill = Bill {
            payment: standing.payment,
            provider,
            outcome: settled.outcome,
            charged,
            nano,
            usage: closing.usage,
            receipt: None,
            repeated: false,
        };
        self.hand_last(standing, Ok(Bought::Done(Box::new(bill))), pieces).await;
        let shelf = Arc::clone(&self.shelf);
        // A task of its own, so that the caller's stream ends now. A payer that ends takes no new one,
        // and the answer is written before it has ended.
        if !self.tasks.start(async move { shelf.write(key).await }) {
            self.shelf.write(key).await;
        }
    }

    /// What the payee said that it cost, told to the channel's keeper.
    pub(super) async fn settle_by_channel(
        &self,
        standing: &Standing,
        lease: Lease,
        signed: Signed,
        ended: &Ended,
    ) -> Settled {
        let payment = standing.payment;
        match ended {
            Ended::Whole { .. } | Ended::Cut { .. } => self.told.tell(lease.channel),
            Ended::Broken(_) => self.told.forget(lease.channel),
        }
        let Signed { base, ceiling, held } = signed;
        let most = ceiling.amount.checked_sub(base).unwrap_or(Amount::ZERO);
        let all = (standing.candidate.nano, standing.candidate.amount);
        let open =
            Settled { outcome: Outcome::Unknown, charged: held, nano: nano_of(all.0, held, all.1) };
        match ended {
            Ended::Whole { closing, .. } | Ended::Cut { closing } => {
                let Some(amount) = said_charge(&closing.response, &ceiling, base, most) else {
                    lease.freeze(Frozen::Lied).await;
                    return open;
                };
                lease.charged(Charge { payment, amount }, held, true);
                self.keep_quote(&standing.wish.order, &standing.candidate);
                captured(standing, amount)
            }
            Ended::Broken(PayError::Provider { error, .. }) => {
                let said = correction_of(error, &lease);
                match said.filter(|said| lease.is_again() || said.charged != base) {
                    Some(said) => {
                        let amount = said.charged.checked_sub(base).filter(|it| *it <= most);
                        let believed = lease.corrected(&said).await;
                        let amount = amount.filter(|_| believed);
                        amount.map_or(open, |amount| captured(standing, amount))
                    }
                    None if is_untaken(error) && !lease.is_again() => {
                        lease.charged(Charge { payment, amount: Amount::ZERO }, held, false);
                        captured(standing, Amount::ZERO)
                    }
                    None => {
                        lease.doubt();
                        open
                    }
                }
            }
            // Nobody knows: the very same request may come again and find out, or the channel's next
            // call asks.
            Ended::Broken(_) => {
                lease.doubt();
                open
            }
        }
    }
}

/// What a caller hears of an answer that is not whole.
fn cut(standing: &Standing, settled: &Settled, refused: Option<Box<Refused>>) -> PayError {
    let payment = standing.payment;
    match refused {
        Some(refused) => PayError::Refused { payment, refused },
        None => PayError::Cut {
            payment,
            provider: standing.candidate.quote.quote.provider.clone(),
            charged: settled.charged,
        },
    }
}

/// What a response says that the call cost, where that can be: at most what was signed for it, and
/// what was charged in all goes on where the channel was. Source: x402 scheme `batch-settlement`,
/// client rules 1 to 4; threats.md E10.
pub(super) fn said_charge(
    response: &SettlementResponse,
    ceiling: &Ceiling,
    base: Amount,
    most: Amount,
) -> Option<Amount> {
    let said = word::read_response(response, ceiling)?;
    let goes_on = base.checked_add(said.amount) == Some(said.cumulative);
    (said.amount <= most && goes_on).then_some(said.amount)
}

/// How the channel stands, by what a refusal says of it.
fn correction_of(error: &ServiceError, lease: &Lease) -> Option<Correction> {
    let ServiceError::PaymentRequired(offer) = error else { return None };
    read_correction(offer, lease.channel)
}

fn captured(standing: &Standing, charged: Amount) -> Settled {
    let nano = nano_of(standing.candidate.nano, charged, standing.candidate.amount);
    Settled { outcome: Outcome::Captured, charged, nano }
}

/// Whether the payee says that it took nothing.
const fn is_untaken(error: &ServiceError) -> bool {
    match error {
        ServiceError::PaymentRequired(_)
        | ServiceError::SettlementFailed { .. }
        | ServiceError::Malformed { .. }
        | ServiceError::Bound
        | ServiceError::RateLimited { .. }
        | ServiceError::Unavailable(_)
        | ServiceError::Engine(_) => true,
        ServiceError::Due | ServiceError::Unknown(_) => false,
    }
}

/// What a charge counts of what was held for the call, rounded up.
pub(super) fn nano_of(held: Nano, amount: Amount, most: Amount) -> Nano {
    let share = u128::from(held.get()).saturating_mul(amount.get()).div_ceil(most.get().max(1));
    Nano::new(u64::try_from(share).unwrap_or(u64::MAX)).min(held)
}
