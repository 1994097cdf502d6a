//! Serve-first: an answer that leaves before its payment is settled, within a limit for each payer and
//! one in all.
//!
//! The ledger decides whether there is credit, in the moment it is used, so that a thousand calls at
//! once get no more of it than one after the other. Without credit a call is settled first, as ever.

use std::time::Duration;

use crate::domain::ledger::Command;
use crate::domain::ledger::claim::Delivery;
use crate::domain::ledger::credit::CreditLimits;
use crate::domain::money::Amount;
use crate::ports::paid_service::{Answer, Closing, ServiceError};
use crate::runtime::meters::Phase;
use crate::runtime::payee::Desk;
use crate::runtime::payee::answer::Produced;
use crate::runtime::payee::check::{Job, Stage};
use crate::runtime::payee::settle::Unsettled;
use crate::runtime::payee::slots::within;

/// How long the chain may take to show what a payer owns; without its word nothing is lent.
const BALANCE_WAIT_MAX: Duration = Duration::from_secs(5);

/// How much a payee serves before it is paid, in atomic units of each asset.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct ServeFirst {
    /// To each payer.
    pub per_payer: Amount,
    /// To all together.
    pub total: Amount,
}

impl Desk {
    /// Serves on credit, where there is some: durable once this returns the answer's end, and the answer
    /// may leave.
    pub(super) async fn lend(&self, job: &Job, produced: &Produced) -> Option<Closing> {
        let serve_first = self.offering.serve_first?;
        let owned = self.find_owned(job).await?;
        let ServeFirst { per_payer, total } = serve_first;
        let limits = CreditLimits { per_payer, total, owned };
        let closing = self.closing(&job.accepted, None, produced.usage);
        // Kept first: once it is said to be served, the same payment has to find it.
        self.keep(&job.accepted, produced.to_keep(closing.receipt.clone())).await;
        let delivery = Delivery { usage: produced.usage, answer: produced.digest };
        let serve = Command::ServeOnCredit { claim: job.key(), delivery, limits };
        let served = self.parts.treasury.execute(serve);
        let metered = self.meter(job, produced.usage, None);
        match futures_util::future::join(served, metered).await.0 {
            Ok(_) => Some(closing),
            Err(refused) => {
                tracing::debug!(%refused, "settled first");
                None
            }
        }
    }

    /// Settles what was served on credit. What does not settle is booked as a loss, or looked after by
    /// the next round.
    pub(super) async fn collect(&self, job: &Job) {
        match self.time(Phase::Settle, self.settle(job, Stage::Owed)).await {
            Ok(transaction) => tracing::info!(%transaction, "credit paid"),
            Err(Unsettled::Open(problem) | Unsettled::Over(problem)) => {
                tracing::warn!(%problem, "credit not paid");
            }
        }
    }

    /// Settles what was served on credit because its payer asks again, and gives the kept answer.
    pub(super) async fn pay_off(&self, job: &Job) -> Result<Answer, ServiceError> {
        match self.time(Phase::Settle, self.settle(job, Stage::Owed)).await {
            Ok(transaction) => self.answer_again(&job.accepted, transaction).await,
            Err(Unsettled::Open(error) | Unsettled::Over(error)) => Err(error),
        }
    }

    /// What the payer owns by the last final block.
    pub(super) async fn find_owned(&self, job: &Job) -> Option<Amount> {
        let commitment = &job.accepted.commitment;
        let evidence = self.parts.evidence.as_ref()?;
        let asked = evidence.balance(commitment.asset, commitment.payer);
        let holding = within(self.parts.clock.as_ref(), BALANCE_WAIT_MAX, asked).await?;
        holding.ok().map(|holding| holding.amount)
    }
}
