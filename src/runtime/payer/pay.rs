//! From a wish to a durable hold.

use tokio::sync::{mpsc, oneshot};
use tracing::{Instrument, Span, field};

use crate::domain::commitment::Commitment;
use crate::domain::fault::Fault;
use crate::domain::id::{Fingerprint, Name, PaymentId, ProviderId};
use crate::domain::ledger::agent::Agent;
use crate::domain::ledger::budget::BudgetCheck;
use crate::domain::ledger::command::HoldAsk;
use crate::domain::ledger::requests::{Remembered, RequestState};
use crate::domain::ledger::{Command, Event, Refusal, Rejection};
use crate::domain::money::Amount;
use crate::domain::policy::{self, Offer, Role, RuleCheck};
use crate::domain::quote::PayBy;
use crate::ports::archive::Decision;
use crate::ports::signer::SignerError;
use crate::runtime::channels::{Lease, NotLent, is_unfit};
use crate::runtime::landing::UnderWay;
use crate::runtime::limits::{Admission, Key};
use crate::runtime::meters::Phase;
use crate::runtime::payer::flow::Plan;
use crate::runtime::payer::free::Free;
use crate::runtime::payer::offers::{Candidate, leave_out, ways_looked_at};
use crate::runtime::payer::{BODY_LEN_MAX, PIECES_MAX, PayError, Payer, Placed, Purchase, Wish};
use crate::runtime::rules::InForce;
use crate::runtime::treasury::Refused;

/// Tries at a hold when the policy changes between decision and hold.
const HOLD_TRIES_MAX: u32 = 3;

/// Channels that are tried for one call where the chain has ended those that were tried.
const CHANNEL_TRIES_MAX: u32 = 64;

/// Seconds that an authorization is valid before now, by the chain's clock: a chain's time may lag.
const VALID_AFTER_S: u64 = 0;

/// A wish with everything that was looked up for it.
pub(super) struct Prepared {
    pub wish: Wish,
    pub agent: Agent,
    pub payment: PaymentId,
    pub attempt: u32,
    pub fingerprint: Fingerprint,
    /// The policy that was in force when it was looked up.
    pub policy_version: u32,
}

impl Prepared {
    /// The payment, now that it is held for.
    fn stands(
        self,
        candidate: Candidate,
        (commitment, lease, plan): (Commitment, Option<Lease>, Option<Box<Plan>>),
        admission: Admission,
    ) -> Standing {
        let Self { wish, payment, .. } = self;
        let (drawn, admissions) = (commitment.amount_max, vec![admission]);
        Standing { wish, payment, candidate, commitment, lease, drawn, plan, admissions }
    }
}

/// Where a payment was begun.
enum Begun {
    /// By another task of this process.
    Elsewhere,
    /// Here, with what a channel pays for it as a whole.
    Here(Option<Placed>),
}

/// A payment that a durable hold stands behind.
pub(super) struct Standing {
    pub wish: Wish,
    pub payment: PaymentId,
    pub candidate: Candidate,
    pub commitment: Commitment,
    /// The channel that pays, where one does.
    pub lease: Option<Lease>,
    /// What its voucher adds to what was charged.
    pub drawn: Amount,
    /// How it is paid while it flows, where it is.
    pub plan: Option<Box<Plan>>,
    /// Kept while the provider works for it.
    pub admissions: Vec<Admission>,
}

impl Payer {
    /// Pays for `wish`, or gives the answer of the same request before.
    ///
    /// # Errors
    /// [`PayError`]; without a payment in it nothing was held.
    pub async fn pay(&self, wish: Wish) -> Result<Purchase, PayError> {
        let decided = self.decide(wish).await;
        let meters = self.parts.treasury.meters();
        meters.decided(decided.as_ref().map(|(_, word)| *word));
        decided.map(|(purchase, _)| purchase)
    }

