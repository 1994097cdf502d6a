//! The same request again: the same payment, the same answer, never a second price.

use bytes::Bytes;
use tokio::sync::mpsc;

use crate::domain::id::{Name, PaymentId};
use crate::domain::ledger::channel::Opened;
use crate::domain::ledger::hold::{Held, Hold, HoldState};
use crate::domain::money::{Amount, Money, Nano};
use crate::domain::x402::receipt::SignedReceipt;
use crate::ports::archive::{AnswerKey, KeptAnswer, KeptCharge};
use crate::runtime::payer::pay::{Prepared, Standing};
use crate::runtime::payer::{Bill, Bought, Outcome, PIECES_MAX, PayError, Payer, Purchase};

impl Payer {
    /// Answers a request whose payment exists: waits for it, presents it again, or reads it back.
    pub(super) async fn repeat(&self, prepared: Prepared) -> Result<Purchase, PayError> {
        let payment = prepared.payment;
        self.wait_for(payment).await?;
        let looked = self.parts.treasury.read(move |ledger| {
            let last = ledger.find_draw(payment).filter(|(found, _)| found.last == Some(payment));
            let draw = last.map(|(found, held)| {
                let room = found.reach().checked_sub(found.last_ceiling);
                let drawn = found.last_ceiling.checked_sub(found.base).unwrap_or(Amount::ZERO);
                let rest = (room.unwrap_or(Amount::ZERO), found.pending.is_some());
                (found.opened.clone(), held.clone(), (rest, drawn))
            });
            (ledger.find_hold(payment).cloned(), draw)
        });
        let refuse = |refused| PayError::Refused { payment, refused: Box::new(refused) };
        let (hold, draw) = looked.await.map_err(refuse)?;
        if let Some(draw) = draw
            && !self.is_kept(payment).await
        {
            return self.present_voucher_again(prepared, draw).await;
        }
        match hold {
            Some(hold) if !matches!(hold.state, HoldState::Captured { .. }) => {
                self.present_again(prepared, hold).await
            }
            captured_or_closed => self.read_back(payment, captured_or_closed).await,
        }
    }

    /// Waits while another task of this process carries the payment.
    async fn wait_for(&self, payment: PaymentId) -> Result<(), PayError> {
        let flight = {
            let in_flight = self.in_flight.lock().expect("no holder of the flights panics");
            in_flight.get(&payment).cloned()
        };
        let Some(landing) = flight else { return Ok(()) };
        let until = self.parts.clock.now().after(self.parts.settings.call_timeout);
        tokio::select! {
            biased;
            () = landing.wait() => Ok(()),
            () = self.parts.clock.sleep_until(until) => Err(PayError::InDoubt {
                payment,
                problem: "the same request is still being paid".to_owned(),
            }),
        }
    }

    /// Presents the very same authorization again: after a crash or a lost answer the payee knows it,
    /// and serves what was paid. Nothing new is signed: the bytes are those of before.
    async fn present_again(&self, prepared: Prepared, hold: Hold) -> Result<Purchase, PayError> {
        let payment = prepared.payment;
        let in_doubt = |problem: &str| PayError::InDoubt { payment, problem: problem.to_owned() };
        if self.parts.clock.now().as_secs() >= hold.held.commitment.valid_before_s {
            return Err(in_doubt("its time limit has passed, and the chain has not spoken yet"));
        }
        let mut wish = prepared.wish;
        wish.provider = Some(hold.held.provider.clone());
        let rules = self.rules.current().await;
        let rules =
            rules.map_err(|refused| PayError::Refused { payment, refused: Box::new(refused) })?;
        let offers =
            self.find_offers(&wish, prepared.agent.wallet_id(), &rules.policy.assets).await;
        let offers = offers.map_err(|error| in_doubt(&error.to_string()))?;
        let commitment = hold.held.commitment;
        let same = offers.into_iter().find(|candidate| {
            candidate.amount == commitment.amount_max
                && candidate.pay_by.pay_to == commitment.pay_to
                && candidate.pay_by.asset == commitment.asset
                && candidate.pay_by.scheme == commitment.scheme
                && commitment.method.pays(candidate.pay_by.method)
        });
        let Some(candidate) = same else {
            return Err(in_doubt("the provider's terms have changed since"));
        };
        let Some(flight) = self.take_off(payment) else {
            return Err(in_doubt("the same request is being paid at this moment"));
        };
        let (sender, pieces) = mpsc::channel(PIECES_MAX);
        let standing = Standing {
            drawn: candidate.amount,
            plan: None,
            wish,
            payment,
            candidate,
            commitment,
            lease: None,
            admissions: Vec::new(),
        };
        let payer = self.clone();
        let carried = async move {
            payer.carry(standing, &sender).await;
            payer.land(payment, &flight);
        };
        if self.tasks.start(carried) {
            Ok(Purchase { payment, drawn: None, pieces })
        } else {
            Err(PayError::Draining)
        }
    }

