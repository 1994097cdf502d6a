//! Price terms and orders in, an amount out. Both sides compute the same amount from the same signed
//! terms; nothing here knows who they are.

use crate::domain::money::Amount;
use crate::domain::order::{Order, Units, Usage};
use crate::domain::quote::PriceTerms;

/// Prices per token are stated for this many of them.
pub const UNITS_PER_PRICE: u128 = 1000;

/// What `order` costs at its stated maxima, in atomic units: what `exact` charges in full.
///
/// The price is `flat + ceil((input * per_1k_input + output * per_1k_output) / 1000)`: integers, one
/// rounding, up, at the end. `None` where it does not fit or is above [`Amount::MAX`].
pub fn price(terms: &PriceTerms, order: &Order) -> Option<Amount> {
    price_of_units(terms, order.input_max, order.output_max)
}

/// What `usage` costs by the same formula. Never more than the order's price while the usage stays
/// within the order.
pub fn price_of_usage(terms: &PriceTerms, usage: &Usage) -> Option<Amount> {
    price_of_units(terms, usage.input, usage.output)
}

/// What so many tokens in and out cost in one call.
pub fn price_of_units(terms: &PriceTerms, input: Units, output: Units) -> Option<Amount> {
    let input = terms.per_1k_input.checked_mul(u128::from(input.0))?;
    let output = terms.per_1k_output.checked_mul(u128::from(output.0))?;
    // Rounds up: the payee is never short. One rounding for both, so that no call is rounded twice.
    let metered = Amount::new(input.checked_add(output)?.get().div_ceil(UNITS_PER_PRICE));
    terms.flat.checked_add(metered).filter(|price| *price <= Amount::MAX)
}

/// Whether `terms` are at or below `ceiling` in every part, so that no order costs more by them.
pub fn is_at_most(terms: &PriceTerms, ceiling: &PriceTerms) -> bool {
    terms.flat <= ceiling.flat
        && terms.per_1k_input <= ceiling.per_1k_input
        && terms.per_1k_output <= ceiling.per_1k_output
}

#[cfg(test)]
mod tests;
