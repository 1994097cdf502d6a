//! What the rail is told: where the node is, which chain it must be, and how patient to be.

use std::time::Duration;

use alloy::primitives::B256;

use crate::domain::asset::{AssetInfo, Network};

/// When a block counts as final.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Finality {
    /// When the node says so: its `finalized` block.
    Tag,
    /// When so many blocks stand on it; none on the sandbox, where the latest is final.
    Depth(u64),
}

/// How to reach a chain and to know it.
#[derive(Clone, Debug)]
pub struct EvmConfig {
    /// Which chain it must be.
    pub network: Network,
    /// The node's JSON-RPC, plain HTTP.
    pub url: String,
    /// The hash that block 0 must have. Where none is given, the one found at start must stay.
    pub genesis: Option<B256>,
    /// Which block evidence is read at.
    pub finality: Finality,
    /// What is paid with on this network: each contract is checked at start.
    pub assets: Vec<AssetInfo>,
    /// How long the node may take for one answer.
    pub answer_within: Duration,
}

/// How to settle.
#[derive(Copy, Clone, Debug)]
pub struct SettlerConfig {
    /// How many blocks must stand on a settlement before it is told.
    pub confirmations: u64,
    /// How long a transaction is awaited before its outcome is called unknown.
    pub wait_max: Duration,
    /// The longest pause between two looks for a receipt.
    pub look_max: Duration,
    /// The most that a unit of gas may cost, in wei; settlements wait while it costs more.
    pub fee_wei_max: u128,
    /// An alarm is raised when the gas account pays for fewer settlements than this.
    pub settlements_low: u64,
}

impl Default for SettlerConfig {
    fn default() -> Self {
        Self {
            confirmations: 0,
            wait_max: Duration::from_secs(60),
            look_max: Duration::from_millis(40),
            fee_wei_max: 500_000_000_000,
            settlements_low: 200,
        }
    }
}
