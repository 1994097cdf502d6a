//! Prices as integers, rounded up once.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "tests fail by panicking"
)]

use proptest::prelude::*;

use super::*;
use crate::domain::order::Maxima;

fn terms(flat: u128, input: u128, output: u128) -> PriceTerms {
    PriceTerms {
        flat: Amount::new(flat),
        per_1k_input: Amount::new(input),
        per_1k_output: Amount::new(output),
        ..PriceTerms::default()
    }
}

fn order(input: u64, output: u64) -> Order {
    Order {
        capability: "text.generate".parse().unwrap(),
        model: None,
        input_max: Units(input),
        output_max: Units(output),
        maxima: Default::default(),
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
fn bytes_time_and_storage_are_priced_with_the_tokens_and_rounded_once() {
    // The seed's prices in units of a millionth of a dollar: a thousandth of a dollar a gigabyte sent,
    // a ten-thousandth a second (0.1 units a millisecond), a hundred-thousandth a gigabyte kept.
    let seed = PriceTerms {
        per_gb: Amount::new(1_000),
        per_gb_stored: Amount::new(10),
        per_s: Amount::new(100),
        ..terms(0, 0, 1)
    };
    for (bytes, compute_ms, stored, output, expected) in [
        (0, 0, 0, 0, 0),
        (5_000_000_000, 0, 0, 0, 5_000),
        (1, 0, 0, 0, 1),
        (1_000_000, 0, 0, 0, 1),
        (1_000_001, 0, 0, 0, 2),
        (0, 10, 0, 0, 1),
        (0, 11, 0, 0, 2),
        (0, 0, 100_000_000, 0, 1),
        // A quarter of a unit each: rounded each by itself, these would be 4.
        (250_000, 0, 0, 250, 1),
        (250_000, 2, 25_000_000, 300, 1),
        (250_000, 2, 25_000_000, 301, 2),
        (250_000, 5, 25_000_000, 0, 1),
        (250_001, 5, 25_000_000, 0, 2),
    ] {
        let maxima = Maxima { bytes, compute_ms, stored };
        let ordered = Order { maxima, ..order(0, output) };
        assert_eq!(price(&seed, &ordered), Some(Amount::new(expected)), "{maxima:?} {output}");
        let used = Usage { bytes, compute_ms, ..usage(0, output) };
        assert_eq!(price_of_usage(&seed, &used, stored), Some(Amount::new(expected)));
    }
    let dear = PriceTerms { per_gb: Amount::new(u128::MAX), ..terms(0, 0, 0) };
    let maxima = Maxima { bytes: 2, ..Maxima::default() };
    assert_eq!(price(&dear, &Order { maxima, ..order(0, 0) }), None);
}

/// A thousand of each token, a gigabyte and a second cost their price.
fn each_terms() -> PriceTerms {
    PriceTerms::of_parts([7, 100, 200, 3_000, 40_000, 500_000].map(Amount::new))
}

#[test]
fn a_stride_costs_what_is_in_it_and_nothing_for_the_call() {
    let none = Stride::default();
    for (stride, expected) in [
        (none, 0),
        (Stride { output: Units(1_000), ..none }, 200),
        (Stride { bytes: 1_000_000_000, ..none }, 3_000),
        (Stride { compute_ms: 1_000, ..none }, 500_000),
        (Stride { output: Units(1_000), bytes: 1_000_000_000, compute_ms: 1_000 }, 503_200),
        // Rounded up once: half a unit, and half of another.
        (Stride { compute_ms: 1, ..none }, 500),
        (Stride { output: Units(4), ..none }, 1),
        (Stride { output: Units(6), ..none }, 2),
    ] {
        let price = price_of_stride(&each_terms(), &stride);
        assert_eq!(price, Some(Amount::new(expected)), "{stride:?}");
    }
    let dear = PriceTerms { per_s: Amount::new(u128::MAX), ..each_terms() };
    assert_eq!(price_of_stride(&dear, &Stride { compute_ms: 2, ..none }), None);
}

#[test]
fn the_first_voucher_pays_the_call_its_input_and_a_stride_or_all_where_that_is_less() {
    let maxima = Maxima { bytes: 2_000_000_000, compute_ms: 2_000, stored: 1_000_000_000 };
    let order = Order { maxima, ..order(1_000, 2_000) };
    let start = 7 + 100 + 40_000;
    let all = start + 400 + 6_000 + 1_000_000;
    let none = Stride::default();
    let one = Stride { output: Units(1_000), bytes: 1_000_000_000, compute_ms: 1_000 };
    let whole = Stride { output: Units(2_000), bytes: 2_000_000_000, compute_ms: 2_000 };
    for (stride, expected) in [
        (none, start),
        (one, start + 200 + 3_000 + 500_000),
        (whole, all),
        // More than there is of each by itself.
        (Stride { output: Units(2_001), ..none }, start + 400),
        (Stride { bytes: u64::MAX, ..none }, start + 6_000),
        (Stride { compute_ms: u64::MAX, ..none }, start + 1_000_000),
    ] {
        let price = price_of_start(&each_terms(), &order, &stride);
        assert_eq!(price, Some(Amount::new(expected)), "{stride:?}");
    }
    assert_eq!(price(&each_terms(), &order), Some(Amount::new(all)));
}

#[test]
fn a_ceiling_holds_in_every_part() {
    for part in 0..6 {
        let mut parts = [Amount::new(5); 6];
        let ceiling = PriceTerms::of_parts(parts);
        parts[part] = Amount::new(6);
        assert!(!is_at_most(&PriceTerms::of_parts(parts), &ceiling), "part {part}");
        parts[part] = Amount::new(4);
        assert!(is_at_most(&PriceTerms::of_parts(parts), &ceiling), "part {part}");
    }
}

/// First 1,000 calls free, the next 10,000 at a ten-thousandth of a dollar, then half of that.
fn seed_tiers() -> Tiers {
    let step = Step { after_calls: 11_000, flat: Amount::new(50) };
    Tiers { free_calls: 1_000, steps: vec![step] }
}

#[test]
fn what_a_call_costs_follows_from_the_calls_before_it() {
    let (tiers, list) = (seed_tiers(), terms(100, 7, 0));
    assert_eq!(tiers.check(list.flat), Ok(()));
    for (calls, flat) in [(0, 100), (1_000, 100), (10_999, 100), (11_000, 50), (u64::MAX, 50)] {
        assert_eq!(tiers.terms_after(calls, &list), terms(flat, 7, 0), "after {calls}");
    }
    for (used, left) in [(0, 1_000), (999, 1), (1_000, 0), (1_001, 0)] {
        assert_eq!(tiers.free_left(used), left, "{used} used");
    }
    assert_eq!(Tiers::default().terms_after(9, &list), list);
}

#[test]
fn a_ware_has_tiers_by_its_free_calls_or_by_its_steps() {
    let seed = seed_tiers();
    assert!(Tiers::default().is_none());
    assert!(!seed.is_none());
    assert!(!Tiers { steps: Vec::new(), ..seed.clone() }.is_none());
    assert!(!Tiers { free_calls: 0, ..seed }.is_none());
}

#[test]
fn tiers_grow_later_and_cheaper_or_are_none() {
    let step = |after_calls, flat| Step { after_calls, flat: Amount::new(flat) };
    let tiers = |steps: &[Step]| Tiers { free_calls: 10, steps: steps.to_vec() };
    let nine: Vec<Step> = (1..10).map(|n| step(10 + n, 100 - u128::from(n))).collect();
    for (steps, found) in [
        (&nine[..8], Ok(())),
        (&nine[..], Err(TiersError::TooMany(9))),
        (&[step(10, 50)], Err(TiersError::NotLater(10))),
        (&[step(20, 50), step(20, 40)], Err(TiersError::NotLater(20))),
        (&[step(20, 100)], Err(TiersError::NotCheaper(Amount::new(100)))),
        (&[step(20, 50), step(30, 50)], Err(TiersError::NotCheaper(Amount::new(50)))),
    ] {
        assert_eq!(tiers(steps).check(Amount::new(100)), found);
    }
}

#[test]
fn a_ceiling_holds_in_the_parts_of_tokens() {
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
        let price = price_of_usage(&terms(flat, input, output), &usage(i, o), 0).unwrap().get();
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
        let served = price_of_usage(&terms, &usage(i, o), 0).unwrap();
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
        if let Some(price) = price_of_usage(&terms(flat, input, output), &usage(i, o), 0) {
            prop_assert!(price <= Amount::MAX);
        }
    }
}
