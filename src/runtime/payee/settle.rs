//! Moves the money of one claim, or finds out that it cannot be moved.

use std::time::Duration;

use alloy::primitives::B256;

use crate::domain::fault::{Class, Fault};
use crate::domain::ledger::{Command, Rejection};
use crate::domain::money::Amount;
use crate::domain::x402::PaymentCode;
use crate::domain::x402::settlement::not_settled;
use crate::ports::paid_service::ServiceError;
use crate::ports::rail::{Authorization, RailError, RefusedBy, Settlement};
use crate::runtime::payee::Desk;
use crate::runtime::payee::check::{Job, Stage};
use crate::runtime::payee::slots::within;
use crate::runtime::treasury::Refused;

/// How often one call asks the rail to settle its authorization at most.
const SETTLE_TRIES_MAX: u32 = 6;

/// The pause after the first try; each one after it is twice as long.
const SETTLE_PAUSE: Duration = Duration::from_millis(100);

/// How long one try may take; the rail may still be at work then, so the outcome is unknown.
const SETTLE_WAIT_MAX: Duration = Duration::from_secs(75);

/// No try begins later than this after the first. With the last one it stays beneath what a client
/// waits.
const SETTLE_SPAN_MAX: Duration = Duration::from_secs(30);

/// Why a claim is not settled.
pub(super) enum Unsettled {
    /// Nobody knows: the claim stays open.
    Open(ServiceError),
    /// Nothing was taken, and the claim is closed.
    Over(ServiceError),
}

impl Desk {
    /// Settles the job's claim; the transfer is in the ledger once this returns it. The rail takes the
    /// same authorization for the same settlement, so asking again is never a second transfer.
    pub(super) async fn settle(&self, job: &Job, stage: Stage) -> Result<B256, Unsettled> {
        if let Some(settled) = self.nothing_settled(&job.accepted) {
            return self.book_settled(job, B256::ZERO, settled).await;
        }
        let began = self.parts.clock.now();
        // What an earlier process may have asked is as open as what the rail itself does not know.
        let mut in_doubt = matches!(stage, Stage::Bound { .. });
        let mut doubted = matches!(stage, Stage::Bound { doubted: true });
        let mut pause = SETTLE_PAUSE;
        let mut problem = "the rail does not know the outcome".to_owned();
        for tried in 1..=SETTLE_TRIES_MAX {
            match self.ask_to_settle(&job.authorization(), job.accepted.amount).await {
                Ok(Settlement::Settled { transaction, amount, moved_at_s }) => {
                    let claim = job.key();
                    let settled = Command::SettleClaim { claim, amount, transaction, moved_at_s };
                    return self.book_settled(job, transaction, settled).await;
                }
                Ok(Settlement::Unknown { transaction }) => {
                    in_doubt = true;
                    if !doubted {
                        doubted = stage == Stage::Owed || self.doubt(job, transaction).await;
                    }
                }
                Ok(Settlement::Refused(by))
                    if in_doubt && !planted!("refusal_in_doubt_believed") =>
                {
                    // Only a final block says what became of what was sent before.
                    return Err(open(format!("the rail refuses it by now: {by:?}")));
                }
                Ok(Settlement::Refused(by)) => return Err(self.give_up(job, stage, by).await),
                Err(error) => {
                    problem = error.to_string();
                    if error.class() == Class::Final {
                        break;
                    }
                }
            }
            let next = self.parts.clock.now().after(pause);
            if tried == SETTLE_TRIES_MAX || next.since(began) > SETTLE_SPAN_MAX {
                break;
            }
            self.parts.clock.sleep_until(next).await;
            pause = pause.saturating_mul(2);
        }
        if in_doubt {
            tracing::warn!(problem, "settlement in doubt");
            return Err(open(problem));
        }
        tracing::warn!(problem, "rail silent");
        if stage != Stage::Owed {
            let _ = self.close(Command::ReleaseClaim { claim: job.key() }).await;
        }
        Err(Unsettled::Over(ServiceError::Unavailable(problem)))
    }

    /// Asks the rail, within a bound.
    pub(super) async fn ask_to_settle(
        &self,
        authorization: &Authorization,
        amount: Amount,
    ) -> Result<Settlement, RailError> {
        let asked = self.parts.settler.settle_for(authorization, amount);
        let answer = within(self.parts.clock.as_ref(), SETTLE_WAIT_MAX, asked).await;
        answer.unwrap_or(Ok(Settlement::Unknown { transaction: None }))
    }

