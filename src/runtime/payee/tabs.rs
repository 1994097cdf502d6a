//! Calls that a channel pays: no chain and no facilitator in the call, but for a deposit.
//!
//! One call of a channel is served at a time. Nothing is written before the work is done: then one
//! record says what it cost and keeps the voucher, and only after it the answer leaves. A call that
//! fails leaves the channel as it was, and its voucher may come again.

use std::sync::Arc;
use std::time::Duration;

use crate::domain::channel::ChannelId;
use crate::domain::commitment::AuthorizationKey;
use crate::domain::id::Fingerprint;
use crate::domain::ledger::claim::Delivery;
use crate::domain::ledger::tab::{LastCharge, Tab, TabCommand};
use crate::domain::ledger::{Command, Rejection};
use crate::domain::money::{Amount, Nano};
use crate::domain::order::Order;
use crate::domain::pricing::price_of_usage;
use crate::domain::quote::Quote;
use crate::domain::x402::batch::check::{CheckedWord, Known, check_batch, check_sum};
use crate::domain::x402::batch::code::BatchCode;
use crate::domain::x402::batch::read::{BatchWord, DepositWord};
use crate::domain::x402::check::Demand;
use crate::domain::x402::requirements::Requirement;
use crate::domain::x402::wire::PaymentPayload;
use crate::domain::x402::{PaymentError, identifier};
use crate::ports::archive::{ANSWER_LEN_MAX, KeptAnswer};
use crate::ports::channel_rail::{ChannelSettler, SignedDeposit};
use crate::ports::engine::Work;
use crate::ports::paid_service::{Answer, Closing, PaidCall, Piece, Saying, ServiceError};
use crate::ports::rail::{RefusedBy, Settlement};
use crate::runtime::limits::Admission;
use crate::runtime::meters::Phase;
use crate::runtime::payee::Desk;
use crate::runtime::payee::answer::{cut_answer, kept_answer, whole};
use crate::runtime::payee::caller::{Caller, Ended, Held};
use crate::runtime::payee::flow::Flowing;
use crate::runtime::payee::slots::within;
use crate::runtime::payee::stands::{answer_key, said, state_of, unavailable, voucher_of};
use crate::runtime::payee::usage::kept;
use crate::runtime::payee::work::Next;

/// How long the engine may work on one call.
pub(super) const RUN_MAX: Duration = Duration::from_secs(120);

/// How long a deposit may take to arrive.
const DEPOSIT_WAIT_MAX: Duration = Duration::from_secs(60);

/// The least that a channel is filled with where nothing says otherwise, in the unit of account: a deposit and
/// what is given back cost its payee a transaction each.
pub const DEPOSIT_MIN: Nano = Nano::new(10_000_000);

/// What a payee needs to be paid by channels.
#[derive(Clone)]
pub struct Channels {
    /// Puts deposits in, claims and sweeps.
    pub settler: Arc<dyn ChannelSettler>,
    /// When vouchers are claimed.
    pub claims: ClaimPolicy,
    /// How streamed answers are paid while they flow; `None` takes one voucher for all.
    pub flowing: Option<Flowing>,
}

/// When a channel's vouchers are claimed: as soon as one of these is so, or its payer asked for its
/// money back.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct ClaimPolicy {
    /// So long unclaimed.
    pub age_max: Duration,
    /// So much unclaimed, in atomic units.
    pub amount_max: Amount,
    /// Not used for so long: then it is claimed, and what is left goes back to its payer.
    pub idle_max: Duration,
}

/// One call that a channel pays.
pub(super) struct ChannelJob {
    pub word: BatchWord,
    /// What it costs at most.
    pub price: Amount,
    pub fingerprint: Fingerprint,
    pub payment: Option<crate::domain::id::PaymentId>,
    pub work: Work,
    pub quote: Quote,
    pub order: Order,
    pub streamed: bool,
    pub brief: bool,
    /// What had been charged before it, where it goes on credit.
    pub on_credit: Option<Amount>,
}

