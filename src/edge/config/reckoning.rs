//! `[ways]`: what is expected of the ways to pay, so that the cheapest in all is taken.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::domain::id::Name;
use crate::domain::negotiation::Reckoning;
use crate::edge::config::checked::ChannelSettings;
use crate::edge::config::money::{Unit, span_within};
use crate::edge::config::reader::Section;
use crate::edge::config::settlement::Expected;

/// The most of any share, in thousandths: a hundred settlements.
const PERMILLE_MAX: u64 = 100_000;

/// The most that capital may cost a year, in hundredths of a percent: as much again.
const BASIS_POINTS_MAX: u64 = 10_000;

/// How long a deposit may be expected to lie.
const LOCKED: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(366 * 24 * 3600));

/// Every key has a default: `settlement = "0.001 USD"` on networks that no `[settlement.NAME]` tells of
/// (elsewhere its `cost_max`), `channel = 3500` and `permit2 = 1400` in thousandths of one settlement,
/// `locked_for = "1h"`, `capital = 500` in hundredths of a percent a year, `used = 1000` thousandths of a
/// metered maximum. The calls of a deposit are those of `[channels]`.
pub(super) fn read(
    section: &Section<'_>,
    money: &Unit<'_>,
    expected: &BTreeMap<Name, Expected>,
    channels: Option<&ChannelSettings>,
) -> Option<Reckoning> {
    let usual = Reckoning::default();
    let settlement = section.find("settlement").map(|item| money.read(&item));
    let within = |key, most, usual| match section.find(key) {
        Some(item) => item.integer_within(0, most),
        None => Some(usual),
    };
    let channel_permille = within("channel", PERMILLE_MAX, usual.channel_permille);
    let permit2_permille = within("permit2", PERMILLE_MAX, usual.permit2_permille);
    let yearly_basis_points = within("capital", BASIS_POINTS_MAX, usual.yearly_basis_points);
    let used_permille = within("used", 1_000, usual.used_permille);
    let locked = span_within(section, "locked_for", Duration::from_secs(usual.locked_s), LOCKED);
    section.end();
    let known = expected.values().filter_map(|row| Some((row.network?, row.cost_max)));
    Some(Reckoning {
        settlements: known.collect(),
        settlement: settlement.unwrap_or(Some(usual.settlement))?,
        calls_per_deposit: channels.map_or(usual.calls_per_deposit, |all| all.calls_per_deposit),
        channel_permille: channel_permille?,
        permit2_permille: permit2_permille?,
        locked_s: locked.as_secs(),
        yearly_basis_points: yearly_basis_points?,
        used_permille: used_permille?,
    })
}
