//! How much may be put into a channel.

use crate::domain::channel::Deposit;
use crate::domain::ledger::channel::command::Fund;
use crate::domain::ledger::channel::state::{Channel, Opened, more, share};
use crate::domain::ledger::rejection::Rejection;
use crate::domain::ledger::state::Ledger;
use crate::domain::money::{Amount, Nano};
use crate::domain::time::Timestamp;

impl Ledger {
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
