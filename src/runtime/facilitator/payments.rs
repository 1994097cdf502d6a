//! What is asked of a facilitator, and payments by `exact` and `upto`.

use alloy::primitives::{Address, B256};

use crate::domain::commitment::{AuthorizationKey, Scheme};
use crate::domain::money::Amount;
use crate::domain::x402::code::PaymentCode;
use crate::domain::x402::error::PaymentError;
use crate::domain::x402::facilitate::{Asked, Presented, Step, check_asked};
use crate::domain::x402::payload::find_payer;
use crate::domain::x402::wire::{
    PaymentPayload, PaymentRequirements, SettlementResponse, VerifyResponse,
};
use crate::ports::rail::{RailError, Settlement, Settler};
use crate::ports::settlements::Recorded;

use super::answer::{self, Answer, Refusal};
use super::{Facilitator, channels};

/// What a row in the journal means for who asks now.
enum Before {
    /// Nobody asked, or nobody was told.
    Open,
    /// It is over.
    Over(Refusal),
}

impl Facilitator {
    /// Whether `payload` would settle for `requirements` now.
    pub async fn verify(
        &self,
        payload: &PaymentPayload,
        requirements: &PaymentRequirements,
    ) -> Answer<VerifyResponse> {
        let verified = if payload.accepted.scheme == channels::SCHEME {
            self.verify_channel(payload, requirements).await
        } else {
            self.try_verify(payload, requirements).await.map(answer::valid)
        };
        verified.unwrap_or_else(Refusal::verified)
    }

    /// Settles `payload` for what `requirements` charge.
    pub async fn settle(
        &self,
        payload: &PaymentPayload,
        requirements: &PaymentRequirements,
    ) -> Answer<SettlementResponse> {
        let settled = if payload.accepted.scheme == channels::SCHEME {
            self.settle_channel(payload, requirements).await
        } else {
            self.try_settle(payload, requirements).await
        };
        match settled {
            Ok(answer) => {
                self.catalog.add(payload);
                answer
            }
            Err(refusal) => refusal.settled(&requirements.network),
        }
    }

    async fn try_verify(
        &self,
        payload: &PaymentPayload,
        requirements: &PaymentRequirements,
    ) -> Result<Address, Refusal> {
        let (asked, settler) = self.check(payload, requirements, Step::Verify)?;
        let authorization = &asked.authorization;
        let commitment = authorization.commitment();
        let (key, payer) = (commitment.key(), commitment.payer);
        let _admission = self.admit(Step::Verify, payer)?;
        if self.is_under_way(key) {
            return Err(Refusal::new(PaymentCode::Duplicate, Some(payer)));
        }
        // A charge of nothing leaves no trace on a chain, and is over all the same.
        if commitment.scheme.has_maximum() {
            let before = self.settlements.find(key).await;
            let before =
                before.map_err(|_| Refusal::new(PaymentCode::VerifyFailed, Some(payer)))?;
            if let Some(before) = before
                && let Before::Over(refusal) = over(&before, &asked)
            {
                return Err(refusal);
            }
        }
        let verified = match authorization {
            Presented::Key(authorization) => settler.verify_unpaid(authorization).await,
            Presented::Contract(authorization) => settler.verify_contract(authorization).await,
        };
        match verified {
            Ok(Ok(())) => Ok(payer),
            Ok(Err(reason)) => Err(Refusal::new(reason.wire(), Some(payer))),
            Err(trouble) => {
                tracing::warn!(%trouble, "payment could not be verified");
                Err(Refusal::new(PaymentCode::VerifyFailed, Some(payer)))
            }
        }
    }

