//! Networks, and the assets on them.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use alloy::primitives::{Address, B256};

use crate::domain::asset::{Asset, AssetInfo, AssetRegistry, Network};
use crate::domain::id::Name;
use crate::domain::money::Rate;
use crate::edge::config::known::{Known, KnownToken, SANDBOX_USDC, is_mainnet};
use crate::edge::config::money::{Unit, span_within};
use crate::edge::config::node::{Wallets, endpoint, tcp};
use crate::edge::config::problem::{Kind, nearest};
use crate::edge::config::reader::{Item, Section};

/// Decimals of every USDC.
const USDC_DECIMALS: u8 = 6;

/// Most decimals that an asset may have: its unit still fits a rate.
const DECIMALS_MAX: u64 = 19;

/// A network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NetworkSettings {
    /// A chain of our own: in this process, or in one beside it.
    Sandbox {
        /// Which chain it says it is.
        network: Network,
        /// Where it serves its JSON-RPC.
        listen: SocketAddr,
        /// The JSON-RPC of one that runs elsewhere (`bursar sandbox run`); then none is run here.
        rpc: Option<String>,
        /// The wallet that pays for transactions.
        gas_account: Option<Name>,
    },
    /// An EVM chain over JSON-RPC.
    Evm(EvmSettings),
}

/// How an EVM chain is reached and trusted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EvmSettings {
    /// Which chain it must be.
    pub network: Network,
    /// The node's JSON-RPC.
    pub rpc: String,
    /// The hash that block 0 must have; without it, the one found first must stay.
    pub genesis: Option<B256>,
    /// When a block counts as final.
    pub finality: Finality,
    /// The wallet that pays for transactions; without it nothing can be settled here.
    pub gas_account: Option<Name>,
    /// An alarm is raised when it pays for fewer settlements than this.
    pub settlements_low: u64,
    /// The most that a unit of gas may cost, in gwei.
    pub fee_gwei_max: u64,
    /// How many blocks must stand on a settlement before it is told.
    pub confirmations: u64,
    /// How often a receipt is asked for, once one was long in coming.
    pub poll: Duration,
    /// How long the node may take for one answer.
    pub answer_within: Duration,
}

/// When a block counts as final.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Finality {
    /// When the node says so: its `finalized` block.
    Tag,
    /// When so many blocks stand on it.
    Depth(u64),
}

impl NetworkSettings {
    /// Its CAIP-2 name.
    pub const fn network(&self) -> Network {
        match self {
            Self::Sandbox { network, .. } => *network,
            Self::Evm(evm) => evm.network,
        }
    }

    /// The wallet that pays for transactions.
    pub const fn gas_account(&self) -> Option<&Name> {
        match self {
            Self::Sandbox { gas_account, .. } => gas_account.as_ref(),
            Self::Evm(evm) => evm.gas_account.as_ref(),
        }
    }
}

/// The networks of a file.
pub(super) struct Networks<'t> {
    /// `None` where its section had a problem: the name is known all the same.
    found: BTreeMap<Name, Option<NetworkSettings>>,
    gas_accounts: Vec<(Name, Item<'t>)>,
}

impl Networks<'_> {
    pub fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    pub fn has(&self, network: Network) -> bool {
        self.found.values().flatten().any(|settings| settings.network() == network)
    }

    pub fn into_settings(self) -> BTreeMap<Name, NetworkSettings> {
        self.found.into_iter().filter_map(|(name, settings)| Some((name, settings?))).collect()
    }

    /// The network that the file calls so. `Some(None)` where its own section has a problem, which was
    /// reported there.
    pub fn named(&self, item: &Item<'_>) -> Option<Option<Network>> {
        let text = item.text()?;
        match self.found.iter().find(|(name, _)| name.as_str() == text) {
            Some((_, settings)) => Some(settings.as_ref().map(NetworkSettings::network)),
            None => {
                let right = match nearest(text, self.found.keys().map(Name::as_str)) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => format!("a [network.{text}] section"),
                };
                item.wrong(Kind::UnknownName, format!("no network is called `{text}`"), right)
            }
        }
    }
}