    /// The purchase, and what was decided.
    async fn decide(&self, wish: Wish) -> Result<(Purchase, &'static str), PayError> {
        if wish.body.len() > BODY_LEN_MAX {
            return Err(PayError::BodyTooLarge { len: wish.body.len(), max: BODY_LEN_MAX });
        }
        let prepared = match self.prepare(wish).await? {
            Prepare::Fresh(prepared) => prepared,
            Prepare::Repeated(prepared) => {
                return Ok((self.repeat(*prepared).await?, "repeated"));
            }
        };
        let rules = self.rules.at(prepared.policy_version).await;
        let rules = rules.map_err(|refused| stopped(&prepared, refused))?;
        let role = find_role(&rules, &prepared.agent)?;
        let agent = &prepared.agent;
        let keys =
            [(Key::Agent(agent.id()), role.rates), (Key::Role(agent.role_id()), role.role_rates)];
        let admission = self.parts.limits.admit(&keys)?;
        let wallet = prepared.agent.wallet_id();
        let found = self.find_offers(&prepared.wish, wallet, &rules.policy.assets);
        let candidates = self.time(Phase::Quote, found).await?;
        Ok((self.start(*prepared, rules, candidates, admission).await?, "allowed"))
    }

    pub(super) async fn prepare(&self, wish: Wish) -> Result<Prepare, PayError> {
        let fingerprint = fingerprint(&wish);
        let (id, request) = (wish.agent, wish.request);
        // What is found here is decided again by the hold.
        let looked = self.parts.treasury.peek(move |ledger| {
            let seen = ledger.requests().find(id, request).copied();
            (ledger.find_agent(id).cloned(), seen, ledger.policy().version)
        });
        let first = PaymentId::derive(id, request, 0);
        let refuse = |refused| PayError::Refused { payment: first, refused: Box::new(refused) };
        let (agent, seen, policy_version) = looked.await.map_err(refuse)?;
        let unknown = || refuse(rejected(Rejection::UnknownAgent(id)));
        let agent = agent.ok_or_else(unknown)?;
        let (payment, attempt, taken) = match seen {
            None => (first, 0, false),
            Some(Remembered { payment, fingerprint: before, .. }) if before != fingerprint => {
                let conflict = Rejection::RequestConflict { request, payment };
                return Err(PayError::Refused { payment, refused: Box::new(rejected(conflict)) });
            }
            Some(Remembered { payment, state: RequestState::Taken, .. }) => {
                (payment, 0, !planted!("repeat_is_a_new_payment"))
            }
            Some(Remembered { state: RequestState::Free { next }, .. }) => {
                (PaymentId::derive(id, request, next), next, false)
            }
        };
        let prepared =
            Box::new(Prepared { wish, agent, payment, attempt, fingerprint, policy_version });
        Ok(if taken { Prepare::Repeated(prepared) } else { Prepare::Fresh(prepared) })
    }

    /// Chooses, holds, and leaves the rest to an owned task.
    async fn start(
        &self,
        prepared: Prepared,
        mut rules: InForce,
        mut candidates: Vec<Candidate>,
        admission: Admission,
    ) -> Result<Purchase, PayError> {
        let payment = prepared.payment;
        let (agent, role) = (&prepared.agent.name, &prepared.agent.role);
        let span = tracing::info_span!("pay", %payment, %agent, %role, payee = field::Empty);
        let (sender, pieces) = mpsc::channel(PIECES_MAX);
        let (held_sender, held) = oneshot::channel();
        let payer = self.clone();
        let carried = async move {
            let Some(flight) = payer.take_off(payment) else {
                // The same request is being carried by another task of this process.
                let _ = held_sender.send(Ok(Begun::Elsewhere));
                return;
            };
            match payer.take_free(&prepared, &rules, &mut candidates).await {
                Free::Pay => {}
                Free::Given(mut gift) => {
                    gift.admissions.push(admission);
                    let _ = held_sender.send(Ok(Begun::Here(None)));
                    Box::pin(payer.accept_free(&prepared, &rules, *gift, &sender)).await;
                    return payer.land(payment, &flight);
                }
                Free::Refused(error) => {
                    let _ = held_sender.send(Err(error));
                    return payer.land(payment, &flight);
                }
            }
            let holding = payer.hold(prepared, &mut rules, candidates);
            let standing = payer.time(Phase::Authorize, holding).await;
            match standing {
                Ok((mut standing, drawn)) => {
                    standing.admissions.push(admission);
                    let _ = held_sender.send(Ok(Begun::Here(drawn)));
                    payer.carry(standing, &sender).await;
                }
                Err(error) => {
                    let _ = held_sender.send(Err(error));
                }
            }
            payer.land(payment, &flight);
        };
        if !self.tasks.start(carried.instrument(span)) {
            return Err(PayError::Draining);
        }
        match held.await {
            Ok(Ok(Begun::Here(drawn))) => Ok(Purchase { payment, drawn, pieces }),
            Ok(Ok(Begun::Elsewhere)) => Err(PayError::InDoubt {
                payment,
                problem: "the same request is being paid at this moment: ask again".to_owned(),
            }),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(PayError::Draining),
        }
    }

