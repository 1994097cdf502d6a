//! Free calls: what a provider gives away is taken before anything is paid.
//!
//! Nothing is held, because nothing can move: what is signed is the order, in a domain of words. Policy,
//! rates and a pause hold all the same, and what was used is recorded. What is free no more is paid.

use bytes::BytesMut;
use futures_util::StreamExt;
use tracing::{Span, field};

use crate::domain::id::Name;
use crate::domain::ledger::{Command, Ledger};
use crate::domain::money::{Amount, Money, Nano};
use crate::domain::policy::RuleCheck;
use crate::domain::time::Timestamp;
use crate::domain::x402::order::Ordered;
use crate::ports::archive::{AnswerKey, KeptAnswer};
use crate::ports::paid_service::{Answer, Closing, PaidCall, Piece, ServiceError};
use crate::runtime::limits::Admission;
use crate::runtime::meters::Phase;
use crate::runtime::payer::call::{Pieces, keep};
use crate::runtime::payer::error::QuoteProblem;
use crate::runtime::payer::offers::Candidate;
use crate::runtime::payer::pay::{Prepared, rejected, stopped};
use crate::runtime::payer::usage::{Charge, metered};
use crate::runtime::payer::{Bill, Bought, Outcome, PayError, Payer};
use crate::runtime::rules::InForce;

/// What came of asking for nothing.
pub(super) enum Free {
    /// It is given.
    Given(Box<Gift>),
    /// It has to be paid, if it is to be had.
    Pay,
    /// It is not to be had.
    Refused(PayError),
}

/// An answer that costs nothing, as it comes.
pub(super) struct Gift {
    candidate: Candidate,
    answer: Answer,
    rules: Vec<RuleCheck>,
    /// All of it has to come until then.
    until: Timestamp,
    /// Kept while the provider works for it.
    pub admissions: Vec<Admission>,
}

impl Payer {
    /// Asks for the best offer's answer for nothing, where it is free. Where it is so no more, the
    /// candidates say so and stand in the order of what they cost.
    pub(super) async fn take_free(
        &self,
        prepared: &Prepared,
        rules: &InForce,
        candidates: &mut [Candidate],
    ) -> Free {
        if !candidates.iter().any(|candidate| candidate.free) {
            return Free::Pay;
        }
        let Ok((candidate, checks)) = self.choose(prepared, rules, candidates) else {
            return Free::Pay;
        };
        if !candidate.free {
            return Free::Pay;
        }
        let asked = Box::pin(self.ask_free(prepared, rules, candidate, checks)).await;
        if matches!(asked, Free::Pay) {
            for candidate in candidates.iter_mut() {
                candidate.free = false;
            }
            candidates.sort_by_key(Candidate::total);
        }
        asked
    }

    async fn ask_free(
        &self,
        prepared: &Prepared,
        rules: &InForce,
        candidate: Candidate,
        checks: Vec<RuleCheck>,
    ) -> Free {
        let agent = prepared.wish.agent;
        // A pause stops orders as well: an agent that is stopped does nothing in its wallet's name.
        let (request, now) = (prepared.wish.request, self.parts.clock.now());
        let look = move |ledger: &Ledger| {
            ledger.check_signing(agent).map(|()| ledger.may_remember(now, request))
        };
        match self.parts.treasury.read(look).await {
            Ok(Ok(true)) => {}
            // A request that would not be remembered is refused where a payment is.
            Ok(Ok(false)) => return Free::Pay,
            Ok(Err(paused)) => return Free::Refused(stopped(prepared, rejected(paused))),
            Err(refused) => return Free::Refused(stopped(prepared, refused)),
        }
        let provider = candidate.quote.quote.provider.clone();
        let admissions = match self.admit_provider(rules, &provider) {
            Ok(admission) => vec![admission],
            Err(error) => return Free::Refused(error),
        };
        let Some(call) = self.free_call(prepared, &candidate) else { return Free::Pay };
        Span::current().record("payee", field::display(&provider));
        let until = self.parts.clock.now().after(self.parts.settings.call_timeout);
        let asked = tokio::select! {
            biased;
            answer = self.time(Phase::Call, candidate.service.infer(call)) => answer,
            () = self.parts.clock.sleep_until(until) => Err(late()),
        };
        match asked {
            Ok(answer) => {
                let gift = Gift { candidate, answer, rules: checks, until, admissions };
                Free::Given(Box::new(gift))
            }
            Err(ServiceError::PaymentRequired(_)) => Free::Pay,
            Err(error) => {
                self.parts.book.failed(&provider);
                Free::Refused(PayError::NoQuote { provider, problem: QuoteProblem::Service(error) })
            }
        }
    }

