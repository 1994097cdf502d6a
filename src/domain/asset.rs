//! Networks and assets by their CAIP names, and the pinned registry of what may be paid with.

use std::fmt;
use std::str::FromStr;

use alloy::primitives::Address;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::domain::money::{Amount, Nano, Rate};

/// A network, named by CAIP-2.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Network {
    /// An EVM chain by its chain id: `eip155:8453`.
    Eip155(u64),
}

impl Network {
    /// The sandbox's default chain.
    pub const SANDBOX: Self = Self::Eip155(31_337);

    /// The EVM chain id.
    pub const fn chain_id(self) -> u64 {
        match self {
            Self::Eip155(id) => id,
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Eip155(id) => f.pad(&format!("eip155:{id}")),
        }
    }
}

/// Why a text names no network.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a CAIP-2 network: expected eip155:<chain id> without leading zeros")]
pub struct NetworkError(pub String);

impl FromStr for Network {
    type Err = NetworkError;

    /// Reads one spelling only: `eip155:` and a decimal chain id without leading zeros.
    ///
    /// # Errors
    /// [`NetworkError`] for anything else. Source: CAIP-2; x402 v2 section 11.1.
    fn from_str(text: &str) -> Result<Self, NetworkError> {
        let wrong = || NetworkError(text.chars().take(64).collect());
        let id = text.strip_prefix("eip155:").ok_or_else(wrong)?;
        let canonical = id.starts_with(|c: char| c.is_ascii_digit() && c != '0')
            && id.bytes().all(|b| b.is_ascii_digit());
        if canonical { id.parse().map(Self::Eip155).map_err(|_| wrong()) } else { Err(wrong()) }
    }
}

impl Serialize for Network {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.collect_str(self)
        } else {
            self.chain_id().serialize(serializer)
        }
    }
}

impl<'de> Deserialize<'de> for Network {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
        } else {
            u64::deserialize(deserializer).map(Self::Eip155)
        }
    }
}

/// One token on one network. Shown as CAIP-19: `eip155:8453/erc20:0x…`.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Asset {
    /// Where it lives.
    pub network: Network,
    /// The token contract.
    pub contract: Address,
}

impl fmt::Display for Asset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/erc20:{}", self.network, self.contract)
    }
}

/// What is pinned about an asset: nothing of it is ever taken from a counterparty.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AssetInfo {
    /// The asset.
    pub asset: Asset,
    /// For people and configuration: `USDC`.
    pub symbol: String,
    /// Decimals between atomic units and the symbol's unit.
    pub decimals: u8,
    /// The token's own EIP-712 domain name; empty where it has no domain, so that only Permit2 moves it,
    /// by the holder's own approval.
    pub eip712_name: String,
    /// The token's own EIP-712 domain version.
    pub eip712_version: String,
    /// How it counts in budgets.
    pub rate: Rate,
}

impl AssetInfo {
    /// Whether messages may be signed for the token itself.
    pub const fn has_domain(&self) -> bool {
        !self.eip712_name.is_empty()
    }
}

/// The assets that may be paid with. An asset that is not here is refused.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AssetRegistry(Vec<AssetInfo>);

impl AssetRegistry {
    /// A registry of `assets`; a later entry for the same asset replaces the earlier.
    pub fn new(assets: impl IntoIterator<Item = AssetInfo>) -> Self {
        let mut kept: Vec<AssetInfo> = Vec::new();
        for info in assets {
            kept.retain(|other| other.asset != info.asset);
            kept.push(info);
        }
        Self(kept)
    }

    /// What is pinned about `asset`.
    pub fn find(&self, asset: Asset) -> Option<&AssetInfo> {
        self.0.iter().find(|info| info.asset == asset)
    }

    /// What `amount` of `asset` counts in budgets, rounded up; `None` for an unknown asset or overflow.
    pub fn to_nano(&self, asset: Asset, amount: Amount) -> Option<Nano> {
        self.find(asset)?.rate.to_nano(amount)
    }

    /// All assets, in the order of the configuration.
    pub fn iter(&self) -> impl Iterator<Item = &AssetInfo> {
        self.0.iter()
    }
}

#[cfg(test)]
mod tests;
