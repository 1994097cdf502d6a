//! What a payer asks back of its channel: how much may be said, and what is given. Row ids are those of the
//! threat model.

use std::sync::atomic::Ordering;

use alloy::primitives::Signature;
use bursar::domain::channel::Ceiling;
use serde_json::{Map, Value, json};

use crate::channels::{PREFIX, Stranger, charged, stranger_key};
use crate::market::{Market, PRICE, Shop, usdc};

/// What a stranger has, of which it puts ten calls into a channel.
const FUNDS: u128 = 1_000_000;
const DEPOSIT: u128 = 10 * PRICE;

/// A market whose stranger has a channel and was served once by it.
async fn served_once() -> (Market, Stranger) {
    let market = Market::open_with(Shop { by_channel: true, ..Shop::default() }).await;
    let stranger = Stranger::new(&market).await;
    let deposit = stranger.deposit(DEPOSIT);
    stranger.call(&market, "one", stranger.voucher(PRICE), Some(deposit)).await.unwrap();
    (market, stranger)
}

/// Asks `amount` back, or all that is left, with `word` as the proof.
pub async fn ask_back(
    market: &Market,
    stranger: &Stranger,
    word: (Ceiling, Signature),
    amount: Option<Value>,
) -> Result<(), String> {
    let change = |mut payload: Map<String, Value>| {
        payload.insert("type".to_owned(), "refund".into());
        payload.extend(amount.map(|amount| ("amount".to_owned(), amount)));
        payload
    };
    stranger.call_with(market, "back", word, None, change).await
}

fn refused(code: &str) -> Result<(), String> {
    Err(format!("{PREFIX}{code}"))
}

/// What the stranger has outside of its channel.
async fn owned(market: &Market) -> u128 {
    let holder = stranger_key().address();
    market.evidence.balance(usdc(), holder).await.unwrap().amount.get()
}

/// `null` once gave back all that was left.
#[tokio::test(flavor = "multi_thread")]
async fn c14_an_amount_that_is_no_positive_number_gives_nothing_back_and_ends_nothing() {
    let (market, stranger) = served_once().await;
    let own = stranger.voucher(PRICE);
    let texts = ["", "0", "-1", "+1", "1.5", "1e3", "0x10", "01", " 1", "x", "\u{661}"];
    let above = format!("1{}", "0".repeat(78));
    let texts = texts.into_iter().chain([above.as_str()]).map(Value::from);
    let others = [json!(null), json!(0), json!(1000), json!(-1), json!(1.5), json!(true)];
    for amount in texts.chain(others).chain([json!(["1"]), json!({ "value": "1" })]) {
        let answer = ask_back(&market, &stranger, own, Some(amount.clone())).await;
        assert_eq!(answer, refused("refund_amount_invalid"), "{amount}");
    }
    assert_eq!(owned(&market).await, FUNDS - DEPOSIT);
    // The channel is as it was: its next call is served by its next voucher.
    stranger.call(&market, "two", stranger.voucher(2 * PRICE), None).await.unwrap();
    assert_eq!(charged(&market).await, 2 * PRICE);
    assert_eq!(market.engine.served.load(Ordering::SeqCst), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn c14_more_than_is_left_gives_what_is_left_and_then_nothing_is_left_to_give() {
    let (market, stranger) = served_once().await;
    let own = stranger.voucher(PRICE);
    let left = DEPOSIT - PRICE;
    // A part, and the last unit of it that may be asked.
    ask_back(&market, &stranger, own, Some("1".into())).await.unwrap();
    assert_eq!(owned(&market).await, FUNDS - DEPOSIT + 1);
    let most = (1_u128 << 96).to_string();
    ask_back(&market, &stranger, own, Some(most.as_str().into())).await.unwrap();
    assert_eq!(owned(&market).await, FUNDS - DEPOSIT + left, "what was charged stays");
    for amount in [None, Some("1".into()), Some(left.to_string().into()), Some(most.into())] {
        let answer = ask_back(&market, &stranger, own, amount).await;
        assert_eq!(answer, refused("refund_no_balance"));
    }
    assert_eq!(owned(&market).await, FUNDS - PRICE);
    assert_eq!(market.earned_on_chain().await, PRICE);
    assert_eq!(market.engine.served.load(Ordering::SeqCst), 1, "no work is done for it");
}