pub(super) fn read_networks<'t>(root: &Section<'t>) -> Networks<'t> {
    let mut networks = Networks { found: BTreeMap::new(), gas_accounts: Vec::new() };
    let mut chains: BTreeMap<Network, Name> = BTreeMap::new();
    for (name, section) in root.named("network") {
        let gas = section.find("gas_account");
        let gas_name = gas.and_then(|item| {
            let name: Name = item.parsed("a wallet's name")?;
            networks.gas_accounts.push((name.clone(), item));
            Some(name)
        });
        let settings = read_network(&name, &section, gas_name);
        section.end();
        if let Some(settings) = &settings
            && let Some(other) = chains.insert(settings.network(), name.clone())
        {
            let what = format!("networks {other} and {name} are both {}", settings.network());
            section.wrong::<()>(Kind::Duplicate, what, "one section for one chain");
        }
        networks.found.insert(name, settings);
    }
    networks
}

fn read_network(name: &Name, section: &Section<'_>, gas: Option<Name>) -> Option<NetworkSettings> {
    let right = "kind = \"sandbox\" or kind = \"evm\"";
    let kind = section.required("kind", right)?;
    match kind.text()? {
        "sandbox" => read_sandbox(section, gas),
        "evm" => read_evm(name, section, gas).map(NetworkSettings::Evm),
        other => kind.wrong(Kind::BadValue, format!("`{other}` is no kind of network"), right),
    }
}

fn read_sandbox(section: &Section<'_>, gas_account: Option<Name>) -> Option<NetworkSettings> {
    let chain = section.find("chain");
    let network = match &chain {
        Some(item) => item.parsed("\"eip155:31337\"")?,
        None => Network::SANDBOX,
    };
    let listen = match section.find("listen") {
        Some(item) => tcp(&item)?,
        None => SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
    };
    let rpc = match section.find("rpc") {
        Some(item) => Some(endpoint(&item)?),
        None => None,
    };
    if let Some(item) = chain.filter(|_| is_mainnet(network)) {
        let what = format!("a sandbox that calls itself {network} could be taken for a mainnet");
        return item.wrong(Kind::Mainnet, what, "\"eip155:31337\"");
    }
    Some(NetworkSettings::Sandbox { network, listen, rpc, gas_account })
}

fn read_evm(name: &Name, section: &Section<'_>, gas_account: Option<Name>) -> Option<EvmSettings> {
    let network = read_chain(name, section);
    let rpc = match section.find("rpc") {
        Some(item) => endpoint(&item),
        None => {
            let what =
                format!("network {name} has no `rpc`: nobody could tell what became of a payment");
            section.wrong(Kind::NoEvidence, what, "rpc = \"http://127.0.0.1:8545\"")
        }
    };
    let genesis = section.find("genesis").map(|item| item.parsed::<B256>("the hash of block 0"));
    let known = network.and_then(Known::by_network);
    let finality = match section.find("finality") {
        Some(item) => read_finality(&item),
        None => Some(known.map_or(Finality::Tag, |known| Finality::Depth(known.depth))),
    };
    let low = section.find("settlements_low").map(|item| item.integer_within(1, 1_000_000));
    let fee = section.find("fee_gwei_max").map(|item| item.integer_within(1, 1_000_000));
    let confirmations = section.find("confirmations").map(|item| item.integer_within(0, 1_000));
    let pace = Duration::from_millis(known.map_or(1_000, |known| known.block_ms));
    let bounds = (Duration::from_millis(10), Duration::from_secs(60));
    let poll = span_within(section, "poll", pace.checked_div(4).unwrap_or(pace), bounds);
    let bounds = (Duration::from_millis(100), Duration::from_secs(60));
    let answer_within = span_within(section, "answer_within", Duration::from_secs(10), bounds);
    let network = check_mainnet(section, network);
    Some(EvmSettings {
        network: network?,
        rpc: rpc?,
        genesis: genesis.map_or(Some(None), |hash| hash.map(Some))?,
        finality: finality?,
        gas_account,
        settlements_low: low.unwrap_or(Some(200))?,
        fee_gwei_max: fee.unwrap_or(Some(500))?,
        confirmations: confirmations.unwrap_or(Some(0))?,
        poll,
        answer_within,
    })
}

