//! Networks that are known by name, each with its USDC. Facts of public chains, checked at start
//! against the contract's own EIP-712 domain.

use alloy::primitives::{Address, address};

use crate::domain::asset::Network;

/// Where the sandbox's token is, on every sandbox: the first contract of its faucet.
pub const SANDBOX_USDC: Address = address!("0x38A8007C027aC0B8f49bE7CDa4A1c29F4594a168");

/// A network that needs no more than a node's address.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Known {
    /// Its name in configurations.
    pub name: &'static str,
    /// Its CAIP-2 name.
    pub network: Network,
    /// Whether its money is worth something.
    pub mainnet: bool,
    /// Circle's native USDC there, six decimals. Source: Circle, "USDC contract addresses".
    pub usdc: Address,
    /// The token's EIP-712 name; it differs between chains.
    pub eip712_name: &'static str,
    /// The token's EIP-712 version.
    pub eip712_version: &'static str,
    /// How many blocks make a settlement final where nothing else is said.
    pub depth: u64,
    /// Milliseconds between two blocks: how often a receipt is asked for.
    pub block_ms: u64,
}

/// A token that needs no more than a rate.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct KnownToken {
    /// Where it lives.
    pub network: Network,
    /// What it is called.
    pub symbol: &'static str,
    /// Its contract.
    pub contract: Address,
    /// Decimals between its atomic units and its unit.
    pub decimals: u8,
    /// Its EIP-712 name and version, where it takes signed permits (EIP-2612) or authorizations.
    pub eip712: Option<(&'static str, &'static str)>,
}

impl KnownToken {
    /// Every token that is known beside USDC. None of them pays by EIP-3009. Source: the tokens' issuers;
    /// decimals and domain are checked at start against the contract.
    pub const ALL: [Self; 8] = [
        Self::plain(1, "USDT", address!("0xdAC17F958D2ee523a2206206994597C13D831ec7"), 6),
        // Its permits are of another form than EIP-2612.
        Self::plain(1, "DAI", address!("0x6B175474E89094C44Da98b954EedeAC495271d0F"), 18),
        Self::plain(1, "EURS", address!("0xdB25f211AB05b1c97D595516F45794528a807ad8"), 2),
        Self::plain(137, "USDT", address!("0xc2132D05D31c914a87C6611C10748AEb04B58e8F"), 6),
        Self::plain(137, "DAI", address!("0x8f3Cf7ad23Cd3CaDbD9735AFf958023239c6A063"), 18),
        Self::plain(137, "EURS", address!("0xE111178A87A3BFf0c8d18DECBa5798827539Ae99"), 2),
        Self::plain(8453, "USDT", address!("0xfde4C96c8593536E31F229EA8f37b2ADa2699bb2"), 6),
        Self::plain(8453, "DAI", address!("0x50c5725949A6F0c72E6C4a641F24049A917DB0Cb"), 18),
    ];

    const fn plain(chain: u64, symbol: &'static str, contract: Address, decimals: u8) -> Self {
        Self { network: Network::Eip155(chain), symbol, contract, decimals, eip712: None }
    }

    /// What is called `symbol` on `network`, in whichever case.
    pub fn find(network: Network, symbol: &str) -> Option<&'static Self> {
        Self::ALL
            .iter()
            .find(|known| known.network == network && known.symbol.eq_ignore_ascii_case(symbol))
    }
}

impl Known {
    /// Every network that is known.
    pub const ALL: [Self; 4] = [
        Self {
            name: "base",
            network: Network::Eip155(8453),
            mainnet: true,
            usdc: address!("0x833589fCD6eDb6E08f4c7C32D4f71b54bdA02913"),
            eip712_name: "USD Coin",
            eip712_version: "2",
            depth: 10,
            block_ms: 2_000,
        },
        Self {
            name: "base-sepolia",
            network: Network::Eip155(84_532),
            mainnet: false,
            usdc: address!("0x036CbD53842c5426634e7929541eC2318f3dCF7e"),
            eip712_name: "USDC",
            eip712_version: "2",
            depth: 10,
            block_ms: 2_000,
        },
        Self {
            name: "ethereum",
            network: Network::Eip155(1),
            mainnet: true,
            usdc: address!("0xA0b86991c6218b36c1d19D4a2e9Eb0cE3606eB48"),
            eip712_name: "USD Coin",
            eip712_version: "2",
            depth: 12,
            block_ms: 12_000,
        },
        Self {
            name: "polygon",
            network: Network::Eip155(137),
            mainnet: true,
            usdc: address!("0x3c499c542cEF5E3811e1192ce70d8cC03d5c3359"),
            eip712_name: "USD Coin",
            eip712_version: "2",
            depth: 32,
            block_ms: 2_000,
        },
    ];

    /// The network that configurations call `name`.
    pub fn by_name(name: &str) -> Option<&'static Self> {
        Self::ALL.iter().find(|known| known.name == name)
    }

    /// What is known of `network`.
    pub fn by_network(network: Network) -> Option<&'static Self> {
        Self::ALL.iter().find(|known| known.network == network)
    }
}

/// Chains whose money is worth nothing. Every other chain counts as a mainnet: an unknown one may be.
const TEST_CHAINS: [u64; 9] =
    [1_337, 31_337, 84_532, 80_002, 421_614, 43_113, 560_048, 11_155_111, 11_155_420];

/// Whether money on `network` may be worth something.
pub(super) fn is_mainnet(network: Network) -> bool {
    !TEST_CHAINS.contains(&network.chain_id())
}
