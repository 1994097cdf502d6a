//! One channel, lent to one call.

use std::cmp::Reverse;
use std::time::Duration;

use alloy::primitives::{Signature, keccak256};

use crate::domain::channel::{Ceiling, ChannelId, ChannelTerms};
use crate::domain::commitment::TransferMethod;
use crate::domain::id::PaymentId;
use crate::domain::ledger::channel::{
    ChannelCommand, ChannelEvent, Charge, DrawAsk, Frozen, Fund, Opened,
};
use crate::domain::ledger::command::HoldAsk;
use crate::domain::ledger::{Command, Event, Rejection};
use crate::domain::money::Amount;
use crate::domain::time::Timestamp;
use crate::domain::x402::batch::read::DepositWord;
use crate::domain::x402::batch::typed::id_of;
use crate::ports::holds::NotSignable;
use crate::ports::signer::SignerError;
use crate::runtime::channels::need::{Doubtful, Need, NotLent};
use crate::runtime::channels::sizing::Funding;
use crate::runtime::channels::{Doubted, Keeper, POOL_MAX, PoolKey, STALE, Slot, UNKNOWN, is_open};
use crate::runtime::treasury::{Done, Refused};

/// What a call is lent.
pub enum Lent {
    /// A channel that can pay it, once it was drawn on.
    Known(Lease),
    /// A channel of which nobody here knows how it stands: to be found out, and given back.
    Doubted(Doubted),
}

/// A channel that one call has. Given back by one of its endings, or as one in doubt where it is dropped
/// without one.
pub struct Lease {
    pub(super) keeper: Keeper,
    pub(super) key: PoolKey,
    /// The channel's name.
    pub channel: ChannelId,
    /// Its terms.
    pub terms: ChannelTerms,
    last: Option<Charge>,
    pub(super) room: Amount,
    /// What was signed before it and not charged.
    pub(super) exposed: Amount,
    /// For so little or less it is not drawn on: too many calls took less than was signed for.
    pub(super) crowded: Option<Amount>,
    pub(super) filling: bool,
    pub(super) fills_from: Timestamp,
    pub(super) doubts: u32,
    /// What was held for this call.
    drawn: Amount,
    /// Nothing more is signed for it.
    ended: bool,
    /// The call may have been charged already: its voucher is presented again.
    again: bool,
    /// It is being held: a voucher may be allowed any moment.
    drawing: bool,
    /// It was given back, or taken out of its pool.
    is_back: bool,
    pub(super) funding: Option<Funding>,
    /// How a deposit that it needs is moved.
    pub(super) method: TransferMethod,
    /// What has to go with the call, once it was signed.
    pub deposit: Option<DepositWord>,
}

/// Whether a channel can be drawn on.
enum Ready {
    Yes,
    /// The ledger says that it has ended.
    Ended,
}

impl Keeper {
    /// Lends a channel with room for the call, or with a deposit that is held together with it. Where
    /// none is free, one in doubt is lent first, to ask its payee how it stands.
    ///
    /// # Errors
    /// [`NotLent`].
    pub async fn lend(&self, key: &PoolKey, need: &Need) -> Result<Lent, NotLent> {
        let until = self.clock.now().after(self.settings.wait_max);
        let bell = self.bell(key);
        let mut ended = 0_u32;
        loop {
            let came_back = bell.notified();
            match self.take(key, need, ended) {
                Some(mut lease) if lease.doubts > 0 && need.doubtful == Doubtful::Ask => {
                    // The chain may have shown meanwhile that it has ended.
                    if self.find(lease.channel).await?.is_some_and(|found| is_open(&found)) {
                        return Ok(Lent::Doubted(Doubted::new(lease)));
                    }
                    lease.take_out();
                }
                Some(mut lease) => {
                    return match self.ready(&mut lease, need).await {
                        Ok(Ready::Yes) => Ok(Lent::Known(lease)),
                        Ok(Ready::Ended) => {
                            lease.take_out();
                            ended = ended.saturating_add(1);
                            continue;
                        }
                        Err(error) => {
                            lease.give_back_unused();
                            Err(error)
                        }
                    };
                }
                None if self.wait(key, came_back, until).await => {}
                None => return Err(NotLent::Busy),
            }
        }
    }

