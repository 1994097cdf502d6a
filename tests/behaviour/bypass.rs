//! Ways around a budget, tried over gRPC. Row ids are those of the threat model.

use std::time::Duration;

use bursar::domain::ledger::hold::VoidProof;
use bursar::domain::ledger::{Command, Rejection};
use bursar::domain::money::Nano;
use bursar::edge::clock::SystemClock;
use bursar::edge::grpc::AgentClient;
use bursar::edge::grpc::pb;
use bursar::edge::grpc::pb::payment_service_client::PaymentServiceClient;
use bursar::ports::clock::Clock;
use futures_util::future::join_all;
use tonic::metadata::MetadataValue;
use tonic::transport::Channel;
use tonic::{Code, Request, Status};

use crate::market::{Market, POLICY, PRICE, PRICE_NANO, echo, key, name, usdc};

/// Calls that fit under an agent's cap.
const FIT: usize = 20;

async fn payments(market: &Market) -> PaymentServiceClient<Channel> {
    let endpoint = tonic::transport::Endpoint::new(market.node().endpoint().to_owned());
    PaymentServiceClient::new(endpoint.unwrap().connect().await.unwrap())
}

fn by<T>(market: &Market, agent: &str, message: T) -> Request<T> {
    let bearer = format!("Bearer {}", market.token(agent).reveal());
    let mut request = Request::new(message);
    request.metadata_mut().insert("authorization", MetadataValue::try_from(bearer).unwrap());
    request
}

#[tokio::test(flavor = "multi_thread")]
async fn f02_what_is_under_way_counts_before_it_is_paid() {
    let market = Market::open().await;
    let client = market.client("worker").await;
    let waiting = (0..FIT).map(|_| {
        let client = client.clone();
        tokio::spawn(async move { client.buy(echo("wait")).await })
    });
    let waiting: Vec<_> = waiting.collect();
    while market.left("worker").await > Nano::ZERO {
        tokio::task::yield_now().await;
    }
    assert_eq!(market.earned_on_chain().await, 0, "nothing is paid yet");
    let error = client.buy(echo("one more")).await.unwrap_err();
    assert_eq!(error.reason, "LEDGER_OVER_BUDGET");
    market.engine.gate.add_permits(FIT);
    for bought in join_all(waiting).await {
        bought.unwrap().unwrap();
    }
    let audit = market.audit().await;
    assert_eq!(audit.captured(usdc()), PRICE * FIT as u128);
    assert_eq!(audit.over_limit(), Nano::ZERO);
}

#[tokio::test(flavor = "multi_thread")]
async fn f15_a_hold_is_not_voided_once_its_signature_left() {
    let market = Market::open().await;
    let client = market.client("worker").await;
    let waiting = tokio::spawn(async move { client.buy(echo("wait")).await });
    let treasury = market.node().treasury.clone();
    let provider = market.provider.as_ref().unwrap();
    // The payee has it: it was signed.
    while provider.treasury.read(|ledger| ledger.open_claims().len()).await.unwrap() == 0 {
        tokio::task::yield_now().await;
    }
    let held = treasury.read(|ledger| ledger.holds()[0].held.payment);
    let payment = held.await.unwrap();
    let (proof, boot) = (VoidProof::NeverSigned, treasury.boot());
    let refused = treasury.execute(Command::Void { payment, proof, boot }).await.unwrap_err();
    assert!(matches!(refused.rejection(), Some(Rejection::WrongState { .. })), "{refused}");
    market.engine.gate.add_permits(1);
    waiting.await.unwrap().unwrap();
    assert_eq!(market.audit().await.captured(usdc()), PRICE);
}

#[tokio::test(flavor = "multi_thread")]
async fn f09_a_role_that_may_not_delegate_carves_nothing_out() {
    let mut market = Market::open().await;
    market.add("idler", "idle").await;
    let until = SystemClock.now().after(Duration::from_secs(60));
    let idler = market.client("idler").await;
    let limit = Nano::new(PRICE_NANO);
    let refused = idler.delegate(&name("idler-child"), limit, until).await.map(drop);
    assert!(refused.is_err());
    let known = market.node().treasury.read(|ledger| ledger.agents().len()).await.unwrap();
    assert_eq!(known, 2, "no child was made");
}

