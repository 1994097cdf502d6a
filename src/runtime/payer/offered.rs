//! Paying an offer that came with a call, by a stranger who quotes nothing: the offer is all there is.
//!
//! The same rules hold as for a quote: policy, budgets, a durable hold, then a signature. What a
//! stranger says of the settlement is its word; the chain confirms it or takes it back.

use alloy::primitives::B256;
use tokio::sync::oneshot;

use crate::domain::commitment::{Authorization, Commitment};
use crate::domain::id::{AgentId, Name, PaymentId, RequestId};
use crate::domain::ledger::Command;
use crate::domain::ledger::command::HoldAsk;
use crate::domain::ledger::hold::{CaptureProof, HoldState};
use crate::domain::money::{Amount, Nano};
use crate::domain::negotiation::WorstCase;
use crate::domain::order::{Maxima, Order, Units};
use crate::domain::policy::{self, Offer, RuleCheck};
use crate::domain::quote::{PayBy, PriceTerms};
use crate::domain::x402::offer::{Asked, HeardOffer, Payable, check_offer};
use crate::domain::x402::payload;
use crate::domain::x402::requirements::Requirement;
use crate::domain::x402::settlement::read_settlement;
use crate::domain::x402::wire::{PaymentPayload, SettlementResponse};
use crate::runtime::channels::Lease;
use crate::runtime::landing::UnderWay;
use crate::runtime::limits::{Admission, Key};
use crate::runtime::meters::Phase;
use crate::runtime::payer::error::QuoteProblem;
use crate::runtime::payer::offered_channel::Drawn;
use crate::runtime::payer::pay::{Prepare, Prepared, at, find_role, stopped};
use crate::runtime::payer::unsigned::Unsigned;
use crate::runtime::payer::{PayError, Payer, Wish};
use crate::runtime::rules::InForce;
use crate::runtime::treasury::Refused;

/// A call that was answered with an offer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OfferedCall {
    /// Who pays, by its credential.
    pub agent: AgentId,
    /// The caller's name for it: the same again is the same payment.
    pub request: RequestId,
    /// The span of work it belongs to.
    pub session: Option<Name>,
    /// What was called: `grpc://host:port/package.Service/Method`, or a URL. The offer has to name the same.
    pub resource: String,
    /// Who sells, for the policy: the authority that was called.
    pub provider: Name,
    /// What kind of work, for the policy.
    pub capability: Name,
    /// Which method, for the policy.
    pub model: Name,
    /// The digest of the message: the same request id with another one is another request.
    pub message: B256,
    /// Only up to this price, in the unit of account.
    pub price_max: Option<Nano>,
    /// The offer.
    pub offer: HeardOffer,
}

/// A payment that is signed and not concluded. Dropped, it is in doubt until the chain speaks.
pub struct OfferedPayment {
    /// The payment.
    pub payment: PaymentId,
    pub(super) commitment: Commitment,
    pub(super) payer: Payer,
    pub(super) flight: UnderWay,
    pub(super) word: Word,
    /// The channel that pays, where one does.
    pub(super) drawn: Option<Drawn>,
    /// Kept while the payee works for it.
    pub(super) admissions: Vec<Admission>,
}

/// What a stranger said of the settlement.
pub(super) enum Word {
    /// Nothing, or nothing that reads.
    None,
    /// This.
    Said(Box<SettlementResponse>),
    /// That it took nothing.
    Refused,
}

impl OfferedPayment {
    /// Ends it by what the payee said of the settlement; nothing, or nothing that reads, leaves the
    /// outcome open.
    pub fn conclude(mut self, word: Option<SettlementResponse>) {
        self.word = word.map_or(Word::None, |word| Word::Said(Box::new(word)));
    }

    /// Ends it where the payee refused the call and says nothing of a settlement. An authorization that has
    /// left is open all the same, until the chain speaks; a channel is free for its next call.
    pub fn conclude_refused(mut self) {
        self.word = Word::Refused;
    }
}

