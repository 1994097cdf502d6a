//! Calls that a channel pays while they flow: what is paid leaves, and nothing else does.
//!
//! Each voucher is durable before anything leaves that it pays for, in one record that also charges what
//! was delivered until then. When the paid part is used up, the engine is asked for nothing until the
//! next voucher comes; comes none in time, the answer is cut, and what was delivered is charged.

use std::time::Duration;

use alloy::primitives::B256;
use bytes::{Buf, Bytes};
use futures_util::StreamExt;

use crate::domain::ledger::claim::Delivery;
use crate::domain::ledger::tab::{Charged, LastCharge, TabCommand};
use crate::domain::money::Amount;
use crate::domain::order::{Units, Usage};
use crate::domain::pricing::{price_of_start, price_of_stride, price_of_usage};
use crate::domain::quote::Stride;
use crate::domain::time::Timestamp;
use crate::domain::x402::batch::read::{BatchWord, VoucherWord, authorizer_of, voucher_digest};
use crate::domain::x402::signature::is_signed_by;
use crate::ports::archive::{ANSWER_LEN_MAX, KeptAnswer};
use crate::ports::clock::Clock;
use crate::ports::paid_service::{Closing, Piece, Said, Saying, ServiceError};
use crate::runtime::meters::Phase;
use crate::runtime::payee::Desk;
use crate::runtime::payee::caller::{Caller, Ended, Listener};
use crate::runtime::payee::stands::{answer_key, said};
use crate::runtime::payee::tabs::{ChannelJob, Owed, RUN_MAX};
use crate::runtime::payee::usage::kept;
use crate::runtime::payee::work::{Next, Running};

/// How a payee lets itself be paid while an answer flows.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Flowing {
    /// What a voucher has to pay for at least.
    pub stride: Stride,
    /// How long the next voucher may take; then the answer is cut, and what was delivered is charged.
    pub wait_max: Duration,
}

impl Default for Flowing {
    /// By 64 tokens, a quarter of a megabyte, a quarter of a second.
    fn default() -> Self {
        let stride = Stride { output: Units(64), bytes: 1 << 18, compute_ms: 250 };
        Self { stride, wait_max: Duration::from_secs(20) }
    }
}

/// One call that flows.
struct Flow<'d> {
    desk: &'d Desk,
    job: &'d ChannelJob,
    owed: &'d Owed,
    /// What the quote says that a voucher pays for at least.
    stride: Stride,
    /// How long the next voucher may take.
    wait_max: Duration,
    /// Until the payer says no more.
    saying: Option<Saying>,
    voucher: VoucherWord,
    /// What was delivered, and what that took.
    used: Usage,
    /// Whether anything was.
    delivered: bool,
    /// What the engine says that the next chunk comes to.
    counted: Option<Units>,
    /// Whether it says so: else what was counted is no more than a bound, and tokens are charged at the
    /// end alone.
    counts: bool,
    /// What the ledger has as charged for the call.
    recorded: Amount,
    /// The work of which the payer was told last, in milliseconds.
    told_ms: u64,
}

/// How the passing on ended.
enum End {
    Whole { usage: Usage, digest: B256, body: Option<Bytes> },
    Cut,
    Failed(ServiceError),
}

/// What happens next to a call that flows.
enum Happened {
    Said(Option<Said>),
    Made(Result<Next, crate::ports::engine::EngineError>),
    Worked,
}

impl Desk {
    /// Whether a call is paid while it flows: its voucher covers a part of it.
    pub(super) fn flows(&self, job: &ChannelJob, owed: &Owed) -> bool {
        self.portion(job, owed.tab.charged).is_some()
    }

    /// What the voucher of a streamed call pays for, where that is a part of it and enough to begin with.
    pub(super) fn portion(&self, job: &ChannelJob, charged: Amount) -> Option<Amount> {
        self.flowing()?;
        let stride = job.quote.stride.filter(|_| job.streamed)?;
        let start = price_of_start(&job.quote.terms, &job.order, &stride)?;
        let portion = job.word.voucher.ceiling.amount.checked_sub(charged)?;
        (start <= portion && portion < job.price && !portion.is_zero()).then_some(portion)
    }

    fn flowing(&self) -> Option<Flowing> {
        self.channels.as_ref()?.flowing
    }

    /// Whether a call that flowed is asked for again: by its name alone, whatever its last voucher says,
    /// and at whichever address it is asked for since.
    pub(super) fn is_flow_again(&self, job: &ChannelJob, last: &LastCharge) -> bool {
        let most = last.base.checked_add(job.price);
        let ceiling = job.word.voucher.ceiling.amount;
        job.streamed
            && job.quote.stride.is_some()
            && job.payment.is_some()
            && last.payment == job.payment
            && ceiling > last.base
            && most.is_some_and(|most| ceiling <= most)
    }