#[tokio::test(flavor = "multi_thread")]
async fn f10_one_key_is_one_wallet() {
    let market = Market::open().await;
    let (wallet, address) = (name("alias"), key("main").address());
    let treasury = &market.node().treasury;
    let refused = treasury.execute(Command::OpenWallet { wallet, address }).await.unwrap_err();
    assert!(matches!(refused.rejection(), Some(Rejection::AddressTaken(_))), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn f14_amounts_that_are_none_are_refused_before_the_ledger() {
    let market = Market::open().await;
    let mut client = payments(&market).await;
    let before = market.node().store.end();
    for amount in ["-1", "1.5", "0x10", "", "99999999999999999999999999", " 1", "+1"] {
        let purchase = echo("hello");
        let message = pb::PayRequest {
            request_id: purchase.request.to_string(),
            order: Some((&purchase.order).into()),
            content_type: purchase.content_type,
            body: purchase.body,
            price_max_nano: Some(amount.to_owned()),
            provider: None,
            session: None,
            streamed: false,
        };
        let refused = client.pay(by(&market, "worker", message)).await.map(drop).unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{amount}: {refused:?}");
        assert!(refused.message().contains("price_max_nano"), "{amount}: {refused:?}");
    }
    assert_eq!(market.node().store.end(), before, "nothing was written");
}

#[tokio::test(flavor = "multi_thread")]
async fn f20_a_childs_payment_counts_in_every_budget_above_it_also_after_a_restart() {
    let mut market = Market::open().await;
    let until = SystemClock.now().after(Duration::from_secs(600));
    let parent = market.client("worker").await;
    let limit = Nano::new(3 * PRICE_NANO);
    let token = parent.delegate(&name("worker-child"), limit, until).await.unwrap();
    let child = AgentClient::connect(market.node().endpoint(), &token).await.unwrap();
    for _ in 0..3 {
        child.buy(echo("child")).await.unwrap();
    }
    for restarted in [false, true] {
        if restarted {
            market.restart_node(POLICY).await;
        }
        let child = AgentClient::connect(market.node().endpoint(), &token).await.unwrap();
        let budgets = child.budgets().await.unwrap();
        let spent = |label: &str| {
            let row = budgets.iter().find(|row| row.budget == label).unwrap();
            let nano = |text: &str| text.parse::<u64>().unwrap();
            nano(&row.spent_nano) + nano(&row.held_nano)
        };
        for label in ["fleet", "agent", "delegation"] {
            assert_eq!(spent(label), 3 * PRICE_NANO, "{label}, restarted: {restarted}");
        }
        let error = child.buy(echo("one more")).await.unwrap_err();
        assert_eq!(error.reason, "LEDGER_OVER_BUDGET");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn f25_anothers_payment_looks_like_one_that_is_not_there() {
    let mut market = Market::open().await;
    market.add("stranger", "worker").await;
    let mine = market.client("worker").await.buy(echo("mine")).await.unwrap().payment;
    let nobodys = "pay_000102030405060708090a0b0c0d0e0f".to_owned();
    let mut client = payments(&market).await;
    let mut asked = Vec::new();
    for payment_id in [mine.clone(), nobodys] {
        let get = pb::GetPaymentRequest { payment_id: payment_id.clone() };
        let got = client.get_payment(by(&market, "stranger", get)).await.map(drop);
        let explain = pb::ExplainRequest { payment_id: payment_id.clone() };
        let explained = client.explain(by(&market, "stranger", explain)).await.map(drop);
        let blind = |status: Status| (status.code(), status.message().replace(&payment_id, "ID"));
        asked.push((blind(got.unwrap_err()), blind(explained.unwrap_err())));
    }
    assert_eq!(asked[0], asked[1]);
    let listed = client.list_payments(by(&market, "stranger", pb::ListPaymentsRequest::default()));
    assert!(listed.await.unwrap().into_inner().payments.is_empty());
    let get = pb::GetPaymentRequest { payment_id: mine };
    client.get_payment(by(&market, "worker", get)).await.unwrap();
}
