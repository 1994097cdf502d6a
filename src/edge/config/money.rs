//! Money and spans of time as people write them, read strictly: one spelling, no rounding.

use std::time::Duration;

use crate::domain::money::Nano;
use crate::edge::config::problem::Kind;
use crate::edge::config::reader::{Item, Section};

/// Digits after the point at most: nothing finer than a billionth is counted.
const DECIMALS_MAX: usize = 9;

/// `text` as an amount in `currency`: digits, at most nine decimals, one space, the currency's code.
///
/// # Errors
/// What is wrong with it, in words.
pub fn parse_money(text: &str, currency: &str) -> Result<Nano, String> {
    let Some((number, unit)) = text.split_once(' ') else {
        return Err(format!("`{text}` has no currency"));
    };
    if unit != currency {
        return Err(format!("`{text}` is not in {currency}, the unit of account"));
    }
    let (whole, decimals) = number.split_once('.').unwrap_or((number, "0"));
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let canonical = whole == "0" || !whole.starts_with('0');
    if !digits(whole) || !digits(decimals) || !canonical {
        return Err(format!("`{text}` is not a decimal number and a currency"));
    }
    if decimals.len() > DECIMALS_MAX {
        return Err(format!("`{text}` is finer than a billionth of {currency}"));
    }
    let nanos = format!("{whole}{decimals:0<DECIMALS_MAX$}");
    let nano = nanos.parse().ok().map(Nano::new).filter(|nano| *nano <= Nano::MAX);
    nano.ok_or_else(|| format!("`{text}` is above {} {currency}, the largest cap", Nano::MAX))
}

/// `text` as a span of time: a whole number and one of `ms s m h d`.
///
/// # Errors
/// What is wrong with it, in words.
pub fn parse_span(text: &str) -> Result<Duration, String> {
    let at = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at_checked(at).unwrap_or(("", text));
    let wrong = || format!("`{text}` is not a span of time");
    let number: u64 = number.parse().map_err(|_| wrong())?;
    let millis = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err(wrong()),
    };
    number.checked_mul(millis).map(Duration::from_millis).ok_or_else(wrong)
}

/// The unit of account that every amount of a file is in.
#[derive(Copy, Clone)]
pub(super) struct Unit<'c> {
    pub currency: &'c str,
}

impl Unit<'_> {
    /// An amount.
    pub fn read(&self, item: &Item<'_>) -> Option<Nano> {
        let right = format!("an amount such as \"0.05 {}\"", self.currency);
        let text = item.text()?;
        parse_money(text, self.currency)
            .map_err(|what| item.wrong::<()>(Kind::BadValue, what, right))
            .ok()
    }

    /// The amount under `key`, where there is one.
    pub fn find(&self, section: &Section<'_>, key: &'static str) -> Option<Nano> {
        self.read(&section.find(key)?)
    }

    /// The amount under `key`, or a problem.
    pub fn required(&self, section: &Section<'_>, key: &'static str) -> Option<Nano> {
        let right = format!("{key} = \"0.05 {}\"", self.currency);
        self.read(&section.required(key, &right)?)
    }
}

/// A span of time.
pub(super) fn read_span(item: &Item<'_>) -> Option<Duration> {
    let right = "a whole number and a unit: \"500ms\", \"30s\", \"15m\", \"1h\", \"30d\"";
    let text = item.text()?;
    parse_span(text).map_err(|what| item.wrong::<()>(Kind::BadValue, what, right)).ok()
}

/// A span of time from `least` to `most`, and the default where there is none.
pub(super) fn span_within(
    section: &Section<'_>,
    key: &'static str,
    default: Duration,
    bounds: (Duration, Duration),
) -> Duration {
    let read = || {
        let item = section.find(key)?;
        let span = read_span(&item)?;
        if (bounds.0..=bounds.1).contains(&span) {
            return Some(span);
        }
        let what = format!("`{}` is {span:?}", item.path());
        item.wrong(Kind::BadValue, what, format!("a span from {:?} to {:?}", bounds.0, bounds.1))
    };
    read().unwrap_or(default)
}