    async fn try_settle(
        &self,
        payload: &PaymentPayload,
        requirements: &PaymentRequirements,
    ) -> Result<Answer<SettlementResponse>, Refusal> {
        let (asked, settler) = self.check(payload, requirements, Step::Settle)?;
        let (authorization, charge) = (&asked.authorization, asked.charge);
        let commitment = authorization.commitment();
        let (key, payer) = (commitment.key(), Some(commitment.payer));
        let trouble = || Refusal::new(PaymentCode::SettleFailed, payer);
        let _admission = self.admit(Step::Settle, commitment.payer)?;
        let Some(_mark) = self.enter(key) else {
            return Err(Refusal::new(PaymentCode::Duplicate, payer));
        };
        // Nobody's word is in the journal that the payer did not give: its row would stand in the payer's way.
        if let Presented::Contract(word) = authorization
            && self.settlements.find(key).await.map_err(|_| trouble())?.is_none()
        {
            let verified = settler.verify_contract(word).await.map_err(|error| {
                tracing::warn!(%error, "a contract could not be asked");
                trouble()
            })?;
            verified.map_err(|reason| Refusal::new(reason.wire(), payer))?;
        }
        let before = self.settlements.begin(key, charge, commitment.valid_before_s).await;
        if let Some(before) = before.map_err(|_| trouble())?
            && let Before::Over(refusal) = over(&before, &asked)
        {
            return Err(refusal);
        }
        let outcome = match charge.is_zero() {
            // Nothing is handed in of nothing. Source: x402 scheme `upto` on EVM, zero settlement.
            true => nothing(),
            false => match hand_in(settler, authorization, charge).await {
                Ok(outcome) => outcome,
                Err(error) => {
                    tracing::warn!(%error, "payment could not be handed in");
                    self.forget(key).await;
                    return Err(trouble());
                }
            },
        };
        match outcome {
            // Before anybody is told, so that a restart between the two tells nobody else.
            Settlement::Settled { .. } => {
                self.settlements.end(key, outcome).await.map_err(|_| trouble())?;
            }
            Settlement::Refused(_) => self.forget(key).await,
            Settlement::Unknown { .. } => {}
        }
        conclude(commitment.payer, requirements, outcome)
    }

    /// Keeps no row of what moves nothing: keys cost nothing, and whoever makes them would fill the disk. A row
    /// that stays does no harm but that.
    async fn forget(&self, key: AuthorizationKey) {
        if let Err(problem) = self.settlements.forget(key).await {
            tracing::warn!(%problem, "a refused settlement stays written down");
        }
    }

    /// What is asked, where it is as good as can be seen without a chain, and who settles it.
    fn check(
        &self,
        payload: &PaymentPayload,
        requirements: &PaymentRequirements,
        step: Step,
    ) -> Result<(Asked, &dyn Settler), Refusal> {
        let payer = find_payer(payload);
        let now_s = self.clock.now().as_secs();
        let checked = || {
            let asked = check_asked(payload, requirements, &self.tokens, step, now_s)?;
            let commitment = asked.authorization.commitment();
            let settler = &self.rail(commitment.asset.network)?.settler;
            if let Scheme::Upto { facilitator: found } = commitment.scheme
                && let Some(expected) = settler.facilitator()
                && expected != found
            {
                return Err(PaymentError::Facilitator { expected, found });
            }
            Ok((asked, settler.as_ref()))
        };
        checked().map_err(|error: PaymentError| Refusal::of(&error, payer))
    }
}

/// What is known of a payment that somebody asks for again.
fn over(before: &Recorded, asked: &Asked) -> Before {
    let payer = Some(asked.authorization.commitment().payer);
    match before.outcome {
        Some(Settlement::Settled { transaction, .. }) => {
            let transaction = (!transaction.is_zero()).then_some(transaction);
            let refusal = Refusal::new(PaymentCode::NonceUsed, payer);
            Before::Over(Refusal { transaction, ..refusal })
        }
        // What was begun for another charge goes on for that one, and for no second.
        None | Some(_) if before.charge != asked.charge => {
            Before::Over(Refusal::new(PaymentCode::Duplicate, payer))
        }
        None | Some(_) => Before::Open,
    }
}

/// A charge of nothing is settled by being written down.
const fn nothing() -> Settlement {
    let amount = Amount::ZERO;
    Settlement::Settled { transaction: B256::ZERO, amount, moved_at_s: 0 }
}

async fn hand_in(
    settler: &dyn Settler,
    authorization: &Presented,
    charge: Amount,
) -> Result<Settlement, RailError> {
    match authorization {
        Presented::Key(authorization) => settler.settle_for(authorization, charge).await,
        Presented::Contract(authorization) => settler.settle_contract(authorization, charge).await,
    }
}

fn conclude(
    payer: Address,
    requirements: &PaymentRequirements,
    outcome: Settlement,
) -> Result<Answer<SettlementResponse>, Refusal> {
    match outcome {
        Settlement::Settled { transaction, amount, .. } => {
            let transaction = (!transaction.is_zero()).then_some(transaction);
            Ok(answer::settled(payer, &requirements.network, transaction, amount))
        }
        Settlement::Unknown { transaction } => {
            Err(Refusal { transaction, ..Refusal::new(PaymentCode::Pending, Some(payer)) })
        }
        Settlement::Refused(reason) => Err(Refusal::new(reason.wire(), Some(payer))),
    }
}
