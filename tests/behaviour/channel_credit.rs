//! Calls on credit by channel: several share one voucher, what is owed is bounded on both sides, and the books
//! agree to the unit. Over gRPC, on a real EVM, with journals on disk. Row ids are those of the threat model.

use std::sync::atomic::Ordering;
use std::time::Duration;

use bursar::domain::ledger::Ledger;
use bursar::domain::ledger::channel::ChannelState;
use bursar::domain::ledger::tab::Tab;
use bursar::domain::money::{Amount, Nano};
use bursar::domain::x402::batch::read::{CreditWord, VoucherWord};
use bursar::ports::paid_service::{PaidCall, PaidService, ServiceError};
use bursar::runtime::channels::KeeperSettings;
use bursar::runtime::payee::TabCredit;

use crate::apart::{apart, crash, within};
use crate::channels::{PREFIX, Stranger, a_hundred_at_once, call, charged, claim_all, finish};
use crate::market::{KEEPER, Market, POLICY, PRICE, PRICE_NANO, Shop, echo, key, usdc};

/// Three calls above the voucher for each channel, five for each payer, and six in all.
const CREDIT: TabCredit = TabCredit {
    per_channel: Amount::new(3 * PRICE),
    per_payer: Amount::new(5 * PRICE),
    total: Amount::new(6 * PRICE),
};

const TAKES: KeeperSettings = KeeperSettings { credit: true, calls_a_deposit: 20, ..KEEPER };

async fn open() -> Market {
    let credit = Some(CREDIT);
    let shop = Shop { by_channel: true, credit, keeper: TAKES, ..Shop::default() };
    Market::open_with(shop).await
}

fn lent(market: &Market) -> u64 {
    market.asked.lent.load(Ordering::SeqCst)
}

async fn tabs(market: &Market) -> Vec<Tab> {
    let look = |ledger: &Ledger| ledger.tabs().cloned().collect();
    market.provider.as_ref().unwrap().treasury.read(look).await.unwrap()
}

/// What is owed on credit, and what was lost of it.
async fn owed(market: &Market) -> (u128, u128) {
    let asset = market.shop.asset();
    let look = move |ledger: &Ledger| ledger.credit().total(asset);
    let owed = market.provider.as_ref().unwrap().treasury.read(look).await.unwrap();
    (owed.outstanding.get(), owed.lost.get())
}