    /// The very channel that a payment is drawn on already, to present its voucher again; nothing where
    /// another call has it. `room` is what lies above that voucher, `filling` whether a deposit is on its
    /// way.
    pub fn lend_again(
        &self,
        key: &PoolKey,
        (channel, terms): (ChannelId, ChannelTerms),
        (room, filling): (Amount, bool),
    ) -> Option<Lease> {
        let mut pools = self.pools.lock().expect("no holder of the pools panics");
        let slot = pools.get_mut(key).and_then(|pool| pool.iter_mut().find(|it| it.id == channel));
        if let Some(slot) = slot {
            if slot.lent {
                return None;
            }
            slot.lent = true;
        }
        let slot = Slot {
            id: channel,
            terms,
            room,
            last: None,
            exposed: Amount::ZERO,
            crowded: None,
            lent: true,
            doubts: 0,
            fills_from: Timestamp::ZERO,
            used_at: self.clock.now(),
            filling,
        };
        let mut lease = self.lease(key, &slot);
        lease.again = true;
        Some(lease)
    }

    fn lease(&self, key: &PoolKey, slot: &Slot) -> Lease {
        let slot = slot.clone();
        let Slot { id, terms, room, last, exposed, crowded, doubts, fills_from, filling, .. } =
            slot;
        Lease {
            keeper: self.clone(),
            key: key.clone(),
            channel: id,
            terms,
            last,
            room,
            exposed,
            crowded,
            filling,
            fills_from,
            doubts,
            drawn: Amount::ZERO,
            ended: false,
            again: false,
            drawing: false,
            is_back: false,
            funding: None,
            method: TransferMethod::Eip3009,
            deposit: None,
        }
    }

    /// A free channel with room, the one first that has most signed away and not charged: that is held,
    /// and the next voucher covers it. Else one in doubt; else one to top up; else a new one.
    ///
    /// `ended` channels were found to be of no use any more.
    fn take(&self, key: &PoolKey, need: &Need, ended: u32) -> Option<Lease> {
        let now = self.clock.now();
        let mut pools = self.pools.lock().expect("no holder of the pools panics");
        let pool = pools.entry(key.clone()).or_default();
        let trusted = if need.doubtful == Doubtful::Trust { STALE } else { 0 };
        let crowded = |slot: &Slot| slot.crowded.is_some_and(|asked| need.amount <= asked);
        let known = |slot: &Slot| !slot.lent && slot.doubts <= trusted && !crowded(slot);
        let rested = |slot: &Slot| slot.fills_from <= now;
        let asks = need.doubtful == Doubtful::Ask;
        let doubted = |slot: &Slot| asks && !slot.lent && slot.doubts > 0 && rested(slot);
        let fits = |slot: &Slot| known(slot) && slot.room >= need.amount;
        let fitting = pool.iter().enumerate().filter(|(_, slot)| fits(slot));
        let place = fitting
            .max_by_key(|(place, slot)| (slot.exposed, Reverse(*place)))
            .map(|(place, _)| place)
            .or_else(|| pool.iter().position(doubted))
            .or_else(|| pool.iter().position(|slot| known(slot) && rested(slot)));
        let place = match place {
            Some(place) => place,
            None if pool.len() < self.settings.pool_max.min(POOL_MAX) => {
                // What the same call opened before may be lent to another one by now.
                let is_new = |(id, _): &(ChannelId, ChannelTerms)| {
                    planted!("lent_twice") || pool.iter().all(|slot| slot.id != *id)
                };
                let others = (ended..).map(|ended| {
                    let terms = self.new_terms(key, need.payment, ended);
                    (id_of(&terms), terms)
                });
                let (id, terms) = others.take(POOL_MAX.saturating_add(1)).find(is_new)?;
                pool.push(Slot {
                    id,
                    terms,
                    room: Amount::ZERO,
                    last: None,
                    exposed: Amount::ZERO,
                    crowded: None,
                    lent: false,
                    doubts: 0,
                    fills_from: Timestamp::ZERO,
                    used_at: now,
                    filling: false,
                });
                pool.len().saturating_sub(1)
            }
            None => return None,
        };
        let slot = pool.get_mut(place)?;
        slot.lent = true;
        let lease = self.lease(key, slot);
        slot.last = None;
        Some(lease)
    }

    /// The same for the same call again, but for a channel of its that has ended since.
    fn new_terms(&self, key: &PoolKey, payment: PaymentId, ended: u32) -> ChannelTerms {
        let salt = self.signer.salt(key.wallet, payment);
        let others = |ended: u32| keccak256([salt.as_slice(), &ended.to_be_bytes()].concat());
        ChannelTerms {
            asset: key.asset,
            payer: key.payer,
            payer_authorizer: self.signer.authorizer(),
            receiver: key.receiver,
            receiver_authorizer: key.receiver_authorizer,
            withdraw_delay_s: key.withdraw_delay_s,
            salt: if ended == 0 { salt } else { others(ended) },
        }
    }