    /// Marks a payment as carried by this process; `None` where it is already.
    pub(super) fn take_off(&self, payment: PaymentId) -> Option<UnderWay> {
        let mut in_flight = self.in_flight.lock().expect("no holder of the flights panics");
        if in_flight.contains_key(&payment) {
            return None;
        }
        let (flight, landing) = UnderWay::begin();
        in_flight.insert(payment, landing);
        Some(flight)
    }

    pub(super) fn land(&self, payment: PaymentId, flight: &UnderWay) {
        self.in_flight.lock().expect("no holder of the flights panics").remove(&payment);
        flight.land();
    }

    /// Decides and holds, again where the policy changed in between.
    async fn hold(
        &self,
        prepared: Prepared,
        rules: &mut InForce,
        mut candidates: Vec<Candidate>,
    ) -> Result<(Standing, Option<Placed>), PayError> {
        let mut tries = 0;
        loop {
            tries = u32::saturating_add(tries, 1);
            let (candidate, mut checks, commitment) =
                self.choose_allowed(&prepared, rules, &mut candidates).await?;
            checks.extend(ways_looked_at(&candidates, &candidate));
            let admission = self.admit_provider(rules, &candidate.quote.quote.provider)?;
            let ask =
                hold_ask(&prepared, rules, &candidate, commitment, self.parts.treasury.boot());
            let split = self.split(&prepared, &candidate)?;
            let mut lease = match self.lend(&prepared, &candidate).await {
                Ok(lease) => lease,
                Err(NotLent::NotAllowed { .. }) if leave_out(&mut candidates, &candidate) => {
                    continue;
                }
                Err(error) => {
                    return Err(self.not_lent(&prepared, rules, &candidate, checks, error));
                }
            };
            let ask = HoldAsk { commitment: at(commitment, lease.as_ref()), ..ask };
            let plan = split.map(|split| Box::new(split.of(ask.clone())));
            let ask = plan.as_ref().map_or(ask, |plan| plan.first_ask(&candidate));
            let commitment = ask.commitment;
            let held = match &mut lease {
                None => self.parts.treasury.execute(Command::Hold(Box::new(ask))).await,
                Some(lease) => lease.draw(ask).await,
            };
            match held {
                Ok(done) => {
                    let drawn = Placed::drawn(&done).filter(|_| plan.is_none());
                    self.note(&prepared, rules, Ok(&done.event), checks, done.checks);
                    Span::current().record("payee", candidate.quote.quote.provider.as_str());
                    let paid = (commitment, lease, plan);
                    return Ok((prepared.stands(candidate, paid, admission), drawn));
                }
                Err(refused) => {
                    let by_channel = lease.is_some();
                    if let Some(lease) = lease {
                        lease.give_back_unused();
                    }
                    // Nothing may be locked for it: another way may do.
                    let unlockable = by_channel && is_not_lockable(&refused);
                    if unlockable && leave_out(&mut candidates, &candidate) {
                        continue;
                    }
                    if is_stale(&refused) && tries < HOLD_TRIES_MAX {
                        let read = self.rules.current().await;
                        *rules = read.map_err(|refused| stopped(&prepared, refused))?;
                        continue;
                    }
                    if is_unfit(&refused) && tries < CHANNEL_TRIES_MAX {
                        continue;
                    }
                    self.note(&prepared, rules, Err(&refused), checks, looked_at(&refused));
                    return Err(stopped(&prepared, refused));
                }
            }
        }
    }

