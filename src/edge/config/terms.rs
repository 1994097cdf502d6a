//! What a provider asks for: its price, what is free, and what grows cheaper.

use crate::domain::asset::AssetInfo;
use crate::domain::money::Amount;
use crate::domain::pricing::{STEPS_MAX, Step, Tiers};
use crate::domain::quote::PriceTerms;
use crate::edge::config::problem::Kind;
use crate::edge::config::provider::Facts;
use crate::edge::config::reader::{Item, Section};

/// `price = { call = "0.001 USD", output_1k = "0.002 USD", second = "0.01 USD", gb = "0.001 USD" }`.
pub(super) fn read_terms(
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
pub(super) fn read_tiers(
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
#[expect(clippy::option_option, reason = "what could not be read, and what is not there")]
pub(super) fn read_serve_first(
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
