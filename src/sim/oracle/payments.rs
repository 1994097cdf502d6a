//! The payers' payments, by their events: what each may become, and what must be true when it does.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use alloy::primitives::B256;

use crate::domain::commitment::{AuthorizationKey, Commitment};
use crate::domain::id::{AgentId, PaymentId, RequestId};
use crate::domain::ledger::hold::Held;
use crate::domain::money::Amount;
use crate::ports::rail::NonceState;
use crate::sim::oracle::Look;

/// Where a payment stands by its events.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Held, signable.
    Held,
    /// In doubt.
    Unknown,
    /// Taken on the payee's word.
    Captured,
    /// Taken by the rail's word.
    Settled,
    /// Given back.
    Free,
}

impl Standing {
    /// Whether the money counts as gone.
    pub const fn is_taken(self) -> bool {
        matches!(self, Self::Captured | Self::Settled)
    }
}

pub(super) struct Payment {
    pub held: Arc<Held>,
    pub standing: Standing,
    /// Whether a signature over it was ever made.
    pub signed: bool,
}

/// Every payment that was ever held.
#[derive(Default)]
pub(super) struct Payments {
    all: BTreeMap<PaymentId, Payment>,
    by_key: BTreeMap<AuthorizationKey, PaymentId>,
    live: BTreeMap<(AgentId, RequestId), PaymentId>,
    nonces: BTreeSet<B256>,
    /// How many are neither settled nor given back.
    open: usize,
}

impl Payments {
    pub fn find(&self, payment: PaymentId) -> Option<&Payment> {
        self.all.get(&payment)
    }

    pub fn find_key(&self, key: &AuthorizationKey) -> Option<&Payment> {
        self.by_key.get(key).and_then(|payment| self.all.get(payment))
    }

    pub fn iter(&self) -> impl Iterator<Item = (&PaymentId, &Payment)> {
        self.all.iter()
    }

    pub const fn open(&self) -> usize {
        self.open
    }

    /// I6: a hold is the only live one of its request (a former one ended unpaid, by evidence: see
    /// [`Payments::go`]), and its nonce never came before.
    pub fn hold(&mut self, held: &Arc<Held>, look: &Look<'_>) {
        let request = (held.agent, held.request);
        let former = self.live.insert(request, held.payment);
        let freed = former.and_then(|payment| self.all.get(&payment));
        let alone = freed.is_none_or(|payment| payment.standing == Standing::Free);
        look.check(alone, || format!("I6: {} has two live payments", held.request));
        let fresh = self.nonces.insert(held.commitment.nonce);
        look.check(fresh, || format!("I6: the nonce of {} came before", held.payment));
        self.by_key.insert(held.commitment.key(), held.payment);
        let payment = Payment { held: Arc::clone(held), standing: Standing::Held, signed: false };
        let former = self.all.insert(held.payment, payment);
        look.check(former.is_none(), || format!("I8: {} was held before", held.payment));
        self.open = self.open.saturating_add(1);
    }

    /// I8, I9: a payment goes only these ways: an end is an end, and what is in doubt becomes nothing
    /// else without evidence (which the caller looks at).
    pub fn go(&mut self, payment: PaymentId, from: &[Standing], to: Standing, look: &Look<'_>) {
        let Some(found) = self.all.get_mut(&payment) else {
            look.check(false, || format!("I8: {payment} was never held"));
            return;
        };
        let was = found.standing;
        look.check(from.contains(&was), || format!("I8: {payment} went {was:?} to {to:?}"));
        found.standing = to;
        if matches!(to, Standing::Settled | Standing::Free) {
            self.open = self.open.saturating_sub(1);
        }
    }

    /// I7, I9: what is given back as expired can never settle: its time limit has passed on the
    /// chain itself, and its nonce is not used there.
    pub fn check_over(&self, payment: PaymentId, block_time_s: u64, look: &Look<'_>) {
        let Some(found) = self.all.get(&payment) else { return };
        let commitment = &found.held.commitment;
        let nonce = look.chain.nonce(&commitment.key());
        let unused = !matches!(nonce, NonceState::Used { .. } | NonceState::UsedWithoutTrace);
        let limit_s = commitment.valid_before_s;
        let passed = block_time_s >= limit_s && look.now_s >= block_time_s;
        look.check(unused && passed, || {
            format!("I7: {payment} was given back at block time {block_time_s}, limit {limit_s}, {nonce:?}")
        });
    }

    /// I7, I9: what is given back as cancelled is cancelled on the chain.
    pub fn check_canceled(&self, payment: PaymentId, look: &Look<'_>) {
        let Some(found) = self.all.get(&payment) else { return };
        let nonce = look.chain.nonce(&found.held.commitment.key());
        let canceled = matches!(nonce, NonceState::Canceled { .. });
        look.check(canceled, || format!("I7: {payment} was voided, and the chain says {nonce:?}"));
    }

    /// I7: what is given back as never signed was never signed, by the signer's own record.
    pub fn check_unsigned(&self, payment: PaymentId, look: &Look<'_>) {
        let signed = self.all.get(&payment).is_some_and(|found| found.signed);
        look.check(!signed, || format!("I7: {payment} was voided after it was signed"));
    }

    /// I5: what is taken is what was authorized, and the chain moved just that.
    pub fn check_taken(&self, payment: PaymentId, taken: Amount, look: &Look<'_>) {
        let Some(found) = self.all.get(&payment) else { return };
        let max = found.held.commitment.amount_max;
        look.check(taken == max, || format!("I5: {payment} took {taken} of {max}"));
        let nonce = look.chain.nonce(&found.held.commitment.key());
        let moved = matches!(nonce, NonceState::Used { amount, .. } if amount == taken);
        look.check(moved, || format!("I24: {payment} took {taken}, and the chain says {nonce:?}"));
    }

    /// I4: a signature has a durable hold behind it, of the same fields, that was not given back.
    pub fn sign(&mut self, payment: PaymentId, commitment: &Commitment, look: &Look<'_>) {
        let found = self.all.get_mut(&payment);
        let standing = found.as_ref().map(|found| found.standing);
        let same = found.as_ref().is_some_and(|found| found.held.commitment == *commitment);
        let live = matches!(standing, Some(Standing::Held | Standing::Unknown));
        look.check(same && live, || format!("I4: {payment} was signed while {standing:?}"));
        if let Some(found) = found {
            found.signed = true;
        }
    }
}
