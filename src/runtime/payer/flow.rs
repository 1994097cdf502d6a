//! A streamed call that a channel pays while it flows: the next portion is signed only once what was
//! paid has arrived, and what is signed and has not arrived never passes the payer's own limit.
//!
//! What a payee says of its count is believed as far as it can be seen here: no more tokens than bytes
//! that came, and no more milliseconds than passed.

use std::time::Duration;

use futures_util::StreamExt;
use tokio::sync::mpsc;

use crate::domain::channel::Ceiling;
use crate::domain::commitment::Scheme;
use crate::domain::id::Name;
use crate::domain::ledger::Rejection;
use crate::domain::ledger::command::HoldAsk;
use crate::domain::money::{Amount, Nano};
use crate::domain::order::{Units, Usage};
use crate::domain::policy;
use crate::domain::pricing::{price_of_start, price_of_stride, price_of_usage};
use crate::domain::quote::{PriceTerms, Stride};
use crate::domain::time::Timestamp;
use crate::domain::x402::batch::read::VoucherWord;
use crate::ports::paid_service::{Answer, Piece, Said, ServiceError};
use crate::runtime::channels::Lease;
use crate::runtime::payer::offers::Candidate;
use crate::runtime::payer::pay::{Prepared, Standing, to_offer};
use crate::runtime::payer::voucher::nano_of;
use crate::runtime::payer::{PayError, Payer};
use crate::runtime::treasury::Refused;

/// Vouchers that wait to leave at most: the payer signs no more until they have.
pub(super) const VOUCHERS_MAX: usize = 16;

/// How long a payee that was told to stop may take to say what it charged.
const STOP_WAIT_MAX: Duration = Duration::from_secs(5);

/// The least that can be left over of what is paid: one of everything that is counted.
const LEAST: Stride = Stride { output: Units(1), bytes: 1, compute_ms: 1 };

/// How a streamed call is cut into portions.
pub(super) struct Split {
    role: Name,
    /// What the first voucher pays for.
    first: Amount,
    /// What each next one adds.
    step: Amount,
    /// What may be signed and not have arrived.
    limit: Amount,
    /// What may be left over and nothing more come of it.
    least: Amount,
}

/// How a streamed call is paid, as it was held for.
pub(super) struct Plan {
    split: Split,
    /// The call as it was asked to be held; its amounts are a portion's.
    ask: HoldAsk,
}

/// What was signed for a call, and what was held for it.
#[derive(Copy, Clone)]
pub(super) struct Signed {
    /// What had been charged before it.
    pub base: Amount,
    /// The newest voucher's sum.
    pub ceiling: Ceiling,
    /// What was held, in all: never less than what was signed.
    pub held: Amount,
}

/// Where a call that flows stands.
pub(super) struct Flow<'p> {
    payer: &'p Payer,
    lease: &'p mut Lease,
    plan: Plan,
    saying: Option<mpsc::Sender<Said>>,
    began: Timestamp,
    /// When something last came that is paid for.
    moved: Timestamp,
    /// Since when the payee is to end it.
    stopped: Option<Timestamp>,
    pub signed: Signed,
    /// What arrived, as far as it is believed.
    used: Usage,
    /// What the payee says of the next chunk.
    said: Usage,
    /// Why no more is paid.
    pub refused: Option<Box<Refused>>,
}

impl Payer {
    /// How the call is paid while it flows; `None` where it is paid as a whole.
    ///
    /// # Errors
    /// [`PayError::StrideTooLong`] where the payee wants more at a time than the payer risks.
    pub(super) fn split(
        &self,
        prepared: &Prepared,
        candidate: &Candidate,
    ) -> Result<Option<Split>, PayError> {
        let by_channel = matches!(candidate.pay_by.scheme, Scheme::BatchSettlement(_))
            && self.parts.channels.is_some();
        let quote = &candidate.quote.quote;
        let Some(stride) = quote.stride.filter(|_| by_channel && prepared.wish.streamed) else {
            return Ok(None);
        };
        let (terms, order) = (&quote.terms, &prepared.wish.order);
        let first = price_of_start(terms, order, &stride);
        let most = self.parts.settings.stream;
        let priced = [&stride, &most, &LEAST].map(|stride| price_of_stride(terms, stride));
        let (Some(first), [Some(step), Some(limit), Some(least)]) = (first, priced) else {
            return Ok(None);
        };
        // There is nothing to cut it into.
        if first >= candidate.amount || first.is_zero() || step.is_zero() {
            return Ok(None);
        }
        if step > limit {
            let provider = quote.provider.clone();
            return Err(PayError::StrideTooLong { provider, stride: step, limit });
        }
        let role = prepared.agent.role.clone();
        Ok(Some(Split { role, first, step, limit, least }))
    }
}

