//! From a durable hold to a capture: sign, call, check the receipt, take what was held.

use std::time::Duration;

use alloy::primitives::B256;
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use futures_util::future::join;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use crate::domain::commitment::{Authorization, Scheme};
use crate::domain::fault::Fault;
use crate::domain::id::{Name, PaymentId};
use crate::domain::ledger::hold::CaptureProof;
use crate::domain::ledger::{Command, Event};
use crate::domain::money::{Amount, Money, Nano};
use crate::domain::pricing::price_of_usage;
use crate::domain::time::Timestamp;
use crate::domain::x402::payload;
use crate::domain::x402::receipt::{Expected, Receipt, check_receipt};
use crate::domain::x402::wire::PaymentPayload;
use crate::ports::archive::{ANSWER_LEN_MAX, AnswerKey, KeptAnswer};
use crate::ports::paid_service::{Answer, Closing, PaidCall, Piece, Said, ServiceError};
use crate::runtime::meters::Phase;
use crate::runtime::payer::flow::Flow;
use crate::runtime::payer::pay::Standing;
use crate::runtime::payer::told::Saying;
use crate::runtime::payer::usage::Charge;
use crate::runtime::payer::{Bill, Bought, Outcome, PayError, Payer};

/// Where the answer goes. A caller that has gone away changes nothing about the payment.
pub(super) type Pieces = mpsc::Sender<Result<Bought, PayError>>;

/// How a paid call ended.
pub(super) enum Ended {
    /// With a closing; what was answered is kept where it is small enough.
    Whole { closing: Box<Closing>, kept: Box<KeptAnswer> },
    /// Before the answer was whole: what was delivered was charged.
    Cut { closing: Box<Closing> },
    /// Without one: nobody knows what the payee took.
    Broken(PayError),
}

/// Until when the next piece of an answer is waited for.
enum Pace<'a, 'p> {
    /// All of it has to come until then.
    Whole { until: Timestamp },
    /// As long as it flows.
    Flows(&'a mut Flow<'p>),
}

impl Pace<'_, '_> {
    /// Whether anything came that was paid for while it flowed.
    fn has_moved(&self) -> bool {
        match self {
            Self::Whole { .. } => false,
            Self::Flows(flow) => flow.has_moved(),
        }
    }
}

impl Payer {
    /// Carries a payment from its hold to its end, and tells whoever listens.
    pub(super) async fn carry(&self, mut standing: Standing, pieces: &Pieces) {
        // Boxed: each way has a state of many kilobytes, and a call goes one of them.
        match standing.lease.take() {
            Some(lease) => Box::pin(self.carry_by_channel(standing, lease, pieces)).await,
            None => Box::pin(self.carry_signed(standing, pieces)).await,
        }
    }

    async fn carry_signed(&self, mut standing: Standing, pieces: &Pieces) {
        let payment = standing.payment;
        let signed = self.time(Phase::Sign, self.parts.signer.authorize(payment)).await;
        let (commitment, signature) = match signed {
            Ok(signed) => signed,
            Err(error) => {
                let voided = self.void(payment).await;
                return self.tell_unsigned(&mut standing, (error, voided), pieces).await;
            }
        };
        let authorization = Authorization { commitment, signature };
        let call = call_with(&standing, Some(payload(&standing, &authorization)));
        let ended = self.call(&standing, Saying::Whole(call), pieces).await;
        self.finish(&mut standing, ended, pieces).await;
    }

    /// A call that is paid as a whole.
    pub(super) async fn call(&self, standing: &Standing, call: Saying, pieces: &Pieces) -> Ended {
        let until = self.parts.clock.now().after(self.parts.settings.call_timeout);
        tokio::select! {
            biased;
            ended = self.time(Phase::Call, self.call_until(until, standing, call, pieces)) => ended,
            () = self.parts.clock.sleep_until(until) => Ended::Broken(silent(standing)),
        }
    }

