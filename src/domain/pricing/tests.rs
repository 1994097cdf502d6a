//! Prices as integers, rounded up once.

#![allow(clippy::unwrap_used, clippy::arithmetic_side_effects, reason = "tests fail by panicking")]

use proptest::prelude::*;

use super::*;

fn terms(flat: u128, input: u128, output: u128) -> PriceTerms {
    PriceTerms {
        flat: Amount::new(flat),
        per_1k_input: Amount::new(input),
        per_1k_output: Amount::new(output),
    }
}

fn order(input: u64, output: u64) -> Order {
    Order {
        capability: "text.generate".parse().unwrap(),
        model: None,
        input_max: Units(input),
        output_max: Units(output),
    }
}

fn usage(input: u64, output: u64) -> Usage {
    Usage { input: Units(input), output: Units(output), ..Usage::default() }
}

#[test]
fn the_price_is_rounded_up_once() {
    let top = Amount::MAX.get();
    for (flat, input, output, order_in, order_out, expected) in [
        (0, 0, 0, 0, 0, Some(0)),
        (7, 0, 0, 1_000_000, 1_000_000, Some(7)),
        (0, 1, 0, 1, 0, Some(1)),
        (0, 1, 0, 1000, 0, Some(1)),
        (0, 1, 0, 1001, 0, Some(2)),
        // Rounded each by itself, these would be 2.
        (0, 1, 1, 500, 500, Some(1)),
        (0, 1, 1, 500, 501, Some(2)),
        (100, 400, 1200, 1500, 250, Some(100 + 600 + 300)),
        (top, 0, 0, 0, 0, Some(top)),
        (top, 1, 0, 1, 0, None),
        (u128::MAX, 1, 0, 1, 0, None),
        (0, u128::MAX, 0, 2, 0, None),
        (0, u128::MAX, u128::MAX, 1, 1, None),
    ] {
        let price = price(&terms(flat, input, output), &order(order_in, order_out));
        assert_eq!(
            price,
            expected.map(Amount::new),
            "{flat} {input} {output} {order_in} {order_out}"
        );
    }
}

#[test]
fn a_ceiling_holds_in_every_part() {
    let ceiling = terms(5, 5, 5);
    for (offer, within) in [
        (terms(5, 5, 5), true),
        (terms(0, 0, 0), true),
        (terms(6, 0, 0), false),
        (terms(0, 6, 0), false),
        (terms(0, 0, 6), false),
    ] {
        assert_eq!(is_at_most(&offer, &ceiling), within);
    }
}

const PRICE: u128 = 1 << 60;

proptest! {
    #[test]
    fn the_payee_is_never_short_and_the_payer_never_a_whole_unit_over(
        flat in 0..PRICE, input in 0..PRICE, output in 0..PRICE, i in 0..1u64 << 32, o in 0..1u64 << 32,
    ) {
        let price = price_of_usage(&terms(flat, input, output), &usage(i, o)).unwrap().get();
        let exact_in_thousandths = flat * 1000 + input * u128::from(i) + output * u128::from(o);
        prop_assert!(price * 1000 >= exact_in_thousandths);
        prop_assert!(price * 1000 - exact_in_thousandths < 1000);
    }

    #[test]
    fn more_never_costs_less(
        flat in 0..PRICE, input in 0..PRICE, output in 0..PRICE,
        i in 0..1u64 << 32, o in 0..1u64 << 32, more_i in 0..1u64 << 32, more_o in 0..1u64 << 32,
    ) {
        let terms = terms(flat, input, output);
        let served = price_of_usage(&terms, &usage(i, o)).unwrap();
        let ordered = price(&terms, &order(i + more_i, o + more_o)).unwrap();
        prop_assert!(served <= ordered);
    }

    #[test]
    fn terms_at_or_below_others_never_cost_more(
        flat in 0..PRICE, input in 0..PRICE, output in 0..PRICE,
        less in (0..PRICE, 0..PRICE, 0..PRICE), i in any::<u32>(), o in any::<u32>(),
    ) {
        let high = terms(flat, input, output);
        let low = terms(
            flat.saturating_sub(less.0), input.saturating_sub(less.1), output.saturating_sub(less.2),
        );
        let order = order(i.into(), o.into());
        prop_assert!(is_at_most(&low, &high));
        prop_assert!(price(&low, &order).unwrap() <= price(&high, &order).unwrap());
    }

    #[test]
    fn nothing_panics(
        flat in any::<u128>(), input in any::<u128>(), output in any::<u128>(),
        i in any::<u64>(), o in any::<u64>(),
    ) {
        if let Some(price) = price_of_usage(&terms(flat, input, output), &usage(i, o)) {
            prop_assert!(price <= Amount::MAX);
        }
    }
}
