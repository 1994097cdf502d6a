//! Attacks on channels from either side, over gRPC or at the payee's own door, on a real EVM, with
//! journals on disk. Row ids are those of the threat model.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bursar::domain::channel::{ChannelTerms, ClaimRow};
use bursar::domain::ledger::Ledger;
use bursar::domain::ledger::agent::{Principal, Scope};
use bursar::domain::ledger::channel::{ChannelState, Frozen};
use bursar::domain::money::{Amount, Nano};
use bursar::domain::quote::PriceTerms;
use bursar::node::connect_rail;
use bursar::ports::channel_rail::ChannelSettler;
use bursar::ports::clock::Clock;
use serde_json::{Map, Value};

use crate::channel_doubts::channels;
use crate::channel_refunds::ask_back;
use crate::channels::{PREFIX, Stranger, charged, claim_all, stranger_key, until};
use crate::market::{Market, PRICE, Shop, echo, key, name, usdc};

async fn open() -> Market {
    Market::open_with(Shop { by_channel: true, ..Shop::default() }).await
}

/// One that charges a unit for each unit of output, of a hundred that are held.
async fn open_metered() -> Market {
    let terms = PriceTerms { per_1k_output: Amount::new(PRICE * 10), ..PriceTerms::default() };
    Market::open_with(Shop { by_channel: true, terms, ..Shop::default() }).await
}

fn refused(code: &str) -> Result<(), String> {
    Err(format!("{PREFIX}{code}"))
}

/// The contract as whoever claims for the provider sees it.
async fn settler(market: &Market) -> Arc<dyn ChannelSettler> {
    let clock: Arc<dyn Clock> = Arc::new(market.hand.clone());
    let rail = market.shop.rail(&market.chain);
    let (_, settler) = connect_rail(&rail, Some(&key("gas")), clock).await.unwrap();
    settler.unwrap()
}

