//! Price terms and orders in, an amount out. Both sides compute the same amount from the same signed
//! terms; nothing here knows who they are.

mod tiers;

use crate::domain::money::Amount;
use crate::domain::order::{Order, Units, Usage};
use crate::domain::quote::{PriceTerms, Stride};

pub use tiers::{STEPS_MAX, Step, Tiers, TiersError};

/// Prices per token are stated for this many of them, those of time for this many milliseconds.
pub const UNITS_PER_PRICE: u128 = 1000;

/// Prices per byte are stated for this many of them: a gigabyte.
pub const BYTES_PER_PRICE: u128 = 1_000_000_000;

/// How many units that are priced by the billion make one that is priced by the thousand.
const FINER: u128 = BYTES_PER_PRICE / UNITS_PER_PRICE;

/// What one call uses, or may use at most, in everything that is priced.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
struct Measure {
    input: Units,
    output: Units,
    bytes: u64,
    compute_ms: u64,
    stored: u64,
}

/// What `order` costs at its stated maxima, in atomic units: what `exact` charges in full.
///
/// The price is `flat + ceil((input * per_1k_input + output * per_1k_output + compute_ms * per_s) / 1000
/// + (bytes * per_gb + stored * per_gb_stored) / 10^9)`: integers, one rounding, up, at the end. `None`
/// where it does not fit or is above [`Amount::MAX`].
pub fn price(terms: &PriceTerms, order: &Order) -> Option<Amount> {
    let maxima = &order.maxima;
    price_of_measure(
        terms,
        &Measure {
            input: order.input_max,
            output: order.output_max,
            bytes: maxima.bytes,
            compute_ms: maxima.compute_ms,
            stored: maxima.stored,
        },
    )
}

/// What `usage` costs by the same formula, where the payee keeps `stored` bytes: those of the request's
/// body, which both sides count. Never more than the order's price while both stay within the order.
pub fn price_of_usage(terms: &PriceTerms, usage: &Usage, stored: u64) -> Option<Amount> {
    let Usage { input, output, bytes, compute_ms } = *usage;
    price_of_measure(terms, &Measure { input, output, bytes, compute_ms, stored })
}

/// What `stride` of an answer costs, its call and its input aside.
pub fn price_of_stride(terms: &PriceTerms, stride: &Stride) -> Option<Amount> {
    let Stride { output, bytes, compute_ms } = *stride;
    let terms = PriceTerms { flat: Amount::ZERO, ..*terms };
    price_of_measure(&terms, &Measure { output, bytes, compute_ms, ..Measure::default() })
}

/// What the first voucher of a streamed answer has to say at least: the call, its input, and one stride,
/// or all of it where that is less.
pub fn price_of_start(terms: &PriceTerms, order: &Order, stride: &Stride) -> Option<Amount> {
    let maxima = &order.maxima;
    price_of_measure(
        terms,
        &Measure {
            input: order.input_max,
            output: stride.output.min(order.output_max),
            bytes: stride.bytes.min(maxima.bytes),
            compute_ms: stride.compute_ms.min(maxima.compute_ms),
            stored: maxima.stored,
        },
    )
}

fn price_of_measure(terms: &PriceTerms, used: &Measure) -> Option<Amount> {
    let of = |price: Amount, units: u64| price.checked_mul(u128::from(units));
    let sum = |parts: [Option<Amount>; 3]| {
        parts.into_iter().try_fold(Amount::ZERO, |sum, part| sum.checked_add(part?))
    };
    let thousandths = sum([
        of(terms.per_1k_input, used.input.0),
        of(terms.per_1k_output, used.output.0),
        of(terms.per_s, used.compute_ms),
    ])?
    .get();
    let billionths = sum([
        of(terms.per_gb, used.bytes),
        of(terms.per_gb_stored, used.stored),
        Some(Amount::ZERO),
    ])?
    .get();
    // Rounds up: the payee is never short. Whole units first and one rounding for all that is left, so
    // that no call is rounded twice and no sum is larger than it has to be.
    let whole = thousandths
        .checked_div(UNITS_PER_PRICE)?
        .checked_add(billionths.checked_div(BYTES_PER_PRICE)?)?;
    let rest = thousandths
        .checked_rem(UNITS_PER_PRICE)?
        .checked_mul(FINER)?
        .checked_add(billionths.checked_rem(BYTES_PER_PRICE)?)?;
    let metered = Amount::new(whole.checked_add(rest.div_ceil(BYTES_PER_PRICE))?);
    terms.flat.checked_add(metered).filter(|price| *price <= Amount::MAX)
}

/// Whether `terms` are at or below `ceiling` in every part, so that no order costs more by them.
pub fn is_at_most(terms: &PriceTerms, ceiling: &PriceTerms) -> bool {
    terms.parts().into_iter().zip(ceiling.parts()).all(|(part, ceiling)| part <= ceiling)
}

#[cfg(test)]
mod tests;
