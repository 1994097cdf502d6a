//! One channel, lent to one call.

use std::cmp::Reverse;
use std::time::Duration;

use alloy::primitives::Signature;

use crate::domain::channel::{Ceiling, ChannelId, ChannelTerms, Deposit};
use crate::domain::fault::{Class, Fault};
use crate::domain::id::PaymentId;
use crate::domain::ledger::channel::{ChannelCommand, Charge, DrawAsk, Frozen, Opened};
use crate::domain::ledger::command::HoldAsk;
use crate::domain::ledger::{Command, Rejection};
use crate::domain::money::{Amount, Nano};
use crate::domain::time::Timestamp;
use crate::domain::x402::batch::check::nonce_of;
use crate::domain::x402::batch::read::DepositWord;
use crate::domain::x402::batch::typed::id_of;
use crate::ports::holds::NotSignable;
use crate::ports::signer::SignerError;
use crate::runtime::channels::{Keeper, POOL_MAX, PoolKey, Slot};
use crate::runtime::treasury::{Done, Refused};

/// Why no channel was lent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotLent {
    /// Every channel of the pool was busy for as long as a call waits.
    #[error("all channels to the provider are busy")]
    Busy,
    /// The ledger says no: to a channel, or to the deposit that it needs.
    #[error("{0}")]
    Refused(Box<Refused>),
    /// The deposit was not signed.
    #[error(transparent)]
    NotSigned(#[from] SignerError),
}

impl Fault for NotLent {
    fn code(&self) -> &'static str {
        match self {
            Self::Busy => "channels.busy",
            Self::Refused(refused) => refused.code(),
            Self::NotSigned(error) => error.code(),
        }
    }

    fn class(&self) -> Class {
        match self {
            Self::Busy => Class::Later,
            Self::Refused(refused) => refused.class(),
            Self::NotSigned(error) => error.class(),
        }
    }
}

impl From<Refused> for NotLent {
    fn from(refused: Refused) -> Self {
        Self::Refused(Box::new(refused))
    }
}

/// What a call needs a channel for.
#[derive(Copy, Clone, Debug)]
pub struct Need {
    /// The call.
    pub payment: PaymentId,
    /// Its worst case.
    pub amount: Amount,
    /// The same in the unit of account.
    pub nano: Nano,
    /// How long an authorization may live by the offer, in seconds.
    pub timeout_s: u64,
    /// The least that a deposit may be by the offer.
    pub deposit_min: Amount,
    /// The policy that allowed it.
    pub policy_version: u32,
}

/// A channel that one call has. Given back by one of its endings; dropped without one, it is lent no
/// more until the process starts again, because nobody knows what the call cost.
pub struct Lease {
    keeper: Keeper,
    key: PoolKey,
    /// The channel's name.
    pub channel: ChannelId,
    /// Its terms.
    pub terms: ChannelTerms,
    last: Option<Charge>,
    room: Amount,
    /// What was signed before it and not charged.
    exposed: Amount,
    filling: bool,
    fills_from: Timestamp,
    /// Nothing more is signed for it.
    ended: bool,
    /// What has to go with the call.
    pub deposit: Option<DepositWord>,
}

impl Keeper {
    /// Lends a channel with room for `amount`; one that has to be opened or topped up first gets a
    /// deposit, durably held and signed, that goes with the call.
    ///
    /// # Errors
    /// [`NotLent`].
    pub async fn lend(&self, key: &PoolKey, need: &Need) -> Result<Lease, NotLent> {
        let until = self.clock.now().after(self.settings.wait_max);
        let mut ended = 0;
        loop {
            let given_back = self.given_back.notified();
            match self.take(key, need) {
                Some(mut lease) => {
                    return match self.ready(&mut lease, need).await {
                        Ok(()) => Ok(lease),
                        Err(NotLent::Refused(refused)) if is_filling(&refused) => {
                            lease.give_back_filling();
                            continue;
                        }
                        Err(NotLent::Refused(refused))
                            if has_ended(&refused) && ended < POOL_MAX =>
                        {
                            ended = usize::saturating_add(ended, 1);
                            lease.ended = true;
                            lease.give_back_unused();
                            continue;
                        }
                        Err(error) => {
                            lease.give_back_unused();
                            Err(error)
                        }
                    };
                }
                None => tokio::select! {
                    biased;
                    () = given_back => {}
                    () = self.clock.sleep_until(until) => return Err(NotLent::Busy),
                },
            }
        }
    }