/// A word that was checked and what it is said for.
pub(super) struct Worded {
    pub(super) word: BatchWord,
    pub(super) price: Amount,
    pub(super) quote: Quote,
    /// Whether a peer of ours said it, which is answered as briefly.
    pub(super) brief: bool,
    /// What it says was charged before, where it goes on credit.
    pub(super) on_credit: Option<Amount>,
}

impl Desk {
    /// Whether `payment` speaks of a channel.
    pub(super) fn is_by_channel(payment: &PaymentPayload) -> bool {
        payment.accepted.scheme == "batch-settlement"
    }

    /// Checks what can be checked without memory and chain.
    pub(super) fn read_word(
        &self,
        call: &PaidCall,
        payment: &PaymentPayload,
    ) -> Result<Worded, ServiceError> {
        let quote = match self.find_price(call)? {
            Ok(quote) => quote,
            Err(list) => return Err(self.refuse(&PaymentError::NotOffered, &list, &call.order)),
        };
        let offered = Requirement::of_quote(&quote, &call.order, &self.tokens).unwrap_or_default();
        let demand = Demand {
            resource: &self.offering.resource,
            offered: &offered,
            now_s: self.parts.clock.now().as_secs(),
        };
        let checked = check_batch(payment, &demand);
        let CheckedWord { word, requirement } =
            checked.map_err(|error| self.refuse(&error, &quote, &call.order))?;
        let price = requirement.amount;
        Ok(Worded { word, price, quote, brief: false, on_credit: None })
    }

    /// The channel's place among what is worked on: one call at a time.
    pub(super) const fn channel_key(word: &BatchWord) -> AuthorizationKey {
        AuthorizationKey { asset: word.terms.asset, payer: word.terms.payer, nonce: word.channel.0 }
    }

    /// The job that a word asks for, and what is held for it meanwhile.
    pub(super) async fn begin_by_channel(
        &self,
        call: PaidCall,
        worded: Worded,
        peer: Option<Admission>,
    ) -> Result<(ChannelJob, Held), ServiceError> {
        let Worded { word, price, quote, brief, on_credit } = worded;
        let busy = PaymentError::Batch(BatchCode::ChannelBusy);
        let flight = self.flights.take(Self::channel_key(&word));
        let flight = flight.map_err(|_| self.refuse(&busy, &quote, &call.order))?;
        let payer = Some(self.admit_payer(word.terms.payer)?);
        let payment = call.payment.as_ref().map(identifier::find_payment).transpose();
        let payment = payment.map_err(|error| self.refuse(&error, &quote, &call.order))?.flatten();
        let work = super::check::work(&call, &quote.model);
        let fingerprint = self.fingerprint(&call);
        let slot = self.slots.take(self.parts.clock.as_ref()).await?;
        let (order, streamed) = (call.order, call.streamed);
        let job = ChannelJob {
            word,
            price,
            fingerprint,
            payment,
            work,
            quote,
            order,
            streamed,
            brief,
            on_credit,
        };
        Ok((job, Held { flight, slot, payer, peer }))
    }

    /// Serves a call that a channel pays.
    pub(super) async fn serve_by_channel(
        &self,
        job: &ChannelJob,
        caller: Caller,
        saying: Saying,
    ) -> Ended {
        let channels = self.channels.as_ref().expect("only who takes channels offers them");
        let ready = match job.on_credit {
            Some(charged) => self.make_ready_on_credit(job, charged).await,
            None => self.make_ready(channels, job).await,
        };
        let ready = match ready {
            Ok(Ready::Owed(ready)) => ready,
            Ok(Ready::Answered(answer)) => return caller.end(Ok(*answer)),
            Err(error) => return caller.end(Err(error)),
        };
        let ended = if self.flows(job, &ready) {
            Box::pin(self.flow_by_channel(job, &ready, caller, saying)).await
        } else if job.streamed {
            Box::pin(self.stream_by_channel(job, &ready, caller)).await
        } else {
            caller.end(self.whole_by_channel(job, &ready).await)
        };
        match ended {
            Ok(()) => tracing::info!(channel = %job.word.channel, "call charged"),
            Err(code) => tracing::warn!(channel = %job.word.channel, code, "call not charged"),
        }
        // The caller has its answer: nobody waits for what is written here.
        self.shelf.write(answer_key(&job.word, ready.tab.charged)).await;
        ended
    }