/// What the provider holds of its newest voucher.
async fn newest_voucher(market: &Market) -> ClaimRow {
    let look = |ledger: &Ledger| {
        let tab = ledger.tabs().next().unwrap();
        let voucher = tab.voucher.unwrap();
        let (ceiling, signature) = (voucher.ceiling, voucher.signature);
        ClaimRow { terms: tab.terms, ceiling, signature: signature.into(), total: ceiling }
    };
    market.provider.as_ref().unwrap().treasury.read(look).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn c03_a_sum_in_another_spelling_is_no_sum_and_nothing_is_served() {
    let market = open().await;
    let stranger = Stranger::new(&market).await;
    let deposit = stranger.deposit(10 * PRICE);
    let spell = |at: &'static [&'static str], spelling: Value| {
        move |mut payload: Map<String, Value>| {
            let (last, path) = at.split_last().unwrap();
            let mut place = &mut payload;
            for name in path {
                place = place.get_mut(*name).unwrap().as_object_mut().unwrap();
            }
            *place.get_mut(*last).unwrap() = spelling;
            payload
        }
    };
    let sum = PRICE.to_string();
    let texts = ["1e3", "0x3e8", "+1000", " 1000", "1000 ", "01000", "1000.0", "-1000", "", "१०००"];
    let long = "9".repeat(100);
    let spellings = texts.into_iter().chain([long.as_str()]).map(Value::from);
    let spellings: Vec<Value> = spellings.chain([Value::from(1000), Value::Null]).collect();
    let places: [&[&str]; 2] = [&["voucher", "maxClaimableAmount"], &["deposit", "amount"]];
    for place in places {
        for spelling in &spellings {
            let change = spell(place, spelling.clone());
            let (word, deposit) = (stranger.voucher(PRICE), Some(deposit));
            let answer = stranger.call_with(&market, "one", word, deposit, change).await;
            assert!(answer.is_err(), "{place:?} {spelling}");
        }
    }
    assert_eq!(market.engine.served.load(Ordering::SeqCst), 0);
    assert_eq!(charged(&market).await, 0);
    let change = spell(places[0], Value::from(sum));
    let (word, deposit) = (stranger.voucher(PRICE), Some(deposit));
    stranger.call_with(&market, "one", word, deposit, change).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn b01_a_deposit_that_is_over_or_lives_too_long_is_refused_before_the_chain_is_asked() {
    let market = open().await;
    let stranger = Stranger::new(&market).await;
    let far = |payload: Map<String, Value>, valid_before: &str| {
        let mut payload = payload;
        let by = &mut payload["deposit"]["authorization"]["erc3009Authorization"];
        by["validBefore"] = Value::from(valid_before);
        payload
    };
    let deposit = Some(stranger.deposit(10 * PRICE));
    for valid_before in ["0", "1700000000", "99999999999", "18446744073709551615"] {
        let change = |payload| far(payload, valid_before);
        let word = stranger.voucher(PRICE);
        let answer = stranger.call_with(&market, "one", word, deposit, change).await;
        assert_eq!(answer, refused("payload_authorization_valid_before"), "{valid_before}");
    }
    assert_eq!(market.engine.served.load(Ordering::SeqCst), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a01_a_deposit_that_was_changed_after_it_was_signed_moves_nothing() {
    let market = open().await;
    let stranger = Stranger::new(&market).await;
    let deposit = stranger.deposit(10 * PRICE);
    let word = stranger.voucher(PRICE);
    let more = bursar::domain::x402::batch::read::DepositWord {
        amount: Amount::new(11 * PRICE),
        ..deposit
    };
    let changed = stranger.call(&market, "one", word, Some(more)).await;
    assert_eq!(changed, refused("receive_authorization_signature"));
    let mut salt = deposit;
    salt.salt.0[0] ^= 1;
    let changed = stranger.call(&market, "one", word, Some(salt)).await;
    assert_eq!(changed, refused("receive_authorization_signature"));
    let holder = stranger_key().address();
    let owned = market.evidence.balance(usdc(), holder).await.unwrap().amount;
    assert_eq!(owned, Amount::new(1_000_000), "nothing moved");
    assert_eq!(market.engine.served.load(Ordering::SeqCst), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn e06_every_term_of_a_channel_is_held_against_the_offer() {
    let market = open().await;
    let stranger = Stranger::new(&market).await;
    let own = stranger.terms;
    let other = stranger_key().address();
    let mut token = own.asset;
    token.contract = other;
    let changes = [
        (ChannelTerms { asset: token, ..own }, "token_mismatch"),
        (ChannelTerms { receiver: other, ..own }, "receiver_mismatch"),
        (ChannelTerms { receiver_authorizer: other, ..own }, "receiver_authorizer_mismatch"),
        (ChannelTerms { withdraw_delay_s: 899, ..own }, "withdraw_delay_out_of_range"),
        (ChannelTerms { withdraw_delay_s: 901, ..own }, "withdraw_delay_mismatch"),
    ];
    for (terms, code) in changes {
        let changed = Stranger { key: stranger_key(), terms };
        let answer = changed.call(&market, "one", changed.voucher(PRICE), None).await;
        assert_eq!(answer, refused(code));
        let renamed = stranger.voucher(PRICE);
        let answer = changed.call(&market, "one", renamed, None).await;
        assert_eq!(answer, refused("channel_id_mismatch"), "{code}");
    }
    assert_eq!(market.engine.served.load(Ordering::SeqCst), 0);
}

/// Its vouchers are its payer's account's to answer for when they are claimed: a key's account may run code by
/// then that denies them.
#[tokio::test(flavor = "multi_thread")]
async fn e21_a_channel_that_names_no_key_for_its_vouchers_pays_no_payee() {
    let market = open().await;
    let named = Stranger::new(&market).await;
    let zero = alloy::primitives::Address::ZERO;
    let terms = ChannelTerms { payer_authorizer: zero, ..named.terms };
    let stranger = Stranger { key: stranger_key(), terms };
    let deposit = stranger.deposit(10 * PRICE);
    let answer = stranger.call(&market, "one", stranger.voucher(PRICE), Some(deposit)).await;
    assert_eq!(answer, refused("voucher_signature"));
    assert_eq!(market.engine.served.load(Ordering::SeqCst), 0);
    named
        .call(&market, "one", named.voucher(PRICE), Some(named.deposit(10 * PRICE)))
        .await
        .unwrap();
    claim_all(&market).await;
    assert_eq!(market.earned_on_chain().await, PRICE);
}

#[tokio::test(flavor = "multi_thread")]
async fn e09_a_payee_that_claims_all_that_was_signed_gets_one_call_more_and_no_other_voucher() {
    let market = open_metered().await;
    let client = market.client("worker").await;
    client.buy(echo("0123456789")).await.unwrap();
    assert_eq!(charged(&market).await, PRICE / 10, "a tenth of what was held");
    let row = newest_voucher(&market).await;
    assert_eq!(row.ceiling.get(), PRICE);
    settler(&market).await.claim(&[row]).await.unwrap();
    // It counts in the budgets of the call; that it is more than was said shows with the next one.
    while channels(&market).await != [(ChannelState::Open, PRICE, 0)] {
        market.node().reconciler.round().await.unwrap();
        tokio::task::yield_now().await;
    }
    let lied = (ChannelState::Frozen(Frozen::Overclaimed), PRICE, 0);
    client.buy(echo("another")).await.unwrap();
    let after = channels(&market).await;
    assert_eq!(after.len(), 2, "another channel pays");
    assert!(after.contains(&lied));
    let audit = market.audit().await;
    assert_eq!(audit.over_limit(), Nano::ZERO);
}

#[tokio::test(flavor = "multi_thread")]
async fn e22_a_meter_that_overshoots_is_charged_for_what_was_signed_and_no_more() {
    let market = open_metered().await;
    let mut purchase = echo("twelve bytes");
    purchase.order.output_max = bursar::domain::order::Units(5);
    market.client("worker").await.buy(purchase).await.unwrap();
    let voucher = newest_voucher(&market).await;
    assert_eq!(charged(&market).await, voucher.ceiling.get());
    assert_eq!(voucher.ceiling.get(), (PRICE * 10 * 5).div_ceil(1000));
    claim_all(&market).await;
    assert_eq!(market.earned_on_chain().await, voucher.ceiling.get());
}

/// Nobody but its payer asks for a channel's money: the voucher that says so is its own.
#[tokio::test(flavor = "multi_thread")]
async fn e19_a_refund_that_its_payer_did_not_sign_is_refused_and_moves_nothing() {
    let market = open().await;
    let stranger = Stranger::new(&market).await;
    let deposit = stranger.deposit(10 * PRICE);
    stranger.call(&market, "one", stranger.voucher(PRICE), Some(deposit)).await.unwrap();
    let thief = alloy::signers::local::PrivateKeySigner::random();
    let forged = Stranger { key: thief, terms: stranger.terms }.voucher(PRICE);
    assert_eq!(ask_back(&market, &stranger, forged, None).await, refused("voucher_signature"));
    // Nor by a voucher of another sum than what was charged, nor for nothing.
    let other = ask_back(&market, &stranger, stranger.voucher(2 * PRICE), None).await;
    assert_eq!(other, refused("cumulative_amount_mismatch"));
    let own = stranger.voucher(PRICE);
    for wrong in ["0", "-1", "1.5", "x"] {
        let answer = ask_back(&market, &stranger, own, Some(wrong.into())).await;
        assert_eq!(answer, refused("refund_amount_invalid"), "{wrong}");
    }
    let holder = stranger_key().address();
    let owned = || async { market.evidence.balance(usdc(), holder).await.unwrap().amount.get() };
    assert_eq!(owned().await, 1_000_000 - 10 * PRICE);
    ask_back(&market, &stranger, own, None).await.unwrap();
    assert_eq!(owned().await, 1_000_000 - PRICE);
    assert_eq!(ask_back(&market, &stranger, own, None).await, refused("refund_no_balance"));
    assert_eq!(market.engine.served.load(Ordering::SeqCst), 1, "no work is done for it");
}

/// A pause refused a call after a channel had been opened for it, and the channel was lent to another one then.
/// Asked again, it was lent to both: one of them kept it for ever.
#[tokio::test(flavor = "multi_thread")]
async fn e07_a_channel_that_was_opened_for_a_call_is_lent_to_no_other_at_once() {
    let market = open().await;
    let (client, operator) = (market.client("worker").await, market.node().operator.clone());
    let role = || Scope::Role(name("worker"));
    operator.pause(role(), "for a while".to_owned(), Principal::Operator).await.unwrap();
    let refused = echo("refused at first");
    assert_eq!(client.buy(refused.clone()).await.unwrap_err().reason, "LEDGER_PAUSED");
    operator.resume(role(), Principal::Operator).await.unwrap();
    let other = client.clone();
    let waiting = tokio::spawn(async move { other.buy(echo("wait")).await });
    until(async || market.engine.waiting.load(Ordering::SeqCst) == 1).await;
    client.buy(refused).await.unwrap();
    market.engine.gate.add_permits(1);
    waiting.await.unwrap().unwrap();
    // Each has had one of its own, and both are given back.
    let look = |ledger: &Ledger| ledger.channels().map(|it| it.opened.id).collect::<Vec<_>>();
    let known = market.node().treasury.read(look).await.unwrap();
    assert_eq!(known.len(), 2);
    for channel in known {
        market.node().payer.close_channel(channel).await.unwrap();
    }
}
