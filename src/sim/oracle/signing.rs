//! What the payers' signer does, as it does it.

use crate::domain::channel::{Ceiling, ChannelId};
use crate::domain::commitment::Commitment;
use crate::domain::id::{AgentId, PaymentId};
use crate::sim::oracle::{Look, Oracle, State};

impl Oracle {
    /// I4, I21: `payment` was signed just now: a durable hold stands behind it, and nothing that covers
    /// its agent is frozen.
    pub fn sign(&self, payment: PaymentId, commitment: &Commitment) {
        self.with(|state, look| {
            state.payments.sign(payment, commitment, look);
            let held = state.payments.find(payment).map(|found| &found.held);
            state.check_unfrozen(payment, held.map(|held| held.agent), look);
        });
    }

    /// I4, I10, I21: a voucher was signed just now for `payment`.
    pub fn sign_voucher(&self, payment: PaymentId, ceiling: &Ceiling) {
        self.with(|state, look| {
            state.channels.sign(payment, ceiling, look);
            let held = state.channels.find(payment);
            state.check_unfrozen(payment, held.map(|held| held.agent), look);
        });
    }

    /// I10: a voucher was signed just now that asks how a channel stands, or for what is left of it.
    pub fn sign_charged(&self, ceiling: &Ceiling) {
        self.with(|state, look| state.channels.sign_charged(ceiling, look));
    }

    /// I4: a deposit was signed just now.
    pub fn sign_deposit(&self, channel: ChannelId) {
        self.with(|state, look| state.channels.sign_deposit(channel, look));
    }

    /// I4, I21: `payment` may be charged from now on, with no voucher of its own.
    pub fn let_charge(&self, payment: PaymentId, ceiling: &Ceiling) {
        self.with(|state, look| {
            state.channels.let_charge(payment, ceiling, look);
            let held = state.channels.find(payment);
            state.check_unfrozen(payment, held.map(|held| held.agent), look);
        });
    }
}

impl State {
    fn check_unfrozen(&self, payment: PaymentId, agent: Option<AgentId>, look: &Look<'_>) {
        let frozen = agent.and_then(|agent| self.budgets.find_scope(&self.frozen, agent));
        look.check(frozen.is_none(), || format!("I21: {payment} was signed under {frozen:?}"));
    }
}
