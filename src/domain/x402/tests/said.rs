//! What a payee says of a call that a channel paid, as a payer hears it.

use serde_json::json;

use super::*;
use crate::domain::channel::{Ceiling, ChannelId};
use crate::domain::x402::batch::state::ChannelState;
use crate::domain::x402::batch::typed::id_of;
use crate::domain::x402::batch::word::{
    SaidCharge, brief, find_charge, find_credit, read_response, refunded, response, with_credit,
};
use crate::domain::x402::wire::SettlementResponse;

const SAID: SaidCharge = SaidCharge { amount: Amount::new(40), cumulative: Amount::new(140) };

fn channel() -> ChannelId {
    id_of(&channel_terms(1))
}

fn state() -> ChannelState {
    ChannelState {
        channel_id: channel().to_string(),
        balance: "500".to_owned(),
        total_claimed: "100".to_owned(),
        withdraw_requested_at: 0,
        refund_nonce: "0".to_owned(),
        charged_cumulative_amount: Some("140".to_owned()),
    }
}

fn full() -> SettlementResponse {
    response(&channel_terms(1), SAID.amount, state(), None)
}

fn ceiling(channel: ChannelId) -> Ceiling {
    Ceiling { channel, amount: Amount::new(160) }
}

/// Source: x402 scheme `batch-settlement` on EVM, settlement response.
#[test]
fn a_response_names_the_charge_the_channel_and_a_deposit_where_one_came_with_it() {
    let extra = json!({
        "chargedAmount": "40",
        "channelState": {
            "channelId": channel().to_string(), "balance": "500", "totalClaimed": "100",
            "withdrawRequestedAt": 0, "refundNonce": "0", "chargedCumulativeAmount": "140",
        },
    });
    let plain = full();
    assert!(plain.success);
    assert_eq!(plain.extra.as_ref(), extra.as_object());
    assert_eq!(plain.payer.as_deref(), Some(PAYER.to_string().as_str()));
    assert_eq!((plain.network.as_str(), plain.transaction.as_str()), ("eip155:84532", ""));
    let deposit = Some(("0xab".to_owned(), Amount::new(500)));
    let funded = response(&channel_terms(1), SAID.amount, state(), deposit);
    assert_eq!((funded.transaction.as_str(), funded.amount.as_deref()), ("0xab", Some("500")));
    assert_eq!(funded.extra, plain.extra);
}

#[test]
fn a_refund_names_what_went_back_and_no_charge() {
    let said = refunded(&channel_terms(1), state(), "0xcd".to_owned(), Amount::new(360));
    assert!(said.success);
    assert_eq!((said.transaction.as_str(), said.amount.as_deref()), ("0xcd", Some("360")));
    let extra = said.extra.as_ref().unwrap();
    assert_eq!(extra.get("chargedAmount"), None);
    assert_eq!(extra["channelState"]["balance"], json!("500"));
    assert_eq!(find_charge(&said), None);
    assert_eq!(read_response(&said, &ceiling(channel())), None);
}

/// Both forms: what everybody is told, and what a peer of ours is.
#[test]
fn a_charge_is_heard_as_it_was_said_and_only_of_the_channel_that_was_asked() {
    for said in [full(), brief(channel(), SAID)] {
        assert_eq!(find_charge(&said), Some((channel(), SAID)));
        assert_eq!(read_response(&said, &ceiling(channel())), Some(SAID));
        assert_eq!(read_response(&said, &ceiling(ChannelId(B256::ZERO))), None);
    }
}

/// threats.md A23: nothing that a refusal says is believed.
#[test]
fn nothing_is_heard_of_a_call_that_was_not_paid_or_that_says_nothing() {
    let lent = with_credit(full(), Amount::new(60));
    let failed = SettlementResponse { success: false, ..lent.clone() };
    let silent = SettlementResponse { extra: None, ..lent.clone() };
    for said in [failed, silent] {
        assert_eq!((find_charge(&said), find_credit(&said)), (None, None));
        assert_eq!(read_response(&said, &ceiling(channel())), None);
    }
    for (place, odd) in [
        ("/channelState/channelId", json!("0x12")),
        ("/channelState/chargedCumulativeAmount", json!("1e3")),
        ("/channelState/chargedCumulativeAmount", json!(140)),
        ("/chargedAmount", json!("-1")),
        ("/chargedAmount", json!(null)),
    ] {
        let mut extra = serde_json::Value::Object(lent.extra.clone().unwrap());
        *extra.pointer_mut(place).unwrap() = odd.clone();
        let said = SettlementResponse { extra: extra.as_object().cloned(), ..lent.clone() };
        assert_eq!(find_charge(&said), None, "{place} {odd}");
        assert_eq!(read_response(&said, &ceiling(channel())), None, "{place} {odd}");
    }
}

#[test]
fn a_credit_is_heard_where_it_is_said_and_changes_nothing_else() {
    assert_eq!(find_credit(&full()), None);
    for credit in [0, 60, Amount::MAX.get()] {
        let lent = with_credit(full(), Amount::new(credit));
        assert_eq!(find_credit(&lent), Some(Amount::new(credit)));
        assert_eq!(find_charge(&lent), Some((channel(), SAID)));
    }
    for odd in [json!(60), json!("x"), json!("")] {
        let mut lent = with_credit(full(), Amount::new(60));
        lent.extra.as_mut().unwrap().insert("credit".to_owned(), odd.clone());
        assert_eq!(find_credit(&lent), None, "{odd}");
    }
}
