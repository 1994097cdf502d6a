//! Free calls: an order under its payer's key in the place of a payment, and a grant in that of a claim.
//!
//! The ledger decides whether the allowance has room, in the moment it is used, and the grant is durable
//! before the engine runs. An order is worth one call: the same one again gets the same answer, and what
//! was granted and not served is served.

use std::net::IpAddr;
use std::sync::Arc;

use alloy::primitives::{Address, B256, keccak256};
use tokio::sync::oneshot;
use tracing::Instrument;

use crate::domain::asset::Asset;
use crate::domain::commitment::AuthorizationKey;
use crate::domain::host::network_of;
use crate::domain::id::PeerId;
use crate::domain::ledger::grants::{Allowance, Grant};
use crate::domain::ledger::metered::{Metered, Whose};
use crate::domain::ledger::{Command, Rejection};
use crate::domain::money::Amount;
use crate::domain::order::Usage;
use crate::domain::quote::Quote;
use crate::domain::x402::order::{Ordered, SignedOrder, check_order};
use crate::domain::x402::receipt::{Receipt, SignedReceipt};
use crate::domain::x402::wire::SettlementResponse;
use crate::ports::archive::{AnswerKey, KeptAnswer};
use crate::ports::engine::Work;
use crate::ports::paid_service::{Answer, Closing, PaidCall, ServiceError};
use crate::runtime::limits::Admission;
use crate::runtime::meters::Phase;
use crate::runtime::payee::answer::{Produced, whole};
use crate::runtime::payee::caller::Held;
use crate::runtime::payee::check::work;
use crate::runtime::payee::pricing::malformed;
use crate::runtime::payee::serve::RUN_MAX;
use crate::runtime::payee::usage::kept;
use crate::runtime::payee::{Desk, OfferedWare, Payee, draining};

/// How a payee bounds what it gives away, beside the free calls of each key that a ware's tiers name.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct FreeBounds {
    /// To all that call from one address, in a day.
    pub peer_per_day: u64,
    /// In all, in a day.
    pub per_day: u64,
    /// Keys that are remembered at most.
    pub payers_max: u64,
}

/// One free call.
struct Gift {
    grant: Grant,
    asset: Asset,
    quote: Quote,
    work: Work,
}

impl Gift {
    /// The key under which its answer is kept and its flight goes: nobody has an authorization of this
    /// nonce, which is the hash of a name.
    fn key(&self) -> AuthorizationKey {
        let Grant { payer, payment, .. } = self.grant;
        let nonce = keccak256([b"bursar grant".as_slice(), payment.as_bytes()].concat());
        AuthorizationKey { asset: self.asset, payer, nonce }
    }
}

/// What became of an order at once.
enum Granting {
    /// It has to be served.
    Owed,
    /// It was served before.
    Served,
}

impl Payee {
    /// Serves a call that shows a signed order and no payment.
    pub(super) async fn serve_free(
        &self,
        call: PaidCall,
        signed: SignedOrder,
        peer: Option<Admission>,
    ) -> Result<Answer, ServiceError> {
        let desk = Arc::clone(&self.desk);
        let Some(gift) = desk.read_order(&call, &signed)? else {
            return Err(desk.ask_payment(&call).await);
        };
        let payer = Some(desk.admit_payer(signed.payer)?);
        let flight = desk.board(gift.key()).await?;
        let slot = desk.slots.take(desk.parts.clock.as_ref()).await?;
        let held = Held { flight, slot, payer, peer };
        let span = tracing::info_span!("serve", payment = %signed.payment, payer = %signed.payer);
        let (reply, answered) = oneshot::channel();
        let giving = async move {
            let given = desk.give(&gift, &call).await;
            drop(held);
            // A caller that has gone away changes nothing about what was given.
            let _ = reply.send(given);
        };
        if !self.tasks.start(giving.instrument(span)) {
            return Err(draining());
        }
        let gone = || Err(ServiceError::Unavailable("the payee stopped".to_owned()));
        answered.await.unwrap_or_else(|_| gone())
    }
}

