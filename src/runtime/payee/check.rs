//! From a paid call to a job: everything that is looked at before anything is taken.

use alloy::primitives::Address;

use crate::domain::commitment::{Authorization, AuthorizationKey, Scheme};
use crate::domain::id::{Fingerprint, Name, PaymentId};
use crate::domain::ledger::claim::{Accepted, Claim, ClaimState};
use crate::domain::order::Order;
use crate::domain::quote::Quote;
use crate::domain::x402::check::{Demand, check_payment};
use crate::domain::x402::payload::read_authorization;
use crate::domain::x402::requirements::Requirement;
use crate::domain::x402::wire::PaymentPayload;
use crate::domain::x402::{PaymentCode, PaymentError, identifier};
use crate::ports::engine::{EngineError, Work};
use crate::ports::paid_service::{Answer, PaidCall, ServiceError};
use crate::runtime::limits::{Admission, Key};
use crate::runtime::payee::Desk;
use crate::runtime::payee::caller::Held;
use crate::runtime::payee::flights::Flight;
use crate::runtime::payee::pricing::malformed;
use crate::runtime::payee::slots::too_fast;

/// A payment as it was presented; only its form was looked at.
pub(super) struct Presented {
    pub authorization: Authorization,
    pub fingerprint: Fingerprint,
    pub payment: Option<PaymentId>,
}

impl Presented {
    pub(super) const fn key(&self) -> AuthorizationKey {
        self.authorization.commitment.key()
    }
}

/// Where a job begins.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// Nothing is bound yet.
    Fresh,
    /// Bound, by this process or an earlier one: the rail may have been asked.
    Bound {
        /// Whether the ledger says so already.
        doubted: bool,
    },
    /// Bound, and nothing was charged of its maximum: the rail was never asked.
    Uncharged,
    /// Served, and not settled.
    Owed,
    /// Settled, and not served.
    Due {
        /// The transfer.
        transaction: alloy::primitives::B256,
    },
}

/// One paid call that is to be served.
#[derive(Clone)]
pub(super) struct Job {
    pub stage: Stage,
    pub accepted: Accepted,
    pub work: Work,
    /// What an offer in a refusal is made of.
    pub quote: Quote,
    pub order: Order,
    pub streamed: bool,
}

impl Job {
    pub(super) const fn key(&self) -> AuthorizationKey {
        self.accepted.key()
    }

    pub(super) const fn authorization(&self) -> Authorization {
        Authorization { commitment: self.accepted.commitment, signature: self.accepted.signature }
    }
}

/// What became of a paid call at once.
pub(super) enum Begun {
    /// It was served before.
    Answered(Box<Answer>),
    /// It has to be served, with what is held for it meanwhile.
    Owed(Box<(Job, Held)>),
}

/// The same of a payment that was bound before.
enum Again {
    Answered(Box<Answer>),
    Owed(Box<Job>),
}

impl Desk {
    /// Reads a payment's form.
    ///
    /// # Errors
    /// [`ServiceError::Malformed`], [`ServiceError::PaymentRequired`] for what is well formed and
    /// nothing that is taken here.
    pub(super) fn read(
        &self,
        call: &PaidCall,
        payment: &PaymentPayload,
    ) -> Result<Presented, ServiceError> {
        let read = || {
            let mut ways = self.offering.pay_by.iter();
            // Its terms are of no interest where the scheme itself is not taken.
            if !ways.any(|way| way.scheme.as_str() == payment.accepted.scheme) {
                return Err(PaymentError::Scheme);
            }
            let authorization = read_authorization(payment)?;
            Ok((authorization, identifier::find_payment(payment)?))
        };
        let (authorization, payment) = match read() {
            Ok(read) => read,
            Err(error) => {
                let quote = self.find_price(call)?.unwrap_or_else(|list| list);
                return Err(self.refuse(&error, &quote, &call.order));
            }
        };
        Ok(Presented { authorization, fingerprint: self.fingerprint(call), payment })
    }

    /// What the request says, condensed: what an authorization is bound to.
    pub(super) fn fingerprint(&self, call: &PaidCall) -> Fingerprint {
        let order = serde_json::to_vec(&call.order).expect("an order has text keys only");
        let resource = self.offering.resource.as_bytes();
        Fingerprint::of(&[resource, &order, call.content_type.as_bytes(), &call.body])
    }

    /// The job that a presented payment asks for, or the answer that it had before.
    ///
    /// # Errors
    /// Any [`ServiceError`] after which nothing was taken, and [`ServiceError::Bound`].
    pub(super) async fn begin(
        &self,
        call: PaidCall,
        presented: Presented,
        flight: Flight,
        peer: Option<Admission>,
    ) -> Result<Begun, ServiceError> {
        let key = presented.key();
        let found = self.parts.treasury.read(move |ledger| ledger.find_claim(&key).cloned()).await;
        let found = found.map_err(|refused| ServiceError::Unavailable(refused.to_string()))?;
        if found.as_ref().is_some_and(|claim| claim.accepted.fingerprint != presented.fingerprint) {
            return Err(ServiceError::Bound);
        }
        let (quote, is_over) = match self.find_price(&call)? {
            Ok(quote) => (quote, false),
            Err(list) => (list, true),
        };
        let (job, payer) = match found {
            Some(claim) if claim.state != ClaimState::Released => {
                match self.begin_again(call, presented, quote, claim).await? {
                    Again::Answered(answer) => return Ok(Begun::Answered(answer)),
                    Again::Owed(job) => (*job, None),
                }
            }
            _ if is_over => {
                return Err(self.refuse(&PaymentError::NotOffered, &quote, &call.order));
            }
            _ => {
                let (job, admission) = self.begin_fresh(call, presented, quote).await?;
                (job, Some(admission))
            }
        };
        // Last: what is turned away for another reason takes no room from anybody.
        let slot = self.slots.take(self.parts.clock.as_ref()).await?;
        Ok(Begun::Owed(Box::new((job, Held { flight, slot, payer, peer }))))
    }

