//! What a provider asks for: its price, what is free, what grows cheaper, and what it lends.

use crate::domain::asset::AssetInfo;
use crate::domain::money::Amount;
use crate::domain::negotiation::PayeeTerms;
use crate::domain::pricing::{STEPS_MAX, Step, Tiers};
use crate::domain::quote::PriceTerms;
use crate::edge::config::problem::Kind;
use crate::edge::config::provider::{Facts, read_discount, rounds};
use crate::edge::config::reader::{Item, Section};
use crate::runtime::payee::TabCredit;

/// What a provider asks for, in atomic units of its asset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PriceSettings {
    /// List price, floor and how it bargains.
    pub terms: PayeeTerms,
    /// What is free for each payer, and what grows cheaper.
    pub tiers: Tiers,
    /// How the free calls are bounded beside each key's.
    pub free: FreeSettings,
    /// What is served before it is paid, to each payer and in all; `None` serves nothing before.
    pub serve_first: Option<(Amount, Amount)>,
    /// What may be charged above the vouchers of channels; `None` wants a voucher for each call.
    pub credit: Option<TabCredit>,
}

/// How free calls are bounded.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct FreeSettings {
    /// To each payer's key, for life; 0 gives nothing away.
    pub calls: u64,
    /// To all that call from one address, in a day.
    pub peer_per_day: u64,
    /// In all, in a day.
    pub per_day: u64,
    /// Keys that are remembered at most.
    pub payers_max: u64,
}

/// Everything about money in a provider's section but who is paid.
pub(super) fn read_price(
    section: &Section<'_>,
    facts: &Facts<'_, '_>,
    asset: Option<&AssetInfo>,
) -> Option<PriceSettings> {
    let price_item = section.required("price", "price = { call = \"0.001 USD\" }");
    let price = price_item.and_then(|item| read_terms(&item.table()?, facts, asset));
    let floor_item = section.find("floor");
    let floor = match &floor_item {
        Some(item) => item.table().and_then(|table| read_terms(&table, facts, asset)),
        None => price,
    };
    let free = read_free(&section.section("free"));
    let flat = price.map(|terms| terms.flat);
    let tiers = read_tiers(section, facts, asset, flat, free.map_or(0, |free| free.calls));
    let rounds_max = rounds(section, 3);
    let volume_discount = read_discount(&section.section("volume_discount"));
    let serve_first = read_serve_first(&section.section("serve_first"), facts, asset);
    let credit = read_credit(section, facts, asset);
    let (list, floor) = (price?, floor?);
    let (volume_discount, rounds_max) = (volume_discount?, rounds_max?);
    let terms = PayeeTerms { list, floor, volume_discount, rounds_max };
    if let Err(error) = terms.check() {
        let right = "each part of the floor at or below that of `price`";
        return match &floor_item {
            Some(item) => item.wrong(Kind::BadValue, error.to_string(), right),
            None => section.wrong(Kind::BadValue, error.to_string(), right),
        };
    }
    let (serve_first, credit) = (serve_first?, credit?);
    Some(PriceSettings { terms, tiers: tiers?, free: free?, serve_first, credit })
}

/// `free = { calls = 1000, peer_per_day = 1000, per_day = 100_000, payers = 100_000 }`; what bounds the
/// calls of an address, of a day and the keys has defaults.
fn read_free(section: &Section<'_>) -> Option<FreeSettings> {
    let count = |key, default| match section.find(key) {
        Some(item) => item.integer(),
        None => Some(default),
    };
    let calls = match section.is_there() {
        true => section.required("calls", "free = { calls = 1000 }").and_then(|it| it.integer()),
        false => Some(0),
    };
    let (peer_per_day, per_day) = (count("peer_per_day", 1_000), count("per_day", 100_000));
    let payers_max = count("payers", 100_000);
    section.end();
    Some(FreeSettings {
        calls: calls?,
        peer_per_day: peer_per_day?,
        per_day: per_day?,
        payers_max: payers_max?,
    })
}

