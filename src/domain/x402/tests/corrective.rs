//! What a payer believes of what a payee says of a channel.

use alloy::primitives::{Address, B256};
use serde_json::json;

use super::{PAY_TO, PAY_TO_KEY, PAYER, SERVICE, SERVICE_KEY, USDC, requirement, sign};
use crate::domain::channel::{Ceiling, ChannelId, ChannelTerms};
use crate::domain::money::Amount;
use crate::domain::x402::PaymentError;
use crate::domain::x402::batch::check::{Known, check_sum};
use crate::domain::x402::batch::code::BatchCode;
use crate::domain::x402::batch::corrective::{
    Belief, Correction, OwnView, believe, read_correction,
};
use crate::domain::x402::batch::read::voucher_digest;
use crate::domain::x402::batch::typed::{batch_domain, id_of};
use crate::domain::x402::payload::grpc_resource;
use crate::domain::x402::signature::to_text;
use crate::domain::x402::wire::PaymentRequired;

fn units(units: u128) -> Amount {
    Amount::new(units)
}

/// A channel whose vouchers the service key signs, as a session key does.
fn terms() -> ChannelTerms {
    ChannelTerms {
        asset: USDC,
        payer: PAYER,
        payer_authorizer: SERVICE,
        receiver: PAY_TO,
        receiver_authorizer: Address::repeat_byte(4),
        withdraw_delay_s: 900,
        salt: B256::repeat_byte(1),
    }
}

fn said(charged: u128, voucher: Option<(u128, B256)>) -> Correction {
    let voucher = voucher.map(|(amount, key)| {
        let ceiling = Ceiling { channel: id_of(&terms()), amount: units(amount) };
        let digest = voucher_digest(batch_domain(USDC.network).separator(), &ceiling);
        (units(amount), sign(key, digest))
    });
    Correction { charged: units(charged), voucher }
}

/// Charged 100 in all; the last call may have cost up to 50 more; 200 were signed once.
const OWN: OwnView = OwnView {
    charged: Amount::new(100),
    charged_max: Amount::new(150),
    ceiling: Amount::new(200),
    on_credit: false,
};

#[test]
fn e12_a_figure_counts_where_it_is_no_news_or_a_voucher_of_ones_own_covers_it() {
    let (own, foreign) = (SERVICE_KEY, PAY_TO_KEY);
    let cases = [
        (said(100, None), Belief::Charged(units(100))),
        (said(100, Some((150, foreign))), Belief::Charged(units(100))),
        (said(101, None), Belief::Unproven),
        (said(101, Some((150, foreign))), Belief::Unproven),
        (said(101, Some((100, own))), Belief::Unproven),
        (said(101, Some((101, own))), Belief::Charged(units(101))),
        (said(150, Some((150, own))), Belief::Charged(units(150))),
        // It said otherwise of the calls before the last one.
        (said(151, Some((200, own))), Belief::Unproven),
        (said(99, Some((200, own))), Belief::Older),
        // E13: a voucher that this memory does not know.
        (said(150, Some((201, own))), Belief::Newer { charged: units(150), ceiling: units(201) }),
        (said(300, Some((300, own))), Belief::Newer { charged: units(300), ceiling: units(300) }),
        (said(301, Some((300, own))), Belief::Unproven),
        (said(300, Some((300, foreign))), Belief::Unproven),
    ];
    for (correction, expected) in cases {
        assert_eq!(believe(&correction, &terms(), &OWN), expected, "{correction:?}");
    }
}

/// The last call was held and asked for without a voucher, so that nothing but its bound can prove it.
#[test]
fn e12_what_a_call_on_credit_may_have_cost_needs_no_voucher_and_nothing_above_it_does() {
    let own = OwnView { on_credit: true, ..OWN };
    let cases = [
        (said(150, None), Belief::Charged(units(150))),
        (said(150, Some((100, SERVICE_KEY))), Belief::Charged(units(150))),
        (said(151, None), Belief::Unproven),
        (said(151, Some((100, SERVICE_KEY))), Belief::Unproven),
        (said(99, None), Belief::Older),
    ];
    for (correction, expected) in cases {
        assert_eq!(believe(&correction, &terms(), &own), expected, "{correction:?}");
    }
}

#[test]
fn a_correction_is_read_of_the_channel_that_is_asked_about_and_of_no_other() {
    let channel = id_of(&terms());
    let correction = said(100, Some((150, SERVICE_KEY)));
    let (ceiling, signature) = correction.voucher.unwrap();
    let mut accept = requirement().to_wire();
    let extra = accept.extra.get_or_insert_default();
    let state = json!({
        "channelId": channel.to_string(), "balance": "500", "totalClaimed": "0",
        "withdrawRequestedAt": 0, "refundNonce": "0", "chargedCumulativeAmount": "100",
    });
    extra.insert("channelState".to_owned(), state);
    let proof =
        json!({"signedMaxClaimable": ceiling.to_string(), "signature": to_text(&signature)});
    extra.insert("voucherState".to_owned(), proof);
    let offer = PaymentRequired {
        x402_version: 2,
        error: None,
        resource: grpc_resource(super::RESOURCE),
        accepts: vec![requirement().to_wire(), accept],
        extensions: None,
    };
    assert_eq!(read_correction(&offer, channel), Some(correction));
    assert_eq!(read_correction(&offer, ChannelId(B256::ZERO)), None);
}

#[test]
fn e05_a_sum_at_or_below_what_was_claimed_is_refused() {
    for (claimed, expected) in [(59, Ok(())), (60, Err(BatchCode::BelowClaimed))] {
        let known = Known { charged: units(50), balance: units(100), claimed: units(claimed) };
        let checked = check_sum(units(60), units(10), &known);
        assert_eq!(checked, expected.map_err(PaymentError::Batch), "{claimed} claimed");
    }
}