    /// The first candidate that the caller's bound and the role let pass.
    pub(super) fn choose(
        &self,
        prepared: &Prepared,
        rules: &InForce,
        candidates: &[Candidate],
    ) -> Result<(Candidate, Vec<RuleCheck>), PayError> {
        let role = find_role(rules, &prepared.agent)?;
        let mut first_error = None;
        for candidate in candidates {
            let price_max = prepared.wish.price_max.filter(|max| candidate.cost() > *max);
            if let Some(price_max) = price_max {
                first_error.get_or_insert(PayError::TooDear { price: candidate.nano, price_max });
                continue;
            }
            match policy::decide(role, &to_offer(&prepared.wish, candidate)) {
                Ok(checks) => return Ok((candidate.clone(), checks)),
                Err(denied) => {
                    if first_error.is_none() {
                        self.note(prepared, rules, Err(&denied), denied.rules.clone(), Vec::new());
                        let (payment, denied) = (prepared.payment, Box::new(denied));
                        first_error = Some(PayError::Denied { payment, denied });
                    }
                }
            }
        }
        let order = &prepared.wish.order;
        Err(first_error.unwrap_or_else(|| PayError::NoProvider {
            capability: order.capability.clone(),
            model: order.model.clone(),
        }))
    }

    /// Everybody's rate at one provider: the widest key, looked at last.
    pub(super) fn admit_provider(
        &self,
        rules: &InForce,
        provider: &Name,
    ) -> Result<Admission, PayError> {
        let rates = rules.policy.provider_rates.get(provider);
        let keys = rates.map(|rates| (Key::Provider(ProviderId::named(provider)), *rates));
        Ok(self.parts.limits.admit(keys.as_slice())?)
    }

    pub(super) fn commit(
        &self,
        prepared: &Prepared,
        pay_by: &PayBy,
        amount: Amount,
    ) -> Result<Commitment, PayError> {
        let wallet = prepared.agent.wallet_id();
        let payer = self.parts.signer.address(wallet).ok_or(PayError::NotSigned {
            payment: prepared.payment,
            error: SignerError::NoKey(wallet),
        })?;
        let life_max_s = self.parts.settings.authorization_life_max.as_secs();
        let life_s = pay_by.timeout_s.min(life_max_s);
        Ok(Commitment {
            scheme: pay_by.scheme,
            method: pay_by.method,
            asset: pay_by.asset,
            payer,
            pay_to: pay_by.pay_to,
            amount_max: amount,
            valid_after_s: VALID_AFTER_S,
            valid_before_s: self.parts.clock.now().as_secs().saturating_add(life_s),
            nonce: self.parts.signer.nonce(wallet, prepared.payment),
        })
    }

    /// Remembers why the decision fell as it did, for `bursar why`.
    pub(super) fn note(
        &self,
        prepared: &Prepared,
        rules: &InForce,
        decided: Result<&Event, &dyn Fault>,
        checks: Vec<RuleCheck>,
        budgets: Vec<BudgetCheck>,
    ) {
        self.parts.archive.note(Decision {
            payment: prepared.payment,
            agent: prepared.wish.agent,
            request: prepared.wish.request,
            at: self.parts.clock.now(),
            policy_version: rules.version,
            refused: decided.err().map(|fault| fault.code().to_owned()),
            reason: decided.err().map(ToString::to_string),
            rules: checks,
            budgets,
        });
    }
}