    async fn book_settled(
        &self,
        job: &Job,
        transaction: B256,
        settled: Command,
    ) -> Result<B256, Unsettled> {
        match self.parts.treasury.execute(settled).await {
            Ok(_) => Ok(transaction),
            // What moved then has paid for what was served then.
            Err(refused) if paid_another(&refused) => {
                Err(self.give_up(job, job.stage, RefusedBy::NonceUsed).await)
            }
            Err(refused) => {
                // The money moved, and our books do not say so.
                tracing::error!(%refused, %transaction, "settlement not booked");
                Err(open(refused.to_string()))
            }
        }
    }

    /// Says durably that the outcome is open. Whether it is said.
    async fn doubt(&self, job: &Job, transaction: Option<B256>) -> bool {
        let doubt = Command::DoubtClaim { claim: job.key(), transaction };
        self.close(doubt).await.is_ok()
    }

    /// Closes the claim of an authorization that the rail refused before anything was sent.
    async fn give_up(&self, job: &Job, stage: Stage, by: RefusedBy) -> Unsettled {
        let claim = job.key();
        // What was served already is lost with the first refusal: who owes it gets no more on credit.
        let command = match can_never_settle(by) || stage == Stage::Owed {
            true => Command::KillClaim { claim },
            false => Command::ReleaseClaim { claim },
        };
        if let Err(Refused::Stopped { problem }) = self.close(command).await {
            return open(problem);
        }
        let code = code_of(by);
        tracing::warn!(code = code.as_str(), "settlement refused");
        let response = Box::new(not_settled(&job.accepted.commitment, code, None));
        Unsettled::Over(match self.offer(&job.quote, &job.order, Some(code)) {
            Ok(offer) => ServiceError::SettlementFailed { offer: Box::new(offer), response },
            Err(error) => error,
        })
    }

    /// Writes what ends or opens a claim without money.
    pub(super) async fn close(&self, command: Command) -> Result<(), Refused> {
        match self.parts.treasury.execute(command).await {
            Ok(_) => Ok(()),
            Err(refused) => {
                tracing::warn!(%refused, "claim not changed");
                Err(refused)
            }
        }
    }
}

fn open(problem: String) -> Unsettled {
    Unsettled::Open(ServiceError::Unknown(problem))
}

/// Whether the ledger says that what moved by the claim's nonce was not for this claim.
pub(super) fn paid_another(refused: &Refused) -> bool {
    matches!(
        refused.rejection(),
        Some(Rejection::AmountMismatch { .. } | Rejection::MovedBefore { .. })
    )
}

/// Whether nothing that anybody does makes it settle again.
pub(super) const fn can_never_settle(by: RefusedBy) -> bool {
    match by {
        RefusedBy::Canceled
        | RefusedBy::NonceUsed
        | RefusedBy::Expired
        | RefusedBy::BadSignature => true,
        RefusedBy::InsufficientFunds
        | RefusedBy::NotYetValid
        | RefusedBy::Reverted
        | RefusedBy::AllowanceRequired
        | RefusedBy::ExceedsAuthorized
        | RefusedBy::FactoryNotAllowed
        | RefusedBy::WalletNotMade => false,
    }
}

/// What x402 calls it.
pub(super) const fn code_of(by: RefusedBy) -> PaymentCode {
    match by {
        RefusedBy::InsufficientFunds => PaymentCode::InsufficientFunds,
        RefusedBy::NonceUsed => PaymentCode::NonceUsed,
        RefusedBy::Expired => PaymentCode::ValidBefore,
        RefusedBy::NotYetValid => PaymentCode::ValidAfter,
        RefusedBy::BadSignature => PaymentCode::Signature,
        RefusedBy::Canceled | RefusedBy::Reverted => PaymentCode::TransactionState,
        RefusedBy::AllowanceRequired => PaymentCode::AllowanceRequired,
        RefusedBy::ExceedsAuthorized => PaymentCode::ExceedsAuthorized,
        RefusedBy::FactoryNotAllowed => PaymentCode::FactoryNotAllowed,
        RefusedBy::WalletNotMade => PaymentCode::WalletNotMade,
    }
}