impl Desk {
    /// What `payer` has had here, where the ware's price depends on it.
    pub(super) async fn find_counted(
        &self,
        ware: &OfferedWare,
        payer: Option<Address>,
    ) -> Result<Option<(Address, crate::domain::ledger::grants::Counted)>, ServiceError> {
        let Some(payer) = payer.filter(|_| !ware.tiers.is_none()) else { return Ok(None) };
        let counted = self.parts.treasury.read(move |ledger| ledger.grants().counted(payer)).await;
        let counted = counted.map_err(|refused| ServiceError::Unavailable(refused.to_string()))?;
        Ok(Some((payer, counted)))
    }

    /// The free call that `signed` orders; `None` where the quote does not make it free.
    ///
    /// # Errors
    /// [`ServiceError::Malformed`] for an order that is not the payer's, or for something else;
    /// [`ServiceError::Engine`] for a body that the order does not cover.
    fn read_order(
        &self,
        call: &PaidCall,
        signed: &SignedOrder,
    ) -> Result<Option<Gift>, ServiceError> {
        // The list, or a quote that is over, makes nothing free.
        let Ok(quote) = self.find_price(call)? else { return Ok(None) };
        if !quote.is_free_for(signed.payer) {
            return Ok(None);
        }
        let ordered = Ordered {
            quote: &quote,
            order: &call.order,
            content_type: &call.content_type,
            body: &call.body,
        };
        let now_s = self.parts.clock.now().as_secs();
        let order = check_order(signed, &ordered, now_s)
            .map_err(|error| malformed("signed_order", error))?;
        let work = work(call, &quote.model);
        self.check_input(&work)?;
        let way = quote.pay_by.first().expect("a quote of ours names a way to pay");
        let grant = Grant {
            payer: signed.payer,
            payment: signed.payment,
            fingerprint: self.fingerprint(call),
            order,
            issued_at_s: signed.issued_at_s,
            peer: call.peer.map(peer_id),
            provider: self.offering.provider.clone(),
            capability: quote.capability.clone(),
            model: quote.model.clone(),
        };
        Ok(Some(Gift { grant, asset: way.asset, quote, work }))
    }

    async fn give(&self, gift: &Gift, call: &PaidCall) -> Result<Answer, ServiceError> {
        match self.grant(gift).await {
            Ok(Granting::Served) => return self.give_again(gift).await,
            Ok(Granting::Owed) => {}
            Err(Some(error)) => return Err(error),
            // Nothing is free any more: what it costs is the answer.
            Err(None) => return Err(self.ask_payment(call).await),
        }
        let until = self.parts.clock.now().after(RUN_MAX);
        let producing = self.produce(gift.work.clone(), until);
        // An order whose run fails stays granted: the same one again is served.
        let produced = self.time(Phase::Serve, producing).await?;
        let receipt = self.free_receipt(gift, produced.usage);
        let key = AnswerKey::Sold(gift.key());
        let answer = produced.to_keep(Some(receipt.clone()));
        self.parts.archive.keep_answer(key, answer, self.parts.clock.now()).await;
        self.meter_gift(gift, &produced).await?;
        tracing::info!("free call served");
        let usage = produced.usage;
        let closing = Closing { usage, response: nothing(gift), receipt: Some(receipt) };
        Ok(whole(produced, closing))
    }