    /// Everything between the word and the work: memory, sums, a deposit.
    async fn make_ready(
        &self,
        channels: &Channels,
        job: &ChannelJob,
    ) -> Result<Ready, ServiceError> {
        let channel = job.word.channel;
        // What it owes is durable, for one call of a channel is served at a time; the charge decides again.
        let mut tab = self.peek_tab(channel).await?;
        if let Some(found) = &tab
            && let Some(last) = found
                .last
                .filter(|last| is_again(job, found, last) || self.is_flow_again(job, last))
        {
            // One that is kept no more is not made again: the refusal below says what was charged.
            if let Some(answer) = self.answer_last(job, found, &last).await {
                return Ok(Ready::Answered(Box::new(answer)));
            }
        }
        tab = match tab {
            Some(found) => Some(self.check_given(job, found).await?),
            None => self.meet(&job.word.terms, channel).await?,
        };
        let known = known(tab.as_ref(), job.word.deposit.as_ref());
        let asked = |known: &Known| self.portion(job, known.charged).unwrap_or(job.price);
        let mut summed = check_sum(job.word.voucher.ceiling.amount, asked(&known), &known);
        // Where nothing is known of it, it was looked at just now.
        if tab.is_some() && summed == Err(PaymentError::Batch(BatchCode::ExceedsBalance)) {
            self.look_at(&job.word.terms, channel).await?;
            tab = self.find_tab(channel).await?;
            let known = self::known(tab.as_ref(), job.word.deposit.as_ref());
            summed = check_sum(job.word.voucher.ceiling.amount, asked(&known), &known);
        }
        if let Err(error) = summed {
            let tab = self.find_tab(channel).await?;
            self.cover(tab.as_ref(), &job.word.voucher).await?;
            let tab = tab.unwrap_or_else(|| self.blank_tab(channel, job.word.terms));
            return Err(self.correct(&error, &job.quote, &job.order, Some(&tab)));
        }
        self.check_input(&job.work)?;
        let deposit = match &job.word.deposit {
            None => None,
            Some(deposit) => {
                let _place = match tab {
                    Some(_) => None,
                    None => Some(self.open_to_fill(job, deposit).await?),
                };
                let transaction = Box::pin(self.deposit(channels, job, deposit)).await?;
                Some((transaction.to_string(), deposit.amount))
            }
        };
        if deposit.is_some() {
            tab = self.find_tab(channel).await?;
        }
        let tab = tab.ok_or_else(|| unavailable("the channel's tab is gone"))?;
        // The same deposit again adds nothing: what lies there is what was seen.
        if job.word.voucher.ceiling.amount > tab.newest.balance {
            let error = PaymentError::Batch(BatchCode::ExceedsBalance);
            return Err(self.correct(&error, &job.quote, &job.order, Some(&tab)));
        }
        Ok(Ready::Owed(Box::new(Owed { tab, deposit })))
    }

    pub(super) async fn find_tab(&self, channel: ChannelId) -> Result<Option<Tab>, ServiceError> {
        let found = self.parts.treasury.read(move |ledger| ledger.find_tab(channel).cloned()).await;
        found.map_err(|refused| ServiceError::Unavailable(refused.to_string()))
    }

    /// The same, ahead of what is durable of sights of the chain.
    async fn peek_tab(&self, channel: ChannelId) -> Result<Option<Tab>, ServiceError> {
        let found = self.parts.treasury.peek(move |ledger| ledger.find_tab(channel).cloned()).await;
        found.map_err(|refused| ServiceError::Unavailable(refused.to_string()))
    }