    /// The very channel that a payment is drawn on already, to present its voucher again.
    /// `room` is what lies above that voucher.
    pub fn lend_again(
        &self,
        key: &PoolKey,
        (channel, terms): (ChannelId, ChannelTerms),
        room: Amount,
    ) -> Lease {
        let (keeper, key) = (self.clone(), key.clone());
        let (last, deposit, fills_from) = (None, None, Timestamp::ZERO);
        let (exposed, filling, ended) = (Amount::ZERO, false, false);
        Lease {
            keeper,
            key,
            channel,
            terms,
            last,
            room,
            exposed,
            filling,
            fills_from,
            ended,
            deposit,
        }
    }

    /// A free channel with room, the one first that has most signed away and not charged: that is held,
    /// and the next voucher covers it. Else one to top up; else a new one.
    fn take(&self, key: &PoolKey, need: &Need) -> Option<Lease> {
        let now = self.clock.now();
        let mut pools = self.pools.lock().expect("no holder of the pools panics");
        let pool = pools.entry(key.clone()).or_default();
        let free = |slot: &Slot| !slot.lent;
        let fits = |slot: &Slot| free(slot) && slot.room >= need.amount;
        let fitting = pool.iter().enumerate().filter(|(_, slot)| fits(slot));
        let place = fitting
            .max_by_key(|(place, slot)| (slot.exposed, Reverse(*place)))
            .map(|(place, _)| place)
            .or_else(|| pool.iter().position(|slot| free(slot) && slot.fills_from <= now));
        let place = match place {
            Some(place) => place,
            None if pool.len() < self.settings.pool_max.min(POOL_MAX) => {
                let terms = self.new_terms(key, need.payment);
                let (id, room) = (id_of(&terms), Amount::ZERO);
                let fills_from = Timestamp::ZERO;
                pool.push(Slot {
                    id,
                    terms,
                    room,
                    last: None,
                    exposed: Amount::ZERO,
                    lent: false,
                    fills_from,
                    filling: false,
                });
                pool.len().saturating_sub(1)
            }
            None => return None,
        };
        let slot = pool.get_mut(place)?;
        slot.lent = true;
        let (channel, terms, room, filling) = (slot.id, slot.terms, slot.room, slot.filling);
        let exposed = slot.exposed;
        let (last, fills_from, deposit) = (slot.last.take(), slot.fills_from, None);
        let (keeper, key) = (self.clone(), key.clone());
        let ended = false;
        Some(Lease {
            keeper,
            key,
            channel,
            terms,
            last,
            room,
            exposed,
            filling,
            fills_from,
            ended,
            deposit,
        })
    }

    fn new_terms(&self, key: &PoolKey, payment: PaymentId) -> ChannelTerms {
        ChannelTerms {
            asset: key.asset,
            payer: key.payer,
            payer_authorizer: self.signer.authorizer(),
            receiver: key.receiver,
            receiver_authorizer: key.receiver_authorizer,
            withdraw_delay_s: key.withdraw_delay_s,
            salt: self.signer.salt(key.wallet, payment),
        }
    }