    /// Makes a new channel known, and sizes the deposit that goes with the call, where one is needed.
    async fn ready(&self, lease: &mut Lease, need: &Need) -> Result<Ready, NotLent> {
        lease.method = need.method;
        if lease.room >= need.amount {
            return Ok(Ready::Yes);
        }
        let opened = Opened {
            id: lease.channel,
            terms: lease.terms,
            wallet: lease.key.wallet,
            role: lease.key.role.clone(),
            provider: lease.key.provider.clone(),
        };
        match self.tell(ChannelCommand::Open(Box::new(opened))).await {
            Ok(_) => {}
            Err(refused) if refused.rejection() == Some(&Rejection::Unchanged) => {
                if !self.find(lease.channel).await?.is_some_and(|found| is_open(&found)) {
                    return Ok(Ready::Ended);
                }
            }
            Err(refused) => return Err(refused.into()),
        }
        lease.funding = Some(self.size(lease, need));
        Ok(Ready::Yes)
    }

    /// The deposit that is on its way, if it is still: the chain may have shown it meanwhile.
    async fn sign_again(&self, channel: ChannelId) -> Result<Option<DepositWord>, SignerError> {
        match self.signer.sign_deposit(channel).await {
            Ok(word) => Ok(Some(word)),
            Err(SignerError::NotSignable(NotSignable::NoDeposit(_))) => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub(super) async fn charge(&self, channel: ChannelId, charge: Charge) -> Result<(), Refused> {
        match self.tell(ChannelCommand::Charge { channel, charge }).await {
            // Somebody was faster: a claim on the chain, or the channel's end.
            Ok(_) | Err(Refused::Rejected(_)) => Ok(()),
            Err(stopped) => Err(stopped),
        }
    }

    pub(super) async fn tell(&self, command: ChannelCommand) -> Result<Done, Refused> {
        self.treasury.execute(Command::Channel(command)).await
    }
}

/// How long a channel with a deposit on its way gets no other one.
const FILLING: Duration = Duration::from_secs(2);

/// Whether another channel may do where this one did not: the chain has shown that it has ended, or
/// that less lies in it; or a deposit is on its way into it, or its last charge is not known.
pub fn is_unfit(refused: &Refused) -> bool {
    matches!(
        refused.rejection(),
        Some(
            Rejection::ChannelFrozen { .. }
                | Rejection::ChannelEmpty { .. }
                | Rejection::ChannelBusy { .. }
                | Rejection::ChannelCrowded { .. }
        )
    )
}

impl Lease {
    /// Holds the call's worst case in its budgets, with what the channel's last call cost, and with the
    /// deposit that it needs: all of it, or nothing.
    ///
    /// # Errors
    /// [`Refused`]; after a rejection nothing changed.
    pub async fn draw(&mut self, ask: HoldAsk) -> Result<Done, Refused> {
        let (channel, last) = (self.channel, self.last);
        let amount = ask.commitment.amount_max;
        let caps = self.keeper.settings.caps;
        let fund = self.funding.take();
        let fund = fund.map(|Funding { wanted, least }| Fund { deposit: wanted, least, caps });
        let funds = fund.is_some();
        let draw = ChannelCommand::Draw(Box::new(DrawAsk { ask, channel, last, fund }));
        self.drawing = true;
        let done = self.keeper.tell(draw).await;
        self.drawing = false;
        if let Err(refused) = &done {
            self.learn(refused, funds);
            self.keeper.freeze_refused(channel, refused).await;
        }
        let done = done?;
        if let Event::Channel(ChannelEvent::Funded(funded)) = &done.event {
            self.room = self.room.checked_add(funded.deposit.amount).unwrap_or(self.room);
            self.filling = true;
        }
        (self.last, self.drawn, self.crowded) = (None, amount, None);
        self.room = self.room.checked_sub(amount).unwrap_or(Amount::ZERO);
        Ok(done)
    }

    /// Holds one more portion of the call that was drawn, in its budgets.
    ///
    /// # Errors
    /// [`Refused`]; after a rejection nothing changed.
    pub async fn extend(&mut self, ask: HoldAsk) -> Result<Done, Refused> {
        let (channel, last) = (self.channel, None);
        let amount = ask.commitment.amount_max;
        let extend = DrawAsk { ask, channel, last, fund: None };
        let extend = ChannelCommand::Extend(Box::new(extend));
        let done = self.keeper.tell(extend).await?;
        self.drawn = self.drawn.checked_add(amount).unwrap_or(self.drawn);
        self.room = self.room.checked_sub(amount).unwrap_or(Amount::ZERO);
        Ok(done)
    }

    /// What a refusal says of the channel: the chain may have shown meanwhile that less lies there, or
    /// that it has ended.
    pub(super) fn learn(&mut self, refused: &Refused, funds: bool) {
        match refused.rejection() {
            Some(Rejection::ChannelEmpty { room, .. }) => {
                self.room = *room;
                self.filling = false;
            }
            Some(Rejection::ChannelBusy { .. }) if funds => {
                self.fills_from = self.keeper.clock.now().after(FILLING);
            }
            Some(Rejection::ChannelBusy { .. }) => self.doubts = self.doubts.max(UNKNOWN),
            Some(Rejection::ChannelCrowded { asked, .. }) => self.crowded = Some(*asked),
            Some(Rejection::ChannelFrozen { .. }) => self.ended = true,
            _ => {}
        }
    }

    /// The voucher of a payment that was drawn, with the deposit that goes with it in
    /// [`Lease::deposit`].
    ///
    /// # Errors
    /// [`SignerError`], and then no voucher was signed.
    pub async fn sign(&mut self, payment: PaymentId) -> Result<(Ceiling, Signature), SignerError> {
        if self.filling {
            self.deposit = self.keeper.sign_again(self.channel).await?;
        }
        self.keeper.signer.sign_voucher(payment).await
    }

    /// Whether anything was held for this call.
    pub(super) const fn is_drawn(&self) -> bool {
        !self.drawn.is_zero()
    }

    /// Whether the call may have been charged before: its voucher is presented again.
    pub const fn is_again(&self) -> bool {
        self.again
    }

    /// Ends it where nobody knows what the call cost: its payee is asked before it is lent again.
    pub fn doubt(mut self) {
        (self.doubts, self.exposed) = (UNKNOWN, self.exposed.max(self.drawn));
        self.fills_from = Timestamp::ZERO;
        self.put_back_doubted();
    }

    pub(super) fn put_back_doubted(mut self) {
        self.put_back(self.room, None);
    }

    pub(super) fn take_out(&mut self) {
        self.is_back = true;
        self.keeper.take_out(&self.key, self.channel);
    }

    fn put_back(&mut self, room: Amount, last: Option<Charge>) {
        self.is_back = true;
        self.keeper.put_back(self, room, last);
    }

    /// Ends it: the call cost so much of the `most` that was held for it. `served` says that the
    /// payee served it, so that what went with it has arrived.
    pub fn charged(mut self, charge: Charge, most: Amount, served: bool) {
        let unused = most.checked_sub(charge.amount).unwrap_or(Amount::ZERO);
        let signed = self.exposed.max(most);
        self.exposed = signed.checked_sub(charge.amount).unwrap_or(Amount::ZERO);
        let room = self.room.checked_add(unused).unwrap_or(self.room);
        self.filling = self.filling && !served;
        // Who refuses may know more of the channel than this ledger: it is not lent on trust again.
        self.doubts = if served || self.doubts == 0 { 0 } else { UNKNOWN };
        self.keeper.burned(&self.key, charge.amount);
        self.put_back(room, Some(charge));
    }

    /// Ends it where nothing was drawn.
    pub fn give_back_unused(mut self) {
        if self.ended {
            self.take_out();
        } else {
            self.put_back(self.room, self.last);
        }
    }

    /// Ends it where the voucher was not signed now; whether it never was, so that what was held for the
    /// call is given back. Where the ledger refuses that, a voucher had left before, or another call draws
    /// on the channel by now: its payee is asked before it is lent again.
    pub async fn void(mut self, payment: PaymentId, most: Amount) -> bool {
        let (channel, boot) = (self.channel, self.keeper.treasury.boot());
        let void = ChannelCommand::Void { channel, payment, boot };
        let voided = self.keeper.tell(void).await.is_ok();
        if voided {
            let room = self.room.checked_add(most).unwrap_or(self.room);
            self.put_back(room, None);
        } else {
            self.doubt();
        }
        voided
    }

    /// Ends the channel with it: nothing more is signed for it.
    pub async fn freeze(mut self, why: Frozen) {
        let channel = self.channel;
        tracing::error!(%channel, why = why.as_str(), "channel frozen");
        let _ = self.keeper.tell(ChannelCommand::Freeze { channel, why }).await;
        self.take_out();
    }
}

impl Drop for Lease {
    /// Whoever had it went away in the midst, as a caller may at any await: the channel comes back all
    /// the same. Where a voucher may have been allowed meanwhile, its payee is asked first.
    fn drop(&mut self) {
        if self.is_back {
            return;
        }
        let untouched = !self.again && !self.drawing && self.drawn.is_zero();
        if !untouched {
            self.doubts = UNKNOWN;
            self.exposed = self.exposed.max(self.drawn);
        }
        let last = self.last.filter(|_| untouched);
        self.put_back(self.room, last);
    }
}