impl Drop for OfferedPayment {
    fn drop(&mut self) {
        let (payer, payment, flight) = (self.payer.clone(), self.payment, self.flight.clone());
        let (word, drawn) = (std::mem::replace(&mut self.word, Word::None), self.drawn.take());
        let settled = match &word {
            Word::Said(word) => read_settlement(word, &self.commitment).ok(),
            Word::None | Word::Refused => None,
        };
        let concluding = async move {
            match (drawn, settled) {
                (Some(drawn), _) => drawn.conclude(payment, word).await,
                (None, Some(settled)) => {
                    payer.capture_offered(payment, settled.amount, settled.transaction).await
                }
                (None, None) => payer.doubt(payment).await,
            }
            payer.land(payment, &flight);
        };
        if !self.payer.tasks.start(concluding) {
            // The hold stays as it is: counted as spent, until the chain is asked at the next start.
            tracing::warn!(%payment, "payment left open at the end");
            self.payer.land(payment, &self.flight);
        }
    }
}

/// What goes with the call, and the payment that it is.
pub type SignedOffer = (PaymentPayload, OfferedPayment);

/// A way to pay that the policy allows.
pub(super) struct Chosen {
    pub(super) pay_by: PayBy,
    pub(super) amount: Amount,
    pub(super) nano: Nano,
    /// Which of the offer's `accepts`.
    pub(super) index: usize,
    pub(super) rules: Vec<RuleCheck>,
}

impl Payer {
    /// Holds and signs what an offer asks for; the same request again gives the same payment.
    ///
    /// # Errors
    /// [`PayError`]; without a payment in it nothing was held.
    pub async fn pay_offer(&self, call: OfferedCall) -> Result<SignedOffer, PayError> {
        let (answer, answered) = oneshot::channel();
        let payer = self.clone();
        // Owned, so that a caller that goes away between hold and signature leaves nothing half done.
        let carried = async move {
            let paid = payer.hold_offered(call).await;
            let decided = paid.as_ref().map(|_| "allowed");
            payer.parts.treasury.meters().decided(decided);
            // Nobody may listen any more: then the payment is dropped, and in doubt.
            let _ = answer.send(paid);
        };
        if !self.tasks.start(carried) {
            return Err(PayError::Draining);
        }
        answered.await.unwrap_or(Err(PayError::Draining))
    }

    async fn hold_offered(&self, call: OfferedCall) -> Result<SignedOffer, PayError> {
        let prepared = match self.prepare(to_wish(&call)).await? {
            Prepare::Fresh(prepared) => *prepared,
            Prepare::Repeated(prepared) => return self.sign_again(&call, prepared.payment).await,
        };
        let payment = prepared.payment;
        let rules = self.rules.current().await.map_err(|refused| stopped(&prepared, refused))?;
        let role = find_role(&rules, &prepared.agent)?;
        let agent = &prepared.agent;
        let keys =
            [(Key::Agent(agent.id()), role.rates), (Key::Role(agent.role_id()), role.role_rates)];
        let admission = self.parts.limits.admit(&keys)?;
        let chosen = self.choose_way(&call, &prepared, &rules)?;
        let commitment = self.commit(&prepared, &chosen.pay_by, chosen.amount)?;
        let commitment = self.with_method(commitment).await?;
        let admissions = vec![admission, self.admit_provider(&rules, &call.provider)?];
        let flight = self.take_off(payment).ok_or_else(|| busy(payment))?;
        let held = self.hold_chosen(&call, &prepared, &rules, &chosen, commitment).await;
        let signed = match held {
            Ok((None, _)) => self.sign_offered(&call, payment, chosen.index, flight).await,
            Ok((Some(lease), commitment)) => {
                self.sign_drawn(&call, &chosen, (lease, commitment), payment, flight).await
            }
            Err(error) => {
                self.land(payment, &flight);
                Err(error)
            }
        };
        signed.map(|(payload, mut paid)| {
            paid.admissions = admissions;
            (payload, paid)
        })
    }