    /// Opens and tops up, where that is needed.
    async fn ready(&self, lease: &mut Lease, need: &Need) -> Result<(), NotLent> {
        let channel = lease.channel;
        let opened = Opened {
            id: channel,
            terms: lease.terms,
            wallet: lease.key.wallet,
            role: lease.key.role.clone(),
            provider: lease.key.provider.clone(),
        };
        if lease.room >= need.amount {
            if lease.filling {
                lease.deposit = self.sign_again(channel).await?;
            }
            return Ok(());
        }
        match self.tell(ChannelCommand::Open(Box::new(opened))).await {
            Ok(_) => {}
            Err(refused) if refused.rejection() == Some(&Rejection::Unchanged) => {}
            Err(refused) => return Err(refused.into()),
        }
        let deposit = self.size(lease, need);
        let (caps, policy_version) = (self.settings.caps, need.policy_version);
        self.tell(ChannelCommand::Deposit { channel, deposit, caps, policy_version }).await?;
        lease.filling = true;
        lease.deposit = Some(self.signer.sign_deposit(channel).await?);
        lease.room = lease.room.checked_add(deposit.amount).unwrap_or(lease.room);
        Ok(())
    }

    /// The deposit that is on its way, if it is still: the chain may have shown it meanwhile.
    async fn sign_again(&self, channel: ChannelId) -> Result<Option<DepositWord>, NotLent> {
        match self.signer.sign_deposit(channel).await {
            Ok(word) => Ok(Some(word)),
            Err(SignerError::NotSignable(NotSignable::NoDeposit(_))) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// For so many calls like this one, at least as much as the payee asks for.
    fn size(&self, lease: &Lease, need: &Need) -> Deposit {
        let Need { payment, amount, nano, timeout_s, .. } = *need;
        let calls = self.settings.calls_a_deposit.max(1);
        let wanted = amount.checked_mul(u128::from(calls)).unwrap_or(amount);
        let amount_of = wanted.max(need.deposit_min);
        // The same rate as the call's, rounded up.
        let nano_of =
            u128::from(nano.get()).saturating_mul(amount_of.get()).div_ceil(amount.get().max(1));
        let salt = self.signer.salt(lease.key.wallet, payment);
        Deposit {
            amount: amount_of,
            nano: Nano::new(u64::try_from(nano_of).unwrap_or(u64::MAX)),
            nonce: nonce_of(lease.channel, salt),
            salt,
            valid_before_s: self
                .clock
                .now()
                .as_secs()
                .saturating_add(timeout_s.min(DEPOSIT_LIFE_MAX_S)),
        }
    }

    pub(super) async fn charge(&self, channel: ChannelId, charge: Charge) -> Result<(), Refused> {
        match self.tell(ChannelCommand::Charge { channel, charge }).await {
            // Somebody was faster: a claim on the chain, or the channel's end.
            Ok(_) | Err(Refused::Rejected(_)) => Ok(()),
            Err(stopped) => Err(stopped),
        }
    }

    async fn tell(&self, command: ChannelCommand) -> Result<Done, Refused> {
        self.treasury.execute(Command::Channel(command)).await
    }

    /// A channel that the pool does not know yet was drawn on by an earlier process.
    fn put_back(&self, lease: &Lease, room: Amount, last: Option<Charge>) {
        let Lease { key, channel: id, terms, filling, .. } = lease;
        let back = Slot {
            id: *id,
            terms: *terms,
            room,
            last,
            exposed: lease.exposed,
            lent: false,
            fills_from: lease.fills_from,
            filling: *filling,
        };
        let mut pools = self.pools.lock().expect("no holder of the pools panics");
        let pool = pools.entry(key.clone()).or_default();
        match pool.iter_mut().find(|slot| slot.id == back.id) {
            Some(slot) => *slot = back,
            None => pool.push(back),
        }
        drop(pools);
        self.given_back.notify_one();
    }

    fn take_out(&self, key: &PoolKey, channel: ChannelId) {
        let mut pools = self.pools.lock().expect("no holder of the pools panics");
        if let Some(pool) = pools.get_mut(key) {
            pool.retain(|slot| slot.id != channel);
        }
        drop(pools);
        self.given_back.notify_one();
    }
}

/// How long a channel with a deposit on its way gets no other one.
const FILLING: Duration = Duration::from_secs(2);

/// Whether the ledger said that a deposit is on its way already.
fn is_filling(refused: &Refused) -> bool {
    matches!(refused.rejection(), Some(Rejection::ChannelBusy { .. }))
}

/// Whether the ledger said that the channel is drawn on no more.
fn has_ended(refused: &Refused) -> bool {
    matches!(refused.rejection(), Some(Rejection::ChannelFrozen { .. }))
}

/// Whether another channel may do where this one did not: the chain has shown that it has ended, or
/// that less lies in it.
pub fn is_unfit(refused: &Refused) -> bool {
    has_ended(refused) || matches!(refused.rejection(), Some(Rejection::ChannelEmpty { .. }))
}

/// How long a deposit may take to arrive at most, in seconds, whatever a payee asks for.
const DEPOSIT_LIFE_MAX_S: u64 = 600;

impl Lease {
    /// Holds the call's worst case in its budgets, with what the channel's last call cost.
    ///
    /// # Errors
    /// [`Refused`]; after a rejection nothing changed.
    pub async fn draw(&mut self, ask: HoldAsk) -> Result<Done, Refused> {
        let (channel, last) = (self.channel, self.last);
        let amount = ask.commitment.amount_max;
        let draw = ChannelCommand::Draw(Box::new(DrawAsk { ask, channel, last }));
        let done = self.keeper.tell(draw).await;
        if let Err(refused) = &done {
            self.learn(refused);
        }
        let done = done?;
        self.last = None;
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
        let extend = ChannelCommand::Extend(Box::new(DrawAsk { ask, channel, last }));
        let done = self.keeper.tell(extend).await?;
        self.room = self.room.checked_sub(amount).unwrap_or(Amount::ZERO);
        Ok(done)
    }

    /// What a refusal says of the channel: the chain may have shown meanwhile that less lies there, or
    /// that it has ended.
    fn learn(&mut self, refused: &Refused) {
        match refused.rejection() {
            Some(Rejection::ChannelEmpty { room, .. }) => {
                self.room = *room;
                self.filling = false;
            }
            Some(Rejection::ChannelFrozen { .. }) => self.ended = true,
            _ => {}
        }
    }

    /// The voucher of a payment that was drawn.
    ///
    /// # Errors
    /// [`SignerError`], and then nothing was signed.
    pub async fn sign(&self, payment: PaymentId) -> Result<(Ceiling, Signature), SignerError> {
        self.keeper.signer.sign_voucher(payment).await
    }

    /// Ends it: the call cost so much of the `most` that was held for it. `served` says that the
    /// payee served it, so that what went with it has arrived.
    pub fn charged(mut self, charge: Charge, most: Amount, served: bool) {
        let unused = most.checked_sub(charge.amount).unwrap_or(Amount::ZERO);
        let signed = self.exposed.max(most);
        self.exposed = signed.checked_sub(charge.amount).unwrap_or(Amount::ZERO);
        let room = self.room.checked_add(unused).unwrap_or(self.room);
        self.filling = self.filling && !served;
        self.keeper.put_back(&self, room, Some(charge));
    }

    /// Ends it where nothing was drawn.
    pub fn give_back_unused(self) {
        if self.ended {
            self.keeper.take_out(&self.key, self.channel);
        } else {
            self.keeper.put_back(&self, self.room, self.last);
        }
    }

    fn give_back_filling(mut self) {
        self.fills_from = self.keeper.clock.now().after(FILLING);
        self.give_back_unused();
    }

    /// Ends it where the voucher was never signed.
    pub async fn void(self, payment: PaymentId, most: Amount) {
        let (channel, boot) = (self.channel, self.keeper.treasury.boot());
        let voided = self.keeper.tell(ChannelCommand::Void { channel, payment, boot }).await;
        if voided.is_ok() {
            let room = self.room.checked_add(most).unwrap_or(self.room);
            self.keeper.put_back(&self, room, None);
        } else {
            self.keeper.take_out(&self.key, channel);
        }
    }

    /// Ends the channel with it: nothing more is signed for it.
    pub async fn freeze(self, why: Frozen) {
        let channel = self.channel;
        tracing::error!(%channel, why = why.as_str(), "channel frozen");
        let _ = self.keeper.tell(ChannelCommand::Freeze { channel, why }).await;
        self.keeper.take_out(&self.key, channel);
    }
}