/// The chain as written, or as the section's name says where that is a known one. Both must agree.
fn read_chain(name: &Name, section: &Section<'_>) -> Option<Network> {
    let known = Known::by_name(name.as_str());
    let Some(item) = section.find("chain") else {
        return known.map(|known| known.network).or_else(|| {
            let what = format!("network {name} does not say which chain it is");
            let names = Known::ALL.map(|known| known.name).join(", ");
            let right = format!("chain = \"eip155:…\"; without it the name is one of {names}");
            section.wrong(Kind::MissingKey, what, right)
        });
    };
    let network = item.parsed("\"eip155:\" and the chain id")?;
    match known.filter(|known| known.network != network) {
        Some(known) => {
            let what = format!("{name} is {}, not {network}", known.network);
            item.wrong(Kind::BadValue, what, "another name for the section, or its own chain")
        }
        None => Some(network),
    }
}

fn read_finality(item: &Item<'_>) -> Option<Finality> {
    if !item.is_text() {
        return item.integer_within(0, 1_000).map(Finality::Depth);
    }
    match item.text()? {
        "finalized" => Some(Finality::Tag),
        other => {
            let right = "\"finalized\", or how many blocks: 12";
            item.wrong(Kind::BadValue, format!("`{other}` is no finality"), right)
        }
    }
}

fn check_mainnet(section: &Section<'_>, network: Option<Network>) -> Option<Network> {
    let allowed = section.find("allow_mainnet").and_then(|item| item.flag()).unwrap_or(false);
    let network = network?;
    if allowed || !is_mainnet(network) {
        return Some(network);
    }
    let what = format!("{network} is a mainnet: its money is real");
    section.wrong(Kind::Mainnet, what, "allow_mainnet = true, written out")
}

/// The gas accounts must be wallets of the file.
pub(super) fn check_gas_accounts(networks: &Networks<'_>, wallets: &Wallets) {
    for (name, item) in &networks.gas_accounts {
        if !wallets.has(name) {
            let right = match nearest(name.as_str(), wallets.names()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("a [wallet.{name}] section"),
            };
            item.wrong::<()>(Kind::UnknownName, format!("no wallet is called `{name}`"), right);
        }
    }
}

/// The assets that may be paid with: USDC of every known network, and those of the file.
pub(super) fn read_assets(
    root: &Section<'_>,
    money: &Unit<'_>,
    networks: &Networks<'_>,
) -> AssetRegistry {
    let built_in = networks.found.values().flatten().filter_map(usdc);
    // A rate is pinned by the operator; only 1 USDC = 1 USD goes without saying.
    let mut assets: Vec<AssetInfo> = built_in.filter(|_| money.currency == "USD").collect();
    for (name, section) in root.named("asset") {
        assets.extend(read_asset(&name, &section, money, networks));
        section.end();
    }
    let mut kept: Vec<AssetInfo> = AssetRegistry::new(assets).iter().cloned().collect();
    kept.sort_by_key(|info| info.asset);
    AssetRegistry::new(kept)
}

