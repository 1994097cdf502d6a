//! Calls that are paid while they flow: each portion is held anew as a whole before it is signed, what is
//! signed stays near what has arrived, and what is charged only grows. Source: threats.md I1, I4, I10, I11.

use std::sync::Arc;

use crate::domain::channel::Ceiling;
use crate::domain::id::PaymentId;
use crate::domain::ledger::channel::Extended;
use crate::sim::oracle::channels::{Channels, less};
use crate::sim::oracle::{Look, Oracle};
use crate::sim::roles::{AHEAD, FLAT, PER_1K};

impl Oracle {
    /// So many bytes of a call's answer arrived at its payer's.
    pub fn see_arrive(&self, payment: PaymentId, len: usize) {
        self.with(|state, _| state.channels.see_arrive(payment, len));
    }
}

impl Channels {
    fn see_arrive(&mut self, payment: PaymentId, len: usize) {
        if let Some(draw) = self.draws.get_mut(&payment) {
            draw.arrived = draw.arrived.saturating_add(u64::try_from(len).unwrap_or(u64::MAX));
        }
    }

    /// I1, I8: the call is held as a whole: what it held until then, and the portion.
    pub(super) fn extend(&mut self, extended: &Extended, look: &Look<'_>) {
        let Extended { held, channel, ceiling, turns, .. } = extended;
        let payment = held.payment;
        self.turn(*channel, turns, look);
        self.extended = self.extended.saturating_add(1);
        let Some(line) = self.lines.get_mut(channel) else {
            look.check(false, || format!("I8: {channel} was never opened"));
            return;
        };
        let open = line.held.insert(payment, held.commitment.amount_max.get()).unwrap_or(0);
        let Some(draw) = self.draws.get_mut(&payment) else {
            look.check(false, || format!("I8: {payment} was extended, and never drawn"));
            return;
        };
        let portion = less(*ceiling, draw.ceiling);
        let whole = held.commitment.amount_max.get() == open.saturating_add(portion.get());
        look.check(whole && !portion.is_zero(), || format!("I10: {extended:?} over {open}"));
        look.check(draw.released, || format!("I10: {payment} was extended before it was signed"));
        (draw.held, draw.ceiling) = (Arc::clone(held), *ceiling);
    }

    /// I10: of a call that flows no more is signed than has arrived, and what its payer lets itself be ahead.
    pub(super) fn check_ahead(&self, payment: PaymentId, ceiling: &Ceiling, look: &Look<'_>) {
        let Some(draw) = self.draws.get(&payment).filter(|draw| draw.ceiling > draw.first) else {
            return;
        };
        let priced = |tokens: u64| u128::from(tokens).saturating_mul(PER_1K.into()).div_ceil(1000);
        let signed = less(ceiling.amount, draw.base).get();
        let near = priced(draw.arrived).saturating_add(priced(AHEAD.output.0));
        let most = near.saturating_add(FLAT.into());
        look.check(signed <= most, || {
            format!("I10: {signed} is signed of {payment}, and {most} at most arrived or is ahead")
        });
    }
}