    /// Holds what was chosen, in a channel where it is paid by one, and notes why.
    async fn hold_chosen(
        &self,
        call: &OfferedCall,
        prepared: &Prepared,
        rules: &InForce,
        chosen: &Chosen,
        commitment: Commitment,
    ) -> Result<(Option<Lease>, Commitment), PayError> {
        let mut lease = self.lend_offered(call, prepared, rules, chosen).await?;
        let commitment = at(commitment, lease.as_ref());
        let ask = self.ask_offered(call, prepared, rules, chosen, commitment);
        let holding = async {
            match &mut lease {
                None => self.parts.treasury.execute(Command::Hold(Box::new(ask))).await,
                Some(lease) => lease.draw(ask).await,
            }
        };
        match self.time(Phase::Authorize, holding).await {
            Ok(done) => {
                self.note(prepared, rules, Ok(&done.event), chosen.rules.clone(), done.checks);
                Ok((lease, commitment))
            }
            Err(refused) => {
                if let Some(lease) = lease {
                    lease.give_back_unused();
                }
                let budgets = match &refused {
                    Refused::Rejected(refusal) => refusal.checks.clone(),
                    Refused::Stopped { .. } => Vec::new(),
                };
                self.note(prepared, rules, Err(&refused), chosen.rules.clone(), budgets);
                Err(stopped(prepared, refused))
            }
        }
    }

    /// The cheapest way that the caller's bound and the role let pass, whatever the offer's order is
    /// (threats.md F28).
    fn choose_way(
        &self,
        call: &OfferedCall,
        prepared: &Prepared,
        rules: &InForce,
    ) -> Result<Chosen, PayError> {
        let role = find_role(rules, &prepared.agent)?;
        let ways = self.find_ways(call, rules)?;
        let mut first_error = None;
        for (nano, way) in ways {
            let (pay_by, amount) = (way.requirement.pay_by, way.requirement.amount);
            if let Some(price_max) = call.price_max.filter(|max| nano > *max) {
                first_error.get_or_insert(PayError::TooDear { price: nano, price_max });
                continue;
            }
            let offer = Offer {
                order: &prepared.wish.order,
                provider: &call.provider,
                model: &call.model,
                pay_to: pay_by.pay_to,
                asset: pay_by.asset,
                scheme: pay_by.scheme,
                amount,
                nano,
            };
            match policy::decide(role, &offer) {
                Ok(rules) => return Ok(Chosen { pay_by, amount, nano, index: way.index, rules }),
                Err(denied) => {
                    if first_error.is_none() {
                        self.note(prepared, rules, Err(&denied), denied.rules.clone(), Vec::new());
                    }
                    let (payment, denied) = (prepared.payment, Box::new(denied));
                    first_error.get_or_insert(PayError::Denied { payment, denied });
                }
            }
        }
        Err(first_error.expect("an offer that checks out has a way to pay"))
    }