/// What the budgets said, where they were asked.
fn looked_at(refused: &Refused) -> Vec<BudgetCheck> {
    match refused {
        Refused::Rejected(refusal) => refusal.checks.clone(),
        Refused::Stopped { .. } => Vec::new(),
    }
}

/// Whether the ledger said that no deposit may be made, for what lies locked or for what is there.
fn is_not_lockable(refused: &Refused) -> bool {
    matches!(
        refused.rejection(),
        Some(Rejection::OverChannelCap { .. } | Rejection::InsufficientFunds { .. })
    )
}

fn is_stale(refused: &Refused) -> bool {
    matches!(refused.rejection(), Some(Rejection::StalePolicy { .. }))
}

/// What a channel's voucher commits to: the channel is its nonce, it has no time limit, and a deposit that
/// goes with it is moved as its lease says.
pub(super) fn at(commitment: Commitment, lease: Option<&Lease>) -> Commitment {
    match lease {
        None => commitment,
        Some(lease) => {
            let (nonce, method) = (lease.channel.0, lease.method());
            Commitment { nonce, method, valid_before_s: u64::MAX, ..commitment }
        }
    }
}

pub(super) enum Prepare {
    Fresh(Box<Prepared>),
    Repeated(Box<Prepared>),
}

pub(super) fn find_role<'r>(rules: &'r InForce, agent: &Agent) -> Result<&'r Role, PayError> {
    let role = rules.policy.find_role(&agent.role);
    role.ok_or_else(|| PayError::UnknownRole { role: agent.role.clone() })
}

pub(super) fn stopped(prepared: &Prepared, refused: Refused) -> PayError {
    PayError::Refused { payment: prepared.payment, refused: Box::new(refused) }
}

pub(super) fn rejected(rejection: Rejection) -> Refused {
    Refused::Rejected(Box::new(Refusal::from(rejection)))
}

/// An offer as a role looks at it.
pub(super) fn to_offer<'a>(wish: &'a Wish, candidate: &'a Candidate) -> Offer<'a> {
    Offer {
        order: &wish.order,
        provider: &candidate.quote.quote.provider,
        model: &candidate.quote.quote.model,
        pay_to: candidate.pay_by.pay_to,
        asset: candidate.pay_by.asset,
        scheme: candidate.pay_by.scheme,
        amount: if candidate.free { Amount::ZERO } else { candidate.amount },
        nano: candidate.cost(),
    }
}

/// What a request says, condensed: everything that decides what is bought and for how much.
fn fingerprint(wish: &Wish) -> Fingerprint {
    let order = serde_json::to_vec(&wish.order).expect("an order has text keys only");
    let price_max = wish.price_max.map_or(u64::MAX, crate::domain::money::Nano::get).to_be_bytes();
    let provider = wish.provider.as_ref().map_or("", |name| name.as_str());
    let session = wish.session.as_ref().map_or("", |name| name.as_str());
    Fingerprint::of(&[
        &order,
        wish.content_type.as_bytes(),
        &wish.body,
        &price_max,
        provider.as_bytes(),
        session.as_bytes(),
    ])
}

fn hold_ask(
    prepared: &Prepared,
    rules: &InForce,
    candidate: &Candidate,
    commitment: Commitment,
    boot: u64,
) -> HoldAsk {
    let quote = &candidate.quote.quote;
    HoldAsk {
        agent: prepared.wish.agent,
        payment: prepared.payment,
        request: prepared.wish.request,
        attempt: prepared.attempt,
        fingerprint: prepared.fingerprint,
        commitment,
        nano: candidate.nano,
        session: prepared.wish.session.clone(),
        provider: quote.provider.clone(),
        capability: quote.capability.clone(),
        model: quote.model.clone(),
        quote: candidate.hash,
        policy_version: rules.version,
        boot,
    }
}