async fn buy(market: &Market, calls: u64) {
    let client = market.client("worker").await;
    for number in 0..calls {
        client.buy(echo(&format!("call {number}"))).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn four_calls_share_a_voucher_and_the_books_of_both_sides_agree_to_the_unit() {
    let market = open().await;
    buy(&market, 9).await;
    // The first goes with its terms; then three on credit to each voucher.
    assert_eq!(lent(&market), 6);
    assert_eq!(owed(&market).await, (0, 0), "the ninth came with a voucher");
    buy(&market, 2).await;
    assert_eq!((lent(&market), owed(&market).await), (8, (2 * PRICE, 0)));
    let ceilings: Vec<_> =
        tabs(&market).await.iter().map(|tab| tab.voucher.unwrap().ceiling.get()).collect();
    assert_eq!(ceilings, [9 * PRICE]);
    assert_eq!(charged(&market).await, 11 * PRICE);
    assert_eq!(market.left("worker").await.get(), 9 * PRICE_NANO, "what is owed counts as held");
    // No more is claimed than was signed for.
    claim_all(&market).await;
    assert_eq!(market.earned_on_chain().await, 9 * PRICE);
    market.node().payer.drain().await;
    let audit = market.audit().await;
    assert_eq!((audit.captured(usdc()), audit.over_limit()), (11 * PRICE, Nano::ZERO));
}

/// F01, and the limits of both sides under load.
#[tokio::test(flavor = "multi_thread")]
async fn f01_of_a_hundred_calls_at_once_as_many_are_paid_as_fit_and_no_more_is_owed_than_may_be() {
    let market = open().await;
    let answers = a_hundred_at_once(&market).await;
    let paid = answers.iter().filter(|answer| answer.is_ok()).count() as u128;
    let refused: Vec<_> = answers
        .iter()
        .filter_map(|answer| answer.as_ref().err())
        .filter(|error| error.reason != "LEDGER_OVER_BUDGET")
        .collect();
    assert!(refused.is_empty(), "{refused:?}");
    assert_eq!(paid, 20, "not one more, and not one less");
    assert_eq!(charged(&market).await, paid * PRICE);
    let (outstanding, lost) = owed(&market).await;
    assert!(outstanding <= 5 * PRICE && lost == 0, "{outstanding} {lost}");
    market.node().payer.drain().await;
    let audit = market.audit().await;
    assert_eq!((audit.captured(usdc()), audit.over_limit()), (paid * PRICE, Nano::ZERO));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_channel_that_is_closed_is_signed_for_and_its_payee_has_all_that_it_is_owed() {
    let market = open().await;
    buy(&market, 3).await;
    assert_eq!(owed(&market).await, (2 * PRICE, 0));
    let look = |ledger: &Ledger| ledger.channels().next().unwrap().opened.id;
    let channel = market.node().treasury.read(look).await.unwrap();
    market.node().payer.close_channel(channel).await.unwrap();
    assert_eq!(owed(&market).await, (0, 0));
    assert_eq!(market.earned_on_chain().await, 3 * PRICE);
    while market
        .node()
        .treasury
        .read(|ledger| ledger.channels().next().unwrap().state)
        .await
        .unwrap()
        != ChannelState::Closed
    {
        market.node().reconciler.round().await.unwrap();
        tokio::task::yield_now().await;
    }
    let held = market.evidence.balance(usdc(), key("main").address()).await.unwrap().amount.get();
    assert_eq!(held, 10_000_000 - 3 * PRICE);
}

/// What a payer owes it pays when its channel ends, though nothing else lies in it any more, and though its
/// process is another one by then. Once: its payee is not told again.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_owed_is_paid_as_a_channel_ends_whose_rest_its_payee_gave_back() {
    let mut market = open().await;
    buy(&market, 3).await;
    let payee = market.provider.as_ref().unwrap().payee.clone();
    assert_eq!(payee.give_back_idle(Duration::ZERO).await.unwrap(), 1);
    assert_eq!((owed(&market).await, market.earned_on_chain().await), ((2 * PRICE, 0), PRICE));
    market.restart_node(POLICY).await;
    let seen = |ledger: &Ledger| !ledger.channels().next().unwrap().returned.is_zero();
    while !market.node().treasury.read(seen).await.unwrap() {
        market.node().reconciler.round().await.unwrap();
        tokio::task::yield_now().await;
    }
    let payer = market.node().payer.clone();
    assert_eq!(payer.end_idle_channels(Duration::ZERO).await.unwrap(), 1);
    assert_eq!(owed(&market).await, (0, 0));
    assert_eq!(payer.end_idle_channels(Duration::ZERO).await.unwrap(), 0);
    claim_all(&market).await;
    assert_eq!(market.earned_on_chain().await, 3 * PRICE);
}

/// E08: both sides die with something owed. Nothing is charged twice, nothing is forgotten, and the payer
/// signs for what it owes before it goes on.
#[tokio::test(flavor = "multi_thread")]
async fn e08_what_is_owed_outlives_a_crash_of_either_side_and_is_signed_for_first() {
    let mut market = open().await;
    buy(&market, 3).await;
    market.restart_node(POLICY).await;
    market.provider.take().unwrap().drain(Duration::from_secs(20)).await;
    market.start_provider().await;
    assert_eq!((charged(&market).await, owed(&market).await), (3 * PRICE, (2 * PRICE, 0)));
    buy(&market, 1).await;
    assert_eq!((charged(&market).await, owed(&market).await), (4 * PRICE, (0, 0)));
    let states = market
        .node()
        .treasury
        .read(|ledger| ledger.channels().map(|it| (it.state, it.charged)).collect::<Vec<_>>());
    assert_eq!(states.await.unwrap().len(), 1, "the channel is used again");
    claim_all(&market).await;
    assert_eq!(market.earned_on_chain().await, 4 * PRICE);
}

/// F04: a call on credit that is asked again is the same answer, and one charge.
#[tokio::test(flavor = "multi_thread")]
async fn f04_a_call_on_credit_that_comes_again_is_charged_once() {
    let market = open().await;
    let client = market.client("worker").await;
    client.buy(echo("first")).await.unwrap();
    let purchase = echo("again");
    let first = client.buy(purchase.clone()).await.unwrap();
    let again = client.buy(purchase).await.unwrap();
    assert_eq!((first.payment, first.body), (again.payment, again.body));
    assert_eq!((lent(&market), charged(&market).await), (1, 2 * PRICE));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_credit_on_either_side_each_call_has_a_voucher() {
    let shops = [
        Shop { by_channel: true, keeper: TAKES, ..Shop::default() },
        Shop { by_channel: true, credit: Some(CREDIT), ..Shop::default() },
    ];
    for shop in shops {
        let market = Market::open_with(shop).await;
        buy(&market, 4).await;
        assert_eq!((lent(&market), owed(&market).await), (0, (0, 0)));
    }
}

/// What a stranger asks on credit, by this voucher.
async fn on_credit(
    market: &Market,
    body: &str,
    voucher: VoucherWord,
    charged: u128,
) -> Result<(), String> {
    let payee = &market.provider.as_ref().unwrap().payee;
    let word = CreditWord { voucher, charged: Amount::new(charged) };
    match payee.infer_on_credit(PaidCall { payment: None, ..call(body) }, word).await {
        Ok(answer) => finish(answer).await,
        Err(ServiceError::PaymentRequired(offer)) => Err(offer.error.unwrap_or_default()),
        Err(error) => Err(error.to_string()),
    }
}

/// E15: a claim that is on its way shows its voucher, and who starts cannot know what was sent before.
#[tokio::test(flavor = "multi_thread")]
async fn e15_a_voucher_that_came_to_a_process_before_this_one_lends_nothing() {
    let mut market = open().await;
    market.provider.take().unwrap().drain(Duration::from_secs(20)).await;
    let apart = apart();
    within(&apart, market.start_provider());
    let stranger = Stranger::new(&market).await;
    let (ceiling, signature) = stranger.voucher(PRICE);
    let voucher = VoucherWord { ceiling, signature };
    let deposit = Some(stranger.deposit(20 * PRICE));
    within(&apart, stranger.call(&market, "paid", (ceiling, signature), deposit)).unwrap();
    within(&apart, on_credit(&market, "one", voucher, PRICE)).unwrap();
    market.provider = None;
    crash(apart);
    market.start_provider().await;
    assert_eq!(owed(&market).await, (PRICE, 0));
    let refused = Err(format!("{PREFIX}cumulative_amount_mismatch"));
    assert_eq!(on_credit(&market, "two", voucher, 2 * PRICE).await, refused);
    // Its next voucher covers what is owed, and lends again.
    let (ceiling, signature) = stranger.voucher(3 * PRICE);
    stranger.call(&market, "signed", (ceiling, signature), None).await.unwrap();
    assert_eq!(owed(&market).await, (0, 0));
    on_credit(&market, "three", VoucherWord { ceiling, signature }, 3 * PRICE).await.unwrap();
}

/// A payer that never signs for what it is served: it gets what the limit says, and then nothing.
#[tokio::test(flavor = "multi_thread")]
async fn e16_who_never_signs_is_served_up_to_the_limit_and_no_further() {
    let market = open().await;
    let stranger = Stranger::new(&market).await;
    let (ceiling, signature) = stranger.voucher(PRICE);
    let voucher = VoucherWord { ceiling, signature };
    let refused = Err(format!("{PREFIX}cumulative_amount_mismatch"));
    let none = on_credit(&market, "none", voucher, 0).await;
    assert_eq!(none, Err(format!("{PREFIX}channel_id_mismatch")), "nobody knows it");
    let deposit = Some(stranger.deposit(20 * PRICE));
    stranger.call(&market, "paid", (ceiling, signature), deposit).await.unwrap();
    for number in 1..=5 {
        on_credit(&market, &format!("call {number}"), voucher, number * PRICE).await.unwrap();
    }
    assert_eq!(on_credit(&market, "more", voucher, 6 * PRICE).await, refused);
    assert_eq!(owed(&market).await, (5 * PRICE, 0));
    // E01: a call on credit goes on where the last one ended.
    assert_eq!(on_credit(&market, "less", voucher, 5 * PRICE).await, refused);
    // E03: a voucher that its channel does not have is not looked at, whoever signed it.
    let (ceiling, signature) = stranger.voucher(6 * PRICE);
    let other = VoucherWord { ceiling, signature };
    assert_eq!(on_credit(&market, "other", other, 6 * PRICE).await, refused);
    assert_eq!(market.engine.served.load(Ordering::SeqCst), 6);
    // It signs for all of it, and is lent to again.
    stranger.call(&market, "signed", stranger.voucher(7 * PRICE), None).await.unwrap();
    assert_eq!(owed(&market).await, (0, 0));
    let (ceiling, signature) = stranger.voucher(7 * PRICE);
    on_credit(&market, "again", VoucherWord { ceiling, signature }, 7 * PRICE).await.unwrap();
    assert_eq!(owed(&market).await, (PRICE, 0));
}