impl Split {
    /// The plan by which a call that asks to be held so is paid.
    pub(super) const fn of(self, ask: HoldAsk) -> Plan {
        Plan { split: self, ask }
    }
}

impl Plan {
    /// What is held first.
    pub(super) fn first_ask(&self, candidate: &Candidate) -> HoldAsk {
        portion(&self.ask, candidate, self.split.first)
    }
}

impl<'p> Flow<'p> {
    pub(super) fn new(
        payer: &'p Payer,
        lease: &'p mut Lease,
        plan: Plan,
        (signed, saying): (Signed, mpsc::Sender<Said>),
    ) -> Self {
        let now = payer.parts.clock.now();
        Self {
            began: now,
            moved: now,
            stopped: None,
            signed,
            saying: Some(saying),
            used: Usage::default(),
            said: Usage::default(),
            refused: None,
            payer,
            lease,
            plan,
        }
    }

    /// Hears what the payee says that was used.
    pub(super) async fn hear(&mut self, standing: &Standing, said: Usage) {
        let passed = self.payer.parts.clock.now().since(self.began).as_millis();
        let passed = u64::try_from(passed).unwrap_or(u64::MAX);
        let worked = said.compute_ms.min(passed);
        if worked > self.used.compute_ms {
            self.used.compute_ms = worked;
            if !standing.candidate.quote.quote.terms.per_s.is_zero() {
                self.moved = self.payer.parts.clock.now();
            }
        }
        self.used.input = Units(said.input.0.min(standing.wish.order.input_max.0));
        self.said = said;
        self.pay(standing).await;
    }

    /// Sees a chunk arrive.
    pub(super) async fn take(&mut self, standing: &Standing, len: usize) {
        let len = u64::try_from(len).unwrap_or(u64::MAX);
        if len > 0 {
            self.moved = self.payer.parts.clock.now();
        }
        self.used.bytes = self.used.bytes.saturating_add(len);
        let output = self.said.output.0.min(self.used.bytes);
        self.used.output = Units(output.max(self.used.output.0));
        self.pay(standing).await;
    }

    /// Says that nothing more is wanted. Where even that does not leave, the stream's end says it.
    pub(super) fn stop(&mut self) {
        if let Some(saying) = self.saying.take() {
            let _ = saying.try_send(Said::Stop);
        }
        self.stopped = self.stopped.or(Some(self.payer.parts.clock.now()));
    }

    /// The next piece, where it comes in time; a payee that is silent, or does not come to an end, is
    /// told to stop, and has a last chance to say what it charged.
    pub(super) async fn next_piece(
        &mut self,
        answer: &mut Answer,
    ) -> Option<Result<Piece, ServiceError>> {
        let clock = self.payer.parts.clock.as_ref();
        loop {
            let until = self.until();
            // Looked at first: pieces that never stop coming leave no time to whoever waits for the end.
            if clock.now() < until {
                tokio::select! {
                    biased;
                    piece = answer.pieces.next() => return piece,
                    () = clock.sleep_until(until) => {}
                }
            }
            if self.stopped.is_some() {
                let problem = "no word of what was charged".to_owned();
                return Some(Err(ServiceError::Unknown(problem)));
            }
            self.stop();
        }
    }

    /// Until when the next piece is waited for.
    fn until(&self) -> Timestamp {
        let settings = &self.payer.parts.settings;
        match self.stopped {
            Some(stopped) => stopped.after(STOP_WAIT_MAX),
            None => {
                self.moved.after(settings.silence_max).min(self.began.after(settings.stream_max))
            }
        }
    }

