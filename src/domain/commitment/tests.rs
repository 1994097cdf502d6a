//! What a scheme lets its payee charge.

use super::*;

#[test]
fn only_exact_charges_just_what_was_authorized() {
    let facilitator = Address::repeat_byte(1);
    let offer = ChannelOffer {
        receiver_authorizer: facilitator,
        withdraw_delay_s: 900,
        deposit_min: Amount::ZERO,
    };
    for (scheme, name, has_maximum) in [
        (Scheme::Exact, "exact", false),
        (Scheme::BatchSettlement(offer), "batch-settlement", true),
        (Scheme::Upto { facilitator }, "upto", true),
    ] {
        assert_eq!((scheme.as_str(), scheme.has_maximum()), (name, has_maximum));
    }
}
