//! Money as integers: atomic units on a rail, nano-units of account in budgets, and the one
//! conversion between them. Never a float, never a bare integer.

use std::fmt;
use std::iter::Sum;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::domain::asset::Asset;

/// An amount in atomic units of one asset, the only form in which money is computed on a rail.
// Packed: a wallet has four of them, there are millions of wallets, and sixteen-byte steps waste room.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(Rust, packed(8))]
pub struct Amount(u128);

impl Amount {
    /// Nothing.
    pub const ZERO: Self = Self(0);
    /// The largest amount the ledger accepts: sums of a billion of them still fit in 128 bits.
    pub const MAX: Self = Self(1 << 96);

    /// `units` atomic units; [`Amount::MAX`] bounds what enters the ledger, not this constructor.
    pub const fn new(units: u128) -> Self {
        Self(units)
    }

    /// The number of atomic units.
    pub const fn get(self) -> u128 {
        self.0
    }

    /// Whether this is nothing.
    pub const fn is_zero(self) -> bool {
        self.0 == 0
    }

    /// The sum, unless it overflows.
    pub fn checked_add(self, other: Self) -> Option<Self> {
        self.get().checked_add(other.0).map(Self)
    }

    /// The difference, unless it is below zero.
    pub fn checked_sub(self, other: Self) -> Option<Self> {
        self.get().checked_sub(other.0).map(Self)
    }

    /// The product, unless it overflows.
    pub fn checked_mul(self, factor: u128) -> Option<Self> {
        self.get().checked_mul(factor).map(Self)
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.get(), f)
    }
}

/// Why a text is not an amount.
#[derive(Copy, Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AmountError {
    /// Only `0` or digits without a leading zero are amounts.
    #[error("an amount is written as 0 or as decimal digits without a leading zero")]
    NotCanonical,
    /// More than [`Amount::MAX`].
    #[error("the amount is above the largest that a ledger accepts (2^96 atomic units)")]
    TooLarge,
}

impl FromStr for Amount {
    type Err = AmountError;

    /// Reads the strict form `0|[1-9][0-9]*`, at most [`Amount::MAX`].
    ///
    /// # Errors
    /// [`AmountError::NotCanonical`] for any other spelling, [`AmountError::TooLarge`] above the bound.
    /// Source: x402 v2 section 5 (amounts are decimal strings of atomic units).
    fn from_str(text: &str) -> Result<Self, AmountError> {
        let digits = text.as_bytes();
        let canonical = match digits {
            [b'0'] => true,
            [b'1'..=b'9', rest @ ..] => rest.iter().all(u8::is_ascii_digit),
            _ => false,
        };
        if !canonical {
            return Err(AmountError::NotCanonical);
        }
        let units: u128 = text.parse().map_err(|_| AmountError::TooLarge)?;
        if units > Self::MAX.0 { Err(AmountError::TooLarge) } else { Ok(Self(units)) }
    }
}

impl Serialize for Amount {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.collect_str(self)
        } else {
            self.get().serialize(serializer)
        }
    }
}

impl<'de> Deserialize<'de> for Amount {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
        } else {
            u128::deserialize(deserializer).map(Self)
        }
    }
}

/// An amount with its asset, for where assets could mix.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Money {
    /// Atomic units of `asset`.
    pub amount: Amount,
    /// What is counted.
    pub asset: Asset,
}

/// An amount in the unit of account of budgets, in billionths (nano-USD by default).
#[derive(
    Copy, Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Nano(u64);

impl Nano {
    /// Nothing.
    pub const ZERO: Self = Self(0);
    /// The largest cap a budget may have: two of them still add without overflow.
    pub const MAX: Self = Self(u64::MAX >> 1);
    /// One unit of account.
    pub const ONE: Self = Self(1_000_000_000);

    /// `nano` billionths of the unit of account.
    pub const fn new(nano: u64) -> Self {
        Self(nano)
    }

    /// The number of billionths.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// Whether this is nothing.
    pub const fn is_zero(self) -> bool {
        self.0 == 0
    }

    /// The sum, unless it is above [`Nano::MAX`].
    pub fn checked_add(self, other: Self) -> Option<Self> {
        self.0.checked_add(other.0).map(Self).filter(|sum| *sum <= Self::MAX)
    }

    /// The difference, unless it is below zero.
    pub fn checked_sub(self, other: Self) -> Option<Self> {
        self.0.checked_sub(other.0).map(Self)
    }

    /// The difference, or nothing where it would be below zero: for showing what is left.
    pub const fn saturating_sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

impl Sum for Nano {
    fn sum<I: Iterator<Item = Self>>(iter: I) -> Self {
        iter.fold(Self::ZERO, |sum, next| Self(sum.0.saturating_add(next.0)))
    }
}

impl fmt::Display for Nano {
    /// Units with up to nine decimals, trailing zeros dropped, at least two kept: `0.05`, `12.00`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = self.0.checked_div(Self::ONE.0).unwrap_or(0);
        let nanos = self.0.checked_rem(Self::ONE.0).unwrap_or(0);
        let digits = format!("{nanos:09}");
        let kept = digits.trim_end_matches('0').len().max(2);
        f.pad(&format!("{units}.{}", digits.get(..kept).unwrap_or("00")))
    }
}

/// How an asset counts in budgets: `nano` billionths of the unit of account for each `per` atomic
/// units. Pinned in the configuration; 1 USDC = 1 USD is `{ nano: 1_000_000_000, per: 1_000_000 }`.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Rate {
    /// Billionths of the unit of account.
    pub nano: u64,
    /// For this many atomic units; never zero in a checked configuration.
    pub per: u64,
}

impl Rate {
    /// What `amount` counts in a budget, rounded up: a budget is never charged too little.
    /// `None` where the result does not fit, or `per` is zero.
    pub fn to_nano(self, amount: Amount) -> Option<Nano> {
        let scaled = amount.get().checked_mul(u128::from(self.nano))?;
        if self.per == 0 {
            return None;
        }
        let nano = scaled.div_ceil(u128::from(self.per));
        u64::try_from(nano).ok().map(Nano).filter(|nano| *nano <= Nano::MAX)
    }

    /// The largest amount that counts at most `nano`, rounded down; `None` where the rate is zero.
    pub fn to_amount(self, nano: Nano) -> Option<Amount> {
        u128::from(nano.get())
            .checked_mul(u128::from(self.per))?
            .checked_div(u128::from(self.nano))
            .map(Amount)
    }
}

#[cfg(test)]
mod tests;