    async fn call_until(
        &self,
        until: Timestamp,
        standing: &Standing,
        call: Saying,
        pieces: &Pieces,
    ) -> Ended {
        let provider = standing.candidate.quote.quote.provider.clone();
        let began = self.parts.clock.now();
        let answer = match call.to(standing.candidate.service.as_ref()).await {
            Ok(answer) => answer,
            Err(error) => return self.broken(standing, provider, error),
        };
        let latency = self.parts.clock.now().since(began);
        self.parts.book.answered(&provider, latency);
        self.pass_on(standing, provider, answer, (Pace::Whole { until }, pieces)).await
    }

    /// A call that a channel pays while it flows.
    pub(super) async fn flow(
        &self,
        standing: &Standing,
        call: PaidCall,
        said: mpsc::Receiver<Said>,
        (flow, pieces): (&mut Flow<'_>, &Pieces),
    ) -> Ended {
        let provider = standing.candidate.quote.quote.provider.clone();
        let began = self.parts.clock.now();
        let until = began.after(self.parts.settings.call_timeout);
        let asking = standing.candidate.service.flow(call, ReceiverStream::new(said).boxed());
        let answer = tokio::select! {
            biased;
            answer = self.time(Phase::Call, asking) => answer,
            () = self.parts.clock.sleep_until(until) => return Ended::Broken(silent(standing)),
        };
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) => return self.broken(standing, provider, error),
        };
        self.parts.book.answered(&provider, self.parts.clock.now().since(began));
        self.pass_on(standing, provider, answer, (Pace::Flows(flow), pieces)).await
    }

    /// Hands a piece on; an agent that does not take it in time wants no more.
    pub(super) async fn hand_on(&self, piece: Result<Bought, PayError>, pieces: &Pieces) -> bool {
        let until = self.parts.clock.now().after(AGENT_WAIT_MAX);
        tokio::select! {
            biased;
            sent = pieces.send(piece) => sent.is_ok(),
            () = self.parts.clock.sleep_until(until) => false,
        }
    }

    /// Hands the last piece on. The provider is done by then: others may come to it, however long the
    /// agent leaves its pieces lying.
    pub(super) async fn hand_last(
        &self,
        standing: &mut Standing,
        last: Result<Bought, PayError>,
        pieces: &Pieces,
    ) {
        standing.admissions.clear();
        // Whoever did not take it asks again with the same request.
        let _ = self.hand_on(last, pieces).await;
    }

    /// Passes pieces on as they come, and keeps what is small enough to be kept.
    async fn pass_on(
        &self,
        standing: &Standing,
        provider: Name,
        mut answer: Answer,
        (mut pace, pieces): (Pace<'_, '_>, &Pieces),
    ) -> Ended {
        let (content_type, model) = (answer.content_type.clone(), answer.model.clone());
        let begin = Bought::Begin {
            provider: provider.clone(),
            content_type: content_type.clone(),
            model: model.clone(),
            flows: matches!(pace, Pace::Flows(_)),
        };
        let _ = pieces.send(Ok(begin)).await;
        let mut body = Some(BytesMut::new());
        loop {
            let piece = match &mut pace {
                Pace::Flows(flow) => flow.next_piece(&mut answer).await,
                // Pieces that never stop coming leave no time to whoever waits for the deadline.
                Pace::Whole { until } if self.parts.clock.now() >= *until => {
                    return Ended::Broken(silent(standing));
                }
                Pace::Whole { .. } => answer.pieces.next().await,
            };
            let Some(piece) = piece else { break };
            match piece {
                Ok(Piece::Chunk(chunk)) => {
                    keep(&mut body, &chunk);
                    let Pace::Flows(flow) = &mut pace else {
                        let _ = pieces.send(Ok(Bought::Chunk(chunk))).await;
                        continue;
                    };
                    let len = chunk.len();
                    if !self.hand_on(Ok(Bought::Chunk(chunk)), pieces).await {
                        flow.stop();
                    }
                    flow.take(standing, len).await;
                }
                Ok(Piece::Used(used)) => {
                    if let Pace::Flows(flow) = &mut pace {
                        flow.hear(standing, used).await;
                    }
                }
                Ok(Piece::Cut(closing)) => return Ended::Cut { closing },
                // Some of it came: that nothing was taken is hard to believe.
                Err(error) if pace.has_moved() => {
                    let error = ServiceError::Unknown(error.to_string());
                    return self.broken(standing, provider, error);
                }
                Ok(Piece::Done(closing)) => {
                    let kept = Box::new(KeptAnswer {
                        content_type,
                        model,
                        body: body.map(BytesMut::freeze),
                        usage: closing.usage,
                        receipt: closing.receipt.clone(),
                        charge: None,
                    });
                    return Ended::Whole { closing, kept };
                }
                Err(error) => return self.broken(standing, provider, error),
            }
        }
        let payment = standing.payment;
        let problem = "the answer broke off".to_owned();
        Ended::Broken(PayError::InDoubt { payment, problem })
    }

    /// A signature has left: whatever the payee says of it, only the chain can say that it is void.
    fn broken(&self, standing: &Standing, provider: Name, error: ServiceError) -> Ended {
        self.parts.book.failed(&provider);
        self.quotes.forget(&provider);
        let payment = standing.payment;
        Ended::Broken(match error {
            ServiceError::Unknown(problem) => PayError::InDoubt { payment, problem },
            ServiceError::Due => {
                PayError::InDoubt { payment, problem: "paid and not served yet".to_owned() }
            }
            error => PayError::Provider { payment, provider, error: Box::new(error) },
        })
    }

    async fn finish(&self, standing: &mut Standing, ended: Ended, pieces: &Pieces) {
        let last = match ended {
            Ended::Whole { closing, kept } => {
                let captured = self.time(Phase::Capture, self.capture(standing, &closing)).await;
                let bill = bill(standing, &closing, captured);
                let at = self.parts.clock.now();
                let key = AnswerKey::Bought(standing.payment);
                self.parts.archive.keep_answer(key, *kept, at).await;
                Ok(Bought::Done(Box::new(bill)))
            }
            // What is settled as a whole is never cut: nobody knows what that means.
            Ended::Cut { .. } => {
                self.doubt(standing.payment).await;
                Err(silent(standing))
            }
            Ended::Broken(error) => {
                self.doubt(standing.payment).await;
                Err(error)
            }
        };
        self.hand_last(standing, last, pieces).await;
    }

    /// Takes what was held, on a receipt that checks out. Anything less leaves the outcome open.
    async fn capture(&self, standing: &Standing, closing: &Closing) -> Captured {
        let payment = standing.payment;
        match read_receipt(standing, closing) {
            Some((amount, transaction)) => {
                let proof = CaptureProof::Receipt;
                let capture = Command::Capture { payment, amount, transaction, proof };
                let charge = Charge { amount, transaction: Some(transaction), free: None };
                // At the same time, so that both are in one durable batch.
                let captured = self.parts.treasury.execute(capture);
                let metered = self.meter(standing, closing, charge);
                match join(captured, metered).await.0 {
                    Ok(done) => {
                        tracing::info!(%amount, %transaction, "payment captured");
                        Some((amount, counted(&done.event, standing)))
                    }
                    Err(refused) => {
                        tracing::error!(%payment, %refused, "capture refused");
                        None
                    }
                }
            }
            None => {
                let charge =
                    Charge { amount: standing.candidate.amount, transaction: None, free: None };
                join(self.doubt(payment), self.meter(standing, closing, charge)).await;
                None
            }
        }
    }

    pub(super) async fn doubt(&self, payment: PaymentId) {
        // A refusal here means that reconciliation was faster: the outcome is known by then.
        let _ = self.parts.treasury.execute(Command::Doubt { payment }).await;
        tracing::warn!(%payment, "payment in doubt");
    }
}

