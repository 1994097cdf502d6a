//! Serves what is paid by a maximum: what the meter counted is charged, once, durably, and before the
//! rail is asked for it; nothing, where nothing was used.
//!
//! A whole answer is settled before it is released. A streamed one is delivered first, because what it
//! costs is known at its end; so it is streamed only to whom the chain shows that it can pay for all that
//! is streamed to it at this moment, and to nobody who once did not. Everybody else gets it whole. It will
//! never ask the rail for more than was authorized, nor for a call that was not served.

use std::collections::BTreeMap;
use std::sync::Mutex;

use alloy::primitives::{Address, B256};

use crate::domain::asset::Asset;
use crate::domain::commitment::Scheme;
use crate::domain::ledger::Command;
use crate::domain::ledger::claim::{Accepted, Delivery};
use crate::domain::ledger::credit::CreditLimits;
use crate::domain::money::Amount;
use crate::domain::order::Usage;
use crate::domain::pricing::price_of_usage;
use crate::domain::time::Timestamp;
use crate::domain::x402::check::SETTLE_MARGIN_S;
use crate::ports::archive::{ANSWER_LEN_MAX, KeptAnswer};
use crate::ports::paid_service::{Closing, Piece, ServiceError};
use crate::runtime::meters::Phase;
use crate::runtime::payee::Desk;
use crate::runtime::payee::answer::{Produced, whole};
use crate::runtime::payee::caller::{Caller, Ended, Listener};
use crate::runtime::payee::check::{Job, Stage};
use crate::runtime::payee::serve::RUN_MAX;
use crate::runtime::payee::settle::Unsettled;
use crate::runtime::payee::usage::kept;
use crate::runtime::payee::work::{Next, Running};

/// What is being streamed to each payer, at its maximum.
#[derive(Default)]
pub(super) struct Streaming(Mutex<BTreeMap<(Asset, Address), Amount>>);

/// One stream's share of it; given back when dropped.
struct Share<'d> {
    of: &'d Streaming,
    whose: (Asset, Address),
    amount: Amount,
}

impl Streaming {
    /// Room for `amount` more, where the payer has `owned` for it beside what it owes.
    fn take(&self, job: &Job, owed: Amount, owned: Amount) -> Option<Share<'_>> {
        let commitment = &job.accepted.commitment;
        let (whose, amount) = ((commitment.asset, commitment.payer), commitment.amount_max);
        let mut all = self.0.lock().expect("no holder of the sums panics");
        let sum = all.get(&whose).copied().unwrap_or(Amount::ZERO).checked_add(amount)?;
        if sum.checked_add(owed)? > owned {
            return None;
        }
        all.insert(whose, sum);
        Some(Share { of: self, whose, amount })
    }
}

impl Drop for Share<'_> {
    fn drop(&mut self) {
        let mut all = self.of.0.lock().expect("no holder of the sums panics");
        let left = all.get(&self.whose).and_then(|sum| sum.checked_sub(self.amount));
        match left.filter(|left| !left.is_zero()) {
            Some(left) => all.insert(self.whose, left),
            None => all.remove(&self.whose),
        };
    }
}

impl Job {
    /// Whether less than what was authorized may be charged.
    pub(super) const fn has_maximum(&self) -> bool {
        matches!(self.accepted.commitment.scheme, Scheme::Upto { .. })
    }

    /// The same job, now that it is known what is charged.
    fn charged(&self, amount: Amount) -> Self {
        let accepted = Accepted { amount, ..self.accepted.clone() };
        Self { accepted, stage: Stage::Bound { doubted: false }, ..self.clone() }
    }
}

impl Desk {
    /// Serves a call of which nothing was charged yet.
    pub(super) async fn serve_metered(&self, job: &Job, caller: Caller) -> Ended {
        if let Err(error) = self.begin_metered(job).await {
            return caller.end(Err(error));
        }
        // What ends while the engine works pays nobody: the work ends before it. threats.md B09.
        let limit_s = job.accepted.commitment.valid_before_s.saturating_sub(SETTLE_MARGIN_S);
        let until = self.parts.clock.now().after(RUN_MAX).min(Timestamp::from_secs(limit_s));
        let share = if job.streamed { self.find_share(job).await } else { None };
        match share {
            Some(_share) => self.time(Phase::Serve, self.stream_metered(job, until, caller)).await,
            None => self.make_metered(job, until, caller).await,
        }
    }

    async fn begin_metered(&self, job: &Job) -> Result<(), ServiceError> {
        self.time(Phase::Verify, self.verify(job)).await?;
        // An earlier process may have bound it.
        if job.stage == Stage::Fresh { self.accept(job).await } else { Ok(()) }
    }

    /// Runs, meters, charges, settles, and only then releases; within a payer's credit, releases first.
    async fn make_metered(&self, job: &Job, until: Timestamp, caller: Caller) -> Ended {
        let producing = self.produce(job.work.clone(), until);
        let produced = match self.time(Phase::Serve, producing).await {
            Ok(produced) => produced,
            Err(error) => return caller.end(Err(self.release(job, error.into()).await)),
        };
        let job = match self.charge_produced(job, &produced).await {
            Ok(job) => job,
            Err(error) => return caller.end(Err(error)),
        };
        if !job.accepted.amount.is_zero()
            && let Some(closing) = self.lend(&job, &produced).await
        {
            let ended = caller.end(Ok(whole(produced, closing)));
            self.collect(&job).await;
            return ended;
        }
        caller.end(self.settle_and_release(&job, produced).await)
    }