    /// Grants `gift`, durably. The inner `None` says that the allowance has no room.
    async fn grant(&self, gift: &Gift) -> Result<Granting, Option<ServiceError>> {
        let Some(bounds) = self.offering.free else { return Err(None) };
        let FreeBounds { peer_per_day, per_day, payers_max } = bounds;
        let calls = self.free_calls(&gift.quote);
        let allowance = Allowance { calls, peer_per_day, per_day, payers_max };
        let grant = Command::Grant { grant: Box::new(gift.grant.clone()), allowance };
        let Err(refused) = self.time(Phase::Accept, self.parts.treasury.execute(grant)).await
        else {
            return Ok(Granting::Owed);
        };
        match refused.rejection() {
            Some(Rejection::Unchanged) => {
                let (payer, payment) = (gift.grant.payer, gift.grant.payment);
                let look = move |ledger: &crate::domain::ledger::Ledger| {
                    ledger.grants().is_owed(payer, payment)
                };
                match self.parts.treasury.read(look).await {
                    Ok(true) => Ok(Granting::Owed),
                    Ok(false) => Ok(Granting::Served),
                    Err(stopped) => Err(Some(ServiceError::Unavailable(stopped.to_string()))),
                }
            }
            Some(Rejection::GrantedElsewhere(_)) => Err(Some(ServiceError::Bound)),
            Some(Rejection::AllowanceSpent { what, bound }) => {
                tracing::info!(what, bound, "free call refused");
                Err(None)
            }
            _ => Err(Some(ServiceError::Unavailable(refused.to_string()))),
        }
    }

    /// So many calls of each key are free of what `quote` sells.
    fn free_calls(&self, quote: &Quote) -> u64 {
        let mut wares = self.offering.wares.iter();
        wares
            .find(|ware| ware.capability == quote.capability && ware.model == quote.model)
            .map_or(0, |ware| ware.tiers.free_calls)
    }

    async fn give_again(&self, gift: &Gift) -> Result<Answer, ServiceError> {
        let gone = "it was served before, and the answer is no longer kept";
        let gone = || ServiceError::Unavailable(gone.to_owned());
        let key = AnswerKey::Sold(gift.key());
        let found = self.parts.archive.find_answer(key).await.ok_or_else(gone)?;
        let KeptAnswer { content_type, model, body, usage, receipt, .. } = found;
        let body = body.ok_or_else(gone)?;
        let closing = Closing { usage, response: nothing(gift), receipt };
        Ok(whole(Produced { content_type, model, body, usage, digest: B256::ZERO }, closing))
    }

    /// Says durably what was given: nothing leaves before that.
    async fn meter_gift(&self, gift: &Gift, produced: &Produced) -> Result<(), ServiceError> {
        let Grant { payer, payment, provider, capability, model, .. } = &gift.grant;
        let metered = Metered {
            whose: Whose::Granted { payer: *payer, payment: *payment },
            provider: provider.clone(),
            capability: capability.clone(),
            model: model.clone(),
            usage: produced.usage,
            stored: kept(&gift.quote, &gift.work),
            asset: gift.asset,
            amount: Amount::ZERO,
            transaction: None,
        };
        let executed = self.parts.treasury.execute(Command::Meter(Box::new(metered))).await;
        executed.map(drop).map_err(|refused| ServiceError::Unavailable(refused.to_string()))
    }

    fn free_receipt(&self, gift: &Gift, usage: Usage) -> SignedReceipt {
        self.parts.signer.sign_receipt(Receipt {
            payment: Some(gift.grant.payment),
            provider: gift.grant.provider.clone(),
            resource: self.offering.resource.clone(),
            payer: gift.grant.payer,
            asset: gift.asset,
            amount: Amount::ZERO,
            usage,
            transaction: None,
            issued_at_s: self.parts.clock.now().as_secs(),
        })
    }
}

/// What is said of the settlement of a free call: nothing was to be paid, and nothing was.
fn nothing(gift: &Gift) -> SettlementResponse {
    SettlementResponse {
        success: true,
        error_reason: None,
        payer: Some(gift.grant.payer.to_string()),
        transaction: String::new(),
        network: gift.asset.network.to_string(),
        amount: Some(Amount::ZERO.to_string()),
        extra: None,
        extensions: None,
    }
}

/// Whose address it is.
fn peer_id(peer: IpAddr) -> PeerId {
    match network_of(peer) {
        IpAddr::V4(four) => PeerId::of(&[&four.octets()]),
        IpAddr::V6(six) => {
            let octets = six.octets();
            PeerId::of(&[octets.split_at(8).0])
        }
    }
}
