//! What settling is expected to take and to cost, network by network: for people who choose one, and to
//! hold what is measured against. The payer's choice among ways to pay counts by the most it says.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::domain::asset::Network;
use crate::domain::id::Name;
use crate::domain::money::Nano;
use crate::edge::config::known::Known;
use crate::edge::config::money::{Unit, read_span};
use crate::edge::config::problem::Kind;
use crate::edge::config::reader::Section;

/// What is expected of settling on a network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expected {
    /// Which chain, where it is one that can be paid on here.
    pub network: Option<Network>,
    /// How soon a settlement is there at best.
    pub fastest: Duration,
    /// How soon it should be there at worst.
    pub slowest: Duration,
    /// What it costs at least, in the unit of account.
    pub cost_min: Nano,
    /// What it costs at most, in the unit of account.
    pub cost_max: Nano,
}

/// What is taken for granted where a file says nothing: name, milliseconds from and to, and
/// billionths of a dollar from and to. Orders of magnitude, not measured here: `bursar networks` shows
/// what was.
const TABLE: [(&str, u64, u64, u64, u64); 4] = [
    ("base", 2_000, 5_000, 100_000, 1_000_000),
    ("polygon", 2_000, 5_000, 100_000, 1_000_000),
    ("ethereum", 12_000, 12_000, 100_000_000, 1_000_000_000),
    ("solana", 400, 400, 250_000, 250_000),
];

/// The built-in rows in dollars, and those of the file in their places:
/// `[settlement.base] fastest = "2s" slowest = "5s" cost_min = "0.0001 USD" cost_max = "0.001 USD"`.
pub(super) fn read_expected(root: &Section<'_>, money: &Unit<'_>) -> BTreeMap<Name, Expected> {
    let mut table = BTreeMap::new();
    for (name, fastest, slowest, cost_min, cost_max) in TABLE {
        if money.currency != "USD" {
            break;
        }
        let row = Expected {
            network: Known::by_name(name).map(|known| known.network),
            fastest: Duration::from_millis(fastest),
            slowest: Duration::from_millis(slowest),
            cost_min: Nano::new(cost_min),
            cost_max: Nano::new(cost_max),
        };
        table.insert(name.parse().expect("a literal name"), row);
    }
    for (name, section) in root.named("settlement") {
        let row = read_row(&name, &section, money);
        section.end();
        table.extend(row.map(|row| (name, row)));
    }
    table
}

fn read_row(name: &Name, section: &Section<'_>, money: &Unit<'_>) -> Option<Expected> {
    let span = |key, right: &str| section.required(key, right).and_then(|item| read_span(&item));
    let network = match section.find("chain") {
        Some(item) => item.parsed::<Network>("\"eip155:\" and the chain id").map(Some),
        None => Some(Known::by_name(name.as_str()).map(|known| known.network)),
    };
    let (fastest, slowest) = (span("fastest", "fastest = \"2s\""), span("slowest", "\"5s\""));
    let (cost_min, cost_max) =
        (money.required(section, "cost_min"), money.required(section, "cost_max"));
    let (fastest, slowest) = (fastest?, slowest?);
    let (cost_min, cost_max) = (cost_min?, cost_max?);
    if fastest > slowest || cost_min > cost_max {
        let what = format!("settlement {name} has a least that is above its most");
        return section.wrong(Kind::BadValue, what, "fastest up to slowest, cost_min to cost_max");
    }
    Some(Expected { network: network?, fastest, slowest, cost_min, cost_max })
}