    pub(super) async fn tell_tab(&self, command: TabCommand) -> Result<(), ServiceError> {
        match self.parts.treasury.execute(Command::Tab(command)).await {
            Ok(_) => Ok(()),
            Err(refused) if refused.rejection() == Some(&Rejection::Unchanged) => Ok(()),
            Err(refused) => Err(ServiceError::Unavailable(refused.to_string())),
        }
    }

    async fn deposit(
        &self,
        channels: &Channels,
        job: &ChannelJob,
        deposit: &DepositWord,
    ) -> Result<alloy::primitives::B256, ServiceError> {
        let refuse = |code| self.refuse(&PaymentError::Batch(code), &job.quote, &job.order);
        let terms = job.word.terms;
        let signed = SignedDeposit::of(terms, deposit);
        let clock = self.parts.clock.as_ref();
        let depositing = within(clock, DEPOSIT_WAIT_MAX, channels.settler.deposit(&signed));
        match self.time(Phase::Settle, depositing).await {
            Some(Ok(Settlement::Settled { transaction, .. })) => {
                self.look_at(&terms, job.word.channel).await?;
                Ok(transaction)
            }
            Some(Ok(Settlement::Refused(reason))) => Err(refuse(match reason {
                RefusedBy::InsufficientFunds => BatchCode::InsufficientBalance,
                RefusedBy::AllowanceRequired => BatchCode::Permit2Allowance,
                _ => BatchCode::DepositFailed,
            })),
            Some(Err(problem)) => Err(ServiceError::Unavailable(problem.to_string())),
            // It may arrive yet: the same word again finds it, and nothing was charged.
            Some(Ok(Settlement::Unknown { .. })) | None => {
                Err(unavailable("the deposit has not arrived yet: ask again with the same payment"))
            }
        }
    }

    /// A refusal that tells the payer how the channel stands here, with its own signature as the proof.
    pub(super) fn correct(
        &self,
        error: &PaymentError,
        quote: &Quote,
        order: &Order,
        tab: Option<&Tab>,
    ) -> ServiceError {
        let mut refusal = self.refuse(error, quote, order);
        if let (ServiceError::PaymentRequired(offer), Some(tab)) = (&mut refusal, tab) {
            let state = serde_json::to_value(state_of(tab));
            let voucher = serde_json::to_value(voucher_of(tab));
            let by_channel = |scheme: &str| scheme == "batch-settlement";
            for accept in offer.accepts.iter_mut().filter(|accept| by_channel(&accept.scheme)) {
                let extra = accept.extra.get_or_insert_default();
                if let (Ok(state), Ok(voucher)) = (&state, &voucher) {
                    extra.insert("channelState".to_owned(), state.clone());
                    extra.insert("voucherState".to_owned(), voucher.clone());
                }
            }
        }
        refusal
    }

    /// Runs, meters, charges, and only then releases.
    async fn whole_by_channel(
        &self,
        job: &ChannelJob,
        owed: &Owed,
    ) -> Result<Answer, ServiceError> {
        let until = self.parts.clock.now().after(RUN_MAX);
        let producing = self.produce(job.work.clone(), until);
        let produced = self.time(Phase::Serve, producing).await?;
        let delivery = Delivery { usage: produced.usage, answer: produced.digest };
        let closing = self.charge(job, owed, delivery, produced.to_keep(None)).await?;
        Ok(whole(produced, closing))
    }

