//! Paying over gRPC, on a real EVM, with journals on disk. Row ids are those of the threat model.

use std::sync::atomic::Ordering;
use std::time::Duration;

use bursar::domain::ledger::agent::{Principal, Scope, Token};
use bursar::domain::ledger::books::{BookAccount, Commodity};
use bursar::domain::money::Nano;
use bursar::edge::clock::SystemClock;
use bursar::edge::grpc::AgentClient;
use bursar::ports::clock::Clock;
use futures_util::future::join_all;

use crate::market::{Market, POLICY, PRICE, PRICE_NANO, echo, name, policy};

/// Calls that fit under an agent's cap of 0.02 USD.
const FIT: u64 = 20;

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_buys_an_answer_and_the_books_match_the_chain() {
    let market = Market::open().await;
    let bought = market.client("worker").await.buy(echo("hello")).await.unwrap();
    assert_eq!(bought.body.as_ref(), b"olleh");
    assert_eq!(bought.provider, "echo");
    let audit = market.audit().await;
    assert_eq!(audit.captured(crate::market::usdc()), PRICE);
    assert_eq!(market.earned_on_chain().await, PRICE);
    assert_eq!(audit.over_limit(), Nano::ZERO);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_streamed_answer_is_paid_and_comes_whole() {
    let market = Market::open().await;
    let mut purchase = echo("stream me");
    purchase.streamed = true;
    let bought = market.client("worker").await.buy(purchase).await.unwrap();
    assert_eq!(bought.body.as_ref(), b"em maerts");
    assert_eq!(market.audit().await.captured(crate::market::usdc()), PRICE);
}

#[tokio::test(flavor = "multi_thread")]
async fn f01_as_many_of_a_hundred_calls_at_once_are_paid_as_fit_under_the_cap() {
    let market = Market::open().await;
    let client = market.client("worker").await;
    let calls = (0..100).map(|number| {
        let client = client.clone();
        async move { client.buy(echo(&format!("call {number}"))).await }
    });
    let answers = join_all(calls).await;
    let paid = answers.iter().filter(|answer| answer.is_ok()).count() as u64;
    let refused =
        answers.iter().filter_map(|answer| answer.as_ref().err()).map(|error| &error.reason);
    assert!(refused.clone().all(|reason| reason == "LEDGER_OVER_BUDGET"), "{refused:?}");
    assert_eq!(paid, FIT, "not one more, and not one less");
    let audit = market.audit().await;
    assert_eq!(audit.captured(crate::market::usdc()), u128::from(FIT) * PRICE);
    assert_eq!(audit.over_limit(), Nano::ZERO);
    assert_eq!(market.earned_on_chain().await, u128::from(FIT) * PRICE);
    assert_eq!(market.left("worker").await, Nano::ZERO);
}

#[tokio::test(flavor = "multi_thread")]
async fn f04_the_same_request_again_is_the_same_payment_and_the_same_answer() {
    let market = Market::open().await;
    let client = market.client("worker").await;
    let purchase = echo("once");
    let first = client.buy(purchase.clone()).await.unwrap();
    let again = client.buy(purchase).await.unwrap();
    assert_eq!((&first.payment, &first.body), (&again.payment, &again.body));
    assert!(again.done.repeated_answer);
    assert_eq!(market.engine.served.load(Ordering::SeqCst), 1);
    assert_eq!(market.audit().await.captured(crate::market::usdc()), PRICE);
}

#[tokio::test(flavor = "multi_thread")]
async fn f04_the_same_request_ten_times_at_once_is_paid_once() {
    let market = Market::open().await;
    let client = market.client("worker").await;
    let purchase = echo("at once");
    let answers = join_all((0..10).map(|_| client.buy(purchase.clone()))).await;
    for answer in answers {
        match answer {
            Ok(bought) => assert_eq!(bought.body.as_ref(), b"ecno ta"),
            Err(error) => assert!(error.in_doubt, "{error}"),
        }
    }
    assert_eq!(market.audit().await.captured(crate::market::usdc()), PRICE);
    assert_eq!(market.earned_on_chain().await, PRICE);
}

#[tokio::test(flavor = "multi_thread")]
async fn f04_the_same_request_after_a_restart_is_paid_once() {
    let mut market = Market::open().await;
    let purchase = echo("before and after");
    let first = market.client("worker").await.buy(purchase.clone()).await.unwrap();
    market.restart_node(POLICY).await;
    let again = market.client("worker").await.buy(purchase).await.unwrap();
    assert_eq!((first.payment, first.body), (again.payment, again.body));
    assert_eq!(market.audit().await.captured(crate::market::usdc()), PRICE);
}

#[tokio::test(flavor = "multi_thread")]
async fn f05_the_same_request_id_with_other_content_is_refused_and_nothing_changes() {
    let market = Market::open().await;
    let client = market.client("worker").await;
    let purchase = echo("one");
    client.buy(purchase.clone()).await.unwrap();
    let mut other = purchase;
    other.body = "two".into();
    let error = client.buy(other).await.unwrap_err();
    assert_eq!(error.reason, "LEDGER_REQUEST_CONFLICT");
    assert_eq!(market.audit().await.captured(crate::market::usdc()), PRICE);
}

#[tokio::test(flavor = "multi_thread")]
async fn f11_sub_agents_cannot_spend_more_than_their_parent() {
    let market = Market::open().await;
    let client = market.client("worker").await;
    let until = SystemClock.now().after(Duration::from_secs(600));
    let mut children = Vec::new();
    for number in 0..10 {
        let limit = Nano::new(5 * PRICE_NANO);
        let child = name(&format!("worker-child-{number}"));
        let token = client.delegate(&child, limit, until).await.unwrap();
        children.push(AgentClient::connect(market.node().endpoint(), &token).await.unwrap());
    }
    let calls = children.iter().flat_map(|child| (0..7).map(move |_| child.buy(echo("child"))));
    let answers = join_all(calls).await;
    let paid = answers.iter().filter(|answer| answer.is_ok()).count() as u64;
    assert_eq!(paid, FIT, "ten children with five calls each share the parent's twenty");
    let audit = market.audit().await;
    assert_eq!(audit.over_limit(), Nano::ZERO);
    assert_eq!(market.left("worker").await, Nano::ZERO);
}

#[tokio::test(flavor = "multi_thread")]
async fn f19_a_lowered_cap_refuses_new_payments_and_keeps_what_is_spent() {
    let market = Market::open().await;
    let client = market.client("worker").await;
    for _ in 0..5 {
        client.buy(echo("spend")).await.unwrap();
    }
    let lower = POLICY.replace("limit = \"0.02 USD\"", "limit = \"0.003 USD\"");
    let operator = &market.node().operator;
    let lower = policy(&lower);
    let applied = operator.apply(&lower, "freeze".to_owned(), Principal::Operator);
    assert_eq!(applied.await.unwrap(), (2, true));
    assert_eq!(client.buy(echo("more")).await.unwrap_err().reason, "LEDGER_OVER_BUDGET");
    let raised = POLICY.replace("limit = \"0.02 USD\"", "limit = \"0.006 USD\"");
    operator.apply(&policy(&raised), String::new(), Principal::Operator).await.unwrap();
    client.buy(echo("one more")).await.unwrap();
    assert_eq!(client.buy(echo("two")).await.unwrap_err().reason, "LEDGER_OVER_BUDGET");
}

#[tokio::test(flavor = "multi_thread")]
async fn f24_nothing_is_signed_after_a_pause_is_acknowledged() {
    let market = Market::open().await;
    let client = market.client("worker").await;
    let operator = market.node().operator.clone();
    let calls = join_all((0..FIT).map(|_| client.buy(echo("racing"))));
    let pause = async {
        client.buy(echo("first")).await.ok();
        let reason = "loop in planner".to_owned();
        operator.pause(Scope::Role(name("worker")), reason, Principal::Operator).await.unwrap();
        let after = client.buy(echo("after")).await.unwrap_err();
        assert_eq!(after.reason, "LEDGER_PAUSED");
    };
    let (_, ()) = tokio::join!(calls, pause);
    let spent = market.left("worker").await;
    assert_eq!(client.buy(echo("still")).await.unwrap_err().reason, "LEDGER_PAUSED");
    assert_eq!(market.left("worker").await, spent, "a refusal holds nothing");
    operator.resume(Scope::Role(name("worker")), Principal::Operator).await.unwrap();
    if market.left("worker").await >= Nano::new(PRICE_NANO) {
        client.buy(echo("again")).await.unwrap();
    }
    assert_eq!(market.audit().await.over_limit(), Nano::ZERO);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_allowed_by_default() {
    let mut market = Market::open().await;
    market.add("idler", "idle").await;
    let error = market.client("idler").await.buy(echo("please")).await.unwrap_err();
    assert_eq!(error.reason, "POLICY_CAPABILITY_NOT_ALLOWED");
    let payment = error.payment.expect("a refusal has an id to ask why");
    market.node().store.catch_up().await.unwrap();
    let decision = bursar::ports::archive::Archive::find_decision(&market.node().store, payment);
    let decision = decision.await.expect("a refusal is remembered");
    assert_eq!(decision.refused.as_deref(), Some("policy.capability_not_allowed"));
    assert!(decision.rules.iter().any(|rule| rule.rule == "allow.capabilities" && !rule.passed));
    assert_eq!(market.audit().await.captured(crate::market::usdc()), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_above_the_callers_own_price_is_not_made() {
    let market = Market::open().await;
    let mut purchase = echo("dear");
    purchase.price_max = Some(Nano::new(PRICE_NANO - 1));
    let error = market.client("worker").await.buy(purchase).await.unwrap_err();
    assert_eq!(error.reason, "PAYER_TOO_DEAR");
    assert_eq!(market.engine.served.load(Ordering::SeqCst), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn z02_a_token_that_is_not_an_agents_buys_nothing() {
    let market = Market::open().await;
    let stranger = Token::for_agent(&name("worker"), [1; 32]);
    let client = AgentClient::connect(market.node().endpoint(), &stranger).await.unwrap();
    let error = client.buy(echo("let me in")).await.unwrap_err();
    assert_eq!(error.reason, "GUARD_UNAUTHENTICATED");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_that_fails_before_settlement_costs_nothing_on_chain() {
    let market = Market::open().await;
    let error = market.client("worker").await.buy(echo("fail")).await.unwrap_err();
    assert_eq!(error.reason, "PAYER_PROVIDER_REFUSED");
    assert_eq!(market.earned_on_chain().await, 0);
    let audit = market.audit().await;
    assert_eq!(audit.captured(crate::market::usdc()), 0);
    assert_eq!(audit.open(), 1, "what is signed stays held until the chain speaks");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_comes_back_settles_what_it_had_bound() {
    let mut market = Market::open().await;
    let client = market.client("worker").await;
    client.buy(echo("before")).await.unwrap();
    market.provider.take().unwrap().drain(Duration::from_secs(20)).await;
    let purchase = echo("while it is away");
    let error = client.buy(purchase.clone()).await.unwrap_err();
    assert!(["PAYER_NO_QUOTE", "PAYER_NO_PROVIDER"].contains(&error.reason.as_str()), "{error}");
    market.start_provider().await;
    let served = loop {
        match client.buy(purchase.clone()).await {
            Ok(bought) => break bought,
            Err(error) => assert!(error.reason.starts_with("PAYER_NO_"), "{error}"),
        }
    };
    assert_eq!(served.body.len(), "while it is away".len());
    assert_eq!(market.audit().await.captured(crate::market::usdc()), 2 * PRICE);
}

/// A streamed answer is settled first. Its engine fails, and nobody asks again: the money goes back.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_paid_and_never_served_is_paid_back_and_gas_is_in_the_books() {
    let mut market = Market::open().await;
    market.provider.take().unwrap().drain(Duration::from_secs(20)).await;
    market.refund_after = Some(Duration::ZERO);
    market.start_provider().await;
    let mut purchase = echo("fail");
    purchase.streamed = true;
    let client = market.client("worker").await;
    // Until it has announced itself anew, nobody sells.
    while client.buy(purchase.clone()).await.unwrap_err().reason.starts_with("PAYER_NO_") {}
    let provider = market.provider.as_ref().unwrap();
    let mut refunded = false;
    while !refunded {
        provider.payee.round().await.unwrap();
        let states = provider
            .treasury
            .read(|ledger| ledger.claims().map(|claim| claim.state.as_str()).collect::<Vec<_>>());
        refunded = states.await.unwrap() == ["refunded"];
    }
    assert_eq!(market.earned_on_chain().await, 0);
    provider.payee.round().await.unwrap();
    let gas = provider.treasury.read(|ledger| {
        let native = Commodity::Native(crate::market::usdc().network);
        ledger.books().find(native, BookAccount::Fees).debits
    });
    assert!(gas.await.unwrap() > 100_000, "two transfers, at one wei a unit of gas at least");
}