fn usdc(settings: &NetworkSettings) -> Option<AssetInfo> {
    let (contract, eip712_name, eip712_version) = match settings {
        NetworkSettings::Sandbox { .. } => (SANDBOX_USDC, "USDC", "2"),
        NetworkSettings::Evm(evm) => {
            let known = Known::by_network(evm.network)?;
            (known.usdc, known.eip712_name, known.eip712_version)
        }
    };
    Some(AssetInfo {
        asset: Asset { network: settings.network(), contract },
        symbol: "USDC".to_owned(),
        decimals: USDC_DECIMALS,
        eip712_name: eip712_name.to_owned(),
        eip712_version: eip712_version.to_owned(),
        rate: Rate { nano: 1_000_000_000, per: 1_000_000 },
    })
}

fn read_asset(
    name: &Name,
    section: &Section<'_>,
    money: &Unit<'_>,
    networks: &Networks<'_>,
) -> Option<AssetInfo> {
    let network = section
        .required("network", "network = \"NAME\", one of the file's networks")
        .and_then(|item| networks.named(&item));
    let symbol = section.find("symbol").map(|item| item.parsed::<Name>("\"USDC\""));
    let symbol = symbol.unwrap_or_else(|| Some(name.clone()));
    let contract = section.find("contract");
    let known = network.flatten().zip(symbol.as_ref());
    let known = known.and_then(|(network, symbol)| KnownToken::find(network, symbol.as_str()));
    // What is written out is looked up in no table.
    let known = known.filter(|_| contract.is_none());
    let contract = match (contract, known) {
        (Some(item), _) => read_address(&item),
        (None, Some(known)) => Some(known.contract),
        (None, None) => {
            section.required("contract", "contract = \"0x…\"").and_then(|item| read_address(&item))
        }
    };
    let decimals = match known {
        Some(known) => Some(u64::from(known.decimals)),
        None => section
            .required("decimals", "decimals = 6")
            .and_then(|item| item.integer_within(0, DECIMALS_MAX)),
    };
    let (eip712_name, eip712_version) = read_domain(section, known)?;
    let rate = money.required(section, "rate");
    let decimals = u8::try_from(decimals?).ok()?;
    let symbol = symbol?.to_string();
    Some(AssetInfo {
        asset: Asset { network: network??, contract: contract? },
        symbol: known.map_or(symbol, |known| known.symbol.to_owned()),
        decimals,
        eip712_name,
        eip712_version,
        rate: Rate { nano: rate?.get(), per: 10_u64.checked_pow(u32::from(decimals))? },
    })
}

/// The token's own EIP-712 domain; empty for a token that has none, which only Permit2 moves.
fn read_domain(section: &Section<'_>, known: Option<&KnownToken>) -> Option<(String, String)> {
    let domain = section.section("eip712");
    if !domain.is_there() {
        let (name, version) = known.and_then(|known| known.eip712).unwrap_or_default();
        return Some((name.to_owned(), version.to_owned()));
    }
    let text = |key| {
        let item = domain.required(key, "as the contract has it")?;
        match item.text()? {
            "" => item.wrong(Kind::BadValue, "it is empty".to_owned(), "no `eip712` at all"),
            text => Some(text.to_owned()),
        }
    };
    let (name, version) = (text("name"), text("version"));
    domain.end();
    Some((name?, version?))
}

/// An address; where its letters are of both cases, their checksum must hold.
pub(super) fn read_address(item: &Item<'_>) -> Option<Address> {
    let text = item.text()?;
    address(text).map_err(|what| item.wrong::<()>(Kind::BadValue, what, "0x and 40 digits")).ok()
}

pub(super) fn address(text: &str) -> Result<Address, String> {
    let wrong = || format!("`{text}` is not an address");
    let digits = text.strip_prefix("0x").ok_or_else(wrong)?;
    let address: Address = text.parse().map_err(|_| wrong())?;
    let lower = !digits.bytes().any(|b| b.is_ascii_uppercase());
    let upper = !digits.bytes().any(|b| b.is_ascii_lowercase());
    if lower || upper || address.to_checksum(None) == text {
        Ok(address)
    } else {
        Err(format!("`{text}` has a typing error: its checksum does not hold"))
    }
}