    /// Passes pieces on as they come: the voucher covers the order's most, and what was delivered is
    /// charged at its end, or where it broke off.
    async fn stream_by_channel(&self, job: &ChannelJob, owed: &Owed, caller: Caller) -> Ended {
        let until = self.parts.clock.now().after(RUN_MAX);
        let mut running = match self.run(job.work.clone(), until, ANSWER_LEN_MAX).await {
            Ok(running) => running,
            Err(error) => return caller.end(Err(error.into())),
        };
        let (content_type, model) = (running.content_type.clone(), running.model.clone());
        let head = Some(said(job, &owed.tab, Amount::ZERO, owed.deposit.clone()));
        let clock = self.parts.clock.as_ref();
        let mut listener = caller.begin(content_type.clone(), model.clone(), head, clock);
        let (usage, answer, body) = loop {
            match running.next().await {
                Ok(Next::Chunk(chunk)) => listener.send(Ok(Piece::Chunk(chunk))).await,
                Ok(Next::Used(_)) => {}
                Ok(Next::Done { usage, digest, body }) => break (usage, digest, body),
                Err(error) => return listener.end(Err(error.into())).await,
            }
        };
        let kept = KeptAnswer { content_type, model, body, usage, receipt: None, charge: None };
        let charged = self.charge(job, owed, Delivery { usage, answer }, kept).await;
        listener.end(charged.map(|closing| Piece::Done(Box::new(closing)))).await
    }

    /// Writes what the call cost, durably, and keeps its answer.
    async fn charge(
        &self,
        job: &ChannelJob,
        owed: &Owed,
        delivery: Delivery,
        answer: KeptAnswer,
    ) -> Result<Closing, ServiceError> {
        let stored = kept(&job.quote, &job.work);
        let metered = price_of_usage(&job.quote.terms, &delivery.usage, stored);
        let amount = metered.unwrap_or(job.price).min(job.price);
        let base = owed.tab.charged;
        let charged = self.call_of(job, (base, amount), delivery);
        let charge = self.charge_now(job, &owed.tab, charged);
        self.time(Phase::Accept, charge).await?;
        let at = self.parts.clock.now();
        self.shelf.put(answer_key(&job.word, base), answer, at).await;
        let mut tab = owed.tab.clone();
        tab.charged = base.checked_add(amount).unwrap_or(base);
        let response = self.lending(said(job, &tab, amount, owed.deposit.clone()));
        Ok(Closing { usage: delivery.usage, response, receipt: None })
    }

    /// The answer to a call that was charged before, if it is kept: the same voucher for the same request.
    pub(super) async fn answer_last(
        &self,
        job: &ChannelJob,
        tab: &Tab,
        last: &LastCharge,
    ) -> Option<Answer> {
        let response = said(job, tab, last.amount, None);
        match self.shelf.find(answer_key(&job.word, last.base)).await {
            Some(kept) => Some(kept_answer(kept, response)),
            // What it cost is said all the same: a stream that broke has no other way to find out.
            None if job.streamed => Some(cut_answer(response)),
            None => None,
        }
    }
}

/// What a word asks for, once it was looked at.
pub(super) enum Ready {
    /// It was served before.
    Answered(Box<Answer>),
    /// It has to be served.
    Owed(Box<Owed>),
}

/// A call that is covered.
pub(super) struct Owed {
    pub tab: Tab,
    /// What came in for it: transaction and amount.
    pub deposit: Option<(String, Amount)>,
}

/// Whether the very same call was charged last.
fn is_again(job: &ChannelJob, tab: &Tab, last: &LastCharge) -> bool {
    last.fingerprint == job.fingerprint
        && (tab.voucher.is_some_and(|kept| kept.ceiling == job.word.voucher.ceiling.amount)
            || !tab.owed().is_zero())
        && last.base.checked_add(job.price) == Some(job.word.voucher.ceiling.amount)
}

fn known(tab: Option<&Tab>, deposit: Option<&DepositWord>) -> Known {
    let zero = Amount::ZERO;
    let (charged, balance, claimed) =
        tab.map_or((zero, zero, zero), |tab| (tab.charged, tab.newest.balance, tab.newest.claimed));
    // What its payer asked to have back covers nothing any more; a claim is due at once.
    let leaves = tab.is_some_and(|tab| tab.withdrawable_at_s.is_some());
    let balance = if leaves { charged } else { balance };
    let incoming = deposit.map_or(zero, |deposit| deposit.amount);
    let balance = balance.checked_add(incoming).unwrap_or(balance);
    Known { charged, balance, claimed }
}
