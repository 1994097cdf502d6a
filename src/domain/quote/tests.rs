//! How a streamed answer goes on, and for whom a quote is.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use super::*;
use crate::domain::asset::Network;

const PAYER: Address = Address::repeat_byte(1);
const OTHER: Address = Address::repeat_byte(2);

fn quote(standing: Option<Standing>) -> Quote {
    let asset = Asset { network: Network::SANDBOX, contract: Address::repeat_byte(3) };
    let way = PayBy {
        scheme: Scheme::Exact,
        method: TransferMethod::Eip3009,
        asset,
        pay_to: Address::repeat_byte(4),
        timeout_s: 60,
    };
    Quote {
        provider: "scribe".parse().unwrap(),
        resource: "grpc://scribe/Infer".to_owned(),
        capability: "text.generate".parse().unwrap(),
        model: "bursar-scribe".parse().unwrap(),
        terms: PriceTerms::default(),
        pay_by: vec![way],
        output_max: 1000,
        valid_until: Timestamp::MAX,
        rounds: 0,
        standing,
        stride: None,
    }
}

/// Each price by itself, against a stride that has none or the least of what is priced.
#[test]
fn an_answer_goes_on_by_strides_that_have_some_of_everything_that_is_priced() {
    let free = PriceTerms::default();
    let one = Amount::new(1);
    let (none, some) = (Stride::default(), Stride { output: Units(1), bytes: 1, compute_ms: 1 });
    let priced = [
        (PriceTerms { per_1k_output: one, ..free }, Stride { output: Units(0), ..some }),
        (PriceTerms { per_gb: one, ..free }, Stride { bytes: 0, ..some }),
        (PriceTerms { per_s: one, ..free }, Stride { compute_ms: 0, ..some }),
    ];
    for (terms, lacking) in priced {
        assert!(some.carries(&terms), "{terms:?}");
        assert!(!lacking.carries(&terms), "{terms:?}");
        assert!(!none.carries(&terms), "{terms:?}");
        assert!(lacking.carries(&free), "what has no price is not needed");
    }
    // The call, its input and what is kept are paid at the start.
    let at_start = PriceTerms { flat: one, per_1k_input: one, per_gb_stored: one, ..free };
    assert!(none.carries(&at_start) && none.carries(&free));
}

#[test]
fn a_payer_that_says_nothing_is_ahead_by_some_of_whatever_is_priced() {
    for part in 0..6 {
        let parts = core::array::from_fn(|at| Amount::new(u128::from(at == part)));
        assert!(Stride::ahead().carries(&PriceTerms::of_parts(parts)), "part {part}");
    }
}

#[test]
fn a_quote_for_one_payer_is_for_no_other_and_one_for_nobody_is_for_all() {
    let of = |payer, free_left| quote(Some(Standing { payer, free_left }));
    for (quote, payer, is_for, is_free) in [
        (quote(None), PAYER, true, false),
        (of(PAYER, 0), PAYER, true, false),
        (of(PAYER, 1), PAYER, true, true),
        (of(PAYER, 2), PAYER, true, true),
        (of(PAYER, 1), OTHER, false, false),
        (of(PAYER, 0), OTHER, false, false),
    ] {
        let found = (quote.is_for(payer), quote.is_free_for(payer));
        assert_eq!(found, (is_for, is_free), "{:?} for {payer}", quote.standing);
    }
}