    async fn is_kept(&self, payment: PaymentId) -> bool {
        self.shelf.find(AnswerKey::Bought(payment)).await.is_some()
    }

    /// Presents the very same voucher again: the payee knows the call, and gives the answer that it
    /// kept, or serves it now.
    async fn present_voucher_again(
        &self,
        prepared: Prepared,
        (opened, held, (rest, drawn)): (Opened, Held, ((Amount, bool), Amount)),
    ) -> Result<Purchase, PayError> {
        let payment = prepared.payment;
        let in_doubt = |problem: &str| PayError::InDoubt { payment, problem: problem.to_owned() };
        let Prepared { mut wish, agent, .. } = prepared;
        wish.provider = Some(opened.provider.clone());
        let rules = self.rules.current().await;
        let rules =
            rules.map_err(|refused| PayError::Refused { payment, refused: Box::new(refused) })?;
        let offers = self.find_offers(&wish, agent.wallet_id(), &rules.policy.assets).await;
        let offers = offers.map_err(|error| in_doubt(&error.to_string()))?;
        let commitment = held.commitment;
        let same = offers.into_iter().find_map(|candidate| {
            let key = self.pool_key(&agent, &candidate)?;
            // One that flowed was paid for in part.
            let flowed = wish.streamed && candidate.quote.quote.stride.is_some();
            let fits = (candidate.amount == drawn || (flowed && drawn < candidate.amount))
                && candidate.pay_by.scheme == commitment.scheme
                && candidate.pay_by.pay_to == commitment.pay_to
                && candidate.pay_by.asset == commitment.asset;
            fits.then_some((candidate, key))
        });
        let Some((candidate, key)) = same else {
            return Err(in_doubt("the provider's terms have changed since"));
        };
        let Some(channels) = &self.parts.channels else {
            return Err(in_doubt("this node pays by channel no more"));
        };
        let Some(flight) = self.take_off(payment) else {
            return Err(in_doubt("the same request is being paid at this moment"));
        };
        let lease = channels.lend_again(&key, (opened.id, opened.terms), rest);
        if lease.is_none() {
            self.land(payment, &flight);
            return Err(in_doubt("its channel is being asked about at this moment: ask again"));
        }
        let (sender, pieces) = mpsc::channel(PIECES_MAX);
        let (plan, admissions) = (None, Vec::new());
        let standing =
            Standing { wish, payment, candidate, commitment, lease, drawn, plan, admissions };
        let payer = self.clone();
        let carried = async move {
            payer.carry(standing, &sender).await;
            payer.land(payment, &flight);
        };
        if self.tasks.start(carried) {
            Ok(Purchase { payment, drawn: None, pieces })
        } else {
            Err(PayError::Draining)
        }
    }

    /// The kept answer of a payment that is captured.
    pub(super) async fn read_back(
        &self,
        payment: PaymentId,
        captured: Option<Hold>,
    ) -> Result<Purchase, PayError> {
        let kept = self.shelf.find(AnswerKey::Bought(payment)).await;
        let Some(KeptAnswer { content_type, model, body: Some(body), usage, receipt, charge }) =
            kept
        else {
            return Err(PayError::AnswerGone { payment });
        };
        let by_receipt = receipt.as_ref().map(|SignedReceipt { receipt, .. }| {
            let charged = Money { amount: receipt.amount, asset: receipt.asset };
            let nano = captured.map_or(Nano::ZERO, |hold| hold.held.nano);
            KeptCharge { provider: receipt.provider.clone(), charged, nano }
        });
        let said = by_receipt.or(charge).ok_or(PayError::AnswerGone { payment })?;
        let KeptCharge { provider, charged: money, nano } = said;
        let bill = Bill {
            payment,
            provider: provider.clone(),
            outcome: Outcome::Captured,
            charged: money,
            nano,
            usage,
            receipt,
            repeated: true,
        };
        Ok(whole(payment, provider, (content_type, model), body, bill))
    }
}

/// An answer that is there already, as pieces.
fn whole(
    payment: PaymentId,
    provider: Name,
    (content_type, model): (String, String),
    body: Bytes,
    bill: Bill,
) -> Purchase {
    let (sender, pieces) = mpsc::channel(3);
    let all = [
        Bought::Begin { provider, content_type, model, flows: false },
        Bought::Chunk(body),
        Bought::Done(Box::new(bill)),
    ];
    for piece in all {
        sender.try_send(Ok(piece)).expect("the channel has room for three");
    }
    Purchase { payment, drawn: None, pieces }
}
