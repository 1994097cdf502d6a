//! What is sold, and how both sides bargain.

use std::collections::BTreeMap;
use std::time::Duration;

use alloy::primitives::{Address, Signature};

use crate::domain::asset::{Asset, AssetInfo, AssetRegistry};
use crate::domain::id::Name;
use crate::domain::money::Amount;
use crate::domain::policy::Rates;
use crate::domain::quote::PriceTerms;
use crate::edge::config::checked::Listen;
use crate::edge::config::money::{Unit, span_within};
use crate::edge::config::network::{Networks, read_address};
use crate::edge::config::node::{Wallets, tcp};
use crate::edge::config::policy::read_rates;
use crate::edge::config::problem::{Kind, nearest};
use crate::edge::config::reader::{Item, Section};

/// Most rounds that either side plays.
const ROUNDS_MAX: u64 = 8;

/// What the rest of the file said.
#[derive(Copy, Clone)]
pub(super) struct Facts<'f, 't> {
    pub money: Unit<'f>,
    pub networks: &'f Networks<'t>,
    pub assets: &'f AssetRegistry,
    pub wallets: &'f Wallets,
}

/// One provider: one model, sold at one price.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProviderSettings {
    /// Where it listens.
    pub listen: Listen,
    /// Which of the built-in engines does the work.
    pub engine: Name,
    /// What kind of work.
    pub capability: Name,
    /// Which model.
    pub model: Name,
    /// The list price, in atomic units of `asset`.
    pub price: PriceTerms,
    /// The lowest price it goes to, nowhere above the list price.
    pub floor: PriceTerms,
    /// How it bargains; `None` takes no counter-offer.
    pub haggling: Option<PayeeHaggling>,
    /// In what it is paid, and on which network.
    pub asset: Asset,
    /// Who is paid.
    pub pay_to: PayTo,
    /// The most input of one call.
    pub input_max: u64,
    /// The most output of one call.
    pub output_max: u64,
    /// Calls that run at once; more are turned away.
    pub concurrency: u32,
    /// How fast each payer may go.
    pub payer_rates: Rates,
    /// How fast each peer address may go.
    pub peer_rates: Rates,
    /// How long a quote holds.
    pub quote_life: Duration,
    /// The longest life of an authorization that it asks for.
    pub authorization_life: Duration,
}

/// Who is paid, and so who delegates to the service key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PayTo {
    /// A wallet of this file: its key signs the delegation.
    Wallet(Name),
    /// An address whose key is elsewhere, with the delegation that it signed.
    Address {
        /// Who is paid.
        address: Address,
        /// Its word for the service key.
        delegation: Signature,
    },
}

/// How a payee answers counter-offers.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct PayeeHaggling {
    /// Counter-offers that are answered; later ones get the last price again.
    pub rounds_max: u8,
    /// The part of the way from list price to floor that goes without a promise, in percent.
    pub discount_percent: u8,
    /// From this many promised calls on it goes the whole way.
    pub volume_min: u32,
    /// From this part of its concurrency on it gives no discount, in percent.
    pub busy_percent: u8,
}

/// How a payer answers quotes.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct PayerHaggling {
    /// The first counter-offer, in percent of the quote.
    pub open_percent: u8,
    /// The last, in percent of the first quote: above it the quote is taken as it is.
    pub accept_percent: u8,
    /// Counter-offers at most.
    pub rounds_max: u8,
    /// Calls that are promised in return.
    pub volume: u32,
}

pub(super) fn read_providers(
    root: &Section<'_>,
    facts: &Facts<'_, '_>,
) -> BTreeMap<Name, ProviderSettings> {
    let mut providers = BTreeMap::new();
    for (name, section) in root.named("provider") {
        let settings = read_provider(&section, facts);
        section.end();
        providers.extend(settings.map(|settings| (name, settings)));
    }
    providers
}