    /// The call under the wallet's key; `None` where the signer signs no orders.
    fn free_call(&self, prepared: &Prepared, candidate: &Candidate) -> Option<PaidCall> {
        let wish = &prepared.wish;
        let ordered = Ordered {
            quote: &candidate.quote.quote,
            order: &wish.order,
            content_type: &wish.content_type,
            body: &wish.body,
        };
        let wallet = prepared.agent.wallet_id();
        let now_s = self.parts.clock.now().as_secs();
        let signed = self.parts.signer.sign_order(wallet, &ordered, prepared.payment, now_s)?;
        Some(PaidCall {
            order: wish.order.clone(),
            quote: Some(candidate.quote.as_ref().clone()),
            content_type: wish.content_type.clone(),
            body: wish.body.clone(),
            payment: None,
            signed_order: Some(signed),
            peer: None,
            streamed: wish.streamed,
        })
    }

    /// Passes a free answer on as it comes, and records what it used.
    pub(super) async fn accept_free(
        &self,
        prepared: &Prepared,
        rules: &InForce,
        gift: Gift,
        pieces: &Pieces,
    ) {
        let Gift { candidate, answer, rules: checks, until, admissions } = gift;
        let provider = candidate.quote.quote.provider.clone();
        let passed = tokio::select! {
            biased;
            passed = self.pass_gift(provider.clone(), answer, until, pieces) => passed,
            () = self.parts.clock.sleep_until(until) => Err(late()),
        };
        let last = match passed {
            Ok((closing, kept)) => {
                let key = AnswerKey::Bought(prepared.payment);
                self.parts.archive.keep_answer(key, kept, self.parts.clock.now()).await;
                self.record_free(prepared, rules, &candidate, &closing, checks).await;
                Ok(Bought::Done(Box::new(free_bill(prepared, &candidate, &closing))))
            }
            Err(problem) => {
                self.parts.book.failed(&provider);
                let problem = QuoteProblem::Service(problem);
                Err(PayError::NoQuote { provider, problem })
            }
        };
        // The provider is done with it, however long the agent leaves the last piece lying.
        drop(admissions);
        let _ = self.hand_on(last, pieces).await;
    }

    /// Passes its pieces on, up to its end.
    async fn pass_gift(
        &self,
        provider: Name,
        mut answer: Answer,
        until: Timestamp,
        pieces: &Pieces,
    ) -> Result<(Box<Closing>, KeptAnswer), ServiceError> {
        let (content_type, model) = (answer.content_type.clone(), answer.model.clone());
        let begin = Bought::Begin {
            provider,
            content_type: content_type.clone(),
            model: model.clone(),
            flows: false,
        };
        let mut body = Some(BytesMut::new());
        // A caller that has gone away changes nothing about what was used.
        let _ = pieces.send(Ok(begin)).await;
        // Pieces that never stop coming leave no time to whoever waits for the deadline.
        while self.parts.clock.now() < until {
            match answer.pieces.next().await {
                Some(Ok(Piece::Chunk(chunk))) => {
                    keep(&mut body, &chunk);
                    let _ = pieces.send(Ok(Bought::Chunk(chunk))).await;
                }
                Some(Ok(Piece::Done(closing))) => {
                    let kept = KeptAnswer {
                        content_type,
                        model,
                        body: body.map(BytesMut::freeze),
                        usage: closing.usage,
                        receipt: closing.receipt.clone(),
                        charge: None,
                    };
                    return Ok((closing, kept));
                }
                Some(Ok(Piece::Used(_))) => {}
                // What costs nothing is not cut for want of payment.
                Some(Ok(Piece::Cut(_))) | None => {
                    return Err(ServiceError::Unavailable("the answer broke off".to_owned()));
                }
                Some(Err(error)) => return Err(error),
            }
        }
        Err(late())
    }

    async fn record_free(
        &self,
        prepared: &Prepared,
        rules: &InForce,
        candidate: &Candidate,
        closing: &Closing,
        checks: Vec<RuleCheck>,
    ) {
        let charge =
            Charge { amount: Amount::ZERO, transaction: None, free: Some(prepared.fingerprint) };
        let metered = metered(&prepared.wish, prepared.payment, candidate, closing, charge);
        match self.parts.treasury.execute(Command::Meter(Box::new(metered))).await {
            Ok(done) => self.note(prepared, rules, Ok(&done.event), checks, Vec::new()),
            Err(refused) => tracing::warn!(%refused, "usage not counted"),
        }
    }
}

fn late() -> ServiceError {
    ServiceError::Unavailable("no answer in time".to_owned())
}

fn free_bill(prepared: &Prepared, candidate: &Candidate, closing: &Closing) -> Bill {
    Bill {
        payment: prepared.payment,
        provider: candidate.quote.quote.provider.clone(),
        outcome: Outcome::Captured,
        charged: Money { amount: Amount::ZERO, asset: candidate.pay_by.asset },
        nano: Nano::ZERO,
        usage: closing.usage,
        receipt: closing.receipt.clone(),
        repeated: false,
    }
}