    async fn begin_fresh(
        &self,
        call: PaidCall,
        presented: Presented,
        quote: Quote,
    ) -> Result<(Job, Admission), ServiceError> {
        let payment = call.payment.as_ref().expect("only paid calls are begun");
        let authorization = self.check(payment, &quote, &call.order)?;
        if !quote.is_for(authorization.commitment.payer) {
            return Err(self.refuse(&PaymentError::NotOffered, &quote, &call.order));
        }
        let admission = self.admit_payer(authorization.commitment.payer)?;
        let work = work(&call, &quote.model);
        self.check_input(&work)?;
        self.check_ready().await?;
        let accepted = Accepted {
            commitment: authorization.commitment,
            signature: authorization.signature,
            fingerprint: presented.fingerprint,
            payment: presented.payment,
            provider: self.offering.provider.clone(),
            capability: quote.capability.clone(),
            model: quote.model.clone(),
            amount: authorization.commitment.amount_max,
        };
        let (order, streamed) = (call.order, call.streamed);
        Ok((Job { stage: Stage::Fresh, accepted, work, quote, order, streamed }, admission))
    }

    /// A payment that was bound before. Neither its time limit nor the quote's matters any more.
    async fn begin_again(
        &self,
        call: PaidCall,
        presented: Presented,
        quote: Quote,
        claim: Claim,
    ) -> Result<Again, ServiceError> {
        let Claim { accepted, state, .. } = claim;
        let (commitment, signature) = (accepted.commitment, accepted.signature);
        if presented.authorization != (Authorization { commitment, signature }) {
            return Err(ServiceError::Bound);
        }
        let refuse = |code| self.refuse(&PaymentError::Refused(code), &quote, &call.order);
        let stage = match state {
            ClaimState::Accepted if matches!(commitment.scheme, Scheme::Upto { .. }) => {
                Stage::Uncharged
            }
            ClaimState::Accepted | ClaimState::Charged => Stage::Bound { doubted: false },
            ClaimState::Unknown => Stage::Bound { doubted: true },
            ClaimState::Due { transaction } => Stage::Due { transaction },
            ClaimState::Served { transaction } => {
                let answer = self.answer_again(&accepted, transaction).await?;
                return Ok(Again::Answered(Box::new(answer)));
            }
            // Served on credit: the answer is kept, and paying for it is all that is left to do.
            ClaimState::Credited | ClaimState::Lost => Stage::Owed,
            ClaimState::Dead => return Err(refuse(PaymentCode::TransactionState)),
            ClaimState::Released | ClaimState::Refunding { .. } | ClaimState::Refunded => {
                return Err(refuse(PaymentCode::NonceUsed));
            }
        };
        let work = work(&call, &accepted.model);
        let (order, streamed) = (call.order, call.streamed);
        Ok(Again::Owed(Box::new(Job { stage, accepted, work, quote, order, streamed })))
    }

    pub(super) fn check(
        &self,
        payment: &PaymentPayload,
        quote: &Quote,
        order: &Order,
    ) -> Result<Authorization, ServiceError> {
        let offered = Requirement::of_quote(quote, order, &self.tokens).unwrap_or_default();
        let demand = Demand {
            resource: &self.offering.resource,
            offered: &offered,
            now_s: self.parts.clock.now().as_secs(),
        };
        check_payment(payment, &demand).map_err(|error| self.refuse(&error, quote, order))
    }

    pub(super) fn admit_payer(&self, payer: Address) -> Result<Admission, ServiceError> {
        let keys = [(Key::Payer(payer), self.offering.payer_rates)];
        self.limits.admit(&keys).map_err(|limited| too_fast(&limited))
    }

    pub(super) fn check_input(&self, work: &Work) -> Result<(), ServiceError> {
        let counted = self.parts.engine.count_input(work)?;
        let covered = work.order.input_max;
        if counted > covered {
            let (counted, covered) = (counted.0, covered.0);
            return Err(EngineError::InputAboveOrder { counted, covered }.into());
        }
        let (counted, covered) = (stored(work), work.order.maxima.stored);
        if covered > 0 && counted > covered {
            return Err(EngineError::BodyAboveOrder { counted, covered }.into());
        }
        Ok(())
    }

    /// A payment that does not do, as its payer hears it.
    pub(super) fn refuse(
        &self,
        error: &PaymentError,
        quote: &Quote,
        order: &Order,
    ) -> ServiceError {
        if error.is_malformed() {
            return malformed("payment-signature", error);
        }
        tracing::debug!(code = error.wire().as_str(), "payment refused");
        match self.offer(quote, order, Some(error.wire())) {
            Ok(offer) => ServiceError::PaymentRequired(Box::new(offer)),
            Err(error) => error,
        }
    }
}

/// What a payee is to keep of a request, in bytes, where it keeps anything: both sides know it.
pub(super) fn stored(work: &Work) -> u64 {
    u64::try_from(work.body.len()).unwrap_or(u64::MAX)
}

/// The request as the engine sees it: always with a model.
pub(super) fn work(call: &PaidCall, model: &Name) -> Work {
    let order = Order { model: Some(model.clone()), ..call.order.clone() };
    Work { order, content_type: call.content_type.clone(), body: call.body.clone() }
}