fn read_provider(section: &Section<'_>, facts: &Facts<'_, '_>) -> Option<ProviderSettings> {
    let name = |key, right: &str| {
        section.required(key, right).and_then(|item| item.parsed::<Name>("a name"))
    };
    let listen = section.find("listen").map(|item| tcp(&item));
    let engine = name("engine", "engine = \"scribe\"");
    let capability = name("capability", "capability = \"text.generate\"");
    let model = name("model", "model = \"bursar-lm\"");
    let asset = read_asset(section, facts);
    let price_item = section.required("price", "price = { call = \"0.001 USD\" }");
    let price = price_item.and_then(|item| read_terms(&item.table()?, facts, asset.as_ref()));
    let floor_item = section.find("floor");
    let floor = match &floor_item {
        Some(item) => item.table().and_then(|table| read_terms(&table, facts, asset.as_ref())),
        None => price,
    };
    if let (Some(price), Some(floor), Some(item)) = (price, floor, &floor_item) {
        check_floor(item, price, floor);
    }
    let haggling = section.find("haggling").map(|item| read_payee_haggling(&item.table()?));
    let pay_to = read_pay_to(section, facts);
    let count = |key, default| match section.find(key) {
        Some(item) => item.integer_within(1, u64::from(u32::MAX)),
        None => Some(default),
    };
    let (input_max, output_max) = (count("input_max", 8_192), count("output_max", 1_024));
    let concurrency = count("concurrency", 8).and_then(|number| u32::try_from(number).ok());
    let payer_rates = read_rates(&section.section("payer_rates"), &facts.money);
    let peer_rates = read_rates(&section.section("peer_rates"), &facts.money);
    let bounds = (Duration::from_secs(1), Duration::from_secs(3600));
    let quote_life = span_within(section, "quote_life", Duration::from_secs(60), bounds);
    let bounds = (Duration::from_secs(10), Duration::from_secs(600));
    let life = span_within(section, "authorization_life", Duration::from_secs(60), bounds);
    Some(ProviderSettings {
        listen: Listen::Tcp(listen.unwrap_or(Some(([127, 0, 0, 1], 0).into()))?),
        engine: engine?,
        capability: capability?,
        model: model?,
        price: price?,
        floor: floor?,
        haggling: haggling.map_or(Some(None), |haggling| haggling.map(Some))?,
        asset: asset?.asset,
        pay_to: pay_to?,
        input_max: input_max?,
        output_max: output_max?,
        concurrency: concurrency?,
        payer_rates,
        peer_rates,
        quote_life,
        authorization_life: life,
    })
}

fn read_asset(section: &Section<'_>, facts: &Facts<'_, '_>) -> Option<AssetInfo> {
    let network = section
        .required("network", "network = \"NAME\", one of the file's networks")
        .and_then(|item| facts.networks.named(&item));
    let item = section.find("asset");
    let symbol = item.as_ref().map_or(Some("USDC"), |item| item.text())?;
    let network = network??;
    let of_network = || facts.assets.iter().filter(|info| info.asset.network == network);
    if let Some(info) = of_network().find(|info| info.symbol == symbol) {
        return Some(info.clone());
    }
    let what = format!("no asset on {network} is called `{symbol}`");
    let right = match nearest(symbol, of_network().map(|info| info.symbol.as_str())) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("an [asset.{symbol}] section"),
    };
    match item {
        Some(item) => item.wrong(Kind::UnknownName, what, right),
        None => section.wrong(Kind::UnknownName, what, right),
    }
}

fn read_terms(
    table: &Section<'_>,
    facts: &Facts<'_, '_>,
    asset: Option<&AssetInfo>,
) -> Option<PriceTerms> {
    let read = |key| match table.find(key) {
        Some(item) => read_amount(&item, facts, asset),
        None => Some(Amount::ZERO),
    };
    let (flat, input, output) = (read("call"), read("input_1k"), read("output_1k"));
    table.end();
    Some(PriceTerms { flat: flat?, per_1k_input: input?, per_1k_output: output? })
}