    /// The ways of an offer that could be paid, the cheapest first; never empty.
    pub(super) fn find_ways<'r>(
        &self,
        call: &OfferedCall,
        rules: &'r InForce,
    ) -> Result<Vec<(Nano, Payable<'r>)>, PayError> {
        let timeout_max_s = self.parts.settings.authorization_life_max.as_secs();
        let asked = Asked { resource: &call.resource, timeout_max_s, amount: None };
        let unusable = |problem| PayError::NoQuote { provider: call.provider.clone(), problem };
        let payable = check_offer(&call.offer, &asked, &rules.tokens)
            .map_err(|error| unusable(QuoteProblem::Offer(error)))?;
        let nano_of = |way: &Payable<'_>| {
            let Requirement { pay_by, amount, .. } = way.requirement;
            rules.policy.assets.to_nano(pay_by.asset, amount)
        };
        let mut ways: Vec<_> = payable
            .into_iter()
            .filter(|way| self.is_payable(&way.requirement.pay_by))
            .filter_map(|way| Some((nano_of(&way)?, way)))
            .collect();
        if ways.is_empty() {
            return Err(unusable(QuoteProblem::PriceOutOfRange));
        }
        // Gas counts as well; among equals the payee's order does.
        let (reckoning, terms) = (&self.parts.settings.reckoning, PriceTerms::default());
        ways.sort_by_key(|(nano, way)| {
            let Requirement { pay_by, amount, .. } = way.requirement;
            let worst = WorstCase { amount, nano: *nano, terms: &terms };
            reckoning.cost(&pay_by, &worst).total()
        });
        Ok(ways)
    }

    fn ask_offered(
        &self,
        call: &OfferedCall,
        prepared: &Prepared,
        rules: &InForce,
        chosen: &Chosen,
        commitment: Commitment,
    ) -> HoldAsk {
        HoldAsk {
            agent: call.agent,
            payment: prepared.payment,
            request: call.request,
            attempt: prepared.attempt,
            fingerprint: prepared.fingerprint,
            commitment,
            nano: chosen.nano,
            session: call.session.clone(),
            provider: call.provider.clone(),
            capability: call.capability.clone(),
            model: call.model.clone(),
            quote: call.offer.digest(),
            policy_version: rules.version,
            boot: self.parts.treasury.boot(),
        }
    }

    /// The same payment, signed again: the bytes are those of before.
    async fn sign_again(
        &self,
        call: &OfferedCall,
        payment: PaymentId,
    ) -> Result<SignedOffer, PayError> {
        let looked = self.parts.treasury.read(move |ledger| ledger.find_hold(payment).cloned());
        let refuse = |refused| PayError::Refused { payment, refused: Box::new(refused) };
        let hold = looked.await.map_err(refuse)?;
        let open = hold.filter(|hold| !matches!(hold.state, HoldState::Captured { .. }));
        let hold = open.ok_or(PayError::AnswerGone { payment })?;
        let rules = self.rules.current().await.map_err(refuse)?;
        let asked = Asked {
            resource: &call.resource,
            timeout_max_s: u64::MAX,
            amount: Some(hold.held.commitment.amount_max),
        };
        let payable = check_offer(&call.offer, &asked, &rules.tokens).unwrap_or_default();
        let same = payable.into_iter().find(|way| {
            let pay_by = way.requirement.pay_by;
            pay_by.pay_to == hold.held.commitment.pay_to
                && pay_by.asset == hold.held.commitment.asset
                && pay_by.scheme == hold.held.commitment.scheme
                && hold.held.commitment.method.pays(pay_by.method)
        });
        let problem = "the payee's terms have changed since".to_owned();
        let index = same.ok_or(PayError::InDoubt { payment, problem })?.index;
        let flight = self.take_off(payment).ok_or_else(|| busy(payment))?;
        self.sign_offered(call, payment, index, flight).await
    }

    async fn sign_offered(
        &self,
        call: &OfferedCall,
        payment: PaymentId,
        index: usize,
        flight: UnderWay,
    ) -> Result<SignedOffer, PayError> {
        match self.time(Phase::Sign, self.parts.signer.authorize(payment)).await {
            Ok((commitment, signature)) => {
                let accepted = call.offer.accepts.get(index).expect("the way was found there");
                let payload = payload::payment_payload(
                    Some(call.offer.resource.clone()),
                    accepted.clone(),
                    &Authorization { commitment, signature },
                    call.offer.extensions.clone(),
                    Some(payment),
                );
                let payer = self.clone();
                let (word, drawn, admissions) = (Word::None, None, Vec::new());
                let paid =
                    OfferedPayment { payment, commitment, payer, flight, word, drawn, admissions };
                Ok((payload, paid))
            }
            Err(error) => {
                let voided = self.void(payment).await;
                let (agent, request) = (call.agent, call.request);
                let told = self.unsigned(Unsigned { agent, request, payment, error, voided }).await;
                self.land(payment, &flight);
                Err(told)
            }
        }
    }

    async fn capture_offered(&self, payment: PaymentId, amount: Amount, transaction: B256) {
        let proof = CaptureProof::Receipt;
        let capture = Command::Capture { payment, amount, transaction, proof };
        if let Err(refused) = self.parts.treasury.execute(capture).await {
            tracing::error!(%payment, %refused, "capture refused");
        }
    }
}

/// The call as a wish: what the request id stands for.
pub(super) fn to_wish(call: &OfferedCall) -> Wish {
    Wish {
        agent: call.agent,
        request: call.request,
        session: call.session.clone(),
        order: Order {
            capability: call.capability.clone(),
            model: Some(call.model.clone()),
            input_max: Units(0),
            output_max: Units(0),
            maxima: Maxima::default(),
        },
        content_type: call.resource.clone(),
        body: call.message.to_vec().into(),
        price_max: call.price_max,
        provider: Some(call.provider.clone()),
        not_from: Vec::new(),
        streamed: false,
    }
}

fn busy(payment: PaymentId) -> PayError {
    let problem = "the same request is being paid at this moment: ask again".to_owned();
    PayError::InDoubt { payment, problem }
}
