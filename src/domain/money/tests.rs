//! Amounts are strict, conversions round against the spender.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use super::*;

#[test]
fn c03_only_the_canonical_spelling_is_an_amount() {
    for (text, expected) in [
        ("0", Ok(0)),
        ("1", Ok(1)),
        ("1000000", Ok(1_000_000)),
        ("79228162514264337593543950336", Ok(1 << 96)),
        ("79228162514264337593543950337", Err(AmountError::TooLarge)),
        ("340282366920938463463374607431768211456", Err(AmountError::TooLarge)),
        ("", Err(AmountError::NotCanonical)),
        ("01", Err(AmountError::NotCanonical)),
        ("+1", Err(AmountError::NotCanonical)),
        ("-1", Err(AmountError::NotCanonical)),
        (" 1", Err(AmountError::NotCanonical)),
        ("1e3", Err(AmountError::NotCanonical)),
        ("0x10", Err(AmountError::NotCanonical)),
        ("1.0", Err(AmountError::NotCanonical)),
        ("\u{0661}", Err(AmountError::NotCanonical)),
    ] {
        assert_eq!(text.parse::<Amount>().map(Amount::get), expected, "{text:?}");
    }
}

#[test]
fn c15_conversion_rounds_up_into_budgets_and_down_out_of_them() {
    let usdc = Rate { nano: 1_000_000_000, per: 1_000_000 };
    assert_eq!(usdc.to_nano(Amount::new(1)), Some(Nano::new(1_000)));
    let odd = Rate { nano: 10, per: 3 };
    assert_eq!(odd.to_nano(Amount::new(1)), Some(Nano::new(4)));
    assert_eq!(odd.to_amount(Nano::new(4)), Some(Amount::new(1)));
    assert_eq!(odd.to_amount(Nano::new(3)), Some(Amount::ZERO));
    assert_eq!(odd.to_nano(Amount::MAX), None);
    assert_eq!(Rate { nano: 1, per: 0 }.to_nano(Amount::new(1)), None);
}

#[test]
fn nano_is_shown_as_units_with_at_least_two_decimals() {
    for (nano, text) in
        [(0, "0.00"), (50_000_000, "0.05"), (1_500_000_000, "1.50"), (1, "0.000000001")]
    {
        assert_eq!(Nano::new(nano).to_string(), text);
    }
}

#[test]
fn two_of_the_largest_caps_still_add() {
    let limit = Nano::MAX.get();
    assert_eq!(limit.checked_add(limit), Some(u64::MAX - 1));
}