/// How long an agent may leave a piece of a stream, or the last piece of any answer, lying.
const AGENT_WAIT_MAX: Duration = Duration::from_secs(30);

fn silent(standing: &Standing) -> PayError {
    let payment = standing.payment;
    PayError::InDoubt { payment, problem: "no answer in time".to_owned() }
}

/// The paid call of a payment.
pub(super) fn call_with(standing: &Standing, payment: Option<PaymentPayload>) -> PaidCall {
    PaidCall {
        order: standing.wish.order.clone(),
        quote: Some(standing.candidate.quote.as_ref().clone()),
        content_type: standing.wish.content_type.clone(),
        body: standing.wish.body.clone(),
        payment,
        signed_order: None,
        peer: None,
        streamed: standing.wish.streamed,
    }
}

fn payload(standing: &Standing, authorization: &Authorization) -> PaymentPayload {
    let candidate = &standing.candidate;
    let resource = payload::grpc_resource(&candidate.quote.quote.resource);
    let accepted = candidate.requirement().to_wire();
    let payment = Some(standing.payment);
    payload::payment_payload(Some(resource), accepted, authorization, None, payment)
}

pub(super) fn keep(body: &mut Option<BytesMut>, chunk: &Bytes) {
    let fits = |kept: &BytesMut| kept.len().saturating_add(chunk.len()) <= ANSWER_LEN_MAX;
    match body {
        Some(kept) if fits(kept) => kept.extend_from_slice(chunk),
        _ => *body = None,
    }
}

