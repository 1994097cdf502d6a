//! A stranger's offer paid by channel: the same as any other, but for whose word ends it.

use crate::domain::channel::Ceiling;
use crate::domain::commitment::{Commitment, Scheme};
use crate::domain::id::PaymentId;
use crate::domain::ledger::channel::{Charge, Frozen};
use crate::domain::money::Amount;
use crate::domain::x402::batch::permitted::extensions;
use crate::domain::x402::batch::word;
use crate::domain::x402::payload::voucher_payload;
use crate::runtime::channels::{Doubtful, Lease, Lent, Need, NotLent, PoolKey};
use crate::runtime::landing::UnderWay;
use crate::runtime::meters::Phase;
use crate::runtime::payer::offered::{Chosen, OfferedCall, OfferedPayment, SignedOffer, Word};
use crate::runtime::payer::pay::{Prepared, stopped};
use crate::runtime::payer::unsigned::Unsigned;
use crate::runtime::payer::voucher::said_charge;
use crate::runtime::payer::{PayError, Payer};
use crate::runtime::rules::InForce;

/// A voucher that is signed and not concluded.
pub(super) struct Drawn {
    lease: Lease,
    ceiling: Ceiling,
    most: Amount,
}

impl Drawn {
    /// Tells the channel's keeper what the stranger said. What cannot be freezes the channel; after
    /// nothing at all it rests, because nobody knows what the call cost, until it is idle and ended.
    pub(super) async fn conclude(self, payment: PaymentId, word: Word) {
        let Self { lease, ceiling, most } = self;
        let base = ceiling.amount.checked_sub(most).unwrap_or(Amount::ZERO);
        match word {
            Word::Said(said) if said.success => match said_charge(&said, &ceiling, base, most) {
                Some(amount) => lease.charged(Charge { payment, amount }, most, true),
                None => lease.freeze(Frozen::Lied).await,
            },
            Word::Said(_) | Word::Refused => {
                lease.charged(Charge { payment, amount: Amount::ZERO }, most, false);
            }
            Word::None => lease.doubt(),
        }
    }
}

impl Payer {
    /// A channel, where the chosen way is paid by one.
    pub(super) async fn lend_offered(
        &self,
        call: &OfferedCall,
        prepared: &Prepared,
        rules: &InForce,
        chosen: &Chosen,
    ) -> Result<Option<Lease>, PayError> {
        let Some(channels) = &self.parts.channels else { return Ok(None) };
        let way = &chosen.pay_by;
        let Scheme::BatchSettlement(offer) = way.scheme else { return Ok(None) };
        let wallet = prepared.agent.wallet_id();
        let Some(payer) = self.parts.signer.address(wallet) else { return Ok(None) };
        let key = PoolKey {
            wallet,
            role: prepared.agent.role.clone(),
            provider: call.provider.clone(),
            asset: way.asset,
            payer,
            receiver: way.pay_to,
            receiver_authorizer: offer.receiver_authorizer,
            withdraw_delay_s: offer.withdraw_delay_s,
        };
        let need = Need {
            payment: prepared.payment,
            amount: chosen.amount,
            nano: chosen.nano,
            timeout_s: way.timeout_s,
            deposit_min: offer.deposit_min,
            method: way.method,
            doubtful: Doubtful::Trust,
        };
        let not_lent = |error| match error {
            NotLent::Busy => PayError::ChannelsBusy { provider: call.provider.clone() },
            NotLent::NotAllowed { allowed, needed } => {
                PayError::Allowance { asset: way.asset, payer, allowed, needed }
            }
            NotLent::Refused(refused) => {
                let rules_seen = chosen.rules.clone();
                self.note(prepared, rules, Err(refused.as_ref()), rules_seen, Vec::new());
                stopped(prepared, *refused)
            }
        };
        match channels.lend(&key, &need).await {
            Ok(Lent::Known(lease)) => self.allowed(lease).await.map(Some).map_err(not_lent),
            // Nobody can ask here: the caller sends what is signed, and no more than that.
            Ok(Lent::Doubted(doubted)) => {
                doubted.unanswered();
                Err(not_lent(NotLent::Busy))
            }
            Err(error) => Err(not_lent(error)),
        }
    }

    /// Signs the voucher of a payment that was drawn.
    pub(super) async fn sign_drawn(
        &self,
        call: &OfferedCall,
        chosen: &Chosen,
        (mut lease, commitment): (Lease, Commitment),
        payment: PaymentId,
        flight: UnderWay,
    ) -> Result<SignedOffer, PayError> {
        let signed = self.time(Phase::Sign, lease.sign(payment)).await;
        let (ceiling, signature) = match signed {
            Ok(signed) => signed,
            Err(error) => {
                let voided = lease.void(payment, chosen.amount).await;
                let (agent, request) = (call.agent, call.request);
                let told = self.unsigned(Unsigned { agent, request, payment, error, voided }).await;
                self.land(payment, &flight);
                return Err(told);
            }
        };
        let offered = call.offer.extensions.clone();
        let accepted = call.offer.accepts.get(chosen.index).expect("the way was found there");
        let payload = voucher_payload(
            call.offer.resource.clone(),
            accepted.clone(),
            word::payload(&lease.terms, &ceiling, &signature, lease.deposit.as_ref()),
            extensions(&lease.terms, lease.channel, lease.deposit.as_ref(), offered),
            Some(payment),
        );
        let drawn = Some(Drawn { lease, ceiling, most: chosen.amount });
        let (payer, word, admissions) = (self.clone(), Word::None, Vec::new());
        let paid = OfferedPayment { payment, commitment, payer, flight, word, drawn, admissions };
        Ok((payload, paid))
    }
}