    /// Serves a call as it is paid.
    pub(super) async fn flow_by_channel(
        &self,
        job: &ChannelJob,
        owed: &Owed,
        caller: Caller,
        saying: Saying,
    ) -> Ended {
        let mut flow = match Flow::new(self, job, owed, saying) {
            Ok(flow) => flow,
            Err(error) => return caller.end(Err(error)),
        };
        if let Err(error) = flow.record(false).await {
            return caller.end(Err(error));
        }
        let until = self.parts.clock.now().after(RUN_MAX);
        let mut running = match self.run(job.work.clone(), until, ANSWER_LEN_MAX).await {
            Ok(running) => running,
            Err(error) => {
                let _ = flow.record(true).await;
                return caller.end(Err(error.into()));
            }
        };
        let (content_type, model) = (running.content_type.clone(), running.model.clone());
        let head = Some(said(job, &owed.tab, Amount::ZERO, owed.deposit.clone()));
        let clock = self.parts.clock.as_ref();
        let mut listener = caller.begin(content_type.clone(), model.clone(), head, clock);
        let last = match flow.pass_on(&mut running, &mut listener).await {
            End::Failed(error) => {
                let _ = flow.record(true).await;
                Err(error)
            }
            End::Cut => flow.close(B256::ZERO).await.map(|closing| Piece::Cut(Box::new(closing))),
            End::Whole { usage, digest, body } => {
                (flow.used, flow.delivered, flow.counts) = (usage, true, true);
                let closed = flow.close(digest).await;
                if closed.is_ok() {
                    let (key, at) = (answer_key(&job.word, owed.tab.charged), clock.now());
                    let (receipt, charge) = (None, None);
                    let kept = KeptAnswer { content_type, model, body, usage, receipt, charge };
                    self.shelf.put(key, kept, at).await;
                }
                closed.map(|closing| Piece::Done(Box::new(closing)))
            }
        };
        listener.end(last).await
    }
}

impl<'d> Flow<'d> {
    fn new(
        desk: &'d Desk,
        job: &'d ChannelJob,
        owed: &'d Owed,
        saying: Saying,
    ) -> Result<Self, ServiceError> {
        let input = desk.parts.engine.count_input(&job.work)?;
        Ok(Self {
            desk,
            job,
            owed,
            stride: job.quote.stride.unwrap_or_default(),
            wait_max: desk.flowing().unwrap_or_default().wait_max,
            saying: Some(saying),
            voucher: job.word.voucher,
            used: Usage { input, ..Usage::default() },
            delivered: false,
            counted: None,
            counts: false,
            recorded: Amount::ZERO,
            told_ms: 0,
        })
    }

    /// Passes on what the engine makes, as far as it is paid.
    async fn pass_on(&mut self, running: &mut Running<'_>, listener: &mut Listener<'_>) -> End {
        let clock = self.desk.parts.clock.as_ref();
        loop {
            if listener.is_gone() {
                return End::Cut;
            }
            let tick = self.next_tick(running);
            let happened = tokio::select! {
                biased;
                said = next_said(&mut self.saying), if self.saying.is_some() => {
                    Happened::Said(said)
                }
                made = running.next() => Happened::Made(made),
                () = sleep_until(clock, tick) => Happened::Worked,
            };
            let goes_on = match happened {
                Happened::Said(said) => match said {
                    Some(Said::Voucher(word)) => self.pay(word).await,
                    Some(Said::Stop) => false,
                    None => {
                        self.saying = None;
                        true
                    }
                },
                Happened::Made(Ok(Next::Used(used))) => {
                    (self.counted, self.counts) = (Some(used.output), true);
                    true
                }
                Happened::Made(Ok(Next::Chunk(chunk))) => {
                    self.deliver(chunk, running, listener).await
                }
                Happened::Made(Ok(Next::Done { usage, digest, body })) => {
                    return End::Whole { usage, digest, body };
                }
                Happened::Made(Err(error)) if self.delivered => {
                    tracing::warn!(%error, "paid work failed");
                    false
                }
                Happened::Made(Err(error)) => return End::Failed(error.into()),
                Happened::Worked => self.work_on(running, listener).await,
            };
            if !goes_on {
                return End::Cut;
            }
        }
    }