/// `price = { call = "0.001 USD", output_1k = "0.002 USD", second = "0.01 USD", gb = "0.001 USD" }`.
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
    let (per_gb, per_gb_stored, per_s) = (read("gb"), read("gb_stored"), read("second"));
    table.end();
    Some(PriceTerms {
        flat: flat?,
        per_1k_input: input?,
        per_1k_output: output?,
        per_gb: per_gb?,
        per_gb_stored: per_gb_stored?,
        per_s: per_s?,
    })
}

/// `tiers = [{ after = 11_000, call = "0.00005 USD" }]`, where a call costs `flat` at first and so many
/// are free.
fn read_tiers(
    section: &Section<'_>,
    facts: &Facts<'_, '_>,
    asset: Option<&AssetInfo>,
    flat: Option<Amount>,
    free_calls: u64,
) -> Option<Tiers> {
    let item = section.find("tiers");
    let listed = match &item {
        Some(item) => item.list()?,
        None => Vec::new(),
    };
    let steps = listed.iter().map(|item| {
        let table = item.table()?;
        let right = "{ after = 1000, call = \"0.00005 USD\" }";
        let after = table.required("after", right).and_then(|item| item.integer());
        let call = table.required("call", right).and_then(|it| read_amount(&it, facts, asset));
        table.end();
        Some(Step { after_calls: after?, flat: call? })
    });
    // Every step is read before any is missed, so that every problem is shown.
    let steps: Vec<Option<Step>> = steps.collect();
    let tiers = Tiers { free_calls, steps: steps.into_iter().collect::<Option<_>>()? };
    match (tiers.check(flat?), item) {
        (Ok(()), _) => Some(tiers),
        (Err(error), Some(item)) => {
            let right = format!("at most {STEPS_MAX} steps, each later and cheaper than before");
            item.wrong(Kind::BadValue, error.to_string(), right)
        }
        (Err(error), None) => unreachable!("no steps are always good: {error}"),
    }
}

/// A price in the unit of account as atomic units, where that needs no rounding.
pub(super) fn read_amount(
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

/// `serve_first = { per_payer = "0.05 USD", total = "1 USD" }`. The inner `None` serves nothing first.
fn read_serve_first(
    section: &Section<'_>,
    facts: &Facts<'_, '_>,
    asset: Option<&AssetInfo>,
) -> Option<Option<(Amount, Amount)>> {
    let right = "serve_first = { per_payer = \"0.05 USD\", total = \"1 USD\" }";
    let read = |key| section.required(key, right).and_then(|item| read_amount(&item, facts, asset));
    let (per_payer, total) = (read("per_payer"), read("total"));
    section.end();
    if !section.is_there() {
        return Some(None);
    }
    let (per_payer, total) = (per_payer?, total?);
    if per_payer > total {
        let what = "`per_payer` is above `total`".to_owned();
        return section.wrong(Kind::BadValue, what, "a total of at least one payer's credit");
    }
    Some(Some((per_payer, total)))
}

/// `credit = { per_channel = "0.001 USD", per_payer = "0.01 USD", total = "1 USD" }`, for who takes channels.
/// The inner `None` wants a voucher for each call.
fn read_credit(
    provider: &Section<'_>,
    facts: &Facts<'_, '_>,
    asset: Option<&AssetInfo>,
) -> Option<Option<TabCredit>> {
    let section = provider.section("credit");
    let right =
        "credit = { per_channel = \"0.001 USD\", per_payer = \"0.01 USD\", total = \"1 USD\" }";
    let read = |key| section.required(key, right).and_then(|item| read_amount(&item, facts, asset));
    let (per_channel, per_payer, total) = (read("per_channel"), read("per_payer"), read("total"));
    section.end();
    if !section.is_there() {
        return Some(None);
    }
    let credit = TabCredit { per_channel: per_channel?, per_payer: per_payer?, total: total? };
    if provider.find("withdraw_delay").is_none() {
        let what = "credit is for channels, and none are taken".to_owned();
        return section.wrong(Kind::BadValue, what, "withdraw_delay = \"15m\"");
    }
    let TabCredit { per_channel, per_payer, total } = credit;
    if per_channel.is_zero() || per_channel > per_payer || per_payer > total {
        let what = "a channel's credit is nothing or above a payer's, or that above the total";
        let right = "per_channel up to per_payer, and per_payer up to total";
        return section.wrong(Kind::BadValue, what.to_owned(), right);
    }
    Some(Some(credit))
}
