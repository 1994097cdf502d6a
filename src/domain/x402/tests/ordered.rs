//! A payer's word for a call that costs nothing.

use super::*;
use crate::domain::fault::Fault;
use crate::domain::quote::Standing;
use crate::domain::x402::order::{OrderError, Ordered, SignedOrder, check_order, order_digest};

fn signed(key: B256, payer: Address, issued_at_s: u64, ordered: &Ordered<'_>) -> SignedOrder {
    let signature = sign(key, order_digest(ordered, payer, payment(), issued_at_s));
    SignedOrder { payer, payment: payment(), issued_at_s, signature }
}

#[test]
fn an_order_is_its_payers_word_for_two_minutes_either_way() {
    let (quote, order) = (quote(), order());
    let ordered = Ordered { quote: &quote, order: &order, content_type: "text/plain", body: b"hi" };
    for (issued_at_s, good) in [
        (NOW_S, true),
        (NOW_S - 1, true),
        (NOW_S - 120, true),
        (NOW_S - 121, false),
        (NOW_S + 120, true),
        (NOW_S + 121, false),
        (0, false),
        (u64::MAX, false),
    ] {
        let signed = signed(PAYER_KEY, PAYER, issued_at_s, &ordered);
        let expected = match good {
            true => Ok(order_digest(&ordered, PAYER, payment(), issued_at_s)),
            false => Err(OrderError::Stale { issued_at_s, now_s: NOW_S }),
        };
        assert_eq!(check_order(&signed, &ordered, NOW_S), expected, "{issued_at_s}");
    }
}

#[test]
fn an_order_is_by_a_quote_that_its_payer_may_use_and_under_its_own_key() {
    let order = order();
    let check = |standing: Option<Address>, key, payer| {
        let standing = standing.map(|payer| Standing { payer, free_left: 1 });
        let quote = Quote { standing, ..quote() };
        let ordered = Ordered { quote: &quote, order: &order, content_type: "", body: b"" };
        let checked = check_order(&signed(key, payer, NOW_S, &ordered), &ordered, NOW_S);
        checked.map_or_else(|refused| refused.code(), |_| "good")
    };
    for (standing, key, payer, code) in [
        (None, PAYER_KEY, PAYER, "good"),
        (Some(PAYER), PAYER_KEY, PAYER, "good"),
        (Some(PAY_TO), PAYER_KEY, PAYER, "order.payer"),
        (None, PAY_TO_KEY, PAYER, "order.signature"),
        (Some(PAYER), PAY_TO_KEY, PAYER, "order.signature"),
    ] {
        assert_eq!(check(standing, key, payer), code, "{standing:?} {payer}");
    }
    let quote = quote();
    let ordered = Ordered { quote: &quote, order: &order, content_type: "", body: b"" };
    let stale = signed(PAYER_KEY, PAYER, 0, &ordered);
    assert_eq!(check_order(&stale, &ordered, NOW_S).unwrap_err().code(), "order.stale");
    // Word for word: it is worth nothing for another body.
    let signed = signed(PAYER_KEY, PAYER, NOW_S, &ordered);
    let other = Ordered { body: b"more", ..ordered };
    assert_eq!(check_order(&signed, &other, NOW_S), Err(OrderError::Signature(PAYER)));
}