    /// Hands a chunk out, in parts where only a part of it is paid. Says whether the call goes on.
    async fn deliver(
        &mut self,
        mut chunk: Bytes,
        running: &mut Running<'_>,
        listener: &mut Listener<'_>,
    ) -> bool {
        let len = len_of(&chunk);
        let bytes = self.used.bytes.saturating_add(len);
        // A token has one byte at least, so that nobody is asked to pay for what cannot be.
        let by_bytes = self.used.output.0.saturating_add(len);
        let output = self.counted.take().map_or(by_bytes, |counted| counted.0.min(by_bytes));
        let output = Units(output.min(self.job.work.order.output_max.0).max(self.used.output.0));
        loop {
            let compute_ms = running.worked_ms().max(self.used.compute_ms);
            let to = Usage { input: self.used.input, output, bytes, compute_ms };
            let fits = self.fitting(&to, len_of(&chunk));
            if fits > 0 || chunk.is_empty() {
                let part = self.part(&to, fits, len_of(&chunk));
                let piece = chunk.split_to(usize::try_from(fits).unwrap_or(usize::MAX));
                listener.send(Ok(Piece::Used(part))).await;
                listener.send(Ok(Piece::Chunk(piece))).await;
                (self.used, self.told_ms, self.delivered) = (part, part.compute_ms, true);
            }
            if !chunk.has_remaining() {
                return true;
            }
            // What the engine worked meanwhile is used as well: a payer that is not told waits for what it
            // has paid, and that never comes.
            if !self.job.quote.terms.per_s.is_zero() {
                self.count_work(running.worked_ms(), listener).await;
            }
            if listener.is_gone() || !self.wait(running).await {
                return false;
            }
        }
    }

    /// How many of `len` bytes more are paid, where all of them come to `to`.
    fn fitting(&self, to: &Usage, len: u64) -> u64 {
        let paid = self.paid();
        if self.price(to) <= paid {
            return len;
        }
        let (mut fits, mut above) = (0, len);
        while above.saturating_sub(fits) > 1 {
            let middle = fits.saturating_add(above.saturating_sub(fits).div_euclid(2));
            if self.price(&self.part(to, middle, len)) <= paid {
                fits = middle;
            } else {
                above = middle;
            }
        }
        fits
    }

    /// What is used once `part` of `len` bytes more is out, where all of them come to `to`.
    fn part(&self, to: &Usage, part: u64, len: u64) -> Usage {
        let tokens = u128::from(to.output.0.saturating_sub(self.used.output.0));
        let share = tokens.saturating_mul(part.into()).div_ceil(u128::from(len.max(1)));
        let output = self.used.output.0.saturating_add(u64::try_from(share).unwrap_or(u64::MAX));
        Usage { output: Units(output), bytes: self.used.bytes.saturating_add(part), ..*to }
    }

    /// When the payer is told of the engine's work next, or it is used up what was paid of it.
    fn next_tick(&self, running: &Running<'_>) -> Option<Timestamp> {
        let stride_ms = self.stride.compute_ms;
        if self.job.quote.terms.per_s.is_zero() || stride_ms == 0 {
            return None;
        }
        let told = self.told_ms.saturating_add(stride_ms);
        Some(running.worked_at(told.min(self.paid_ms())))
    }

    /// Up to how many milliseconds of work are paid.
    fn paid_ms(&self) -> u64 {
        let left = self.paid().checked_sub(self.price(&self.used)).unwrap_or(Amount::ZERO);
        let per_s = self.job.quote.terms.per_s.get().max(1);
        let more = left.get().saturating_mul(1000).div_euclid(per_s);
        self.used.compute_ms.saturating_add(u64::try_from(more).unwrap_or(u64::MAX))
    }

    /// Tells the payer how long the engine has worked; where no more of it is paid, it rests.
    async fn work_on(&mut self, running: &mut Running<'_>, listener: &mut Listener<'_>) -> bool {
        self.count_work(running.worked_ms(), listener).await || self.wait(running).await
    }

    /// Counts the engine's work as far as it is paid, and tells the payer. Says whether all of it is.
    async fn count_work(&mut self, worked: u64, listener: &mut Listener<'_>) -> bool {
        let paid = self.paid_ms();
        self.used.compute_ms = worked.min(paid).max(self.used.compute_ms);
        self.told_ms = self.used.compute_ms;
        self.delivered = true;
        listener.send(Ok(Piece::Used(self.used))).await;
        worked < paid
    }

    /// Waits for the next voucher, while the engine is asked for nothing.
    async fn wait(&mut self, running: &mut Running<'_>) -> bool {
        if self.saying.is_none() {
            return false;
        }
        let clock = self.desk.parts.clock.as_ref();
        let began = clock.now();
        let said = tokio::select! {
            biased;
            said = next_said(&mut self.saying) => said,
            () = clock.sleep_until(began.after(self.wait_max)) => {
                tracing::info!(channel = %self.job.word.channel, "stream not paid in time");
                Some(Said::Stop)
            }
        };
        let paid = match said {
            Some(Said::Voucher(word)) => self.pay(word).await,
            Some(Said::Stop) => false,
            None => {
                self.saying = None;
                false
            }
        };
        running.rested(clock.now().since(began));
        paid
    }