    /// Nothing was asked of the rail: the same payment may come again.
    async fn release(&self, job: &Job, error: ServiceError) -> ServiceError {
        let _ = self.close(Command::ReleaseClaim { claim: job.key() }).await;
        error
    }

    /// Says durably what is charged. What was made is kept first: whoever is charged finds it.
    async fn charge_produced(&self, job: &Job, produced: &Produced) -> Result<Job, ServiceError> {
        self.keep(&job.accepted, produced.to_keep(None)).await;
        self.charge_for(job, produced.usage).await
    }

    async fn charge_for(&self, job: &Job, usage: Usage) -> Result<Job, ServiceError> {
        let most = job.accepted.commitment.amount_max;
        let price = price_of_usage(&job.quote.terms, &usage, kept(&job.quote, &job.work));
        let amount = price.unwrap_or(most).min(most);
        let charge = Command::ChargeClaim { claim: job.key(), amount };
        match self.parts.treasury.execute(charge).await {
            Ok(_) => Ok(job.charged(amount)),
            Err(refused) => Err(ServiceError::Unavailable(refused.to_string())),
        }
    }

    /// Leave to stream to this payer before it has paid.
    async fn find_share(&self, job: &Job) -> Option<Share<'_>> {
        let (asset, payer) = (job.accepted.commitment.asset, job.accepted.payer());
        let owed = self.parts.treasury.read(move |ledger| ledger.credit().of(asset, payer)).await;
        let owed = owed.ok().filter(|owed| owed.lost.is_zero())?;
        let owned = self.find_owned(job).await?;
        self.streaming.take(job, owed.outstanding, owned)
    }

    /// Passes pieces on as they come, and charges at the end.
    async fn stream_metered(&self, job: &Job, until: Timestamp, caller: Caller) -> Ended {
        let mut running = match self.run(job.work.clone(), until, ANSWER_LEN_MAX).await {
            Ok(running) => running,
            Err(error) => return caller.end(Err(self.release(job, error.into()).await)),
        };
        let (content_type, model) = (running.content_type.clone(), running.model.clone());
        let mut listener = caller.begin(content_type, model, None, self.parts.clock.as_ref());
        let (usage, digest, body) = loop {
            match running.next().await {
                Ok(Next::Chunk(chunk)) => listener.send(Ok(Piece::Chunk(chunk))).await,
                Ok(Next::Used(_)) => {}
                Ok(Next::Done { usage, digest, body }) => break (usage, digest, body),
                // What broke off is not charged.
                Err(error) => {
                    return listener.end(Err(self.release(job, error.into()).await)).await;
                }
            }
        };
        let Running { content_type, model, .. } = running;
        let kept = KeptAnswer { content_type, model, body, usage, receipt: None, charge: None };
        self.keep(&job.accepted, kept).await;
        let delivery = Delivery { usage, answer: digest };
        self.finish_stream(job, delivery, listener).await
    }

    async fn finish_stream(&self, job: &Job, delivery: Delivery, listener: Listener<'_>) -> Ended {
        let usage = delivery.usage;
        let job = match self.charge_for(job, usage).await {
            Ok(job) => job,
            Err(error) => return listener.end(Err(error)).await,
        };
        let settled = match job.accepted.amount.is_zero() {
            true => self.settle_nothing(&job, delivery).await,
            false => self.settle_delivered(&job, delivery).await,
        };
        let last = settled.map(|closing| Piece::Done(Box::new(closing)));
        listener.end(last).await
    }

    async fn settle_nothing(&self, job: &Job, delivery: Delivery) -> Result<Closing, ServiceError> {
        let transaction = match self.settle(job, job.stage).await {
            Ok(transaction) => transaction,
            Err(Unsettled::Open(error) | Unsettled::Over(error)) => return Err(error),
        };
        self.book_served(job, delivery, transaction).await?;
        Ok(self.closing(&job.accepted, Some(transaction), delivery.usage))
    }

    /// What was delivered is owed from here on; what does not settle is booked as a loss.
    async fn settle_delivered(
        &self,
        job: &Job,
        delivery: Delivery,
    ) -> Result<Closing, ServiceError> {
        // There was room when the stream began.
        let limits =
            CreditLimits { per_payer: Amount::MAX, total: Amount::MAX, owned: Amount::MAX };
        let serve = Command::ServeOnCredit { claim: job.key(), delivery, limits };
        let served = self.parts.treasury.execute(serve);
        let metered = self.meter(job, delivery.usage, None);
        if let Err(refused) = futures_util::future::join(served, metered).await.0 {
            tracing::error!(%refused, "delivery not booked");
            return Err(ServiceError::Due);
        }
        match self.time(Phase::Settle, self.settle(job, Stage::Owed)).await {
            Ok(transaction) => Ok(self.closing(&job.accepted, Some(transaction), delivery.usage)),
            Err(Unsettled::Open(error) | Unsettled::Over(error)) => Err(error),
        }
    }

    /// A charge of nothing is nothing to hand in: no transaction is ever sent for it.
    pub(super) fn nothing_settled(&self, accepted: &Accepted) -> Option<Command> {
        let is_nothing =
            accepted.amount.is_zero() && matches!(accepted.commitment.scheme, Scheme::Upto { .. });
        is_nothing.then(|| Command::SettleClaim {
            claim: accepted.key(),
            amount: Amount::ZERO,
            transaction: B256::ZERO,
            moved_at_s: self.parts.clock.now().as_secs(),
        })
    }
}
