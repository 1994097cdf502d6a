//! How much may be put into a channel.

use crate::domain::channel::Deposit;
use crate::domain::commitment::TransferMethod;
use crate::domain::ledger::channel::command::Fund;
use crate::domain::ledger::channel::state::{Channel, Opened, more, share};
use crate::domain::ledger::hold::Held;
use crate::domain::ledger::rejection::Rejection;
use crate::domain::ledger::state::Ledger;
use crate::domain::money::{Amount, Nano};
use crate::domain::time::Timestamp;

impl Ledger {
    /// Whether `held` needs a permit at its token that another deposit on its way has, or a later one:
    /// permits are used in their order, so that only the first of two would be good.
    pub(super) fn permits_are_used(&self, found: &Channel, held: &Held) -> bool {
        let nonce = |method| match method {
            TransferMethod::Permit2By(permit) => Some(permit.nonce),
            _ => None,
        };
        let Some(asked) = nonce(held.commitment.method) else { return false };
        let (wallet, asset) = (found.opened.wallet, found.opened.terms.asset);
        self.channels().any(|other| {
            let opened = &other.opened;
            let coming = other.pending.and_then(|coming| nonce(coming.method));
            (opened.wallet, opened.terms.asset) == (wallet, asset)
                && coming.is_some_and(|coming| coming >= asked)
        })
    }

    /// The deposit that `fund` asks for, or a smaller one where there is less room: at least what has to
    /// be. `spendable` is what the budgets of the call could still spend.
    pub(super) fn check_fund(
        &self,
        now: Timestamp,
        found: &Channel,
        fund: &Fund,
        spendable: Nano,
    ) -> Result<Deposit, Rejection> {
        let Opened { id: channel, terms, provider, wallet, .. } = &found.opened;
        if found.pending.is_some() {
            return Err(Rejection::ChannelBusy { channel: *channel });
        }
        let Fund { deposit: wanted, least, caps } = fund;
        let (least, asked) = ((*least).min(wanted.amount), wanted.nano);
        if least.is_zero() || more(found.deposited, wanted.amount) > Amount::MAX {
            return Err(Rejection::AmountOutOfRange { amount: wanted.amount });
        }
        if asked.is_zero() || asked > Nano::MAX {
            return Err(Rejection::NanoOutOfRange { nano: asked });
        }
        if now.as_secs() >= wanted.valid_before_s {
            return Err(Rejection::DepositOver { channel: *channel });
        }
        // Budgets bound what is wanted, and refuse nothing here: the call itself has fitted.
        let mut deposit = within(wanted, spendable, least);
        for (locked, limit) in
            [(self.locked_at(provider), caps.provider), (self.locked(), caps.total)]
        {
            let room = match planted!("channel_cap_ignored") {
                true => Nano::MAX,
                false => limit.saturating_sub(locked),
            };
            deposit = within(&deposit, room, least);
            if deposit.nano > room {
                let (provider, asked) = (provider.clone(), deposit.nano);
                return Err(Rejection::OverChannelCap { provider, locked, limit, asked });
            }
        }
        let wallet = self.wallets.find(*wallet).expect("a channel's wallet is open");
        let (asset, available) = (terms.asset, wallet.available(terms.asset));
        if least > available {
            let (wallet, asked) = (wallet.name.clone(), least);
            return Err(Rejection::InsufficientFunds { wallet, asset, available, asked });
        }
        let amount = deposit.amount.min(available);
        Ok(Deposit { amount, nano: share(deposit.nano, amount, deposit.amount), ..deposit })
    }
}

/// The most of a deposit that counts `room` or less, but `least` of it in any case.
fn within(deposit: &Deposit, room: Nano, least: Amount) -> Deposit {
    let Deposit { amount, nano, .. } = *deposit;
    if nano <= room {
        return *deposit;
    }
    let fits = u128::from(room.get())
        .checked_mul(amount.get())
        .and_then(|product| product.checked_div(u128::from(nano.get())));
    let amount_of = Amount::new(fits.unwrap_or(0)).max(least).min(amount);
    Deposit { amount: amount_of, nano: share(nano, amount_of, amount), ..*deposit }
}
