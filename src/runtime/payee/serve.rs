//! One paid call from its binding to its answer, in a task of its own.

use std::time::Duration;

use alloy::primitives::B256;
use sha2::{Digest, Sha256};

use crate::domain::ledger::claim::{Accepted, Delivery};
use crate::domain::ledger::{Command, Rejection};
use crate::domain::time::Timestamp;
use crate::domain::x402::PaymentError;
use crate::domain::x402::check::SETTLE_MARGIN_S;
use crate::ports::archive::{ANSWER_LEN_MAX, AnswerKey, KeptAnswer};
use crate::ports::paid_service::{Answer, Piece, ServiceError};
use crate::ports::rail::RefusedBy;
use crate::runtime::meters::Phase;
use crate::runtime::payee::Desk;
use crate::runtime::payee::answer::{Produced, response, whole};
use crate::runtime::payee::caller::{Caller, Ended, Listener};
use crate::runtime::payee::check::{Job, Stage};
use crate::runtime::payee::lines::Place;
use crate::runtime::payee::settle::{Unsettled, code_of};
use crate::runtime::payee::slots::within;
use crate::runtime::payee::work::{Next, Running};

/// How long the engine may work on one call.
pub(super) const RUN_MAX: Duration = Duration::from_secs(120);

/// How long the rail may take to verify.
const VERIFY_WAIT_MAX: Duration = Duration::from_secs(10);

impl Desk {
    /// Serves `job`, and tells the caller.
    pub(super) async fn serve(&self, job: &Job, caller: Caller) {
        let began = self.parts.clock.now();
        let ended = match job.stage {
            Stage::Fresh | Stage::Uncharged if job.has_maximum() => {
                Box::pin(self.serve_metered(job, caller)).await
            }
            Stage::Fresh if job.streamed => Box::pin(self.serve_streamed(job, caller)).await,
            Stage::Fresh => Box::pin(self.serve_whole(job, caller)).await,
            Stage::Owed => caller.end(self.pay_off(job).await),
            Stage::Bound { .. } | Stage::Uncharged => {
                Box::pin(self.settle_and_deliver(job, caller)).await
            }
            Stage::Due { transaction } => Box::pin(self.deliver(job, transaction, caller)).await,
        };
        let elapsed_ms = self.parts.clock.now().since(began).as_millis();
        let (amount, asset) = (job.accepted.amount, job.accepted.commitment.asset);
        match ended {
            Ok(()) => tracing::info!(%amount, %asset, elapsed_ms, "payment served"),
            Err(code) => tracing::warn!(%amount, %asset, elapsed_ms, code, "payment not served"),
        }
    }

    /// Binds, settles, and only then runs.
    async fn serve_streamed(&self, job: &Job, caller: Caller) -> Ended {
        let mut place = self.line_up(job);
        if let Err(error) = self.bind(job, &place).await {
            drop(place);
            return caller.end(Err(error));
        }
        place.begin_to_pay();
        let settled = self.time(Phase::Settle, self.settle(job, job.stage)).await;
        drop(place);
        self.deliver_settled(job, settled, caller).await
    }

    async fn settle_and_deliver(&self, job: &Job, caller: Caller) -> Ended {
        let settled = self.time(Phase::Settle, self.settle(job, job.stage)).await;
        self.deliver_settled(job, settled, caller).await
    }

    async fn deliver_settled(
        &self,
        job: &Job,
        settled: Result<B256, Unsettled>,
        caller: Caller,
    ) -> Ended {
        match settled {
            Ok(transaction) => self.deliver(job, transaction, caller).await,
            Err(Unsettled::Open(error) | Unsettled::Over(error)) => caller.end(Err(error)),
        }
    }