    /// Takes a voucher, durably. One that does not do ends the stream.
    async fn pay(&mut self, word: VoucherWord) -> bool {
        let ceiling = word.ceiling.amount;
        if !self.is_enough(ceiling) || word.ceiling.channel != self.job.word.channel {
            tracing::info!(channel = %self.job.word.channel, %ceiling, "voucher does not do");
            return false;
        }
        let terms = &self.job.word.terms;
        let token = self.desk.tokens.find(terms.asset).expect("a checked word's asset is known");
        let digest = voucher_digest(token.batch_separator(), &word.ceiling);
        if !is_signed_by(authorizer_of(terms), digest, &word.signature) {
            tracing::info!(channel = %self.job.word.channel, "voucher is not signed");
            return false;
        }
        let former = std::mem::replace(&mut self.voucher, word);
        let recorded = self.record(false).await;
        if recorded.is_err() {
            self.voucher = former;
        }
        recorded.is_ok()
    }

    /// Whether `ceiling` pays for one stride more at least, or for all; and not for more than that, nor
    /// beyond what lies in the channel.
    fn is_enough(&self, ceiling: Amount) -> bool {
        let stride = price_of_stride(&self.job.quote.terms, &self.stride);
        let stride = stride.unwrap_or(Amount::MAX);
        let most = self.base().checked_add(self.job.price);
        let more = self.voucher.ceiling.amount.checked_add(stride);
        let (Some(most), Some(more)) = (most, more) else { return false };
        (more.min(most)..=most).contains(&ceiling)
            && ceiling > self.voucher.ceiling.amount
            && ceiling <= self.owed.tab.newest.balance
    }

    /// Charges what was delivered, and ends the call in the books.
    async fn close(&mut self, digest: B256) -> Result<Closing, ServiceError> {
        self.step(true, digest).await?;
        let mut tab = self.owed.tab.clone();
        tab.charged = self.base().checked_add(self.recorded).unwrap_or(tab.charged);
        let response = said(self.job, &tab, self.recorded, self.owed.deposit.clone());
        Ok(Closing { usage: self.counted(), response, receipt: None })
    }

    async fn record(&mut self, ended: bool) -> Result<(), ServiceError> {
        self.step(ended, B256::ZERO).await
    }

    /// One record: the voucher, and what was delivered until now.
    async fn step(&mut self, ended: bool, answer: B256) -> Result<(), ServiceError> {
        let BatchWord { terms, channel, .. } = self.job.word;
        let amount = self.owes();
        let call = Box::new(Charged {
            channel,
            asset: terms.asset,
            base: self.base(),
            amount,
            ceiling: self.voucher.ceiling.amount,
            signature: self.voucher.signature,
            fingerprint: self.job.fingerprint,
            payment: self.job.payment,
            provider: self.desk.offering.provider.clone(),
            capability: self.job.quote.capability.clone(),
            model: self.job.quote.model.clone(),
            delivery: Delivery { usage: self.counted(), answer },
        });
        let step = self.desk.tell_tab(TabCommand::Step { call, ended });
        self.desk.time(Phase::Accept, step).await?;
        self.recorded = amount;
        Ok(())
    }

    /// What was delivered costs so much: never more than was paid, and nothing while nothing was.
    fn owes(&self) -> Amount {
        let delivered = if self.delivered { self.price(&self.counted()) } else { Amount::ZERO };
        delivered.min(self.paid()).max(self.recorded)
    }

    /// What is known to have been delivered.
    fn counted(&self) -> Usage {
        let output = if self.counts { self.used.output } else { Units(0) };
        Usage { output, ..self.used }
    }

    fn price(&self, usage: &Usage) -> Amount {
        let stored = kept(&self.job.quote, &self.job.work);
        let price = price_of_usage(&self.job.quote.terms, usage, stored);
        price.map_or(self.job.price, |price| price.min(self.job.price))
    }

    fn paid(&self) -> Amount {
        self.voucher.ceiling.amount.checked_sub(self.base()).unwrap_or(Amount::ZERO)
    }

    const fn base(&self) -> Amount {
        self.owed.tab.charged
    }
}

fn len_of(chunk: &Bytes) -> u64 {
    u64::try_from(chunk.len()).unwrap_or(u64::MAX)
}

async fn next_said(saying: &mut Option<Saying>) -> Option<Said> {
    match saying {
        Some(saying) => saying.next().await,
        None => None,
    }
}

async fn sleep_until(clock: &dyn Clock, at: Option<Timestamp>) {
    match at {
        Some(at) => clock.sleep_until(at).await,
        None => std::future::pending().await,
    }
}
