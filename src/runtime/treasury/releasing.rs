//! What the signer is told, and only of what is durable.
//!
//! A release does not wait for a write that has nothing to do with it: the hold or the channel that it is for
//! became durable before anybody asked. Pauses and ends count from the moment of their decision on, before
//! they are durable: they only ever take away.

use std::collections::HashMap;

use tokio::sync::oneshot;

use crate::domain::asset::Asset;
use crate::domain::channel::{Ceiling, ChannelId, Incoming};
use crate::domain::commitment::Commitment;
use crate::domain::id::{PaymentId, WalletId};
use crate::domain::ledger::Event;
use crate::domain::ledger::agent::Scope;
use crate::domain::ledger::channel::{Channel, ChannelState, Opened};
use crate::domain::ledger::hold::HoldState;
use crate::ports::holds::NotSignable;
use crate::runtime::treasury::TreasuryTask;

/// What the signer asks for.
pub(super) enum Release {
    /// What a hold commits to.
    Hold {
        payment: PaymentId,
        answer: oneshot::Sender<Result<(WalletId, Commitment), NotSignable>>,
    },
    /// The newest voucher of a channel, by its payment.
    Voucher { payment: PaymentId, answer: oneshot::Sender<Result<(Ceiling, Asset), NotSignable>> },
    /// A voucher for what was charged of a channel.
    Charged { channel: ChannelId, answer: oneshot::Sender<Result<(Ceiling, Asset), NotSignable>> },
    /// The deposit that a channel waits for.
    Deposit { channel: ChannelId, answer: oneshot::Sender<Result<(Opened, Incoming), NotSignable>> },
}

/// What can be signed for.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
enum Signable {
    Hold(PaymentId),
    Channel(ChannelId),
}

/// What was decided that could be signed for and is not durable yet, by its newest entry.
#[derive(Default)]
pub(super) struct Unsynced(HashMap<Signable, u64>);

impl Unsynced {
    pub(super) fn note(&mut self, seq: u64, event: &Event) {
        let signable = match event {
            Event::Held(held) => Signable::Hold(held.payment),
            Event::Channel(event) => Signable::Channel(event.channel()),
            _ => return,
        };
        self.0.insert(signable, seq);
    }

    /// All entries up to that one are durable.
    pub(super) fn synced(&mut self, up_to: u64) {
        self.0.retain(|_, seq| *seq > up_to);
    }
}

impl TreasuryTask {
    /// Whether all that is known of what a release is for is durable.
    pub(super) fn is_durable(&self, release: &Release) -> bool {
        let signable = match release {
            Release::Hold { payment, .. } => Some(Signable::Hold(*payment)),
            Release::Voucher { payment, .. } => self
                .ledger
                .find_draw(*payment)
                .map(|(channel, _)| Signable::Channel(channel.opened.id)),
            Release::Charged { channel, .. } | Release::Deposit { channel, .. } => {
                Some(Signable::Channel(*channel))
            }
        };
        planted!("signed_before_durable")
            || signable.is_none_or(|signable| !self.unsynced.0.contains_key(&signable))
    }

    /// Tells the signer. One that has gone away needs no answer.
    pub(super) fn release(&mut self, release: Release) {
        match release {
            Release::Hold { payment, answer } => {
                let _ = answer.send(self.release_hold(payment));
            }
            Release::Voucher { payment, answer } => {
                let _ = answer.send(self.release_voucher(payment));
            }
            Release::Charged { channel, answer } => {
                let _ = answer.send(self.release_charged(channel));
            }
            Release::Deposit { channel, answer } => {
                let _ = answer.send(self.release_deposit(channel));
            }
        }
    }

    /// What a hold commits to, unless it is paused at this instant.
    fn release_hold(&mut self, payment: PaymentId) -> Result<(WalletId, Commitment), NotSignable> {
        let hold = self.ledger.find_hold(payment).ok_or(NotSignable::NoHold(payment))?;
        match hold.state {
            HoldState::Signable | HoldState::Unknown => {}
            HoldState::Captured { .. } => return Err(NotSignable::Ended(payment)),
        }
        let paused = self.ledger.check_signing(hold.held.agent).is_err();
        if paused && !planted!("signed_while_paused") {
            return Err(NotSignable::Paused(payment));
        }
        let released = (hold.held.wallet, hold.held.commitment);
        self.released.insert(payment);
        Ok(released)
    }

    /// The same of a voucher. Only the newest of a channel may be signed, again as often as asked.
    fn release_voucher(&mut self, payment: PaymentId) -> Result<(Ceiling, Asset), NotSignable> {
        let (channel, held) = self.ledger.find_draw(payment).ok_or(NotSignable::NoHold(payment))?;
        let newest = channel.last == Some(payment) || planted!("old_voucher_signed");
        if !newest || channel.state == ChannelState::Closed {
            return Err(NotSignable::Ended(payment));
        }
        if self.ledger.check_signing(held.agent).is_err() {
            return Err(NotSignable::Paused(payment));
        }
        let ceiling = Ceiling { channel: channel.opened.id, amount: channel.last_ceiling };
        let asset = channel.opened.terms.asset;
        self.released.insert(payment);
        Ok((ceiling, asset))
    }

    /// What was charged of a channel: it can be signed for as long as something lies there.
    fn release_charged(&self, id: ChannelId) -> Result<(Ceiling, Asset), NotSignable> {
        let channel = self.ledger.find_channel(id).ok_or(NotSignable::NoChannel(id))?;
        self.check_channel_signing(channel)?;
        Ok((Ceiling { channel: id, amount: channel.charged }, channel.opened.terms.asset))
    }

    fn check_channel_signing(&self, channel: &Channel) -> Result<(), NotSignable> {
        let role = Scope::Role(channel.opened.role.clone());
        if self.ledger.pauses().any(|(scope, _)| *scope == Scope::All || *scope == role) {
            return Err(NotSignable::ChannelPaused(channel.opened.id));
        }
        Ok(())
    }

    /// The same of a deposit.
    fn release_deposit(&self, id: ChannelId) -> Result<(Opened, Incoming), NotSignable> {
        let none = NotSignable::NoDeposit(id);
        let channel = self.ledger.find_channel(id).ok_or(none)?;
        self.check_channel_signing(channel)?;
        let coming = channel.pending.filter(|_| channel.state == ChannelState::Open);
        Ok((channel.opened.clone(), coming.ok_or(none)?))
    }

    pub(super) fn forget_released(&mut self, event: &Event) {
        if let Event::Captured { payment, .. }
        | Event::Voided { payment, .. }
        | Event::Expired { payment, .. } = event
        {
            self.released.remove(payment);
        }
        // Of a portion that is cut the rest is signed for all the same.
        if let Event::Channel(event) = event {
            for turn in event.turns() {
                if turn.ended || planted!("cut_portion_is_unsigned") {
                    self.released.remove(&turn.payment);
                }
            }
        }
    }
}