    /// Runs, meters, settles, and only then releases; within a payer's credit, releases first.
    async fn serve_whole(&self, job: &Job, caller: Caller) -> Ended {
        let mut place = self.line_up(job);
        let produced = match self.make(job, &place).await {
            Ok(produced) => produced,
            Err(error) => {
                drop(place);
                return caller.end(Err(error));
            }
        };
        place.begin_to_pay();
        match self.lend(job, &produced).await {
            Some(closing) => {
                let ended = caller.end(Ok(whole(produced, closing)));
                self.collect(job).await;
                ended
            }
            None => {
                let released = self.settle_and_release(job, produced).await;
                drop(place);
                caller.end(released)
            }
        }
    }

    /// Binds, where the payer owns enough for this call and all of its calls before it: each is verified as if
    /// it were the only one. Source: threats.md D13.
    async fn bind(&self, job: &Job, place: &Place<'_>) -> Result<(), ServiceError> {
        self.check_room(job, place).await?;
        self.accept(job).await
    }

    /// Verifies, binds and runs.
    async fn make(&self, job: &Job, place: &Place<'_>) -> Result<Produced, ServiceError> {
        self.time(Phase::Verify, self.verify(job)).await?;
        self.bind(job, place).await?;
        // An authorization that ends while the engine works pays nobody.
        let limit_s = job.accepted.commitment.valid_before_s.saturating_sub(SETTLE_MARGIN_S);
        let until = self.parts.clock.now().after(RUN_MAX).min(Timestamp::from_secs(limit_s));
        let producing = self.produce(job.work.clone(), until);
        match self.time(Phase::Serve, producing).await {
            Ok(produced) => Ok(produced),
            Err(error) => {
                // Nothing was asked of the rail: the same payment may come again.
                let _ = self.close(Command::ReleaseClaim { claim: job.key() }).await;
                Err(error.into())
            }
        }
    }

    pub(super) async fn settle_and_release(
        &self,
        job: &Job,
        produced: Produced,
    ) -> Result<Answer, ServiceError> {
        match self.time(Phase::Settle, self.settle(job, job.stage)).await {
            Ok(transaction) => self.hand_over(job, produced, transaction).await,
            Err(Unsettled::Open(_)) if planted!("served_before_settled") => {
                let closing = self.closing(&job.accepted, None, produced.usage);
                Ok(whole(produced, closing))
            }
            Err(Unsettled::Open(error)) => {
                // Made once: when the money turns out to be ours, this is what was paid for.
                self.keep(&job.accepted, produced.to_keep(None)).await;
                Err(error)
            }
            Err(Unsettled::Over(error)) => Err(error),
        }
    }

    /// Whether the rail would settle it now.
    pub(super) async fn verify(&self, job: &Job) -> Result<(), ServiceError> {
        let authorization = job.authorization();
        let asked = self.parts.settler.verify(&authorization);
        match within(self.parts.clock.as_ref(), VERIFY_WAIT_MAX, asked).await {
            Some(Ok(Ok(()))) => Ok(()),
            // Used by whom? Somebody may have sent it ahead of us: settling it says so. Nobody else sends
            // what names us.
            Some(Ok(Err(RefusedBy::NonceUsed))) if !job.has_maximum() => Ok(()),
            Some(Ok(Err(by))) => {
                Err(self.refuse(&PaymentError::Refused(code_of(by)), &job.quote, &job.order))
            }
            Some(Err(problem)) => Err(ServiceError::Unavailable(problem.to_string())),
            None => {
                let problem = "the rail does not verify in time".to_owned();
                Err(ServiceError::Unavailable(problem))
            }
        }
    }

    /// Binds the authorization to the request, durably.
    pub(super) async fn accept(&self, job: &Job) -> Result<(), ServiceError> {
        let accept = Command::Accept(Box::new(job.accepted.clone()));
        let executed = self.parts.treasury.execute(accept);
        let Err(refused) = self.time(Phase::Accept, executed).await else {
            return Ok(());
        };
        Err(match refused.rejection() {
            Some(Rejection::BoundElsewhere(_)) => ServiceError::Bound,
            _ => ServiceError::Unavailable(refused.to_string()),
        })
    }