/// What a receipt that checks out says was charged, and by which transfer.
fn read_receipt(standing: &Standing, closing: &Closing) -> Option<(Amount, B256)> {
    let signed = closing.receipt.as_ref()?;
    let quote = &standing.candidate.quote;
    let payment = standing.payment;
    let expected = Expected {
        payment,
        commitment: &standing.commitment,
        provider: &quote.quote.provider,
        resource: &quote.quote.resource,
        service_key: quote.service_key,
    };
    match check_receipt(signed, &expected) {
        Ok(()) => charged(standing, &signed.receipt),
        Err(problem) => {
            tracing::warn!(%payment, code = problem.code(), "receipt refused");
            None
        }
    }
}

/// What a receipt says was charged, where that is what its own usage costs at most.
fn charged(standing: &Standing, receipt: &Receipt) -> Option<(Amount, B256)> {
    let Receipt { amount, transaction, usage, .. } = receipt;
    if !matches!(standing.commitment.scheme, Scheme::Upto { .. }) {
        return transaction.map(|transaction| (*amount, transaction));
    }
    let terms = &standing.candidate.quote.quote.terms;
    let price = price_of_usage(terms, usage, standing.candidate.stored(&standing.wish.body));
    if price.is_none_or(|price| *amount > price) {
        let payment = standing.payment;
        tracing::warn!(%payment, %amount, "charged more than what was used costs");
        return None;
    }
    // Nothing was sent for a charge of nothing.
    let transaction = transaction.or(amount.is_zero().then_some(B256::ZERO));
    transaction.map(|transaction| (*amount, transaction))
}

/// What was captured, of the asset and in budgets; nothing while the outcome is open.
type Captured = Option<(Amount, Nano)>;

/// What a capture counts in budgets.
fn counted(event: &Event, standing: &Standing) -> Nano {
    match event {
        Event::Captured { nano, .. } => *nano,
        _ => standing.candidate.nano,
    }
}

fn bill(standing: &Standing, closing: &Closing, captured: Captured) -> Bill {
    let outcome = captured.map_or(Outcome::Unknown, |_| Outcome::Captured);
    let whole = (standing.candidate.amount, standing.candidate.nano);
    let (amount, nano) = captured.unwrap_or(whole);
    Bill {
        payment: standing.payment,
        provider: standing.candidate.quote.quote.provider.clone(),
        outcome,
        charged: Money { amount, asset: standing.commitment.asset },
        nano,
        usage: closing.usage,
        receipt: closing.receipt.clone(),
        repeated: false,
    }
}