/// A price in the unit of account as atomic units, where that needs no rounding.
fn read_amount(
    item: &Item<'_>,
    facts: &Facts<'_, '_>,
    asset: Option<&AssetInfo>,
) -> Option<Amount> {
    let nano = facts.money.read(item)?;
    let info = asset?;
    let amount = info.rate.to_amount(nano)?;
    if info.rate.to_nano(amount) == Some(nano) {
        return Some(amount);
    }
    let what = format!("{nano} is finer than the smallest unit of {}", info.symbol);
    item.wrong(Kind::BadValue, what, "a price in whole atomic units")
}

fn check_floor(item: &Item<'_>, price: PriceTerms, floor: PriceTerms) {
    let above = floor.flat > price.flat
        || floor.per_1k_input > price.per_1k_input
        || floor.per_1k_output > price.per_1k_output;
    if above {
        let what = "the floor is above the list price".to_owned();
        item.wrong::<()>(Kind::BadValue, what, "each part at or below that of `price`");
    }
}

fn read_pay_to(section: &Section<'_>, facts: &Facts<'_, '_>) -> Option<PayTo> {
    let item = section.required("pay_to", "pay_to = \"wallet/NAME\"")?;
    let delegation = section.find("delegation");
    let text = item.text()?;
    if let Some(name) = text.strip_prefix("wallet/") {
        let name = name.parse::<Name>().ok();
        if let Some(name) = name.filter(|name| facts.wallets.has(name)) {
            return Some(PayTo::Wallet(name));
        }
        let right = "\"wallet/NAME\", one of the file's wallets";
        return item.wrong(Kind::UnknownName, format!("`{text}` is no wallet"), right);
    }
    let address = read_address(&item)?;
    let Some(delegation) = delegation else {
        let what = format!("nothing shows that {address} lets this provider speak for it");
        return item.wrong(Kind::MissingKey, what, "\"wallet/NAME\", or a `delegation` as well");
    };
    let delegation = delegation.parsed::<Signature>("0x and 130 digits")?;
    Some(PayTo::Address { address, delegation })
}

/// The value under `key` from `least` to `most`, or the default.
fn small(section: &Section<'_>, key: &'static str, bounds: (u64, u64), default: u8) -> Option<u8> {
    match section.find(key) {
        Some(item) => {
            item.integer_within(bounds.0, bounds.1).and_then(|number| u8::try_from(number).ok())
        }
        None => Some(default),
    }
}

fn volume(section: &Section<'_>, key: &'static str, default: u32) -> Option<u32> {
    section.find(key).map_or(Some(default), |item| item.count())
}

fn read_payee_haggling(table: &Section<'_>) -> Option<PayeeHaggling> {
    let rounds_max = small(table, "rounds_max", (1, ROUNDS_MAX), 3);
    let discount_percent = small(table, "discount_percent", (0, 100), 50);
    let volume_min = volume(table, "volume_min", 100);
    let busy_percent = small(table, "busy_percent", (0, 100), 75);
    table.end();
    Some(PayeeHaggling {
        rounds_max: rounds_max?,
        discount_percent: discount_percent?,
        volume_min: volume_min?,
        busy_percent: busy_percent?,
    })
}

pub(super) fn read_negotiation(section: &Section<'_>) -> Option<PayerHaggling> {
    let open_percent = small(section, "open_percent", (1, 100), 70);
    let accept_percent = small(section, "accept_percent", (1, 100), 95);
    let rounds_max = small(section, "rounds_max", (1, ROUNDS_MAX), 3);
    let volume = volume(section, "volume", 0);
    section.end();
    if !section.is_there() {
        return None;
    }
    Some(PayerHaggling {
        open_percent: open_percent?,
        accept_percent: accept_percent?,
        rounds_max: rounds_max?,
        volume: volume?,
    })
}