    /// Whether anything came that was paid for.
    pub(super) fn has_moved(&self) -> bool {
        self.used.bytes > 0 || self.used.compute_ms > 0
    }

    /// Signs as many portions as the limit has room for.
    async fn pay(&mut self, standing: &Standing) {
        while self.saying.is_some() {
            let most = standing.candidate.amount;
            let left = self.left(&standing.candidate.quote.quote.terms, standing);
            let rest = most.checked_sub(self.signed.held).unwrap_or(Amount::ZERO);
            let step = self.plan.split.step.min(rest);
            let fits = left.checked_add(step).is_some_and(|sum| sum <= self.plan.split.limit);
            let fits = fits || left < self.plan.split.least || planted!("paid_far_ahead");
            if rest.is_zero() || !fits {
                return;
            }
            if let Err(refused) = self.extend(standing, step).await {
                tracing::info!(code = crate::domain::fault::Fault::code(&refused), "stream ends");
                self.refused = Some(Box::new(refused));
                // What was paid for still comes.
                self.saying = None;
            }
        }
    }

    /// What was held, and so may be signed, and has not arrived.
    fn left(&self, terms: &PriceTerms, standing: &Standing) -> Amount {
        let stored = standing.candidate.stored(&standing.wish.body);
        let arrived = price_of_usage(terms, &self.used, stored).unwrap_or(self.signed.held);
        self.signed.held.checked_sub(arrived).unwrap_or(Amount::ZERO)
    }

    /// Holds one more portion in every budget, then signs it, then says it.
    async fn extend(&mut self, standing: &Standing, step: Amount) -> Result<(), Refused> {
        let extended = self.hold(&standing.candidate, step).await;
        if let Err(refused) = &extended
            && is_stale(refused)
            && self.allow(standing).await
        {
            self.hold(&standing.candidate, step).await?;
        } else {
            extended?;
        }
        self.signed.held = self.signed.held.checked_add(step).unwrap_or(self.signed.held);
        match self.lease.sign(standing.payment).await {
            Ok((ceiling, signature)) => {
                self.signed.ceiling = ceiling;
                self.say(Said::Voucher(VoucherWord { ceiling, signature })).await;
            }
            Err(error) => {
                tracing::warn!(%error, "voucher not signed");
                self.saying = None;
            }
        }
        Ok(())
    }

    /// Says it. A payee that listens for no longer than it may be silent is told to stop.
    async fn say(&mut self, word: Said) {
        let until = self.until();
        let Some(saying) = &self.saying else { return };
        let said = tokio::select! {
            biased;
            said = saying.send(word) => Some(said),
            () = self.payer.parts.clock.sleep_until(until) => None,
        };
        match said {
            Some(Ok(())) => {}
            Some(Err(_)) => self.saying = None,
            None => self.stop(),
        }
    }

    async fn hold(&mut self, candidate: &Candidate, step: Amount) -> Result<(), Refused> {
        self.lease.extend(portion(&self.plan.ask, candidate, step)).await.map(drop)
    }

    /// Whether the policy in force, which is another than the one that allowed the call, allows it too.
    async fn allow(&mut self, standing: &Standing) -> bool {
        let Ok(rules) = self.payer.rules.current().await else { return false };
        let Some(role) = rules.policy.find_role(&self.plan.split.role) else { return false };
        let allowed = policy::decide(role, &to_offer(&standing.wish, &standing.candidate)).is_ok();
        self.plan.ask.policy_version = rules.version;
        allowed
    }
}

/// The call's hold with the amounts of a portion.
fn portion(ask: &HoldAsk, candidate: &Candidate, amount: Amount) -> HoldAsk {
    let mut ask = ask.clone();
    ask.commitment.amount_max = amount;
    ask.nano = nano_of(candidate.nano, amount, candidate.amount).max(Nano::new(1));
    ask
}

fn is_stale(refused: &Refused) -> bool {
    matches!(refused.rejection(), Some(Rejection::StalePolicy { .. }))
}
