//! Wallets: what is owned, held and gone, by the rail's and the ledger's word.

use std::ops::Deref;
use std::slice;

use alloy::primitives::Address;
use serde::{Deserialize, Serialize};

use crate::domain::asset::Asset;
use crate::domain::id::{Name, WalletId};
use crate::domain::ledger::table::{Index, Row, Table};
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
    /// In channels or on its way there, and not charged.
    pub locked: Amount,
    /// Up to which final block what entered and left was counted.
    pub up_to: u64,
}

impl Position {
    /// A position of nothing.
    pub(super) const fn new(asset: Asset) -> Self {
        let zero = Amount::ZERO;
        Self { asset, entered: zero, left: zero, paid: zero, held: zero, locked: zero, up_to: 0 }
    }

    /// What the books say is the wallet's, in channels too: entered less left less paid.
    pub fn owned(&self) -> Amount {
        self.entered
            .checked_sub(self.left)
            .and_then(|rest| rest.checked_sub(self.paid))
            .unwrap_or(Amount::ZERO)
    }

    /// What may still be held.
    pub fn available(&self) -> Amount {
        self.owned()
            .checked_sub(self.held)
            .and_then(|rest| rest.checked_sub(self.locked))
            .unwrap_or(Amount::ZERO)
    }
}

/// What a wallet has of each asset, in order of first sight. Nearly every wallet has one, and that one
/// stands in its row.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Vec<Position>", into = "Vec<Position>")]
pub enum Positions {
    /// Nothing was ever seen.
    #[default]
    None,
    /// Of one asset.
    One(Position),
    /// Of several.
    Many(Vec<Position>),
}

impl Positions {
    fn find_mut(&mut self, asset: Asset) -> Option<&mut Position> {
        let all = match self {
            Self::None => &mut [],
            Self::One(position) => slice::from_mut(position),
            Self::Many(positions) => positions.as_mut_slice(),
        };
        all.iter_mut().find(|position| position.asset == asset)
    }

    fn push(&mut self, position: Position) {
        *self = match std::mem::take(self) {
            Self::None => Self::One(position),
            Self::One(first) => Self::Many(vec![first, position]),
            Self::Many(mut positions) => {
                positions.push(position);
                Self::Many(positions)
            }
        };
    }
}

impl Deref for Positions {
    type Target = [Position];

    fn deref(&self) -> &[Position] {
        match self {
            Self::None => &[],
            Self::One(position) => slice::from_ref(position),
            Self::Many(positions) => positions,
        }
    }
}

impl From<Vec<Position>> for Positions {
    fn from(positions: Vec<Position>) -> Self {
        match positions.as_slice() {
            [] => Self::None,
            [position] => Self::One(*position),
            [_, _, ..] => Self::Many(positions),
        }
    }
}

impl From<Positions> for Vec<Position> {
    fn from(positions: Positions) -> Self {
        positions.to_vec()
    }
}

/// A wallet: one key, one address, what it has of each asset.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wallet {
    /// Its name.
    pub name: Name,
    /// Its address on EVM networks.
    pub address: Address,
    /// What it has of each asset.
    pub positions: Positions,
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
        if self.find(asset).is_none() {
            self.positions.push(Position::new(asset));
        }
        self.positions.find_mut(asset).expect("the position was found or just pushed")
    }
}

/// All wallets, by id and by address. None is ever taken away.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Wallets {
    kept: Table<WalletId, Wallet>,
    #[serde(skip)]
    addresses: Index,
}

impl PartialEq for Wallets {
    fn eq(&self, other: &Self) -> bool {
        self.kept == other.kept
    }
}

impl Wallets {
    /// Where a wallet is.
    pub fn find_row(&self, wallet: WalletId) -> Option<Row> {
        self.kept.find_row(&wallet)
    }

    /// The id of the wallet that is there.
    pub fn id_at(&self, row: Row) -> WalletId {
        *self.kept.key_at(row)
    }

    /// The wallet that is there.
    pub fn at(&self, row: Row) -> &Wallet {
        self.kept.at(row)
    }

    /// The wallet that is there, to be changed.
    pub fn at_mut(&mut self, row: Row) -> &mut Wallet {
        self.kept.at_mut(row)
    }

    /// A wallet by its id.
    pub fn find(&self, wallet: WalletId) -> Option<&Wallet> {
        self.kept.find(&wallet)
    }

    /// A wallet by its id, to be changed.
    pub fn find_mut(&mut self, wallet: WalletId) -> Option<&mut Wallet> {
        self.kept.find_mut(&wallet)
    }

    /// The wallet of an address.
    pub fn find_address(&self, address: &Address) -> Option<&Wallet> {
        let row = self.addresses.find(address, |row| &self.kept.at(row).address)?;
        Some(self.kept.at(row))
    }

    /// All wallets, in the order they came.
    pub fn iter(&self) -> impl Iterator<Item = &Wallet> {
        self.kept.iter().map(|(_, wallet)| wallet)
    }

    /// Adds a wallet that owns nothing yet.
    pub fn open(&mut self, name: Name, address: Address) {
        let id = WalletId::named(&name);
        let row = self.kept.add(id, Wallet { name, address, positions: Positions::default() });
        let kept = &self.kept;
        self.addresses.insert(row, |row| &kept.at(row).address);
    }

    /// Makes again what a snapshot does not carry.
    pub fn reindex(&mut self) {
        self.kept.reindex();
        for row in self.kept.numbers() {
            let kept = &self.kept;
            self.addresses.insert(row, |row| &kept.at(row).address);
        }
    }
}
