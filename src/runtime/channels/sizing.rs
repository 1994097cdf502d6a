//! How much is put into a channel.

use crate::domain::channel::{Ceiling, Deposit};
use crate::domain::commitment::TransferMethod;
use crate::domain::id::PaymentId;
use crate::domain::money::{Amount, Nano};
use crate::domain::x402::batch::check::nonce_of;
use crate::ports::signer::SignerError;
use crate::runtime::channels::{Keeper, Lease, Need, PoolKey};

/// Calls that a deposit is for at least, at the price of the one that needs it. Source: x402 scheme
/// `batch-settlement`, client rules: a multiplier of 3 or more.
const CALLS_MIN: u64 = 3;

/// How long a deposit may take to arrive at most, in seconds, whatever a payee asks for.
const DEPOSIT_LIFE_MAX_S: u64 = 600;

/// What has to be put in with a call.
#[derive(Copy, Clone, Debug)]
pub(super) struct Funding {
    pub(super) wanted: Deposit,
    pub(super) least: Amount,
}

impl Funding {
    /// The same with at most `most`, but the least that does in any case.
    pub(super) fn cut(&mut self, most: Amount) {
        let Deposit { amount, nano, .. } = self.wanted;
        let cut = most.max(self.least).min(amount);
        self.wanted = Deposit { amount: cut, nano: share(nano, cut, amount), ..self.wanted };
    }
}

/// What `part` of `all` counts, where all of it counts `nano`, rounded up.
fn share(nano: Nano, part: Amount, all: Amount) -> Nano {
    let share = u128::from(nano.get()).saturating_mul(part.get()).div_ceil(all.get().max(1));
    Nano::new(u64::try_from(share).unwrap_or(u64::MAX)).min(nano)
}

impl Lease {
    /// What has to be put in with the call, and the least of it that does, where something has.
    pub fn wanted(&self) -> Option<(Deposit, Amount)> {
        self.funding.as_ref().map(|funding| (funding.wanted, funding.least))
    }

    /// Puts in no more than `most`, which is at least the least that does.
    pub fn put_in_at_most(&mut self, most: Amount) {
        if let Some(funding) = &mut self.funding {
            funding.cut(most);
        }
    }

    /// Whether calls go on credit where the payee gives it.
    pub const fn takes_credit(&self) -> bool {
        self.keeper.settings.credit
    }

    /// Whether a deposit goes with the call.
    pub const fn is_filling(&self) -> bool {
        self.filling
    }

    /// Up to what a call on credit may be charged, by its durable hold.
    ///
    /// # Errors
    /// [`SignerError`], and then it may not go.
    pub async fn let_charge(&self, payment: PaymentId) -> Result<Ceiling, SignerError> {
        self.keeper.signer.let_charge(payment).await
    }

    /// How a deposit that goes with the call is moved.
    pub const fn method(&self) -> TransferMethod {
        self.method
    }

    /// Lets it be moved in this way.
    pub const fn set_method(&mut self, method: TransferMethod) {
        self.method = method;
    }
}

impl Keeper {
    /// By what the pool's channels were charged lately, each its share; before anything was, for so many
    /// calls like this one. At least what the call needs and the payee asks for.
    pub(super) fn size(&self, lease: &Lease, need: &Need) -> Funding {
        let Need { payment, amount, nano, timeout_s, method, .. } = *need;
        let now = self.clock.now();
        let recent = self.burns.lock().expect("no holder of the burns panics");
        let recent = recent.get(&lease.key).map_or(Amount::ZERO, |burn| burn.recent(now));
        let pools = self.pools.lock().expect("no holder of the pools panics");
        let channels = pools.get(&lease.key).map_or(1, Vec::len).max(1);
        drop(pools);
        let share = u128::try_from(channels).ok().and_then(|n| recent.get().checked_div(n));
        let share = Amount::new(share.unwrap_or(0));
        let calls = if recent.is_zero() { self.settings.calls_a_deposit } else { CALLS_MIN };
        let wanted = amount.checked_mul(u128::from(calls.max(1))).unwrap_or(amount).max(share);
        let lacking = amount.checked_sub(lease.room).unwrap_or(Amount::ZERO);
        let least = lacking.max(need.deposit_min);
        let amount_of = wanted.max(least);
        // The same rate as the call's, rounded up.
        let nano_of =
            u128::from(nano.get()).saturating_mul(amount_of.get()).div_ceil(amount.get().max(1));
        let salt = self.signer.salt(lease.key.wallet, payment);
        let wanted = Deposit {
            amount: amount_of,
            nano: Nano::new(u64::try_from(nano_of).unwrap_or(u64::MAX)),
            nonce: if method.is_permit2() { salt } else { nonce_of(lease.channel, salt) },
            salt,
            valid_before_s: now.as_secs().saturating_add(timeout_s.min(DEPOSIT_LIFE_MAX_S)),
        };
        Funding { wanted, least }
    }

    pub(super) fn burned(&self, key: &PoolKey, amount: Amount) {
        let mut burns = self.burns.lock().expect("no holder of the burns panics");
        burns.entry(key.clone()).or_default().add(self.clock.now(), amount);
    }
}
