//! Wallets: what is owned, held and gone, by the rail's and the ledger's word.

use alloy::primitives::Address;
use serde::{Deserialize, Serialize};

use crate::domain::asset::Asset;
use crate::domain::id::Name;
use crate::domain::money::Amount;

/// What a wallet has of one asset.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// The asset.
    pub asset: Asset,
    /// Entered by no payment of this ledger.
    pub entered: Amount,
    /// Left by no payment of this ledger.
    pub left: Amount,
    /// Captured by payments.
    pub paid: Amount,
    /// Held for payments.
    pub held: Amount,
    /// Up to which final block what entered and left was counted.
    pub up_to: u64,
}

impl Position {
    /// A position of nothing.
    pub(super) const fn new(asset: Asset) -> Self {
        let zero = Amount::ZERO;
        Self { asset, entered: zero, left: zero, paid: zero, held: zero, up_to: 0 }
    }

    /// What the books say is in the wallet: entered less left less paid.
    pub fn owned(&self) -> Amount {
        self.entered
            .checked_sub(self.left)
            .and_then(|rest| rest.checked_sub(self.paid))
            .unwrap_or(Amount::ZERO)
    }

    /// What may still be held.
    pub fn available(&self) -> Amount {
        self.owned().checked_sub(self.held).unwrap_or(Amount::ZERO)
    }
}

/// A wallet: one key, one address, what it has of each asset.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wallet {
    /// Its name.
    pub name: Name,
    /// Its address on EVM networks.
    pub address: Address,
    /// In order of first sight.
    pub positions: Vec<Position>,
}

impl Wallet {
    /// What it has of `asset`.
    pub fn find(&self, asset: Asset) -> Option<&Position> {
        self.positions.iter().find(|position| position.asset == asset)
    }

    /// What may still be held of `asset`.
    pub fn available(&self, asset: Asset) -> Amount {
        self.find(asset).map_or(Amount::ZERO, Position::available)
    }

    pub(super) fn position_mut(&mut self, asset: Asset) -> &mut Position {
        let at = self.positions.iter().position(|position| position.asset == asset);
        let at = at.unwrap_or_else(|| {
            self.positions.push(Position::new(asset));
            self.positions.len().saturating_sub(1)
        });
        self.positions.get_mut(at).expect("the position was found or just pushed")
    }
}
