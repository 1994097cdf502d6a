//! What a way to pay costs in all: the price, its share of the gas, and the capital that lies locked
//! for it. Expected values, the same for everybody who compares: nothing here looks at a chain.

use std::collections::BTreeMap;

use crate::domain::asset::Network;
use crate::domain::commitment::Scheme;
use crate::domain::money::{Amount, Nano};
use crate::domain::quote::{PayBy, PriceTerms};

/// Thousandths of a whole.
const WHOLE: u128 = 1000;

/// Seconds of a year of 365 days, and hundredths of a percent.
const YEAR_S: u128 = 31_536_000;
const BASIS_POINTS: u128 = 10_000;

/// What is expected of ways to pay, to hold them against each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reckoning {
    /// What one settlement by EIP-3009 costs, network by network.
    pub settlements: BTreeMap<Network, Nano>,
    /// The same where the network is not named.
    pub settlement: Nano,
    /// Calls that one deposit is expected to pay.
    pub calls_per_deposit: u64,
    /// What a channel's deposit, its share of claims, and its way back take, in thousandths of one
    /// settlement.
    pub channel_permille: u64,
    /// What a settlement through Permit2 takes, in thousandths of one by EIP-3009.
    pub permit2_permille: u64,
    /// How long a deposit lies, in seconds.
    pub locked_s: u64,
    /// What capital costs a year, in hundredths of a percent.
    pub yearly_basis_points: u64,
    /// What is used of a metered maximum, in thousandths, where a scheme charges what was used.
    pub used_permille: u64,
}

impl Default for Reckoning {
    /// A tenth of a cent a settlement, fifty calls a deposit; a channel's transactions as the demo
    /// measured them (229,000 gas against 66,500); a deposit lies an hour at five percent a year; and a
    /// maximum is used up.
    fn default() -> Self {
        Self {
            settlements: BTreeMap::new(),
            settlement: Nano::new(1_000_000),
            calls_per_deposit: 50,
            channel_permille: 3_500,
            permit2_permille: 1_400,
            locked_s: 3_600,
            yearly_basis_points: 500,
            used_permille: 1_000,
        }
    }
}

/// One way's cost, in its parts.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct WayCost {
    /// What the payee is expected to charge.
    pub price: Nano,
    /// The call's share of transactions.
    pub gas: Nano,
    /// What the capital that lies locked for it would have brought.
    pub capital: Nano,
}

impl WayCost {
    /// All of it.
    pub fn total(&self) -> u128 {
        let parts = [self.price, self.gas, self.capital].map(|part| u128::from(part.get()));
        parts.iter().fold(0, |sum: u128, part| sum.saturating_add(*part))
    }
}

/// A call at its worst case: what is signed for it.
#[derive(Copy, Clone, Debug)]
pub struct WorstCase<'a> {
    /// In atomic units.
    pub amount: Amount,
    /// The same in the unit of account.
    pub nano: Nano,
    /// The terms that it follows from.
    pub terms: &'a PriceTerms,
}

impl Reckoning {
    /// What `way` is expected to cost for a call of this worst case; each part is rounded up once.
    pub fn cost(&self, way: &PayBy, worst: &WorstCase<'_>) -> WayCost {
        let settlement = self.settlements.get(&way.asset.network).unwrap_or(&self.settlement);
        let settlement = u128::from(settlement.get());
        let whole = u128::from(worst.nano.get());
        let used =
            if is_metered(worst.terms) { parts(whole, self.used_permille, WHOLE) } else { whole };
        match way.scheme {
            Scheme::Exact | Scheme::Upto { .. } => {
                let is_exact = matches!(way.scheme, Scheme::Exact);
                let gas = match way.method.is_permit2() {
                    true => parts(settlement, self.permit2_permille, WHOLE),
                    false => settlement,
                };
                let price = if is_exact { whole } else { used };
                WayCost { price: nano(price), gas: nano(gas), capital: Nano::ZERO }
            }
            Scheme::BatchSettlement(offer) => {
                let calls = u128::from(self.calls_per_deposit.max(1));
                // Of a channel's transactions only the deposit goes through Permit2.
                let detour = match way.method.is_permit2() {
                    true => self.permit2_permille.saturating_sub(1_000),
                    false => 0,
                };
                let permille = self.channel_permille.saturating_add(detour);
                let all = parts(settlement, permille, WHOLE);
                // The least deposit at the call's own rate.
                let least = whole.saturating_mul(offer.deposit_min.get());
                let least = least.div_ceil(worst.amount.get().max(1));
                let deposit = whole.saturating_mul(calls).max(least);
                let yearly = deposit.saturating_mul(u128::from(self.yearly_basis_points));
                let locked = yearly.saturating_mul(u128::from(self.locked_s));
                let per_call = YEAR_S.saturating_mul(BASIS_POINTS).saturating_mul(calls);
                WayCost {
                    price: nano(used),
                    gas: nano(all.div_ceil(calls)),
                    capital: nano(locked.div_ceil(per_call)),
                }
            }
        }
    }
}

/// Whether what is used decides the price.
fn is_metered(terms: &PriceTerms) -> bool {
    *terms != PriceTerms { flat: terms.flat, ..PriceTerms::default() }
}

/// `part` of `whole` by `of`, rounded up.
fn parts(whole: u128, part: u64, of: u128) -> u128 {
    whole.saturating_mul(u128::from(part)).div_ceil(of)
}

fn nano(amount: u128) -> Nano {
    Nano::new(u64::try_from(amount).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests;