    /// Serves what is paid: what was kept, or else afresh.
    async fn deliver(&self, job: &Job, transaction: B256, caller: Caller) -> Ended {
        if let Some(produced) = self.find_kept(&job.accepted).await {
            return caller.end(self.hand_over(job, produced, transaction).await);
        }
        self.time(Phase::Serve, self.deliver_fresh(job, transaction, caller)).await
    }

    /// Serves what is paid by a run of the engine, as it comes.
    async fn deliver_fresh(&self, job: &Job, transaction: B256, caller: Caller) -> Ended {
        let until = self.parts.clock.now().after(RUN_MAX);
        match self.run(job.work.clone(), until, ANSWER_LEN_MAX).await {
            Ok(running) => {
                let (content_type, model) = (running.content_type.clone(), running.model.clone());
                let settled = Some(response(&job.accepted, transaction));
                let clock = self.parts.clock.as_ref();
                let listener = caller.begin(content_type, model, settled, clock);
                self.pass_on(job, transaction, running, listener).await
            }
            Err(problem) => {
                tracing::warn!(%problem, "paid work failed");
                caller.end(Err(ServiceError::Due))
            }
        }
    }

    /// Passes pieces on as they come; what was made counts as served when the last is there.
    async fn pass_on(
        &self,
        job: &Job,
        transaction: B256,
        mut running: Running<'_>,
        mut listener: Listener<'_>,
    ) -> Ended {
        let (usage, digest, body) = loop {
            match running.next().await {
                Ok(Next::Chunk(chunk)) => listener.send(Ok(Piece::Chunk(chunk))).await,
                Ok(Next::Used(_)) => {}
                Ok(Next::Done { usage, digest, body }) => break (usage, digest, body),
                Err(problem) => {
                    tracing::warn!(%problem, "paid work failed");
                    return listener.end(Err(ServiceError::Due)).await;
                }
            }
        };
        let closing = self.closing(&job.accepted, Some(transaction), usage);
        let Running { content_type, model, .. } = running;
        let kept = KeptAnswer {
            content_type,
            model,
            body,
            usage,
            receipt: closing.receipt.clone(),
            charge: None,
        };
        self.keep(&job.accepted, kept).await;
        let delivery = Delivery { usage, answer: digest };
        let served = self.book_served(job, delivery, transaction).await;
        listener.end(served.map(|()| Piece::Done(Box::new(closing)))).await
    }

    /// Keeps a whole answer, books it as served, and gives it out.
    async fn hand_over(
        &self,
        job: &Job,
        produced: Produced,
        transaction: B256,
    ) -> Result<Answer, ServiceError> {
        let closing = self.closing(&job.accepted, Some(transaction), produced.usage);
        self.keep(&job.accepted, produced.to_keep(closing.receipt.clone())).await;
        let delivery = Delivery { usage: produced.usage, answer: produced.digest };
        self.book_served(job, delivery, transaction).await?;
        Ok(whole(produced, closing))
    }

    pub(super) async fn book_served(
        &self,
        job: &Job,
        delivery: Delivery,
        transaction: B256,
    ) -> Result<(), ServiceError> {
        let served = self.parts.treasury.execute(Command::Serve { claim: job.key(), delivery });
        // At the same time, so that both are in one durable batch.
        let metered = self.meter(job, delivery.usage, Some(transaction));
        match futures_util::future::join(served, metered).await.0 {
            Ok(_) => Ok(()),
            Err(refused) => {
                tracing::error!(%refused, "delivery not booked");
                Err(ServiceError::Due)
            }
        }
    }

    /// The answer that was made for a claim before its money was known to be ours.
    async fn find_kept(&self, accepted: &Accepted) -> Option<Produced> {
        let kept = self.parts.archive.find_answer(AnswerKey::Sold(accepted.key())).await?;
        let body = kept.body?;
        let digest = B256::from(<[u8; 32]>::from(Sha256::digest(&body)));
        let (content_type, model, usage) = (kept.content_type, kept.model, kept.usage);
        Some(Produced { content_type, model, body, usage, digest })
    }
}
